"""What goes wrong, chosen by the seed: a few kinds of fault (a swarm), each a few times, at random moments of the safety phase.

Names are those of the fault table (reliability.md §9). `PROMISED` are the counters that a whole campaign must have seen.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

import apsw

from cython_ext import ClockQuality, ClockSource
from firmware_bridge.simulators.faults import Fault, Misbehaviour

from . import site
from .truth import GAUGE_UNIT
from .weather import Weather

if TYPE_CHECKING:
    from .world import World

Act = Callable[[], None]
Plan = tuple[float, Act]

PROMISED: Final = (
    "F01 controller killed",
    "F02 node killed",
    "F03 broker killed, its state wiped",
    "F04 controller stopped and continued",
    "F04 node stopped and continued",
    "F05 killed again while recovering",
    "F06 node cut off both ways",
    "F06 controller cut off both ways",
    "F07 cut off one way",
    "F07 links cut one by one",
    "F09 bad weather",
    "F12 wall clock stepped",
    "F12 wall clock untrusted",
    "F14 node's disk full",
    "F14 controller's disk full",
    "F15 sync fails",
    "F15 write fails",
    "F16 node's power cut",
    "F16 controller's power cut",
    "F17 ledger damaged",
    "F17 order store damaged",
    "F17 outbox damaged",
    "F18 database locked",
    "F19 gauge misbehaves",
    "F25 recorded order replayed",
    "F26 forged message",
    "slow disk",
    "message lost",
    "message repeated",
    "message spoilt",
    "PUBACK lost",
    "unsynced write lost",
    "disk full",
    "sync failed",
    "write failed",
    "crash at disk.before",
    "crash at disk.after",
    "crash at net.before",
    "crash at net.after",
    "controller gave up for its disk",
    "siren sounded by order",
    "siren sounded by reflex",
)

DAMAGED: Final = {"ledger.db": "ledger", "orders.db": "order store", "outbox.db": "outbox"}


class Faults:
    """Draws a seed's faults."""

    def __init__(self, world: "World", rng: Random) -> None:
        self.world = world
        self.rng = rng
        self.single = False
        self._held: Counter[str] = Counter()
        self.kinds: dict[str, Callable[[float], None]] = {
            "kill": self._kill,
            "trap": self._trap,
            "power": self._power,
            "broker": self._broker,
            "pause": self._pause,
            "partition": self._partition,
            "swizzle": self._swizzle,
            "weather": self._weather,
            "slow": self._slow,
            "full": self._full,
            "broken": self._broken,
            "locked": self._locked,
            "damage": self._damage,
            "clock": self._clock,
            "gauge": self._gauge,
            "hostile": self._hostile,
        }

    def draw(self) -> list[str]:
        """Plan the faults of this seed; the kinds that were drawn."""
        chance = self.rng.choice((0.0, 0.1, 0.25, 0.4))
        if not chance:
            return self._one()
        drawn = [kind for kind in self.kinds if self.rng.random() < chance] or [self.rng.choice(list(self.kinds))]
        for kind in drawn:
            for _ in range(self.rng.randint(1, 3)):
                self.kinds[kind](self.rng.uniform(5, self.world.seconds * 0.9))
        return drawn

    def _one(self) -> list[str]:
        """A single fault, once: for what is promised of single faults."""
        self.single = True
        kind = self.rng.choice(list(self.kinds))
        self.kinds[kind](self.rng.uniform(5, self.world.seconds * 0.6))
        return [kind]

    # Helpers.

    def _at(self, at_s: float, act: Act) -> None:
        self.world.plans.append((min(at_s, self.world.seconds), act))

    def _seen(self, what: str) -> None:
        self.world.seen[what] += 1
        self.world.mark(what)

    def _any(self) -> str:
        return self.rng.choice((*site.NODES, site.CENTRE, site.CENTRE))

    def _during(
        self,
        at_s: float,
        seconds: float,
        what: str,
        names: tuple[str, ...],
        begin: Act,
        end: Act,
        mute: tuple[str, ...] = (),
        *,
        holds: str = "",
    ) -> None:
        """A fault of so many seconds. `names`: who cannot do its work meanwhile; `mute`: of whom nothing is heard; `holds`: what
        is well again only when the last of several such faults is over.
        """
        world = self.world
        if at_s >= world.seconds:
            return  # healed before it began

        def start() -> None:
            self._seen(what)
            world.outages.begin(names)
            world.mute.begin(mute)
            self._held[holds] += 1
            begin()

        def stop() -> None:
            self._held[holds] -= 1
            if not holds or not self._held[holds]:
                end()
            world.outages.end(names)
            world.mute.end(mute)

        self._at(at_s, start)
        self._at(at_s + seconds, stop)

    # Processes and machines.

    def _kill(self, at_s: float) -> None:
        name, down_s, again = self._any(), self.rng.uniform(0.5, 30), self.rng.random() < 0.3 and not self.single
        what = "F01 controller killed" if name == site.CENTRE else "F02 node killed"

        def act() -> None:
            if self.world.machines[name].up:
                self._seen(what)
                self.world.kill(name, down_s=down_s)

        def once_more() -> None:
            if self.world.machines[name].up:
                self._seen("F05 killed again while recovering")
                self.world.kill(name, down_s=down_s)

        self._at(at_s, act)
        if again:
            self._at(at_s + down_s + self.rng.uniform(0, 0.2), once_more)

    def _trap(self, at_s: float) -> None:
        name = self._any()
        where = self.rng.choice(("disk.before", "disk.after", "net.before", "net.after"))
        count = self.rng.randint(0, 12)

        def act() -> None:
            self.world.machines[name].trap = (where, count)

        self._at(at_s, act)

    def _power(self, at_s: float) -> None:
        name, down_s = self._any(), self.rng.uniform(2, 40)

        def act() -> None:
            machine, disk = self.world.machines[name], self.world.disks[name]
            if not machine.up:
                return
            self._seen(f"F16 {'controller' if name == site.CENTRE else 'node'}'s power cut")
            assert machine.life is not None
            base = machine.life.base
            self.world.kill(name, down_s=down_s, power=True, copied=lambda there: disk.power_cut(base, there))

        self._at(at_s, act)

    def _pause(self, at_s: float) -> None:
        name = self._any()
        what = f"F04 {'controller' if name == site.CENTRE else 'node'} stopped and continued"
        world, seconds = self.world, self.rng.uniform(2, 60)
        self._during(
            at_s, seconds, what, (name,), lambda: world.freeze(name), lambda: world.thaw(name), holds=f"stop {name}"
        )

    # The network.

    def _broker(self, at_s: float) -> None:
        broker = self.world.network.broker
        seconds, wipe = self.rng.uniform(0.5, 40), self.rng.random() < 0.8
        what = "F03 broker killed, its state wiped" if wipe else "F03 broker killed"
        names = (*self.world.machines, "broker")
        stop, start = lambda: broker.stop(wipe=wipe), lambda: broker.start()
        self._during(at_s, seconds, what, names, stop, start, names, holds="broker")

    def _partition(self, at_s: float) -> None:
        name, network = self._any(), self.world.network
        out, into = self.rng.choice(((True, True), (True, True), (True, False), (False, True)))
        who = "controller" if name == site.CENTRE else "node"
        what = f"F06 {who} cut off both ways" if out and into else "F07 cut off one way"
        self._during(
            at_s,
            self.rng.uniform(3, 90),
            what,
            (name,),
            lambda: network.block(name, out=out, into=into),
            lambda: network.unblock(name, out=out, into=into),
            (name,) if out else (),
        )

    def _swizzle(self, at_s: float) -> None:
        """Links of a random few are cut one by one, and come back in another order."""
        names = self.rng.sample(list(self.world.machines), self.rng.randint(2, 4))
        network = self.world.network
        for place, name in enumerate(names):
            begin_s = at_s + place * self.rng.uniform(0.5, 8)
            self._during(
                begin_s,
                self.rng.uniform(10, 60),
                "F07 links cut one by one",
                (name,),
                lambda name=name: network.block(name, out=True, into=True),  # type: ignore[misc]
                lambda name=name: network.unblock(name, out=True, into=True),  # type: ignore[misc]
                (name,),
            )

    def _weather(self, at_s: float) -> None:
        rng = self.rng
        weather = Weather(
            loss=rng.choice((0.0, 0.01, 0.1, 0.3)),
            repeat=rng.choice((0.0, 0.05, 0.2, 0.5)),
            spoil=rng.choice((0.0, 0.0, 0.01, 0.05)),
            delay_s=rng.choice((0.0, 0.05, 0.3, 2.0)),
            spread=rng.random() < 0.6,
        )
        seconds = rng.uniform(20, 200)

        def begin() -> None:
            self._seen("F09 bad weather")
            self.world.network.weather = weather

        def end() -> None:
            if self.world.network.weather is weather:
                self.world.network.weather = Weather()

        self._at(at_s, begin)
        self._at(at_s + seconds, end)

    # Disks.

    def _slow(self, at_s: float) -> None:
        machine, slow_s = self.world.machines[self._any()], self.rng.choice((0.02, 0.2, 3.0))

        def begin() -> None:
            self._seen("slow disk")
            machine.slow_s = slow_s

        def end() -> None:
            machine.slow_s = 0.0

        self._at(at_s, begin)
        self._at(at_s + self.rng.uniform(5, 60), end)

    def _full(self, at_s: float) -> None:
        name = self._any()
        disk, free = self.world.disks[name], self.rng.choice((0, 4096, 50_000, 200_000))

        def begin() -> None:
            disk.full, disk.free_bytes = True, free

        what = f"F14 {'controller' if name == site.CENTRE else 'node'}'s disk full"
        self._during(at_s, self.rng.uniform(3, 60), what, (name,), begin, disk.heal, holds=f"disk {name}")

    def _broken(self, at_s: float) -> None:
        name, sync = self._any(), self.rng.random() < 0.5
        disk = self.world.disks[name]

        def begin() -> None:
            disk.sync_fails, disk.write_fails = sync, not sync

        what = "F15 sync fails" if sync else "F15 write fails"
        self._during(at_s, self.rng.uniform(0.5, 30), what, (name,), begin, disk.heal, holds=f"disk {name}")

    def _locked(self, at_s: float) -> None:
        """Somebody else's program holds the write lock."""
        name = self._any()
        file = "data/journal.db" if name == site.CENTRE else self.rng.choice(("data/ledger.db", "data/orders.db"))
        holders: list[apsw.Connection] = []

        def begin() -> None:
            path = self.world.machines[name].base / file
            if path.exists():
                holder = apsw.Connection(str(path), vfs="unix")
                with suppress(apsw.BusyError):  # another one of us holds it
                    holder.execute("BEGIN IMMEDIATE")
                    holders.append(holder)

        def end() -> None:
            while holders:
                holders.pop().close()

        self.world.at_heal.append(end)
        self._during(at_s, self.rng.uniform(1, 40), "F18 database locked", (name,), begin, end)

    def _damage(self, at_s: float) -> None:
        """A process dies, and one of its files does not come back as it was: a ledger, an order store, or the outbox."""
        name = self.rng.choice(site.NODES)
        how = self.rng.choice(("bit", "bit", "page", "header", "cut"))
        rng = Random(self.rng.random())
        file = rng.choice(("ledger.db", "ledger.db", "ledger.db", "orders.db", "outbox.db"))
        if file == "outbox.db":
            name = site.CENTRE

        def spoil(there: Path) -> None:
            path = there / "data" / file
            if file == "ledger.db":
                self.world.spoil_ledger(name, there)
            if path.exists():
                damage(path, how if file == "ledger.db" else rng.choice((how, "bytes", "bytes")), rng)

        def act() -> None:
            if self.world.machines[name].up:
                self._seen(f"F17 {DAMAGED[file]} damaged")
                self.world.kill(name, copied=spoil)

        self._at(at_s, act)

    # Clocks, wires, strangers.

    def _clock(self, at_s: float) -> None:
        machine = self.world.machines[self._any()]
        step_s = self.rng.choice((1.0, 3600.0, 10 * 365 * 86400.0)) * self.rng.choice((-1, 1))
        untrusted, strobe = self.rng.random() < 0.4, self.rng.random() < 0.3
        clock = machine.clock

        def begin() -> None:
            self._seen("F12 wall clock stepped")
            clock.wall_off_us += round(step_s * 1e6)
            if untrusted:
                self._seen("F12 wall clock untrusted")
                clock.trusted = ClockQuality(ClockSource.NONE)

        def end() -> None:
            clock.wall_off_us = 0
            clock.trusted = ClockQuality(ClockSource.NTP, 5)

        self.world.at_heal.append(end)
        self._at(at_s, begin)
        if strobe:
            for turn in range(6):
                self._at(at_s + 2 * turn + 1, end)
                self._at(at_s + 2 * turn + 2, begin)
        self._at(at_s + self.rng.uniform(20, 120), end)

    def _gauge(self, at_s: float) -> None:
        name = self.rng.choice(site.NODES)
        wires = self.world.wires[name]
        fault = self.rng.choice([fault for fault in Fault if fault is not Fault.NONE])

        def begin() -> None:
            wires.line.misbehaviour[GAUGE_UNIT] = Misbehaviour(fault, delay_s=0.3)

        def end() -> None:
            wires.line.misbehaviour.pop(GAUGE_UNIT, None)

        self._during(
            at_s, self.rng.uniform(2, 60), "F19 gauge misbehaves", (f"{name}/gauge",), begin, end, holds=f"gauge {name}"
        )

    def _hostile(self, at_s: float) -> None:
        """A stranger on the broker sends what he recorded, and what he made."""
        rng = Random(self.rng.random())
        for turn in range(20):
            self._at(at_s + turn * self.rng.uniform(0.2, 5), lambda: self._stranger(rng))

    def _stranger(self, rng: Random) -> None:
        recorded = self.world.witness.recorded
        if not recorded:
            return
        topic, data = rng.choice(recorded)
        if rng.random() < 0.5:
            spoilt = bytearray(data)
            spoilt[rng.randrange(len(spoilt))] ^= 1 << rng.randrange(8)
            data = bytes(spoilt)
            self._seen("F26 forged message")
        else:
            self._seen("F25 recorded order replayed")
        self.world.network.broker.inject(topic, data, retain=rng.random() < 0.1)


def damage(path: Path, how: str, rng: Random) -> None:
    """Spoil a database file on its disk."""
    content = bytearray(path.read_bytes())
    if not content:
        return
    match how:
        case "bit":
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        case "page":
            at = rng.randrange(len(content)) // 4096 * 4096
            content[at : at + 4096] = rng.randbytes(len(content[at : at + 4096]))
        case "bytes":  # where something is written: a record's header may then name any type
            written = [at for at, byte in enumerate(content) if byte]
            for _ in range(rng.randint(1, 4)):
                content[rng.choice(written)] = rng.choice((0, 1, 6, 7, 9, 13, 15, 21, 255, rng.randrange(256)))
        case "header":
            content[:100] = bytes(len(content[:100]))
        case _:
            del content[rng.randrange(len(content)) :]
    path.write_bytes(content)
