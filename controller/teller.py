"""Carries what changed in the alarms and sirens to dispatch and history, each change once it is durable; remembers what was told.

A change that was not told when the program stopped is told again at the next start: dispatch knows it by its content. So is one
that dispatch has only in memory, since its disk takes nothing, until that is durable. Sirens never wait for this.

In a storm (F31) telling gives way to the reports that still come in, of which some may sound sirens: a few changes a second go
out meanwhile, so that people know at once that it happens, and all the rest after GIVE_WAY_S at the latest.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from .room import Room, Tellable

TELL_MAX: Final = 500  # changes told together: dispatch writes so many in one commit
AGAIN_S: Final = 5.0  # until what is not durable is told again
GIVE_WAY_S: Final = 10.0  # of the 30 s in which a storm is to be told (reliability.md F31)
FEW: Final = 20  # changes a second that are told meanwhile: some 3 % of a core
LOOK_S: Final = 0.1


class Teller:
    """Runs until cancelled. `tell` says whether what it took up is durable."""

    def __init__(
        self, room: Room, tell: Callable[[Tellable], Awaitable[bool]], crowded: Callable[[], bool] = lambda: False
    ) -> None:
        """`crowded`: whether the alarm lane has more to do than a moment's work."""
        self._room = room
        self._tell = tell
        self._crowded = crowded
        self._wake = asyncio.Event()
        self._wake.set()
        self._again: set[int] = set()  # taken up, and to be told again
        self._again_at = 0.0  # when, by the loop's clock

    def wake(self) -> None:
        """There may be something to tell."""
        self._wake.set()

    async def run(self) -> None:
        while True:
            await self._pause()
            until_s = asyncio.get_running_loop().time() + GIVE_WAY_S  # for all that is told in one go
            while batch := self._fresh():
                if self._gives_way(until_s):
                    batch = batch[:FEW]
                await self._room.journal.durable()
                durable = await asyncio.gather(*(self._tell(change) for _, change in batch))
                for (seq, _), kept in zip(batch, durable, strict=True):
                    if kept:
                        self._room.told(seq)
                    else:
                        self._again.add(seq)
                        self._again_at = asyncio.get_running_loop().time() + AGAIN_S
                await self._rest(until_s)

    def _gives_way(self, until_s: float) -> bool:
        return self._crowded() and asyncio.get_running_loop().time() < until_s

    async def _rest(self, until_s: float) -> None:
        """A second at most, while others come first."""
        until_s = min(until_s, asyncio.get_running_loop().time() + 1.0)
        while self._gives_way(until_s):  # noqa: ASYNC110 - the lane counts, it has no event for this
            await asyncio.sleep(LOOK_S)

    def _fresh(self) -> list[tuple[int, Tellable]]:
        return [(seq, change) for seq, change in self._room.untold.items() if seq not in self._again][:TELL_MAX]

    async def _pause(self) -> None:
        """Until there is something to tell, or to tell again."""
        try:
            async with asyncio.timeout_at(self._again_at if self._again else None):
                await self._wake.wait()
        except TimeoutError:
            self._again.clear()
        self._wake.clear()
