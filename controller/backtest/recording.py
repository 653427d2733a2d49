"""A recording: samples in the order in which they were written, in chunks, with what could not be read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

CHUNK: Final = 8192  # samples of one batch: enough to cost nothing per batch, a megabyte of Python objects
NAMED_MAX: Final = 5  # defects that are named with their line; the rest are only counted

Sample = tuple[int, int, float, int]  # UTC microseconds, place in `points`, value in the point's unit, status bits


@dataclass(slots=True)
class Defects:
    """Rows that could not be used, wholly or in one cell: how many, and the first few by line (1-based) and reason."""

    count: int = 0
    named: list[tuple[int, str]] = field(default_factory=list)

    def add(self, line: int, why: str) -> None:
        self.count += 1
        if len(self.named) < NAMED_MAX:
            self.named.append((line, why))


class Recording(Protocol):
    """One source. Iterate `chunks` once; `rows` and `defects` are final after it."""

    @property
    def name(self) -> str: ...

    @property
    def points(self) -> Sequence[str]:
        """Ids of the points that it has; a sample's place counts in them."""

    @property
    def rows(self) -> int: ...

    @property
    def defects(self) -> Defects: ...

    def chunks(self) -> Iterator[list[Sample]]: ...


@dataclass(frozen=True, slots=True)
class Span:
    """The part of a recording that is judged: UTC microseconds, the end not in it."""

    from_us: int = -(1 << 62)
    to_us: int = 1 << 62

    def __contains__(self, at_us: int) -> bool:
        return self.from_us <= at_us < self.to_us
