"""Which nodes the network can spare for a restart now: no alarm in their zones, and enough sirens and sensors without them.

Asked before nodes are restarted on purpose, for all that would be restarted together. Nothing is kept: who asks restarts them,
waits until they are heard again, and asks anew.
"""

from collections.abc import Collection, Sequence
from typing import Any, Final

from cython_ext import NS_PER_S
from lanes.plan import Plan
from lanes.readiness import Ready

from ..registry import SirenView
from ..room import Room
from .picture import WORKING
from .watching import UNHEARD_NS, Watching, endangered, readiness_of

SHARE: Final = 3  # of a zone's nodes every third at once, one at least, where the plan sets no target


class Sparing:
    """Asked by the desk."""

    def __init__(self, room: Room, watching: Watching) -> None:
        self._room = room
        self._watching = watching

    def ask(self, names: Sequence[str], uncovered: Collection[str]) -> dict[str, Any]:
        """`spared`: nodes that may restart together now; `refused`: why each of the others may not.

        `uncovered`: zones that may be without sirens meanwhile, by the word of a person.
        """
        spared: list[str] = []
        refused: dict[str, str] = {}
        for name in dict.fromkeys(names):
            why = self._unfit(name) or self._too_many({*spared, name}, zones_of(self._room.plan, name) - set(uncovered))
            if why:
                refused[name] = why
            else:
                spared.append(name)
        return {"spared": spared, "refused": refused}

    def _unfit(self, name: str) -> str:
        """Why this node may not restart, whatever the others do; empty: it may."""
        room = self._room
        node = room.fold.registry.nodes.get(name)
        if node is None:
            return "the plan has no such node"
        if node.heard_ns is None or not node.stated:
            return "it has not been heard since the controller started"
        silent_ns = room.clock.monotonic_ns() - node.heard_ns
        if silent_ns > 3 * UNHEARD_NS:
            return f"it has been silent for {silent_ns / NS_PER_S:.0f} s"
        for zone in sorted(zones_of(room.plan, name)):
            if endangered(room, [zone]):
                return f"an alarm is active in zone {zone}"
            if any(zone in request.core.zones for request in room.requests):
                return f"a request for zone {zone} waits for its approvals"
            if any(view.stage in WORKING for view in self._sirens(zone)):
                return f"a siren of zone {zone} is at work"
        return ""

    def _too_many(self, away: set[str], zones: Collection[str]) -> str:
        """Why these nodes may not be away together; empty: they may."""
        plan = self._room.plan
        for zone in sorted(zones):
            watchers = {point.node for point in plan.points if zone in plan.zones_of(point.id)}
            if len(watchers & away) > max(1, len(watchers) // SHARE):
                return f"{len(watchers & away)} of the {len(watchers)} nodes that watch zone {zone} would be away"
            if why := self._too_quiet(zone, away):
                return why
        return ""

    def _too_quiet(self, zone: str, away: set[str]) -> str:
        able = [view for view in self._sirens(zone) if readiness_of(self._room, view).ready < Ready.CANNOT_SOUND]
        left = [view for view in able if view.node not in away]
        if len(left) == len(able):
            return ""
        cover = self._watching.covers().get(zone)
        if cover is not None and cover.zone.coverage_percent:
            percent, target = cover.covered([view.id for view in left]).percent, cover.zone.coverage_percent
            return (
                ""
                if percent >= target
                else f"zone {zone} would be covered {percent:.0f} %, and {target:g} % are asked for"
            )
        if len(able) - len(left) > max(1, len(self._sirens(zone)) // SHARE):
            return f"{len(able) - len(left)} of the {len(able)} sirens of zone {zone} would be away"
        return ""

    def _sirens(self, zone: str) -> list[SirenView]:
        room = self._room
        ids = {siren.id for siren in room.plan.sirens if zone in siren.zones}
        return [view for view in room.fold.registry.sirens.values() if view.id in ids]


def zones_of(plan: Plan, node: str) -> set[str]:
    """The zones that this node watches or warns."""
    found = {zone for siren in plan.sirens if siren.node == node for zone in siren.zones}
    points = {point.id for point in plan.points if point.node == node}
    judged = points | {group.id for group in plan.groups if points & set(group.points)}
    return found | {zone for each in judged for zone in plan.zones_of(each)}
