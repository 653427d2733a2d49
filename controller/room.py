"""The room: everything the controller knows, as the journal tells it, and the one way to add to it.

    a report, an act, a tick ─► hearing · acting · deciding ─► rows in the journal ─► this state
                                                                    └─ durable ─► acks, orders, dispatch (lane.py, teller.py)

State changes at once, in the loop, without waiting; what goes out waits for the rows that it rests on. At start the state is the
last snapshot and the rows after it. Nothing here is live after a restart until a node has said so again.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar

from cython_ext import BuciumError, Clock, Hazard, Level
from lanes import cbor
from lanes.envelope import BOOT_BYTES, Envelope, Kind, seal
from lanes.keys import Mode, SigningKey
from lanes.orders import Action
from lanes.planfile import SignedPlan

from . import calls, drillnotice
from .alarm.book import Book, Moved
from .alarm.changes import AlarmChange
from .alarm.figures import Figures
from .alarm.mutes import End, Listed, Mutes
from .alarm.record import Alarm
from .approvals import Requests
from .calls import Call
from .coverage import ZoneCover
from .drillnotice import DrillNotice
from .escalations import Escalations
from .fold import Fold
from .inbound.warnings import Warnings
from .notices import MARK, SirenNotice
from .policy import Decision
from .record.journal import Journal
from .record.moments import Moments
from .record.records import Record, Row
from .schedule import Schedule
from .troubles import Troubles

SOFTWARE: Final = "bucium 0.1"
SNAPSHOT_ROWS: Final = 3_000  # replayed at start in some 0.4 ms each on a busy small machine: about a second
ORDINAL_SHIFT: Final = 32  # counters of one process start: 4 · 10^9 messages
ORDINAL_US: Final = 10_000_000  # starts are numbered from the clock, one each 10 s
ORDINAL_DATED_MAX: Final = 1 << 30  # the year 2310: what claims to be later is no clock, and counters have 63 bits
POLICY: Final = "policy"
CALENDAR: Final = "calendar"
BARRED: Final = frozenset({"vetoed", "stopped"})  # reasons of decisions that bind later ones


Place = tuple[str, Hazard, Mode]
P = ParamSpec("P")
R = TypeVar("R")


class _InRoom(Protocol):
    _room: "Room"


S = TypeVar("S", bound=_InRoom)


def one_moment(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """A method that handles one input: the room's time stands still meanwhile (record/moments.py)."""

    def held(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self._room.clock.hold():
            return method(self, *args, **kwargs)

    held.__doc__ = method.__doc__
    return held


Tellable = AlarmChange | SirenNotice | DrillNotice | Call


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A signed message for a node, to be sent once row `seq` is durable. A function signs it when it goes."""

    seq: int
    node: str
    data: bytes | Callable[[], bytes]

    def message(self) -> bytes:
        return self.data if isinstance(self.data, bytes) else self.data()


class Room:
    """The state of one controller. `notify` is called when something waits to go out."""

    def __init__(
        self,
        *,
        signed: SignedPlan,
        journal: Journal,
        keys: Mapping[Mode, SigningKey],
        clock: Clock,
        entropy: Callable[[int], bytes],
    ) -> None:
        if Mode.LIVE not in keys:
            raise BuciumError("a controller needs its live signing key")
        self.signed = signed
        self.plan = signed.plan
        self.journal = journal
        self.keys = keys
        self.clock = clock if isinstance(clock, Moments) else Moments(clock)
        journal.keep_time(self.clock)
        self.boot = entropy(BOOT_BYTES)
        self.entropy = entropy
        self.fold = Fold(signed)
        self.book = Book()
        self.mutes = Mutes()
        self.figures = Figures()
        self.warnings = Warnings()  # of other centres
        self.requests = Requests()
        self.troubles = Troubles(self._note_trouble)
        self.decided: dict[Place, Decision] = {}
        self.barred: dict[bytes, tuple[Level, str]] = {}  # incident → no automatic sound up to this Level, and why
        self.ordered: dict[bytes, Level] = {}  # incident → the Level that policy has ordered for
        self.used: dict[bytes, int] = {}  # acts and approvals that have counted → their not-after
        self.schedule = Schedule()
        self.escalations = Escalations()
        self.covers: tuple[bytes, Mapping[str, ZoneCover]] = (
            b"",
            {},
        )  # of the plan with this digest, files read (people.py)
        self.untold: dict[int, Tellable] = {}  # journal row → not yet in dispatch's outbox
        self.outgoing: deque[Outgoing] = deque()
        self.notify: Callable[[], None] = lambda: None
        self.ran = b""  # the digest of the plan that ran last, by the journal
        self.ordinal = 0
        self._counter = 0
        self.snapshot_seq = 0

    def replan(self, signed: SignedPlan) -> None:
        """Another plan (replan.py, which does the rest). What stands of nodes and sirens that it does not name is over."""
        self.signed, self.plan = signed, signed.plan
        self.fold.replan(signed)
        known = self.fold.registry
        for each in list(self.troubles):
            if each.source and each.source not in known.nodes:
                self.trouble(each.code, each.subject, False, each.source)

    # Adding to it.

    def moved(self, moved: Moved | None) -> Moved | None:
        """Journal an alarm's change; what others must hear of it waits in `untold`."""
        if moved is None:
            return None
        alarm, change = moved.alarm, moved.change
        if change is None:
            self.journal.append(Record.KEPT, [alarm.pack()])
        else:
            self.untold[self.journal.append(Record.ALARM, [change.pack(), alarm.pack()]).seq] = change
        self._muted(moved)
        if alarm.mode is Mode.LIVE:
            self.figures.saw(source_of(alarm), alarm.state, alarm.level, alarm.severity, alarm.changed_us)
        self.forget(alarm)
        self.notify()
        return moved

    def _muted(self, moved: Moved) -> None:
        """A line of the permanent list, where a mute has ended or begun."""
        alarm, now_us = moved.alarm, self.clock.wall_us()
        held = self.mutes.at(alarm.id.zone, alarm.id.hazard, alarm.mode)
        if (held.mute if held else None) == alarm.mute:
            return
        lines = []
        if held is not None:
            lines.append(self.mutes.ended(held, moved.end or End.RENEWED, moved.by, now_us))
        if alarm.mute is not None:
            lines.append(Listed(alarm.id, alarm.mode, alarm.state, alarm.mute))
        for line in lines:
            self.journal.append(Record.MUTE, line.pack())
            self.mutes.put(line)

    def forget(self, alarm: Alarm) -> None:
        """What was decided of an alarm goes with it."""
        place = (alarm.id.zone, alarm.id.hazard, alarm.mode)
        if self.book.at(*place) is None:
            self.decided.pop(place, None)
            self.barred.pop(alarm.incident, None)
            self.ordered.pop(alarm.incident, None)

    def decide(self, place: Place, decision: Decision) -> Row:
        """Journal a decision and let it stand."""
        row = self.journal.append(Record.DECISION, [decision.pack(), int(place[2])])
        self.stand(place, decision)
        return row

    def stand(self, place: Place, decision: Decision) -> None:
        self.decided[place] = decision
        if decision.reason in BARRED:
            self.barred[decision.incident] = decision.level, decision.reason

    def trouble(self, code: str, subject: str, on: bool, source: str = "") -> None:
        if self.troubles.set(code, subject, on, self.clock.wall_us(), source):
            self.notify()

    def _note_trouble(self, code: str, subject: str, source: str, on: bool) -> None:
        self.journal.append(Record.TROUBLE, [code, subject, source, on])

    def notice(self, notice: SirenNotice | DrillNotice) -> None:
        """Journal what dispatch must hear of a siren, or of an exercise."""
        self.untold[self.journal.append(Record.NOTICE, [notice.pack()]).seq] = notice
        self.notify()

    def told(self, seq: int) -> None:
        """Dispatch has the change of row `seq` on its own disk."""
        if self.untold.pop(seq, None) is not None:
            self.journal.append(Record.TOLD, [seq])

    # Signing.

    def next_counter(self) -> int:
        """Rises for the life of the controller: the ordinal of this start, and a count within it."""
        self._counter += 1
        return (self.ordinal << ORDINAL_SHIFT) | self._counter

    def seal(self, kind: Kind, addressee: str, body: Any, *, mode: Mode = Mode.LIVE, not_after_us: int = 0) -> bytes:
        """The body in an envelope of ours. BuciumError when we have no key of the mode."""
        key = self.keys.get(mode)
        if key is None:
            raise BuciumError(f"this controller has no {mode.name.lower()} key; see [keys] in controller.toml")
        plan, now_us = self.plan, self.clock.wall_us()
        counter = self.next_counter()
        envelope = Envelope(
            kind, plan.controller, addressee, self.boot, counter, now_us, plan.version, 0, body, not_after_us
        )
        return seal(envelope, key)

    # Start and snapshots (recovery.py rebuilds).

    def begin(self) -> None:
        """Write that we have started; from now on counters are above every earlier one.

        Above those of a journal that was lost, or came back from an older copy, too: nodes have kept our counters, and would
        take every order, even a stop, for a replay. So a start is numbered from the clock, where the last is not above that.
        """
        dated = self.clock.wall_us() // ORDINAL_US
        self.ordinal = max(self.ordinal + 1, dated if dated < ORDINAL_DATED_MAX else 0)
        plan = self.signed
        self.journal.append(Record.START, [self.ordinal, self.boot, plan.digest, plan.plan.version, SOFTWARE])
        self.snapshot_seq = self.journal.seq
        self.fold.begin(self.clock.monotonic_ns())
        self.figures.begin(self.clock.wall_us())
        for alarm in list(self.book):
            parts = tuple(replace(part, live=False) for part in alarm.parts)
            self.book.put(replace(alarm, parts=parts))

    def maybe_snapshot(self) -> None:
        """Keep a snapshot when enough rows have come since the last."""
        if self.journal.seq - self.snapshot_seq >= SNAPSHOT_ROWS:
            self.snapshot()

    def snapshot(self) -> None:
        self.snapshot_seq = self.journal.seq
        self.journal.snapshot(self.pack())

    def pack(self) -> dict[str, Any]:
        """The state as a document: all that a restart must know."""
        fold = self.fold
        return {
            "ordinal": self.ordinal,
            "ran": self.signed.digest,
            "registry": fold.registry.pack(),
            "points": fold.points.pack(),
            "activations": fold.activations.pack(),
            "book": self.book.pack(),
            "mutes": self.mutes.pack(),
            "figures": self.figures.pack(),
            "warnings": self.warnings.pack(),
            "requests": self.requests.pack(),
            "troubles": self.troubles.pack(),
            "schedule": self.schedule.pack(),
            "escalations": self.escalations.pack(),
            "decided": [[zone, int(h), int(m), d.pack()] for (zone, h, m), d in self.decided.items()],
            "barred": [[incident, int(level), why] for incident, (level, why) in self.barred.items()],
            "ordered": [[incident, int(level)] for incident, level in self.ordered.items()],
            "used": [[once, until] for once, until in self.used.items()],
            "untold": [[seq, change.pack()] for seq, change in self.untold.items()],
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.ordinal, self.ran = state["ordinal"], state.get("ran", b"")
        self.fold.registry.restore(state["registry"])
        self.fold.points.restore(state["points"])
        self.fold.activations.restore(state["activations"])
        self.book.restore(state["book"])
        self.mutes.restore(state.get("mutes", []))
        self.figures.restore(state.get("figures", []))
        self.warnings.restore(state["warnings"])
        self.requests.restore(state["requests"])
        self.troubles.restore(state["troubles"])
        self.schedule.restore(state.get("schedule", [[], []]))
        self.escalations.restore(state.get("escalations", [[], [], []]))
        self.decided = {(z, Hazard(h), Mode(m)): Decision.unpack(d) for z, h, m, d in state["decided"]}
        self.barred = {incident: (Level(level), why) for incident, level, why in state["barred"]}
        self.ordered = {incident: Level(level) for incident, level in state["ordered"]}
        self.used = {once: until for once, until in state["used"]}  # noqa: C416 - pairs, as lists
        self.untold = {seq: tellable(packed) for seq, packed in state["untold"]}

    def take_order(self, number: int, siren: str, node: str, data: bytes, heads: tuple[str, Level, str]) -> None:
        """An order that stands in the journal becomes part of its activation."""
        described = self.plan.siren(siren)
        errand = self.fold.activations.add(number, siren, node, data, described is not None and described.proof, heads)
        _, level, by = heads
        if by == POLICY and errand.order.action is Action.START:
            incident = errand.order.core.incident
            self.ordered[incident] = max(level, self.ordered.get(incident, Level.NORMAL))


def source_of(alarm: Alarm) -> str:
    """Under which name the alarm is counted."""
    return f"{alarm.id.zone}/{alarm.id.hazard.name.lower()}"


def tellable(packed: bytes) -> Tellable:
    """What waits to be told, as `pack` gave it."""
    mark = cbor.decode_document(packed)[0]
    if mark == drillnotice.MARK:
        return DrillNotice.unpack(packed)
    if mark == calls.MARK:
        return Call.unpack(packed)
    return SirenNotice.unpack(packed) if mark == MARK else AlarmChange.unpack(packed)
