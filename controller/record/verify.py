"""`bucium journal verify`: is this journal whole, unchanged, and not cut? It names the first bad row.

Written on its own: it shares no code with the writer (`journal.py`, `records.py`, `lanes`), so that one mistake cannot hide
another. It opens the file read-only and may run beside the controller.

    hash of a row = SHA-256 of: journal id, 8 bytes · seq, 8 · kind, 4 · wall µs, 8 · monotonic ns, 8 · payload length, 8 ·
                    payload · hash of the row before, 32 (zeros for the first)                        all big-endian
    emergency     = rows that go on from the last one: after 512 bytes ("BUCIUM-EMERGENCY/1", journal id), each "BucE" · payload
                    length, 4 · seq, 8 · kind, 4 · wall µs, 8 · monotonic ns, 8 · before, 32 · hash, 32 · first seq of its
                    write, 8 · CRC-32, 4 · payload
    signed head   = Ed25519 over: "bucium-head/1" · journal id · seq, 8 · hash · wall µs, 8
"""

import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final

import apsw
import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_BORN: Final = 1
_HEAD: Final = 60
_SNAPSHOT: Final = 61
_COLUMNS: Final = "seq, kind, wall_us, monotonic_ns, payload, previous, hash"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`bad_row` 0: all is well. `heads` counts signed heads in the chain, `checked` those whose signature was checked."""

    rows: int
    heads: int
    checked: int
    bad_row: int = 0
    why: str = ""
    last_hash: str = ""
    emergency: int = 0  # of the rows, those that still stand in the emergency journal

    @property
    def whole(self) -> bool:
        return self.why == ""


def verify_journal(
    path: Path, keys: Mapping[bytes, bytes] | None = None, head: Path | None = None, emergency: Path | None = None
) -> Verdict:
    """The verdict on the journal `path`.

    `keys`: key id → public key (from the plan's roster); with it every signed head is checked. `head`: a copy of a signed
    head, kept elsewhere: rows cut off behind it are found. `emergency`: the emergency journal, which may hold the newest rows.
    """
    try:
        store = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    except apsw.Error as error:
        return Verdict(0, 0, 0, why=f"cannot open: {error}")
    try:
        return _Walk(store, keys, emergency).verdict(_outside(head))
    except (apsw.Error, cbor2.CBORDecodeError, ValueError, TypeError) as error:
        return Verdict(0, 0, 0, bad_row=1, why=f"the file is damaged: {error}")
    except _Bad as bad:
        return Verdict(bad.rows, 0, 0, bad_row=bad.row, why=bad.why)
    finally:
        store.close()


class _Bad(Exception):
    def __init__(self, row: int, why: str, rows: int = 0) -> None:
        self.row, self.why, self.rows = row, why, rows
        super().__init__(why)


class _Walk:
    """One pass over the rows, in order."""

    def __init__(self, store: apsw.Connection, keys: Mapping[bytes, bytes] | None, emergency: Path | None) -> None:
        self._store = store
        self._emergency = emergency
        self._keys = keys
        self._hashes: dict[int, bytes] = {}
        self._snapshots: dict[int, bytes] = {}
        self.heads = self.checked = 0
        self.first = 1
        self.aside = 0

    def verdict(self, outside: dict[str, Any] | None) -> Verdict:
        ids = [value for (value,) in self._store.execute("SELECT value FROM meta WHERE key = 'journal'")]
        if len(ids) != 1 or not isinstance(ids[0], bytes) or len(ids[0]) != 8:
            raise _Bad(1, "the journal's id is missing or changed")
        journal = ids[0]
        wanted = int(outside["seq"]) if outside else 0
        before, last = bytes(32), 0
        at_head = b""
        rows = self._store.execute(f"SELECT {_COLUMNS} FROM entry ORDER BY seq")  # noqa: S608 - constant text
        for row in chain(rows, self._beside(journal)):
            if last == 0:
                self.first = _first(row)
                last = self.first - 1
            last += 1
            before = self._row(journal, last, row, before)
            if last == wanted:
                at_head = before
        if last == 0:
            raise _Bad(1, "there is no row")
        self._check_snapshots()
        if outside:
            self._check_outside(journal, outside, last, at_head)
        count = last - self.first + 1
        return Verdict(count, self.heads, self.checked, last_hash=before.hex(), emergency=self.aside)

    def _beside(self, journal: bytes) -> Iterator[tuple[Any, ...]]:
        """The rows of the emergency journal that the database has not."""
        data = self._emergency.read_bytes() if self._emergency is not None and self._emergency.exists() else b""
        if data[:18] != b"BUCIUM-EMERGENCY/1" or data[18:26] != journal:
            return
        had: Any = self._store.execute("SELECT max(seq) FROM entry").fetchone()
        have, at, before = int(had[0] or 0), 512, None
        while data[at : at + 4] == b"BucE" and zlib.crc32(data[at : at + 108]) == _number(data[at + 108 : at + 112]):
            length, seq, kind = (_number(data[at + a : at + b]) for a, b in ((4, 8), (8, 16), (16, 20)))
            wall, monotonic = (int.from_bytes(data[at + a : at + a + 8], "big", signed=True) for a in (20, 28))
            previous, digest = data[at + 36 : at + 68], data[at + 68 : at + 100]
            if before is not None and previous != before:
                return  # of an earlier use
            before, at = digest, at + 112 + length
            if seq > have:
                self.aside += 1
                yield seq, kind, wall, monotonic, data[at - length : at], previous, digest

    def _row(self, journal: bytes, expected: int, row: tuple[Any, ...], before: bytes) -> bytes:
        seq, kind, wall, monotonic, payload, previous, digest = row
        if seq != expected:
            raise _Bad(expected, f"row {expected} is missing (the next is {seq})", expected - 1)
        if previous != before:
            raise _Bad(expected, "does not follow the row before", expected - 1)
        hasher = hashlib.sha256(journal)
        for number, width in ((seq, 8), (kind, 4), (wall, 8), (monotonic, 8), (len(payload), 8)):
            try:
                hasher.update(int(number).to_bytes(width, "big", signed=True))
            except OverflowError:
                raise _Bad(expected, "a number does not fit", expected - 1) from None
        hasher.update(payload)
        hasher.update(before)
        if hasher.digest() != digest:
            raise _Bad(expected, "its content does not match its hash", expected - 1)
        if (kind == _BORN) != (expected == self.first) or (kind == _BORN and cbor2.loads(payload)[:1] != [journal]):
            raise _Bad(expected, "the first row does not name this journal", expected - 1)
        if kind == _HEAD:
            self._head(journal, expected, cbor2.loads(payload), before)
        elif kind == _SNAPSHOT:
            at, sha = cbor2.loads(payload)
            self._snapshots[at] = sha
        return bytes(digest)

    def _head(self, journal: bytes, row: int, head: Any, before: bytes) -> None:
        seq, digest, wall_us, kid, signature = head
        if seq != row - 1 or digest != before:
            raise _Bad(row, "a signed head that is not of the row before", row - 1)
        self.heads += 1
        if self._keys is not None:
            _signed(self._keys, journal, seq, digest, wall_us, kid, signature, row)
            self.checked += 1

    def _check_snapshots(self) -> None:
        for seq, state in self._store.execute("SELECT seq, state FROM snapshot ORDER BY seq"):
            if self._snapshots.get(seq) != hashlib.sha256(state).digest():
                raise _Bad(seq + 1, "its snapshot is not the one that the chain names", seq)

    def _check_outside(self, journal: bytes, outside: dict[str, Any], count: int, at_head: bytes) -> None:
        if outside["journal"] != journal.hex():
            raise _Bad(1, f"the head is of journal {outside['journal']}, this is {journal.hex()}", count)
        seq = int(outside["seq"])
        if seq >= count:  # the head is a row itself, right behind the one that it names
            raise _Bad(count + 1, f"cut: the signed head stands in row {seq + 1}, the last is {count}", count)
        if outside["hash"] != at_head.hex():
            raise _Bad(seq, "not the row that the signed head names: the journal has been rewritten", count)
        if self._keys is not None:
            kid, signature = bytes.fromhex(outside["kid"]), bytes.fromhex(outside["signature"])
            _signed(self._keys, journal, seq, at_head, int(outside["wall_us"]), kid, signature, seq)


def _first(row: tuple[Any, ...]) -> int:
    """The number that the first row must have: 1, or what follows the last of the damaged journal that it goes on from."""
    seq, kind, payload = row[0], row[1], row[4]
    born = cbor2.loads(payload) if kind == _BORN else []
    if seq > 1 and len(born) == 3 and len(born[2]) == 4 and born[2][1] == seq - 1:
        return int(seq)
    return 1


def _number(octets: bytes) -> int:
    return int.from_bytes(octets, "big")


def _signed(
    keys: Mapping[bytes, bytes],
    journal: bytes,
    seq: int,
    digest: bytes,
    wall_us: int,
    kid: bytes,
    signature: bytes,
    row: int,
) -> None:
    public = keys.get(kid)
    if public is None:
        raise _Bad(row, f"a head signed by key {kid.hex()}, which the plan does not name", row - 1)
    message = b"bucium-head/1" + journal + seq.to_bytes(8, "big") + digest + wall_us.to_bytes(8, "big")
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise _Bad(row, "a head whose signature is wrong", row - 1) from None


def _outside(path: Path | None) -> dict[str, Any] | None:
    if path is None:
        return None
    try:
        head = json.loads(path.read_bytes())
        if {"journal", "seq", "hash", "wall_us", "kid", "signature"} <= set(head):
            return dict(head)
    except (OSError, ValueError, TypeError):
        pass
    raise _Bad(0, f"{path} is not a signed head")
