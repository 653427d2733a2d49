"""What other centres warn of, brought to the alarms of our zones (design §2.4: it needs a person to sound anything).

A verified message is a row of the journal (HEARD) before it has any effect; what stands then is one part of the alarm for each
source, called `cap:SOURCE`. It raises, and it lowers only itself: no point of ours is cleared by what others say.
"""

import zlib
from typing import Final

from cython_ext import Level, Reason, Trouble
from lanes.identity import EventKey

from .alarm.changes import OUTSIDE, Reading
from .deciding import Deciding
from .inbound.reading import Told
from .inbound.warnings import Place, Verdict, level_at
from .record.records import Record
from .room import Room

REFERENCE: Final = "cap-in-reference"


class Heeding:
    """Takes what was read of verified messages. At the start it says again what stands."""

    def __init__(self, room: Room, deciding: Deciding) -> None:
        self._room = room
        self._deciding = deciding
        for place in sorted(room.warnings.places()):
            self._apply(place)

    def take(self, told: Told, data: bytes) -> Verdict | None:
        """Journal the message and let it count; None: we have it already. `data`: as it came, for an inquiry."""
        with self._room.clock.hold():
            if self._room.warnings.known(told.triple):
                return None
            return self.conclude(told, zlib.compress(data))

    def conclude(self, told: Told, deflated: bytes) -> Verdict:
        """What follows from a message: live, and once more when the record is replayed."""
        room = self._room
        verdict = room.warnings.judge(told)
        if told.references and room.warnings.loose(told):
            room.trouble(REFERENCE, told.source, True)
        row = room.journal.append(Record.HEARD, [told.pack(), str(verdict), deflated])
        for place in sorted(room.warnings.put(told, row.seq)):
            self._apply(place)
        return verdict

    def tick(self, _now_ns: int, now_us: int) -> None:
        """End what has expired."""
        for place in sorted(self._room.warnings.expire(now_us)):
            self._apply(place)

    def _apply(self, place: Place) -> None:
        """The alarm at this place, as the warnings have it now."""
        room, (zone, hazard, mode) = self._room, place
        worst = room.warnings.at(place)
        alarm = room.book.at(*place)
        parts = {part.reading.point: part.reading for part in alarm.parts if part.reading.outside} if alarm else {}
        now_us = room.clock.wall_us()
        for source in sorted(worst):
            told, seq = worst[source].told, worst[source].seq
            level = level_at(told, place)
            key = EventKey(room.plan.controller, room.journal.id, seq)
            point = OUTSIDE + source
            reading = Reading(key, point, float(level), level, Reason.THRESHOLD, Trouble.NONE, told.sent_us)
            room.moved(room.book.read(zone, hazard, reading, mode=mode, live=True, now_us=now_us))
        for point in sorted(parts.keys() - {OUTSIDE + source for source in worst}):
            old = parts[point]
            over = Reading(old.key, point, 0.0, Level.NORMAL, old.reason, Trouble.NONE, now_us)
            room.moved(room.book.read(zone, hazard, over, mode=mode, live=True, now_us=now_us))
        self._deciding.consider(place)
