"""One machine of the world: lives one after another, each with its own folder, clock and wires.

A process is killed as SIGKILL does it: nothing that it does from then on reaches disk, network or hardware. Its disk as it is at
that moment is copied, and the next life starts from the copy; the old folder and whatever still runs in it are left to
themselves. So no `finally` of the product can tidy up after a crash.
"""

import asyncio
import os
import shutil
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from pathlib import Path
from random import Random
from typing import Any, Final, ParamSpec, TypeVar

import apsw

from cython_ext import ClockQuality, ClockSource
from tests.kit.clock import ManualClock

P = ParamSpec("P")
R = TypeVar("R")
BOOT_NS: Final = 10**15  # the monotonic clock of the n-th power-up begins at n · 10^15: a stamp tells its boot
HERE: ContextVar["Life | None"] = ContextVar("HERE", default=None)
GONE: Final = (".db-shm", ".sock")  # what no crash leaves behind


class MachineClock:
    """A machine's own clock: monotonic since its power-up, a wall clock that can be wrong."""

    def __init__(self, world: ManualClock) -> None:
        self._world = world
        self.powered_ns: list[int] = [0]  # the world's time of the n-th power-up
        self._base_ns = 0
        self.wall_off_us = 0
        self.trusted = ClockQuality(ClockSource.NTP, 5)
        self.power_up()

    def power_up(self) -> None:
        now_ns = self._world.monotonic_ns()
        self._base_ns = len(self.powered_ns) * BOOT_NS - now_ns
        self.powered_ns.append(now_ns)

    def world_ns(self, stamp_ns: int) -> int:
        """The world's time of one of this machine's monotonic stamps."""
        boot, since_ns = divmod(stamp_ns, BOOT_NS)
        return self.powered_ns[boot] + since_ns

    def monotonic_ns(self) -> int:
        return self._world.monotonic_ns() + self._base_ns

    def wall_us(self) -> int:
        return max(0, self._world.wall_us() + self.wall_off_us)

    def quality(self) -> ClockQuality:
        return self.trusted


class Life:
    """One run of a machine's program, from its start to its end or its death."""

    def __init__(self, machine: "Machine", base: Path) -> None:
        self.machine = machine
        self.base = base
        self.alive = True
        self.stop = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self.at_death: list[Callable[[], None]] = []
        self.connections: list[apsw.Connection] = []

    @property
    def stopped(self) -> bool:
        """By SIGSTOP. The dead are not: what is left of them runs out."""
        return self.alive and self.machine.frozen

    def bury(self) -> None:
        """Close its databases: by now nobody looks at them, or a copy has been made."""
        for connection in self.connections:
            connection.close()
        self.connections.clear()

    def require(self) -> None:
        """The dead do nothing."""
        if not self.alive:
            raise asyncio.CancelledError

    def step(self, where: str) -> None:
        """A place where a crash may come; dies there when the trap is set for it."""
        self.require()
        trap = self.machine.trap
        if trap is not None and where.startswith(trap[0]):
            if trap[1] > 0:
                self.machine.trap = (trap[0], trap[1] - 1)
                return
            self.machine.trap = None
            self.machine.trapped(where)
            raise asyncio.CancelledError


class Machine:
    """`program(life)` is the coroutine of one run."""

    def __init__(
        self,
        name: str,
        folder: Path,
        clock: ManualClock,
        rng: Random,
        program: Callable[[Life], Coroutine[Any, Any, None]],
    ) -> None:
        self.name = name
        self.folder = folder
        self.clock = MachineClock(clock)
        self.rng = rng
        self.program = program
        self.life: Life | None = None
        self.lives = 0
        self.base = folder / "0"
        self.slow_s = 0.0  # how long its disk takes
        self.frozen = False
        self.held: list[Any] = []  # callbacks that a stopped process did not run
        self.trap: tuple[str, int] | None = None
        self.trapped: Callable[[str], None] = lambda _where: None
        self.graves: list[asyncio.Task[None]] = []
        self.base.mkdir(parents=True)

    def entropy(self, count: int) -> bytes:
        return self.rng.randbytes(count)

    @property
    def up(self) -> bool:
        return self.life is not None and self.life.alive

    def start(self, ended: Callable[[Life], None]) -> Life:
        """A new life, on the disk as it is."""
        assert not self.up
        self.lives += 1
        life = self.life = Life(self, self.base)
        token = HERE.set(life)
        try:
            life.task = asyncio.get_running_loop().create_task(self.program(life), name=f"{self.name} {self.lives}")
        finally:
            HERE.reset(token)
        life.task.add_done_callback(lambda _: ended(life))
        return life

    def kill(self, *, copied: Callable[[Path], None] = lambda _: None) -> None:
        """SIGKILL. `copied` may spoil the disk's copy: what a power cut took with it."""
        life = self.life
        assert life is not None
        life.alive = False
        for each in life.at_death:
            each()
        self.base = _copy(life.base, self.folder / str(self.lives))
        copied(self.base)
        assert life.task is not None
        life.task.cancel()
        self.graves.append(life.task)
        _loop()._ready.extend(self._melt())  # what is left of it runs out

    def freeze(self) -> None:
        """SIGSTOP: no callback of it runs until `thaw`."""
        self.frozen = True
        _loop().frozen += 1

    def thaw(self) -> None:
        """SIGCONT: everything that came due meanwhile comes at once."""
        _loop()._ready.extend(self._melt())

    def _melt(self) -> list[Any]:
        if self.frozen:
            self.frozen = False
            _loop().frozen -= 1
        held, self.held = self.held, []
        return held


def _loop() -> Any:
    return asyncio.get_running_loop()


class DiskRunner:
    """A machine's one disk thread: in order, with its latency, with a place to crash before and after each call."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self._turn = asyncio.Lock()

    async def __call__(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        life, machine = self._life, self._life.machine
        life.require()
        async with self._turn:
            wait_s = machine.slow_s
            if wait_s:
                await asyncio.sleep(machine.rng.random() * wait_s)
            life.step("disk.before")
            result = function(*args, **kwargs)
            life.step("disk.after")
            if wait_s:
                await asyncio.sleep(machine.rng.random() * wait_s)
                life.require()
            return result


def _copy(here: Path, there: Path) -> Path:
    """The folder as the kernel has it now. The ballast is only linked: nobody writes into it."""
    for folder, _, names in os.walk(here):
        to = there / Path(folder).relative_to(here)
        to.mkdir(parents=True, exist_ok=True)
        for name in names:
            if name == "ballast":
                os.link(Path(folder) / name, to / name)
            elif not name.endswith(GONE):
                shutil.copyfile(Path(folder) / name, to / name)
    return there
