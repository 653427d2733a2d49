"""What we cannot see or cannot do, now: codes of docs/troubles.md, each with its subject and since when."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

TROUBLES_MAX: Final = (
    4096  # standing at once: every node of a large fleet with several; beyond it they are only counted
)


@dataclass(frozen=True, slots=True)
class Standing:
    """One trouble that stands. `source`: the node that said so; empty: the controller itself."""

    code: str
    subject: str
    source: str
    since_us: int


class Troubles:
    """The standing troubles. Each change goes once to `note` (the journal)."""

    def __init__(self, note: Callable[[str, str, str, bool], object]) -> None:
        self._note = note
        self._standing: dict[tuple[str, str, str], Standing] = {}
        self.overflowed = 0

    def __iter__(self) -> Iterator[Standing]:
        return iter(self._standing.values())

    def __len__(self) -> int:
        return len(self._standing)

    def on(self, code: str, subject: str = "", source: str = "") -> bool:
        return (code, subject, source) in self._standing

    def set(self, code: str, subject: str, on: bool, now_us: int, source: str = "") -> bool:
        """Raise or clear; True when that was news."""
        if on == self.on(code, subject, source):
            return False
        if on and len(self._standing) >= TROUBLES_MAX:
            self.overflowed += 1
            return False
        self._note(code, subject, source, on)
        self.put(code, subject, source, on, now_us)
        return True

    def put(self, code: str, subject: str, source: str, on: bool, since_us: int) -> None:
        """As the journal has it: no note is made."""
        key = (code, subject, source)
        if on:
            self._standing[key] = Standing(code, subject, source, since_us)
        else:
            self._standing.pop(key, None)

    def pack(self) -> list[Any]:
        return [[each.code, each.subject, each.source, each.since_us] for each in self]

    def restore(self, value: list[Any]) -> None:
        for code, subject, source, since_us in value:
            self.put(code, subject, source, True, since_us)
