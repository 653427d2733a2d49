"""How far each escalation has come, and what became of each call: as the journal tells it (escalating.py decides).

Elapsed time is kept, not instants: while the program runs it is monotonic; over a restart it is what stood in the last row, and
what has passed since by the wall clock, which never makes it less: one that was set forward calls people early, none late.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from cython_ext import Hazard, Level
from lanes.keys import Mode

from .calls import Call

WHY: Final = {  # the reasons of each; docs/escalation.md explains every one
    "begun": frozenset({"unacknowledged", "worse", "again"}),
    "step": frozenset({"due", "late", "nobody-on-duty", "passed-on", "not-delivered"}),
    "stuck": frozenset({"unanswered", "nobody-on-duty", "not-delivered"}),
    "ended": frozenset({"acknowledged", "muted", "over", "uncovered"}),
}
LOG_MAX: Final = 48  # entries of one escalation that are shown; the journal has all
TELLINGS_MAX: Final = 32  # receipts of one alarm that are shown, the newest; the journal has all
DELIVERED: Final = "delivered"
LOST: Final = frozenset({"refused", "expired", "shed"})  # this channel will not bring it in time
Where = tuple[str, Hazard, Mode]


class What(StrEnum):
    """What happened to an escalation. Words of the journal: never rename."""

    BEGUN = "begun"
    STEP = "step"
    STUCK = "stuck"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of an escalation. `why`: a code of docs/decisions.md."""

    what: What
    step: int
    why: str
    at_us: int
    calls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Running:
    """An alarm that waits for a person. `step`: those taken; `calls`: the last one's identifiers; times UTC µs, monotonic ns."""

    where: Where
    alarm: str
    escalation: str
    severity: Level
    step: int
    calls: tuple[str, ...]
    stuck: bool
    elapsed_ns: int  # of its time, at the last row
    at_us: int  # the last row
    log: tuple[Entry, ...]
    at_ns: int = 0

    def elapsed(self, now_ns: int) -> int:
        return self.elapsed_ns + now_ns - self.at_ns

    def waited(self, now_ns: int) -> int:
        """Since its last row."""
        return now_ns - self.at_ns


@dataclass(frozen=True, slots=True)
class Calling:
    """A call and what became of it. `rest`: channels that are left for this person; `passed`: the next one has been used."""

    call: Call
    rest: tuple[str, ...]
    within_ns: int
    outcome: str = ""  # the last word of its delivery; empty: none yet
    answered_us: int = 0
    attempts: int = 0
    passed: bool = False
    instead_of: str = ""  # the call that failed before this one was made
    at_ns: int = 0

    @property
    def delivered(self) -> bool:
        return self.outcome == DELIVERED

    def failed(self, now_ns: int) -> bool:
        """Whether its channel has had its time, or will not bring it."""
        return not self.delivered and (self.outcome in LOST or now_ns - self.at_ns >= self.within_ns)


@dataclass(frozen=True, slots=True)
class Telling:
    """The last receipt of one message at one channel."""

    channel: str
    identifier: str
    outcome: str
    detail: str
    attempts: int
    at_us: int


class Escalations:
    """All that run, the calls of their last steps, and who was told of each open alarm."""

    def __init__(self) -> None:
        self._running: dict[Where, Running] = {}
        self.calls: dict[str, Calling] = {}
        self.tellings: dict[str, dict[tuple[str, str], Telling]] = {}  # "mode:alarm" → (channel, identifier) →

    def __iter__(self) -> Iterator[Running]:
        return iter(self._running.values())

    def __len__(self) -> int:
        return len(self._running)

    def at(self, where: Where) -> Running | None:
        return self._running.get(where)

    # As the journal has it.

    def apply(self, value: list[Any], at_us: int, now_ns: int) -> Running | None:
        """An ESCALATION row."""
        zone, hazard, mode, alarm, escalation, what, step, why, severity, elapsed_ns, calls = value
        where = zone, Hazard(hazard), Mode(mode)
        old = self._running.pop(where, None)
        if what == What.ENDED:
            return None
        log = (*(old.log if old else ()), Entry(What(what), step, why, at_us, tuple(calls)))[-LOG_MAX:]
        new = Running(
            where,
            alarm,
            escalation,
            Level(severity),
            step,
            old.calls if old and what == What.STUCK else tuple(calls),
            what == What.STUCK,
            elapsed_ns,
            at_us,
            log,
            now_ns,
        )
        self._running[where] = new
        return new

    def called(self, value: list[Any], now_ns: int) -> Call:
        """A CALL row."""
        packed, rest, within_ms, instead_of = value
        call = Call.unpack(packed)
        self.calls[call.identifier] = Calling(
            call, tuple(rest), within_ms * 1_000_000, instead_of=instead_of, at_ns=now_ns
        )
        before = self.calls.get(instead_of)
        if before is not None:
            self.calls[instead_of] = replace(before, passed=True)
            for run in [run for run in self if instead_of in run.calls]:
                self._running[run.where] = replace(run, calls=(*run.calls, call.identifier))
        return call

    def delivered(self, value: list[Any]) -> None:
        """A DELIVERY row."""
        channel, identifier, alarm, outcome, detail, attempts, at_us, _ = value
        calling = self.calls.get(identifier)
        if calling is not None and calling.call.channel in ("", channel) and not calling.delivered:
            self.calls[identifier] = replace(calling, outcome=outcome, answered_us=at_us, attempts=attempts)
        elif ":" in alarm:
            told = self.tellings.setdefault(alarm, {})
            told.pop((channel, identifier), None)
            told[channel, identifier] = Telling(channel, identifier, outcome, detail, attempts, at_us)
            while len(told) > TELLINGS_MAX:
                del told[next(iter(told))]

    def instead_of(self, identifier: str) -> list[str]:
        """The calls that were made when this one failed."""
        return [name for name, calling in self.calls.items() if calling.instead_of == identifier]

    # Forgetting.

    def keep(self, alarms: set[str]) -> None:
        """Forget the receipts of all alarms but these ("mode:alarm"), and calls that nothing running rests on."""
        for key in self.tellings.keys() - alarms:
            del self.tellings[key]
        wanted = self._wanted()
        for identifier in self.calls.keys() - wanted:
            del self.calls[identifier]

    def _wanted(self) -> set[str]:
        named = {each for run in self for each in run.calls}
        named |= {each for run in self for entry in run.log for each in entry.calls}
        while more := {name for name, calling in self.calls.items() if calling.instead_of in named} - named:
            named |= more
        return named

    # Over a restart.

    def resume(self, now_ns: int, now_us: int) -> None:
        """The program begins: what has passed since the last rows counts, as far as the wall clock says so."""
        for where, run in self._running.items():
            self._running[where] = replace(run, at_ns=now_ns - max(now_us - run.at_us, 0) * 1000)
        for identifier, calling in self.calls.items():
            self.calls[identifier] = replace(calling, at_ns=now_ns - max(now_us - calling.call.at_us, 0) * 1000)

    def pack(self) -> list[Any]:
        running = [
            [
                *(run.where[0], int(run.where[1]), int(run.where[2])),
                *(run.alarm, run.escalation, int(run.severity), run.step, list(run.calls), run.stuck),
                *(run.elapsed_ns, run.at_us),
                [[str(each.what), each.step, each.why, each.at_us, list(each.calls)] for each in run.log],
            ]
            for run in self
        ]
        wanted = self._wanted()
        calls = [
            [c.call.pack(), list(c.rest), c.within_ns, c.outcome, c.answered_us, c.attempts, c.passed, c.instead_of]
            for identifier, c in self.calls.items()
            if identifier in wanted
        ]
        tellings = [
            [alarm, [[t.channel, t.identifier, t.outcome, t.detail, t.attempts, t.at_us] for t in told.values()]]
            for alarm, told in self.tellings.items()
        ]
        return [running, calls, tellings]

    def restore(self, value: list[Any]) -> None:
        running, calls, tellings = value
        for zone, hazard, mode, alarm, escalation, severity, step, ids, stuck, elapsed_ns, at_us, log in running:
            where = zone, Hazard(hazard), Mode(mode)
            entries = tuple(Entry(What(what), n, why, at, tuple(of)) for what, n, why, at, of in log)
            level = Level(severity)
            self._running[where] = Running(
                where, alarm, escalation, level, step, tuple(ids), stuck, elapsed_ns, at_us, entries
            )
        for packed, rest, within_ns, outcome, answered_us, attempts, passed, before in calls:
            call = Call.unpack(packed)
            self.calls[call.identifier] = Calling(
                call, tuple(rest), within_ns, outcome, answered_us, attempts, passed, before
            )
        for alarm, told in tellings:
            found = [Telling(*each) for each in told]
            self.tellings[alarm] = {(each.channel, each.identifier): each for each in found}
