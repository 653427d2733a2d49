"""A person's stop at the node's own socket: one signature, no controller (domain.md §6.2: a cancel that always works).

The act is signed for this node, and good for 60 s where our clock is trusted; where it is not, it counts whatever its time is:
a stop must not fail for want of a clock. Each counts once.
"""

from dataclasses import dataclass

from cython_ext import WireError
from lanes.acts import StopSiren, open_act
from lanes.envelope import peek
from lanes.keys import Mode
from lanes.orders import reference_of

from .moment import Moment
from .refusals import Why
from .standing import Standing


@dataclass(frozen=True, slots=True)
class PersonStop:
    """Whom it silences. `once` names the act, so that it is not obeyed twice."""

    sirens: tuple[str, ...]
    incident: bytes
    mode: Mode
    reference: bytes
    kid: bytes
    once: bytes
    not_after_us: int


def open_stop(data: bytes, standing: Standing, moment: Moment) -> PersonStop | str:
    """The stop, or why it does not count (codes of docs/receipts.md)."""
    said = peek(data)
    if said is None:
        return Why.MALFORMED
    now_us = moment.wall_us if moment.trusted else said.issued_us
    try:
        signed = open_act(data, standing.plan.roster, service=standing.node, now_us=now_us)
    except WireError as error:
        return error.code
    if not isinstance(signed.act, StopSiren):
        return Why.KIND
    kid, once = signed.once[:8], signed.once[8:]
    if standing.view.used("", kid, once):
        return Why.COUNTER
    act, own = signed.act, standing.sirens
    everyone = not act.sirens and not act.zones
    sirens = [s for s in own.values() if everyone or s.id in act.sirens or set(act.zones) & set(s.zones)]
    if not sirens:
        return Why.SIREN
    if not all(signed.zones.issuperset(siren.zones) for siren in sirens):
        return Why.ZONE
    ids = tuple(siren.id for siren in sirens)
    return PersonStop(ids, act.incident, signed.mode, reference_of(data), kid, once, signed.not_after_us)
