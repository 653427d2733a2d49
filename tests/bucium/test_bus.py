"""`bucium bus` against the simulated devices of the demo: real sockets and pseudo-terminals."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from cython_ext import SystemClock
from firmware_bridge.simulators.settings import WorldSettings
from firmware_bridge.simulators.world import Simulation
from tests.kit.face import Face

WORLD = WorldSettings.model_validate(
    {
        "line": [{"type": "tcp", "id": "bridge"}, {"type": "pty", "id": "quay"}],
        "device": [
            {"id": "radar", "line": "bridge", "profile": "vegapuls", "initial": {"level": 3.25}},
            {"id": "relays", "line": "quay", "profile": "waveshare-relay8"},
        ],
    }
)


@pytest.fixture(scope="module")
def lines() -> Iterator[dict[str, dict[str, Any]]]:
    """The world, in a thread of its own: the verbs run their own loop."""
    found: dict[str, dict[str, Any]] = {}
    loop = asyncio.new_event_loop()
    ready, stop = loop.create_future(), asyncio.Event()

    async def play() -> None:
        async with Simulation(WORLD, clock=SystemClock(), base=Path()) as world:
            found.update({name: dict(world.endpoint(name)) for name in world.lines})
            ready.set_result(None)
            await stop.wait()

    async def started() -> None:
        await ready

    thread = Thread(target=loop.run_until_complete, args=(play(),), daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(started(), loop).result(10)
    yield found
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)


def test_read_shows_value_unit_and_registers(face: Face, lines: dict[str, dict[str, Any]]) -> None:
    said = face(
        "bus", "read", "level", "--profile", "vegapuls", "--tcp", f"127.0.0.1:{lines['bridge']['port']}", "--json"
    )
    assert said.code == 0
    assert said.document["value"] == 3.25
    assert said.document["unit"] == "m"
    assert said.document["raw"] == [0x0000, 0x4050]  # CDAB


def test_watch_ends_after_its_count(face: Face, lines: dict[str, dict[str, Any]]) -> None:
    line = lines["quay"]["device"]
    said = face(
        "bus",
        "watch",
        "relay-1",
        "--profile",
        "waveshare-relay8",
        "--serial",
        line,
        "--count",
        2,
        "--period-s",
        0.1,
        "--json",
    )
    assert said.code == 0
    assert [row["channel"] for row in said.documents] == ["relay-1", "relay-1"]


def test_scan_finds_who_is_there(face: Face, lines: dict[str, dict[str, Any]]) -> None:
    line = lines["quay"]["device"]
    said = face("bus", "scan", "--serial", line, "--units", "1-3", "--timeout-s", 0.1, "--json")
    assert [row["unit"] for row in said.documents] == [1]
    nobody = face("bus", "scan", "--serial", line, "--units", "7", "--timeout-s", 0.1)
    assert nobody.code == 1
    assert "wiring" in nobody.err


def test_a_silent_unit_is_missing_with_its_reason(face: Face, lines: dict[str, dict[str, Any]]) -> None:
    port = lines["bridge"]["port"]
    said = face(
        "bus",
        "read",
        "level",
        "--profile",
        "vegapuls",
        "--tcp",
        f"127.0.0.1:{port}",
        "--unit",
        9,
        "--timeout-s",
        0.1,
        "--json",
    )
    assert said.code == 1
    assert said.document["value"] is None
    assert said.document["quality"] == "missing"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("read", "--profile", "vegapuls"), "one of --tcp"),
        (("read", "--profile", "vegapuls", "--tcp", "a", "--serial", "b"), "one of --tcp"),
        (("read", "--profile", "vegapulse", "--tcp", "127.0.0.1"), "no profile"),
        (("scan", "--tcp", "127.0.0.1", "--units", "x"), "--units"),
        (("scan", "--tcp", "127.0.0.1", "--units", "0-9"), "1 to 255"),
        (("read", "--profile", "vegapulse", "--tcp", "127.0.0.1"), "did you mean 'vegapuls'?"),
        (
            ("read", "--profile", "vegapuls", "--serial", "/nonexistent/tty"),
            "the bus at /nonexistent/tty could not be reached: No such file or directory",
        ),
        (
            ("read", "--profile", "geolux-lx80", "--tcp", "127.0.0.1:1"),
            "the bus at 127.0.0.1:1 could not be reached: Connection refused",
        ),
    ],
)
def test_mistakes_are_told(face: Face, words: tuple[str, ...], says: str) -> None:
    said = face("bus", *words)
    assert said.code == 1
    assert says in said.err
    assert said.err.count("\n") == 1
    assert said.out == "", "no table of nothings"


def test_a_device_that_says_nothing_is_one_line(face: Face, lines: dict[str, dict[str, Any]]) -> None:
    where = ("--profile", "geolux-lx80", "--tcp", f"127.0.0.1:{lines['bridge']['port']}", "--timeout-s", 0.1)
    said = face("bus", "read", *where, "--unit", 9)
    assert said.code == 1
    assert said.err.startswith("bucium: unit 9: the device did not answer; check its address")
    assert said.err.count("\n") == 1
    assert said.out == ""
    watched = face("bus", "watch", *where, "--unit", 9, "--count", 2, "--period-s", 0.1)
    assert watched.out.splitlines()[0] == "nothing of 10 channels: the device did not answer"
    assert len(watched.out.splitlines()) == 2


def test_a_value_that_cannot_be_is_remarked(face: Face, lines: dict[str, dict[str, Any]]) -> None:
    where = ("--profile", "vegapuls", "--tcp", f"127.0.0.1:{lines['bridge']['port']}", "--json")
    address, level = face("bus", "read", "address", "level", *where).documents
    assert address["value"] == 0.0
    assert address["reason"].startswith("beyond 1 to 255")
    assert level["reason"] == ""


def test_a_channel_that_is_not_there_is_told_with_the_nearest(face: Face, lines: dict[str, dict[str, Any]]) -> None:
    said = face("bus", "read", "levle", "--profile", "vegapuls", "--tcp", f"127.0.0.1:{lines['bridge']['port']}")
    assert said.code == 1
    assert "has no channel levle: did you mean 'level'?" in said.err


def test_profiles_are_listed(face: Face) -> None:
    names = [one["name"] for one in face("bus", "profiles", "--json").document["profiles"]]
    assert {"vegapuls", "geolux-lx80", "federal-informer"} <= set(names)
