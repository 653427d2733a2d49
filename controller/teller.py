"""Carries what changed in the alarms and sirens to dispatch and history, each change once it is durable; remembers what was told.

A change that was not told when the program stopped is told again at the next start: dispatch knows it by its content. Sirens
never wait for this.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from .alarm.changes import AlarmChange
from .notices import SirenNotice
from .room import Room

TELL_MAX: Final = 500  # changes told together: dispatch writes so many in one commit


class Teller:
    """Runs until cancelled."""

    def __init__(self, room: Room, tell: Callable[[AlarmChange | SirenNotice], Awaitable[None]]) -> None:
        self._room = room
        self._tell = tell
        self._wake = asyncio.Event()
        self._wake.set()

    def wake(self) -> None:
        """There may be something to tell."""
        self._wake.set()

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._room.untold:
                batch = list(self._room.untold.items())[:TELL_MAX]
                await self._room.journal.durable()
                await asyncio.gather(*(self._tell(change) for _, change in batch))
                for seq, _ in batch:
                    self._room.told(seq)
