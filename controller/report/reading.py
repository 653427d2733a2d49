"""The rows of a journal that belong to one case, each as an entry: from the file alone, in use or a copy.

    first pass     which alarms, incidents, points, nodes, sirens and orders belong to it, and from which row to which
    second pass    every row of these, in order

A signature is checked against the rosters of the plans that are at hand: those given, and those that the journal itself holds.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cython_ext import BuciumError, Hazard, Level, WireError
from lanes import pieces, planfile
from lanes.envelope import Envelope, Opened, Refusal, open_envelope, peek
from lanes.keys import Mode
from lanes.orders import Order, OrderCore, reference_of
from lanes.planfile import SignedPlan
from lanes.reports import Event, ReceiptData, TransitionData

from ..alarm.record import Alarm
from ..approvals import unpack_request
from ..calls import Call
from ..record.aside import Remains
from ..record.records import Record, Row
from ..record.verify import verify_journal
from ..room import tellable
from .case import Case, Entry, Proof, Series

ENTRIES_MAX: Final = 5_000  # in one report: a long flood with all its messages; what is beyond is counted


class NoCase(BuciumError):
    """The journal has nothing of this alarm or incident."""


@dataclass(slots=True)
class Scope:
    """What belongs to the case."""

    alarms: set[str] = field(default_factory=set)
    incidents: set[bytes] = field(default_factory=set)
    places: set[tuple[str, Hazard, Mode]] = field(default_factory=set)
    points: set[str] = field(default_factory=set)
    nodes: set[str] = field(default_factory=set)
    sirens: set[str] = field(default_factory=set)
    events: set[tuple[str, bytes, int]] = field(default_factory=set)
    activations: set[int] = field(default_factory=set)
    references: set[bytes] = field(default_factory=set)
    digests: set[bytes] = field(default_factory=set)
    calls: set[str] = field(default_factory=set)
    first: int = 0
    last: int = 0
    worst: Level = Level.NORMAL
    newest: Alarm | None = None
    asked: OrderCore | None = None  # what people asked for under this incident

    def reach(self, seq: int) -> None:
        self.first = min(self.first or seq, seq)
        self.last = max(self.last, seq)


class Plans:
    """The plans at hand, by digest; rosters of all of them check signatures."""

    def __init__(self, given: Iterable[SignedPlan]) -> None:
        self.known = {plan.digest: plan for plan in given}

    def learn(self, row: Row) -> None:
        """A plan that a person applied stands in the journal, whole."""
        if row.kind is Record.PLAN and row.value[3] == "done":
            with suppress(BuciumError, WireError):
                plan = planfile.parse(pieces.unpack(row.value[5]))
                self.known[plan.digest] = plan

    def keys(self) -> dict[bytes, bytes]:
        """Key id → public key, of all."""
        return {signer.kid: signer.public for plan in self.known.values() for signer in plan.plan.roster}

    def open(self, data: bytes) -> tuple[Envelope | None, Proof]:
        """What signed bytes say, and what their signature is worth."""
        worth = Proof.UNKNOWN
        for plan in self.known.values():
            opened = open_envelope(data, plan.plan.roster)
            if isinstance(opened, Opened):
                return opened.envelope, Proof.GOOD
            if isinstance(opened, Refusal) and str(opened.why) != "unknown-key":
                worth = Proof.WRONG
        return peek(data), worth


def read_case(path: Path, wanted: str, given: Iterable[SignedPlan] = ()) -> Case:
    """The case of an alarm (its id, or zone/hazard: the newest) or an incident (16 hex digits). NoCase when there is none."""
    from .entries import Telling

    plans = Plans(given)
    remains = Remains(path)
    try:
        scope = _survey(remains, wanted, plans)
        telling = Telling(scope, plans)
        entries: list[Entry] = []
        left_out = moment_ns = 0
        for row in remains.rows():
            if row.seq == scope.last:
                moment_ns = row.monotonic_ns
            elif row.seq > scope.last:
                if row.monotonic_ns != moment_ns:
                    break
                scope.last = row.seq  # an act stands behind what came of it, in the same moment
            entry = telling.entry(row)
            if entry is None:
                continue
            if len(entries) < ENTRIES_MAX:
                entries.append(entry)
            else:
                left_out += 1
    finally:
        remains.close()
    verdict = verify_journal(path, plans.keys() or None, None, path.with_suffix(".emergency"))
    newest, plan = scope.newest, plans.known.get(telling.plan)
    place = next(iter(scope.places), None)
    return Case(
        subject=str(newest.id) if newest else wanted,
        zone=place[0] if place else ", ".join(scope.asked.zones) if scope.asked else "",
        hazard=place[1] if place else None,
        mode=place[2] if place else Mode(scope.asked.mode) if scope.asked else Mode.LIVE,
        alarms=tuple(sorted(scope.alarms)),
        incidents=tuple(sorted(each.hex() for each in scope.incidents)),
        journal=remains.id.hex(),
        verdict=verdict,
        plan=plan or (next(iter(plans.known.values())) if plans.known and not telling.plan else None),
        entries=entries,
        series=[
            Series(point, tuple(marks), tuple(telling.samples.get(point, ()))) for point, marks in telling.marks.items()
        ],
        worst=scope.worst,
        state=str(newest.state) if newest else "",
        software=telling.software,
        controller=telling.controller,
        plan_version=telling.plan_version,
        plan_sha256=telling.plan.hex(),
        left_out=left_out,
        sights=telling.sights,
    )


def _survey(remains: Remains, wanted: str, plans: Plans) -> Scope:
    """The first pass: twice over the rows, since what an alarm is called may only be known at its end."""
    scope = Scope()
    _alarms(remains, wanted, scope, plans)
    if not scope.alarms and not scope.incidents:
        raise NoCase(
            f"the journal has nothing of {wanted!r}; give an alarm's id, zone/hazard, or an incident (16 hex digits)"
        )
    for row in remains.rows():
        with suppress(WireError):
            _orders(row, scope)
    return scope


def _alarms(remains: Remains, wanted: str, scope: Scope, plans: Plans) -> None:
    """The alarm, its ids, events and points; of zone/hazard the newest one."""
    incident = bytes.fromhex(wanted) if len(wanted) == 16 and all(c in "0123456789abcdef" for c in wanted) else b""
    newest_of_place = wanted.count("/") == 1
    for row in remains.rows():
        plans.learn(row)
        if row.kind is Record.REQUEST and incident and (core := unpack_request(row.value).core).incident == incident:
            scope.incidents.add(incident)
            scope.asked = core
            scope.reach(row.seq)
        if row.kind not in (Record.ALARM, Record.KEPT):
            continue
        alarm = Alarm.unpack(row.value[-1])
        if newest_of_place:
            ours = f"{alarm.id.zone}/{alarm.id.hazard.name.lower()}" == wanted
            ours = ours and (
                bool(alarm.evidence) or str(alarm.id) in scope.alarms
            )  # not works that nothing happened in
            if ours and str(alarm.id) not in scope.alarms and not any(str(a) in scope.alarms for a in alarm.aliases):
                _restart(scope)
        else:
            ours = wanted in (str(alarm.id), *map(str, alarm.aliases)) or (
                incident != b"" and alarm.incident == incident
            )
            ours = ours or str(alarm.id) in scope.alarms
        if ours:
            _include(scope, alarm, row.seq)
            for each in alarm.evidence:
                if each.key.ledger == remains.id:  # a verdict of the controller's own Panel
                    scope.reach(each.key.seq)


def _restart(scope: Scope) -> None:
    fresh = Scope()
    for name in Scope.__slots__:
        setattr(scope, name, getattr(fresh, name))


def _include(scope: Scope, alarm: Alarm, seq: int) -> None:
    scope.alarms |= {str(alarm.id), *map(str, alarm.aliases)}
    scope.places.add((alarm.id.zone, alarm.id.hazard, alarm.mode))
    if alarm.parts or alarm.evidence:
        scope.incidents.add(alarm.incident)
    scope.points |= {part.reading.point for part in alarm.parts}
    scope.nodes |= {each.key.node for each in alarm.evidence}
    scope.events |= {(each.key.node, each.key.ledger, each.key.seq) for each in alarm.evidence}
    scope.worst = max(scope.worst, alarm.level)
    scope.newest = alarm
    scope.reach(seq)


def _orders(row: Row, scope: Scope) -> None:
    """Orders of the case, and the sirens and requests that belong to it; how far it reaches."""
    if row.kind is Record.ORDER:
        number, siren, data, alarm, _, _ = row.value
        envelope = peek(data)
        order = Order.unpack(envelope.body) if envelope else None
        if order is not None and (alarm in scope.alarms or order.core.incident in scope.incidents):
            scope.activations.add(number)
            scope.sirens.add(siren)
            scope.references.add(reference_of(data))
            scope.incidents.add(order.core.incident)
            scope.nodes.add(envelope.addressee if envelope else "")
            scope.reach(row.seq)
    elif row.kind is Record.REQUEST:
        core = unpack_request(row.value).core
        if core.incident in scope.incidents:
            scope.digests.add(core.digest())
            scope.reach(row.seq)
    elif row.kind is Record.EVENT:
        _event(row, scope)
    elif row.kind is Record.NOTICE:
        notice = tellable(row.value[0])
        if getattr(notice, "alarm", None) in scope.alarms or getattr(notice, "incident", None) in scope.incidents:
            scope.reach(row.seq)
    elif row.kind is Record.TRACE and row.value[0] in scope.alarms:
        scope.reach(row.seq)
    elif row.kind is Record.CALL:
        call = tellable(row.value[0])
        if isinstance(call, Call) and any(about.alarm in scope.alarms for about in call.about):
            scope.calls.add(call.identifier)
            scope.reach(row.seq)
    elif row.kind is Record.DELIVERY and (chained(row.value[2]) in scope.alarms or row.value[1] in scope.calls):
        scope.reach(row.seq)


def chained(chain: str) -> str:
    """The alarm of a chain of messages: dispatch writes its mode before the id."""
    mode, mark, alarm = chain.partition(":")
    return alarm if mark and mode.isdigit() else chain


def _event(row: Row, scope: Scope) -> None:
    envelope = peek(row.value[0])
    if envelope is None:
        return
    event = Event.unpack(envelope.body)
    said: Any = event.data
    named = (envelope.issuer, event.ledger, event.seq) in scope.events
    answered = isinstance(said, ReceiptData) and (said.order in scope.references or said.incident in scope.incidents)
    if named and isinstance(said, TransitionData):
        scope.points.add(said.point)
    if named or answered:
        scope.reach(row.seq)
