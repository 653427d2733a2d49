"""Evidence: what sensor nodes themselves signed, weighed at the siren (design §2.4).

A piece of evidence is a whole event (a Level raised or restated) or state report of a sensor node, signed with the node's own
key of the order's mode, about a point of that node which the plan says endangers the zone. It counts for 5 minutes by our
trusted clock. An event of this very node and boot is dated by the monotonic clock, so it needs no wall clock. Where our own
wall clock is in doubt, the order must quote our boot nonce (so it was made since our boot) and must not have expired before a
time that we know has passed; then evidence counts when it is of the order's time. Absence, forecasts and incoming CAP cannot
be evidence: no sensor node signs them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cython_ext import Cause, Hazard, Level, WireError
from lanes.envelope import Envelope, Kind, Opened, Refusal, open_envelope
from lanes.identity import EventKey
from lanes.keys import Mode, Role
from lanes.orders import Order
from lanes.plan import Group, Plan, Point, Policy
from lanes.reports import Event, State, TransitionData

from .moment import Moment
from .refusals import Why
from .standing import Standing

EVIDENCE_AGE_US: Final = 300_000_000  # design §2.4
AHEAD_US: Final = 5_000_000  # how far another machine's clock may be ahead of ours
RANK: Final = {"attention": Level.ATTENTION, "alarm": Level.ALARM, "danger": Level.DANGER}
_RAISING: Final = (Cause.RAISED, Cause.RESTATED)


@dataclass(frozen=True, slots=True)
class Report:
    """A verified statement of a sensor node: this point is at this Level."""

    node: str
    kid: bytes
    event: EventKey  # of the raise
    judged: str  # the point or vote
    level: Level


def read(order: Order, issued_us: int, standing: Standing, moment: Moment) -> tuple[tuple[Report, ...], Why]:
    """What of the order's evidence counts at all, and why the first piece that does not, does not (EVIDENCE: all do)."""
    reports: list[Report] = []
    first = Why.EVIDENCE
    for blob in order.evidence:
        found = _read_one(blob, order.core.mode, issued_us, standing, moment)
        if isinstance(found, Why):
            first = found if first is Why.EVIDENCE else first
        else:
            reports += found
    return tuple(reports), first


def _read_one(blob: bytes, mode: Mode, issued_us: int, standing: Standing, moment: Moment) -> list[Report] | Why:
    plan = standing.plan
    opened = open_envelope(blob, plan.roster)
    if isinstance(opened, Refusal):
        return Why.EVIDENCE_FORGED
    envelope, signer = opened.envelope, opened.signer
    if envelope.kind not in (Kind.EVENT, Kind.STATE):
        return Why.EVIDENCE_KIND
    if signer.role is not Role.NODE:
        return Why.EVIDENCE_ROLE
    if signer.mode is not mode:
        return Why.EVIDENCE_MODE
    if envelope.addressee != plan.controller:
        return Why.EVIDENCE_FORGED
    try:
        if envelope.kind is Kind.EVENT:
            return _of_event(opened, issued_us, standing, moment)
        return _of_state(opened, issued_us, standing, moment)
    except WireError:
        return Why.EVIDENCE_FORGED


def _of_event(opened: Opened, issued_us: int, standing: Standing, moment: Moment) -> list[Report] | Why:
    envelope = opened.envelope
    event = Event.unpack(envelope.body)
    data = event.data
    if not isinstance(data, TransitionData) or data.cause not in _RAISING or data.level is Level.NORMAL:
        return Why.EVIDENCE_KIND
    if not _fresh(envelope, event.monotonic_ns, issued_us, standing, moment):
        return Why.EVIDENCE_OLD
    if not owns(envelope.issuer, data.point, standing.plan):
        return Why.EVIDENCE_POINT
    key = EventKey(envelope.issuer, event.ledger, event.seq)
    return [Report(envelope.issuer, opened.signer.kid, key, data.point, data.level)]


def _of_state(opened: Opened, issued_us: int, standing: Standing, moment: Moment) -> list[Report] | Why:
    envelope, plan = opened.envelope, standing.plan
    state = State.unpack(envelope.body)
    if state.plan != standing.signed.digest:  # its rows count in the order of another plan
        return Why.EVIDENCE_KIND
    if not _fresh(envelope, state.monotonic_ns, issued_us, standing, moment):
        return Why.EVIDENCE_OLD
    ids = plan.judged_ids
    reports = []
    for row in state.points:
        if row.point >= len(ids) or not owns(envelope.issuer, ids[row.point], plan):
            return Why.EVIDENCE_POINT
        if row.level is not Level.NORMAL:
            key = EventKey(envelope.issuer, state.ledger, row.raise_seq)
            reports.append(Report(envelope.issuer, opened.signer.kid, key, ids[row.point], row.level))
    return reports or Why.EVIDENCE_KIND


def _fresh(envelope: Envelope, monotonic_ns: int, issued_us: int, standing: Standing, moment: Moment) -> bool:
    if envelope.issuer == standing.node and envelope.boot == standing.boot:
        return 0 <= moment.monotonic_ns - monotonic_ns <= EVIDENCE_AGE_US * 1000
    if moment.trusted:
        return -AHEAD_US <= moment.wall_us - envelope.issued_us <= EVIDENCE_AGE_US
    return -AHEAD_US <= issued_us - envelope.issued_us <= EVIDENCE_AGE_US


def owns(node: str, judged: str, plan: Plan) -> bool:
    """Whether `node` is the one to speak for this point, or for a vote of its own points only."""
    item = plan.judged(judged)
    if isinstance(item, Group):
        members = (plan.judged(point) for point in item.points)
        return all(isinstance(point, Point) and point.node == node for point in members)
    return item is not None and item.node == node


def weigh(policy: Policy, reports: Iterable[Report], plan: Plan) -> tuple[Report, ...]:
    """The reports that carry this policy: of at least k different nodes. Empty when they do not suffice."""
    floor, hazard = RANK[policy.level], Hazard[policy.hazard.upper()]
    high = [r for r in reports if r.level >= floor and plan.hazard_of(r.judged) is hazard]
    counted = {id(r): r for r in high if policy.zone in plan.zones_of(r.judged) and _alone(r.judged, plan)}
    for group in plan.groups:
        if policy.zone in group.zones:
            votes = [r for r in high if r.judged in group.points]
            if len({r.judged for r in votes}) >= group.k:
                counted |= {id(r): r for r in votes}
    found = tuple(counted.values())
    distinct = min(len({r.node for r in found}), len({r.kid for r in found}))
    return found if distinct >= policy.k else ()


def _alone(judged: str, plan: Plan) -> bool:
    """Whether this point (or vote) raises its zones' alarm without others."""
    item = plan.judged(judged)
    return not isinstance(item, Point) or item.alone
