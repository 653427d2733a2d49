"""Readiness at the controller: on the signed word of the node, within 20 s, each reason with its Trouble (issue 5, item 7)."""

from pathlib import Path

import pytest

from controller.siren.watching import CODES, SHORT, code_of, readiness_of
from cython_ext import Level
from lanes import readiness
from lanes.orders import Action
from lanes.readiness import Input, Ready, Seen
from lanes.reports import SirenState, SirenTrouble, Stage
from tests.kit.control_room import ControlRoom
from tests.kit.plans import PLAN, signed, with_keys

TEXT = PLAN.replace(
    'id = "s1"\nnode = "n1"\nzones = ["ungheni"]\n',
    'id = "s1"\nnode = "n1"\nzones = ["ungheni"]\nproof = true\nlatitude = 47.21\nlongitude = 27.80\nradius_m = 500\n'
    "battery = { activations = 10, least = 4 }\n"
    '[[siren]]\nid = "s2"\nnode = "n2"\nzones = ["ungheni"]\nlatitude = 47.22\nlongitude = 27.80\nradius_m = 500\n',
).replace(
    "circle = [47.21, 27.80, 5.0]\n",
    "circle = [47.21, 27.80, 5.0]\n"
    "people = [[47.21, 27.80, 600], [47.22, 27.80, 300], [47.25, 27.80, 100]]\ncoverage_percent = 80\n",
)
GOOD = readiness.pack({Input.MAINS: Seen.GOOD, Input.BATTERY: Seen.GOOD, Input.DOOR: Seen.GOOD})


class Room(ControlRoom):
    def __init__(self, path: Path, text: str = TEXT) -> None:
        super().__init__(path, signed(with_keys(text)))
        self.nodes = [self.node("n1"), self.node("n2", ledger=b"ledger02")]

    def say(self, place: int, **row: int) -> None:
        node = self.nodes[place]
        self.hear(node, node.state(sirens=(SirenState(place, Stage.DONE, 0, 0, **{"inputs": GOOD, **row}),)))

    def ready(self, siren: str = "s1") -> tuple[Ready, tuple[str, ...]]:
        found = readiness_of(self.room, self.room.fold.registry.sirens[siren])
        return found.ready, found.reasons

    def siren_codes(self) -> set[tuple[str, str]]:
        return {each for each in self.codes() if each[0].startswith(("siren", "coverage"))}


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path / "j")


def parts(**seen: Seen) -> int:
    return readiness.pack({Input[name.upper()]: each for name, each in seen.items()})


def test_nobody_is_ready_who_has_not_said_so(room: Room) -> None:
    assert room.ready() == (Ready.CANNOT_SOUND, ("not-heard",))
    room.say(0)
    assert room.ready() == (Ready.READY, ())


def test_a_silent_node_cannot_sound_within_20_s(room: Room) -> None:
    room.say(0)
    seconds = 0.0
    while room.ready()[0] is Ready.READY:
        room.wait(0.25)
        seconds += 0.25
    assert seconds <= 20.0
    assert room.ready() == (Ready.CANNOT_SOUND, ("node-silent",))
    room.say(0)
    assert room.ready() == (Ready.READY, ())


async def test_after_a_restart_an_old_word_does_not_count(room: Room) -> None:
    room.say(0)
    for clean in (False, True):
        await room.restart(clean=clean)
        assert room.room.fold.registry.sirens["s1"].state is not None, "it is remembered"
        assert room.ready() == (Ready.CANNOT_SOUND, ("not-heard",))
        room.say(0)
        assert room.ready() == (Ready.READY, ())


@pytest.mark.parametrize(
    ("row", "ready", "codes"),
    [
        ({"inputs": parts(mains=Seen.BAD, battery=Seen.GOOD), "charge_percent": 90}, Ready.DEGRADED, {"siren-mains"}),
        (
            {"inputs": parts(mains=Seen.BAD, battery=Seen.BAD), "charge_percent": 90},
            Ready.CANNOT_SOUND,
            {"siren-no-power"},
        ),
        ({"inputs": parts(mains=Seen.GOOD, battery=Seen.BAD)}, Ready.DEGRADED, {"siren-battery"}),
        ({"inputs": parts(mains=Seen.GOOD, charger=Seen.BAD)}, Ready.DEGRADED, {"siren-charger", SHORT}),
        ({"inputs": parts(mains=Seen.GOOD, amplifier=Seen.BAD)}, Ready.CANNOT_SOUND, {"siren-amplifier"}),
        ({"inputs": parts(mains=Seen.GOOD, door=Seen.BAD)}, Ready.DEGRADED, {"siren-door"}),
        ({"inputs": parts(mains=Seen.GOOD, rotation=Seen.BAD)}, Ready.CANNOT_SOUND, {"siren-rotation"}),
        ({"inputs": parts(mains=Seen.GOOD, time=Seen.BAD)}, Ready.DEGRADED, {"siren-time"}),
        ({"inputs": parts(mains=Seen.GOOD, door=Seen.UNSEEN)}, Ready.DEGRADED, {"siren-unseen"}),
        ({"trouble": int(SirenTrouble.UNREACHABLE)}, Ready.CANNOT_SOUND, {"siren-unreachable"}),
        ({"trouble": int(SirenTrouble.STORE)}, Ready.CANNOT_SOUND, {"siren-store"}),
        ({"charge_percent": 39}, Ready.READY, {SHORT}),
        ({"charge_percent": 40}, Ready.READY, set()),
    ],
)
def test_each_part_has_its_trouble(room: Room, row: dict[str, int], ready: Ready, codes: set[str]) -> None:
    for _ in range(4):
        room.wait(6)
        room.say(0, **row)
        room.say(1)
    room.wait(1.25)
    assert room.ready()[0] is ready
    found = {code for code, subject in room.siren_codes() if subject == "s1"}
    assert found == codes
    room.say(0)
    room.wait(1.25)
    assert not {code for code, subject in room.siren_codes() if subject == "s1"}


def test_every_reason_has_a_code_or_another_trouble() -> None:
    assert {code_of(reason) for reason in readiness.reasons()} == {*CODES, ""}
    assert all(len(code) <= 32 for code in CODES)


def test_people_are_covered_by_sirens_that_could_sound(room: Room) -> None:
    room.say(0)
    room.say(1)
    (zone,) = room.upkeep.picture.zones()
    assert (zone["people_covered_now"], zone["people_total"], zone["percent"]) == (900, 1000, 90.0)
    assert (zone["target_percent"], zone["short"], zone["sirens_able"]) == (80, False, 2)
    room.say(1, inputs=parts(amplifier=Seen.BAD))
    (zone,) = room.upkeep.picture.zones()
    assert (zone["people_covered_now"], zone["percent"], zone["short"]) == (600, 60.0, True)
    for _ in range(4):
        room.wait(6)
        room.say(0)
    assert ("coverage-low", "ungheni") in room.codes()
    room.say(1)
    room.wait(1.25)
    assert ("coverage-low", "ungheni") not in room.codes()


def test_an_activation_reaches_the_people_of_sirens_that_were_measured(room: Room) -> None:
    room.say(0)
    room.say(1)
    room.hear(room.nodes[0], room.nodes[0].level("gauge", Level.NORMAL, Level.ALARM))
    starts = room.starts()
    assert {order.siren for order, _ in starts} == {"s1", "s2"}
    for order, data in starts:
        node = room.nodes[0] if order.siren == "s1" else room.nodes[1]
        room.hear(node, node.receipt(data, Stage.SOUNDING, "measured", measured=order.siren == "s1"))
    (activation,) = [a for a in room.room.fold.activations if a.action is Action.START]
    assert room.upkeep.picture.reached(activation) == {
        "ungheni": {"people": 600, "people_total": 1000, "percent": 60.0}
    }


def test_what_is_left_says_what_it_rests_on(room: Room) -> None:
    room.say(0, battery_mv=25_400)
    shown = room.upkeep.picture.siren(room.room.fold.registry.sirens["s1"])
    assert shown["activations_left"] == {
        "left": 10,
        "of": 10.0,
        "least": 4,
        "short": False,
        "basis": "full-on-mains",
        "source": "",
    }
    assert (shown["battery_v"], shown["charge_percent"]) == (25.4, None)
