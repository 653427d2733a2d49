"""Verification of an order at the node: all of it, before anything moves (design §2.4).

`open_order` checks what concerns the whole message: size, form, signature, issuer, role, mode, addressee. `judge` then decides
for each siren that the order covers: obey, refuse with a reason, or "already". Both are functions of their arguments: the same
order, store and clocks give the same verdict. Nothing here writes; the caller makes the counter durable before a relay moves.

    start   issuer is the plan's controller; new counter; not-after; epoch; order epoch; plan; pattern, family, duration;
            then who stands for it: approvals of people, or evidence of sensor nodes where the policy is automatic
    stop    the controller's or one operator's signature, and a new counter; nothing that could stand in its way: no time,
            no plan, no epoch. Live stops everything, exercise and test only their own kind
    check   arm, tests, status: the controller's signature, new counter, not-after, epoch, plan; tests by its test key

Doubt: while the wall clock is not trusted, or the store may have forgotten counters, the order must quote our boot nonce
(approvals too). A stop has no time, so only a forgetful store puts it in doubt.
"""

from dataclasses import dataclass, replace
from typing import Final

from cython_ext import Level, WireError
from lanes.envelope import NOT_AFTER_MAX_US, Envelope, Kind, Refusal, open_envelope
from lanes.identity import EventKey
from lanes.keys import Mode, Role
from lanes.orders import SOUND_MAX_S, TESTS, Action, Order, reference_of
from lanes.plan import Pattern, Siren
from lanes.roster import Signer

from . import approvals, evidence, exercise
from .evidence import AHEAD_US, RANK
from .moment import Moment
from .refusals import UNOPENED, Refused, Why
from .standing import ALL, LINES, Counter, Line, Standing

SPARE_S: Final = 1  # design §2.4: max_s is at most the pattern's own length and this
AUTOMATIC: Final = ("automatic", "unless-vetoed")


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """An order whose signature, issuer, role, mode and addressee are right."""

    order: Order
    envelope: Envelope
    signer: Signer
    reference: bytes


@dataclass(frozen=True, slots=True)
class Accepted:
    """What one siren is to do. For a start: `pattern` in this siren's own timing, and `limit_s` from its first sound."""

    opened: OpenOrder
    siren: Siren
    pattern: Pattern | None = None
    limit_s: float = 0.0
    level: Level = Level.NORMAL
    people: tuple[approvals.Yes, ...] = ()
    events: tuple[EventKey, ...] = ()  # the evidence that it rests on
    calendar: bool = False  # it is an exercise of the plan's calendar

    @property
    def line(self) -> Line:
        return LINES[self.opened.order.action]


@dataclass(frozen=True, slots=True)
class Already:
    """This siren sounds, or has sounded, for this incident (or by reflex on the same event)."""

    siren: str
    why: str


Verdict = Accepted | Refused | Already


def open_order(data: bytes, standing: Standing) -> OpenOrder | Refused:
    """The order, or why the message is none that this node obeys. Never raises on hostile bytes."""
    opened = open_envelope(data, standing.plan.roster)
    if isinstance(opened, Refusal):
        return Refused(UNOPENED[opened.why], opened.detail, authentic=False, reference=reference_of(data))
    envelope, signer, reference = opened.envelope, opened.signer, reference_of(data)
    if envelope.kind is not Kind.ORDER:
        return Refused(Why.KIND, envelope.kind.name, authentic=False, reference=reference)
    try:
        order = Order.unpack(envelope.body)
    except WireError as error:
        return Refused(Why.MALFORMED, str(error), authentic=False, reference=reference)
    found = OpenOrder(order, envelope, signer, reference)
    incident = order.core.incident
    stops = order.action is Action.STOP
    if signer.role is not Role.CONTROLLER and not (stops and signer.role is Role.OPERATOR):
        detail = f"{signer.id} is {signer.role.name.lower()}"
        return Refused(Why.ROLE, detail, authentic=False, reference=reference, incident=incident)
    if signer.role is Role.CONTROLLER and signer.id != standing.plan.controller:
        detail = f"{signer.id} is not this plan's controller"
        return Refused(Why.ISSUER, detail, authentic=False, reference=reference, incident=incident)
    if envelope.addressee != standing.node:
        detail = f"meant for {envelope.addressee!r}"
        return Refused(Why.ADDRESSEE, detail, authentic=False, reference=reference, incident=incident)
    if signer.mode is not order.core.mode:
        return refuse(found, Why.MODE, f"signed {signer.mode.name.lower()}, says {order.core.mode.name.lower()}")
    if order.action in TESTS and signer.mode is not Mode.TEST:
        return refuse(found, Why.MODE, f"a test is signed with a test key, not {signer.mode.name.lower()}")
    if order.action is Action.START and incident == ALL:
        return refuse(found, Why.MALFORMED, "a start names its incident")
    return found


def judge(opened: OpenOrder, standing: Standing, moment: Moment) -> list[Verdict]:
    """One verdict for each siren that the order covers; one refusal when it covers none."""
    sirens = _covered(opened, standing)
    if isinstance(sirens, Refused):
        return [sirens]
    action = opened.order.action
    if action is Action.STOP:
        return [_judge_stop(opened, siren, standing) for siren in sirens]
    whole = _judge_time(opened, standing, moment)
    if whole is not None:
        return [whole]
    if action is Action.START:
        return _Start(opened, standing, moment).judge(sirens)
    return [_judge_counter(opened, siren, standing, moment) or Accepted(opened, siren) for siren in sirens]


def refuse(opened: OpenOrder, why: Why, detail: str = "", siren: str = "") -> Refused:
    return Refused(why, detail, siren, True, opened.reference, opened.order.core.incident)


def _covered(opened: OpenOrder, standing: Standing) -> list[Siren] | Refused:
    """The sirens of this node that the order is for."""
    order, own = opened.order, standing.sirens
    zones = order.core.zones
    if order.siren:
        siren = own.get(order.siren)
        if siren is None:
            return refuse(opened, Why.SIREN, f"{order.siren!r} is not a siren of {standing.node}")
        sirens = [siren]
    else:
        sirens = [s for s in own.values() if not zones or not set(zones).isdisjoint(s.zones)]
        if not sirens:
            return refuse(opened, Why.ZONE, "no siren of this node warns these zones")
    if order.action is Action.START and not zones:
        return refuse(opened, Why.ZONE, "a start names its zones", order.siren)
    if order.siren and zones and set(zones).isdisjoint(sirens[0].all_zones):
        return refuse(opened, Why.ZONE, "this siren warns none of these zones", order.siren)
    if opened.signer.role is Role.OPERATOR and not all(opened.signer.covers(s.zones) for s in sirens):
        return refuse(opened, Why.ZONE, f"{opened.signer.id} may not act for all of these sirens' zones", order.siren)
    return sirens


def _judge_stop(opened: OpenOrder, siren: Siren, standing: Standing) -> Verdict:
    counter = standing.view.counter(opened.signer.kid, Line.STOP, siren.id)
    if counter.doubtful and opened.order.nonce != standing.boot:
        return refuse(opened, Why.NONCE, "our counters may be incomplete: quote our boot nonce", siren.id)
    if opened.envelope.counter <= counter.value:
        return refuse(opened, Why.COUNTER, f"{opened.envelope.counter} is not above {counter.value}", siren.id)
    return Accepted(opened, siren)


def _judge_time(opened: OpenOrder, standing: Standing, moment: Moment) -> Refused | None:
    """What concerns the whole order: plan, epoch, time."""
    order, envelope, view = opened.order, opened.envelope, standing.view
    if order.core.plan != standing.signed.digest:
        return refuse(opened, Why.PLAN, "made under another plan", order.siren)
    if envelope.epoch < (seen := view.lease(standing.controllers)):
        return refuse(opened, Why.EPOCH, f"lease {envelope.epoch}, we have seen {seen}", order.siren)
    end_us = envelope.not_after_us
    if not 0 < end_us - envelope.issued_us <= NOT_AFTER_MAX_US:
        return refuse(opened, Why.NOT_AFTER, "its life is not within 60 s", order.siren)
    if order.action is Action.START and end_us > order.core.not_after_us:
        return refuse(opened, Why.NOT_AFTER, "it would outlive what its core says", order.siren)
    if not moment.trusted:
        past = end_us < view.floor_us(moment.monotonic_ns)
        return refuse(opened, Why.EXPIRED, "before a time that has passed", order.siren) if past else None
    if moment.wall_us > end_us:
        return refuse(opened, Why.EXPIRED, f"{(moment.wall_us - end_us) / 1e6:.1f} s ago", order.siren)
    if end_us > moment.wall_us + NOT_AFTER_MAX_US + AHEAD_US:
        return refuse(opened, Why.NOT_AFTER, f"{(end_us - moment.wall_us) / 1e6:.1f} s ahead", order.siren)
    return None


def _judge_counter(opened: OpenOrder, siren: Siren, standing: Standing, moment: Moment) -> Refused | None:
    counter = _counter(opened, siren, standing)
    if (counter.doubtful or not moment.trusted) and opened.order.nonce != standing.boot:
        why = "our counters may be incomplete" if counter.doubtful else "our clock is not trusted"
        return refuse(opened, Why.NONCE, f"{why}: quote our boot nonce", siren.id)
    if opened.envelope.counter <= counter.value:
        return refuse(opened, Why.COUNTER, f"{opened.envelope.counter} is not above {counter.value}", siren.id)
    return None


def _counter(opened: OpenOrder, siren: Siren, standing: Standing) -> Counter:
    return standing.view.counter(opened.signer.kid, LINES[opened.order.action], siren.id)


class _Start:
    """One start order, judged for its sirens. Approvals and evidence are read once, and only when all else is right."""

    def __init__(self, opened: OpenOrder, standing: Standing, moment: Moment) -> None:
        self.opened = opened
        self.standing = standing
        self.moment = moment
        self._people: dict[bool, tuple[tuple[approvals.Yes, ...], Why]] = {}
        self._reports: tuple[tuple[evidence.Report, ...], Why] | None = None

    def judge(self, sirens: list[Siren]) -> list[Verdict]:
        return [self._one(siren) for siren in sirens]

    def _one(self, siren: Siren) -> Verdict:
        refused = _judge_counter(self.opened, siren, self.standing, self.moment) or self._order_epoch(siren)
        if refused is not None:
            return refused
        pattern = self._pattern(siren)
        if isinstance(pattern, Refused):
            return pattern
        order = self.opened.order
        verdict: Verdict = self._refuse(Why.AUTHORITY, siren, "it carries neither approvals nor evidence")
        if order.approvals:
            verdict = self._by_people(siren, pattern)
        if order.core.mode is Mode.EXERCISE and not (order.approvals or order.evidence):
            return self._by_calendar(siren, pattern)
        if order.evidence and isinstance(verdict, Refused):
            automatic = self._by_evidence(siren, pattern)
            verdict = verdict if order.approvals and isinstance(automatic, Refused) else automatic
        return verdict

    def _refuse(self, why: Why, siren: Siren, detail: str = "") -> Refused:
        return refuse(self.opened, why, detail, siren.id)

    def _order_epoch(self, siren: Siren) -> Refused | None:
        """The sender must have known of this siren's last stop, and cannot know of stops that were not."""
        said, view = self.opened.order.order_epoch, self.standing.view
        if view.stopped(siren.id, self.opened.order.core.mode) <= said <= view.order_epoch:
            return None
        return self._refuse(Why.ORDER_EPOCH, siren, f"says {said}, now is {view.order_epoch}")

    def _pattern(self, siren: Siren) -> Pattern | Refused:
        core, plan = self.opened.order.core, self.standing.plan
        named = plan.pattern(core.pattern)
        if named is None:
            return self._refuse(Why.PATTERN, siren, f"the plan has no pattern {core.pattern!r}")
        if not 1 <= core.max_s <= min(named.length_s + SPARE_S, SOUND_MAX_S):
            return self._refuse(Why.DURATION, siren, f"max_s {core.max_s}, {named.id} lasts {named.length_s:g} s")
        own = plan.timing(core.pattern, siren.family)
        if own is None:
            return self._refuse(Why.FAMILY, siren, f"{named.id} is for {named.family} sirens, this is {siren.family}")
        return own

    def _accept(self, siren: Siren, pattern: Pattern, level: Level) -> Accepted:
        limit_s = min(float(self.opened.order.core.max_s), pattern.length_s + SPARE_S, float(SOUND_MAX_S))
        return Accepted(self.opened, siren, pattern, limit_s, level)

    # By people.

    def _by_people(self, siren: Siren, pattern: Pattern) -> Verdict:
        core, view = self.opened.order.core, self.standing.view
        nonce = not self.moment.trusted or _counter(self.opened, siren, self.standing).doubtful
        if nonce not in self._people:
            self._people[nonce] = approvals.read(self.opened.order, self.standing, self.moment, nonce)
        people, first = self._people[nonce]
        digest = core.digest()
        fresh = tuple(yes for yes in people if not view.used(siren.id, yes.signer.kid, digest))
        ask = approvals.needed(core.zones, core.pattern, self.standing.plan)
        missing = approvals.enough(fresh, ask)
        if missing is not None:
            if len(fresh) < len(people) and view.sounded(siren.id, core.incident, core.mode) is not None:
                return Already(siren.id, "incident")  # the same people's order once more
            if missing is Why.APPROVALS:
                missing = Why.APPROVAL_USED if len(fresh) < len(people) else first
            return self._refuse(
                missing, siren, f"{len(fresh)} count, {ask.people} people of {ask.centres} centre(s) asked"
            )
        hold = view.hold(siren.id, core.incident, core.mode, self.moment.monotonic_ns)
        if hold and self.moment.trusted and any(y.issued_us + AHEAD_US < hold.stopped_us for y in fresh):
            return self._refuse(Why.HELD, siren, "approved before the stop: approve it again")
        accepted = self._accept(siren, pattern, self._level_of(core.pattern, core.zones))
        return replace(accepted, people=fresh)

    def _level_of(self, pattern: str, zones: tuple[str, ...]) -> Level:
        """The Level that this pattern speaks of in these zones; NORMAL when no policy says."""
        levels = [RANK[p.level] for p in self.standing.plan.policies if p.zone in zones and p.pattern == pattern]
        return max(levels, default=Level.NORMAL)

    # By the plan's calendar.

    def _by_calendar(self, siren: Siren, pattern: Pattern) -> Verdict:
        core, view = self.opened.order.core, self.standing.view
        if set(core.zones).isdisjoint(siren.zones):  # a siren in reserve stands in for nobody in an exercise
            return self._refuse(Why.CALENDAR, siren, "this siren warns these zones only in reserve")
        if why := exercise.why_not(core, self.standing, self.moment):
            return self._refuse(Why.CALENDAR, siren, why)
        if view.hold(siren.id, core.incident, core.mode, self.moment.monotonic_ns):
            return self._refuse(Why.HELD, siren, "stopped")
        if view.sounded(siren.id, core.incident, core.mode) is not None:
            return Already(siren.id, "incident")
        return replace(self._accept(siren, pattern, Level.NORMAL), calendar=True)

    # By evidence.

    def _by_evidence(self, siren: Siren, pattern: Pattern) -> Verdict:
        core, plan, view = self.opened.order.core, self.standing.plan, self.standing.view
        # In a zone of its reserve a siren sounds only when it is ordered by name: in the place of one that has failed.
        zones = set(core.zones) & set(siren.all_zones if self.opened.order.siren else siren.zones)
        policies = [p for p in plan.policies if p.zone in zones and p.mode in AUTOMATIC and p.pattern == core.pattern]
        policies = [p for p in policies if not p.max_s or core.max_s <= p.max_s]
        if not policies:
            return self._refuse(Why.POLICY, siren, "no automatic policy here names this pattern for so long")
        if self._reports is None:
            issued_us = self.opened.envelope.issued_us
            self._reports = evidence.read(self.opened.order, issued_us, self.standing, self.moment)
        reports, first = self._reports
        level = Level.NORMAL
        counted: tuple[evidence.Report, ...] = ()
        for policy in policies:
            found = evidence.weigh(policy, reports, plan)
            if found and RANK[policy.level] > level:
                level, counted = RANK[policy.level], found
        if not counted:
            asked = min(p.k for p in policies)
            return self._refuse(first, siren, f"{len(reports)} reports count, of at least {asked} nodes asked")
        events = tuple(dict.fromkeys(report.event for report in counted))
        hold = view.hold(siren.id, core.incident, core.mode, self.moment.monotonic_ns, events)
        if hold and (level <= hold.level or hold.level is Level.NORMAL):
            refused = self._refuse(Why.HELD, siren, "stopped; a higher Level or people may sound it")
            return replace(refused, level=level)
        return self._already(siren, level, events) or replace(self._accept(siren, pattern, level), events=events)

    def _already(self, siren: Siren, level: Level, events: tuple[EventKey, ...]) -> Already | None:
        core, view = self.opened.order.core, self.standing.view
        sounded = view.sounded(siren.id, core.incident, core.mode)
        if sounded is not None and level <= sounded:
            return Already(siren.id, "incident")
        spent = [view.spent(siren.id, event) for event in events]
        if core.mode is Mode.LIVE and any(s and s.reflex and level <= s.level for s in spent):
            return Already(siren.id, "reflex")
        if all(s and level <= s.level for s in spent):
            return Already(siren.id, "evidence")
        return None
