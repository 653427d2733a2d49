"""The life of an alarm after ISA-18.2 / IEC 62682 (domain.md §4.1): one total table.

An alarm has a condition (is a point of the zone in danger?) and a person's answer. Its state says both, and whether it is muted.

    A normal                        F latched, acknowledged     the condition is over; waits for a reset
    B unacknowledged                G shelved                   muted by people, for a time
    C acknowledged                  H suppressed by design      muted by a rule
    D returned, unacknowledged      I out of service            muted by permit
    E latched, unacknowledged       the condition is over; nobody has looked

Life-safety alarms (fire; and any alarm for which sirens were ordered) latch: when the condition ends they go to E or F and not to
D or A. A muted alarm goes on judging: when the mute ends, it is where its condition says, and never acknowledged by the mute; one
that latches, and was in danger, is then E: no mute stands in for a reset. A condition that comes back on a latched alarm is a new
danger that nobody has seen: E and F go to B.

Acknowledging never stops a siren, and stopping one never acknowledges: there is no siren in this file.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class State(StrEnum):
    """Where an alarm is. The words are in the journal: never rename."""

    NORMAL = "normal"
    UNACKNOWLEDGED = "unacknowledged"
    ACKNOWLEDGED = "acknowledged"
    RETURNED = "returned-unacknowledged"
    LATCHED_UNACKNOWLEDGED = "latched-unacknowledged"
    LATCHED_ACKNOWLEDGED = "latched-acknowledged"
    SHELVED = "shelved"
    SUPPRESSED = "suppressed"
    OUT_OF_SERVICE = "out-of-service"


class Cue(StrEnum):
    """What moves an alarm."""

    TRIP = "trip"  # the condition begins
    REALARM = "realarm"  # it got worse, spread, lasts, or late news of it came: people must look again
    CLEAR = "clear"  # the condition ends
    LATCH = "latch"  # the condition ends, and the alarm latches
    ACKNOWLEDGE = "acknowledge"  # every event of it has been seen
    RESET = "reset"
    SHELVE = "shelve"
    SUPPRESS = "suppress"
    REMOVE = "remove"  # out of service
    RELEASE_NORMAL = "release-normal"  # a mute ends, the condition is over
    RELEASE_LATCHED = "release-latched"  # a mute ends, the condition is over, and the alarm latches
    RELEASE_ABNORMAL = "release-abnormal"  # a mute ends, the condition holds


_A, _B, _C = State.NORMAL, State.UNACKNOWLEDGED, State.ACKNOWLEDGED
_D, _E, _F = State.RETURNED, State.LATCHED_UNACKNOWLEDGED, State.LATCHED_ACKNOWLEDGED
_G, _H, _I = State.SHELVED, State.SUPPRESSED, State.OUT_OF_SERVICE
_OPEN: Final = (_A, _B, _C, _D, _E, _F)
MUTED: Final = frozenset({_G, _H, _I})
UNSEEN: Final = frozenset({_B, _D, _E})
_RELEASES: Final = (Cue.RELEASE_NORMAL, Cue.RELEASE_LATCHED, Cue.RELEASE_ABNORMAL)

TABLE: Final[Mapping[tuple[State, Cue], State]] = {
    (_A, Cue.TRIP): _B,
    (_B, Cue.ACKNOWLEDGE): _C,
    (_B, Cue.CLEAR): _D,  # it went away before anyone looked: still theirs to see
    (_B, Cue.LATCH): _E,
    (_C, Cue.REALARM): _B,
    (_C, Cue.CLEAR): _A,
    (_C, Cue.LATCH): _F,
    (_D, Cue.ACKNOWLEDGE): _A,
    (_D, Cue.TRIP): _B,
    (_E, Cue.ACKNOWLEDGE): _F,
    (_E, Cue.TRIP): _B,
    (_F, Cue.TRIP): _B,
    (_F, Cue.REALARM): _E,  # late news of the danger that is over
    (_F, Cue.RESET): _A,
    **{(state, Cue.SHELVE): _G for state in _OPEN},
    **{(state, Cue.SUPPRESS): _H for state in _OPEN},
    **{(state, Cue.REMOVE): _I for state in _OPEN},
    **{(state, Cue.RELEASE_NORMAL): _A for state in (_G, _H, _I)},
    **{(state, Cue.RELEASE_LATCHED): _E for state in (_G, _H, _I)},
    **{(state, Cue.RELEASE_ABNORMAL): _B for state in (_G, _H, _I)},
}

IGNORED: Final[frozenset[tuple[State, Cue]]] = frozenset(
    {
        # Nothing is there to be done.
        *((_A, cue) for cue in (Cue.REALARM, Cue.CLEAR, Cue.LATCH, Cue.ACKNOWLEDGE, Cue.RESET)),
        # The condition holds already; a reset must wait for its end.
        *((_B, cue) for cue in (Cue.TRIP, Cue.REALARM, Cue.RESET)),
        *((_C, cue) for cue in (Cue.TRIP, Cue.ACKNOWLEDGE, Cue.RESET)),
        # The condition is over already; what nobody has seen cannot be reset.
        *((_D, cue) for cue in (Cue.REALARM, Cue.CLEAR, Cue.LATCH, Cue.RESET)),
        *((_E, cue) for cue in (Cue.REALARM, Cue.CLEAR, Cue.LATCH, Cue.RESET)),
        *((_F, cue) for cue in (Cue.CLEAR, Cue.LATCH, Cue.ACKNOWLEDGE)),
        # No mute is there to end.
        *((state, cue) for state in _OPEN for cue in _RELEASES),
        # Muted: it stays so until the mute ends; one mute at a time.
        *((state, cue) for state in MUTED for cue in Cue if cue not in _RELEASES),
    }
)


def step(state: State, cue: Cue) -> State:
    """The state after the cue; the same state where the table ignores it."""
    return TABLE.get((state, cue), state)


def state_of(*, active: bool, seen: bool, latches: bool) -> State:
    """Where an unmuted alarm stands by its facts alone: how two books' views of one alarm are joined."""
    if active:
        return _C if seen else _B
    if latches:
        return _F if seen else _E
    return _A if seen else _D
