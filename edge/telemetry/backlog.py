"""Sends what was kept: after all that is live, oldest first, at a pace that the link bears, and not before any alarm.

Handed over is no delivery. A piece counts as arrived when its session has lived on for `window_s` after it: by then a dead
connection, a dead broker or a dead host would have ended the session, and a lost message would have brought a rebirth. Until
then it stays on the disk, and is sent again when the session ends or begins anew.

The monotonic instants of this run are dated by what the wall clock says now, so that samples of a clock that was wrong while
there was no network come right with it; those of earlier runs by what it said then, and marked if nobody vouched for it.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from cython_ext import NS_PER_S, Clock, Status

from .births import RECORD, BirthTable, Late, Reading
from .dating import Dating, wall_ms
from .keep import Keep
from .pace import Pace
from .segments import Batch, Content, Segment
from .session import READINGS_MAX

LATE_BYTES: Final = 25  # of one late sample on the wire: alias, time, mark, value
PAUSE_S: Final = 1.0  # between looks while an alarm waits, or the session is not up
CLOCK_WAIT_S: Final = 120.0  # so long after the link came back the past waits for a clock that can date it


class Uplink(Protocol):
    """What the sender asks of the telemetry lane."""

    @property
    def live(self) -> bool: ...

    async def publish_historical(self, late: list[Late]) -> bool:
        """Hand over readings of one device, after all that is live; False: not now."""

    async def settled(self) -> bool:
        """Wait until the broker has all that was handed over; False when that cannot be known."""

    def leave(self) -> None:
        """No more is coming of devices that are not there."""


class Place(NamedTuple):
    """How far a segment is sent: so many batches, and so many samples of the next one."""

    batch: int = 0
    sample: int = 0


@dataclass(slots=True)
class _Handed:
    """A piece that is on its way."""

    at_ns: int
    segment: Segment
    content: Content
    after: Place


class Backlog:
    """Runs until cancelled. `hold`: an alarm waits for its ack."""

    def __init__(
        self,
        keep: Keep,
        uplink: Uplink,
        table: BirthTable,
        *,
        dating: Dating,
        clock: Clock,
        pace: Pace,
        window_s: float,
        hold: Callable[[], bool],
    ) -> None:
        self.sent = 0  # samples handed over
        self._keep = keep
        self._uplink = uplink
        self._table = table
        self._dating = dating
        self._clock = clock
        self._pace = pace
        self._window_ns = round(window_s * NS_PER_S)
        self._hold = hold
        self._segment: Segment | None = None
        self._content = Content((), (), 0, 0)
        self._place = Place()
        self._rows: tuple[int, list[Late]] = -1, []  # the batch that is being sent, dated and ordered
        self._sure: dict[Segment, Place] = {}  # what has arrived of segments that are not yet given up
        self._handed: deque[_Handed] = deque()
        self._over: set[Segment] = set()  # sent whole, and not yet known to have arrived
        self._session = 0
        self._begun = True
        self._live_ns = 0

    def parted(self) -> None:
        """The session is over or begins anew: what is on its way may be lost."""
        self._session += 1
        self._begun = True
        self._handed.clear()
        self._over.clear()
        self._segment, self._rows = None, (-1, [])
        self._pace.anew()
        self._live_ns = 0
        self._keep.arrived.set()

    def replan(self, table: BirthTable) -> None:
        """Other points, or in another order."""
        self._table = table
        self._sure.clear()  # places count the samples of points that are ours
        self.parted()

    async def run(self) -> None:
        while True:
            await self._confirm()
            wait_s = await self._step()
            if wait_s:
                await asyncio.sleep(wait_s)

    # Out.

    async def _step(self) -> float:
        """One piece. Returns how long nothing is to be done."""
        now_ns = self._clock.monotonic_ns()
        if not self._uplink.live or not self._dated(now_ns) or self._hold():
            return PAUSE_S
        if wait_ns := self._pace.wait_ns(now_ns):
            return wait_ns / NS_PER_S
        if self._begun:  # what the session before left in memory follows at once, not with the next write
            self._begun = False
            await self._keep.flush()
        if not self._keep.arrived.is_set():
            self._uplink.leave()
            if self._handed:
                return PAUSE_S
            await self._keep.arrived.wait()  # nothing to send, nothing to confirm
            return 0
        session = self._session
        if not self._pace.known:
            return await self._ask(session)
        if not await self._take_up():
            return PAUSE_S
        late, after = self._piece()
        if session != self._session:
            return 0
        self._pace.sent(len(late) * LATE_BYTES, now_ns)
        if late and not await self._uplink.publish_historical(late):
            return PAUSE_S
        if session != self._session or self._segment is None:
            return 0
        self.sent += len(late)
        self._place = after
        self._handed.append(_Handed(self._clock.monotonic_ns(), self._segment, self._content, after))
        if after.batch >= len(self._content.batches):
            self._over.add(self._segment)
            self._segment = None
        return await self._ask(session) if late else 0

    def _dated(self, now_ns: int) -> bool:
        """Whether what is sent can be dated, or is not going to be."""
        self._live_ns = self._live_ns or now_ns
        return self._dating.trusted or now_ns - self._live_ns >= CLOCK_WAIT_S * NS_PER_S

    async def _ask(self, session: int) -> float:
        """Wait until the broker has it: the measure of what the link bears."""
        began_ns = self._clock.monotonic_ns()
        told = await self._uplink.settled()
        if session == self._session:
            self._pace.arrived(self._clock.monotonic_ns() - began_ns if told else None)
        return 0 if told else PAUSE_S

    async def _take_up(self) -> bool:
        """Have a segment in hand that is not sent whole."""
        session = self._session
        if self._segment is None:
            found = await self._keep.next(self._over)
            if found is None or session != self._session:
                return False
            self._segment, self._content = found
            self._rows = -1, []
            self._place = self._sure.get(self._segment, Place())
        return True

    def _piece(self) -> tuple[list[Late], Place]:
        """The next samples of one device, as many as the pace allows, and where they end."""
        batch, sample = self._place
        if batch >= len(self._content.batches):
            return [], self._place
        most = max(1, min(READINGS_MAX, self._pace.piece // LATE_BYTES))
        if self._rows[0] != batch:
            self._rows = batch, self._ordered(self._content.batches[batch])
        ordered = self._rows[1]
        late: list[Late] = []
        while sample < len(ordered) and len(late) < most:
            each = ordered[sample]
            if late and self._device(each) != self._device(late[0]):
                break
            late.append(each)
            sample += 1
        return late, Place(batch, sample) if sample < len(ordered) else Place(batch + 1)

    def _device(self, late: Late) -> str:
        return self._table.points[late.reading.point].device

    def _ordered(self, batch: Batch) -> list[Late]:
        """A batch's samples of points that are still ours, one device after another, each in the order of time."""
        now_trusted = self._dating.trusted
        mine = batch.boot == self._keep.boot and (now_trusted or not batch.trusted)
        offset_ms = self._dating.offset_ms if mine else batch.offset_ms
        doubt = Status.OK if (now_trusted if mine else batch.trusted) else Status.CLOCK_UNTRUSTED
        points = {name: index for index, name in enumerate(self._table.names)}
        found = []
        for at_ns, value, point, status, thinned_s in RECORD.iter_unpack(batch.records):
            index = points.get(self._content.names[point])
            if index is not None:
                reading = Reading(index, at_ns, value, Status(status) | doubt)
                found.append(Late(wall_ms(at_ns, offset_ms), reading, thinned_s))
        found.sort(key=lambda late: (self._device(late), late.reading.at_ns))
        return found

    # What has arrived.

    async def _confirm(self) -> None:
        """Give up what was sent so long ago that it must have arrived."""
        until_ns = self._clock.monotonic_ns() - self._window_ns
        while self._handed and self._handed[0].at_ns <= until_ns:
            piece = self._handed.popleft()
            if piece.after.batch < len(piece.content.batches):
                self._sure[piece.segment] = piece.after
                continue
            session = self._session
            if await self._keep.done(piece.segment, piece.content):
                self._sure.pop(piece.segment, None)
            else:
                self._sure[piece.segment] = piece.after  # it has grown: go on from there
                self._keep.arrived.set()
            if session != self._session:
                return
            self._over.discard(piece.segment)
