"""What a report is made of: one case, its entries in order, how long each step took. Codes only; `document.py` has the words."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from cython_ext import Hazard, Level
from lanes.keys import Mode
from lanes.planfile import SignedPlan

from ..alarm.sight import Sight
from ..record.verify import Verdict


class Kind(StrEnum):
    """What an entry is about."""

    SEEN = "seen"  # a point said something
    JUDGED = "judged"  # the alarm, and what the policy made of it
    ORDERED = "ordered"
    SOUNDED = "sounded"  # what sirens answered, and what was measured
    TOLD = "told"  # dispatch
    ANSWERED = "answered"  # what people did
    MUTED = "muted"
    TROUBLE = "trouble"  # we could not see, or could not sound
    RECORD = "record"  # the program and its journal


class Proof(StrEnum):
    """What an entry's signature is worth."""

    NONE = ""  # the controller's own row: the chain vouches for it
    GOOD = "good"
    UNKNOWN = "unknown"  # no plan was given that names the key
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the journal that belongs to the case. `run`: which start of the program; `who`: a node, a person, a channel."""

    seq: int
    wall_us: int
    run: int
    monotonic_ns: int
    kind: Kind
    code: str
    who: str
    values: dict[str, Any]
    proof: Proof = Proof.NONE

    def after_ms(self, other: "Entry") -> float:
        """Milliseconds since the other entry: monotonic within one start of the program, else by the wall clock."""
        if self.run == other.run:
            return (self.monotonic_ns - other.monotonic_ns) / 1e6
        return (self.wall_us - other.wall_us) / 1e3


@dataclass(frozen=True, slots=True)
class Step:
    """How long it took from the first sight of the danger. `ms` None: it has not happened."""

    code: str
    ms: float | None
    who: str = ""
    seq: int = 0
    cause_ms: float | None = (
        None  # since the Level for which sirens were ordered was seen; None: no order, or before it
    )


@dataclass(frozen=True, slots=True)
class Series:
    """One point's values as the journal has them: (UTC microseconds, value, Level), and the samples kept around raises."""

    point: str
    marks: tuple[tuple[int, float, int], ...]
    samples: tuple[tuple[int, float], ...] = ()


@dataclass(slots=True)
class Case:
    """One alarm, or one incident, from a journal. Times in UTC microseconds."""

    subject: str  # the alarm's id, or the incident in hex
    zone: str
    hazard: Hazard | None
    mode: Mode
    alarms: tuple[str, ...]
    incidents: tuple[str, ...]
    journal: str
    verdict: Verdict
    plan: SignedPlan | None
    entries: list[Entry] = field(default_factory=list)
    series: list[Series] = field(default_factory=list)
    worst: Level = Level.NORMAL
    state: str = ""  # where the alarm stands at its last entry
    software: str = ""
    controller: str = ""
    plan_version: int = 0
    plan_sha256: str = ""
    sights: list[Sight] = field(default_factory=list)  # what was known around its raises
    left_out: int = 0  # entries beyond ENTRIES_MAX

    @property
    def first(self) -> Entry | None:
        """The first sight of the danger, by which the rest is timed."""
        return next((e for e in self.entries if e.kind is Kind.SEEN and e.values.get("level", 0) > 0), None) or next(
            iter(self.entries), None
        )

    @property
    def cause(self) -> Entry | None:
        """The sight of the Level for which sirens were ordered first; None when none were."""
        order = next((e for e in self.entries if e.code == "ordered.start"), None)
        if order is None:
            return None
        level = order.values["level"] or 1  # by people: no Level of the policy's
        seen = (e for e in self.entries if e.kind is Kind.SEEN and e.seq < order.seq and e.values["level"] >= level)
        return next(seen, None)

    @property
    def steps(self) -> list[Step]:
        return list(_steps(self))

    def proofs(self) -> dict[Proof, int]:
        """How many signatures are worth what."""
        found = dict.fromkeys((Proof.GOOD, Proof.UNKNOWN, Proof.WRONG), 0)
        for entry in self.entries:
            if entry.proof is not Proof.NONE:
                found[entry.proof] += 1
        return found


def _steps(case: Case) -> Iterator[Step]:
    start, cause = case.first, case.cause
    if start is None:
        return

    def step(code: str, entry: Entry) -> Step:
        since = entry.after_ms(cause) if cause is not None and entry.seq > cause.seq else None
        return Step(code, entry.after_ms(start), entry.who, entry.seq, since)

    def first(code: str, *wanted: str, **values: Any) -> Step:
        for entry in case.entries:
            if entry.code in wanted and all(entry.values.get(name) == value for name, value in values.items()):
                return step(code, entry)
        return Step(code, None)

    yield first("judged", "judged.raised")
    yield first("decided", "judged.decision")
    yield first("ordered", "ordered.start")
    yield first("accepted", "sounded.accepted", "sounded.already")
    yield first("sounding", "sounded.sounding")
    yield first("proven", "sounded.sounding", measured=True)
    channels = dict.fromkeys(e.who for e in case.entries if e.code == "told.delivery")
    for channel in channels:
        told = next(
            (
                e
                for e in case.entries
                if e.code == "told.delivery" and e.who == channel and e.values["outcome"] == "delivered"
            ),
            None,
        )
        yield replace(step("told", told), who=channel) if told else Step("told", None, channel)
    if not channels:
        yield Step("told", None)
    yield first("acknowledged", "judged.acknowledged")
    yield first("stopped", "ordered.stop")
    yield first("over", "judged.cleared")
