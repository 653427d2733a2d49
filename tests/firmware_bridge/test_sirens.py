"""Siren drivers against the simulated hardware: what sounded is read from the hardware's own record."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from pydantic import ValidationError

from cython_ext.errors import ConfigError
from firmware_bridge.driver import Device, Outcome
from firmware_bridge.gpio.device import Gpio, GpioDevice
from firmware_bridge.gpio.simulated import Board, SimulatedChip
from firmware_bridge.settings import DeviceSettings, GpioBus, SirenSettings
from firmware_bridge.simulators.faults import Fault, Misbehaviour
from firmware_bridge.sirens.base import BaseSiren, worst
from firmware_bridge.sirens.contact import ContactSiren
from firmware_bridge.sirens.controller import ControllerSiren
from firmware_bridge.sirens.driver import Siren
from firmware_bridge.sirens.make import make_siren
from firmware_bridge.sirens.mode import Mode
from tests.kit.clock import ManualClock, run_virtual
from tests.kit.modbus import SOUNDS, MemoryLine, device

Scenario = Callable[[Siren, MemoryLine], Awaitable[None]]


def play(siren: dict[str, object], scenario: Scenario) -> MemoryLine:
    """A line with an Informer (unit 1) and a Waveshare board (unit 2), and a siren on one of them."""
    clock = ManualClock()
    line = MemoryLine(clock)
    line.add("federal-informer", 1)
    line.add("waveshare-relay8", 2)

    async def main() -> None:
        bus = line.bus(timeout_s=0.2)
        await bus.open()
        devices: dict[str, Device] = {
            "informer": device(bus, "federal-informer", 1, clock),
            "relays": device(bus, "waveshare-relay8", 2, clock),
        }
        made = make_siren(SirenSettings.model_validate({"id": "school", **siren}), devices, clock)
        await made.open()
        await scenario(made, line)
        await made.close()
        await bus.close()

    run_virtual(main(), clock)
    return line


def happened(line: MemoryLine, what: str) -> list[tuple[str, float, str]]:
    return [(one.name, one.value, one.by) for one in line.record if one.what == what]


INFORMER: dict[str, object] = {"device": "informer", "sound": [*SOUNDS, {"mode": "steady", "own_end_s": 180.0}]}
RELAY: dict[str, object] = {"device": "relays", "contacts": {"any": "relay-1", "wail": "relay-2"}}


@pytest.mark.parametrize(("siren", "kind"), [(INFORMER, ControllerSiren), (RELAY, ContactSiren)])
def test_the_configuration_chooses_the_driver(siren: dict[str, object], kind: type[BaseSiren]) -> None:
    async def scenario(made: Siren, line: MemoryLine) -> None:
        assert type(made) is kind
        assert made.real, "a line that is not declared simulated"

    play(siren, scenario)


def test_one_failed_act_fails_the_whole() -> None:
    assert worst([Outcome(True), Outcome(False, "a"), Outcome(False, "a"), Outcome(False, "b")], 5) == Outcome(
        False, "a; b", 5
    )
    assert worst([Outcome(True, "said")], 5) == Outcome(True, "", 5)


def test_an_informer_sounds_proves_and_stops() -> None:
    async def scenario(siren: Siren, line: MemoryLine) -> None:
        assert siren.modes == {Mode.STEADY, Mode.WAIL}, "those whose end is programmed"
        assert siren.can_prove
        assert not siren.hears, "its register says only that it has sounded"
        assert siren.can_quiet_test
        assert (await siren.arm()).ok
        assert (await siren.start(Mode.WAIL, 16.5)).ok
        await asyncio.sleep(siren.proof_within_s)
        proof = await siren.measure()
        assert proof is not None
        assert proof.sounding is True
        assert (await siren.off()).ok
        assert (await siren.off()).ok
        proof = await siren.measure()
        assert proof is not None
        assert proof.sounding is False
        status = await siren.status()
        assert status.reachable
        assert status.supervised["time"].good is True

    line = play(INFORMER, scenario)
    assert happened(line, "sound") == [("wail", 1, "bus"), ("wail", 0, "bus")]


def test_an_informer_arms_by_itself_when_its_window_has_run_out() -> None:
    async def scenario(siren: Siren, line: MemoryLine) -> None:
        await siren.arm()
        await asyncio.sleep(256.0)
        assert (await siren.start(Mode.STEADY, 180.5)).ok
        await asyncio.sleep(1.0)

    line = play(INFORMER, scenario)
    assert happened(line, "sound")[0] == ("steady", 1, "bus")


@pytest.mark.parametrize("how", ["mute", "deaf"])
def test_an_informer_that_does_not_sound_is_found_out(how: str) -> None:
    async def scenario(siren: Siren, line: MemoryLine) -> None:
        behaviour = line.units[1].behaviour
        assert behaviour is not None
        behaviour.fail(how)
        assert (await siren.start(Mode.STEADY, 16.5)).ok, "it accepts the order"
        await asyncio.sleep(siren.proof_within_s)
        proof = await siren.measure()
        assert proof is not None
        assert proof.sounding is False

    assert not happened(play(INFORMER, scenario), "sound")


def test_a_quiet_test_is_quiet() -> None:
    async def scenario(siren: Siren, line: MemoryLine) -> None:
        assert (await siren.quiet_test()).ok

    line = play(INFORMER, scenario)
    assert not happened(line, "sound")
    assert ("utility", 4, "bus") in happened(line, "register")


CONTACTS: dict[str, object] = {  # what an installer wires to the Informer's inputs
    "mains": {"device": "informer", "channel": "input-1"},
    "battery": {"device": "informer", "channel": "input-2"},
    "door": {"device": "informer", "channel": "input-3"},
    "rotation": {"device": "informer", "channel": "input-4", "sounding": True},
}
WELL = {f"input-{n}": 1 for n in range(1, 5)}


@pytest.mark.parametrize(
    ("device", "how"),
    [
        ({"device": "informer", "supervision": CONTACTS}, ""),
        ({"device": "informer", "supervision": CONTACTS}, "mains"),
        ({"device": "informer", "supervision": CONTACTS}, "battery"),
        ({"device": "informer", "supervision": CONTACTS}, "door"),
        ({"device": "informer", "supervision": CONTACTS}, "unreachable"),
        ({**RELAY, "supervision": CONTACTS}, ""),
        ({**RELAY, "supervision": CONTACTS}, "mains"),
    ],
)
def test_a_silent_test_looks_at_the_whole_chain(device: dict[str, object], how: str) -> None:
    async def scenario(siren: Siren, line: MemoryLine) -> None:
        for channel in WELL:
            line.units[1].memory.set(channel, 1)
        line.units[1].memory.set("input-4", 0)  # the rotor stands still, as it should
        if how == "unreachable":
            line.misbehaviour[1] = Misbehaviour(Fault.DEAD)
        elif how:
            line.units[1].memory.set(str(CONTACTS[how]["channel"]), 0)  # type: ignore[index]
        outcome = await siren.quiet_test()
        assert outcome.ok is (how == "")
        assert outcome.reason in {how, *(["driver"] if how == "unreachable" else [])}

    line = play(device, scenario)
    assert not happened(line, "sound")
    assert not happened(line, "coil")


def test_a_relay_board_that_does_not_answer_fails_its_silent_test() -> None:
    async def scenario(siren: Siren, line: MemoryLine) -> None:
        assert (await siren.quiet_test()).ok
        line.misbehaviour[2] = Misbehaviour(Fault.DEAD)
        assert (await siren.quiet_test()).reason == "unreachable"

    play(RELAY, scenario)


@pytest.mark.parametrize(
    ("test", "values"),
    [
        ({"good": 0}, {0: True, 1: False}),
        ({}, {1: True, 0: False}),
        ({"least": 1}, {1: True, 0: False}),
        ({"most": 0}, {0: True, 1: False}),
        ({"least": 0, "most": 1}, {0: True, 1: True}),
    ],
)
def test_what_is_good_is_one_value_or_a_span(test: dict[str, float], values: dict[int, bool]) -> None:
    async def scenario(siren: Siren, line: MemoryLine) -> None:
        for value, good in values.items():
            line.units[1].memory.set("input-2", value)
            assert (await siren.status()).supervised["battery"].good is good

    play({**RELAY, "supervision": {"battery": {"device": "informer", "channel": "input-2", **test}}}, scenario)


@pytest.mark.parametrize("wrong", [{"good": 1, "least": 1}, {"least": 2, "most": 1}])
def test_two_tests_of_one_point_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        SirenSettings.model_validate(
            {"id": "s", **RELAY, "supervision": {"battery": {"device": "informer", "channel": "input-2", **wrong}}}
        )


def test_voice_takes_its_message_number() -> None:
    async def scenario(siren: Siren, line: MemoryLine) -> None:
        assert (await siren.start(Mode.VOICE, 10.5)).ok

    spoken = {"device": "informer", "sound": [{"mode": "voice", "message": 3, "own_end_s": 10.0}]}
    assert happened(play(spoken, scenario), "sound")[0] == ("voice-3", 1, "bus")


def test_the_dead_man_ends_what_nobody_ends() -> None:
    """This process's own timer; the sound's own end would come a second later."""

    async def scenario(siren: Siren, line: MemoryLine) -> None:
        assert siren.own_end_s(Mode.STEADY, 15.0) == 16.0
        await siren.start(Mode.STEADY, 15.5)
        await asyncio.sleep(15.4)
        assert happened(line, "sound") == [("steady", 1, "bus")]
        await asyncio.sleep(0.2)
        assert happened(line, "sound") == [("steady", 1, "bus"), ("steady", 0, "bus")]

    play(INFORMER, scenario)


def test_an_informer_ends_by_itself_when_the_node_dies() -> None:
    async def scenario(siren: Siren, line: MemoryLine) -> None:
        assert siren.can_sound(Mode.STEADY, 16.0)
        assert (await siren.start(Mode.STEADY, 16.5)).ok
        began_ns = line.clock.monotonic_ns()
        line.misbehaviour[1] = Misbehaviour(Fault.DEAD)  # from here on the node is as good as dead
        await asyncio.sleep(40.0)
        line.misbehaviour.clear()
        ended = next(one.at_ns for one in line.record if one.what == "sound" and not one.value)
        assert (ended - began_ns) / 1e9 == pytest.approx(16.0, abs=0.05)

    assert happened(play(INFORMER, scenario), "sound") == [("steady", 1, "bus"), ("steady", 0, "timer")]


def test_what_nothing_would_end_in_time_is_not_begun() -> None:
    async def scenario(siren: Siren, line: MemoryLine) -> None:
        before = line.requests.get(1, 0)
        for sound_s in (14.9, 16.1, 30.0, 118.9):
            assert not siren.can_sound(Mode.STEADY, sound_s)
        assert siren.can_sound(Mode.STEADY, 15.0)
        assert not siren.can_sound(Mode.PULSED, 16.0)
        outcome = await siren.start(Mode.STEADY, 30.0)
        assert (outcome.ok, outcome.reason) == (False, "nothing would end it in time")
        assert line.requests.get(1, 0) == before, "nothing was written"

    assert not happened(play(INFORMER, scenario), "sound")


def test_a_start_that_comes_late_still_ends_in_time() -> None:
    """Of a blast of 16 s one second is over: 16 s more would end at the last moment. Then only a shorter one may begin."""

    async def scenario(siren: Siren, line: MemoryLine) -> None:
        assert (await siren.start(Mode.STEADY, 15.5)).ok
        assert not (await siren.start(Mode.STEADY, 15.4)).ok

    assert ("register", "run", 1) in [(one.what, one.name, one.value) for one in play(INFORMER, scenario).record]


@pytest.mark.parametrize(
    ("sound", "can"),
    [([], ()), ([{"mode": "steady", "own_end_s": 16.0}], (16.0, 15.0)), ([{"mode": "wail", "own_end_s": 16.0}], ())],
)
def test_a_plain_coil_sounds_only_what_a_time_relay_ends(
    sound: list[dict[str, object]], can: tuple[float, ...]
) -> None:
    """A coil board without timers (here a register of the Informer's stands for one: it has no pulse)."""

    async def scenario(siren: Siren, line: MemoryLine) -> None:
        for sound_s in (16.0, 15.0, 14.0, 17.0):
            assert siren.can_sound(Mode.STEADY, sound_s) is (sound_s in can)
        outcome = await siren.start(Mode.STEADY, 16.5)
        assert outcome.ok is bool(can)

    coil = {"device": "informer", "contacts": {"any": "run-4"}, "sound": sound}
    written = [one for one in play(coil, scenario).record if one.name == "run-4" and one.value]
    assert len(written) == bool(can)


@pytest.mark.parametrize("keeper", [True, False])
def test_a_line_of_the_board_sounds_only_with_its_keeper(keeper: bool) -> None:
    clock = ManualClock()

    async def main() -> None:
        board = Board(clock)
        bus = Gpio(GpioBus(type="gpio", id="pins", chip="simulated", keeper=keeper), SimulatedChip(board), clock)
        lines = {"output": [{"point": "horn", "line": "GPIO27"}]}
        pins = GpioDevice(DeviceSettings.model_validate({"id": "pins", "bus": "pins", **lines}), bus, clock)
        settings = {"id": "school", "device": "pins", "contacts": {"any": "horn"}}
        siren = make_siren(SirenSettings.model_validate(settings), {"pins": pins}, clock)
        await bus.open()
        assert siren.can_sound(Mode.STEADY, 16.0) is keeper
        assert (await siren.start(Mode.STEADY, 16.5)).ok is keeper
        assert [edge.high for edge in board.record if edge.line == "GPIO27"] == ([True] if keeper else [])
        await bus.close()

    run_virtual(main(), clock)


def test_a_relay_board_ends_by_its_own_timer_when_the_node_dies() -> None:
    async def scenario(siren: Siren, line: MemoryLine) -> None:
        assert siren.modes == {Mode.STEADY, Mode.WAIL, Mode.PULSED}
        assert not siren.can_prove
        assert await siren.measure() is None
        assert (await siren.start(Mode.STEADY, 16.3)).ok
        line.misbehaviour[2] = Misbehaviour(Fault.DEAD)  # from here on the node is as good as dead
        await asyncio.sleep(20.0)
        line.misbehaviour.clear()

    line = play(RELAY, scenario)
    assert happened(line, "coil") == [("relay-1", 1, "bus"), ("relay-1", 0, "timer")]


def test_one_contact_at_a_time() -> None:
    async def scenario(siren: Siren, line: MemoryLine) -> None:
        await siren.start(Mode.STEADY, 10.0)
        await siren.start(Mode.WAIL, 10.0)
        assert (await siren.off()).ok

    line = play(RELAY, scenario)
    assert happened(line, "coil") == [
        ("relay-1", 1, "bus"),
        ("relay-1", 0, "bus"),
        ("relay-2", 1, "bus"),
        ("relay-2", 0, "bus"),
    ]


def test_off_is_tried_on_every_contact_and_twice() -> None:
    async def scenario(siren: Siren, line: MemoryLine) -> None:
        await siren.start(Mode.STEADY, 10.0)
        line.misbehaviour[2] = Misbehaviour(Fault.BAD_CRC, times=1)  # the first answer is lost, the write was done
        assert (await siren.off()).ok
        before = line.requests[2]
        line.misbehaviour[2] = Misbehaviour(Fault.DEAD)
        outcome = await siren.off()
        assert not outcome.ok
        assert outcome.reason
        assert line.requests[2] == before + 4, "two contacts, two tries each"
        line.misbehaviour.clear()

    play(RELAY, scenario)


def test_a_relay_of_this_board_with_its_feedback() -> None:
    clock = ManualClock()
    board = Board(clock)
    board.watch(lambda edge: board.drive("GPIO5", edge.high) if edge.line == "GPIO27" else None)

    async def main() -> None:
        bus = Gpio(GpioBus(type="gpio", id="pins", chip="simulated"), SimulatedChip(board), clock)
        lines = {"input": [{"channel": "amps", "line": "GPIO5"}], "output": [{"point": "horn", "line": "GPIO27"}]}
        pins = GpioDevice(DeviceSettings.model_validate({"id": "pins", "bus": "pins", **lines}), bus, clock)
        settings = {
            "id": "school",
            "device": "pins",
            "contacts": {"any": "horn"},
            "feedback": {"device": "pins", "channel": "amps", "within_s": 1.0},
            "supervision": {"mains": {"device": "pins", "channel": "amps", "good": 0}},
        }
        siren = make_siren(SirenSettings.model_validate(settings), {"pins": pins}, clock)
        await bus.open()
        await siren.open()
        assert (await siren.start(Mode.WAIL, 4.0)).ok
        await asyncio.sleep(siren.proof_within_s)
        proof = await siren.measure()
        assert proof is not None
        assert (proof.sounding, proof.source) == (True, "pins/amps")
        await asyncio.sleep(4.0)
        status = await siren.status()
        assert status.proof is not None
        assert status.proof.sounding is False
        assert status.supervised["mains"].good is True
        await siren.close()
        await bus.close()

    run_virtual(main(), clock)
    horn = [(edge.high, edge.at_ns) for edge in board.record if edge.line == "GPIO27"]
    assert [high for high, _ in horn] == [True, False]
    assert horn[1][1] - horn[0][1] == pytest.approx(4e9, abs=1e6)


def test_misuse_is_refused() -> None:
    async def scenario(siren: Siren, line: MemoryLine) -> None:
        assert not siren.can_sound(Mode.VOICE, 1.0)
        assert siren.own_end_s(Mode.VOICE, 1.0) is None
        with pytest.raises(ConfigError, match="no mode voice"):
            await siren.start(Mode.VOICE, 1.0)
        for hold_s in (0.0, -1.0, 300.5):
            with pytest.raises(ConfigError):
                await siren.start(Mode.STEADY, hold_s)

    line = play(RELAY, scenario)
    assert not happened(line, "coil")


@pytest.mark.parametrize(
    ("siren", "says"),
    [
        ({"device": "nobody"}, "no device 'nobody'"),
        ({"device": "relays"}, "contacts ="),
        ({"device": "relays", "contacts": {"any": "relay-9"}}, "no relay 'relay-9'"),
        ({"device": "informer", "feedback": {"device": "relays", "channel": "x"}}, "no channel 'x'"),
        ({"device": "informer", "sound": [{"mode": "voice", "own_end_s": 9}]}, "its function or its message"),
        ({"device": "relays", "contacts": {"any": "relay-1"}, "sound": [SOUNDS[0]]}, "not to contacts"),
        (
            {"device": "relays", "contacts": {"wail": "relay-1"}, "sound": [{"mode": "steady", "own_end_s": 9}]},
            "no contact sounds steady",
        ),
        ({"device": "informer", "supervision": {"door": {"device": "x", "channel": "x"}}}, "no device 'x'"),
    ],
)
def test_a_siren_that_cannot_be_is_refused(siren: dict[str, object], says: str) -> None:
    async def scenario(_: Siren, line: MemoryLine) -> None:
        raise AssertionError("not reached")

    with pytest.raises(ConfigError, match=says):
        play(siren, scenario)
