"""What each point (or vote) last said, through its node: the node's word is authoritative for what it judges (design §2.3)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cython_ext import Level, Trouble
from lanes.keys import Mode

from .changes import Reading


@dataclass(frozen=True, slots=True)
class Word:
    """A point's newest word. `reading.key` names the event that gave it."""

    reading: Reading
    mode: Mode
    live: bool


class Points:
    """The newest word of each point."""

    def __init__(self) -> None:
        self._words: dict[str, Word] = {}

    def __iter__(self) -> Iterator[Word]:
        return iter(self._words.values())

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
        if held is None or held.reading.key.node != reading.key.node:
            return True
        if held.reading.key.ledger == reading.key.ledger:
            return reading.key.seq > held.reading.key.seq
        return reading.key.ledger == current_ledger

    def put(self, word: Word) -> None:
        self._words[word.reading.point] = word

    def pack(self) -> list[Any]:
        return [[word.reading.pack(), int(word.mode), word.live] for word in self._words.values()]

    def restore(self, value: list[Any]) -> None:
        for reading, mode, live in value:
            self.put(Word(Reading.unpack(reading), Mode(mode), live))
