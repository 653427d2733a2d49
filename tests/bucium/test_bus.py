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
        (("read", "--profile", "vegapuls", "--serial", "/nonexistent/tty"), "could not be reached"),
    ],
)
def test_mistakes_are_told(face: Face, words: tuple[str, ...], says: str) -> None:
    said = face("bus", *words)
    assert said.code == 1
    assert says in said.err


def test_profiles_are_listed(face: Face) -> None:
    names = [one["name"] for one in face("bus", "profiles", "--json").document["profiles"]]
    assert {"vegapuls", "geolux-lx80", "federal-informer"} <= set(names)
