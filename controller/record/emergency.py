"""The emergency journal: rows that the database does not take, safe on disk until it does (reliability.md F14, F15, F18).

One file of fixed size, its room taken when the disk was well, so that a full disk still takes rows; best on another disk than
the database. Rows are chained before they are stored, so they come here as they are and go to the database unchanged:

    file    "BUCIUM-EMERGENCY/1", journal id (8), zeros up to 512       never rewritten while it holds rows
    frame   "BucE" · length of payload (4) · seq (8) · kind (4) · wall µs (8) · monotonic ns (8) · before (32) · hash (32) ·
            seq of the first row of its write (8) · CRC-32 of all that (4) · payload

A frame's own hash vouches for it, and `before` ties it to the one in front: what an earlier use left behind never links. So the
end needs no mark, and after a merge the first frame is wiped. Merging twice changes nothing. A write that a power cut has torn
was promised to nobody and is simply not there; a hole with a later *write* behind it is damage, and said.

A write or sync that failed is never repeated on the same file: nobody knows what the disk then holds.
"""

import contextlib
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import apsw

from lanes.durable import sync_folder
from lanes.store import StoreError

from .records import Record, Row, hash_row

NAME: Final = "journal.emergency"
BYTES: Final = 16 << 20  # some 45,000 rows: hours of a storm, days of a quiet fleet
MAGIC: Final = b"BUCIUM-EMERGENCY/1"
FRAME: Final = struct.Struct(">4sIQIqq32s32sQI")
FRAME_MAGIC: Final = b"BucE"
HEAD_BYTES: Final = 512
WIPE: Final = bytes(512)
WRITE_BYTES: Final = (
    65_536  # of one call: SQLite's unix VFS masks a length with 0x1ffff, and calls the rest a full disk
)
_FLAGS: Final = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_SUPER_JOURNAL


class Torn(StoreError):
    """Rows that were safe here are damaged: a later one still stands."""


class Emergency:
    """Blocking; one caller at a time (the journal's runner). StoreError when the file is not usable."""

    def __init__(self, path: Path, journal: bytes, after: int, size: int = BYTES) -> None:
        """Open, or make, the file for the journal of this id, whose database ends with row `after`.

        A file that holds rows of another journal is StoreError, damaged rows are Torn.
        """
        self.path = path
        self._journal = journal
        self._after = after
        self._failed = ""
        self._end = HEAD_BYTES
        try:
            if not path.exists():
                _make(path, journal, size)
            self._file = apsw.VFSFile("", str(path), [_FLAGS, 0])
            self.bytes_max = self._file.xFileSize()
            head = self._read(0, HEAD_BYTES)
        except (OSError, apsw.Error) as error:
            raise StoreError(f"cannot open the emergency journal: {error}", path) from None
        if not head.startswith(MAGIC):
            self._file.xClose()
            raise StoreError("this is no emergency journal; it is left as it is", path)
        self._head(head[len(MAGIC) : len(MAGIC) + 8])

    def _head(self, found: bytes) -> None:
        if found == self._journal:
            for row in self.rows():
                self._end += FRAME.size + len(row.payload)
            return
        if self._frame_at(HEAD_BYTES, found) is not None:
            self._file.xClose()
            raise StoreError(
                f"it holds rows of another journal ({found.hex()}), {self._journal.hex()} is ours", self.path
            )
        try:
            self._file.xWrite(_head_of(self._journal), 0)
            self._file.xSync(apsw.SQLITE_SYNC_FULL)
        except apsw.Error as error:
            raise StoreError(f"cannot write the emergency journal: {error}", self.path) from None

    @property
    def empty(self) -> bool:
        return self._end == HEAD_BYTES

    def write(self, rows: Sequence[Row]) -> None:
        """On disk when it returns. StoreError: nothing of it counts, and the file takes nothing more."""
        if self._failed:
            raise StoreError(f"the emergency journal has failed: {self._failed}", self.path)
        data = b"".join(_frame(row, rows[0].seq) for row in rows)
        if self._end + len(data) > self.bytes_max:
            raise StoreError(f"the emergency journal is full ({self.bytes_max >> 20} MiB)", self.path)
        try:
            for first in range(0, len(data), WRITE_BYTES):
                self._file.xWrite(data[first : first + WRITE_BYTES], self._end + first)
            self._file.xSync(apsw.SQLITE_SYNC_FULL)
        except apsw.Error as error:
            self._failed = str(error)
            raise StoreError(f"cannot write the emergency journal: {error}", self.path) from None
        self._end += len(data)

    def rows(self) -> Iterator[Row]:
        """What it holds, in order. Torn when a row in the middle is damaged."""
        at, last = HEAD_BYTES, None
        while (found := self._frame_at(at)) is not None and (last is None or _follows(found[0], last)):
            last = found[0]
            yield last
            at += FRAME.size + len(last.payload)
        seq = self._after if last is None else last.seq
        if self._beyond(at, seq):
            raise Torn(f"the emergency journal is damaged after row {seq}", self.path)

    def _beyond(self, at: int, seq: int) -> bool:
        """Whether a later write than the one that ends here stands behind a place that cannot be read."""
        rest = self._read(at, self.bytes_max - at)
        place = rest.find(FRAME_MAGIC)
        while place >= 0:
            found = self._frame_at(at + place)
            if found is not None and found[1] > seq + 1:
                return True
            place = rest.find(FRAME_MAGIC, place + 1)
        return False

    def _frame_at(self, at: int, journal: bytes = b"") -> tuple[Row, int] | None:
        """A whole frame: its row, and the first seq of its write."""
        head = self._read(at, FRAME.size)
        if len(head) < FRAME.size or not head.startswith(FRAME_MAGIC):
            return None
        _, length, seq, kind, wall_us, monotonic_ns, before, digest, first, check = FRAME.unpack(head)
        if check != zlib.crc32(head[:-4]) or length > self.bytes_max - at - FRAME.size:
            return None
        payload = self._read(at + FRAME.size, length)
        if hash_row(journal or self._journal, seq, kind, wall_us, monotonic_ns, payload, before) != digest:
            return None
        return Row(seq, Record(kind), wall_us, monotonic_ns, payload, before, digest), first

    def _read(self, at: int, count: int) -> bytes:
        try:
            return bytes(self._file.xRead(max(0, min(count, self.bytes_max - at)), at))
        except apsw.Error as error:
            raise StoreError(f"cannot read the emergency journal: {error}", self.path) from None

    def wipe(self, after: int) -> None:
        """Every row is in the database, which ends with row `after`. A crash before this only merges once more."""
        try:
            self._file.xWrite(WIPE, HEAD_BYTES)
            self._file.xSync(apsw.SQLITE_SYNC_FULL)
        except apsw.Error as error:
            self._failed = str(error)
            raise StoreError(f"cannot write the emergency journal: {error}", self.path) from None
        self._end, self._after = HEAD_BYTES, after

    def close(self) -> None:
        with contextlib.suppress(apsw.Error):
            self._file.xClose()


def _follows(row: Row, last: Row) -> bool:
    return row.seq == last.seq + 1 and row.previous == last.hash


def _frame(row: Row, first: int) -> bytes:
    heads = (len(row.payload), row.seq, int(row.kind), row.wall_us, row.monotonic_ns, row.previous, row.hash, first)
    head = FRAME.pack(FRAME_MAGIC, *heads, 0)[:-4]
    return head + zlib.crc32(head).to_bytes(4, "big") + row.payload


def _head_of(journal: bytes) -> bytes:
    return (MAGIC + journal).ljust(HEAD_BYTES, b"\0")


def _make(path: Path, journal: bytes, size: int) -> None:
    """The whole file, with its room taken, under its name only when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    beside = path.with_name(path.name + ".new")
    try:
        with beside.open("wb") as file:
            file.write(_head_of(journal))
            file.flush()
            os.posix_fallocate(file.fileno(), 0, size)
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
