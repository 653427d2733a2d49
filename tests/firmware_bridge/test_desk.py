"""Lamps at the dispatch desk: they follow the alarm list of a real control socket, and are lit when it cannot be read."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cython_ext import ConfigError
from firmware_bridge.desk import STUCK, DeskConfig, Lamps
from lanes import control
from lanes.settings import parse
from tests.kit.clock import ManualClock

DESK = """
controller = "c.sock"
[[bus]]
id = "pins"
type = "gpio"
chip = "simulated"
record = "edges.jsonl"
[[device]]
id = "relays"
bus = "pins"
output = [{ point = "lamp", line = "GPIO17" }, { point = "buzzer", line = "GPIO27" }, { point = "beacon", line = "GPIO22" }]
[[lamp]]
device = "relays"
point = "lamp"
lit_at_rest = true
[[lamp]]
device = "relays"
point = "buzzer"
least = "danger"
blink = true
[[lamp]]
device = "relays"
point = "beacon"
shows = "stuck"
"""


class Centre:
    """What a controller would say."""

    def __init__(self) -> None:
        self.alarms: list[dict[str, Any]] = []
        self.troubles: list[dict[str, Any]] = []
        self.root = "GALATI"

    def alarm(self, state: str, severity: int, mode: str = "live") -> None:
        self.alarms = [{"state": state, "severity": severity, "mode": mode}]

    async def list(self, _: dict[str, Any]) -> Any:
        return self.alarms

    async def status(self, _: dict[str, Any]) -> Any:
        return {"root": self.root, "troubles": self.troubles}


@asynccontextmanager
async def serving(folder: Path, centre: Centre) -> AsyncIterator[None]:
    async with control.serve(folder / "c.sock", {"alarm.list": centre.list, "status": centre.status}):
        yield


def lamps(folder: Path, clock: ManualClock, text: str = DESK) -> Lamps:
    return Lamps(parse(text, DeskConfig), clock=clock, base=folder)


def relays(desk: Lamps) -> dict[str, bool]:
    """Which relays pull now."""
    board = desk._bridge.buses["pins"].chip.board  # type: ignore[attr-defined]
    return {name: board.levels[line] for name, line in (("lamp", "GPIO17"), ("buzzer", "GPIO27"), ("beacon", "GPIO22"))}


async def test_they_follow_what_waits_for_a_person(tmp_path: Path) -> None:
    centre, clock = Centre(), ManualClock()
    desk = lamps(tmp_path, clock)
    await desk._bridge.open()
    async with serving(tmp_path, centre):
        await desk.look()
        assert desk.lit == (False, False, False)
        assert relays(desk)["lamp"], "wired to its rest contact: dark while the relay pulls"
        centre.alarm("unacknowledged", 2)
        await desk.look()
        assert desk.lit == (True, False, False)
        assert not relays(desk)["lamp"]
        centre.alarm("latched-unacknowledged", 3)
        seen: set[bool] = set()
        for _ in range(4):
            await desk.look()
            seen.add(relays(desk)["buzzer"])
        assert seen == {True, False}, "it blinks"
        centre.alarm("acknowledged", 3)
        centre.troubles = [{"code": STUCK}]
        await desk.look()
        assert desk.lit == (False, False, True)
        centre.alarm("unacknowledged", 3, "test")
        centre.troubles = []
        await desk.look()
        assert desk.lit == (False, False, False)
    await desk._bridge.close()


async def test_a_list_that_cannot_be_read_lights_all_and_before_the_first_answer_too(tmp_path: Path) -> None:
    centre, clock = Centre(), ManualClock()
    desk = lamps(tmp_path, clock)
    await desk._bridge.open()
    await desk.look()
    assert desk.lit == (True, True, True)
    async with serving(tmp_path, centre):
        await desk.look()
        assert desk.lit == (False, False, False)
    clock.advance(9)
    await desk.look()
    assert desk.lit == (False, False, False), "a controller that restarts is no alarm"
    clock.advance(2)
    await desk.look()
    assert desk.lit == (True, True, True)
    await desk._bridge.close()
    assert relays(desk) == {"lamp": False, "buzzer": False, "beacon": False}


async def test_when_the_program_ends_the_relays_are_released(tmp_path: Path) -> None:
    desk = lamps(tmp_path, ManualClock())
    task = asyncio.create_task(desk.run())
    while not desk.lit:
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not any(relays(desk).values())


async def test_a_board_that_keeps_what_it_was_told_is_let_go_at_the_end(tmp_path: Path) -> None:
    """GPIO lines fall when their holder ends; a Modbus board does not know that."""
    desk = lamps(tmp_path, ManualClock())
    device, written = desk._bridge.devices["relays"], []
    write = device.write

    async def noting(point: str, value: float, **more: Any) -> Any:
        written.append((point, value))
        return await write(point, value, **more)

    device.write = noting  # type: ignore[method-assign]
    task = asyncio.create_task(desk.run())
    while not desk.lit:
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert written[-3:] == [("lamp", 0.0), ("buzzer", 0.0), ("beacon", 0.0)]


def test_sigterm_lets_every_relay_go_and_takes_the_socket_away(tmp_path: Path) -> None:
    (tmp_path / "desk.toml").write_text(CONTACT)
    command = [sys.executable, "-m", "bucium", "alarm", "lamps", "--config", str(tmp_path / "desk.toml")]
    program = subprocess.Popen(command)
    try:
        while not (tmp_path / "d.sock").exists():
            assert program.poll() is None
            time.sleep(0.05)
        program.terminate()
        assert program.wait(30) == 0
    finally:
        program.kill()
        program.wait()
    assert not (tmp_path / "d.sock").exists()
    ends = {edge["line"]: edge["high"] for edge in map(json.loads, (tmp_path / "edges.jsonl").read_text().splitlines())}
    assert ends
    assert not any(ends.values())


async def test_a_real_relay_refuses_a_demo(tmp_path: Path) -> None:
    centre = Centre()
    centre.root = "DEMO"
    text = DESK.replace(
        'type = "gpio"\nchip = "simulated"\nrecord = "edges.jsonl"', 'type = "modbus-tcp"\nhost = "127.0.0.1"'
    )
    text = (
        text.split("output =")[0]
        + 'profile = "waveshare-relay8"\nunit = 1\n[[lamp]]\ndevice = "relays"\npoint = "relay-1"\n'
    )
    desk = lamps(tmp_path, ManualClock(), text)
    async with serving(tmp_path, centre):
        with pytest.raises(ConfigError, match="DEMO"):
            await desk.look()
    await desk._bridge.close()


def test_a_lamp_on_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no relay 'bell': it has lamp, buzzer, beacon"):
        lamps(tmp_path, ManualClock(), DESK.replace('point = "lamp"\nlit', 'point = "bell"\nlit'))
    with pytest.raises(ConfigError, match="there is none"):
        lamps(
            tmp_path,
            ManualClock(),
            DESK.replace('device = "relays"\npoint = "lamp"', 'device = "relay"\npoint = "lamp"'),
        )


# What the controller's desk channel says.

CONTACT = DESK.replace('controller = "c.sock"', 'controller = "c.sock"\nsocket = "d.sock"').replace(
    'least = "danger"\nblink = true', 'shows = "message"\nhold_s = 3\nblink = true\nlit_at_rest = true'
)


async def test_a_message_holds_its_contact_and_a_look_does_not_open_it(tmp_path: Path) -> None:
    centre, clock = Centre(), ManualClock()
    desk = lamps(tmp_path, clock, CONTACT)
    await desk._bridge.open()
    async with serving(tmp_path, centre):
        await desk.look()
        assert relays(desk)["buzzer"], "at rest while nothing was said: the relay pulls"
        assert await desk.tell({"identifier": "a", "level": 2}) == {"closed": ["buzzer"], "repeated": False}
        seen: set[bool] = set()
        for _ in range(4):
            assert not relays(desk)["buzzer"] or len(seen) < 3
            await desk.look()
            seen.add(relays(desk)["buzzer"])
        assert seen == {True, False}, "it blinks"
        clock.advance(4)
        await desk.look()
        assert relays(desk)["buzzer"]
        assert await desk.tell({"identifier": "a", "level": 2}) == {"closed": ["buzzer"], "repeated": True}
        assert relays(desk)["buzzer"]
    await desk._bridge.close()


async def test_of_a_storm_the_board_hears_the_first_until_it_must_be_told_again(tmp_path: Path) -> None:
    clock = ManualClock()
    desk = lamps(tmp_path, clock, CONTACT)
    device, written = desk._bridge.devices["relays"], []
    write = device.write

    async def noting(point: str, value: float, **more: Any) -> Any:
        written.append(point)
        return await write(point, value, **more)

    device.write = noting  # type: ignore[method-assign]
    await desk._bridge.open()
    for number in range(50):
        assert (await desk.tell({"identifier": f"a{number}", "level": 2}))["closed"] == ["buzzer"]
        clock.advance(0.1)
    assert written == ["buzzer"], "held for longer, from the first to the last"
    desk.broken = ("buzzer",)
    await desk.tell({"identifier": "b", "level": 2})
    clock.advance(4)
    await desk.tell({"identifier": "c", "level": 2})
    assert written == ["buzzer"] * 3
    await desk._bridge.close()


@pytest.mark.parametrize(
    "args",
    [{}, {"identifier": ""}, {"identifier": "x" * 300, "level": 1}, {"identifier": "a", "level": 9}, {"identifier": 1}],
)
async def test_what_is_no_message_is_refused(tmp_path: Path, args: dict[str, Any]) -> None:
    desk = lamps(tmp_path, ManualClock(), CONTACT)
    with pytest.raises(control.ControlError, match=r"identifier|level"):
        await desk.tell(args)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (CONTACT.replace('socket = "d.sock"', ""), "belong together"),
        (DESK.replace('controller = "c.sock"', 'controller = "c.sock"\nsocket = "d.sock"'), "belong together"),
        (CONTACT.replace('shows = "message"', 'shows = "message"\nproof = "aux"'), "no channel 'aux'"),
    ],
)
def test_half_a_contact_is_refused(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        lamps(tmp_path, ManualClock(), text)
