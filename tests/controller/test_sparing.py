"""Which nodes may restart now: no alarm in their zones, and enough sirens and sensors without them."""

from pathlib import Path

import pytest

from controller.siren.sparing import Sparing, zones_of
from cython_ext import Level
from lanes.readiness import Seen
from lanes.reports import BootData
from tests.controller.test_watching import TEXT, Room, parts


@pytest.fixture
def room(tmp_path: Path) -> Room:
    found = Room(tmp_path / "j")
    found.say(0)
    found.say(1)
    return found


def ask(room: Room, *names: str, uncovered: tuple[str, ...] = ()) -> tuple[list[str], dict[str, str]]:
    sparing: Sparing = room.upkeep.sparing
    said = sparing.ask(names, uncovered)
    return said["spared"], said["refused"]


def test_a_node_whose_siren_is_not_needed_may_restart(room: Room) -> None:
    assert zones_of(room.room.plan, "n2") >= {"ungheni"}
    spared, refused = ask(room, "n2")
    assert spared == []
    assert refused["n2"] == "zone ungheni would be covered 60 %, and 80 % are asked for"
    assert ask(room, "n2", uncovered=("ungheni",)) == (["n2"], {})


def test_an_alarm_in_the_zone_refuses_also_what_a_person_would_let_go(room: Room) -> None:
    room.hear(room.nodes[0], room.nodes[0].level("gauge", Level.NORMAL, Level.ALARM))
    _, refused = ask(room, "n1", "n2", uncovered=("ungheni",))
    assert refused["n1"] == "an alarm is active in zone ungheni"
    assert set(refused) == {"n1", "n2"}


def test_who_is_not_heard_may_not_restart(room: Room) -> None:
    _, refused = ask(room, "nobody", "n3")
    assert refused["nobody"] == "the plan has no such node"
    room.wait(60)
    assert "silent for" in ask(room, "n1", uncovered=("ungheni",))[1]["n1"]


async def test_after_a_restart_of_ours_nobody_is_spared_before_it_is_heard(room: Room) -> None:
    await room.restart()
    assert "has not been heard" in ask(room, "n1", uncovered=("ungheni",))[1]["n1"]


def test_a_siren_that_cannot_sound_covers_nobody(room: Room) -> None:
    """What is broken elsewhere counts: the last good siren stays."""
    room.say(0, inputs=parts(amplifier=Seen.BAD))
    assert ask(room, "n1") == (["n1"], {}), "it covers nobody anyway"
    assert "would be covered 0 %" in ask(room, "n2")[1]["n2"]


def test_never_all_who_watch_a_zone_at_once(tmp_path: Path) -> None:
    room = Room(tmp_path / "j", TEXT.replace("coverage_percent = 80", "coverage_percent = 0"))
    room.say(0)
    room.say(1)
    spared, refused = ask(room, "n1", "n2")
    assert spared == ["n1"]
    assert refused["n2"] == "2 of the 2 nodes that watch zone ungheni would be away"


async def test_the_release_that_a_node_runs_is_known_and_remembered(room: Room) -> None:
    node = room.nodes[0]
    room.hear(node, node.event(BootData("bucium 0.2.0", "after-stop")))
    assert room.room.fold.registry.nodes["n1"].software == "bucium 0.2.0"
    await room.restart(clean=True)
    assert room.room.fold.registry.nodes["n1"].software == "bucium 0.2.0"
