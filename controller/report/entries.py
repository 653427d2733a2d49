"""One row of the journal as an entry of the case, or nothing: what was seen, judged, ordered, sounded, told, answered."""

from typing import Any, Final

from cython_ext import ClockSource, Level, Reason, Trouble, WireError
from lanes.acts import ALL
from lanes.envelope import Envelope
from lanes.keys import Mode
from lanes.orders import Action, Order
from lanes.reports import BootData, Event, ReceiptData, ResetData, Stage, TransitionData, TroubleData

from ..alarm.changes import AlarmChange
from ..alarm.mutes import Listed
from ..alarm.record import Alarm
from ..alarm.sight import Sight
from ..approvals import unpack_request
from ..calls import Call
from ..drillnotice import DrillNotice
from ..policy import Decision
from ..record.records import Record, Row
from ..room import tellable
from .case import Entry, Kind, Proof
from .reading import Plans, Scope, chained

CAUSES: Final = {1: "raised", 2: "lowered", 3: "trouble-raised", 4: "trouble-cleared", 5: "restated"}
Found = tuple[Kind, str, str, dict[str, Any], Proof] | None


class Telling:
    """Goes through the rows once, in order."""

    def __init__(self, scope: Scope, plans: Plans) -> None:
        self._scope = scope
        self._plans = plans
        self._run = 0
        self._state = ""
        self.marks: dict[str, list[tuple[int, float, int]]] = {}
        self.sights: list[Sight] = []
        self.samples: dict[str, list[tuple[int, float]]] = {}
        self.plan = b""
        self.plan_version = 0
        self.software = self.controller = ""

    def entry(self, row: Row) -> Entry | None:
        """The row's entry; None when it does not belong to the case."""
        self._context(row)
        if row.kind is Record.TRACE and row.value[0] in self._scope.alarms:
            sight = Sight.unpack(row.value[2])
            kept = self.samples.setdefault(sight.point, [])
            kept += [each for each in sight.samples if each not in kept]
            self.sights.append(sight)
        if not self._scope.first <= row.seq <= self._scope.last and row.kind is not Record.EVENT:
            return None
        try:
            found = self._found(row)
        except WireError:
            return None  # signed bytes that this program cannot read: the journal's export has them
        if found is None:
            return None
        kind, code, who, values, proof = found
        return Entry(row.seq, row.wall_us, self._run, row.monotonic_ns, kind, code, who, values, proof)

    def _context(self, row: Row) -> None:
        """What ran when the case began."""
        if row.kind is Record.BORN and len(row.value) > 1:
            self.controller = row.value[1]
        if row.kind is Record.START:
            self._run = row.value[0]
            if row.seq <= self._scope.first or not self.plan:
                self.plan, self.plan_version, self.software = row.value[2], row.value[3], row.value[4]
        if row.kind is Record.PLAN and row.value[3] == "done" and row.seq <= self._scope.first:
            self.plan = row.value[4]
            known = self._plans.known.get(self.plan)
            self.plan_version = known.plan.version if known else 0

    def _found(self, row: Row) -> Found:
        value: Any = row.value
        match row.kind:
            case Record.EVENT:
                return self._event(row, value[0], bool(value[2]))
            case Record.WATCHDOG | Record.ALARM | Record.KEPT | Record.DECISION:
                return self._judged(row.kind, value)
            case Record.ORDER | Record.OUTCOME | Record.FALL_BACK:
                return self._siren(row.kind, value)
            case Record.REQUEST | Record.APPROVAL | Record.CLOSED | Record.ACT | Record.MUTE:
                return self._people(row.kind, value)
            case Record.NOTICE | Record.DELIVERY | Record.ESCALATION | Record.CALL:
                return self._told(row.kind, value)
            case Record.TROUBLE | Record.START | Record.CLOCK | Record.PLAN:
                return self._around(row.kind, value)
        return None

    # What nodes said.

    def _event(self, row: Row, data: bytes, live: bool) -> Found:
        envelope, proof = self._plans.open(data)
        if envelope is None:
            return None
        event, scope = Event.unpack(envelope.body), self._scope
        said: Any = event.data
        between = scope.first <= row.seq <= scope.last
        if isinstance(said, ReceiptData):
            if said.order not in scope.references and said.incident not in scope.incidents:
                return None
            values = {"siren": said.siren, "reason": said.reason, "measured": said.measured}
            return Kind.SOUNDED, f"sounded.{stage_word(said.stage)}", envelope.issuer, values, proof
        if isinstance(said, TransitionData):
            named = (envelope.issuer, event.ledger, event.seq) in scope.events
            if not named and not (between and said.point in scope.points):
                return None
            self._mark(said.point, envelope.issued_us, said.value, said.level)
            return (
                Kind.SEEN,
                f"seen.{CAUSES[int(said.cause)]}",
                envelope.issuer,
                _seen(said, envelope, event, live),
                proof,
            )
        if not between or envelope.issuer not in scope.nodes:
            return None
        if isinstance(said, ResetData) and said.point in scope.points:
            return (
                Kind.ANSWERED,
                "answered.reset",
                envelope.issuer,
                {"point": said.point, "done": said.done, "why": said.why},
                proof,
            )
        if isinstance(said, TroubleData):
            values = {"code": said.code, "subject": said.subject}
            return Kind.TROUBLE, f"trouble.{'on' if said.on else 'off'}", envelope.issuer, values, proof
        if isinstance(said, BootData):
            return Kind.RECORD, "record.boot", envelope.issuer, {"why": said.why, "software": said.software}, proof
        return None

    def _mark(self, point: str, at_us: int, value: float, level: int) -> None:
        if value == value:
            self.marks.setdefault(point, []).append((at_us, value, int(level)))

    # What the controller made of it.

    def _judged(self, kind: Record, value: Any) -> Found:
        scope = self._scope
        if kind is Record.WATCHDOG:
            judged, cause, _, level, measured, reason, trouble, own = value
            if judged not in scope.points:
                return None
            values = {"point": judged, "level": level, "value": _number(measured), "own": own}
            values |= {"reason": Reason(reason).name.lower(), "trouble": _troubles(Trouble(trouble))}
            return Kind.JUDGED, f"judged.watchdog-{CAUSES[cause]}", "", values, Proof.NONE
        if kind is Record.DECISION:
            decision = Decision.unpack(value[0])
            if str(decision.alarm) not in scope.alarms:
                return None
            values = {"move": str(decision.move), "reason": decision.reason, "level": int(decision.level)}
            values |= {"pattern": decision.pattern, "sirens": list(decision.sirens)}
            return Kind.JUDGED, "judged.decision", "", values, Proof.NONE
        alarm = Alarm.unpack(value[-1])
        if str(alarm.id) not in scope.alarms:
            return None
        was, self._state = self._state, str(alarm.state)
        values = {"state": str(alarm.state), "level": int(alarm.level), "severity": int(alarm.severity)}
        if kind is Record.ALARM:
            change = AlarmChange.unpack(value[0])
            values |= {"was": int(change.was), "level": int(change.level), "by": change.by}
            return Kind.JUDGED, f"judged.{change.kind}", change.by, values, Proof.NONE
        return (Kind.JUDGED, "judged.state", "", values, Proof.NONE) if was != alarm.state else None

    def _siren(self, kind: Record, value: Any) -> Found:
        number = value[0]
        if kind is not Record.ORDER:
            if number not in self._scope.activations:
                return None
            if kind is Record.OUTCOME:
                values = {"siren": value[1], "result": value[2], "why": value[3]}
                return Kind.SOUNDED, "sounded.outcome", "", values, Proof.NONE
            _, siren, failure, why, step, sirens = value
            values = {"siren": siren, "failure": failure, "why": why, "step": step, "sirens": list(sirens)}
            return Kind.ORDERED, "ordered.fall-back", "", values, Proof.NONE
        _, siren, data, _, level, by = value
        envelope, proof = self._plans.open(data)
        if envelope is None:
            return None
        order = Order.unpack(envelope.body)
        stops = order.action is Action.STOP and siren in self._scope.sirens and order.core.incident == ALL
        if number not in self._scope.activations and not stops:
            return None
        values = {"siren": siren, "node": envelope.addressee, "pattern": order.core.pattern, "by": by, "level": level}
        values |= {"max_s": order.core.max_s, "mode": Mode(order.core.mode).name.lower()}
        values |= {"evidence": len(order.evidence), "approvals": len(order.approvals)}
        return Kind.ORDERED, f"ordered.{order.action.name.lower().replace('_', '-')}", by, values, proof

    # People, dispatch, the program.

    def _people(self, kind: Record, value: Any) -> Found:
        scope = self._scope
        if kind is Record.MUTE:
            line = Listed.unpack(value)
            if str(line.alarm) not in scope.alarms:
                return None
            mute, who = line.mute, ", ".join(line.mute.people) or line.mute.rule
            values = {"state": str(line.state), "reason": mute.reason, "until_us": mute.until_us, "permit": mute.permit}
            values |= {"covers": int(mute.severity), "end": str(line.end), "by": line.by, "rule": mute.rule, "who": who}
            return (
                Kind.MUTED,
                f"muted.{'ended' if line.end else 'began'}",
                line.by if line.end else who,
                values,
                Proof.NONE,
            )
        if kind is Record.REQUEST:
            request = unpack_request(value)
            if request.digest not in scope.digests:
                return None
            values = {"request": request.id, "reason": request.reason, "pattern": request.core.pattern}
            values |= {"zones": list(request.core.zones), "people": request.people}
            return Kind.ANSWERED, "answered.request", request.person, values, Proof.NONE
        if kind is Record.APPROVAL:
            data, _, digest, person, centre, _ = value
            if digest not in scope.digests:
                return None
            return (
                Kind.ANSWERED,
                "answered.approval",
                person,
                {"centre": centre, "request": digest.hex()[:8]},
                self._plans.open(data)[1],
            )
        if kind is Record.CLOSED:
            known = value[0] in scope.digests
            return (
                (Kind.ANSWERED, "answered.closed", "", {"request": value[0].hex()[:8], "why": value[1]}, Proof.NONE)
                if known
                else None
            )
        return self._act(value)

    def _act(self, value: Any) -> Found:
        data, _, _, outcome = value
        envelope, proof = self._plans.open(data)
        if envelope is None or not isinstance(envelope.body, list) or not envelope.body:
            return None
        verb, *args = envelope.body
        if not self._concerns(str(verb), args):
            return None
        values = {"verb": verb, "outcome": outcome}
        if verb == "alarm.shelve":
            values |= {"reason": args[2], "until_us": args[1]}
        elif verb == "alarm.remove":
            values |= {"reason": args[5], "until_us": args[2], "permit": args[4]}
        elif verb == "siren.veto":
            values |= {"reason": args[1]}
        return Kind.ANSWERED, f"answered.{str(verb).replace('.', '-')}", envelope.issuer, values, proof

    def _concerns(self, verb: str, args: list[Any]) -> bool:
        scope = self._scope
        if verb in ("alarm.ack", "alarm.reset", "alarm.shelve", "alarm.unshelve"):
            return args[0] in scope.alarms
        if verb in ("alarm.remove", "alarm.return"):
            return any((args[0], args[1]) == (zone, int(hazard)) for zone, hazard, _ in scope.places)
        if verb == "siren.veto":
            return args[0] in scope.incidents
        if verb == "siren.stop":
            zones, named = set(args[1]), set(args[2])
            ours = {zone for zone, _, _ in scope.places}
            everything = not zones and not named
            return args[0] in scope.incidents or (
                args[0] == ALL and (everything or bool(zones & ours or named & scope.sirens))
            )
        return False

    def _told(self, kind: Record, value: Any) -> Found:
        scope = self._scope
        if kind is Record.DELIVERY:
            channel, identifier, alarm, outcome, detail, attempts, at_us, took_ms = value
            if chained(alarm) not in scope.alarms and identifier not in scope.calls:
                return None
            values = {"identifier": identifier, "outcome": outcome, "detail": detail, "attempts": attempts}
            return (
                Kind.TOLD,
                "told.delivery",
                channel,
                values | {"at_us": at_us, "took_ms": round(took_ms, 3)},
                Proof.NONE,
            )
        if kind is Record.ESCALATION:
            return self._escalation(value)
        notice = tellable(value[0])
        if isinstance(notice, Call):
            if notice.identifier not in scope.calls:
                return None
            values = {"person": notice.person, "channel": notice.channel, "step": notice.step, "reason": notice.reason}
            return Kind.TOLD, "told.call", notice.channel, values, Proof.NONE
        if isinstance(notice, (AlarmChange, DrillNotice)):
            return None
        if notice.alarm not in scope.alarms and notice.incident not in scope.incidents:
            return None
        values = {"siren": notice.siren, "reason": notice.reason, "failure": notice.failure}
        return Kind.TOLD, f"told.{notice.kind}", notice.node, values | {"stand_ins": list(notice.stand_ins)}, Proof.NONE

    def _escalation(self, value: Any) -> Found:
        _, _, _, alarm, escalation, what, step, why, *_ = value
        if alarm not in self._scope.alarms:
            return None
        values = {"escalation": escalation, "what": what, "step": step, "why": why}
        return Kind.TOLD, "told.escalation", "", values, Proof.NONE

    def _around(self, kind: Record, value: Any) -> Found:
        scope = self._scope
        if kind is Record.TROUBLE:
            code, subject, source, on = value
            ours = scope.nodes | scope.sirens | scope.points | {zone for zone, _, _ in scope.places}
            if not {subject, source} & ours:
                return None
            return (
                Kind.TROUBLE,
                f"trouble.{'on' if on else 'off'}",
                source,
                {"code": code, "subject": subject},
                Proof.NONE,
            )
        if kind is Record.START:
            return Kind.RECORD, "record.start", "", {"software": value[4], "plan_version": value[3]}, Proof.NONE
        if kind is Record.CLOCK:
            return (
                Kind.RECORD,
                "record.clock",
                "",
                {"source": ClockSource(value[1]).name.lower(), "error_ms": value[2]},
                Proof.NONE,
            )
        _, proof = self._plans.open(value[0])
        return Kind.RECORD, "record.plan", "", {"outcome": value[3], "plan": value[4].hex()[:16]}, proof


def _seen(said: TransitionData, envelope: Envelope, event: Event, live: bool) -> dict[str, Any]:
    return {
        "point": said.point,
        "was": int(said.was),
        "level": int(said.level),
        "value": _number(said.value),
        "reason": said.reason.name.lower(),
        "trouble": _troubles(said.trouble),
        "live": live,
        "node_us": envelope.issued_us,
        "clock": event.clock.source.name.lower(),
        "clock_error_ms": event.clock.error_ms,
        "event": f"{envelope.issuer}/{event.ledger.hex()}/{event.seq}",
        "plan": event.plan.hex()[:16],
    }


def _number(value: float) -> float | None:
    return value if value == value and abs(value) != float("inf") else None


def _troubles(trouble: Trouble) -> list[str]:
    return [flag.name.lower() for flag in trouble if flag.name]


def stage_word(stage: Stage) -> str:
    return stage.name.lower()


def level_word(level: int) -> str:
    return Level(level).name.lower()
