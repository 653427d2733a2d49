"""Events: signed once, contiguous, grouped in commits, and never told before they are durable."""

import asyncio
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from cython_ext import Cause, Level, Reason, Trouble
from edge.report.ledgers import Finding, Ledgers
from edge.report.reporter import COMMIT_EVENTS_MAX, WAITING_MAX, Reporter
from lanes.envelope import SMALL_BYTES_MAX, Opened, open_envelope
from lanes.reports import EVIDENCE_MAX, PointState, SirenState, Stage, State, TransitionData, TroubleData
from lanes.store import run_here
from tests.kit.clock import ManualClock, run_virtual
from tests.kit.nodes import KEYS, NODE, document, entropy, event_of, signed

PLAN = signed()


class Rig:
    """A reporter whose disk can be held."""

    def __init__(self, folder: Path, clock: ManualClock, plan=PLAN, node: str = NODE) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.commits = 0
        self.ledgers = Ledgers(folder, node, entropy())
        self.reporter = Reporter(
            signed=plan,
            node=node,
            key=KEYS[NODE, "live"],
            ledgers=self.ledgers,
            boot=b"boot0001",
            clock=clock,
            runner=self._runner,
        )

    async def _runner(self, function, /, *args, **kwargs):
        await self.gate.wait()
        self.commits += 1
        return await run_here(function, *args, **kwargs)

    def kept(self):
        return [*reversed(self.ledgers.latest(1 << 20))]


def play(folder: Path, scenario) -> Rig:
    clock = ManualClock()

    async def main() -> Rig:
        rig = Rig(folder, clock)
        task = asyncio.create_task(rig.reporter.run())
        await asyncio.sleep(0.001)
        await scenario(rig)
        if task.done():
            task.result()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return rig

    return run_virtual(main(), clock)


def test_record_returns_after_the_commit_and_not_before(tmp_path):
    async def scenario(rig):
        heard = []
        rig.reporter.listeners.append(heard.append)
        rig.gate.clear()
        waiting = asyncio.create_task(rig.reporter.record(TroubleData("noise", True)))
        await asyncio.sleep(5)
        assert not waiting.done()
        assert not heard
        rig.gate.set()
        key = await waiting
        assert (key.node, key.seq, key.ledger) == (NODE, 1, rig.reporter.ledger)
        assert [kept.seq for kept in heard] == [1]

    play(tmp_path, scenario)


def test_what_comes_while_the_disk_is_busy_goes_into_one_commit_in_order(tmp_path):
    async def scenario(rig):
        rig.gate.clear()
        tasks = [asyncio.create_task(rig.reporter.record(TroubleData("noise", True, str(n)))) for n in range(65)]
        await asyncio.sleep(0.1)
        before = rig.commits
        rig.gate.set()
        keys = await asyncio.gather(*tasks)
        assert [key.seq for key in keys] == list(range(1, 66))
        assert rig.commits - before <= 2 + 65 // COMMIT_EVENTS_MAX

    rig = play(tmp_path, scenario)
    assert [event_of(kept.data, PLAN).data.subject for kept in rig.kept()] == [str(n) for n in range(65)]


def test_a_stop_in_the_middle_of_a_commit_neither_loses_nor_doubles(tmp_path):
    clock = ManualClock()

    async def main() -> Rig:
        rig = Rig(tmp_path, clock)
        task = asyncio.create_task(rig.reporter.run())
        await asyncio.sleep(0.001)
        rig.gate.clear()
        for n in range(3):
            rig.reporter.post(TroubleData("noise", True, str(n)))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        asyncio.get_running_loop().call_later(1, rig.gate.set)
        await rig.reporter.flush()
        return rig

    rig = run_virtual(main(), clock)
    assert [event_of(kept.data, PLAN).data.subject for kept in rig.kept()] == ["0", "1", "2"]


def test_a_disk_that_hangs_holds_recorders_back_and_sheds_only_troubles(tmp_path):
    async def scenario(rig):
        rig.gate.clear()
        for n in range(WAITING_MAX + 10):
            rig.reporter.post(TroubleData("noise", True, str(n)))
        assert rig.reporter.dropped == 10
        waiting = asyncio.create_task(rig.reporter.record(TroubleData("late", True)))
        await asyncio.sleep(1)
        rig.gate.set()
        assert (await waiting).seq == WAITING_MAX + 1

    play(tmp_path, scenario)


def test_a_replaced_ledger_is_told_of_in_the_new_one(tmp_path):
    async def scenario(rig):
        await rig.reporter.record(TroubleData("noise", True))
        old = rig.reporter.ledger
        rig.ledgers._replace("ioerror")
        key = await rig.reporter.record(TroubleData("noise", False))
        assert key.ledger != old
        assert key.seq == 1
        await asyncio.sleep(0.1)
        codes = [event_of(kept.data, PLAN).data.code for kept in rig.kept()]
        assert codes == ["noise", "ledger-replaced"]
        assert rig.reporter.state([], []), "counters of the new ledger are reserved by now"

    play(tmp_path, scenario)


def test_findings_become_events(tmp_path):
    async def scenario(rig):
        rig.ledgers.findings.append(Finding("disk-full", True))
        await rig.reporter.record(TroubleData("noise", True))
        await asyncio.sleep(0.1)
        assert event_of(rig.kept()[-1].data, PLAN).data == TroubleData("disk-full", True)

    play(tmp_path, scenario)


LONG = "n" * 18  # with the two others all that one event has room for: the plan refuses longer ones
WIDE = signed(
    controller="c" * 17,
    point=[document()["point"][1] | {"id": "p" * 17, "node": LONG}],
    siren=[],
    version=(1 << 31) - 1,
)


def test_the_longest_event_and_state_keep_the_size_rule(tmp_path):
    clock = ManualClock()

    async def main():
        rig = Rig(tmp_path, clock, WIDE, LONG)
        task = asyncio.create_task(rig.reporter.run())
        rig.reporter.epoch = (1 << 63) - 1
        evidence = tuple(range(70_000, 70_000 + EVIDENCE_MAX))
        trouble = Trouble(0x1FFFF)
        worst = TransitionData(
            "p" * 17, Cause.RAISED, Level.NORMAL, Level.DANGER, 1 / 3, Reason.VOTE, trouble, evidence
        )
        await rig.reporter.record(worst)
        await rig.reporter.record(TroubleData("c" * 24, True, "s" * 48))
        assert all(len(kept.data) <= SMALL_BYTES_MAX for kept in rig.kept())
        points = [PointState(70_000 + n, Level.DANGER, trouble, 1 << 40, 1 << 40) for n in range(50)]
        sirens = [
            SirenState(70_000 + n, Stage.FAILED, 1 << 30, 1800, 0xFFFF, 0xFF_FFFF, 48_000, 3, 65_535, 1 << 24)
            for n in range(12)
        ]
        parts = rig.reporter.state(points, sirens)
        assert all(len(part) <= SMALL_BYTES_MAX for part in parts)
        task.cancel()
        return parts

    assert len(run_virtual(main(), clock)) <= 50


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 40), st.integers(0, 12))
def test_a_state_in_parts_says_everything_once(tmp_path_factory, points, sirens):
    clock = ManualClock()
    rows = [PointState(n, Level.ALARM, Trouble.NONE, n, n) for n in range(points)]
    horns = [SirenState(n, Stage.DONE, 0, 0) for n in range(sirens)]

    async def main():
        rig = Rig(tmp_path_factory.mktemp("state"), clock)
        task = asyncio.create_task(rig.reporter.run())
        await asyncio.sleep(0.001)
        parts = rig.reporter.state(rows, horns)
        task.cancel()
        return parts

    opened = [open_envelope(part, PLAN.plan.roster) for part in run_virtual(main(), clock)]
    assert all(isinstance(one, Opened) for one in opened)
    states = [State.unpack(one.envelope.body) for one in opened]
    assert [row for state in states for row in state.points] == rows
    assert [row for state in states for row in state.sirens] == horns
    assert [(state.part, state.parts) for state in states] == [(n, len(states)) for n in range(len(states))]
    counters = [one.envelope.counter for one in opened]
    assert counters == sorted(set(counters))


def test_thousands_of_states_never_repeat_a_counter(tmp_path):
    async def scenario(rig):
        seen = []
        while len(seen) < 2_500:
            for part in rig.reporter.state([], []):
                seen.append(open_envelope(part, PLAN.plan.roster).envelope.counter)
            await asyncio.sleep(0.001)
        assert seen == sorted(set(seen))

    play(tmp_path, scenario)
