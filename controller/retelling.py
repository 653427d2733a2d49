"""What a damaged outbox had still to tell, from the journal: told again, under the same identifiers (an alarm fails open, I10).

A change is owed when a channel that takes everything has not answered for it. The last change of an alarm that lasts is told
again in any case, so that it is renewed: at most one message too many for each, which its receiver knows by its identifier.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

from cython_ext import Clock, Level
from lanes.store import Runner, StoreError

from .alarm.changes import AlarmChange
from .dispatch import Outcome
from .dispatch.cap import identifier_of
from .dispatch.dispatcher import Dispatcher
from .dispatch.outbox import KEEP_US
from .record.database import Database
from .record.records import Record
from .room import Room, Tellable, tellable

CODE: Final = "dispatch-anew"
LOOK_S: Final = 5.0
OVER: Final = (Outcome.DELIVERED, Outcome.EXPIRED, Outcome.SHED)


def owed(path: Path, journal: bytes, channels: Collection[str], since_us: int) -> dict[int, Tellable]:
    """Journal row → what is to be told again, of changes since `since_us` and of alarms that last. Blocks; StoreError."""
    found: dict[int, Tellable] = {}
    last: dict[str, int] = {}  # alarm → the row of its last change
    answered: dict[str, set[str]] = defaultdict(set)
    database = Database(path, writable=False)
    try:
        for row in database.rows(journal):
            if row.kind in (Record.ALARM, Record.NOTICE):
                change = tellable(row.value[0])
                if isinstance(change, AlarmChange):
                    last[f"{int(change.mode)}:{change.alarm_id}"] = row.seq
                found[row.seq] = change
            elif row.kind is Record.DELIVERY and row.value[3] in OVER:
                answered[row.value[1]].add(row.value[0])
            if row.seq % 1000 == 0:
                lasts = set(last.values())
                found = {seq: each for seq, each in found.items() if each.at_us >= since_us or seq in lasts}
    finally:
        database.close()
    lasts = set(last.values())
    return {
        seq: change
        for seq, change in found.items()
        if (seq in lasts and isinstance(change, AlarmChange) and change.level is not Level.NORMAL)
        or (change.at_us >= since_us and not answered[_identifier(change)].issuperset(channels))
    }


def _identifier(change: Tellable) -> str:
    return identifier_of(change) if isinstance(change, AlarmChange) else change.identifier


class Retelling:
    """Runs once, when the outbox was damaged. `wake` sets the teller going."""

    def __init__(
        self,
        room: Room,
        dispatcher: Dispatcher,
        *,
        channels: Collection[str],
        clock: Clock,
        runner: Runner,
        wake: Callable[[], None],
    ) -> None:
        self._room = room
        self._dispatcher = dispatcher
        self._channels = frozenset(channels)
        self._clock = clock
        self._runner = runner
        self._wake = wake

    async def run(self) -> None:
        room = self._room
        room.trouble(CODE, "", self._dispatcher.forgetful)
        if not self._dispatcher.forgetful:
            return
        await room.journal.durable()
        since_us = self._clock.wall_us() - KEEP_US
        try:
            found = await self._runner(owed, room.journal.path, room.journal.id, self._channels, since_us)
        except StoreError:  # the journal is damaged, too: checking.py says so, and what comes from now on is told
            found = {}
        untold = dict(sorted({**found, **room.untold}.items()))
        room.untold.clear()
        room.untold.update(untold)
        self._wake()
        while True:
            await asyncio.sleep(LOOK_S)  # dispatch takes them a commit at a time
            if not any(seq in room.untold for seq in found):
                break
        await self._dispatcher.retold()
        room.trouble(CODE, "", False)
