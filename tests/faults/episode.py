"""One run of the campaign: the water rises, at a seeded point something breaks, it heals; what must come of it is waited for.

The points lie where a crash hurts most, and are hung onto the wire itself: before the water, a moment after it, when the event
is on its way, when its ack is, when the order is, when the siren begins, when the dispatch centre has been told.
"""

import asyncio
from dataclasses import dataclass, field
from random import Random
from typing import Final

from . import site
from .breaking import KINDS, SERVED_S, Fault
from .seen import NS
from .site import NODES
from .world import World, WorldError

MOMENTS: Final = ("before", "after", "event", "acked", "order", "sound", "post")
SIREN_MOMENTS: Final = ("order", "sound")
MOMENT_S: Final = 8.0  # a moment that does not come: break it now
TOLD_S: Final = 60.0  # how long we wait for what must be said within 30 s
SOUND_S: Final = 60.0
SECOND_S: Final = 2.0  # the other river gauge follows within


@dataclass
class Danger:
    """Water over a mark, and what came of it."""

    node: str
    level: int
    at_ns: int
    told_ns: int = 0
    sound_ns: int = 0
    free_ns: int = 0  # when, after it, nothing that we had imposed stood in its way

    @property
    def late_s(self) -> float:
        """From the register (or the end of an outage of our choice, if it was not told before) to the dispatch centre's hands."""
        since_ns = self.free_ns if self.at_ns < self.free_ns < self.told_ns else self.at_ns
        return (self.told_ns - since_ns) / NS


@dataclass
class Run:
    """What one run was, and what came of it."""

    world: str
    kind: str
    victim: str
    moment: str
    level: int
    happened: bool = False
    met: bool = False  # the moment came
    serving_s: float | None = None
    queued_s: float = 0.0  # of that, waiting for a processor
    dangers: list[Danger] = field(default_factory=list)
    failure: str = ""


async def play(world: World, kind: str, rng: Random, moment: str = "") -> Run:
    """One fault of this kind, at a moment of the seed's choice or at this. What does not come in time is the run's failure."""
    fault_class = KINDS[kind]
    victim = rng.choice(fault_class.victims)
    first = victim if victim in NODES else rng.choice(NODES)
    drawn = rng.choice(MOMENTS)
    moment = moment or drawn
    level = rng.choice((2, 3) if moment in SIREN_MOMENTS else (1, 2, 3))
    fault = fault_class(world, victim, rng)
    run = Run(world.name, kind, victim, moment, level)
    try:
        await world.calm()
        struck = _arm(world, fault, moment, first)
        if moment == "before":
            fault.hit()
            struck.set()
            await asyncio.sleep(rng.uniform(0.0, 1.0))
        run.dangers.append(_raise(world, first, level))
        second = asyncio.create_task(_follow(world, run, rng, next(node for node in NODES if node != first)))
        run.met = await _strike(world, fault, struck, moment, first, rng)
        if fault.lasting:
            await second
            await _told(world, run)
        await fault.heal()
        run.happened = fault.happened
        await second
        await _served(world, fault, run)
        await _told(world, run)
        await _sounds(world, run, fault)
        await world.until(f"a word about {kind}", fault.over, SERVED_S)
        world.seen.counts[f"moment {moment}"] += run.met
    except WorldError as error:
        run.failure = str(error)
    finally:
        for name in MOMENTS:
            world.seen.forget(f"{name}:{first}")
    return run


def _arm(world: World, fault: Fault, moment: str, node: str) -> asyncio.Event:
    """Hang the fault onto the moment."""
    struck = asyncio.Event()

    def now() -> None:
        fault.hit()
        struck.set()

    if moment not in ("before", "after"):
        world.seen.once(f"{moment}:{node}", now)
    return struck


async def _strike(world: World, fault: Fault, struck: asyncio.Event, moment: str, node: str, rng: Random) -> bool:
    """Until the fault has hit; whether its moment came."""
    if moment == "after":
        await asyncio.sleep(rng.uniform(0.0, 1.0))
        fault.hit()
        return True
    try:
        async with asyncio.timeout(MOMENT_S):
            await struck.wait()
    except TimeoutError:
        world.seen.forget(f"{moment}:{node}")
        fault.hit()
        return False
    return True


def _raise(world: World, node: str, level: int) -> Danger:
    world.set_water(node, site.PEAKS_M[level])
    return Danger(node, level, world.seen.water[node][-1][0])


async def _follow(world: World, run: Run, rng: Random, node: str) -> None:
    """The other river rises too, while things are broken."""
    await asyncio.sleep(rng.uniform(0.2, SECOND_S))
    run.dangers.append(_raise(world, node, rng.choice((1, 2, 3))))


async def _served(world: World, fault: Fault, run: Run) -> None:
    if fault.limit_s is None:
        return
    await world.until(
        f"serving again after {run.kind} ({run.moment})", lambda: fault.serving_ns() is not None, SERVED_S
    )
    serving_ns = fault.serving_ns()
    assert serving_ns is not None
    run.serving_s = (serving_ns - fault.hit_ns) / NS
    if run.victim in world.programs:
        run.queued_s = min(world.programs[run.victim].queued_s(), run.serving_s)


async def _told(world: World, run: Run) -> None:
    """Each danger is in the dispatch centre's hands."""
    for danger in run.dangers:
        await world.until(f"told of {_name(danger, run)}", lambda danger=danger: _look(world, danger), TOLD_S)
        ends = [until for who, _, until in world.imposed if until > danger.at_ns and _concerns(who, danger.node)]
        danger.free_ns = max(ends, default=0)


async def _sounds(world: World, run: Run, fault: Fault) -> None:
    """Each danger that is bad enough has sounded, or its node has said why it cannot."""
    for danger in run.dangers:
        if danger.level >= site.SIREN_LEVEL:
            may_refuse = fault.refuses and danger.node == fault.victim
            what = f"the sound of {_name(danger, run)}"
            await world.until(what, lambda danger=danger, may=may_refuse: _sounded(world, danger, may), SOUND_S)


def _name(danger: Danger, run: Run) -> str:
    return f"{danger.node} at Level {danger.level} ({run.kind}, {run.moment})"


def _look(world: World, danger: Danger) -> bool:
    danger.told_ns = danger.told_ns or world.told_ns(danger.node, danger.level, danger.at_ns)
    return danger.told_ns > 0


def _sounded(world: World, danger: Danger, may_refuse: bool) -> bool:
    found = (at_ns for at_ns, node, on in world.seen.edges if on and node == danger.node and at_ns > danger.at_ns)
    danger.sound_ns = next(found, 0)
    return danger.sound_ns > 0 or (may_refuse and world.seen.refused(danger.node, danger.at_ns))


def _concerns(who: str, node: str) -> bool:
    return who == node or who not in NODES
