"""Contacts and relays: debounce, the simulated board in and out of process, and the two real drivers over stand-in libraries."""

import asyncio
import json
import os
import sys
import types
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import gpiod
import pytest
from gpiod.line import Value
from hypothesis import given
from hypothesis import strategies as st

from cython_ext.clock import SystemClock
from cython_ext.errors import ConfigError
from cython_ext.model import Status
from firmware_bridge.driver import Reading
from firmware_bridge.gpio.chip import Chip, InputLine, OutputLine
from firmware_bridge.gpio.debounce import Debounce
from firmware_bridge.gpio.device import Gpio, GpioDevice
from firmware_bridge.gpio.kernel import GpiodChip
from firmware_bridge.gpio.remote import RemoteChip
from firmware_bridge.gpio.rpi import RpiChip, bcm
from firmware_bridge.gpio.simulated import Board, SimulatedChip
from firmware_bridge.settings import DeviceSettings, GpioBus
from firmware_bridge.simulators.board import SimulatedBoard
from firmware_bridge.simulators.record import Record
from firmware_bridge.simulators.settings import BoardSettings
from tests.kit.clock import ManualClock, run_virtual

LINES = {
    "input": [
        {"channel": "smoke", "line": "GPIO17", "active_low": True, "pull": "up", "debounce_s": 0.05},
        {"channel": "feedback", "line": "GPIO5"},
    ],
    "output": [{"point": "horn", "line": "GPIO27", "active_low": True}, {"point": "lamp", "line": "GPIO22"}],
}


def make(chip: Chip, clock: ManualClock | SystemClock) -> tuple[Gpio, GpioDevice]:
    bus = Gpio(GpioBus(type="gpio", id="pins", chip="simulated"), chip, clock)
    settings = DeviceSettings.model_validate({"id": "contacts", "bus": "pins", **LINES})
    return bus, GpioDevice(settings, bus, clock)


# Debounce


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 120)), max_size=100))
def test_debounce_changes_at_most_once_in_its_time(steps: list[tuple[bool, int]]) -> None:
    """Against the plain rule: the state is the last level that stood for 50."""
    debounce = Debounce(50)
    now = 0
    history: list[tuple[int, bool]] = []
    changes = []
    for level, later in steps:
        now += later
        if debounce.settle(now):
            changes.append(now)
        if not history or history[-1][1] is not level:
            history.append((now, level))
        if debounce.feed(level, now):
            changes.append(now)
        ends = [since for since, _ in history[1:]] + [now]
        stood = [one for (since, one), until in zip(history, ends, strict=True) if until - since >= 50]
        assert debounce.state is (stood[-1] if stood else None)
    assert all(b - a >= 50 for a, b in pairwise(changes))


def test_a_chattering_line_gives_one_change() -> None:
    """10 kHz for a second (F21), then still: one change."""
    clock = ManualClock()
    board = Board(clock)

    async def main() -> None:
        bus, device = make(SimulatedChip(board), clock)
        await bus.open()
        await asyncio.sleep(0.1)
        seen: list[Reading] = []
        device.watch(seen.append)
        for i in range(10_000):
            board.drive("GPIO17", bool(i % 2))
            await asyncio.sleep(0.0001)
        board.drive("GPIO17", False)
        await asyncio.sleep(0.2)
        assert [one.value for one in seen] == [1.0]
        await bus.close()

    run_virtual(main(), clock)


# The simulated board


def test_contacts_and_relays_on_a_simulated_board(tmp_path: Path) -> None:
    clock = ManualClock()
    record = tmp_path / "edges.jsonl"
    board = Board(clock, record)

    async def main() -> None:
        bus, device = make(SimulatedChip(board), clock)
        assert not bus.real
        await bus.open()
        (early, _) = await device.read()
        assert early.status is Status.MISSING, "nothing is known before the debounce time"
        await asyncio.sleep(0.06)
        assert [one.value for one in await device.read()] == [0.0, 0.0]
        seen: list[Reading] = []
        device.watch(seen.append)
        board.drive("GPIO17", False)  # active low: pressed
        await asyncio.sleep(0.04)
        assert not seen
        await asyncio.sleep(0.02)
        assert [(one.channel, one.value, one.status) for one in seen] == [("smoke", 1.0, Status.OK)]
        assert (await device.write("horn", 1)).ok
        assert board.levels["GPIO27"] is False, "active low"
        await bus.close()
        assert board.levels["GPIO27"] is True, "off at close"
        (after,) = await device.read(["smoke"])
        assert after.status is Status.MISSING
        assert not (await device.write("horn", 1)).ok

    run_virtual(main(), clock)
    edges = [json.loads(one) for one in record.read_text().splitlines()]
    assert [(one["line"], one["high"], one["by"]) for one in edges] == [
        ("GPIO17", False, "world"),
        ("GPIO27", False, "holder"),
        ("GPIO27", True, "release"),
    ]
    assert edges == sorted(edges, key=lambda one: one["at_ns"])


def test_a_lost_edge_is_made_good_by_the_level() -> None:
    clock = ManualClock()
    board = Board(clock)

    async def main() -> None:
        bus, device = make(SimulatedChip(board), clock)
        await bus.open()
        await asyncio.sleep(0.1)
        board.levels["GPIO17"] = False  # the level changes, and nobody tells
        await device.read(["smoke"])
        await asyncio.sleep(0.06)
        (reading,) = await device.read(["smoke"])
        assert reading.value == 1.0
        await bus.close()

    run_virtual(main(), clock)


def test_a_relay_is_off_at_open_and_falls_off_when_its_time_is_over() -> None:
    clock = ManualClock()
    board = Board(clock)
    board.levels["GPIO22"] = True  # left on by whoever was before

    async def main() -> None:
        bus, device = make(SimulatedChip(board), clock)
        await bus.open()
        assert board.levels["GPIO22"] is False
        assert (await device.pulse("lamp", 1.0)).ok
        await asyncio.sleep(0.99)
        assert board.levels["GPIO22"] is True
        await asyncio.sleep(0.02)
        assert board.levels["GPIO22"] is False
        await device.pulse("lamp", 1.0)
        await device.write("lamp", 1)  # a plain on ends the timer
        await asyncio.sleep(2.0)
        assert board.levels["GPIO22"] is True
        with pytest.raises(ConfigError):
            await device.pulse("lamp", 301.0)
        with pytest.raises(ConfigError):
            await device.write("bell", 1)
        with pytest.raises(ConfigError):
            await device.read(["bell"])
        await bus.close()

    run_virtual(main(), clock)


def test_two_devices_cannot_share_a_line() -> None:
    clock = ManualClock()
    bus, _ = make(SimulatedChip(Board(clock)), clock)
    with pytest.raises(ConfigError, match="GPIO17"):
        GpioDevice(DeviceSettings.model_validate({"id": "other", "bus": "pins", **LINES}), bus, clock)


async def test_a_board_in_another_process_lets_go_when_its_holder_dies(tmp_path: Path) -> None:
    clock = SystemClock()
    record = Record()
    settings = BoardSettings.model_validate({"id": "contacts", "socket": "board.sock", **LINES})
    board = SimulatedBoard(settings, tmp_path / "board.sock", record, clock)
    happened: asyncio.Queue[tuple[str, float, str]] = asyncio.Queue()
    record.watch(lambda entry: happened.put_nowait((entry.name, entry.value, entry.by)))
    await board.open()
    chip = RemoteChip(str(tmp_path / "board.sock"))
    bus, device = make(chip, clock)
    changed: asyncio.Queue[Reading] = asyncio.Queue()
    device.watch(changed.put_nowait)
    await bus.open()
    first = {(await changed.get()).channel for _ in range(2)}  # both contacts have settled
    assert first == {"smoke", "feedback"}
    assert (await device.write("horn", 1)).ok
    assert await happened.get() == ("horn", 1, "bus")
    board.drive("smoke", True)
    assert (await changed.get()).value == 1.0
    rival, _ = make(RemoteChip(str(tmp_path / "board.sock")), clock)
    await rival.open()
    assert "taken" in rival.health().reason
    await rival.close()
    assert chip._writer is not None
    chip._writer.transport.abort()  # as a killed node's socket ends
    while (await happened.get()) != ("horn", 0, "release"):
        pass
    assert board.active("horn") is False
    await board.close()
    (reading,) = await device.read(["smoke"])
    assert reading.status is Status.MISSING
    await bus.close()


async def test_without_a_simulator_there_is_trouble_and_no_fallback(tmp_path: Path) -> None:
    bus, device = make(RemoteChip(str(tmp_path / "nobody.sock")), SystemClock())
    await bus.open()
    assert not bus.health().connected
    assert all(one.status is Status.MISSING for one in await device.read())
    assert not (await device.write("horn", 0)).ok
    await bus.close()


# The real drivers, over stand-ins for the libraries that only work on a board.


class FakeRpi(types.ModuleType):
    """The part of the RPi.GPIO interface that is used, with its behaviour where it matters."""

    BCM, OUT, IN, HIGH, LOW, BOTH = 11, 0, 1, 1, 0, 33
    PUD_OFF, PUD_UP, PUD_DOWN = 20, 22, 21

    def __init__(self) -> None:
        super().__init__("RPi.GPIO")
        self.levels: dict[int, int] = {}
        self.callbacks: dict[int, object] = {}
        self.log: list[tuple[object, ...]] = []

    def setwarnings(self, on: bool) -> None: ...

    def setmode(self, mode: int) -> None:
        assert mode == self.BCM

    def setup(self, number: int, direction: int, initial: int | None = None, pull_up_down: int | None = None) -> None:
        if number in self.levels:
            raise RuntimeError("GPIO busy")
        self.levels[number] = initial if direction == self.OUT else int(pull_up_down == self.PUD_UP)
        self.log.append(("setup", number, direction, initial))

    def add_event_detect(self, number: int, edge: int, callback: object) -> None:
        self.callbacks[number] = callback

    def input(self, number: int) -> int:
        return self.levels[number]

    def output(self, number: int, level: int) -> None:
        self.levels[number] = int(level)
        self.log.append(("output", number, int(level)))

    def cleanup(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self.levels.pop(number, None)
        self.log.append(("cleanup", tuple(numbers)))

    def press(self, number: int, level: int) -> None:
        self.levels[number] = level
        self.callbacks[number](number)  # type: ignore[operator]


async def test_the_rpi_gpio_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRpi()
    monkeypatch.setitem(sys.modules, "RPi", types.ModuleType("RPi"))
    monkeypatch.setitem(sys.modules, "RPi.GPIO", fake)
    bus, device = make(RpiChip(SystemClock()), SystemClock())
    assert bus.real
    changed: asyncio.Queue[Reading] = asyncio.Queue()
    device.watch(changed.put_nowait)
    await bus.open()
    assert ("setup", 27, fake.OUT, 1) in fake.log, "an active-low relay rests high, from the first moment"
    assert ("setup", 22, fake.OUT, 0) in fake.log
    for _ in range(2):
        await changed.get()
    await asyncio.to_thread(fake.press, 17, 0)  # edges come in the library's own thread
    assert (await changed.get()) == Reading("smoke", 1.0, Status.OK, pytest.approx(0, abs=1e30), (1,))  # type: ignore[arg-type]
    await device.write("horn", 1)
    assert fake.levels[27] == 0
    await bus.close()
    assert fake.log[-3:] == [("output", 27, 1), ("output", 22, 0), ("cleanup", (27, 22, 17, 5))]


async def test_off_a_pi_the_rpi_driver_says_so() -> None:
    bus, device = make(RpiChip(SystemClock()), SystemClock())
    await bus.open()
    assert "rpi-lgpio" in bus.health().reason
    assert (await device.read(["smoke"]))[0].status is Status.MISSING


@pytest.mark.parametrize("name", ["GPIO28", "x", "", "GPIO", "-1"])
def test_a_line_that_no_pi_has(name: str) -> None:
    with pytest.raises(ConfigError):
        bcm(name)


EDGE = {True: gpiod.EdgeEvent.Type.RISING_EDGE, False: gpiod.EdgeEvent.Type.FALLING_EDGE}


class FakeRequest:
    """gpiod's line request, without a kernel."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.fd, self._writer = os.pipe()
        self.values = {name: one.output_value for name, one in config.items()}
        self.events: list[object] = []
        self.released = False

    def get_value(self, name: str) -> object:
        return self.values[name]

    def set_value(self, name: str, value: object) -> None:
        self.values[name] = value

    def happen(self, offset: int, rising: bool, at_ns: int) -> None:
        self.events.append(types.SimpleNamespace(line_offset=offset, event_type=EDGE[rising], timestamp_ns=at_ns))
        os.write(self._writer, b"x")

    def read_edge_events(self, most: int) -> list[object]:
        os.read(self.fd, most)
        events, self.events = self.events, []
        return events

    def release(self) -> None:
        self.released = True
        os.close(self.fd)
        os.close(self._writer)


def fake_chips(boards: dict[str, tuple[str, list[str]]]) -> type:
    """gpiod.Chip over `boards`: path → label and line names."""

    class FakeChip:
        def __init__(self, path: str) -> None:
            self.label, self.lines = boards[path]

        def __enter__(self) -> "FakeChip":
            return self

        def __exit__(self, *_: object) -> None: ...

        def get_info(self) -> object:
            return types.SimpleNamespace(label=self.label)

        def line_offset_from_id(self, name: str) -> int:
            if name not in self.lines:
                raise OSError("no such line")
            return self.lines.index(name)

    return FakeChip


async def test_gpiod_finds_lines_by_name_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    boards = {
        f"{tmp_path}/gpiochip4": ("pinctrl-other", ["GPIO17"]),
        f"{tmp_path}/gpiochip11": ("pinctrl-rp1", ["GPIO17", "GPIO5", "GPIO27"]),
    }
    for path in boards:
        Path(path).touch()
    requested: dict[str, dict[str, Any]] = {}
    made: list[FakeRequest] = []

    def request_lines(path: str, config: dict[str, Any], consumer: str) -> FakeRequest:
        assert consumer == "bucium"
        requested[path] = config
        made.append(FakeRequest(config))
        return made[-1]

    monkeypatch.setattr(gpiod, "Chip", fake_chips(boards))
    monkeypatch.setattr(gpiod, "is_gpiochip_device", lambda path: True)
    monkeypatch.setattr(gpiod, "request_lines", request_lines)
    chip = GpiodChip("pinctrl-rp1", str(tmp_path))
    inputs = [InputLine("GPIO17", "up", 50_000_000), InputLine("GPIO5")]
    edges: asyncio.Queue[tuple[str, bool, int]] = asyncio.Queue()
    await chip.open(inputs, [OutputLine("GPIO27", rest=True)], lambda *edge: edges.put_nowait(edge))
    assert list(requested) == [f"{tmp_path}/gpiochip11"], "the labelled chip, whatever its number"
    config = requested[f"{tmp_path}/gpiochip11"]
    assert config["GPIO17"].debounce_period.total_seconds() == 0.05
    assert config["GPIO27"].output_value is Value.ACTIVE
    made[0].happen(1, True, 77)
    assert await edges.get() == ("GPIO5", True, 77), "the kernel's own stamp"
    await chip.write("GPIO27", False)
    assert await chip.read("GPIO27") is False
    await chip.close()
    assert made[0].values["GPIO27"] is Value.ACTIVE, "at rest again"
    assert made[0].released
    with pytest.raises(OSError, match="not open"):
        await chip.read("GPIO17")
    with pytest.raises(OSError, match="GPIO99"):
        await GpiodChip("", str(tmp_path)).open([InputLine("GPIO99")], [], lambda *edge: None)
