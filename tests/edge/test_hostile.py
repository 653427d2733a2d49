"""Hostile orders against a node at work: every bit of valid orders, and a part of the campaign (`make hostile` runs it all)."""

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from tests.kit.clock import run_virtual
from tests.kit.hostile import PHASES, TARGETS, Attacker, Outcome, attack, campaign, main
from tests.kit.hostile_orders import HOSTILE
from tests.kit.siren_rig import Rig, rig


def sweep(folder: Path, orders: Callable[[Attacker], Iterator[bytes]]) -> Outcome:
    """All of them given; then the orders that they were made from must sound, each."""

    async def sweeping() -> Outcome:
        outcome = Outcome()
        async with rig(folder) as node:
            attacker = Attacker(node.make, Random(1), [])
            await attack(node, orders(attacker), 1_000_000, outcome)
            for order, relay in zip(attacker.targets(), ("R1", "R2", "R1", "R2"), strict=True):
                before = node.monitor.activations
                await node.give(order, relay, 240)
                outcome.controls += node.monitor.activations > before or node.told("s1")[-1][1] == ""
        return outcome

    return run_virtual(sweeping())


def test_every_bit_of_valid_orders(tmp_path: Path) -> None:
    outcome = sweep(tmp_path, lambda attacker: attacker.sweep())
    assert outcome.orders > 12_000
    assert (outcome.activations, outcome.controls) == (0, TARGETS)


def test_every_bit_of_evidence_and_approvals_signed_by_a_stolen_key(tmp_path: Path) -> None:
    outcome = sweep(tmp_path, lambda attacker: attacker.inner_sweep())
    assert outcome.orders > 4_000
    assert (outcome.activations, outcome.controls) == (0, TARGETS)


def test_all_that_is_wrong_in_one_thing_at_a_node_at_work(tmp_path: Path) -> None:
    async def giving() -> Rig:
        async with rig(tmp_path) as node:
            for _, make in HOSTILE.values():
                await node.give(make(node.make))
                assert not node.on("R1")
                assert not node.on("R2")
            return node

    node = run_virtual(giving())
    assert node.sirens.answers.refused == len(HOSTILE), "each was answered, or counted where there were too many"
    assert not any(receipt.reason.isspace() or len(receipt.reason) > 24 for receipt in node.receipts)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_part_of_the_campaign(tmp_path: Path, seed: int) -> None:
    outcome = run_virtual(campaign(tmp_path, 1_600, seed))
    assert (outcome.orders, outcome.activations, outcome.findings) == (1_600, 0, [])
    assert outcome.controls == 2 * (PHASES + 1)


def test_the_campaign_ends_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--orders", "80"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "orders 80, activations 0"
