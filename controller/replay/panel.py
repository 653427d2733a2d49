"""A file of the Panel's recorded input through the core once more: the same again, bit for bit, or where it first differs."""

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cython_ext import BuciumError, Cause
from cython_ext.panel import Panel
from lanes import cbor
from lanes.planfile import SignedPlan

from ..fold import owner
from ..record.recording import MAGIC, RECORD, pack_said

CONTENT_MAX: Final = 1 << 30  # of one file, inflated: 60 times what the writer puts into one
_QUIET: Final = (Cause.TROUBLE_RAISED, Cause.TROUBLE_CLEARED)


class Apart(BuciumError):
    """Where replay and record differ, or why it cannot be told."""


@dataclass(frozen=True, slots=True)
class Own:
    """A verdict that only the controller gives: a WATCHDOG row must say it, behind row `seq`."""

    seq: int
    judged: str
    said: tuple[int, int, int, int]  # cause, was, level, reason


@dataclass(frozen=True, slots=True)
class Played:
    """What one file held."""

    samples: int
    said: int
    own: tuple[Own, ...]


def play(path: Path, plans: Mapping[bytes, SignedPlan]) -> Played:
    """Replay one file. Apart with the first difference; KeyError's value is the plan that is missing."""
    panel: Panel | None = None
    plan: SignedPlan | None = None
    expected: bytes | None = None
    samples = said = 0
    own: list[Own] = []
    for place, (kind, seq, now_ns, payload) in enumerate(_records(path)):
        if expected is not None and kind != b"S":
            raise Apart(f"{path.name}: record {place}: the Panel now says what it did not say then")
        if kind == b"H":
            _, digest, snapshot = cbor.decode_document(payload)
            plan = plans[digest]
            panel = Panel(plan.plan.panel(None), now_ns)
            panel.restore(snapshot, now_ns)  # what it restates was said before
        elif panel is None or plan is None:
            raise Apart(f"{path.name}: it does not begin with a Panel")
        elif kind == b"S":
            if payload != expected:
                raise Apart(f"{path.name}: record {place}, behind row {seq}: {_apart(plan, payload, expected)}")
            own += _own(plan, seq, payload)
            said += 1
            expected = None
        else:
            found = panel.feed(payload, now_ns) if kind == b"F" else panel.advance(now_ns)
            samples += len(payload) // 24
            expected = pack_said(found) if found else None
    return Played(samples, said, tuple(own))


def _records(path: Path) -> Iterator[tuple[bytes, int, int, bytes]]:
    """The whole records; a torn end, of a crash, is passed over."""
    content = path.read_bytes()
    if not content.startswith(MAGIC):
        raise Apart(f"{path.name}: this is no recording")
    stream = zlib.decompressobj()
    try:
        data = stream.decompress(content[len(MAGIC) :], CONTENT_MAX)
    except zlib.error as error:
        raise Apart(f"{path.name}: damaged: {error}") from None
    at = 0
    while at + RECORD.size <= len(data):
        kind, seq, now_ns, length = RECORD.unpack_from(data, at)
        at += RECORD.size
        if at + length > len(data):
            return
        yield kind, seq, now_ns, data[at : at + length]
        at += length


def _own(plan: SignedPlan, seq: int, payload: bytes) -> Iterator[Own]:
    ids = plan.plan.judged_ids
    for point, cause, was, level, _, _, reason, _, _ in cbor.decode_document(payload):
        if cause not in _QUIET and not owner(plan.plan, ids[point]):
            yield Own(seq, ids[point], (cause, was, level, reason))


def _apart(plan: SignedPlan, then: bytes, now: bytes | None) -> str:
    old: list[Any] = cbor.decode_document(then)
    new: list[Any] = cbor.decode_document(now) if now is not None else []
    ids = plan.plan.judged_ids
    for place in range(max(len(old), len(new))):
        one, other = (rows[place] if place < len(rows) else None for rows in (old, new))
        if one != other:
            return f"{_told(ids, one)} then, {_told(ids, other)} now"
    return "another encoding"


def _told(ids: tuple[str, ...], row: list[Any] | None) -> str:
    if row is None:
        return "nothing"
    point, cause, was, level = row[:4]
    return f"{ids[point]} {Cause(cause).name.lower()} {was} to {level}"
