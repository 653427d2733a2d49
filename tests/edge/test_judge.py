"""The node's verdict: durable before anyone acts, by time as well as by sample, and restated after a restart."""

import asyncio
from pathlib import Path

import pytest

from cython_ext import Cause, Level, Status, Trouble
from cython_ext.panel import pack
from edge.sense import judge
from edge.sense.judge import Judge
from edge.troubles import Troubles
from lanes.identity import EventKey
from lanes.pulse import Pulse
from lanes.reports import TransitionData
from lanes.store import run_here
from tests.kit.clock import ManualClock, run_virtual
from tests.kit.nodes import NODE, document, signed

LEDGER = b"ledger01"
LEVEL, SMOKE = 0, 1  # in the node's own Panel; in the plan's order they are 1 and 2


class Rig:
    def __init__(self, folder: Path, clock: ManualClock, **plan: object) -> None:
        self.clock = clock
        self.log: list[tuple[str, TransitionData]] = []
        self.turned: list[tuple[str, Level]] = []
        self.seq = 0
        self.disk = asyncio.Event()
        self.disk.set()
        self.told: list[tuple[str, bool]] = []
        self.judge = Judge(
            signed=signed(**plan),
            node=NODE,
            clock=clock,
            record=self._record,
            reflex=lambda data, key: self.log.append((f"reflex {key.seq}", data)),
            turned=lambda judged, level: self.turned.append((judged, level)),
            snapshot=folder / "panel",
            runner=run_here,
            troubles=Troubles(lambda data: self.told.append((data.code, data.on))),
            pulse=Pulse(clock),
        )

    async def _record(self, data: TransitionData) -> EventKey:
        await self.disk.wait()
        self.seq += 1
        self.log.append((f"durable {self.seq}", data))
        return EventKey(NODE, LEDGER, self.seq)

    async def sample(self, point: int, value: float, status: Status = Status.OK) -> None:
        await self.judge.feed(pack([(point, self.clock.monotonic_ns(), value, int(status))]))

    def events(self) -> list[tuple[str, Cause, Level]]:
        return [(data.point, data.cause, data.level) for what, data in self.log if what.startswith("durable")]


def play(folder: Path, scenario, **plan: object) -> Rig:
    clock = ManualClock()

    async def main() -> Rig:
        rig = Rig(folder, clock, **plan)
        task = asyncio.create_task(rig.judge.run())
        await scenario(rig)
        await asyncio.sleep(0)
        if task.done():
            task.result()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return rig

    return run_virtual(main(), clock)


def test_a_transition_is_durable_before_the_reflex_hears_of_it(tmp_path):
    async def scenario(rig):
        rig.disk.clear()
        await rig.sample(LEVEL, 3.3)
        await asyncio.sleep(5)
        assert rig.log == []
        assert rig.turned[-1] == ("level", Level.ALARM), "but it knows"
        rig.disk.set()
        await asyncio.sleep(1)

    rig = play(tmp_path, scenario)
    raised = [(what, data.level) for what, data in rig.log if data.cause is Cause.RAISED]
    assert raised[0][0].startswith("durable")
    assert ("reflex 1", Level.ALARM) in raised


def test_a_level_is_stated_once_its_raise_is_durable_or_the_disk_hangs(tmp_path):
    async def scenario(rig):
        def stated():
            return [(row.level, row.raise_seq) for row in rig.judge.states(LEDGER)]

        rig.disk.clear()
        await rig.sample(LEVEL, 3.5)
        await asyncio.sleep(0.1)
        assert stated() == []
        await asyncio.sleep(3.0)
        assert stated() == [(Level.ALARM, 0)]
        rig.disk.set()
        await asyncio.sleep(0.1)
        assert stated() == [(Level.ALARM, 1)]

    play(tmp_path, scenario)


def test_a_point_that_falls_silent_is_trouble_by_time_alone(tmp_path):
    async def scenario(rig):
        await rig.sample(LEVEL, 1.0)
        await rig.sample(SMOKE, 0.0)
        await asyncio.sleep(30)

    rig = play(tmp_path, scenario)
    stale = [data for _, data in rig.log if data.point == "level" and data.trouble & Trouble.STALE]
    assert stale
    assert stale[0].cause is Cause.TROUBLE_RAISED


def test_a_held_level_is_restated_after_a_restart_with_its_age(tmp_path):
    async def before(rig):
        await rig.sample(LEVEL, 4.5)
        await asyncio.sleep(100)
        await rig.judge.keep()

    play(tmp_path, before)

    async def after(rig):
        assert await rig.judge.restore()
        assert rig.judge.endangered()
        await rig.judge.drain()
        [row] = [row for row in rig.judge.states(LEDGER) if row.point == 1]
        assert (row.level, row.raise_seq) == (Level.DANGER, 1)
        assert 99_000 <= row.age_ms <= 101_000
        assert rig.judge.states(b"another1")[0].raise_seq == 0

    rig = play(tmp_path, after)
    assert rig.events()[0] == ("level", Cause.RESTATED, Level.DANGER)


@pytest.mark.parametrize("damage", [b"", b"BUCP", b"x" * 500, None])
def test_a_damaged_snapshot_is_refused_told_and_survived(tmp_path, damage):
    async def before(rig):
        await rig.sample(LEVEL, 4.5)
        await rig.judge.keep()

    play(tmp_path, before)
    path = tmp_path / "panel"
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes((good[-1] ^ 1,)) if damage is None else damage)

    async def after(rig):
        assert not await rig.judge.restore()
        assert ("snapshot-refused", True) in rig.told
        await rig.sample(LEVEL, 4.5)
        await asyncio.sleep(1)

    rig = play(tmp_path, after)
    assert ("level", Cause.RAISED, Level.DANGER) in rig.events()


def test_a_disk_that_does_not_take_the_snapshot_is_a_trouble_and_no_more(tmp_path):
    async def scenario(rig):
        rig.judge._path = tmp_path / "gone" / "panel"
        await rig.judge.keep()
        assert rig.told == [("snapshot-not-kept", True)]
        rig.judge._path = tmp_path / "panel"
        await rig.judge.keep()
        assert rig.told[-1] == ("snapshot-not-kept", False)

    play(tmp_path, scenario)


def test_a_vote_names_its_members_in_the_order_of_the_plan(tmp_path):
    base = document()["point"][1]
    points = [base | {"id": f"gauge-{n}", "node": NODE if n else "mill"} for n in range(4)]
    vote = {"id": "vote", "points": ["gauge-1", "gauge-2", "gauge-3"], "k": 2, "window_s": 60, "zones": ["town"]}

    async def scenario(rig):
        await rig.sample(1, 3.3)  # gauge-2
        await rig.sample(2, 3.4)  # gauge-3
        await asyncio.sleep(1)

    rig = play(tmp_path, scenario, point=points, vote=[vote])
    [told] = [d for w, d in rig.log if w.startswith("durable") and d.point == "vote" and d.cause is Cause.RAISED]
    assert told.evidence == (2, 3)


def test_sampling_waits_rather_than_lose_a_transition_when_the_disk_hangs(tmp_path, monkeypatch):
    monkeypatch.setattr(judge, "WAITING_MAX", 200)

    async def scenario(rig):
        rig.disk.clear()

        async def flood():
            for n in range(600):
                await rig.sample(SMOKE, float(n % 2))
                await asyncio.sleep(0.001)

        task = asyncio.create_task(flood())
        await asyncio.sleep(30)
        held = len(rig.judge._waiting)
        assert 200 <= held <= 208
        rig.disk.set()
        await task
        await asyncio.sleep(1)
        assert not rig.judge._waiting

    play(tmp_path, scenario)


def test_people_are_told_why_a_point_is_where_it_is(tmp_path):
    async def scenario(rig):
        await rig.sample(LEVEL, 3.3)
        await asyncio.sleep(0.5)
        row = rig.judge.explain()[LEVEL]
        assert (row["id"], row["level"], row["value"]) == ("level", "alarm", 3.3)
        assert row["words"]

    play(tmp_path, scenario)
