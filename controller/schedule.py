"""What the calendars have done so far: each siren's silent tests, each exercise's occasions. Kept by the journal."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from .activation import Result


@dataclass(frozen=True, slots=True)
class SilentTest:
    """One siren's. `due_us`: the last occasion that was dealt with; `number`: the activation last recorded; 0: none.

    Times are UTC microseconds; `passed_us` 0: never yet. `why`: a code of docs/receipts.md or docs/decisions.md.
    """

    siren: str
    due_us: int = 0
    number: int = 0
    at_us: int = 0
    result: Result | None = None  # PENDING: ordered; None: not yet one
    why: str = ""
    passed_us: int = 0

    def pack(self) -> list[Any]:
        result = "" if self.result is None else str(self.result)
        return [self.siren, self.due_us, self.number, self.at_us, result, self.why, self.passed_us]

    @classmethod
    def unpack(cls, value: list[Any]) -> "SilentTest":
        siren, due_us, number, at_us, result, why, passed_us = value
        return cls(siren, due_us, number, at_us, Result(result) if result else None, why, passed_us)


@dataclass(frozen=True, slots=True)
class Drill:
    """One exercise's occasion. `steps`: begun, ended, suspended, missed, and `lead-SECONDS` for what was announced."""

    exercise: str
    at_us: int
    steps: tuple[str, ...] = ()
    number: int = 0  # the activation; 0: none
    began_us: int = 0

    def done(self, step: str) -> bool:
        return step in self.steps

    def after(self, step: str, **changes: Any) -> "Drill":
        return replace(self, steps=(*self.steps, step), **changes)

    def pack(self) -> list[Any]:
        return [self.exercise, self.at_us, list(self.steps), self.number, self.began_us]

    @classmethod
    def unpack(cls, value: list[Any]) -> "Drill":
        exercise, at_us, steps, number, began_us = value
        return cls(exercise, at_us, tuple(steps), number, began_us)


class Schedule:
    """All of it. An exercise keeps its present occasion and the next one."""

    def __init__(self) -> None:
        self.tests: dict[str, SilentTest] = {}
        self._drills: dict[str, dict[int, Drill]] = {}

    def put_test(self, test: SilentTest) -> None:
        self.tests[test.siren] = test

    def drill(self, exercise: str, at_us: int) -> Drill:
        """The occasion, known or new."""
        return self._drills.get(exercise, {}).get(at_us) or Drill(exercise, at_us)

    def put_drill(self, drill: Drill) -> None:
        of = self._drills.setdefault(drill.exercise, {})
        of[drill.at_us] = drill
        for old in sorted(of)[:-2]:
            del of[old]

    def drills(self) -> Iterator[Drill]:
        for of in self._drills.values():
            yield from of.values()

    def pack(self) -> list[Any]:
        return [[test.pack() for test in self.tests.values()], [drill.pack() for drill in self.drills()]]

    def restore(self, value: list[Any]) -> None:
        tests, drills = value
        for test in tests:
            self.put_test(SilentTest.unpack(test))
        for drill in drills:
            self.put_drill(Drill.unpack(drill))
