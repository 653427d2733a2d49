"""Approvals: people's own signatures over the order's core, by key or by passkey, counted at the siren (design §2.4).

Each counts once, for one siren and one core; two of one person or one key count as one. How many are needed, and whether they
must be of two centres, is the plan's: for each zone of the order the strictest policy that names this pattern, or, for a pattern
that none names there (an all-clear), the strictest of all; two people where a zone has no policy.
"""

from dataclasses import dataclass
from typing import Final

from cython_ext import WireError
from lanes.envelope import NOT_AFTER_MAX_US, Kind, Refusal, open_envelope
from lanes.keys import Role
from lanes.orders import REQUEST_LIFE_US, Approval, Order, OrderCore
from lanes.passkeys import is_assertion, open_assertion
from lanes.plan import Plan
from lanes.roster import Signer

from .evidence import AHEAD_US
from .moment import Moment
from .refusals import Why
from .standing import Standing

PEOPLE_MIN: Final = 2  # where the plan has no policy: issue 5, "by hand: two people"


@dataclass(frozen=True, slots=True)
class Yes:
    """One person's valid approval. `not_after_us`: until when it must be remembered as used."""

    signer: Signer
    not_after_us: int
    issued_us: int
    count: int = 0  # a passkey's signature counter


@dataclass(frozen=True, slots=True)
class Needed:
    """What an order by people needs."""

    people: int
    centres: int


def read(order: Order, standing: Standing, moment: Moment, nonce: bool) -> tuple[tuple[Yes, ...], Why]:
    """The approvals that count, one a person, and why the first that does not, does not (APPROVALS: all do)."""
    digest = order.core.digest()
    found: list[Yes] = []
    first = Why.APPROVALS
    for blob in order.approvals:
        yes = _read_one(blob, order, digest, standing, moment, nonce)
        if isinstance(yes, Why):
            first = yes if first is Why.APPROVALS else first
        elif all(yes.signer.id != other.signer.id and yes.signer.kid != other.signer.kid for other in found):
            found.append(yes)
    return tuple(found), first


def _read_one(blob: bytes, order: Order, digest: bytes, standing: Standing, moment: Moment, nonce: bool) -> Yes | Why:
    if is_assertion(blob):
        return _read_passkey(blob, order, digest, standing, moment, nonce)
    opened = open_envelope(blob, standing.plan.roster)
    if isinstance(opened, Refusal) or opened.envelope.kind is not Kind.APPROVAL:
        return Why.APPROVAL_FORGED
    envelope, signer = opened.envelope, opened.signer
    if (why := _may(signer, order.core)) is not None:
        return why
    if envelope.addressee != standing.plan.controller:
        return Why.APPROVAL_FORGED
    try:
        approval = Approval.unpack(envelope.body)
    except WireError:
        return Why.APPROVAL_FORGED
    if approval.digest != digest:
        return Why.APPROVAL_OTHER
    if not _in_time(envelope.issued_us, envelope.not_after_us, standing, moment):
        return Why.APPROVAL_EXPIRED
    if nonce and standing.boot not in approval.nonces:
        return Why.APPROVAL_NONCE
    return Yes(signer, envelope.not_after_us, envelope.issued_us)


def _read_passkey(
    blob: bytes, order: Order, digest: bytes, standing: Standing, moment: Moment, nonce: bool
) -> Yes | Why:
    try:
        found = open_assertion(blob, standing.plan.roster)
    except WireError:
        return Why.APPROVAL_FORGED
    core = order.core
    if (why := _may(found.signer, core)) is not None:
        return why
    if not found.approves(digest):
        return Why.APPROVAL_OTHER
    end_us = core.not_after_us
    if moment.trusted:
        in_time = moment.wall_us <= end_us <= moment.wall_us + REQUEST_LIFE_US + AHEAD_US
    else:
        in_time = end_us >= standing.view.floor_us(moment.monotonic_ns)
    if not in_time:
        return Why.APPROVAL_EXPIRED
    if nonce and standing.boot not in found.nonces:
        return Why.APPROVAL_NONCE
    last = standing.view.asserted(found.kid)
    if last is not None and found.count <= last[0] and (found.count, digest) != last:
        return Why.APPROVAL_COUNT  # a copy of the authenticator, or an older yes than one that we have seen
    return Yes(found.signer, end_us, end_us - REQUEST_LIFE_US, found.count)


def _may(signer: Signer, core: OrderCore) -> Why | None:
    """Why this person may not approve that core at all; None: they may."""
    if signer.role is not Role.OPERATOR:
        return Why.APPROVAL_ROLE
    if signer.mode is not core.mode:
        return Why.APPROVAL_MODE
    return None if signer.zones and signer.covers(core.zones) else Why.APPROVAL_ZONES


def _in_time(issued_us: int, not_after_us: int, standing: Standing, moment: Moment) -> bool:
    if not 0 < not_after_us - issued_us <= NOT_AFTER_MAX_US:
        return False
    if moment.trusted:
        return moment.wall_us <= not_after_us and issued_us <= moment.wall_us + AHEAD_US
    return not_after_us >= standing.view.floor_us(moment.monotonic_ns)


def needed(zones: tuple[str, ...], pattern: str, plan: Plan) -> Needed:
    """What the plan asks of people who order this pattern in these zones."""
    people, centres = PEOPLE_MIN, 1
    for zone in zones:
        here = [p for p in plan.policies if p.zone == zone]
        asked = [p for p in here if p.pattern == pattern] or here
        people = max(people, *(p.approvals for p in asked), 0)
        centres = max(centres, *(p.centres for p in asked), 0)
    return Needed(people, centres)


def enough(people: tuple[Yes, ...], ask: Needed) -> Why | None:
    """None, or what is missing."""
    if len(people) < ask.people:
        return Why.APPROVALS
    centres = {yes.signer.centre for yes in people if yes.signer.centre}
    return Why.CENTRES if ask.centres > 1 and len(centres) < ask.centres else None
