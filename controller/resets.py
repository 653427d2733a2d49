"""Latched points reset where they are judged: at their node, by the act that a person signed (design §2.3, §6 rule 4).

A point that latches holds its Level when its danger is over, so its alarm stands until a person resets both. The person's act
goes to each such point's node, which verifies and answers it: done, or why not (the value still stands above). It is sent again
until it is answered or the act has expired; when the alarm is then over, the act releases it too. No siren is touched. The act
stands in the journal, and so do the answers, as events; a controller that starts again meanwhile has forgotten the errand.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from cython_ext import NS_PER_S, Level
from lanes.acts import ResetAlarm, Signed
from lanes.envelope import Kind
from lanes.plan import Group, Point
from lanes.reports import ResetData
from lanes.resets import PointReset

from .alarm.book import Unfit
from .alarm.record import Alarm
from .registry import Node
from .room import Outgoing, Place, Room

FIRST_WAIT_NS: Final = 2 * NS_PER_S
OPEN_MAX: Final = 256  # points that are being reset: all of a large zone's
RELEASE_US: Final = 60_000_000  # how long after the act's end the alarm may still become clear by it
UNANSWERED: Final = "reset-unanswered"


@dataclass(eq=False, slots=True)
class Errand:
    """One point's reset. `why` empty: not answered yet."""

    act: ResetAlarm
    point: str
    node: str
    signed: bytes
    until_us: int
    due_ns: int
    wait_ns: int = FIRST_WAIT_NS
    data: bytes = b""  # the message, once it has been signed
    done: bool = False
    why: str = ""

    def shown(self) -> dict[str, Any]:
        """For people."""
        return {"point": self.point, "node": self.node, "reset": self.done, "why": self.why or "no-answer-yet"}


class Resets:
    """The errands. `consider` is told of an alarm that they have released."""

    def __init__(self, room: Room, consider: Callable[[Place], None]) -> None:
        self._room = room
        self._consider = consider
        self._errands: list[Errand] = []
        self._news = asyncio.Event()

    def latched(self, alarm: Alarm) -> tuple[str, ...]:
        """The points that hold this alarm; () when one of them does not latch: then its danger lasts."""
        found: dict[str, None] = {}
        for part in alarm.parts:
            if part.reading.level is Level.NORMAL:
                continue
            for point in self._points(part.reading.point):
                if not point.latch:
                    return ()
                found[point.id] = None
        return tuple(found)

    def _points(self, judged: str) -> list[Point]:
        """The points behind it that are not normal."""
        plan, said = self._room.plan, self._room.fold.points
        item = plan.judged(judged)
        if isinstance(item, Group):
            members = (plan.judged(point) for point in item.points)
            return [m for m in members if isinstance(m, Point) and said.level(m.id) > Level.NORMAL]
        return [item] if item is not None else []

    def ask(self, signed: Signed, act: ResetAlarm, points: tuple[str, ...]) -> list[Errand]:
        """Carry the act to the nodes of these points."""
        if len(self._errands) + len(points) > OPEN_MAX:
            raise Unfit("too many points are being reset at this moment")
        asked, now_ns = [], self._room.clock.monotonic_ns()
        for name in points:
            point = self._room.plan.judged(name)
            assert isinstance(point, Point)
            errand = Errand(act, name, point.node, signed.data, signed.not_after_us, now_ns)
            asked.append(errand)
            self._send(errand, now_ns)
        self._errands += asked
        return asked

    def _send(self, errand: Errand, now_ns: int) -> None:
        """It goes once the person's act is durable, and is signed then."""
        room = self._room

        def message() -> bytes:
            if not errand.data:
                boot = room.fold.registry.nodes[errand.node].boot
                body = PointReset(errand.point, errand.signed, boot).pack()
                errand.data = room.seal(Kind.RESET, errand.node, body, not_after_us=errand.until_us)
            return errand.data

        errand.due_ns, errand.wait_ns = now_ns + errand.wait_ns, errand.wait_ns * 2
        room.outgoing.append(Outgoing(0, errand.node, message))
        room.notify()

    def answered(self, node: Node, said: ResetData) -> None:
        """A node's answer, already journaled as its event."""
        for errand in self._errands:
            if (errand.node, errand.point, errand.why) == (node.id, said.point, ""):
                errand.done, errand.why = said.done, said.why
                self._room.trouble(UNANSWERED, errand.point, False)
                self._release(errand.act)
        self._news.set()

    async def wait(self, asked: list[Errand], seconds: float) -> None:
        """Until all are answered, at most so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not all(errand.why for errand in asked):
                    self._news.clear()
                    await self._news.wait()

    def tick(self, now_ns: int, now_us: int) -> None:
        """Resend what is unanswered; end what is over."""
        nodes = self._room.fold.registry.nodes
        for errand in list(self._errands):
            if now_us > errand.until_us + RELEASE_US or errand.node not in nodes:
                self._errands.remove(errand)
            elif errand.done:
                self._release(errand.act)
            elif not errand.why and now_us > errand.until_us:
                errand.why = "no-answer"
                self._room.trouble(UNANSWERED, errand.point, True)
                self._news.set()
            elif not errand.why and errand.due_ns <= now_ns:
                self._send(errand, now_ns)

    def _release(self, act: ResetAlarm) -> None:
        """The alarm's own latch, once none of its points stands any more."""
        room = self._room
        alarm = room.book.find(act.alarm)
        if alarm is None or alarm.level > Level.NORMAL or alarm.unseen:
            return
        try:
            moved = room.book.reset(act, room.clock.wall_us())
        except Unfit:
            return  # muted
        room.moved(moved)
        self._consider((alarm.id.zone, alarm.id.hazard, alarm.mode))
