"""`bucium bus`: the technician's eyes on a bus. It reads; nothing here writes to a device."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from bucium import FAILED
from bucium.output import complain, emit, say, table
from cython_ext import BuciumError, ConfigError, SystemClock

if TYPE_CHECKING:
    from firmware_bridge.modbus.bus import ModbusBus
    from firmware_bridge.profile import Profile
    from firmware_bridge.technician import Row

app: Final = typer.Typer(
    name="bus", help="Devices on a Modbus bus: who is there, what they measure.", no_args_is_help=True
)

Tcp = Annotated[str, typer.Option(help="HOST or HOST:PORT of a Modbus TCP device or gateway.")]
Serial = Annotated[str, typer.Option(help="A serial line, e.g. /dev/serial/by-id/usb-….")]
Baud = Annotated[int, typer.Option(help="Line speed; 0: as the profile has it, else 9600.")]
Parity = Annotated[str, typer.Option(help="none, even or odd; empty: as the profile has it.")]
ProfileName = Annotated[str, typer.Option(help="A shipped profile (see `bus profiles`), or a path ending in .toml.")]
Unit = Annotated[int, typer.Option(help="Modbus address; -1: the profile's factory address.")]
Offset = Annotated[int, typer.Option(help="Added to every address of the profile.")]
Channels = Annotated[list[str] | None, typer.Argument(help="Channels; all when none is named.")]
Timeout = Annotated[float, typer.Option(help="Seconds to wait for an answer.")]
Destructive = Annotated[bool, typer.Option(help="Also read registers that reading clears: the node loses that rain.")]
Json = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]


@app.command()
def profiles(as_json: Json = False) -> None:
    """The device profiles that ship with Bucium.

    Example: bucium bus profiles
    """
    from firmware_bridge.profile import load, names

    rows = [(name, load(name)) for name in names()]
    if as_json:
        emit(
            {
                "ok": True,
                "profiles": [{"name": n, "title": p.title, "unit": p.unit, "verified": p.verified} for n, p in rows],
            }
        )
        return
    table(
        "profiles",
        ("name", "device", "unit", "channels"),
        [(n, p.title, str(p.unit), " ".join(p.channel)) for n, p in rows],
    )


@app.command()
def scan(
    tcp: Tcp = "",
    serial: Serial = "",
    baud: Baud = 0,
    parity: Parity = "",
    profile: ProfileName = "",
    units: Annotated[str, typer.Option(help="Addresses to ask, e.g. 1-32 or 1,5,246.")] = "1-247",
    timeout_s: Timeout = 0.3,
    as_json: Json = False,
) -> None:
    """Ask each address once. Exit code 1 when nobody answers.

    Example: bucium bus scan --serial /dev/ttyUSB0 --baud 9600
    """
    asked = _units(units)
    known = _profile(profile) if profile else None
    found = 0

    async def go(bus: "ModbusBus") -> None:
        nonlocal found
        from firmware_bridge import technician

        async for one in technician.scan(bus, asked, known):
            found += 1
            if as_json:
                emit({"ok": True, "unit": one.unit, "how": one.how})
            else:
                say(f"unit {one.unit}: {one.how}")

    _with_bus(go, tcp, serial, baud, parity, known, timeout_s)
    if not found:
        complain(f"nobody answered at {len(asked)} addresses; check wiring (A/B), speed, parity and power")
        raise typer.Exit(FAILED)


@app.command()
def read(
    profile: ProfileName,
    channels: Channels = None,
    tcp: Tcp = "",
    serial: Serial = "",
    baud: Baud = 0,
    parity: Parity = "",
    unit: Unit = -1,
    offset: Offset = 0,
    timeout_s: Timeout = 0.5,
    destructive: Destructive = False,
    as_json: Json = False,
) -> None:
    """Read a device once: values with units, quality and raw registers. Exit code 1 when any channel has no value.

    Example: bucium bus read --profile geolux-lx80 --serial /dev/ttyUSB0
    Example: bucium bus read level --profile vegapuls --tcp 10.0.0.7 --unit 246
    """
    known = _profile(profile)
    bad = 0

    async def go(bus: "ModbusBus") -> None:
        nonlocal bad
        from firmware_bridge import technician

        device = technician.device(bus, known, SystemClock(), unit=unit, address_offset=offset)
        rows = await technician.read(device, channels, destructive=destructive)
        bad = sum(row.quality != "ok" for row in rows)
        if as_json or not technician.silence(rows):
            _show(rows, known.title, as_json)
        elif bus.health().connected:
            raise BuciumError(_nothing(unit if unit >= 0 else known.unit, technician.silence(rows)))

    _with_bus(go, tcp, serial, baud, parity, known, timeout_s)
    if bad:
        raise typer.Exit(FAILED)


@app.command()
def watch(
    profile: ProfileName,
    channels: Channels = None,
    tcp: Tcp = "",
    serial: Serial = "",
    baud: Baud = 0,
    parity: Parity = "",
    unit: Unit = -1,
    offset: Offset = 0,
    timeout_s: Timeout = 0.5,
    period_s: Annotated[float, typer.Option(help="Seconds between reads.", min=0.1)] = 1.0,
    count: Annotated[int, typer.Option(help="End after so many reads; 0: at Ctrl-C.", min=0)] = 0,
    destructive: Destructive = False,
    as_json: Json = False,
) -> None:
    """Read a device again and again, until Ctrl-C.

    Example: bucium bus watch level --profile vegapuls --tcp 10.0.0.7
    """
    known = _profile(profile)

    async def go(bus: "ModbusBus") -> None:
        from firmware_bridge import technician

        device = technician.device(bus, known, SystemClock(), unit=unit, address_offset=offset)
        seen = 0
        async for rows in technician.watch(device, channels, period_s=period_s, destructive=destructive):
            said_nothing = len(rows) > 1 and technician.silence(rows)
            if said_nothing and not as_json:
                say(f"nothing of {len(rows)} channels: {said_nothing}", "yellow")
            else:
                _show(rows, "", as_json)
            seen += 1
            if seen == count:
                return

    _with_bus(go, tcp, serial, baud, parity, known, timeout_s)


def _show(rows: list["Row"], title: str, as_json: bool) -> None:
    if as_json:
        for row in rows:
            emit({"ok": row.quality == "ok", **asdict(row), "value": row.value if isfinite(row.value) else None})
        return
    cells = [
        (
            row.channel,
            row.text or f"{row.value:g}",
            row.unit,
            row.quality,
            " ".join(f"{r:04X}" for r in row.raw),
            row.reason,
        )
        for row in rows
    ]
    if title:
        table(title, ("channel", "value", "unit", "quality", "raw", "why"), cells)
        return
    for channel, value, unit, quality, raw, reason in cells:
        say(
            f"{channel:<20} {value:>12} {unit:<4} {quality}  {raw}  {reason}".rstrip(),
            "" if quality == "ok" else "yellow",
        )


def _nothing(unit: int, reason: str) -> str:
    """A device that said nothing at all, and what to look at."""
    if "refused" in reason:
        return f"unit {unit}: {reason}; another device than the profile's, or its registers lie elsewhere (--offset)"
    return f"unit {unit}: {reason}; check its address (--unit), speed, parity, wiring (A/B) and power"


def _profile(name: str) -> "Profile":
    from firmware_bridge.profile import load

    return load(name, Path())


def _units(text: str) -> list[int]:
    found: list[int] = []
    for part in text.split(","):
        low, _, high = part.strip().partition("-")
        if not low.isdecimal() or (high and not high.isdecimal()):
            raise ConfigError(f"--units {text!r}: give addresses like 1-32 or 1,5,246")
        found += range(int(low), int(high or low) + 1)
    if not all(1 <= unit <= 255 for unit in found):
        raise ConfigError(f"--units {text!r}: Modbus addresses are 1 to 255")
    return found


def _settings(tcp: str, serial: str, baud: int, parity: str, profile: "Profile | None", timeout_s: float) -> Any:
    """The bus that the options describe; ConfigError when they do not."""
    from pydantic import ValidationError

    from firmware_bridge.settings import ModbusRtuBus, ModbusTcpBus

    if bool(tcp) == bool(serial):
        raise ConfigError("give one of --tcp HOST:PORT and --serial DEVICE")
    try:
        if tcp:
            host, _, port = (
                tcp.rpartition(":") if tcp.rpartition(":")[2].isdecimal() and ":" in tcp else (tcp, "", "502")
            )
            place = {"type": "modbus-tcp", "id": "bus", "host": host.strip("[]"), "port": int(port)}
            return ModbusTcpBus.model_validate({**place, "timeout_s": timeout_s})
        line = profile.serial if profile else None
        return ModbusRtuBus.model_validate(
            {
                "type": "modbus-rtu",
                "id": "bus",
                "device": serial,
                "baud": baud or (line.baud if line else 9600),
                "parity": parity or (line.parity if line else "none"),
                "stop": line.stop if line else 1,
                "timeout_s": timeout_s,
            }
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{'.'.join(str(p) for p in first['loc'])}: {first['msg']}") from None


def _with_bus(
    go: "Callable[[ModbusBus], Awaitable[None]]",
    tcp: str,
    serial: str,
    baud: int,
    parity: str,
    profile: "Profile | None",
    timeout_s: float,
) -> None:
    settings = _settings(tcp, serial, baud, parity, profile, timeout_s)

    async def run() -> None:
        async with _open(settings) as bus:
            await go(bus)

    asyncio.run(run())


@asynccontextmanager
async def _open(settings: Any) -> "AsyncIterator[ModbusBus]":
    from firmware_bridge.factory import open_bus
    from firmware_bridge.modbus.bus import ModbusBus

    bus = open_bus(settings, SystemClock(), Path())
    assert isinstance(bus, ModbusBus)
    await bus.open()
    try:
        yield bus
        health = bus.health()
    finally:
        await bus.close()
    if not health.connected:
        place = f"{settings.host}:{settings.port}" if settings.type == "modbus-tcp" else settings.device
        reason = health.reason.removeprefix("not connected: ") or "no connection"
        raise BuciumError(f"the bus at {place} could not be reached: {reason}")
