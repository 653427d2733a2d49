"""Whether a siren failed to sound, in domain.md's three ways."""

from pathlib import Path

import pytest

from controller.activation import Result
from controller.lastsound import APART_US, last_sound
from cython_ext import Level
from lanes.reports import Stage
from tests.kit.control_room import ControlRoom, FakeNode
from tests.kit.plans import PLAN, signed, with_keys


@pytest.fixture
def control(tmp_path: Path) -> ControlRoom:
    return ControlRoom(tmp_path / "journal.db", signed(with_keys(PLAN.replace('id = "s1"', 'id = "s1"\nproof = true'))))


def order(control: ControlRoom, level: Level = Level.ALARM) -> tuple[FakeNode, bytes]:
    node = control.node("n1", ledger=b"ledger%02d" % level)
    control.hear(node, node.state())
    control.hear(node, node.level("gauge", Level.NORMAL, level))
    [(_, data)] = control.starts()
    return node, data


def last(control: ControlRoom):
    return last_sound(control.room.fold.activations, "s1")


def test_nothing_was_ordered(control: ControlRoom) -> None:
    assert last(control) is None


def test_what_waits_has_not_failed(control: ControlRoom) -> None:
    order(control)
    found = last(control)
    assert (found.result, found.failed, found.sounded_us) == (Result.PENDING, "", 0)


def test_a_sound_that_was_measured(control: ControlRoom) -> None:
    node, data = order(control)
    control.wait(1)
    control.hear(node, node.receipt(data, Stage.SOUNDING, measured=True))
    found = last(control)
    assert (found.result, found.measured, found.failed) == (Result.PASS, True, "")
    assert found.sounded_us - found.ordered_us == 1_000_000


@pytest.mark.parametrize("why", ["no-sound", "evidence-old", "driver"])
def test_no_proof_is_audio(control: ControlRoom, why: str) -> None:
    node, data = order(control)
    control.hear(node, node.receipt(data, Stage.FAILED, why))
    assert last(control).failed == "audio"


def test_a_person_s_stop_is_no_failure(control: ControlRoom) -> None:
    node, data = order(control)
    control.hear(node, node.receipt(data, Stage.STOPPED, "stop"))
    assert last(control).failed == ""


def test_times_more_than_ninety_minutes_apart(control: ControlRoom) -> None:
    node, data = order(control)
    node.clock = type(control.clock)(control.clock.wall_us() + APART_US + 1_000_000, control.clock.quality())
    control.hear(node, node.receipt(data, Stage.SOUNDING, measured=True))
    assert last(control).failed == "time"


def test_another_sound_than_the_last_that_was_ordered(control: ControlRoom) -> None:
    node, first = order(control)
    control.hear(node, node.receipt(first, Stage.SOUNDING, measured=True))
    activations = control.room.fold.activations
    older = next(iter(activations))
    control.ordering.send(
        older.number + 1000, older.action, "s1", older.core, heads=("", Level.DANGER, "ana"), evidence=()
    )
    [(_, second)] = control.starts()
    control.hear(node, node.receipt(second, Stage.SOUNDING, measured=True))
    assert last(control).failed == ""
    control.wait(1)
    control.hear(node, node.receipt(first, Stage.SOUNDING, measured=True))
    assert last(control).failed == "other"


def test_an_incident_that_has_sounded_is_no_failure(control: ControlRoom) -> None:
    node, data = order(control)
    control.hear(node, node.receipt(data, Stage.ALREADY, "incident"))
    assert last(control).failed == ""


async def test_it_survives_a_restart(control: ControlRoom) -> None:
    node, data = order(control)
    control.hear(node, node.receipt(data, Stage.SOUNDING, measured=True))
    before = last(control)
    for clean in (False, True):
        await control.restart(clean=clean)
        assert last(control) == before
