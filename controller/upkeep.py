"""What time alone brings, four times a second: resends, veto times, mutes that end, silent nodes, heads and snapshots."""

import asyncio
from collections.abc import Callable
from typing import Final

from cython_ext import NS_PER_S

from .acting import Acting
from .clockwatch import ClockWatch
from .deciding import Deciding
from .falling import Falling
from .heeding import Heeding
from .lane import Lane
from .ordering import Ordering
from .record.records import Record
from .refusals import Refusals
from .room import Room
from .siren.drills import Drills
from .siren.picture import Picture
from .siren.silent import SilentTests
from .siren.sparing import Sparing
from .siren.watching import Watching
from .watchdog import Watchdog

TICK_S: Final = 0.25
SLOW_NS: Final = NS_PER_S
NEVER_SEEN_NS: Final = 60 * NS_PER_S  # after our start: a node of the plan that nobody has ever heard
SIREN_SILENT_NS: Final = 20 * NS_PER_S  # reliability.md I5
SENSOR_SILENT_NS: Final = 90 * NS_PER_S
HEAD_NS: Final = 60 * NS_PER_S
HEAD_ROWS: Final = 1_000
SNAPSHOT_LATE_ROWS: Final = 10_000  # while reports crowd in: a snapshot of 5,000 nodes holds them up for 0.2 s
KEEP_TROUBLE_US: Final = 24 * 3_600_000_000
PASSING: Final = frozenset(
    {
        "ledger-new",
        "report-unusable",
        "ledger-gaps",
        "host-duplicate",
        "journal-aside",
        "clock-stepped",
        "cap-in-reference",
        "orders-refused",
        "order-foreign",
    }
)  # said once, shown for a day


class Upkeep:
    """Runs until cancelled."""

    def __init__(
        self,
        room: Room,
        *,
        ordering: Ordering,
        deciding: Deciding,
        falling: Falling,
        acting: Acting,
        watchdog: Watchdog,
        lane: Lane,
        refusals: Refusals,
    ) -> None:
        self._room = room
        self._quick: tuple[Callable[[int, int], None], ...] = (
            ordering.tick,
            lambda now_ns, _: falling.tick(now_ns),
            lambda now_ns, _: deciding.tick(now_ns),
            lambda now_ns, _: watchdog.tick(now_ns),
        )
        self.heeding = Heeding(room, deciding)
        self.watching = Watching(room)
        self.silent_tests = SilentTests(room, ordering)
        self.drills = Drills(room, ordering)
        self.picture = Picture(room, self.watching, self.silent_tests, self.drills)
        self.sparing = Sparing(room, self.watching)
        self._slow: tuple[Callable[[int, int], None], ...] = (
            lambda _, now_us: acting.tick(now_us),
            lambda now_ns, _: refusals.tick(now_ns),
            lambda now_ns, _: lane.tick(now_ns),
            self.silent_tests.tick,  # before what finds troubles: they go by those that stand in the record
            self.drills.tick,
            self._mutes,
            self._flood,
            self.heeding.tick,
            ClockWatch(room).tick,
            self._silence,
            self._passing,
            self.watching.tick,
            self._keep,
        )
        self._deciding = deciding
        self._lane = lane
        now_ns = room.clock.monotonic_ns()
        self._began_ns = self._slow_ns = self._head_ns = now_ns
        self._head_seq = room.journal.seq

    async def run(self) -> None:
        while True:
            self.tick()
            await asyncio.sleep(TICK_S)

    def tick(self) -> None:
        """One look at the clock."""
        now_ns = self._room.clock.monotonic_ns()
        slow = now_ns - self._slow_ns >= SLOW_NS
        if slow:
            self._slow_ns = now_ns
        self.step(slow=slow)

    def step(self, *, slow: bool) -> None:
        """What is due now, `slow`: what is looked at once a second too. In the journal as a tick if anything comes of it."""
        room = self._room
        with room.clock.hold():
            room.journal.cause = Record.TICK, [slow]
            now_ns, now_us = room.clock.monotonic_ns(), room.clock.wall_us()
            for each in (*self._quick, *self._slow) if slow else self._quick:
                each(now_ns, now_us)
            room.journal.cause = None

    def _mutes(self, _: int, now_us: int) -> None:
        for place in self._deciding.muting.tick(now_us):
            self._deciding.consider(place)

    def _flood(self, _: int, now_us: int) -> None:
        """A flood of alarms is Trouble of its own: nobody can look at so many."""
        self._room.figures.advance(now_us)
        self._room.trouble("alarm-flood", "", self._room.figures.flooding)

    def _silence(self, now_ns: int, _: int) -> None:
        """No evidence is not good news: a node that says nothing is Trouble."""
        room = self._room
        with_siren = {view.node for view in room.fold.registry.sirens.values()}
        standing = {each.subject for each in room.troubles if each.code in ("node-silent", "node-never-seen")}
        for node in room.fold.registry.nodes.values():
            heard_ns = self._began_ns if node.heard_ns is None else node.heard_ns
            limit_ns = SIREN_SILENT_NS if node.id in with_siren else SENSOR_SILENT_NS
            if not node.heard_us:
                room.trouble("node-never-seen", node.id, now_ns - self._began_ns > NEVER_SEEN_NS)
            elif now_ns - heard_ns > limit_ns or node.id in standing:  # most have nothing to say
                room.trouble("node-never-seen", node.id, False)
                room.trouble("node-silent", node.id, now_ns - heard_ns > limit_ns)

    def _passing(self, _: int, now_us: int) -> None:
        for standing in [each for each in self._room.troubles if each.code in PASSING]:
            if now_us - standing.since_us > KEEP_TROUBLE_US:
                self._room.trouble(standing.code, standing.subject, False, standing.source)

    def _keep(self, now_ns: int, _: int) -> None:
        """A signed head for what has come since the last, and a snapshot when enough has."""
        journal = self._room.journal
        rows = journal.seq - self._head_seq
        if rows > 1 and (rows >= HEAD_ROWS or now_ns - self._head_ns >= HEAD_NS):
            journal.sign_head()
            self._head_seq, self._head_ns = journal.seq, now_ns
        if not self._lane.crowded or journal.seq - self._room.snapshot_seq >= SNAPSHOT_LATE_ROWS:
            self._room.maybe_snapshot()
