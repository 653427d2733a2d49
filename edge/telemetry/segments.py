"""The backlog's files: samples that could not be sent, in segments that are only appended to, read, and deleted whole.

    folder/{level}-{number}.seg     level 0 as measured; 1, 2, 3 thinned ever more, and so ever older
    folder/aside-{level}-{number}.seg   a segment with damage, its good batches sent; kept for inquiry

    segment = head, batches      head  = mark, crc32, length, JSON of [point, device] in the order of the records
                                 batch = mark, crc32, length, wall offset, clock's word, boot, records

Why not SQLite: telemetry is written once, read once and given up from its oldest end; a file that is deleted whole costs the
card no second write, and damage stays within its 256 KiB. A batch is one append and one fdatasync; a power cut tears at most
the last one, which its checksum shows. Blocking: call through a Runner; nothing here raises but OSError from `append`.
"""

import json
import os
import struct
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from lanes.durable import sync_folder

from .births import RECORD

SEGMENT_BYTES: Final = 256 << 10  # 11 minutes of 16 points at 1 Hz: what a restart may send twice
BATCH_BYTES: Final = 64 << 10  # a batch at most: what is read and sent as one
ASIDE_MAX: Final = 2
LEVELS: Final = 4
_HEAD: Final = struct.Struct("<4sII")
_BATCH: Final = struct.Struct("<4sIIqB3x8s")
_HEAD_MARK: Final = b"BuK1"
_BATCH_MARK: Final = b"BuKb"
_NAMES_MAX: Final = 1 << 20

Names = tuple[tuple[str, str], ...]
"""(point, device) in the order of the records' indices."""


class Segment(NamedTuple):
    """One file. Segments sort as they are sent: the most thinned first, since they are the oldest."""

    age: int  # minus its level
    number: int

    @property
    def level(self) -> int:
        return -self.age

    @property
    def name(self) -> str:
        return f"{self.level}-{self.number:010}.seg"


@dataclass(frozen=True, slots=True)
class Batch:
    """Packed records of one boot. `offset_ms`: its wall clock less its monotonic clock; `trusted`: somebody vouched for it."""

    boot: bytes
    offset_ms: int
    trusted: bool
    records: bytes

    def pack(self) -> bytes:
        body = _BATCH.pack(_BATCH_MARK, 0, len(self.records), self.offset_ms, self.trusted, self.boot)[8:]
        body += self.records
        return _BATCH_MARK + zlib.crc32(body).to_bytes(4, "little") + body


@dataclass(frozen=True, slots=True)
class Content:
    """What a segment holds. `damaged`: bytes that are not what was written; `size`: of the file when it was read."""

    names: Names
    batches: tuple[Batch, ...]
    damaged: int
    size: int


class Segments:
    """The folder. `told(name, bytes)` hears of damage."""

    def __init__(self, folder: Path, told: Callable[[str, int], None]) -> None:
        self._folder = folder
        self._told = told
        self.sizes: dict[Segment, int] = {}
        self._tails: dict[int, tuple[Segment, Names]] = {}  # by level: what may still be appended to
        self._last = dict.fromkeys(range(LEVELS), 0)  # numbers are not used again: others hold them
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True, mode=0o750)
            self._scan()

    def _scan(self) -> None:
        for path in self._folder.iterdir():
            said, _, number = path.stem.partition("-")
            if path.suffix == ".seg" and said.isdigit() and number.isdigit() and int(said) < LEVELS:
                self.sizes[Segment(-int(said), int(number))] = path.stat().st_size
                self._last[int(said)] = max(self._last[int(said)], int(number))
        for level in range(LEVELS):
            if (tail := max((s for s in self.sizes if s.level == level), default=None)) is not None:
                self._mend(tail)

    def _mend(self, tail: Segment) -> None:
        """Cut off what a power cut has torn, so that the tail can be gone on with."""
        path = self.path(tail)
        data = path.read_bytes()
        content = parse(data)
        if content is None:
            return  # for `read` to set aside
        good = _end_of_good(data)
        if good < len(data) and content.damaged == len(data) - good:
            os.truncate(path, good)
            self.sizes[tail] = good
            self._told(tail.name, len(data) - good)
        if good == self.sizes[tail]:
            self._tails[tail.level] = tail, content.names

    def path(self, segment: Segment) -> Path:
        return self._folder / segment.name

    @property
    def total(self) -> int:
        """Bytes of all."""
        return sum([*self.sizes.values()])

    @property
    def samples(self) -> int:
        """About how many samples wait: their heads are counted with them."""
        return self.total // RECORD.size

    def level_bytes(self, level: int) -> int:
        return sum(size for segment, size in [*self.sizes.items()] if segment.level == level)

    def oldest(self, level: int | None = None, but: Collection[Segment] = ()) -> Segment | None:
        """Of the level, or of all; not one of `but`."""
        there = [*self.sizes]  # a copy: another thread may be writing
        return min((s for s in there if (level is None or s.level == level) and s not in but), default=None)

    def append(self, batch: Batch, names: Names, level: int = 0) -> None:
        """Durable on return; OSError when the disk does not take it, and then nothing of it counts."""
        tail, of = self._tails.pop(level, (None, ()))
        data = batch.pack()
        if tail is None or of != names or self.sizes.get(tail, SEGMENT_BYTES) + len(data) > SEGMENT_BYTES:
            self._last[level] += 1
            tail = Segment(-level, self._last[level])
            data = _head(names) + data
        before = self.sizes.get(tail, 0)
        path = self.path(tail)
        try:
            _append(path, data)
            if not before:
                sync_folder(self._folder)
        except OSError:
            with suppress(OSError):  # what a failed sync left is never believed: the next one begins a new file
                os.truncate(path, before) if before else path.unlink()
            raise
        self.sizes[tail] = before + len(data)
        self._tails[level] = tail, names

    def read(self, segment: Segment) -> Content:
        """All that is good of it; a segment that cannot be read is empty, and set aside."""
        try:
            data = self.path(segment).read_bytes()
        except FileNotFoundError:
            return Content((), (), 0, 0)
        except OSError:
            return Content((), (), self.sizes.get(segment, 0), 0)
        content = parse(data)
        if content is None:
            content = Content((), (), len(data), len(data))
        if content.damaged:
            self._close(segment)
        return content

    def drop(self, segment: Segment, content: Content | None = None) -> bool:
        """Give it up: deleted, or set aside if it was damaged. False: it has grown since `content` was read."""
        if content is not None and self.sizes.get(segment, 0) > content.size > 0:
            return False
        self.sizes.pop(segment, None)
        self._close(segment)
        with suppress(OSError):
            if content is not None and content.damaged:
                self._told(segment.name, content.damaged)
                self.path(segment).rename(self._folder / f"aside-{segment.name}")
                for old in sorted(self._asides(), key=lambda path: path.stat().st_mtime)[:-ASIDE_MAX]:
                    old.unlink()
            else:
                self.path(segment).unlink(missing_ok=True)
        return True

    def _close(self, segment: Segment) -> None:
        if self._tails.get(segment.level, (None, ()))[0] == segment:
            del self._tails[segment.level]

    def drop_asides(self) -> bool:
        """What is kept for inquiry goes first when room is short. True when there was any."""
        asides = self._asides()
        for path in asides:
            with suppress(OSError):
                path.unlink()
        return bool(asides)

    def _asides(self) -> list[Path]:
        return list(self._folder.glob("aside-*.seg"))


def parse(data: bytes) -> Content | None:
    """The good batches of a segment's bytes; None when its head is not right, since then nobody knows whose they are."""
    names, at = _names(data)
    if names is None:
        return None
    batches: list[Batch] = []
    damaged = 0
    while at < len(data):
        found = _batch(data, at)
        if found is None:
            following = data.find(_BATCH_MARK, at + 1)
            end = len(data) if following < 0 else following
            damaged += end - at
            at = end
            continue
        batch, size = found
        if all(point < len(names) for point in _points(batch.records)):
            batches.append(batch)
        else:
            damaged += size
        at += size
    return Content(names, tuple(batches), damaged, len(data))


def _points(records: bytes) -> Iterator[int]:
    return (row[2] for row in RECORD.iter_unpack(records))


def _end_of_good(data: bytes) -> int:
    """Where the last good batch (or the head) ends."""
    _, at = _names(data)
    good = at
    while at < len(data):
        found = _batch(data, at)
        if found is None:
            following = data.find(_BATCH_MARK, at + 1)
            at = len(data) if following < 0 else following
        else:
            good = at = at + found[1]
    return good


def _head(names: Names) -> bytes:
    body = json.dumps(names, separators=(",", ":")).encode()
    return _HEAD.pack(_HEAD_MARK, zlib.crc32(body), len(body)) + body


def _names(data: bytes) -> tuple[Names | None, int]:
    if len(data) < _HEAD.size:
        return None, 0
    mark, crc, size = _HEAD.unpack_from(data)
    body = data[_HEAD.size : _HEAD.size + size]
    if mark != _HEAD_MARK or size > _NAMES_MAX or len(body) != size or zlib.crc32(body) != crc:
        return None, 0
    return tuple((str(point), str(device)) for point, device in json.loads(body)), _HEAD.size + size


def _batch(data: bytes, at: int) -> tuple[Batch, int] | None:
    if len(data) - at < _BATCH.size:
        return None
    mark, crc, size, offset_ms, trusted, boot = _BATCH.unpack_from(data, at)
    end = at + _BATCH.size + size
    if mark != _BATCH_MARK or size > BATCH_BYTES or size % RECORD.size or end > len(data):
        return None
    if zlib.crc32(memoryview(data)[at + 8 : end]) != crc:
        return None
    return Batch(boot, offset_ms, bool(trusted), data[at + _BATCH.size : end]), end - at


def _append(path: Path, data: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
        os.fdatasync(handle)
    finally:
        os.close(handle)
