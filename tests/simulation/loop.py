"""The world's event loop: virtual time, tasks in an order that repeats, and machines that can be stopped like a process.

It has no selector: where asyncio would wait, its clock jumps to the next timer. It keeps timers and callbacks in the plainest
way that gives asyncio's order, because half of what a quiet site costs is its loop.
"""

import asyncio
import itertools
from asyncio import events
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any

from tests.kit.clock import ManualClock, VirtualLoop

from .machine import HERE


@dataclass
class Strand:
    """A task's own thread of callbacks, which can hang."""

    hangs: bool = False
    held: list[Any] = field(default_factory=list)


STRAND: ContextVar[Strand] = ContextVar("STRAND")


class NumberedTask(asyncio.Task[Any]):
    """A task whose hash is its number: sets of tasks are walked in the same order in each run."""

    _numbers = itertools.count()
    strand: Strand
    life: Any  # of which machine, None: the world's

    def __init__(self, coro: Coroutine[Any, Any, Any] | Generator[Any, None, Any], **settings: Any) -> None:
        self._number = next(self._numbers)
        super().__init__(coro, **settings)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class _Handle(events.Handle):
    """asyncio's, without its questions about debugging."""

    __slots__ = ()

    def __init__(self, callback: Any, args: Any, loop: Any, context: Context | None) -> None:
        self._context = copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._repr = None
        self._source_traceback = None


class _Timer(events.TimerHandle):
    __slots__ = ()

    def __init__(self, when: float, callback: Any, args: Any, loop: Any, context: Context | None) -> None:
        self._context = copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._repr = None
        self._source_traceback = None
        self._when = when
        self._scheduled = False  # so that asyncio keeps no count of it

    def cancel(self) -> None:
        self._cancelled = True
        self._callback = self._args = None


class WorldLoop(VirtualLoop):
    """Use through `World.run`. `broke`: what the world's own callbacks raised; bugs of programs end those programs."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self._timers: list[tuple[float, int, _Timer]] = []
        self._order = itertools.count()
        self.frozen = 0  # machines that are stopped
        self.hanging = 0  # tasks that hang
        self.broke: list[BaseException] = []
        NumberedTask._numbers = itertools.count()
        self.set_task_factory(_task)
        self.set_exception_handler(lambda _loop, _context: None)  # the dead leave tasks behind

    def time(self) -> float:
        return self.clock._monotonic_ns / 1e9

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> events.Handle:
        handle = _Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> events.TimerHandle:
        return self.call_at(self.clock._monotonic_ns / 1e9 + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> events.TimerHandle:
        timer = _Timer(when, callback, args, self, context)
        heappush(self._timers, (when, next(self._order), timer))
        return timer

    def hang(self, task: NumberedTask) -> None:
        """Nothing of this task runs until `unhang`."""
        if not task.strand.hangs:
            task.strand.hangs = True
            self.hanging += 1

    def unhang(self, task: NumberedTask) -> None:
        if task.strand.hangs:
            task.strand.hangs = False
            self.hanging -= 1
            self._ready.extend(task.strand.held)
            task.strand.held.clear()

    def tasks_of(self, life: Any) -> list[NumberedTask]:
        """The tasks of one life, in the order in which they began."""
        mine = (task for task in asyncio.all_tasks(self) if isinstance(task, NumberedTask) and task.life is life)
        return sorted(mine, key=lambda task: task._number)

    def _run_once(self) -> None:
        """asyncio's turn: what is due becomes ready, and what was ready when the turn began is run."""
        ready, timers, clock = self._ready, self._timers, self.clock
        while timers and timers[0][2]._cancelled:
            heappop(timers)
        if not ready and not self._stopping:
            if not timers:
                raise RuntimeError("the world waits for something that nothing will bring")
            if (wait_s := timers[0][0] - clock._monotonic_ns / 1e9) > 0:
                clock.advance(max(wait_s, 1e-9))
        end_s = clock._monotonic_ns / 1e9 + 1e-9
        while timers and timers[0][0] < end_s:
            ready.append(heappop(timers)[2])
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            if self.frozen and (life := handle._context.get(HERE)) is not None and life.stopped:
                life.machine.held.append(handle)
                continue
            if self.hanging and (strand := handle._context.get(STRAND)) is not None and strand.hangs:
                strand.held.append(handle)
                continue
            try:
                handle._context.run(handle._callback, *handle._args)
            except Exception as error:  # noqa: BLE001 - as asyncio does, which would log it
                if handle._context.get(HERE) is None:
                    self.broke.append(error)


def _task(
    loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any] | Generator[Any, None, Any], **settings: Any
) -> NumberedTask:
    context = settings.pop("context", None) or copy_context()
    strand = Strand()
    context.run(STRAND.set, strand)
    task = NumberedTask(coro, loop=loop, context=context, **settings)
    task.strand, task.life = strand, context.get(HERE)
    return task
