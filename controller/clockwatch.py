"""The controller's own wall clock: what it is worth, and when it jumps, in the journal and as Trouble (design §2.1, §2.6).

A row's wall time is a label; its monotonic time orders. A CLOCK row says how the two lay to each other from there on, who vouched
for the wall clock, and in which boot: so an inquiry can date every row again. Nothing is decided by it.
"""

from collections.abc import Callable
from typing import Final

from cython_ext import NS_PER_S, ClockQuality

from .record.records import Record
from .room import Room

EVERY_NS: Final = 10 * NS_PER_S
STEP_US: Final = 1_000_000  # NTP slews what is less
UNTRUSTED: Final = "clock-untrusted"
STEPPED: Final = "clock-stepped"


class ClockWatch:
    """`tick` looks every 10 s, and at once after a start."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._ask: Callable[[], ClockQuality] = room.clock.quality
        self._asked_ns = -EVERY_NS
        self._said: tuple[ClockQuality, int] | None = None

    def tick(self, now_ns: int, now_us: int) -> None:
        offset_us = now_us - now_ns // 1000
        stepped = self._said is not None and abs(offset_us - self._said[1]) >= STEP_US
        if not stepped and self._said is not None and now_ns - self._asked_ns < EVERY_NS:
            return
        self._asked_ns = now_ns
        quality, room = self._ask(), self._room
        if stepped:
            room.trouble(STEPPED, "", True)
        room.trouble(UNTRUSTED, "", not quality.trusted)
        if stepped or self._said is None or quality.source is not self._said[0].source:
            room.journal.append(Record.CLOCK, [room.boot, int(quality.source), quality.error_ms, offset_us])
            self._said = quality, offset_us
