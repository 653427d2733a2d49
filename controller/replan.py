"""Another plan for a running controller: whatever goes by it takes it up in one step, and no alarm is lost (design §2.5).

watchdog   its Panel is reconfigured: what is held, delayed or latched goes on
registry   nodes and sirens that both plans name keep what is known of them
host       the metrics that were born feed the points that the new plan says
alarms     a point that no longer endangers a zone is over there (reason PLAN); one that now does raises it
policies   every open alarm is considered anew
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

from cython_ext import Level, Reason
from lanes.keys import Mode
from lanes.plan import Point
from lanes.planfile import SignedPlan

from .alarm.record import Alarm
from .deciding import Deciding
from .room import Room
from .spread import Spread
from .watchdog import Watchdog


class Replan:
    """Called with a plan that has been examined and is on the disk. `others` are told of it: host, history, dispatch."""

    def __init__(
        self,
        room: Room,
        deciding: Deciding,
        watchdog: Watchdog,
        spread: Spread,
        others: Iterable[Callable[[SignedPlan], None]] = (),
    ) -> None:
        self._room = room
        self._deciding = deciding
        self._watchdog = watchdog
        self._spread = spread
        self._others = tuple(others)

    def __call__(self, signed: SignedPlan) -> None:
        """Run it from now on."""
        room = self._room
        with room.clock.hold():
            now_ns = room.clock.monotonic_ns()
            self._watchdog.leave(now_ns)
            room.replan(signed)
            self._watchdog.replan(now_ns)
            settle(room, self._deciding)
            for node in room.fold.registry.nodes.values():
                if node.plan:
                    room.trouble("plan-differs", node.id, node.plan != signed.digest)
            room.trouble("plan-refused", "plan", False)
            self._spread.replan()
        for each in self._others:
            each(signed)
        room.notify()


def settle(room: Room, deciding: Deciding) -> None:
    """Bring the alarms in line with the plan's zones: at a start under another plan, and when one is applied."""
    for alarm in list(room.book):
        for part in alarm.parts:
            if not _endangers(room, part.reading.point, alarm):
                over = replace(part.reading, level=Level.NORMAL, reason=Reason.PLAN)
                where, now_us = alarm.id, room.clock.wall_us()
                room.moved(
                    room.book.read(
                        where.zone,
                        where.hazard,
                        over,
                        mode=alarm.mode,
                        live=part.live,
                        now_us=now_us,
                        watched=part.watched,
                    )
                )
    for word in room.fold.points:
        reading, item = word.reading, room.plan.judged(word.reading.point)
        if item is None or reading.level is Level.NORMAL or (isinstance(item, Point) and not item.alone):
            continue
        hazard = room.plan.hazard_of(reading.point)
        for zone in room.plan.zones_of(reading.point):
            now_us = room.clock.wall_us()
            room.moved(room.book.read(zone, hazard, reading, mode=word.mode, live=word.live, now_us=now_us))
    for alarm in list(room.book):
        deciding.consider((alarm.id.zone, alarm.id.hazard, Mode(alarm.mode)))


def _endangers(room: Room, judged: str, alarm: Alarm) -> bool:
    item = room.plan.judged(judged)
    if item is None or (isinstance(item, Point) and not item.alone):
        return False
    return alarm.id.zone in room.plan.zones_of(judged) and room.plan.hazard_of(judged) is alarm.id.hazard
