"""Whether a node is there, what its births said, and what of it is told to others."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto
from typing import Final, Protocol

from cython_ext.payload import DataType
from cython_ext.topics import Verb
from cython_ext.wire_data import AliasTable


class Presence(Enum):
    """Whether a node is there."""

    UNBORN = auto()  # heard, but what it says cannot be read before its birth
    ONLINE = auto()
    SUSPECT = auto()  # silent for longer than two heartbeats
    OFFLINE = auto()  # its death was heard
    STALE = auto()  # our own link was lost: nothing is known


class Cue(Enum):
    """What changes a presence."""

    BIRTH = auto()
    DEATH = auto()  # with the session's bdSeq
    HEARD = auto()  # any message in order
    SILENCE = auto()
    BIRTH_REFUSED = auto()  # a new session began, and what it says cannot be read
    OUR_LINK_LOST = auto()


TABLE: Final[Mapping[tuple[Presence, Cue], Presence]] = {
    (Presence.UNBORN, Cue.BIRTH): Presence.ONLINE,
    (Presence.UNBORN, Cue.OUR_LINK_LOST): Presence.STALE,
    (Presence.ONLINE, Cue.BIRTH): Presence.ONLINE,
    (Presence.ONLINE, Cue.DEATH): Presence.OFFLINE,
    (Presence.ONLINE, Cue.SILENCE): Presence.SUSPECT,
    (Presence.ONLINE, Cue.OUR_LINK_LOST): Presence.STALE,
    (Presence.SUSPECT, Cue.BIRTH): Presence.ONLINE,
    (Presence.SUSPECT, Cue.DEATH): Presence.OFFLINE,
    (Presence.SUSPECT, Cue.HEARD): Presence.ONLINE,
    (Presence.ONLINE, Cue.BIRTH_REFUSED): Presence.UNBORN,
    (Presence.SUSPECT, Cue.BIRTH_REFUSED): Presence.UNBORN,
    (Presence.OFFLINE, Cue.BIRTH_REFUSED): Presence.UNBORN,
    (Presence.STALE, Cue.BIRTH_REFUSED): Presence.UNBORN,
    (Presence.SUSPECT, Cue.OUR_LINK_LOST): Presence.STALE,
    (Presence.OFFLINE, Cue.BIRTH): Presence.ONLINE,
    (Presence.OFFLINE, Cue.OUR_LINK_LOST): Presence.STALE,
    (Presence.STALE, Cue.BIRTH): Presence.ONLINE,
}

IGNORED: Final = frozenset(
    {
        (Presence.UNBORN, Cue.DEATH),
        (Presence.UNBORN, Cue.HEARD),  # asks for its birth; nothing it says can be used
        (Presence.UNBORN, Cue.SILENCE),
        (Presence.UNBORN, Cue.BIRTH_REFUSED),
        (Presence.ONLINE, Cue.HEARD),
        (Presence.SUSPECT, Cue.SILENCE),
        (Presence.OFFLINE, Cue.DEATH),  # the will after the published death
        (Presence.OFFLINE, Cue.HEARD),
        (Presence.OFFLINE, Cue.SILENCE),
        (Presence.STALE, Cue.DEATH),
        (Presence.STALE, Cue.HEARD),
        (Presence.STALE, Cue.SILENCE),
        (Presence.STALE, Cue.OUR_LINK_LOST),
    }
)

BORN: Final = (Presence.ONLINE, Presence.SUSPECT)


class EventKind(StrEnum):
    """What others are told of. The values are for logs and journals."""

    NODE_BORN = "node.born"
    NODE_OFFLINE = "node.offline"
    NODE_SUSPECT = "node.suspect"
    NODE_HEARD = "node.heard"  # after SUSPECT
    NODE_STALE = "node.stale"  # our own link was lost
    DEVICE_BORN = "device.born"
    DEVICE_OFFLINE = "device.offline"
    GAP = "gap"  # messages were lost
    REFUSED = "refused"  # a message could not be used; said once a session for each reason, then only counted
    REBIRTH = "rebirth"  # the node is asked to be born again
    FLOODING = "flooding"  # more than it may send: what is over it is not looked at
    CALM = "calm"  # after FLOODING
    HOST_DUPLICATE = "host.duplicate"  # somebody else speaks as this host


@dataclass(frozen=True, slots=True)
class NodeEvent:
    """Something changed in what the host knows. `wall_ms` is the host's time, for DEVICE_OFFLINE the node's."""

    kind: EventKind
    group: str
    node: str
    at_ns: int
    wall_ms: int
    device: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class BornMetric:
    """A metric as its birth said it. `point` is what it feeds; None: nothing is judged by it."""

    name: str
    alias: int | None
    datatype: DataType
    unit: str
    point: int | None


@dataclass(slots=True)
class Device:
    """A born device, or (with an empty name) the node itself."""

    name: str
    metrics: tuple[BornMetric, ...] = ()
    table: AliasTable = field(default_factory=AliasTable)
    online: bool = False
    since_ms: int = 0  # of its last birth or death


@dataclass(frozen=True, slots=True)
class Data:
    """A payload whose samples are to be judged: DATA, or a birth, which says the last values again."""

    group: str
    node: str
    device: str
    verb: Verb
    payload: bytes
    table: AliasTable
    received_ns: int
    metrics: tuple[BornMetric, ...] = ()  # as they were born


class Listener(Protocol):
    """Who is told. `data` raises WireError when the payload cannot be read with its table."""

    def data(self, data: Data) -> None:
        """Samples to judge, now."""

    def event(self, event: NodeEvent) -> None:
        """Something changed."""


Resolve = Callable[[str, str, str, str], int | None]
"""(group, node, device, metric name) → the point it feeds, or None."""
