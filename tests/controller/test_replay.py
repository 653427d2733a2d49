"""The record replayed: the same decisions to the last byte, or the first difference named."""

from pathlib import Path

import apsw
import pytest

import controller.deciding
from controller.policy import decide
from controller.record.records import Record
from controller.replay.engine import Replay, Verdict
from cython_ext import Level
from lanes.planfile import SignedPlan
from tests.kit.nights import Night, plan_with


def replayed(path: Path, *plans: SignedPlan) -> Verdict:
    return Replay(path, {plan.digest: plan for plan in plans}).run()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("mode", ["automatic", "unless-vetoed", "by-hand"])
async def test_every_night_comes_again_as_it_was(tmp_path: Path, seed: int, mode: str) -> None:
    path = tmp_path / "j.db"
    night = Night(path, seed, mode)
    await night.live(60)
    verdict = replayed(path, night.plan)
    assert verdict.same, f"row {verdict.bad_row}: {verdict.why}"
    assert verdict.compared > 30


async def night_of(path: Path, seed: int = 7) -> Night:
    night = Night(path, seed)
    night.control.hear(night.nodes[0], night.nodes[0].state())
    night.levels["gauge"] = Level.ALARM
    night.control.hear(night.nodes[0], night.nodes[0].level("gauge", Level.NORMAL, Level.ALARM))
    await night.live(40)
    return night


async def test_all_kinds_of_decisions_are_among_them(tmp_path: Path) -> None:
    night = await night_of(tmp_path / "j.db")
    verdict = replayed(tmp_path / "j.db", night.plan)
    assert verdict.same, verdict.why
    for kind in ("event", "state", "alarm", "decision", "order", "act", "tick", "start"):
        assert verdict.kinds[kind], (kind, verdict.kinds)


async def test_another_core_is_told_by_its_first_decision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    night = await night_of(tmp_path / "j.db")

    def otherwise(alarm, plan, *, proven, others):  # type: ignore[no-untyped-def]
        return decide(alarm, plan, proven=lambda _policy: False)

    monkeypatch.setattr(controller.deciding, "decide", otherwise)
    verdict = replayed(tmp_path / "j.db", night.plan)
    store = apsw.Connection(str(tmp_path / "j.db"))
    first = store.execute("SELECT min(seq) FROM entry WHERE kind = ?", (int(Record.DECISION),)).get
    assert verdict.bad_row == first
    assert "automatic" in verdict.why
    assert "by-hand" in verdict.why


async def test_an_order_of_another_length_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    night = await night_of(tmp_path / "j.db")
    monkeypatch.setattr("controller.ordering.NOT_AFTER_MAX_US", 1)
    from controller.ordering import Ordering

    real = Ordering.core
    monkeypatch.setattr(
        Ordering, "core", lambda self, *args: real(self, *args[:4], args[4] + 1 if len(args) > 4 else 0, *args[5:])
    )
    verdict = replayed(tmp_path / "j.db", night.plan)
    assert "the order's" in verdict.why


async def test_without_its_plan_it_says_which_is_missing(tmp_path: Path) -> None:
    night = await night_of(tmp_path / "j.db")
    verdict = replayed(tmp_path / "j.db", plan_with("by-hand"))
    assert verdict.bad_row == 2
    assert night.plan.digest.hex()[:16] in verdict.why


async def test_what_was_recorded_and_does_not_follow_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decision that somebody wrote into the journal, with a chain that is whole."""
    night = Night(tmp_path / "j.db", 1)
    control = night.control
    control.hear(night.nodes[0], night.nodes[0].state())
    with control.room.clock.hold():
        row = control.journal.append(Record.OUTCOME, [1, "s1", "pass", ""])
    control.hear(night.nodes[0], night.nodes[0].state())
    await control.commit()
    control.journal.drop()
    verdict = replayed(tmp_path / "j.db", night.plan)
    assert verdict.bad_row == row.seq


async def test_a_damaged_row_ends_it_with_its_name(tmp_path: Path) -> None:
    night = await night_of(tmp_path / "j.db")
    store = apsw.Connection(str(tmp_path / "j.db"))
    store.execute("DROP TRIGGER entry_stays")
    store.execute("UPDATE entry SET wall_us = wall_us + 1 WHERE seq = 9")
    store.close()
    verdict = replayed(tmp_path / "j.db", night.plan)
    assert verdict.bad_row == 9
    assert "damaged" in verdict.why
