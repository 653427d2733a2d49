"""Where a session is, and what moves it on: a total table. Its theory stands in session.py."""

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final


class State(Enum):
    """Where the session is."""

    DOWN = auto()  # no connection
    WAITING = auto()  # connected; the primary host is not known to be online; nothing may be published
    DUE = auto()  # births are due at `birth_due_ns`; no DATA before them
    LIVE = auto()  # born: DATA flows
    ENDED = auto()  # the death is said; the connection is to be closed


class Cue(Enum):
    """What moves it on."""

    LINKED = auto()  # connected and subscribed, and a primary host is configured
    LINKED_FREE = auto()  # the same, without a primary host
    HOST_ONLINE = auto()  # a STATE of the primary host that began a new session of its
    HOST_OFFLINE = auto()
    REBIRTH = auto()  # asked for by NCMD
    BIRTH_TIME = auto()
    STOP = auto()  # we end on purpose
    LOST = auto()  # the connection is gone


TABLE: Final[Mapping[tuple[State, Cue], State]] = {
    (State.DOWN, Cue.LINKED): State.WAITING,
    (State.DOWN, Cue.LINKED_FREE): State.DUE,
    (State.WAITING, Cue.HOST_ONLINE): State.DUE,
    (State.WAITING, Cue.STOP): State.ENDED,
    (State.WAITING, Cue.LOST): State.DOWN,
    (State.DUE, Cue.BIRTH_TIME): State.LIVE,
    (State.DUE, Cue.HOST_OFFLINE): State.ENDED,
    (State.DUE, Cue.STOP): State.ENDED,
    (State.DUE, Cue.LOST): State.DOWN,
    (State.LIVE, Cue.HOST_ONLINE): State.DUE,  # the host began anew and knows nothing of us
    (State.LIVE, Cue.HOST_OFFLINE): State.ENDED,
    (State.LIVE, Cue.REBIRTH): State.DUE,
    (State.LIVE, Cue.STOP): State.ENDED,
    (State.LIVE, Cue.LOST): State.DOWN,
    (State.ENDED, Cue.LOST): State.DOWN,
}

IGNORED: Final = frozenset(
    {
        (State.WAITING, Cue.HOST_OFFLINE),  # as we thought
        (State.WAITING, Cue.REBIRTH),  # nothing may be published yet
        (State.DUE, Cue.HOST_ONLINE),  # births are coming
        (State.DUE, Cue.REBIRTH),
        (State.ENDED, Cue.HOST_ONLINE),  # the next session will see the retained STATE
        (State.ENDED, Cue.HOST_OFFLINE),
        (State.ENDED, Cue.REBIRTH),
        (State.ENDED, Cue.BIRTH_TIME),
        (State.ENDED, Cue.STOP),
        (State.LIVE, Cue.BIRTH_TIME),
        (State.WAITING, Cue.BIRTH_TIME),
    }
    | {(State.DOWN, cue) for cue in Cue if cue not in (Cue.LINKED, Cue.LINKED_FREE)}
    | {(state, cue) for state in State if state is not State.DOWN for cue in (Cue.LINKED, Cue.LINKED_FREE)}
)
