"""Off, though everything else is dead (issue 5): while sirens sound, a seeded part of the rest dies, and the relays are watched.

Each round the water rises, both sirens sound, and at a random moment of their pattern each siren's node and the world around it
are struck. When the limits of all orders are over, all is mended, the water falls, and the next round begins.

    around        the broker, the controller (killed, stopped or without power), the node's link, its gauge
    in the node   its disk hangs or fails; any of its tasks hang, of the siren's own also one: the player or its guard
    the node      its process is killed, or stopped until its watchdog ends it; its power fails; its relay board's cable is cut

What can be promised when the process itself is gone is the hardware's to keep, and so it is watched:

    s-mill        the relay board's own timer: off ≤ 1 s after the maximum whatever happened
    s-quay        a line of the board: let go when the process dies, and in time by the relay keeper when it is stopped; off at
                  the next start where the keeper died too and the pin keeps its level
"""

import asyncio
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Final

from firmware_bridge.simulators.faults import Fault, Misbehaviour

from . import site
from .truth import GAUGE_UNIT, LOW_M, NS

if TYPE_CHECKING:
    from .loop import NumberedTask
    from .world import World

ROUND_S: Final = 95.0
RISEN_M: Final = 3.4
MENDED_S: Final = 70.0  # after the water has risen: all limits and the watchdog's time are over
SOUNDS_S: Final = 15.0  # by then both sirens sound, else the round is not counted
START_S: Final = 3.0  # from a kill until the next start has switched off


@dataclass
class Crashes:
    """So many rounds in a world of its own."""

    world: "World"
    rng: Random
    rounds: int
    strikes: int = 0
    out: list[str] = field(default_factory=list)
    hung: list["NumberedTask"] = field(default_factory=list)

    def plan(self) -> None:
        self.world.judges_silence = self.world.floods = False
        for number in range(self.rounds):
            self.world.plans.append((20.0 + number * ROUND_S, self._rise))

    # A round.

    def _rise(self) -> None:
        world = self.world
        for node in site.NODES:
            world.wires[node].set(RISEN_M)
        since_ns = world.now_ns
        world.later(SOUNDS_S, self._strike, since_ns)
        world.later(MENDED_S, self._mend)

    def _began(self, siren: str, since_ns: int) -> int | None:
        return next((at for at, which, on in self.world.edges if which == siren and on and at >= since_ns), None)

    def _strike(self, since_ns: int) -> None:
        """Both sirens have begun some seconds ago; each is struck at a moment of its own within its pattern."""
        world = self.world
        for node, siren in site.SIREN_OF.items():
            began_ns = self._began(siren, since_ns)
            if began_ns is None:
                world.seen["crashes: a siren had not begun"] += 1
                continue
            left_s = (began_ns - world.now_ns) / NS + site.PATTERN_S
            world.later(self.rng.uniform(0, max(0.5, left_s)), self._hit, node, siren)

    def _hit(self, node: str, siren: str) -> None:
        world, rng = self.world, self.rng
        world.outages.begin((node, site.CENTRE))
        self.out += (node, site.CENTRE)
        what: list[str] = []
        for name, chance, act in (
            ("broker", 0.4, self._broker),
            ("controller", 0.4, self._controller),
            ("link", 0.4, lambda: world.network.block(node, out=True, into=True)),
            ("gauge", 0.4, lambda: self._gauge(node)),
            ("disk", 0.4, lambda: self._disk(node)),
            ("tasks", 0.4, lambda: self._tasks(node, siren)),
        ):
            if rng.random() < chance:
                act()
                what.append(name)
        if rng.random() < 0.35 or not what:
            how = rng.choice(("killed", "killed", "stopped", "power", "cable"))
            what.append(how)
            self._node(node, siren, how)
        for name in what:
            world.seen[f"crashes: {name}"] += 1
        world.mark("strike", node, what)
        self.strikes += 1

    def _mend(self) -> None:
        world = self.world
        loop: Any = asyncio.get_running_loop()
        for task in self.hung:
            loop.unhang(task)
        self.hung.clear()
        for name in self.out:
            world.outages.end((name,))
        self.out.clear()
        world.network.reset()
        world.network.broker.start()
        for name, machine in world.machines.items():
            machine.slow_s = 0.0
            world.disks[name].heal()
            world.thaw(name)
            if name in site.SIREN_OF and machine.up:
                world.kill(name, down_s=1.0)  # hung and spoilt: only a new life is well again
            world.later(2.0, world.start, name)
        for wires in world.wires.values():
            wires.line.misbehaviour.clear()
            wires.line.refuses = wires.latches = False
            wires.set(LOW_M)

    # What dies.

    def _broker(self) -> None:
        self.world.network.broker.stop(wipe=self.rng.random() < 0.5)

    def _controller(self) -> None:
        world = self.world
        if self.rng.random() < 0.3:
            world.freeze(site.CENTRE)
        else:
            world.kill(site.CENTRE, down_s=self.rng.choice((5.0, 300.0)))

    def _gauge(self, node: str) -> None:
        fault = self.rng.choice([fault for fault in Fault if fault is not Fault.NONE])
        self.world.wires[node].line.misbehaviour[GAUGE_UNIT] = Misbehaviour(fault, delay_s=0.3)

    def _disk(self, node: str) -> None:
        disk, machine = self.world.disks[node], self.world.machines[node]
        match self.rng.choice(("hangs", "full", "sync", "write")):
            case "hangs":
                machine.slow_s = 10_000.0
            case "full":
                disk.full, disk.free_bytes = True, 0
            case "sync":
                disk.sync_fails = True
            case _:
                disk.write_fails = True

    def _tasks(self, node: str, siren: str) -> None:
        """Some of its tasks hang; of those that end a sound at most one, so that what is promised is another's to keep."""
        loop: Any = asyncio.get_running_loop()
        life = self.world.machines[node].life
        ends = [f"siren {siren}: play", f"siren {siren}: guard"]
        spared = {*(ends if self.rng.random() < 0.5 else [self.rng.choice(ends)]), f"siren {siren}: off"}
        for task in loop.tasks_of(life):
            name = task.get_name()
            bus = name.startswith(("Task-", "bus")) or (siren == "s-mill" and name == "bus")
            if name not in spared and not bus and task is not life.task and self.rng.random() < 0.6:
                loop.hang(task)
                self.hung.append(task)

    def _node(self, node: str, siren: str, how: str) -> None:
        """The node itself."""
        world, wires = self.world, self.world.wires[node]
        match how:
            case "cable" if siren in site.FALLS_OFF:
                wires.line.refuses = True
                wires.line.cut()
            case "cable":
                world.network.block(node, out=True, into=True)  # a line of the board has none
            case "stopped":
                world.freeze(node)
            case _:
                wires.latches = siren not in site.FALLS_OFF and how == "killed" and self.rng.random() < 0.4
                if wires.latches:  # the keeper is dead too; what cannot start again cannot let it go
                    world.machines[node].slow_s = 0.0
                    world.disks[node].heal()
                    world.witness.forgive(siren, world.now_ns + round(START_S * NS))
                world.kill(node, power=how == "power")
