"""What each point (or vote) last said, through its node: the node's word is authoritative for what it judges (design §2.3)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cython_ext import Level, Trouble
from lanes.identity import EventKey
from lanes.keys import Mode

from .alarm.changes import Reading


@dataclass(frozen=True, slots=True)
class Word:
    """A point's newest word. `reading.key` names the raise of its Level, `newest` the last event that spoke of the point."""

    reading: Reading
    mode: Mode
    live: bool
    newest: EventKey


class Points:
    """The newest word of each point."""

    def __init__(self) -> None:
        self._words: dict[str, Word] = {}

    def __iter__(self) -> Iterator[Word]:
        return iter(list(self._words.values()))

    def get(self, point: str) -> Word | None:
        return self._words.get(point)

    def level(self, point: str) -> Level:
        word = self._words.get(point)
        return word.reading.level if word else Level.NORMAL

    def trouble(self, point: str) -> Trouble:
        word = self._words.get(point)
        return word.reading.trouble if word else Trouble.NONE

    def newer(self, reading: Reading, current_ledger: bytes) -> bool:
        """Whether this reading is later than the word we hold: by seq in one ledger, else by the node's current ledger."""
        held = self._words.get(reading.point)
        if held is None or held.newest.node != reading.key.node:
            return True
        if held.newest.ledger == reading.key.ledger:
            return reading.key.seq > held.newest.seq
        return reading.key.ledger == current_ledger

    def put(self, word: Word) -> None:
        self._words[word.reading.point] = word

    def drop(self, point: str) -> None:
        """The plan names it no more."""
        self._words.pop(point, None)

    def pack(self) -> list[Any]:
        return [[w.reading.pack(), int(w.mode), w.live, w.newest.pack()] for w in self]

    def restore(self, value: list[Any]) -> None:
        for reading, mode, live, newest in value:
            self.put(Word(Reading.unpack(reading), Mode(mode), live, EventKey.unpack(newest)))
