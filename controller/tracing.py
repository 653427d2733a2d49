"""Keeps in the journal what was known around each raise: an aside, by which no decision is made and none replayed.

A raise is traced a few seconds later, so that the samples behind it are there too. In a storm the rest waits its turn, and what
waits too long is not traced: the events themselves are in the journal in any case.
"""

import asyncio
from collections import deque
from typing import Final

from cython_ext import NS_PER_S, Level
from lanes.identity import EventKey

from .alarm.record import Alarm
from .record.records import Record
from .room import Room
from .seeing import Seeing

LOOK_S: Final = 1.0
AFTER_NS: Final = 8 * NS_PER_S  # samples from before and after: a node keeps some 24 s
LATE_NS: Final = 20 * NS_PER_S  # then the samples around the raise are gone
TURN_MAX: Final = 50  # traces in one look: 0.2 ms each
WAITING_MAX: Final = 5_000
KNOWN_MAX: Final = 20_000


class Tracing:
    """Runs until cancelled."""

    def __init__(self, room: Room, seeing: Seeing) -> None:
        self._room = room
        self._seeing = seeing
        self._looked_us = room.clock.wall_us()
        self._known: dict[tuple[str, EventKey], None] = {}
        self._waiting: deque[tuple[int, Alarm, str, EventKey]] = deque(maxlen=WAITING_MAX)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            self.tick()

    def tick(self) -> None:
        """Note the raises that are new; trace those whose time has come."""
        room = self._room
        now_ns, now_us = room.clock.monotonic_ns(), room.clock.wall_us()
        for alarm in list(room.book):
            if alarm.changed_us >= self._looked_us:
                self._note(alarm, now_ns)
        self._looked_us = now_us
        for _ in range(TURN_MAX):
            if not self._waiting or self._waiting[0][0] + AFTER_NS > now_ns:
                break
            seen_ns, alarm, point, key = self._waiting.popleft()
            if now_ns - seen_ns <= LATE_NS:
                sight = self._seeing.look(point)
                room.journal.append(Record.TRACE, [str(alarm.id), key.pack(), sight.pack()])

    def _note(self, alarm: Alarm, now_ns: int) -> None:
        for part in alarm.parts:
            mark = part.reading.point, part.reading.key
            if part.reading.level > Level.NORMAL and not part.reading.outside and mark not in self._known:
                self._known[mark] = None
                self._waiting.append((now_ns, alarm, *mark))
        while len(self._known) > KNOWN_MAX:
            del self._known[next(iter(self._known))]
