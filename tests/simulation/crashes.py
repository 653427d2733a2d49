"""Off, though everything else is dead (issue 5): while sirens sound, a seeded part of the rest dies, and the relays are watched.

Each round the water rises, both sirens sound, and at a random moment of their pattern each siren's node and the world around it
are struck. When the limits of all orders are over, all is mended, the water falls, and the next round begins.

    around        the broker, the controller (killed, stopped or without power), the node's link, its gauge
    in the node   its disk hangs or fails; any of its tasks hang, of the siren's own also one: the player or its guard
    the node      its process is killed, or stopped until its watchdog ends it; its power fails; its relay board's cable is cut

What can be promised when the process itself is gone is the hardware's to keep, and so it is watched:

    s-mill        the relay board's own timer: off ≤ 1 s after the maximum whatever happened
    s-quay        a line of the board: let go when the process dies, and off at the next start where the pin keeps its level;
                  a process that is stopped holds its line until the watchdog kills it, 30 s later
"""

import asyncio
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Final

from firmware_bridge.simulators.faults import Fault, Misbehaviour

from . import site
from .truth import GAUGE_UNIT, LOW_M, NS
from .world import WATCHDOG_S

if TYPE_CHECKING:
    from .loop import NumberedTask
    from .world import World

ROUND_S: Final = 95.0
RISEN_M: Final = 3.4
MENDED_S: Final = 70.0  # after the water has risen: all limits and the watchdog's time are over
SOUNDS_S: Final = 15.0  # by then both sirens sound, else the round is not counted
PATTERN_NS: Final = round(site.PATTERN_S * NS)
SPARE_NS: Final = 1 * NS  # I3: off ≤ max + 1 s
START_S: Final = 3.0  # from a kill until the next start has switched off


@dataclass
class Strike:
    """What befell one siren, and when it fell silent."""

    siren: str
    began_ns: int
    at_ns: int
    what: list[str]
    limit_ns: int  # off by then


@dataclass
class Crashes:
    """`count` rounds in a world of its own. `strikes` is what happened, `late_s` the worst overrun of the order's maximum."""

    world: "World"
    rng: Random
    rounds: int
    strikes: list[Strike] = field(default_factory=list)
    out: list[str] = field(default_factory=list)
    hung: list["NumberedTask"] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    late_s: float = 0.0

    def plan(self) -> None:
        for number in range(self.rounds):
            self.world.plans.append((20.0 + number * ROUND_S, self._rise))

    # A round.

    def _rise(self) -> None:
        world = self.world
        for node in site.NODES:
            world.wires[node].set(RISEN_M)
        since_ns = world.now_ns
        world.later(SOUNDS_S, self._strike, since_ns)
        world.later(MENDED_S, self._mend, since_ns)

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
            world.later(self.rng.uniform(0, max(0.5, left_s)), self._hit, node, siren, began_ns)

    def _hit(self, node: str, siren: str, began_ns: int) -> None:
        world, rng = self.world, self.rng
        world.outages.begin((node, site.CENTRE))
        self.out += (node, site.CENTRE)
        what: list[str] = []
        limit_ns = began_ns + PATTERN_NS + SPARE_NS
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
            limit_ns = self._node(node, siren, how, limit_ns)
        for name in what:
            world.seen[f"crashes: {name}"] += 1
        world.mark("strike", node, what)
        self.strikes.append(Strike(siren, began_ns, world.now_ns, what, limit_ns))

    def _mend(self, since_ns: int) -> None:
        world = self.world
        self._judge(since_ns)
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

    def _judge(self, since_ns: int) -> None:
        """Every siren that was struck is off since its limit, and stays so."""
        for strike in self.strikes:
            if strike.began_ns < since_ns:
                continue
            edges = [(at, on) for at, which, on in self.world.edges if which == strike.siren and at >= strike.began_ns]
            mine = [place for place, (at, on) in enumerate(edges) if on and at <= strike.began_ns + PATTERN_NS]
            off_ns = edges[mine[-1] + 1][0] if mine[-1] + 1 < len(edges) else self.world.now_ns
            if off_ns > strike.limit_ns:
                self.findings.append(
                    f"I3 {strike.siren} fell silent {(off_ns - strike.began_ns) / NS:.1f} s after it began, "
                    f"struck by {', '.join(strike.what)} at {strike.at_ns / NS:.1f} s"
                )
            if strike.limit_ns == strike.began_ns + PATTERN_NS + SPARE_NS:
                self.late_s = max(self.late_s, (off_ns - strike.began_ns - PATTERN_NS) / NS)

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

    def _node(self, node: str, siren: str, how: str, limit_ns: int) -> int:
        """The node itself; by when its siren must be silent then."""
        world, now_ns = self.world, self.world.now_ns
        if how == "cable":
            if siren in site.FALLS_OFF:
                world.wires[node].line.refuses = True
                world.wires[node].line.cut()
            return limit_ns
        if how == "stopped":
            world.freeze(node)
            held_ns = now_ns + round(WATCHDOG_S * NS) + SPARE_NS
            return limit_ns if siren in site.FALLS_OFF else max(limit_ns, held_ns)
        wires = world.wires[node]
        wires.latches = siren not in site.FALLS_OFF and how == "killed" and self.rng.random() < 0.4
        world.kill(node, power=how == "power")
        return max(limit_ns, now_ns + round(START_S * NS)) if wires.latches else limit_ns
