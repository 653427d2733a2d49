"""Relays that a process of their own holds: off in time though the node stands still, though it is killed, whatever dies."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import types
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import gpiod
import pytest
from gpiod.line import Value

from cython_ext.clock import SystemClock
from firmware_bridge.factory import open_bus
from firmware_bridge.gpio import keeper
from firmware_bridge.gpio.chip import OutputLine
from firmware_bridge.gpio.device import Gpio, GpioDevice
from firmware_bridge.gpio.kept import KeptChip
from firmware_bridge.gpio.kernel import GpiodChip
from firmware_bridge.gpio.rpi import RpiChip
from firmware_bridge.settings import DeviceSettings, GpioBus

LIMIT_S = 30.0
# The RPi.GPIO interface as a library of its own, for processes: each act goes into a file. A line called "busy" cannot be taken.
LIBRARY = """
import os
BCM, OUT, IN, HIGH, LOW, BOTH, PUD_OFF, PUD_UP, PUD_DOWN = 11, 0, 1, 1, 0, 33, 20, 22, 21
def log(*what):
    with open(os.environ["GPIO_LOG"], "a") as file:
        file.write(" ".join(map(str, what)) + "\\n")
def setwarnings(on): pass
def setmode(mode): pass
def setup(number, direction, initial=None, pull_up_down=None):
    if os.path.exists(os.environ["GPIO_LOG"] + ".busy"):
        raise RuntimeError("GPIO busy")
    log("taken", number, initial)
def output(number, level):
    if level and os.path.exists(os.environ["GPIO_LOG"] + ".broken"):
        raise RuntimeError("no current")
    log("set", number, int(level))
def input(number): return 0
def cleanup(numbers): pass
def add_event_detect(*a, **k): pass
"""
# A node in small: it opens its relays, closes one for a while, and is then what its argument says.
NODE = """
import asyncio, os, signal, sys
from cython_ext.clock import SystemClock
from firmware_bridge.gpio.chip import OutputLine
from firmware_bridge.gpio.kept import KeptChip
from firmware_bridge.gpio.rpi import RpiChip
async def main():
    chip = KeptChip(RpiChip(SystemClock()))
    await chip.open([], [OutputLine("GPIO27"), OutputLine("GPIO22", rest=True)], lambda *_: None)
    await chip.write_for("GPIO27", True, float(sys.argv[2]))
    print(chip._process.pid, flush=True)
    os.kill(os.getpid(), getattr(signal, sys.argv[1]))
asyncio.run(main())
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What was done to the lines. Every process that begins now has the stand-in library."""
    (tmp_path / "RPi").mkdir()
    (tmp_path / "RPi" / "__init__.py").touch()
    (tmp_path / "RPi" / "GPIO.py").write_text(LIBRARY)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])]))
    monkeypatch.setenv("GPIO_LOG", str(tmp_path / "log"))
    (tmp_path / "log").touch()
    return tmp_path / "log"


@pytest.fixture
async def chip(log: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[KeptChip]:
    monkeypatch.setitem(sys.modules, "RPi", types.ModuleType("RPi"))
    monkeypatch.setitem(sys.modules, "RPi.GPIO", _inputs_only())
    chip = KeptChip(RpiChip(SystemClock()))
    yield chip
    await chip.close()


def _inputs_only() -> types.ModuleType:
    """The library in this process, which must not touch an output any more."""
    found = types.ModuleType("RPi.GPIO")
    for name in ("setwarnings", "setmode", "cleanup"):
        setattr(found, name, lambda *_: None)
    found.BCM, found.PUD_OFF, found.PUD_UP, found.PUD_DOWN = 11, 20, 22, 21  # type: ignore[attr-defined]
    return found


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await asyncio.sleep(0.01)


def done(log: Path) -> list[str]:
    return log.read_text().splitlines()


def outputs() -> list[OutputLine]:
    return [OutputLine("GPIO27"), OutputLine("GPIO22", rest=True)]


async def test_it_takes_the_lines_at_rest_sets_them_and_ends_what_has_a_time(chip: KeptChip, log: Path) -> None:
    await chip.open([], outputs(), lambda *_: None)
    assert done(log) == ["taken 27 0", "taken 22 1"]
    await chip.write("GPIO22", False)
    assert (await chip.read("GPIO22"), await chip.read("GPIO27")) == (False, False)
    await chip.write_for("GPIO27", True, 300)
    await chip.write_for("GPIO27", True, 0.05)  # the last word counts
    await until(lambda: len(done(log)) == 6)
    assert done(log)[2:] == ["set 22 0", "set 27 1", "set 27 1", "set 27 0"]
    await chip.write_for("GPIO27", True, 0.05)
    await chip.write("GPIO27", True)  # a plain on has no end
    await asyncio.sleep(0.2)
    assert done(log)[-1] == "set 27 1"
    await chip.close()
    assert done(log)[-2:] == ["set 27 0", "set 22 1"], "all at rest when nobody needs them"
    with pytest.raises(OSError, match="not open"):
        await chip.write("GPIO27", True)


@pytest.mark.parametrize("end", ["SIGSTOP", "SIGKILL"])
def test_a_node_that_stands_still_or_is_killed_lets_go_in_time(log: Path, end: str) -> None:
    hold_s = "0.3" if end == "SIGSTOP" else "300"
    node = subprocess.Popen([sys.executable, "-c", NODE, end, hold_s], stdout=subprocess.PIPE, text=True)
    try:
        assert node.stdout is not None
        keeper_pid = int(node.stdout.readline())
        _wait(lambda: done(log)[-1] == "set 27 0" if end == "SIGSTOP" else done(log)[-2:] == ["set 27 0", "set 22 1"])
        assert done(log)[2] == "set 27 1"
        if end == "SIGSTOP":
            assert node.poll() is None, "it still stands there"
    finally:
        node.kill()
        node.wait()
    _wait(lambda: not _alive(keeper_pid))
    assert done(log)[-2:] == ["set 27 0", "set 22 1"]


def _wait(condition: Callable[[], object]) -> None:
    asyncio.run(until(condition))


def _alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0]
    except OSError:
        return False


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_keeper_that_dies_or_stands_still_is_trouble_and_replaced(
    chip: KeptChip, log: Path, how: signal.Signals
) -> None:
    bus = Gpio(GpioBus(type="gpio", id="pins", chip="simulated"), chip, SystemClock())
    lines = {"id": "io", "bus": "pins", "output": [{"point": "horn", "line": "GPIO27"}]}
    device = GpioDevice(DeviceSettings.model_validate(lines), bus, SystemClock())
    await bus.open()
    assert (await device.pulse("horn", 300)).ok
    assert chip._process is not None
    first = chip._process.pid
    os.kill(first, how)
    outcome = await device.write("horn", 0)
    assert not outcome.ok
    assert "keeper" in outcome.reason
    await until(lambda: not _alive(first))
    async with asyncio.timeout(LIMIT_S):
        while not (await device.pulse("horn", 0.05)).ok:
            await asyncio.sleep(0.05)
    await until(lambda: done(log)[-1] == "set 27 0")
    await bus.close()
    assert not bus.health().connected


async def test_who_is_cancelled_does_not_leave_a_wrong_answer_to_the_next(chip: KeptChip, log: Path) -> None:
    await chip.open([], outputs(), lambda *_: None)
    Path(f"{log}.broken").touch()
    task = asyncio.create_task(chip.write("GPIO27", True))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await chip.write("GPIO27", False)  # not the failure of the one before
    with pytest.raises(OSError, match="RuntimeError: no current"):
        await chip.write("GPIO27", True)


async def test_lines_that_cannot_be_taken_are_trouble(chip: KeptChip, log: Path) -> None:
    Path(f"{log}.busy").touch()
    with pytest.raises(OSError, match="GPIO busy"):
        await chip.open([], outputs(), lambda *_: None)
    assert chip._process is None
    Path(f"{log}.busy").unlink()
    await chip.open([], [], lambda *_: None)
    assert chip._process is None, "without relays there is nothing to keep"


def test_a_real_chip_is_kept_unless_the_admin_says_no(tmp_path: Path) -> None:
    for chip in ("rpi", "gpiod"):
        settings = GpioBus.model_validate({"type": "gpio", "id": "pins", "chip": chip})
        bus = open_bus(settings, SystemClock(), tmp_path)
        assert isinstance(bus, Gpio)
        assert isinstance(bus.chip, KeptChip)
        plain = open_bus(settings.model_copy(update={"keeper": False}), SystemClock(), tmp_path)
        assert isinstance(plain, Gpio)
        assert isinstance(plain.chip, RpiChip | GpiodChip)


# The kernel's lines, over a stand-in for its library.


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    made: list[Any] = []

    class Request:
        def __init__(self, path: str, config: dict[int, Any]) -> None:
            self.path, self.values = path, {offset: one.output_value for offset, one in config.items()}
            self.fails = 0

        def set_value(self, offset: int, value: object) -> None:
            if self.fails:
                self.fails -= 1
                raise OSError(5, "Input/output error")
            self.values[offset] = value

    def request_lines(path: str, config: dict[int, Any], consumer: str) -> Request:
        made.append(Request(path, config))
        return made[-1]

    monkeypatch.setattr(gpiod, "request_lines", request_lines)
    return made


def test_kernel_lines_are_found_by_name_and_held_by_offset(
    requests: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    chip = GpiodChip("", str(tmp_path))
    where = {"/dev/gpiochip0": {"GPIO27": 27}, "/dev/gpiochip4": {"RELAY": 3}}
    monkeypatch.setattr(chip, "_find", lambda lines: where)
    said = json.loads(json.dumps(chip.locate([OutputLine("GPIO27"), OutputLine("RELAY", rest=True)])))
    lines = keeper.take_gpiod(said["lines"])
    assert [(each.path, each.values) for each in requests] == [
        ("/dev/gpiochip0", {27: Value.INACTIVE}),
        ("/dev/gpiochip4", {3: Value.ACTIVE}),
    ]
    lines.set("RELAY", False, 0)
    lines.set("GPIO27", True, 20)
    requests[0].fails = 1  # the first off is lost; the next is not
    _wait(lambda: requests[0].values[27] is Value.INACTIVE)
    assert requests[1].values[3] is Value.INACTIVE
    lines.rest()
    assert requests[1].values[3] is Value.ACTIVE
