"""What a siren last did, by us and by its node: whether it "failed to sound" (domain.md §1.4, after Federal's Commander).

Failed to sound: the last sound that we ordered is not the last that its node told of, or their times lie more than 90 minutes
apart, or nothing proved that it was heard. A sound that a person stopped or holds back has not failed; a pending one not yet.
"""

from dataclasses import dataclass
from typing import Final

from lanes.envelope import peek
from lanes.orders import Action

from .activation import Activations, Errand, Result
from .fallback import Failure, classify

APART_US: Final = 90 * 60_000_000  # domain.md §1.4
ALREADY: Final = frozenset({"already", "incident", "reflex", "evidence"})  # passes that begin no new sound


@dataclass(frozen=True, slots=True)
class LastSound:
    """Times are UTC microseconds, ours and the node's; 0: never. `failed`: `other`, `time`, `audio`, or empty."""

    activation: int
    ordered_us: int
    sounded_us: int
    result: Result
    why: str
    measured: bool
    failed: str


def last_sound(activations: Activations, siren: str) -> LastSound | None:
    """The last start that this siren was ordered; None when none is known (the journal has them all)."""
    starts = [
        (activation.number, activation.errands[siren])
        for activation in activations
        if activation.action is Action.START and siren in activation.errands
    ]
    if not starts:
        return None
    number, errand = max(starts, key=lambda each: each[0])
    envelope = peek(errand.data)
    ordered_us = envelope.issued_us if envelope else 0
    newest_us = max(each.sounded_us for _, each in starts)
    failed = _failed(errand, ordered_us, newest_us)
    return LastSound(number, ordered_us, errand.sounded_us, errand.result, errand.why, errand.measured, failed)


def _failed(errand: Errand, ordered_us: int, newest_us: int) -> str:
    if errand.result is Result.PENDING or classify(errand.why) is Failure.BARRED or errand.why in ALREADY:
        return ""
    if errand.result is Result.FAIL:
        return "audio"
    if newest_us > errand.sounded_us:
        return "other"
    return "time" if errand.sounded_us and abs(errand.sounded_us - ordered_us) > APART_US else ""
