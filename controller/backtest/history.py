"""Our own history as a recording: line protocol as `controller/history/history.py` writes it, in a file or still in its spool."""

import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import apsw

from cython_ext import ConfigError, Status

from ..history.spool import APPLICATION, Kind
from .recording import CHUNK, Defects, Sample, Span

MEASUREMENT: Final = b"bucium_reading"
LINE_MAX: Final = 1 << 16
SQLITE: Final = b"SQLite format 3\x00"
_POINT: Final = re.compile(rb"(?<!\\),point=([a-z0-9-]+)")
_VALUE: Final = re.compile(rb"(?:^|,)value=([^,]+)")
_STATUS: Final = re.compile(rb"(?:^|,)status=(\d{1,5})i")


def is_history(path: Path) -> bool:
    """Whether the file is our history rather than a CSV, by how it begins."""
    try:
        with path.open("rb") as file:
            begins = file.read(len(SQLITE))
    except OSError as error:
        raise ConfigError(f"cannot read: {error.strerror}", source=str(path)) from None
    return begins.startswith((SQLITE, MEASUREMENT, b"bucium_trans", b"bucium_alarm"))


class LineFile:
    """Readings of the `known` points; other series are passed over."""

    def __init__(self, path: Path, known: Iterable[str], span: Span) -> None:
        self.name = str(path)
        self.points = list(known)
        self.rows = 0
        self.defects = Defects()
        self._path = path
        self._span = span
        self._places = {point.encode(): place for place, point in enumerate(self.points)}
        self._heads: dict[bytes, int] = {}

    def chunks(self) -> Iterator[list[Sample]]:
        chunk: list[Sample] = []
        for number, line in self._lines():
            if not line.startswith(MEASUREMENT):
                continue
            sample = self._sample(number, line)
            if sample is None or sample[0] not in self._span:
                continue
            self.rows += 1
            chunk.append(sample)
            if len(chunk) >= CHUNK:
                yield chunk
                chunk = []
        if chunk:
            yield chunk

    def _sample(self, number: int, line: bytes) -> Sample | None:
        parts = line.rsplit(b" ", 2)  # of the three, only the head may hold spaces
        if len(parts) < 3:
            self.defects.add(number, "not a line of our history")
            return None
        place = self._place(parts[0])
        if place < 0:
            return None
        value, status = _VALUE.search(parts[1]), _STATUS.search(parts[1])
        try:
            at_us = int(parts[2])
            number_ = float(value[1]) if value else float("nan")
        except ValueError:
            self.defects.add(number, "its value or its time is not a number")
            return None
        bits = int(status[1]) & 0xFFFF if status else 0
        return at_us, place, number_, bits if value else bits | int(Status.MISSING)

    def _place(self, head: bytes) -> int:
        """The point's place by the series; -1: not one of ours. Series are few, so each is looked at once."""
        place = self._heads.get(head)
        if place is None:
            found = _POINT.search(head)
            place = self._places.get(found[1], -1) if found else -1
            if len(self._heads) < 100_000:  # series of a hostile file; the rest only cost time
                self._heads[head] = place
        return place

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        with self._path.open("rb") as file:
            number = 0
            while line := file.readline(LINE_MAX):
                number += 1
                yield number, line.rstrip(b"\r\n")


class SpoolFile(LineFile):
    """What the server has not taken yet. The controller may be running: the file is only read."""

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        try:
            with closing(apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READONLY)) as store:
                if store.pragma("application_id") != APPLICATION:
                    raise ConfigError(
                        "this database is not a history spool (controller data folder: history.db)", source=self.name
                    )
                yield from self._spooled(store)
        except (apsw.Error, zlib.error) as error:
            raise ConfigError(f"cannot read this spool: {error}", source=self.name) from None

    def _spooled(self, store: apsw.Connection) -> Iterator[tuple[int, bytes]]:
        """A batch at a time, oldest first, without a transaction that would hold the writer up."""
        wanted = "SELECT number, lines FROM batch WHERE kind = ? AND number > ? ORDER BY number LIMIT 1"
        count, after = 0, 0
        while row := store.execute(wanted, (int(Kind.TELEMETRY), after)).fetchone():
            after = row[0]
            for line in zlib.decompress(row[1]).split(b"\n"):
                count += 1
                yield count, line


def history_file(path: Path, known: Iterable[str], span: Span) -> LineFile:
    """The file as what it is."""
    with path.open("rb") as file:
        spooled = file.read(len(SQLITE)) == SQLITE
    return (SpoolFile if spooled else LineFile)(path, known, span)
