"""The world's event loop: virtual time, tasks in an order that repeats, and machines that can be stopped like a process."""

import asyncio
import itertools
from collections import deque
from collections.abc import Coroutine, Generator
from typing import Any

from tests.kit.clock import ManualClock, VirtualLoop

from .machine import HERE


class NumberedTask(asyncio.Task[Any]):
    """A task whose hash is its number: sets of tasks are walked in the same order in each run."""

    _numbers = itertools.count()

    def __init__(self, coro: Coroutine[Any, Any, Any] | Generator[Any, None, Any], **settings: Any) -> None:
        self._number = next(self._numbers)
        super().__init__(coro, **settings)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class _Ready(deque[Any]):
    """The loop's queue. What a stopped machine should run is held back for it."""

    def append(self, handle: Any) -> None:
        life = handle._context.get(HERE)
        if life is not None and life.machine.frozen and life.alive:
            life.machine.held.append(handle)
        else:
            super().append(handle)


class WorldLoop(VirtualLoop):
    """Use through `World.run`."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self._ready = _Ready()
        NumberedTask._numbers = itertools.count()
        self.set_task_factory(_task)
        self.set_exception_handler(
            lambda _loop, _context: None
        )  # the dead leave tasks behind; bugs of the living end them


def _task(
    loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any] | Generator[Any, None, Any], **settings: Any
) -> NumberedTask:
    return NumberedTask(coro, loop=loop, **settings)
