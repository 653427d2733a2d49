"""When a siren has failed to sound: what kind of failure it is, and which steps can help (issue 5, item 6; docs/decisions.md).

    late      no answer yet. The order goes on being resent, and a neighbour is ordered now: people cannot wait for its end
    lost      no answer before the order's end
    busy      refused for what passes: another sound, a disk
    broken    it could not begin, or was cut short, and is at rest
    unheard   it plays, and nothing proves it: the same siren again would be answered "already"
    partial   some of its sounds were missed
    stuck     it sounded, and does not fall silent
    unfit     the order does not count at that node; it may count at another
    barred    a person, or an order that goes before, stands against it: nothing follows

The table says what a failure allows; the policy's `fall_back` how often. An approval is single-use at its siren: an order by
people that was accepted cannot be given to the same siren again, but it may be given to another siren of the same zones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Failure(StrEnum):
    """Words of the journal and of notices: never rename."""

    LATE = "late"
    LOST = "lost"
    BUSY = "busy"
    BROKEN = "broken"
    UNHEARD = "unheard"
    PARTIAL = "partial"
    STUCK = "stuck"
    UNFIT = "unfit"
    BARRED = "barred"


class Step(StrEnum):
    """What was done about a failure. Words of the journal: never rename."""

    RETRY = "retry"
    STAND_IN = "stand-in"  # with no sirens: nobody could stand in
    TELL = "tell"
    SOUNDED = "sounded"  # it was told as failed, and sounds after all


@dataclass(frozen=True, slots=True)
class Then:
    """What may follow. `retry`: by evidence, and by people."""

    retry: tuple[bool, bool]
    stand_in: bool
    tell: bool


NEVER: Final = (False, False)
TABLE: Final[Mapping[Failure, Then]] = {
    Failure.LATE: Then(NEVER, stand_in=True, tell=True),
    Failure.LOST: Then(NEVER, stand_in=True, tell=True),  # when it is heard again it is ordered anew (deciding.py)
    Failure.BUSY: Then((True, True), stand_in=True, tell=True),
    Failure.BROKEN: Then((True, False), stand_in=True, tell=True),
    Failure.UNHEARD: Then(NEVER, stand_in=True, tell=True),
    Failure.PARTIAL: Then(NEVER, stand_in=True, tell=True),
    Failure.STUCK: Then(NEVER, stand_in=False, tell=True),
    Failure.UNFIT: Then(NEVER, stand_in=True, tell=True),
    Failure.BARRED: Then(NEVER, stand_in=False, tell=False),
}
_WORDS: Final[Mapping[Failure, frozenset[str]]] = {
    Failure.LOST: frozenset({"no-answer"}),
    Failure.BUSY: frozenset({"busy", "store", "flood", "rate"}),
    Failure.BROKEN: frozenset({"driver", "arm", "restart"}),
    Failure.UNHEARD: frozenset({"no-sound", "not-seen", "no-feedback", "unproved", "silent"}),
    Failure.PARTIAL: frozenset({"partial"}),
    Failure.STUCK: frozenset({"not-off"}),
    Failure.BARRED: frozenset({"stopped", "held", "overtaken", "replaced", "stop"}),
}


def classify(why: str) -> Failure:
    """The kind of failure behind a result's reason; what no other kind names is UNFIT."""
    return next((failure for failure, words in _WORDS.items() if why in words), Failure.UNFIT)
