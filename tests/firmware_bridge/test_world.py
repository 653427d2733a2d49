"""The simulated world over real sockets and pseudo-terminals, in one process and in two."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cython_ext.clock import SystemClock
from cython_ext.errors import ConfigError
from cython_ext.model import Status
from firmware_bridge import technician
from firmware_bridge.factory import Bridge
from firmware_bridge.modbus.bus import ModbusBus
from firmware_bridge.profile import load
from firmware_bridge.settings import DeviceSettings, GpioBus, ModbusRtuBus, ModbusTcpBus, SirenSettings
from firmware_bridge.simulators import control
from firmware_bridge.simulators.faults import Fault, Misbehaviour, misbehaviour
from firmware_bridge.simulators.line import PtyLine
from firmware_bridge.simulators.record import Entry
from firmware_bridge.simulators.world import Simulation, load_world
from firmware_bridge.sirens.mode import Mode
from lanes.control import ControlError, ask

WORLD = """\
control = "world.sock"
record = "record.jsonl"

[[line]]
type = "tcp"
id = "river"

[[line]]
type = "pty"
id = "serial"
link = "tty-serial"

[[device]]
id = "gauge"
line = "river"
profile = "vegapuls"
initial = { level = 1.5 }

[[device]]
id = "informer"
line = "river"
profile = "federal-informer"
[[device.function]]
code = 1
tone = "steady"
length_s = 5.0

[[device]]
id = "rain"
line = "serial"
profile = "sonbest-xm9505"

[[device]]
id = "relays"
line = "serial"
unit = 2
profile = "waveshare-relay8"

[[board]]
id = "contacts"
socket = "pins.sock"
input = [{ channel = "smoke", line = "GPIO17", active_low = true, pull = "up" }, { channel = "amps", line = "GPIO5" }]
output = [{ point = "horn", line = "GPIO27" }]

[[wire]]
from = "contacts/horn"
to = "contacts/amps"
delay_s = 0.01
"""
CONTACTS = {
    "id": "contacts",
    "bus": "pins",
    "input": [
        {"channel": "smoke", "line": "GPIO17", "active_low": True, "pull": "up", "debounce_s": 0.01},
        {"channel": "amps", "line": "GPIO5", "debounce_s": 0.0},
    ],
    "output": [{"point": "horn", "line": "GPIO27"}],
}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Simulation]:
    (tmp_path / "world.toml").write_text(WORLD)
    async with Simulation(load_world(tmp_path / "world.toml"), clock=SystemClock(), base=tmp_path) as made:
        yield made


def node(base: Path, port: int, *, timeout_s: float = 0.5, probe_s: float = 0.5) -> Bridge:
    """A node over the whole world."""
    tcp = ModbusTcpBus(
        type="modbus-tcp", id="river", host="127.0.0.1", port=port, simulated=True, timeout_s=timeout_s, probe_s=probe_s
    )
    rtu = ModbusRtuBus(
        type="modbus-rtu", id="serial", device="tty-serial", simulated=True, timeout_s=timeout_s, probe_s=probe_s
    )
    gpio = GpioBus(type="gpio", id="pins", chip="simulated", socket="pins.sock")
    devices = [
        DeviceSettings(id="gauge", bus="river", profile="vegapuls"),
        DeviceSettings(id="informer", bus="river", profile="federal-informer"),
        DeviceSettings(id="rain", bus="serial", profile="sonbest-xm9505"),
        DeviceSettings(id="relays", bus="serial", unit=2, profile="waveshare-relay8"),
        DeviceSettings.model_validate(CONTACTS),
    ]
    sound = {"mode": "steady", "function": 1, "own_end_s": 5.0}
    sirens = [
        SirenSettings.model_validate({"id": "school", "device": "informer", "sound": [sound]}),
        SirenSettings.model_validate({"id": "quay", "device": "relays", "contacts": {"any": "relay-1"}}),
        SirenSettings.model_validate(
            {
                "id": "mill",
                "device": "contacts",
                "contacts": {"any": "horn"},
                "feedback": {"device": "contacts", "channel": "amps"},
            }
        ),
    ]
    return Bridge([tcp, rtu, gpio], devices, sirens, clock=SystemClock(), base=base)


def port_of(world: Simulation) -> int:
    return int(world.endpoint("river")["port"])


async def one(bridge: Bridge, device: str, channel: str) -> tuple[float, Status]:
    (reading,) = await bridge.devices[device].read([channel])
    return reading.value, reading.status


async def until_ok(bridge: Bridge, device: str, channel: str, polls: int = 50) -> float:
    """The value, within so many polls."""
    for _ in range(polls):
        value, status = await one(bridge, device, channel)
        if status is Status.OK:
            return value
        await asyncio.sleep(0.1)
    raise AssertionError(f"{device}/{channel} did not come back")


async def test_a_node_reads_and_sounds_the_whole_world(world: Simulation) -> None:
    bridge = node(world.base, port_of(world))
    bridge.require_real_allowed("DEMO")
    await bridge.open()
    world.set("gauge", "level", 3.25)
    world.set("rain", "rain", 53.6)
    world.set("contacts", "smoke", 1)
    assert (await one(bridge, "gauge", "level"))[0] == pytest.approx(3.25)
    assert (await one(bridge, "rain", "rain"))[0] == pytest.approx(53.6)
    assert await until_ok(bridge, "contacts", "smoke") in (0.0, 1.0)
    for _ in range(50):
        if await one(bridge, "contacts", "smoke") == (1.0, Status.OK):
            break
        await asyncio.sleep(0.01)
    else:
        raise AssertionError("the pressed contact was not seen")
    for siren in bridge.sirens.values():
        assert (await siren.start(Mode.STEADY, 5.0)).ok
    horn_on = [(entry.device, entry.name) for entry in world.record if entry.value == 1 and entry.what != "register"]
    assert {("informer", "steady"), ("relays", "relay-1"), ("contacts", "horn")} <= set(horn_on)
    await bridge.close()
    last = {(entry.device, entry.name): entry.value for entry in world.record if entry.what != "register"}
    assert [last[key] for key in (("informer", "steady"), ("relays", "relay-1"), ("contacts", "horn"))] == [0, 0, 0]
    recorded = [json.loads(text) for text in (world.base / "record.jsonl").read_text().splitlines()]
    assert len(recorded) == len(world.record)


async def test_a_server_that_restarts_is_found_again(world: Simulation) -> None:
    bridge = node(world.base, port_of(world))
    await bridge.open()
    assert (await one(bridge, "gauge", "level"))[1] is Status.OK
    await world.cut("river")
    value, status = await one(bridge, "gauge", "level")
    assert status is Status.MISSING
    assert value != value
    await world.mend("river")
    assert await until_ok(bridge, "gauge", "level") == pytest.approx(1.5)
    await bridge.close()


async def test_a_serial_line_that_is_pulled_and_plugged_is_found_again(world: Simulation) -> None:
    bridge = node(world.base, port_of(world))
    await bridge.open()
    assert (await one(bridge, "rain", "rain"))[1] is Status.OK
    await world.cut("serial")
    assert (await one(bridge, "rain", "rain"))[1] is Status.MISSING
    await world.mend("serial")
    assert await until_ok(bridge, "rain", "rain") == 0.0
    await bridge.close()


@pytest.mark.parametrize("fault", [Fault.STRAY, Fault.TAIL])
async def test_stray_bytes_on_a_real_pty(world: Simulation, fault: Fault) -> None:
    """pymodbus alone: 0 of 20 polls with one stray byte in front."""
    bridge = node(world.base, port_of(world))
    await bridge.open()
    world.set("rain", "rain", 53.6)
    world.fault("rain", fault)
    for _ in range(20):
        assert await one(bridge, "rain", "rain") == (pytest.approx(53.6), Status.OK)
    await bridge.close()


async def test_noise_between_polls_on_a_real_pty(world: Simulation) -> None:
    bridge = node(world.base, port_of(world))
    await bridge.open()
    line = world.lines["serial"]
    assert isinstance(line, PtyLine)
    for _ in range(20):
        line.babble(b"\xff\x01\x03\x02")
        assert (await one(bridge, "rain", "rain"))[1] is Status.OK
    await bridge.close()


async def test_dead_devices_on_a_real_line_do_not_stop_the_living(world: Simulation) -> None:
    bridge = node(world.base, port_of(world), timeout_s=0.25, probe_s=2.0)
    await bridge.open()
    world.fault("rain", Fault.DEAD)
    world.fault("informer", Fault.DEAD)
    for _ in range(30):
        await bridge.devices["rain"].read()
        await bridge.devices["informer"].read()
        assert (await one(bridge, "relays", "relay-1"))[1] is Status.OK
        assert (await one(bridge, "gauge", "level"))[1] is Status.OK
    assert world.requests("rain") < 15
    assert bridge.buses["river"].health().reconnects == 1
    world.fault("rain", Fault.NONE)
    await until_ok(bridge, "rain", "rain", 100)
    await bridge.close()


async def test_a_cut_wire_and_a_mute_controller_are_found_out(world: Simulation) -> None:
    bridge = node(world.base, port_of(world))
    await bridge.open()
    world.fail("contacts/amps", "cut")
    world.fail("informer", "mute")
    for name in ("mill", "school"):
        siren = bridge.sirens[name]
        assert (await siren.start(Mode.STEADY, 5.0)).ok
        await asyncio.sleep(0.3)
        proof = await siren.measure()
        assert proof is not None
        assert proof.sounding is False
    await bridge.close()


async def test_trouble_that_a_device_reports(world: Simulation) -> None:
    bridge = node(world.base, port_of(world))
    await bridge.open()
    world.trouble("gauge", "level", "device-fault")
    (reading,) = await bridge.devices["gauge"].read(["level"])
    assert reading.status is Status.DEVICE_FAULT
    assert reading.value == pytest.approx(1.5), "the value is kept beside what the device says of it"
    world.trouble("gauge", "level", "device-fault", on=False)
    assert (await one(bridge, "gauge", "level"))[1] is Status.OK
    await bridge.close()


async def test_a_technician_scans_reads_and_watches(world: Simulation) -> None:
    bridge = node(world.base, port_of(world), timeout_s=0.2)
    await bridge.open()
    bus = bridge.buses["serial"]
    assert isinstance(bus, ModbusBus)
    found = [here async for here in technician.scan(bus, range(1, 6))]
    assert [(here.unit, here.how.split(":")[0]) for here in found] == [(1, "answers"), (2, "the device refused")]
    by_profile = [here.unit async for here in technician.scan(bus, range(1, 6), load("waveshare-relay8"))]
    assert by_profile == [1, 2]
    await asyncio.sleep(0.2)  # the quiet after a silence
    gauge = technician.device(bus, load("sonbest-xm9505"), SystemClock(), unit=1)
    world.set("rain", "rain", 53.6)
    rows = await technician.read(gauge)
    assert (rows[0].channel, rows[0].unit, rows[0].quality, rows[0].raw) == ("rain", "mm", "ok", (536,))
    assert rows[0].value == pytest.approx(53.6)
    watching = technician.watch(gauge, ["rain"], period_s=0.01)
    for value in (60.0, 61.0):
        world.set("rain", "rain", value)
        assert (await anext(watching))[0].value == pytest.approx(value)
    world.fault("rain", Fault.DEAD)
    assert (await technician.read(gauge, ["rain"]))[0].quality == "missing"
    with pytest.raises(ConfigError):
        await technician.read(gauge, ["snow"])
    await bridge.close()


async def test_a_technician_leaves_a_clearing_register_alone() -> None:
    from tests.kit.clock import ManualClock
    from tests.kit.modbus import MemoryLine

    line = MemoryLine(ManualClock())
    line.add("delta-ohm-hd2016", 1).memory.set("rain-partial", 2.0)
    bus = line.bus()
    await bus.open()
    gauge = technician.device(bus, load("delta-ohm-hd2016"), line.clock, unit=1)
    assert "rain-partial" not in [one.channel for one in await technician.read(gauge)]
    assert line.units[1].memory.tables[4][3] == 2000
    rows = await technician.read(gauge, ["rain-partial"], destructive=True)
    assert rows[0].value == pytest.approx(2.0)
    await bus.close()


async def test_the_world_as_a_process_under_its_control_socket(tmp_path: Path) -> None:
    (tmp_path / "world.toml").write_text(WORLD)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "firmware_bridge.simulators",
        "--config",
        str(tmp_path / "world.toml"),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    ready = json.loads(await process.stdout.readline())["ready"]
    socket = tmp_path / "world.sock"

    async def tell(verb: str, **args: object) -> dict[str, object]:
        result: dict[str, object] = await asyncio.to_thread(ask, socket, verb, **args)
        return result

    bridge = node(tmp_path, ready["river"]["port"])
    await bridge.open()
    assert (await tell("endpoints"))["river"] == ready["river"]
    await tell("set", device="gauge", channel="level", value=4.0)
    assert (await one(bridge, "gauge", "level"))[0] == pytest.approx(4.0)
    await tell("fault", device="gauge", fault="bad-crc", times=1)
    assert (await one(bridge, "gauge", "level"))[1] is Status.MISSING
    await tell("fail", device="informer", how="mute")
    await tell("trouble", device="gauge", channel="level", means="device-fault")
    assert (await one(bridge, "gauge", "level"))[1] is Status.DEVICE_FAULT
    assert (await bridge.sirens["quay"].start(Mode.STEADY, 5.0)).ok
    page = await tell("record", since=0)
    entries = page["entries"]
    assert isinstance(entries, list)
    assert page["next"] == len(entries)
    assert any(entry["name"] == "relay-1" and entry["value"] == 1 for entry in entries)
    for verb, args in (
        ("set", {"device": "nobody", "channel": "level", "value": 1}),
        ("set", {"device": "gauge", "channel": "level", "value": "high"}),
        ("fault", {"device": "gauge", "fault": "tired"}),
        ("cut", {"line": "nowhere"}),
    ):
        with pytest.raises(ControlError):
            await tell(verb, **args)
    await bridge.close()
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0
    assert not (tmp_path / "tty-serial").is_symlink()


async def test_the_record_is_told_in_pages(world: Simulation) -> None:
    for number in range(control.ENTRIES_MOST + 10):
        world.record.add(Entry(number, "x", "coil", "relay-1", number % 2, "bus"))
    first = await asyncio.to_thread(ask, world.base / "world.sock", "record", since=0)
    rest = await asyncio.to_thread(ask, world.base / "world.sock", "record", since=first["next"])
    numbers = [entry["at_ns"] for entry in first["entries"] + rest["entries"]]
    assert numbers == list(range(control.ENTRIES_MOST + 10))
    assert rest["next"] == len(world.record)


def test_a_bad_world_is_refused(tmp_path: Path) -> None:
    for change, says in (
        (('line = "river"\nprofile = "vegapuls"', 'line = "rivr"\nprofile = "vegapuls"'), "'rivr'"),
        (('to = "contacts/amps"', 'to = "nobody/amps"'), "nobody"),
        (("[[wire]]", "[[wires]]"), "did you mean 'wire'"),
    ):
        (tmp_path / "world.toml").write_text(WORLD.replace(*change))
        with pytest.raises(ConfigError) as refusal:
            load_world(tmp_path / "world.toml")
        assert says in str(refusal.value)
    (tmp_path / "world.toml").write_text(WORLD.replace('to = "contacts/amps"', 'to = "contacts/volts"'))
    with pytest.raises(ConfigError, match="volts"):
        Simulation(load_world(tmp_path / "world.toml"), clock=SystemClock(), base=tmp_path)


def test_misbehaviour_from_words() -> None:
    assert misbehaviour("slow", delay_s=0.5, times=2) == Misbehaviour(Fault.SLOW, 0.5, times=2)
    with pytest.raises(ConfigError, match="bad-crc"):
        misbehaviour("tired")
    with pytest.raises(ConfigError):
        misbehaviour("dead", volume=11)
