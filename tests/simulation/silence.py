"""I5 and I4 as the world saw them: whoever fell silent was missed in time, and what had to sound has sounded.

    controller    a node that says nothing for 20 s (with a siren) or 90 s (without) is Trouble; one that speaks is not
    node          a controller that says nothing for 10 s is Trouble at each node
    sirens        a danger that its own node sees for half a minute, or that everybody sees while all roads are open, has sounded

Only where the network is fair: in the weather nobody can say what had to arrive.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from . import site
from .outages import without
from .reading import RAISED, TRANSITION, TROUBLE, Happening, Record
from .truth import NS

if TYPE_CHECKING:
    from .world import World

ROW_TROUBLE: Final = 50
SLACK_NS: Final = 5 * NS  # a tick, a sample, a restart
BACK_NS: Final = 12 * NS  # a controller that is back: connected, and listening anew
CUT_OFF_NS: Final = 10 * NS
SOUND_NS: Final = 30 * NS
EARLY_NS: Final = 20 * NS  # from a machine's start until all know it
LATE_START_NS: Final = 45 * NS  # of a program on a slow disk: what may follow an outage
LIMIT_NS: Final = {node: (20 if node in site.SIREN_OF else 90) * NS for node in site.NODES}
MISSING: Final = ("node-silent", "node-never-seen")
UNFAIR: Final = frozenset({"weather", "slow"})

Events = dict[str, list[tuple[int, Happening]]]


@dataclass
class Silences:
    """`events`: each node's, with the world's time, in order."""

    world: "World"
    events: Events
    record: Record | None

    def check(self) -> Iterator[str]:
        """What was not as promised."""
        if not self.world.judges_silence or UNFAIR & set(self.world.drawn) or self.record is None:
            return
        for node in site.NODES:
            yield from self._missed(node)
            yield from self._false(node)
            yield from self._deaf(node)
        for node, siren in site.SIREN_OF.items():
            yield from self._dumb(node, siren)

    # Who was missed.

    def _standing(self, subject: str) -> list[tuple[int, bool]]:
        """When the controller began and ceased to miss a node."""
        clock = self.world.machines[site.CENTRE].clock
        assert self.record is not None
        return [
            (clock.world_ns(line.monotonic_ns), line.value[3])
            for line in self.record.lines
            if line.kind == ROW_TROUBLE and line.value[0] in MISSING and line.value[1] == subject
        ]

    def _missed(self, node: str) -> Iterator[str]:
        world, limit_ns = self.world, LIMIT_NS[node]
        missed = self._standing(node)
        away = [(begin, end + BACK_NS) for begin, end in world.outages.spans(site.CENTRE)]
        for first_ns, last_ns in world.mute.spans(node):
            if first_ns < world.began_ns + EARLY_NS:
                continue
            for begin_ns, end_ns in without(away, first_ns, min(last_ns, world.healed_ns)):
                due_ns = begin_ns + limit_ns + SLACK_NS
                if due_ns >= end_ns:
                    continue
                world.seen["a silent node had to be missed"] += 1
                if not _on_at(missed, due_ns):
                    yield f"I5 {node} was silent from {first_ns / NS:.1f} s on, and nobody missed it"

    def _false(self, node: str) -> Iterator[str]:
        world = self.world
        for at_ns, on in self._standing(node):
            since_ns = at_ns - LIMIT_NS[node] - LATE_START_NS
            quiet = world.mute.within(node, since_ns, at_ns) or world.outages.within(site.CENTRE, since_ns, at_ns)
            early = since_ns < world.began_ns + EARLY_NS
            if on and not quiet and not early and not world.outages.within(node, since_ns, at_ns):
                yield f"I5 {node} was missed at {at_ns / NS:.1f} s, and it was not silent"

    def _deaf(self, node: str) -> Iterator[str]:
        """A node that no longer hears its controller says so, to itself."""
        world = self.world
        cut = [
            (at_ns, one.data[1]) for at_ns, one in self.events[node] if one.kind == TROUBLE and one.data[0] == "cut-off"
        ]
        for first_ns, last_ns in world.mute.spans(site.CENTRE):
            due_ns = first_ns + CUT_OFF_NS + SLACK_NS
            if first_ns < world.began_ns + EARLY_NS or due_ns >= last_ns or last_ns > world.healed_ns:
                continue
            if self._hindered(node, first_ns - LATE_START_NS, due_ns):
                continue
            world.seen["a silent controller had to be missed"] += 1
            if not _on_at(cut, due_ns) and not world.disks[node].failed:
                yield f"I5 the controller was silent from {first_ns / NS:.1f} s on, and {node} did not notice"

    def _hindered(self, node: str, first_ns: int, last_ns: int) -> bool:
        """Whether something else than the broker kept the node from its work, perhaps while the broker was away, too."""
        world = self.world
        others = world.outages.within(node, first_ns, last_ns) - world.outages.within("broker", first_ns, last_ns)
        return others > 0 or world.still.within(node, first_ns, last_ns) > 0

    # What had to sound.

    def _dumb(self, node: str, siren: str) -> Iterator[str]:
        """Each danger that lasts sounds a siren that can, by order or by reflex. A node whose clock is wrong and was trusted a
        moment ago refuses orders and evidence as too old: remote sirens fail closed (I10).
        """
        world = self.world
        if "clock" in world.drawn:
            return
        closings = [at_ns for at_ns, which, on in world.edges if which == siren and on]
        for source in site.NODES:
            for at_ns, since_ns in self._dangers(source):
                due_ns = at_ns + SOUND_NS
                if due_ns > world.healed_ns:
                    continue
                ordered = self._all_well(since_ns - LATE_START_NS, due_ns)
                alone = source == node and self._must_act_alone(node, at_ns, due_ns)
                if not ordered and not alone:
                    continue
                world.seen["a siren had to sound, by reflex" if alone else "a siren had to sound, by order"] += 1
                if alone:
                    since_ns = at_ns
                since_ns = min(
                    since_ns, at_ns - round(site.PATTERN_S * NS)
                )  # one that sounds for another incident is busy
                if not any(since_ns <= closed <= due_ns for closed in closings):
                    yield f"I4 {siren} did not sound: {source} stood at Level {site.REFLEX_LEVEL} from {at_ns / NS:.1f} s on"

    def _all_well(self, first_ns: int, last_ns: int) -> bool:
        """All machines and roads, since before the alarm began: the controller knows one incident from the next."""
        return not any(self.world.outages.within(name, first_ns, last_ns) for name in self.world.machines)

    def _must_act_alone(self, node: str, first_ns: int, last_ns: int) -> bool:
        """The node is well, and nobody gives orders (I10)."""
        world = self.world
        hindered = self._hindered(node, first_ns - LATE_START_NS, last_ns)
        return not hindered and world.mute.within(site.CENTRE, first_ns, last_ns) == last_ns - first_ns

    def _dangers(self, source: str) -> Iterator[tuple[int, int]]:
        """When a node's point rose to the policy's Level and stayed there; and since when the alarm had been open."""
        rows = [(at_ns, one.data) for at_ns, one in self.events[source] if one.kind == TRANSITION]
        for place, (at_ns, (_, cause, was, level, *_)) in enumerate(rows):
            stays_ns = next(
                (later for later, data in rows[place + 1 :] if data[3] < site.REFLEX_LEVEL), self.world.end_ns
            )
            if cause == RAISED and was < site.REFLEX_LEVEL <= level and stays_ns >= at_ns + SOUND_NS:
                yield at_ns, self._open_since(at_ns)

    def _open_since(self, at_ns: int) -> int:
        """The last moment before it at which every point was normal."""
        turns = sorted(
            (when, node, one.data[3])
            for node in site.NODES
            for when, one in self.events[node]
            if one.kind == TRANSITION and when <= at_ns
        )
        levels, since_ns = dict.fromkeys(site.NODES, 0), 0
        for when, node, level in turns:
            if not any(levels.values()):
                since_ns = when
            levels[node] = level
        return since_ns


def _on_at(turns: list[tuple[int, bool]], at_ns: int) -> bool:
    return next((on for when, on in reversed(turns) if when <= at_ns), False)
