"""Lamps and buzzers at the dispatch desk: relays that follow the controller's alarm list (`desk.toml`).

The controller never touches hardware, so it is not told to light a lamp: this program, on the machine that reaches the relay,
looks at the list once a second over the control socket. A message can be lost or late; a state that is looked at cannot. It fails
open: a list that cannot be read for 10 s lights every lamp, since a desk that sees nothing must not look quiet. It is the one way
of telling that needs neither network nor provider.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field

from cython_ext import NS_PER_S, Clock, ConfigError, Level
from lanes import control, settings
from lanes.plan_types import Id, LevelName
from lanes.settings import Settings

from .driver import Device
from .factory import Bridge
from .settings import BusSettings, DeviceSettings

LOOK_S: Final = 1.0
BLIND_NS: Final = 10 * NS_PER_S
UNSEEN: Final = frozenset({"unacknowledged", "returned-unacknowledged", "latched-unacknowledged"})
STUCK: Final = "escalation-stuck"


class LampSettings(Settings):
    """`[[lamp]]`: one relay."""

    device: Id = Field(description="the device that has it")
    point: Id = Field(description="its relay")
    shows: Literal["unacknowledged", "stuck"] = Field(
        "unacknowledged",
        description="unacknowledged: an alarm waits for a person; stuck: nobody answers its escalation",
    )
    least: LevelName = Field("attention", description="for alarms from this Level on")
    blink: bool = Field(False, description="true: a second on, a second off")
    lit_at_rest: bool = Field(
        False, description="true: wired to the relay's rest contact, so that it is lit when program or power is gone"
    )


class DeskConfig(Settings):
    """The whole of desk.toml."""

    controller: Path = Field(Path("/run/bucium/controller.sock"), description="the controller's control socket")
    buses: tuple[BusSettings, ...] = Field((), alias="bus")
    devices: tuple[DeviceSettings, ...] = Field((), alias="device")
    lamps: tuple[LampSettings, ...] = Field(alias="lamp", min_length=1)


Ask = Callable[[str], Any]


class Lamps:
    """Runs until cancelled. `ask` gives the answer of a verb, or raises ControlError; it may block."""

    def __init__(self, config: DeskConfig, *, clock: Clock, base: Path, ask: Ask | None = None) -> None:
        """ConfigError for a lamp on a device that is not there."""
        self._lamps = config.lamps
        self._clock = clock
        self._bridge = Bridge(config.buses, config.devices, clock=clock, base=base)
        self._socket = base / config.controller
        self._ask = ask or (lambda verb: control.ask(self._socket, verb))
        for lamp in config.lamps:
            if lamp.device not in self._bridge.devices:
                raise ConfigError(f"lamp {lamp.point!r} is on device {lamp.device!r}, and there is none")
            points = self._bridge.devices[lamp.device].points
            if lamp.point not in points:
                raise ConfigError(f"device {lamp.device!r} has no relay {lamp.point!r}: it has {', '.join(points)}")
        self._heard_ns = clock.monotonic_ns() - BLIND_NS  # before the first answer it knows nothing
        self._alarms: list[dict[str, Any]] = []
        self._stuck = False
        self._beat = False
        self.lit: tuple[bool, ...] = ()
        self.broken: tuple[str, ...] = ()  # points that could not be written, at the last look

    async def run(self) -> None:
        await self._bridge.open()
        try:
            while True:
                await self.look()
                await asyncio.sleep(LOOK_S)
        finally:
            await self._bridge.close()

    async def look(self) -> None:
        """Ask, and bring every relay to what it should be; each time anew, so that a relay board that was off is set again."""
        with suppress(control.ControlError):
            alarms, status = (
                await asyncio.to_thread(self._ask, "alarm.list"),
                await asyncio.to_thread(self._ask, "status"),
            )
            self._bridge.require_real_allowed(status["root"])
            self._alarms, self._heard_ns = alarms, self._clock.monotonic_ns()
            self._stuck = any(each["code"] == STUCK for each in status["troubles"])
        self._beat = not self._beat
        blind = self._clock.monotonic_ns() - self._heard_ns >= BLIND_NS
        self.lit = tuple(blind or self._wanted(lamp) for lamp in self._lamps)
        self.broken = tuple(
            [each for lamp, lit in zip(self._lamps, self.lit, strict=True) for each in await self._set(lamp, lit)]
        )

    def _wanted(self, lamp: LampSettings) -> bool:
        if lamp.shows == "stuck":
            return self._stuck
        least = Level[lamp.least.upper()]
        return any(
            each["state"] in UNSEEN and each["mode"] != "test" and each["severity"] >= least for each in self._alarms
        )

    async def _set(self, lamp: LampSettings, lit: bool) -> list[str]:
        device: Device = self._bridge.devices[lamp.device]
        shines = lit and (self._beat or not lamp.blink)
        outcome = await device.write(lamp.point, float(shines is not lamp.lit_at_rest))
        return [] if outcome.ok else [lamp.point]


def load(path: Path) -> DeskConfig:
    """desk.toml; ConfigError as `lanes.settings.load`."""
    return settings.load(path, DeskConfig)
