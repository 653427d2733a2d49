"""The journal as a tape: to the room it looks like a journal, but it holds already what is appended, and compares.

Rows of one moment (one monotonic time, see record/moments.py) have one cause. Of a moment's rows the asides (heads, troubles,
deliveries …) decide nothing; the others must come again, in order, byte for byte.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from cython_ext import BuciumError, Clock
from lanes import cbor
from lanes.envelope import Envelope, peek

from ..record.records import ASIDE, GENESIS, Record, Row

TEXT_MAX: Final = 160  # of a value in a message


class Difference(BuciumError):
    """Replay and record differ: at this row first."""

    def __init__(self, seq: int, why: str) -> None:
        self.seq, self.why = seq, why
        super().__init__(f"row {seq}: {why}")


class Cut(Exception):
    """The program ended within this moment: the rest was never on disk."""


class Tape:
    """Plays one moment at a time; `passing` is shown each aside when it is passed."""

    def __init__(self, journal: bytes, rows: Iterable[Row], passing: Callable[[Row], None]) -> None:
        self.id = journal
        self.seq = 0
        self.compared = 0
        self.cause: tuple[Record, Any] | None = None
        self._rows = iter(rows)
        self._passing = passing
        self._moment: list[Row] = []
        self._at = 0
        self._after: Row | None = next(self._rows, None)

    # The moments.

    def moments(self) -> Iterator[list[Row]]:
        """One after another: the rows of each. What is left of one when the next is asked for was only recorded."""
        while self._after is not None:
            self._moment, self._at = [self._after], 0
            self._after = None
            for row in self._rows:
                if row.monotonic_ns != self._moment[0].monotonic_ns or row.kind is Record.START:
                    self._after = row
                    break
                self._moment.append(row)
            yield self._moment
            left = self.next()
            if left is not None:
                raise Difference(left.seq, f"recorded: {said(left.kind, left.value)}; replay says nothing here")

    def next(self) -> Row | None:
        """The next row of this moment that counts; the asides before it are passed."""
        while self._at < len(self._moment):
            row = self._moment[self._at]
            if row.kind not in ASIDE:
                return row
            self._pass()
            self._passing(row)
        return None

    def beyond(self) -> Row | None:
        """The row that counts after the next one."""
        later = (row for row in self._moment[self._at :] if row.kind not in ASIDE)
        next(later, None)
        return next(later, None)

    def _pass(self) -> Row:
        row = self._moment[self._at]
        self._at += 1
        self.seq = row.seq
        return row

    def forget(self) -> None:
        """The rest of this moment cannot be replayed: the program ended within it."""
        while self._at < len(self._moment):
            self._pass()

    @property
    def cut(self) -> bool:
        """Whether the record ends here, or the program was started anew."""
        return self._after is None or self._after.kind is Record.START

    # As a journal.

    def append(self, kind: Record, value: Any) -> Row:
        """Compare with what was recorded; that row. Difference, or Cut when the program ended here."""
        if kind in ASIDE:
            return Row(self.seq, kind, 0, 0, b"", GENESIS, GENESIS)
        if self.cause is not None:
            self.mark()
        recorded = self.next()
        if recorded is None:
            if self.cut:
                raise Cut
            raise Difference(self.seq, f"after it, replay says {said(kind, value)}; nothing was recorded")
        if recorded.kind is not kind or not _same(recorded, value):
            raise Difference(recorded.seq, _apart(recorded, kind, value))
        self.compared += 1
        return self._pass()

    def mark(self) -> None:
        if self.cause is not None:
            (kind, value), self.cause = self.cause, None
            self.append(kind, value)

    def order(self, built: Envelope) -> bytes:
        """The signed bytes of the order that was recorded here; Difference when it says something else than this one.

        The signature needs the controller's key, and its counter also counts messages that are not journaled.
        """
        recorded = self.next()
        if recorded is None:
            if self.cut:
                raise Cut
            raise Difference(self.seq, f"after it, replay orders {built.addressee}; nothing was recorded")
        if recorded.kind is not Record.ORDER:
            raise Difference(recorded.seq, f"recorded: {said(recorded.kind, recorded.value)}; replay gives an order")
        data: bytes = recorded.value[2]
        then = peek(data)
        assert then is not None, "the chain vouches for it"
        for name in ("kind", "addressee", "boot", "issued_us", "plan_version", "epoch", "body", "not_after_us"):
            if getattr(then, name) != getattr(built, name):
                what = f"{_short(getattr(then, name))}; replay says {_short(getattr(built, name))}"
                raise Difference(recorded.seq, f"the order's {name} was {what}")
        return data

    def keep_time(self, _clock: Clock) -> None:
        """Times stand in the rows."""

    def sign_head(self) -> None:
        """An aside."""

    def snapshot(self, _state: Any) -> None:
        """An aside."""


def _same(recorded: Row, value: Any) -> bool:
    if recorded.kind is Record.START:  # another software may replay it
        return cbor.encode(recorded.value[:-1]) == cbor.encode(value[:-1])
    return recorded.payload == cbor.encode(value)


def _apart(recorded: Row, kind: Record, value: Any) -> str:
    then = recorded.value
    if recorded.kind is kind and isinstance(then, list) and len(then) == len(value):
        for place, (one, other) in enumerate(zip(then, value, strict=True)):
            if cbor.encode([one]) != cbor.encode([other]):
                return f"{kind.name}: item {place + 1} was {_short(one)}; replay says {_short(other)}"
    return f"recorded: {said(recorded.kind, then)}; replay says {said(kind, value)}"


def said(kind: Record, value: Any) -> str:
    return f"{kind.name} {_short(value)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= TEXT_MAX else text[:TEXT_MAX] + "…"
