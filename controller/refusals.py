"""Messages that were not ours: counted by reason, and journaled as counts, since a flood of them must not fill the disk."""

from collections import Counter
from typing import Final

from cython_ext import NS_PER_S

from .record.records import Record
from .room import Room

FLUSH_NS: Final = 10 * NS_PER_S
QUIET_NS: Final = 60 * NS_PER_S  # strangers' messages are one trouble, until a minute has passed without
REASONS_MAX: Final = 64  # stable words; beyond it something counts free text


class Refusals:
    """Counts, and tells the journal every 10 s what has come since."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.total: Counter[str] = Counter()
        self._fresh: dict[str, tuple[int, str]] = {}
        self._flushed_ns = self._last_ns = room.clock.monotonic_ns()

    def count(self, why: str, detail: str = "") -> None:
        """One more, for this reason; the last detail is kept."""
        self.total[why] += 1
        if why in self._fresh or len(self._fresh) < REASONS_MAX:
            self._fresh[why] = self._fresh.get(why, (0, ""))[0] + 1, detail[:80]
        self._last_ns = self._room.clock.monotonic_ns()
        self._room.trouble("messages-refused", "", True)

    def tick(self, now_ns: int) -> None:
        if now_ns - self._flushed_ns >= FLUSH_NS:
            self.flush()
            self._flushed_ns = now_ns
        if now_ns - self._last_ns >= QUIET_NS:
            self._room.trouble("messages-refused", "", False)

    def flush(self) -> None:
        """Journal what has been counted since the last time."""
        for why, (count, detail) in self._fresh.items():
            self._room.journal.append(Record.REFUSED, [why, count, detail])
        self._fresh = {}
