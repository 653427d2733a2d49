"""Telemetry in: what the Sparkplug host hands on goes to the watchdog's Panel, the registry and the history."""

from collections.abc import Callable

from lanes.plan import Plan

from .room import Room
from .telemetry.presence import Data, EventKind, NodeEvent, Resolve
from .watchdog import Watchdog

BEFORE_BIRTH = "before_birth"  # said by a node that does not know yet that we have begun anew: no fault of it
LOST = {
    EventKind.NODE_OFFLINE: True,
    EventKind.NODE_SUSPECT: True,
    EventKind.NODE_BORN: False,
    EventKind.NODE_HEARD: False,
}


class Intake:
    """The host's listener. `keep` takes each payload to the history, `samples` to what people are shown; neither waits.

    `refuse` counts what could not be read, by reason.
    """

    def __init__(
        self,
        room: Room,
        watchdog: Watchdog,
        keep: Callable[[Data], None] | None = None,
        samples: Callable[[Data], None] | None = None,
        refuse: Callable[[str, str], None] | None = None,
    ) -> None:
        self._refuse = refuse
        self._room = room
        self._samples = samples
        self._watchdog = watchdog
        self._keep = keep

    def data(self, data: Data) -> None:
        """Samples to be judged. WireError when the payload cannot be read with its table."""
        node = self._room.fold.registry.nodes.get(data.node)
        if node is None or data.group != self._room.plan.group:
            return
        node.heard_ns = data.received_ns
        self._watchdog.feed(data.payload, data.table, data.received_ns)
        if self._samples is not None:
            self._samples(data)
        if self._keep is not None:
            self._keep(data)

    def event(self, event: NodeEvent) -> None:
        """Something changed in what the host knows of a node."""
        node = self._room.fold.registry.nodes.get(event.node)
        if event.kind is EventKind.HOST_DUPLICATE:
            self._room.trouble("host-duplicate", event.node, True)
        if node is None or event.group != self._room.plan.group:
            return
        if event.kind is EventKind.REFUSED and event.reason != BEFORE_BIRTH and self._refuse is not None:
            self._refuse(f"telemetry-{event.reason}", node.id)
        if event.kind in (EventKind.FLOODING, EventKind.CALM):
            self._room.trouble("telemetry-flooding", node.id, event.kind is EventKind.FLOODING)
        if event.kind in LOST:
            self._room.trouble("telemetry-lost", node.id, LOST[event.kind])
        if event.kind in (EventKind.NODE_BORN, EventKind.NODE_HEARD):
            node.heard_ns = event.at_ns
            node.heard_us = self._room.clock.wall_us()


def resolver(plan: Plan) -> Resolve:
    """Which point a metric feeds: the plan's point of that name, at that node of our group."""
    places = {(point.node, point.id): index for index, point in enumerate(plan.points)}

    def resolve(group: str, node: str, _device: str, metric: str) -> int | None:
        return places.get((node, metric)) if group == plan.group else None

    return resolve
