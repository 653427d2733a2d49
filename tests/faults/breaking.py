"""The faults: how each is done to a world, at once, and how it ends. Each says what proves that it really happened."""

import asyncio
import signal
import sqlite3
from collections.abc import Coroutine
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any, Final

from .checker import autopsy
from .records import damage_said
from .seen import NS, now_ns
from .site import CENTRE, NODES
from .world import RESTART_S, World

PAUSE_S: Final = (4.0, 8.0)  # of a SIGSTOP
CUT_S: Final = (11.0, 13.0)  # of a cut line: long enough for a node to act alone
SLOW_S: Final = 12.0
SLOW_BITS_PER_S: Final = 9600
BROKEN_S: Final = 2.0  # a full or failing disk stays so until all has been told, and this much longer
PAGE: Final = 4096
SERVED_S: Final = 60.0


class Fault:
    """`hit` is synchronous: it can be hung onto a packet. `heal` returns when the fault is over (the world may still recover)."""

    kind = ""
    victims: tuple[str, ...] = ()
    limit_s: float | None = None  # the promise for "serving again" after it
    lasting = False  # it heals only when every danger has been told all the same
    refuses = (
        False  # the victim's siren may refuse instead of sounding: an order that cannot be remembered is not obeyed
    )

    def __init__(self, world: World, victim: str, rng: Random) -> None:
        self.world = world
        self.victim = victim
        self.rng = rng
        self.hit_ns = 0
        self.happened = False  # proved by something else than our own intention

    def hit(self) -> None:
        self.hit_ns = now_ns()

    async def heal(self) -> None:
        """Undo it."""

    def over(self) -> bool:
        """Whether the product has done all that it must about it."""
        return True

    def serving_ns(self) -> int | None:
        """When what was broken served again, as the wire shows it; None: not yet."""
        return self.hit_ns


class Kill(Fault):
    """SIGKILL, and systemd's restart."""

    def hit(self) -> None:
        super().hit()
        self.happened = self.world.programs[self.victim].running
        self.world.hold(self.victim)
        self.world.programs[self.victim].signal(signal.SIGKILL)

    async def heal(self) -> None:
        await self.world.programs[self.victim].gone()
        await self._rest()
        if self.victim == CENTRE:
            autopsy(self.world)
        await self.world.restart(self.victim)

    async def _rest(self) -> None:
        """What else dies with it."""

    def serving_ns(self) -> int | None:
        return self.world.seen.spoke_ns(self.victim, self.hit_ns)


class KillController(Kill):
    kind, victims, limit_s = "kill controller", (CENTRE,), 5.0


class KillNode(Kill):
    kind, victims, limit_s = "kill node", NODES, 10.0


class KillBroker(Fault):
    """SIGKILL, its state wiped."""

    kind, victims, limit_s = "kill broker", ("broker",), 15.0

    def hit(self) -> None:
        super().hit()
        process = self.world.broker.process
        assert process is not None
        self.happened = process.poll() is None
        process.send_signal(signal.SIGKILL)

    async def heal(self) -> None:
        await asyncio.to_thread(self.world.broker.kill)
        await asyncio.sleep(RESTART_S)
        await asyncio.to_thread(self.world.broker.start)

    def serving_ns(self) -> int | None:
        heard = [self.world.seen.heard_ns[node] for node in NODES]
        return max(heard) if min(heard) > self.hit_ns + RESTART_S * NS else None


class _Stop(Fault):
    """SIGSTOP, and after a while SIGCONT."""

    def hit(self) -> None:
        super().hit()
        self._signal(signal.SIGSTOP)

    def _signal(self, number: signal.Signals) -> None:
        self.world.programs[self.victim].signal(number)

    def _pid(self) -> int:
        return self.world.programs[self.victim].pid

    async def heal(self) -> None:
        with self.world.outage(self.victim):
            await asyncio.sleep(self.rng.uniform(*PAUSE_S))
            stat = Path(f"/proc/{self._pid()}/stat").read_text()
            self.happened = stat.rpartition(")")[2].split()[0] == "T"
            self._signal(signal.SIGCONT)


class StopController(_Stop):
    kind, victims = "stop controller", (CENTRE,)


class StopNode(_Stop):
    kind, victims = "stop node", NODES


class StopBroker(_Stop):
    kind, victims = "stop broker", ("broker",)

    def _signal(self, number: signal.Signals) -> None:
        assert self.world.broker.process is not None
        self.world.broker.process.send_signal(number)

    def _pid(self) -> int:
        assert self.world.broker.process is not None
        return self.world.broker.process.pid


class CutLink(Fault):
    """Nothing passes between a node and the broker, and nobody is told."""

    kind, victims = "cut link", NODES

    def hit(self) -> None:
        super().hit()
        self.world.pipes[self.victim].cut()

    async def heal(self) -> None:
        with self.world.outage(self.victim):
            await asyncio.sleep(1.0)
            carried = self.world.pipes[self.victim].carried
            await asyncio.sleep(self.rng.uniform(*CUT_S) - 1.0)
            self.happened = self.world.pipes[self.victim].carried == carried
            self.world.pipes[self.victim].mend()


class SlowLink(Fault):
    """9.6 kbit/s each way between a node and the broker."""

    kind, victims = "slow link", NODES

    def hit(self) -> None:
        super().hit()
        self.world.pipes[self.victim].bits_per_s = SLOW_BITS_PER_S

    async def heal(self) -> None:
        pipe = self.world.pipes[self.victim]
        before = pipe.carried
        await asyncio.sleep(SLOW_S)
        self.happened = 0 < (pipe.carried - before) * 8 <= 2 * 1.1 * SLOW_BITS_PER_S * SLOW_S
        pipe.bits_per_s = 0


class _PowerCut(Kill):
    """The program dies with its machine; its disk forgets what was not synced."""

    async def _rest(self) -> None:
        stats = await self.world.disks[self.victim].cut(self.rng.getrandbits(32))
        for name, count in stats.items():
            if "lost" in name or name.startswith("files cut"):
                self.world.seen.counts[f"power cut: {name}"] = max(self.world.seen.counts[f"power cut: {name}"], count)


class CutNodePower(_PowerCut):
    kind, victims, limit_s = "power cut node", NODES, 30.0


class CutControllerPower(_PowerCut):
    kind, victims, limit_s = "power cut controller", (CENTRE,), 30.0


class _FailingSync(Fault):
    """Every fsync ends in EIO."""

    lasting = True

    def __init__(self, world: World, victim: str, rng: Random) -> None:
        super().__init__(world, victim, rng)
        self._begun: asyncio.Task[dict[str, int]] | None = None

    def hit(self) -> None:
        super().hit()
        self.world.spoilt[self.victim] = self.kind
        self._begun = _at_once(self.world.disks[self.victim].failing(True))

    async def heal(self) -> None:
        assert self._begun is not None
        before = (await self._begun).get("failed syncs", 0)
        await asyncio.sleep(BROKEN_S)
        after = (await self.world.disks[self.victim].failing(False)).get("failed syncs", 0)
        self.happened = after > before


class FailNodeSync(_FailingSync):
    kind, victims, refuses = "fsync EIO node", NODES, True

    def over(self) -> bool:
        return not self.world.seen.in_memory(self.victim)


class FailControllerSync(_FailingSync):
    kind, victims = "fsync EIO controller", (CENTRE,)


class _FullDisk(Fault):
    """Somebody else's log takes the last byte."""

    lasting = True

    def hit(self) -> None:
        super().hit()
        self.world.spoilt[self.victim] = self.kind
        self.happened = self.world.disks[self.victim].fill() > 0

    async def heal(self) -> None:
        await asyncio.sleep(BROKEN_S)
        self.world.disks[self.victim].empty()


class FillNode(_FullDisk):
    kind, victims = "disk full node", NODES

    def over(self) -> bool:
        return not self.world.seen.in_memory(self.victim)


class FillController(_FullDisk):
    kind, victims = "disk full controller", (CENTRE,)


class _Corrupt(Fault):
    """Stopped in good order, then pages of its database are not what they were; started again."""

    file = ""

    def hit(self) -> None:
        super().hit()
        self.world.hold(self.victim)
        self.world.programs[self.victim].signal(signal.SIGTERM)

    async def heal(self) -> None:
        await self.world.programs[self.victim].gone()
        self.world.spoilt[self.victim] = self.kind
        path = self.world.site.data(self.victim) / self.file
        self.happened = spoil(path, self.rng)
        await self.world.restart(self.victim)

    def serving_ns(self) -> int | None:
        return self.world.seen.spoke_ns(self.victim, self.hit_ns)


class CorruptLedger(_Corrupt):
    kind, victims, file = "corrupt ledger", NODES, "ledger.db"

    async def heal(self) -> None:
        await super().heal()
        self.world.seen.forgive(self.victim)


class CorruptJournal(_Corrupt):
    """Damage after the last snapshot is set aside at the start; in front of it, it is found and said while all goes on."""

    kind, victims, file = "corrupt journal", (CENTRE,), "journal.db"

    def over(self) -> bool:
        return damage_said(self.world.site.data(CENTRE))


def spoil(path: Path, rng: Random) -> bool:
    """Zero one page with rows and flip a bit in another; whether that changed the file."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray(path.read_bytes())
    old = bytes(data)
    pages = range(1, len(data) // PAGE)  # not the first: a file without a head is no database any more
    used = [page for page in pages if any(data[page * PAGE : (page + 1) * PAGE])]
    for page, how in zip(rng.sample(used, min(2, len(used))), ("zero", "flip"), strict=False):
        if how == "zero":
            data[page * PAGE : (page + 1) * PAGE] = bytes(PAGE)
        else:
            data[page * PAGE + rng.randrange(PAGE // 2, PAGE)] ^= 1 << rng.randrange(8)
    path.write_bytes(data)
    return bytes(data) != old


_TASKS: set[asyncio.Task[Any]] = set()


def _at_once(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    task = asyncio.create_task(work)
    _TASKS.add(task)
    task.add_done_callback(_TASKS.discard)
    return task


KINDS: Final = {
    fault.kind: fault
    for fault in (
        KillController,
        KillNode,
        KillBroker,
        StopController,
        StopNode,
        StopBroker,
        CutLink,
        SlowLink,
        CutNodePower,
        CutControllerPower,
        FailNodeSync,
        FailControllerSync,
        FillNode,
        FillController,
        CorruptLedger,
        CorruptJournal,
    )
}
