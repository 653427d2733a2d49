"""Wiring from configuration: real hardware refuses the DEMO root, simulated is checked to be so, misuse has one clear line."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from cython_ext.errors import ConfigError
from firmware_bridge.factory import Bridge
from firmware_bridge.settings import BusSettings, DeviceSettings, SirenSettings
from tests.kit.clock import ManualClock, run_virtual

BUS: TypeAdapter[BusSettings] = TypeAdapter(BusSettings)
TCP = {"type": "modbus-tcp", "id": "river", "host": "127.0.0.1", "port": 1502, "simulated": True}
RTU = {"type": "modbus-rtu", "id": "serial", "device": "tty", "simulated": True}
PINS = {"type": "gpio", "id": "pins", "chip": "simulated"}
CONTACTS = {"id": "contacts", "bus": "pins", "input": [{"channel": "smoke", "line": "GPIO17"}]}


def bridge(
    buses: Sequence[dict[str, object]],
    devices: Sequence[dict[str, object]] = (),
    sirens: Sequence[dict[str, object]] = (),
    base: Path | None = None,
) -> Bridge:
    return Bridge(
        [BUS.validate_python(one) for one in buses],
        [DeviceSettings.model_validate(one) for one in devices],
        [SirenSettings.model_validate(one) for one in sirens],
        clock=ManualClock(),
        base=base,
    )


@pytest.mark.parametrize(
    "real",
    [
        {**TCP, "simulated": False},
        {"type": "modbus-tcp", "id": "river", "host": "10.0.0.7"},
        {"type": "modbus-rtu", "id": "serial", "device": "/dev/ttyUSB0"},
        {"type": "gpio", "id": "pins", "chip": "rpi"},
        {"type": "gpio", "id": "pins", "chip": "gpiod"},
    ],
)
def test_real_drivers_refuse_a_demo_plan(real: dict[str, object]) -> None:
    one = bridge([real])
    with pytest.raises(ConfigError, match="real hardware"):
        one.require_real_allowed("DEMO")
    one.require_real_allowed("county-of-iasi")


def test_simulated_drivers_take_a_demo_plan() -> None:
    bridge([TCP, RTU, PINS]).require_real_allowed("DEMO")


def test_a_line_that_only_says_it_is_simulated_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "tty").symlink_to("/dev/null")
    device = {"id": "rain", "bus": "serial", "profile": "sonbest-xm9505"}

    async def main() -> None:
        one = bridge([RTU], [device], base=tmp_path)
        await one.open()
        (reading, *_) = await one.devices["rain"].read()
        assert "not a pseudo-terminal" in reading.reason
        await one.close()

    run_virtual(main())


@pytest.mark.parametrize(
    ("bus", "says"),
    [
        ({**TCP, "host": "10.0.0.7"}, "loopback"),
        ({**TCP, "prot": 502}, "prot"),
        ({**TCP, "timeout_s": 0}, "timeout_s"),
        ({**TCP, "timeout_s": 60}, "timeout_s"),
        ({**RTU, "parity": "mark"}, "parity"),
        ({**RTU, "baud": 0}, "baud"),
        ({**PINS, "chip": "mock"}, "chip"),
        ({**PINS, "chip": "rpi", "socket": "x"}, "simulated"),
        ({**PINS, "label": "pinctrl"}, "gpiod"),
        ({**PINS, "socket": "x", "record": "y"}, "record"),
        ({**PINS, "id": "Pins"}, "an id is"),
        ({"type": "can", "id": "x"}, "can"),
    ],
)
def test_a_bad_bus_is_refused(bus: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        BUS.validate_python(bus)


@pytest.mark.parametrize(
    ("device", "says"),
    [
        ({"id": "x", "bus": "river"}, "either a profile"),
        ({**CONTACTS, "profile": "vegapuls"}, "either a profile"),
        ({**CONTACTS, "unit": 3}, "Modbus"),
        ({**CONTACTS, "output": [{"point": "horn", "line": "GPIO17"}]}, "used twice"),
        ({**CONTACTS, "output": [{"point": "smoke", "line": "GPIO18"}]}, "used twice"),
        ({"id": "x", "bus": "river", "profile": "vegapuls", "unit": 300}, "unit"),
    ],
)
def test_a_bad_device_is_refused(device: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        DeviceSettings.model_validate(device)


GAUGE = {"id": "gauge", "bus": "river", "profile": "vegapuls"}


@pytest.mark.parametrize(
    ("devices", "sirens", "says"),
    [
        ([{**GAUGE, "bus": "rivr"}], [], "'rivr', which is not configured"),
        ([GAUGE, GAUGE], [], "two devices have the id gauge"),
        ([{**GAUGE, "bus": "pins"}], [], "gpio bus has inputs"),
        ([{**CONTACTS, "bus": "river"}], [], "gpio bus has inputs"),
        ([{**GAUGE, "profile": "vega"}], [], "there is no profile 'vega'"),
        ([{**GAUGE, "unit": 0}], [], "broadcast"),
        (
            [{**GAUGE, "id": name, "unit": 1, "profile": "delta-ohm-hd2016"} for name in ("one", "two")],
            [],
            "only one may read it",
        ),
        ([GAUGE], [{"id": "school", "device": "gauge"}], "not a siren controller"),
    ],
)
def test_wiring_that_cannot_be_is_refused(
    devices: list[dict[str, object]], sirens: list[dict[str, object]], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        bridge([TCP, PINS], devices, sirens)


@pytest.mark.parametrize(("chip", "line"), [("gpiod", "17"), ("rpi", "GPIO99"), ("rpi", "PIN")])
def test_lines_are_named_as_their_chip_names_them(chip: str, line: str) -> None:
    contacts = {"id": "contacts", "bus": "pins", "input": [{"channel": "smoke", "line": line}]}
    with pytest.raises(ConfigError, match=line):
        bridge([{**PINS, "chip": chip}], [contacts])


LOADED = """
import resource, sys
from cython_ext.clock import SystemClock
from firmware_bridge.factory import Bridge
from firmware_bridge.settings import ModbusTcpBus, DeviceSettings
Bridge([ModbusTcpBus(type="modbus-tcp", id="b", host="127.0.0.1", simulated=True)],
       [DeviceSettings(id="d", bus="b", profile="vegapuls")], clock=SystemClock())
print(*sorted(sys.modules))
"""


def test_a_modbus_node_loads_no_gpio_library_no_server_and_no_simulator() -> None:
    root = Path(__file__).parents[2]
    out = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True, cwd=root).stdout
    loaded = set(out.split())
    assert "firmware_bridge.modbus.bus" in loaded
    for unwanted in ("gpiod", "RPi", "RPi.GPIO", "pymodbus.client", "firmware_bridge.simulators", "rich", "typer"):
        assert unwanted not in loaded, unwanted
