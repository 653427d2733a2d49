"""A seed's world: the real node and controller programs, on simulated machines, wires, disks and network, in virtual time.

safety     floods and faults as the seed wills it
liveness   everything is healed: now all must arrive, and every siren fall silent, within `HEAL_S`
"""

import asyncio
import contextlib
import hashlib
import os
import sqlite3
import traceback
from collections import Counter
from contextvars import Context
from pathlib import Path
from random import Random
from typing import Any, Final

import cbor2

from controller import app as controller_app
from cython_ext import BuciumError
from edge import app as edge_app
from tests.kit.clock import ManualClock

from . import site
from .disks import Disk, Shim
from .faults import Faults
from .loop import WorldLoop
from .machine import DiskRunner, Life, Machine
from .outages import Outages
from .reading import Happening, Key, Keys, Record, journal, ledgers
from .surroundings import Signatures, desks_of
from .trace import Trace
from .truth import NS, Wires, floods
from .weather import Network, machine_of
from .witness import Witness

HEAL_S: Final = 150.0
LOOK_S: Final = 3.0  # how often the world looks whether all is quiet again
QUIET_LOOKS: Final = 3
SLOW_NS: Final = 15 * NS  # what a few calls of the slowest disk may take
WATCHDOG_S: Final = 30.0  # WatchdogSec of the node's unit (docs/admin.md)
RESTART_S: Final = 2.0  # systemd's RestartSec of our units
RESTARTS_MAX: Final = 400
TASKS_MAX: Final = 120  # of one program: some 35 of its own, 32 orders, 20 publishes


class World:
    """One seed. Make it, `run` it, then read it."""

    def __init__(
        self, seed: int, minutes: float, folder: Path, shim: Shim, *, calm: bool = False, keep_trace: bool = False
    ) -> None:
        """`calm`: no faults."""
        self.seed = seed
        self.seconds = minutes * 60
        self.rng = Random(seed)
        self.clock = ManualClock()
        self.began_ns = self.clock.monotonic_ns()
        self.seen: Counter[str] = Counter()
        self.trace = Trace(keep=keep_trace)
        self.network = Network(Random(self.rng.random()), self.seen)
        self.told = folder / "told"
        self.machines: dict[str, Machine] = {}
        self.wires: dict[str, Wires] = {}
        self.edges: list[tuple[int, str, bool]] = []
        self.bugs: list[str] = []
        self.desks: dict[str, dict[str, Any]] = {}
        self.healed_ns = self.quiet_ns = self.end_ns = 0
        self.frozen_ns: dict[str, int] = {}
        self.ending = False
        self.judges_silence = self.floods = True
        self.plans: list[Any] = []
        self.at_heal: list[Any] = []
        self.unsettled_at_end: list[str] = []
        self.disks: dict[str, Disk] = {}
        self.signatures = Signatures()
        public = {name: site.public_key(name) for name in (*site.NODES, site.CENTRE)}
        self.keys = Keys(public, self.signatures.genuine)
        self.witness = Witness(self.keys, self.seen)
        self.outages = Outages(lambda: self.now_ns)
        self.mute = Outages(lambda: self.now_ns)  # when which machine said nothing
        self.still = Outages(lambda: self.now_ns)  # when which machine's program did not run: dead, or stopped
        self.kept: dict[Key, Happening] = {}  # every event that stood in a ledger after a crash, or at the end
        self.spoilt: set[Key] = set()  # events of ledgers whose bytes we have changed
        self.findings: list[str] = []
        for name in (*site.NODES, site.CENTRE):
            program = self._controller if name == site.CENTRE else self._node
            machine = Machine(name, folder / name, self.clock, Random(self.rng.random()), program)
            machine.trapped = lambda where, m=machine: self._trapped(m, where)  # type: ignore[misc]
            self.machines[name] = machine
            self.disks[name] = shim.disks[f"{folder / name}/"] = Disk(Random(self.rng.random()), self.seen)
        for name in site.NODES:
            self.wires[name] = Wires(name, self.clock, self._edge)
            data = self.machines[name].base / "data"
            data.mkdir()
            os.link(folder / "ballast", data / "ballast")
        self.network.broker.tap.append(self._arrived)
        faults = Faults(self, Random(self.rng.random()))
        self.drawn = [] if calm else faults.draw()
        self.single = faults.single
        if "slow" in self.drawn:
            self.witness.slow_ns = SLOW_NS

    # The programs.

    async def _node(self, life: Life) -> None:
        machine, wires = life.machine, self.wires[life.machine.name]
        life.at_death.append(wires.cut)
        ready = site.node_ready(machine.name, life.base)
        await edge_app.run(
            ready,
            clock=machine.clock,
            connector=self.network.connector(life),
            runner=DiskRunner(life),
            entropy=machine.entropy,
            stop=life.stop,
            bridge=wires.bridge(ready, machine.clock),
        )

    async def _controller(self, life: Life) -> None:
        machine = life.machine
        await controller_app.run(
            site.controller_ready(life.base, self.told),
            clock=machine.clock,
            connector=self.network.connector(life),
            runner=DiskRunner(life),
            entropy=machine.entropy,
            stop=life.stop,
            others=lambda _name: DiskRunner(life),
        )

    # What machines go through.

    def start(self, name: str) -> None:
        machine = self.machines[name]
        if machine.up or self.ending:
            return
        self.mark("start", name, machine.lives)
        self.witness.started(name, self.now_ns)
        if machine.lives:
            self.outages.end((name,))
            self.mute.end((name,))
            self.still.end((name,))
        machine.start(self._ended)

    def kill(self, name: str, *, down_s: float = RESTART_S, copied: Any = lambda _: None, power: bool = False) -> None:
        """SIGKILL, or (`power`) the end of the whole machine; it comes back after `down_s`."""
        machine = self.machines[name]
        if not machine.up:
            return
        self.mark("kill", name, power)
        self._thawed(name)
        self.outages.begin((name,))
        self.mute.begin((name,))
        self.still.begin((name,))
        life = machine.life
        machine.kill(copied=copied)
        self._bury(life)
        if power:
            self.later(15.0, self._forgotten, name, machine.lives)
            machine.clock.power_up()
        else:
            self.network.drop(name)
        if name == site.CENTRE:
            self._acked_are_kept(machine.base)
        else:
            self.collect(name)
        self.later(down_s, self.start, name)

    def _bury(self, life: Life | None) -> None:
        assert life is not None
        disk = self.disks[life.machine.name]
        disk.quiet = True
        life.bury()
        disk.quiet = False

    def freeze(self, name: str) -> None:
        """SIGSTOP."""
        machine = self.machines[name]
        if machine.up and not machine.frozen:
            self.mark("stop", name)
            self.frozen_ns[name] = self.now_ns
            machine.freeze()
            self.mute.begin((name,))
            self.still.begin((name,))
            self.later(15.0, self._stopped, name, machine.lives)
            if name != site.CENTRE:
                self.later(WATCHDOG_S, self._watchdog, name, self.now_ns)

    def thaw(self, name: str) -> None:
        """SIGCONT."""
        if self.machines[name].frozen:
            self.mark("continue", name)
            self._thawed(name)
            self.machines[name].thaw()

    def _thawed(self, name: str) -> None:
        since_ns = self.frozen_ns.pop(name, None)
        if since_ns is not None:
            self.mute.end((name,))
            self.still.end((name,))
            self.witness.thawed(name, since_ns)

    def _stopped(self, name: str, lives: int) -> None:
        machine = self.machines[name]
        if machine.frozen and machine.lives == lives:
            self.network.drop(name)

    def _watchdog(self, name: str, since_ns: int) -> None:
        """systemd's: who has been stopped for so long is killed, and begins anew."""
        if self.frozen_ns.get(name) == since_ns:
            self.seen["stopped node killed by its watchdog"] += 1
            self.kill(name)

    def _forgotten(self, name: str, lives: int) -> None:
        if self.machines[name].lives == lives:
            self.network.drop(name)

    def _trapped(self, machine: Machine, where: str) -> None:
        self.seen[f"crash at {where}"] += 1
        Context().run(self.kill, machine.name, down_s=machine.rng.uniform(0.5, 20))

    def _ended(self, life: Life) -> None:
        """A program has ended by itself: on purpose, by a trouble that it cannot live with, or by a bug."""
        assert life.task is not None
        error = None if life.task.cancelled() else life.task.exception()
        if not life.alive:
            return
        life.alive = False
        machine = life.machine
        for each in life.at_death:
            each()
        self._bury(life)
        self.mark("ended", machine.name, type(error).__name__)
        if life.stop.is_set() and error is None:
            return
        if error is None or not _trouble(error):
            self.bugs.append(f"{machine.name} ended: {''.join(traceback.format_exception(error))[-3000:]}")
            return
        self.seen[f"{'controller' if machine.name == site.CENTRE else 'node'} gave up for its disk"] += 1
        self.outages.begin((machine.name,))
        self.mute.begin((machine.name,))
        self.still.begin((machine.name,))
        self.network.drop(machine.name)
        if machine.lives < RESTARTS_MAX:
            self.later(RESTART_S, self.start, machine.name)

    def later(self, seconds: float, act: Any, *facts: Any) -> None:
        """As the world's own doing, whoever's callback this is."""
        asyncio.get_running_loop().call_later(seconds, act, *facts, context=Context())

    def mark(self, what: str, *facts: Any) -> None:
        self.trace.add(self.now_ns, what, *facts)

    @property
    def now_ns(self) -> int:
        return self.clock.monotonic_ns()

    def _edge(self, siren: str, on: bool) -> None:
        self.edges.append((self.now_ns, siren, on))
        self.mark("relay", siren, on)
        self.witness.edge(siren, on, self.now_ns)

    def _arrived(self, client: str, message: Any) -> None:
        self.trace.add(self.now_ns, message.topic, hashlib.md5(message.payload).hexdigest())
        if message.topic.startswith("bucium/"):
            self.witness.arrived(machine_of(client), message.payload, self.now_ns, self.clock.wall_us())

    # What they have written down.

    def collect(self, name: str) -> None:
        """Take down every event that stands in a node's ledgers now."""
        for one in ledgers(self.machines[name].base / "data", self.keys):
            before = self.kept.setdefault(one.key, one)
            if before.digest != one.digest:
                self.findings.append(f"I1 two events of {name} have one key: seq {one.key.seq}")

    def collect_all(self) -> None:
        for name in site.NODES:
            self.collect(name)

    def spoil_ledger(self, name: str, base: Path) -> None:
        """A node's ledger is about to lose bytes; what cannot be read of it any more is not the program's loss."""
        self.collect(name)
        self.spoilt |= {one.key for one in ledgers(base / "data", self.keys)}

    def journal(self) -> Record | None:
        return journal(self.machines[site.CENTRE].base / "data" / "journal.db")

    def _acked_are_kept(self, base: Path) -> None:
        """After a crash: whatever a node was told that we have stands in the journal."""
        record = journal(base / "data" / "journal.db")
        lines = record.lines if record is not None else []
        have = set()
        for line in lines:
            message = self.keys.open(bytes(line.value[0])) if line.kind in (10, 11) else None
            if message is not None:
                have.add((message.issuer, message.body[0], message.body[1]))
        for key in self.witness.told:
            if key not in have and self.witness.was_acked(key):
                self.findings.append(f"I1 acked and not kept: {key[0]} seq {key[2]}")

    # Its course.

    def run(self) -> None:
        loop = WorldLoop(self.clock)
        try:
            with desks_of(self.desks), self.signatures.remembered():
                loop.run_until_complete(self._course())
            self.bugs += [f"the world itself: {error!r}" for error in loop.broke]
        finally:
            pending = asyncio.all_tasks(loop)
            for task in pending:
                task.cancel()
            if pending:
                loop.run_until_complete(asyncio.wait(pending, timeout=60))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    async def _course(self) -> None:
        for name in site.NODES if self.floods else ():
            for at_s, metres in floods(self.rng, self.seconds):
                self.later(at_s, self.wires[name].set, metres)
        for at_s, act in self.plans:
            self.later(at_s, act)
        for name in self.machines:
            self.later(self.rng.random() * 2, self.start, name)
        await asyncio.sleep(self.seconds)
        self.heal()
        await self._settle()
        self.ending = True
        for machine in self.machines.values():
            if machine.up:
                assert machine.life is not None
                machine.life.stop.set()
        await asyncio.sleep(10)
        self.end_ns = self.now_ns
        for machine in self.machines.values():
            if machine.up:
                life = machine.life
                machine.kill()
                self._bury(life)
                self.bugs.append(f"{machine.name} does not stop when asked")
        await asyncio.sleep(20)

    def heal(self) -> None:
        """The end of all faults."""
        self.healed_ns = self.now_ns
        self.mark("heal")
        self._bounded()
        self.network.reset()
        self.network.broker.start()
        for act in self.at_heal:
            act()
        for name, machine in self.machines.items():
            machine.trap = None
            machine.slow_s = 0.0
            self.disks[name].heal()
            self.thaw(name)
            self.start(name)
        for wires in self.wires.values():
            wires.line.misbehaviour.clear()
            wires.line.refuses = False

    def _bounded(self) -> None:
        """I6, as far as it shows within minutes: nobody leaves tasks behind."""
        loop: Any = asyncio.get_running_loop()
        for name, machine in self.machines.items():
            if machine.up and (count := len(loop.tasks_of(machine.life))) > TASKS_MAX:
                self.findings.append(f"I6 {name} has {count} tasks")

    async def _settle(self) -> None:
        looks = 0
        while self.now_ns < self.healed_ns + HEAL_S * NS:
            await asyncio.sleep(LOOK_S)
            looks = looks + 1 if not self.unsettled() else 0
            if looks == QUIET_LOOKS:
                self.quiet_ns = self.now_ns
                return
        self.unsettled_at_end = self.unsettled()

    def unsettled(self) -> list[str]:
        """What still has to happen before the world is as it was before the floods."""
        found = [f"{name} is not running" for name, machine in self.machines.items() if not machine.up]
        on = {siren: is_on for _, siren, is_on in self.edges}
        found += [f"{siren} is on" for siren, is_on in on.items() if is_on]
        for name in site.NODES:
            owed = _count(
                self.machines[name].base / "data" / "ledger.db",
                "SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM salvaged)",
            )
            if owed:
                found.append(f"{name} owes {owed} events")
        untold = _untold(self.machines[site.CENTRE].base / "data" / "journal.db")
        if untold:
            found.append(f"the controller has not told of rows {untold}")
        return found


def _count(path: Path, query: str) -> int:
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        try:
            return int(db.execute(query).fetchone()[0])
        except sqlite3.Error:
            return -1


def _untold(path: Path) -> list[int]:
    """Changes of alarms and notices (rows of kind 20 and 46) of which no row (kind 22: [seq]) says that dispatch has them."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        try:
            rows = db.execute("SELECT seq, kind, payload FROM entry WHERE kind IN (20, 22, 46)").fetchall()
        except sqlite3.Error:
            return [-1]
    told = {cbor2.loads(payload)[0] for _, kind, payload in rows if kind == 22}
    return [seq for seq, kind, _ in rows if kind != 22 and seq not in told]


def _trouble(error: BaseException) -> bool:
    """Whether a program may end so: a disk or a configuration, said in words, and no bug."""
    if isinstance(error, BaseExceptionGroup):
        return all(_trouble(each) for each in error.exceptions)
    return isinstance(error, BuciumError)
