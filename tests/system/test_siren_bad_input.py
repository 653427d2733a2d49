"""Issue 5, "Bad input", each by its name: refused or reported with the reason, wherever it can come in."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from controller.policy import Move
from cython_ext import Level
from edge.siren.refusals import Why
from lanes.acts import RequestSiren
from lanes.control import ControlError
from lanes.keys import Mode
from lanes.plan import Plan
from lanes.plan_doubts import doubts
from lanes.reports import SirenTrouble, Stage
from lanes.settings import parse
from tests.kit.clock import run_virtual
from tests.kit.control_room import ControlRoom
from tests.kit.face import Face
from tests.kit.line_rig import LineRig, line_rig
from tests.kit.nodes import NODE
from tests.kit.orders import Say
from tests.kit.plans import PLAN, signed, with_keys
from tests.kit.siren_rig import Rig, rig
from tests.kit.site import lay_out

S = 1_000_000


@pytest.fixture
def face(capsys: pytest.CaptureFixture[str]) -> Face:
    return Face(capsys)


def at_a_node(folder: Path, test: Callable[[Rig], Awaitable[None]]) -> None:
    async def main() -> None:
        async with rig(folder) as node:
            await test(node)

    run_virtual(main())


# A pattern longer than the policy.


def test_a_pattern_longer_than_the_policy_is_refused_at_the_node(tmp_path: Path) -> None:
    async def test(node: Rig) -> None:
        smoke = node.make.event("n1", "smoke", boot=node.boot)
        await node.give(node.make.order(pattern="fire", max_s=55, evidence=(smoke,)))
        assert node.reasons() == ["policy"]

    at_a_node(tmp_path, test)


def test_a_pattern_longer_than_the_policy_is_told_when_the_plan_is_built() -> None:
    plan = parse(with_keys(PLAN.replace("reflex = true", "reflex = true\nmax_s = 60")), Plan)
    [doubt] = list(doubts(plan))
    assert "max_s 60 cuts 'dezastre', which lasts 120 s" in doubt


def test_a_policy_longer_than_its_pattern_is_refused_with_the_plan() -> None:
    with pytest.raises(Exception, match="longer than its pattern"):
        parse(with_keys(PLAN.replace("reflex = true", "reflex = true\nmax_s = 122")), Plan)


def test_a_pattern_longer_than_any_may_be_is_refused_with_the_plan() -> None:
    with pytest.raises(Exception, match="at most 900 s may sound"):
        parse(with_keys(PLAN.replace("off_s = 10, repeat = 5", "off_s = 200, repeat = 6")), Plan)
    with pytest.raises(Exception, match="without a pause"):
        parse(with_keys(PLAN.replace("off_s = 10, repeat = 5", "repeat = 20")), Plan)


def test_a_request_longer_than_its_pattern_is_refused(tmp_path: Path) -> None:
    control = ControlRoom(tmp_path / "j.db")
    with pytest.raises(ControlError, match="121 s is longer than dezastre, which lasts 120 s"):
        control.act(RequestSiren(("ungheni",), "dezastre", Mode.LIVE, 121, "r"))


# A siren without feedback set to require proof.


def test_a_siren_without_feedback_set_to_require_proof_has_failed_and_plays_on(tmp_path: Path) -> None:
    async def test(node: Rig) -> None:
        sounder = node.sirens.sounders["s1"]
        sounder.driver.can_prove = False  # as a driver without feedback says of itself
        sounder.replan(sounder.siren)
        assert node.sirens.states()[0].trouble & SirenTrouble.NO_FEEDBACK
        await node.give(node.make.order(), "R1")
        await asyncio.sleep(1)
        assert node.told()[-1] == (Stage.FAILED, "no-feedback")
        assert node.on(), "a warning is not silenced for want of proof"

    at_a_node(tmp_path, test)


def test_a_siren_without_feedback_set_to_require_proof_is_told_before_the_start(tmp_path: Path, face: Face) -> None:
    sirens = [{"id": "school", "node": NODE, "zones": ["town"], "proof": True}]
    config = lay_out(tmp_path / "with", siren=sirens)
    text = config.read_text()
    good = face("config", "check", config, "--json").document
    assert good["ok"]
    assert not [each for each in good["doubts"] if "proof" in each]
    without = tmp_path / "without"
    bare = lay_out(without, text=_template(text), siren=sirens)
    found = face("config", "check", bare, "--json").document
    assert found["ok"], found
    assert found["doubts"] == [
        "the plan asks siren 'school' for proof, and it has nothing to prove with: bind its feedback"
    ]


def _template(text: str) -> str:
    """node.toml without the siren's feedback, its braces as `str.format` wants them."""
    lines = [line for line in text.splitlines() if not line.startswith("feedback")]
    return "\n".join(lines).replace("{", "{{").replace("}", "}}") + "\n"


# A zone without sirens.


def test_a_zone_without_sirens_orders_nothing_and_says_so(tmp_path: Path) -> None:
    control = ControlRoom(tmp_path / "j.db", signed(with_keys(_no_siren())))
    node = control.node("n1")
    control.hear(node, node.state())
    control.hear(node, node.level("gauge", Level.NORMAL, Level.ALARM))
    assert control.starts() == []
    [decision] = control.room.decided.values()
    assert (decision.move, decision.reason) == (Move.NONE, "no-siren")
    with pytest.raises(ControlError, match="no siren of ungheni can sound dezastre"):
        control.act(RequestSiren(("ungheni",), "dezastre", Mode.LIVE, 0, "r"))


def test_a_zone_without_sirens_is_told_when_the_plan_is_built(tmp_path: Path, face: Face) -> None:
    source = tmp_path / "plan.toml"
    source.write_text(with_keys(_no_siren()))
    built = face("plan", "build", source, "-o", tmp_path / "plan.cbor", "--json").document
    assert "zone 'ungheni' has no siren: what endangers it is told to dispatch only" in built["doubts"]
    assert face("config", "check", source, "--json").document["doubts"] == built["doubts"]


def test_a_zone_without_sirens_is_refused_at_the_node(tmp_path: Path) -> None:
    async def test(node: Rig) -> None:
        await node.give(node.make.order(siren="", zones=("nowhere",)))
        assert node.reasons() == ["zone"]

    at_a_node(tmp_path, test)


def _no_siren() -> str:
    a, b = PLAN.index("[[siren]]"), PLAN.index("[[pattern]]")
    return PLAN[:a] + PLAN[b:]


# Two orders at once.


def test_two_orders_at_once_sound_once_and_both_are_answered(tmp_path: Path) -> None:
    async def test(node: Rig) -> None:
        first, second = (node.make.order(incident=name) for name in (b"one.....", b"two....."))
        await asyncio.gather(node.give(first, "R1"), node.sirens.order(second), node.sirens.order(first))
        await asyncio.sleep(1)
        assert node.monitor.activations == 1
        answered = {r.order for r in node.receipts}
        assert len(answered) == 2
        assert node.reasons() == ["busy"]

    at_a_node(tmp_path, test)


# An order in the past.


def test_an_order_in_the_past_is_refused(tmp_path: Path) -> None:
    async def test(node: Rig) -> None:
        await node.give(node.make.order(issued_us=node.clock.wall_us() - 61 * S))
        assert node.reasons() == ["expired"]

    at_a_node(tmp_path, test)


def test_an_order_that_grows_old_on_its_way_is_refused(tmp_path: Path) -> None:
    async def test(node: Rig) -> None:
        kept = node.make.order()
        await asyncio.sleep(61)
        await node.give(kept)
        assert node.reasons() == ["expired"]

    at_a_node(tmp_path, test)


def test_an_approval_in_the_past_is_refused(tmp_path: Path) -> None:
    async def test(node: Rig) -> None:
        make = node.make
        say = Say(siren="s2", zones=("valea",), issued_us=node.clock.wall_us())
        digest = make.core(say).digest()
        old = node.clock.wall_us() - 61 * S
        approvals = tuple(make.approval(digest, person, issued_us=old) for person in ("ana", "ion"))
        await node.give(make.seal(replace(say, approvals=approvals)))
        assert node.reasons() == [str(Why.APPROVAL_EXPIRED)]

    at_a_node(tmp_path, test)


# A driver that lies.


@pytest.mark.parametrize("kind", ["informer", "coil-timed"])
def test_a_driver_that_lies_is_found_out_by_measurement(tmp_path: Path, kind: str) -> None:
    """It says yes to every act, and nothing sounds: FAILED with the reason; the controller then turns to a neighbour."""

    async def test(r: LineRig) -> None:
        r.deaf = True
        behaviour = r.line.units[1].behaviour
        assert behaviour is not None
        behaviour.fail("mute")
        await r.give(r.make.order())
        await asyncio.sleep(5)
        assert r.told()[-1] == (Stage.FAILED, "no-sound")
        assert not any(receipt.measured for receipt in r.receipts)

    async def main() -> None:
        async with line_rig(tmp_path, kind) as r:
            await test(r)

    run_virtual(main())


def test_who_has_no_key_in_the_roster_is_told_when_the_plan_is_built():
    plan = parse(with_keys(PLAN), Plan)
    assert not [each for each in doubts(plan) if "live key" in each]
    without = tuple(key for key in plan.keys if (key.signer, key.mode) != (plan.controller, "live"))
    [doubt] = [each for each in doubts(plan.model_copy(update={"keys": without})) if "live key" in each]
    assert doubt.startswith(f"controller {plan.controller!r} has no live key, so nobody believes it")
    assert not [each for each in doubts(plan.model_copy(update={"keys": ()})) if "live key" in each], "no roster yet"
