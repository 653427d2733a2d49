"""What the history server has not yet taken, on disk and bounded. A batch leaves it only when the server has taken it.

Theory. Batches of ready lines in one SQLite file at synchronous=FULL. The newest goes first, so that after an outage the present
is seen at once and the past fills in behind it (servers take points in any order). When the bound is reached, the oldest
telemetry goes, refused batches before others, and transitions only when no telemetry is left: the journal has those anyway.

A damaged file is set aside and a new one begun: the server's past has a hole, and the alarms go on.
"""

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

import apsw

from lanes.store import StoreError, is_damaged, open_store, set_aside, transaction

APPLICATION: Final = 0x42555350  # "BUSP"
BYTES_MAX: Final = (
    256 << 20
)  # compressed (measured 14 bytes a reading): 5,000 points at 1 Hz for an hour, 100 for two days
_SCHEMA: Final = """
CREATE TABLE batch(number INTEGER PRIMARY KEY AUTOINCREMENT, kind INTEGER NOT NULL, count INTEGER NOT NULL,
    bytes INTEGER NOT NULL, refused INTEGER NOT NULL DEFAULT 0, lines BLOB NOT NULL) STRICT;
CREATE INDEX batch_of ON batch(refused, number);
CREATE TABLE shed(kind INTEGER PRIMARY KEY, lines INTEGER NOT NULL) STRICT;
"""
CORRUPT: Final = (apsw.CorruptError, apsw.NotADBError)
_BYTES: Final = "SELECT coalesce(sum(bytes), 0) FROM batch"


class Kind(IntEnum):
    """What a batch holds, least precious first."""

    TELEMETRY = 1
    TRANSITION = 2


@dataclass(frozen=True, slots=True)
class Batch:
    """Lines that go in one request."""

    number: int
    kind: Kind
    count: int
    lines: bytes


class Spool:
    """Blocking; one caller at a time (a Runner)."""

    def __init__(self, path: Path, *, bytes_max: int = BYTES_MAX) -> None:
        self._path = path
        self._bytes_max = bytes_max
        self.damaged = False  # what there was has been set aside: for the caller to tell
        try:
            self._open()
        except StoreError as error:
            if not is_damaged(error, path, APPLICATION):
                raise
            self._begin_anew()
        except (*CORRUPT, TypeError):
            self.begin_anew()

    def _open(self) -> None:
        self._db = open_store(self._path, application=APPLICATION, schema=_SCHEMA, version=1)
        self._bytes: int = self._get(_BYTES)

    def begin_anew(self) -> None:
        """Set aside what SQLite, or we, cannot read."""
        self._db.close()
        self._begin_anew()

    def _begin_anew(self) -> None:
        set_aside(self._path)
        self._open()
        self.damaged = True

    def close(self) -> None:
        self._db.close()

    def put(self, batches: Sequence[tuple[Kind, Sequence[bytes]]]) -> int:
        """Append lines, one commit. Returns how many lines were shed to make room."""
        with self._change():
            for kind, lines in batches:
                if lines:
                    self._insert(kind, lines)
            shed = self._shed()
        return shed  # noqa: RET504 - apsw's types say that its context may end an exception

    def newest(self) -> Batch | None:
        """The next batch to send. As all here, CORRUPT when the file holds what nobody wrote: then `begin_anew`."""
        row = self._get("SELECT number, kind, count, lines FROM batch WHERE refused = 0 ORDER BY number DESC LIMIT 1")
        try:
            return Batch(row[0], Kind(row[1]), row[2], zlib.decompress(row[3])) if row else None
        except (zlib.error, ValueError, TypeError):
            raise apsw.CorruptError(f"batch {row[0]} is not what was written") from None

    def taken(self, number: int) -> None:
        """The server has it."""
        with self._change():
            self._delete("number = ?", (number,))

    def refused(self, batch: Batch) -> None:
        """The server will not take it: halve it, so that one bad line keeps no other back; a single line is set aside."""
        lines = batch.lines.split(b"\n")
        with self._change():
            if len(lines) == 1:
                self._db.execute("UPDATE batch SET refused = 1 WHERE number = ?", (batch.number,))
                return
            self._delete("number = ?", (batch.number,))
            half = len(lines) // 2
            self._insert(batch.kind, lines[:half])
            self._insert(batch.kind, lines[half:])

    def retry_refused(self) -> None:
        """Offer what was set aside again: the server may have been mended."""
        with self._change():
            self._db.execute("UPDATE batch SET refused = 0 WHERE refused = 1")

    @property
    def size_bytes(self) -> int:
        return self._bytes

    def shed_lines(self) -> dict[Kind, int]:
        """Lines given up since the file was made."""
        counts = dict.fromkeys(Kind, 0)
        for kind, lines in self._db.execute("SELECT kind, lines FROM shed"):
            counts[Kind(kind)] = lines
        return counts

    @contextmanager
    def _change(self) -> Iterator[None]:
        try:
            with transaction(self._db):
                yield
        except apsw.Error:
            self._bytes = self._get(_BYTES)  # what was counted is undone
            raise

    def _get(self, sql: str, values: tuple[Any, ...] = ()) -> Any:
        return self._db.execute(sql, values).get

    def _insert(self, kind: Kind, lines: Sequence[bytes]) -> None:
        data = zlib.compress(b"\n".join(lines), 1)
        values = (int(kind), len(lines), len(data), data)
        self._db.execute("INSERT INTO batch(kind, count, bytes, lines) VALUES (?, ?, ?, ?)", values)
        self._bytes += len(data)

    def _delete(self, where: str, values: tuple[Any, ...]) -> int:
        """Returns the lines that are gone."""
        row = self._get(f"DELETE FROM batch WHERE {where} RETURNING bytes, count", values)  # noqa: S608 - our own words
        if row is None:
            return 0
        self._bytes -= row[0]
        return int(row[1])

    def _shed(self) -> int:
        gone = 0
        while self._bytes > self._bytes_max:
            row = self._get("SELECT number, kind FROM batch ORDER BY kind, refused DESC, number LIMIT 1")
            lines = self._delete("number = ?", (row[0],))
            self._db.execute(
                "INSERT INTO shed VALUES (?1, ?2) ON CONFLICT(kind) DO UPDATE SET lines = lines + ?2", (row[1], lines)
            )
            gone += lines
        return gone
