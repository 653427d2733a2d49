"""A CSV as a recording: read line by line, so that a file may be larger than memory, and one bad line costs only itself.

A quoted cell may hold the delimiter, not a line end: a quote that is never closed would swallow the rows after it unseen.
An empty or unreadable cell is a MISSING sample of its point, as a read that failed is at a node.
"""

import csv
import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import nan
from pathlib import Path
from typing import Final, TextIO

from cython_ext import ConfigError, Status

from .columns import MISSING, TIMES, Column, Columns
from .instants import BadTime, reader, recognise
from .recording import CHUNK, Defects, Sample, Span

LINE_MAX: Final = 1 << 20  # characters: a row of 50,000 cells
LEAP_US: Final = 86_400_000_000  # a day: a row so far ahead of the next one has a wrong clock
_MISSING: Final = int(Status.MISSING)
_STATUS_MAX: Final = 0xFFFF

Row = tuple[int, int, list[str]]  # line, UTC microseconds, cells


class CsvFile:
    """`known` are the ids that any plan has; columns that feed none of them are not read. ConfigError for a bad header."""

    def __init__(self, path: Path, columns: Columns, known: Iterable[str], span: Span) -> None:
        self.name = str(path)
        self.rows = 0
        self.defects = Defects()
        self._path = path
        self._columns = columns
        self._span = span
        self._missing = {*MISSING, *(text.strip().lower() for text in columns.missing)}
        self._codes = _numbers(columns.missing)
        self._line = 0
        with _opened(path) as file:
            self._header(file)
        known = list(known)
        self._time = self._time_column()
        self._wide: list[tuple[int, int, float, float]] = []
        if columns.long:
            self.points: Sequence[str] = known
            places = (columns.long.point, columns.long.value, *filter(None, [columns.long.status]))
            self._long = tuple(self._column(name) for name in places)
            self._places = {point: place for place, point in enumerate(known)}
        else:
            fed = self._fed(known)
            self.points = [column.point for column in fed]
            self._wide = [(self._column(c.column), n, c.scale, c.offset) for n, c in enumerate(fed)]

    def chunks(self) -> Iterator[list[Sample]]:
        take = self._take_long if self._columns.long else self._take_wide
        from_us, to_us = self._span.from_us, self._span.to_us
        chunk: list[Sample] = []
        with _opened(self._path) as file:
            self._line = 0
            self._header(file)
            for line, at_us, cells in self._without_leaps(self._timed(file)):
                if not from_us <= at_us < to_us:
                    continue
                self.rows += 1
                take(line, at_us, cells, chunk)
                if len(chunk) >= CHUNK:
                    yield chunk
                    chunk = []
        if chunk:
            yield chunk

    # The header.

    def _header(self, file: TextIO) -> None:
        """Reads up to the header: the first line that is not empty and no comment."""
        for line in self._lines(file):
            self._delimiter: str = self._columns.delimiter or max((",", ";", "\t"), key=line.count)
            self._names = [name.strip() for name in self._cells(line)]
            return
        raise ConfigError("the file has no header line", source=self.name)

    def _time_column(self) -> int:
        if self._columns.time:
            return self._column(self._columns.time)
        for place, name in enumerate(self._names):
            if name.lower() in TIMES:
                return place
        raise ConfigError(f"which column is the time? Say --time with one of: {self._list()}", source=self.name, line=1)

    def _fed(self, known: list[str]) -> list[Column]:
        fed = list(self._columns.columns) or [Column(point=p, column=p) for p in known if p in self._names]
        if not fed:
            raise ConfigError(
                f"no column is called like a point ({', '.join(known[:8])}); say which one feeds it, e.g. "
                f"--map {known[0]}=COLUMN*SCALE with one of: {self._list()}",
                source=self.name,
                line=1,
            )
        for column in fed:
            if column.point not in known:
                raise ConfigError(f"the plan has no point {column.point!r}; it has {', '.join(known[:20])}")
        return fed

    def _column(self, name: str) -> int:
        if name not in self._names:
            raise ConfigError(f"there is no column {name!r}; there are: {self._list()}", source=self.name, line=1)
        return self._names.index(name)

    def _list(self) -> str:
        return ", ".join(self._names[:20]) + (", …" if len(self._names) > 20 else "")

    # Rows.

    def _lines(self, file: TextIO) -> Iterator[str]:
        """Lines that hold something and are no comment (InfluxDB's annotations begin with #)."""
        while line := self._readline(file):
            self._line += 1
            if len(line) >= LINE_MAX and not line.endswith("\n"):
                while (rest := self._readline(file)) and not rest.endswith("\n"):
                    pass
                self.defects.add(self._line, f"the line is longer than {LINE_MAX} characters")
            elif not line.startswith("#") and not line.isspace():
                yield line

    def _readline(self, file: TextIO) -> str:
        try:
            return file.readline(LINE_MAX)
        except (OSError, EOFError, zlib.error) as error:
            raise ConfigError(f"cannot be read any further: {error}", source=self.name, line=self._line + 1) from None

    def _cells(self, line: str) -> list[str]:
        if '"' not in line:
            return line.rstrip("\r\n").split(self._delimiter)
        return next(csv.reader([line], delimiter=self._delimiter, strict=True))

    def _timed(self, file: TextIO) -> Iterator[Row]:
        """Rows as wide as the header, whose time can be read."""
        width, place = len(self._names), self._time
        read: Callable[[str], int] | None = None
        for line in self._lines(file):
            try:
                cells = self._cells(line)
            except csv.Error as error:
                self.defects.add(self._line, f"not CSV: {error}")
                continue
            if len(cells) != width:
                self.defects.add(self._line, f"{len(cells)} columns, the header has {width}")
                continue
            text = cells[place].strip()
            form = self._columns.time_format
            attempt = read or reader(
                recognise(text) if form == "auto" else form, naive_is_utc=self._columns.naive_is_utc
            )
            try:
                at_us = attempt(text)
            except BadTime as error:
                self.defects.add(self._line, f"{text[:40]!r} {error}")
                continue
            read = attempt  # as the first good row has it
            yield self._line, at_us, cells

    def _without_leaps(self, rows: Iterator[Row]) -> Iterator[Row]:
        """One row whose clock leapt ahead would make every later one late; it is told by the row after it."""
        before_us = -LEAP_US
        held = next(rows, None)
        for row in rows:
            assert held is not None
            if held[1] - row[1] > LEAP_US and row[1] >= before_us:
                self.defects.add(held[0], "its time is more than a day after the next row's")
            else:
                before_us = held[1]
                yield held
            held = row
        if held is not None:
            yield held

    # Samples.

    def _take_wide(self, line: int, at_us: int, cells: list[str], chunk: list[Sample]) -> None:
        for place, point, scale, offset in self._wide:
            value = self._value(line, cells[place])
            chunk.append((at_us, point, value * scale + offset, _MISSING if value != value else 0))

    def _take_long(self, line: int, at_us: int, cells: list[str], chunk: list[Sample]) -> None:
        point = self._places.get(cells[self._long[0]].strip())
        if point is None:
            return  # another point's row, or a table of something else
        value = self._value(line, cells[self._long[1]])
        status = _MISSING if value != value else 0
        if len(self._long) > 2:
            status |= self._status(line, cells[self._long[2]].strip())
        chunk.append((at_us, point, value, status))

    def _value(self, line: int, cell: str) -> float:
        """nan: there is none."""
        text = cell.strip()
        try:
            value = float(text.replace(",", ".") if self._columns.decimal == "," else text) if text else nan
            return nan if value in self._codes else value
        except ValueError:
            pass
        if text.lower() not in self._missing:
            self.defects.add(line, f"{text[:40]!r} is not a number")
        return nan

    def _status(self, line: int, text: str) -> int:
        try:
            status = int(float(text)) if text else 0
        except (ValueError, OverflowError):
            status = -1
        if 0 <= status <= _STATUS_MAX:
            return status
        self.defects.add(line, f"{text[:40]!r} is not a status")
        return _MISSING


def _numbers(texts: Iterable[str]) -> frozenset[float]:
    """Those of the missing texts that are numbers, so that -9999 and -9999.0 are one."""
    found = set()
    for text in texts:
        try:
            found.add(float(text))
        except ValueError:
            continue
    return frozenset(found)


def _opened(path: Path) -> TextIO:
    try:
        if path.suffix == ".gz":
            return gzip.open(path, "rt", encoding="utf-8-sig", errors="replace")
        return path.open(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise ConfigError(f"cannot read: {error.strerror or error}", source=str(path)) from None
