"""The campaign must go red when a promise is broken: real processes with a bug planted into them."""

import asyncio

import pytest

from . import bugs, campaign
from .disks import PowerDisk
from .site import CENTRE, NODES

pytestmark = [pytest.mark.broker, pytest.mark.timeout(240)]


def found(kind: str, runs: int, moment: str, preambles: dict[str, str]) -> tuple[campaign.Outcome, str]:
    outcome = asyncio.run(campaign.run({kind: runs}, seed=3, preambles=preambles, moment=moment))
    return outcome, "\n".join(outcome.judge())


def test_an_ack_before_the_commit_is_found_by_a_kill() -> None:
    outcome, said = found("kill controller", 3, "acked", {CENTRE: bugs.ACK_BEFORE_COMMIT})
    assert outcome.lost > 0, said
    assert "was acked before it was durable" in said


def test_a_slow_disk_alone_loses_nothing() -> None:
    outcome, said = found("kill controller", 2, "acked", {CENTRE: bugs.SLOW})
    assert outcome.lost == outcome.invented == 0, said
    assert all(run.happened and run.met for run in outcome.runs)


@pytest.mark.root
@pytest.mark.timeout(480)  # what the planted bug has lost is waited for, a minute each time
@pytest.mark.parametrize("kind", ["power cut node", "power cut controller"])
def test_synchronous_normal_is_found_by_a_power_cut(kind: str) -> None:
    if why := PowerDisk.missing():
        pytest.skip(why)
    who = NODES if kind == "power cut node" else (CENTRE,)
    outcome, said = found(kind, 2, "acked", dict.fromkeys(who, bugs.SYNCHRONOUS_NORMAL))
    assert outcome.lost > 0, said
    assert ("was sent before it was durable" if kind == "power cut node" else "was acked before it was durable") in said


@pytest.mark.root
def test_a_power_cut_alone_loses_nothing() -> None:
    if why := PowerDisk.missing():
        pytest.skip(why)
    outcome, said = found("power cut node", 2, "acked", {})
    assert outcome.lost == outcome.invented == 0, said
    assert outcome.counts["power cut: writes lost"] + outcome.counts["power cut: names lost"] > 0
