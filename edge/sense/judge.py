"""The node's verdict: one Panel over its points, every transition made durable, then told to the reflex (design §2.3).

Batches and deadlines go in; the order of transitions is the Panel's, and no one acts on one before its commit. The Panel's
state is kept on disk, so that after a restart held Levels are restated at once, without a new delay (design §6 rule 3).
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

from cython_ext import NS_PER_S, Cause, Clock, Level, PanelConfig, Transition, Trouble, WireError
from cython_ext.panel import Panel
from lanes.identity import EventKey
from lanes.planfile import SignedPlan
from lanes.pulse import Pulse
from lanes.reports import EVIDENCE_MAX, PointState, TransitionData
from lanes.store import Runner

from ..files import read_bytes, write_durably
from ..troubles import Troubles

log = logging.getLogger("bucium.edge")

SNAPSHOT_S: Final = 60.0  # what a power cut may cost of running delays; an SD card bears it for decades
SNAPSHOT_SOON_S: Final = 1.0  # after a transition, so that a held Level survives
TOGETHER_MAX: Final = 64  # transitions of one group commit
WAITING_MAX: Final = 4096  # transitions that wait for the disk; beyond it sampling waits too
COMMIT_NS: Final = 2 * NS_PER_S  # a commit takes less, but on a disk that hangs


class Judge:
    """Runs until cancelled; `feed` may be called by several samplers."""

    def __init__(
        self,
        *,
        signed: SignedPlan,
        node: str,
        clock: Clock,
        record: Callable[[TransitionData], Awaitable[EventKey]],
        reflex: Callable[[TransitionData, EventKey], None],
        turned: Callable[[str, Level], None],
        snapshot: Path,
        runner: Runner,
        troubles: Troubles,
        pulse: Pulse,
    ) -> None:
        config = signed.plan.panel(node)
        self._node = node
        self._clock = clock
        self._record = record
        self._reflex = reflex
        self._turned = turned  # told of each Level at once, before it is durable
        self._path = snapshot
        self._runner = runner
        self._troubles = troubles
        self._pulse = pulse
        self._panel = Panel(config, clock.monotonic_ns())
        self._count(signed, config)
        self._raised: dict[str, EventKey] = {}
        self._waiting: deque[TransitionData] = deque()
        self._telling = 0  # transitions whose commit is under way
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._due = asyncio.Event()
        self._dirty = asyncio.Event()

    def _count(self, signed: SignedPlan, config: PanelConfig) -> None:
        """How the Panel counts our points and votes, and how the plan does."""
        self.ids = (*(p.id for p in config.points), *(g.id for g in config.groups))
        places = {judged: place for place, judged in enumerate(signed.plan.judged_ids)}
        self._places = tuple(places[one] for one in self.ids)

    def replan(self, signed: SignedPlan) -> None:
        """Judge by this plan from now on. What is held, delayed or latched goes on; Levels that no longer exist are left."""
        now_ns, config = self._clock.monotonic_ns(), signed.plan.panel(self._node)
        self._enqueue(self._panel.advance(now_ns))  # what is due by now is due under the old names
        said = self._panel.reconfigure(config, now_ns)
        self._count(signed, config)
        self._raised = {one: key for one, key in self._raised.items() if one in self.ids}
        self._enqueue(said)
        self._due.set()
        self._dirty.set()

    async def restore(self) -> bool:
        """Take up the snapshot of the last run, if there is a good one; its held Levels are restated."""
        data = await self._runner(read_bytes, self._path)
        if data is None:
            return False
        try:
            transitions = self._panel.restore(data, self._clock.monotonic_ns())
        except WireError as error:
            log.warning("snapshot.refused path=%s error=%s", self._path, error)
            self._troubles.set("snapshot-refused", True)
            return False
        self._enqueue(transitions)
        return True

    async def feed(self, batch: bytes) -> None:
        """Judge a packed batch now. Waits only when the disk is thousands of transitions behind."""
        self.take(batch)
        await self.room()

    def take(self, batch: bytes) -> None:
        """The part of `feed` that never waits."""
        self._enqueue(self._panel.feed(batch, self._clock.monotonic_ns()))
        self._due.set()

    async def room(self) -> None:
        """The part that may."""
        while len(self._waiting) >= WAITING_MAX:
            self._room.clear()
            await self._room.wait()

    def reset(self, point: str) -> tuple[Level, Level, Trouble]:
        """A person resets a latched point: its Level before and after, and its troubles. KeyError for one that is not ours."""
        index = {one: n for n, one in enumerate(self.ids)}[point]
        before = self._panel.level(index)
        self._enqueue(self._panel.reset(index, self._clock.monotonic_ns()))
        self._due.set()
        return before, self._panel.level(index), self._panel.trouble(index)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tell(), name="judge.tell")
            group.create_task(self._advance(), name="judge.advance")
            group.create_task(self._keep(), name="judge.keep")

    # What is true now.

    def endangered(self) -> bool:
        return any(self._panel.level(index) for index in range(len(self.ids)))

    def states(self, ledger: bytes) -> list[PointState]:
        """Every point and vote that is not normal. A raise that stands in another ledger than `ledger` has seq 0.

        A Level whose raise is just being made durable is not told: as evidence it would have no name. A disk that hangs longer
        keeps nobody from hearing of a danger.
        """
        now_ns = self._clock.monotonic_ns()
        found = []
        for index, place in enumerate(self._places):
            level, trouble = self._panel.level(index), self._panel.trouble(index)
            key = self._raised.get(self.ids[index])
            since_ns = self._panel.explain(index, now_ns).since_ns
            if key is None and now_ns - since_ns < COMMIT_NS:
                level = Level.NORMAL
            if not level and not trouble:
                continue
            seq = key.seq if key is not None and key.ledger == ledger else 0
            found.append(PointState(place, level, trouble, seq, max(0, now_ns - since_ns) // 1_000_000))
        return found

    def explain(self) -> list[dict[str, Any]]:
        """Each point and vote for people: why it is where it is."""
        now_ns = self._clock.monotonic_ns()
        rows = []
        for index, one in enumerate(self.ids):
            e = self._panel.explain(index, now_ns)
            rows.append(
                {
                    "id": one,
                    "level": e.level.name.lower(),
                    "trouble": _names(e.trouble),
                    "qc": e.qc.name.lower(),
                    "value": e.value,
                    "rate_per_s": e.rate_per_s,
                    "time_to_next_s": e.time_to_next_s,
                    "latched": e.latched,
                    "words": list(e.words),
                }
            )
        return rows

    @property
    def counters(self) -> dict[str, int]:
        return self._panel.counters

    # How it goes on.

    def _enqueue(self, transitions: Sequence[Transition]) -> None:
        if transitions:
            self._waiting.extend(self._data(transition) for transition in transitions)
            for transition in transitions:
                self._turned(self.ids[transition.point], transition.level)
            self._news.set()

    async def _tell(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            await self.drain()

    async def drain(self) -> None:
        """Make durable what waits; also for the end, when `run` no longer runs."""
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(TOGETHER_MAX, len(self._waiting)))]
            if any(t.level > t.was for t in batch) and not any(t.level < t.was for t in (*batch, *self._waiting)):
                # First: a crash after the commit must find the Level held, else nobody would ever lower it.
                await self.keep()
            self._telling += len(batch)
            keys = await asyncio.gather(*(self._record(data) for data in batch))
            self._telling -= len(batch)
            self._room.set()
            for data, key in zip(batch, keys, strict=True):
                self._note(data, key)
                self._reflex(data, key)
            if any(t.level < t.was for t in batch) and not self._waiting:
                await self.keep()  # at once: a crash must not restate a danger that is over, and sound for it
            else:
                self._dirty.set()

    def _data(self, transition: Transition) -> TransitionData:
        evidence = tuple(self._places[point] for point in transition.evidence)[:EVIDENCE_MAX]
        return TransitionData(
            self.ids[transition.point],
            transition.cause,
            transition.was,
            transition.level,
            transition.value,
            transition.reason,
            transition.trouble,
            evidence,
        )

    def _note(self, transition: TransitionData, key: EventKey) -> None:
        if transition.level is Level.NORMAL:
            self._raised.pop(transition.point, None)
        elif transition.cause is Cause.RAISED or transition.point not in self._raised:
            self._raised[transition.point] = key
        if transition.level is not transition.was or transition.cause is Cause.RESTATED:
            log.info(
                "point.%s point=%s level=%s value=%.3f reason=%s event=%s",
                transition.cause.name.lower(),
                transition.point,
                transition.level.name.lower(),
                transition.value,
                transition.reason.name.lower(),
                key,
            )

    async def _advance(self) -> None:
        """Deadlines fire by time, not by the next sample."""
        while True:
            now_ns = self._clock.monotonic_ns()
            due_ns = self._panel.next_deadline_ns()
            if due_ns is not None and due_ns <= now_ns:
                self._enqueue(self._panel.advance(now_ns))
                await asyncio.sleep(0)
                continue
            self._due.clear()
            wait_s = SNAPSHOT_S if due_ns is None else min(SNAPSHOT_S, (due_ns - now_ns) / NS_PER_S)
            self._pulse.expect("judge", now_ns + round(2 * SNAPSHOT_S * NS_PER_S))
            try:
                async with asyncio.timeout(wait_s):
                    await self._due.wait()
            except TimeoutError:
                continue

    async def _keep(self) -> None:
        while True:
            try:
                async with asyncio.timeout(SNAPSHOT_S):
                    await self._dirty.wait()
                await asyncio.sleep(SNAPSHOT_SOON_S)
            except TimeoutError:
                pass
            if self._waiting or self._telling:  # a Level that is not yet said to be lower is kept as it was
                self._dirty.set()
                continue
            self._dirty.clear()
            await self.keep()

    async def keep(self) -> None:
        """Write the snapshot. A disk that does not take it costs nothing but the running delays at a crash."""
        data = self._panel.snapshot(self._clock.monotonic_ns())
        kept = await self._runner(write_durably, self._path, data)
        self._troubles.set("snapshot-not-kept", not kept)


def _names(trouble: Trouble) -> list[str]:
    return [one.name.lower() for one in Trouble if one in trouble and one.name]
