"""Lamps, buzzers and contacts at the dispatch desk (`desk.toml`). The controller never touches hardware; this program does.

    state      a lamp that shows "unacknowledged" or "stuck" follows the controller's alarm list, looked at once a second. What is
               said can be lost or late; a state that is looked at cannot. It fails open: a list that cannot be read for 10 s
               lights every relay, since a desk that sees nothing must not look quiet.
    message    one that shows "message" is a dispatch channel's: the controller's outbox says each alarm here, and keeps it until
               this program has answered. It answers when the relay has taken it, and its read-back says so where it has one.
               What was said before, by its identifier, is answered and closes nothing again.

It is the one way of telling that needs neither network nor provider.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import Field, model_validator

from cython_ext import NS_PER_S, Clock, ConfigError, Level, Status
from lanes import control, settings
from lanes.control import ControlError, Handler
from lanes.plan_types import Id, LevelName
from lanes.settings import Settings

from .driver import Device
from .factory import Bridge
from .settings import BusSettings, DeviceSettings

LOOK_S: Final = 1.0
BLIND_NS: Final = 10 * NS_PER_S
UNSEEN: Final = frozenset({"unacknowledged", "returned-unacknowledged", "latched-unacknowledged"})
STUCK: Final = "escalation-stuck"
KNOWN_MAX: Final = 20_000  # identifiers that are remembered: the controller's queue twice over
IDENTIFIER_MAX: Final = 256
PROOF_TRIES: Final = 10  # read-backs, PROOF_S apart: an auxiliary contact is debounced
PROOF_S: Final = 0.1


class LampSettings(Settings):
    """`[[lamp]]`: one relay."""

    device: Id = Field(description="the device that has it")
    point: Id = Field(description="its relay")
    shows: Literal["unacknowledged", "stuck", "message"] = Field(
        "unacknowledged",
        description="unacknowledged: an alarm waits for a person; stuck: nobody answers its escalation; "
        "message: for hold_s after each alarm that the controller's desk channel brings",
    )
    least: LevelName = Field("attention", description="for alarms from this Level on")
    hold_s: float = Field(30.0, ge=1, le=3600, description="message: for how long")
    proof: Id | None = Field(
        None, description="a channel of the device that reads as the relay was written: its read-back, or a contact"
    )
    blink: bool = Field(False, description="true: a second on, a second off")
    lit_at_rest: bool = Field(
        False, description="true: wired to the relay's rest contact, so that it is lit when program or power is gone"
    )


class DeskConfig(Settings):
    """The whole of desk.toml."""

    controller: Path = Field(Path("/run/bucium/controller.sock"), description="the controller's control socket")
    socket: Path | None = Field(
        None, description="where the controller's desk channel brings messages; needed by lamps that show them"
    )
    buses: tuple[BusSettings, ...] = Field((), alias="bus")
    devices: tuple[DeviceSettings, ...] = Field((), alias="device")
    lamps: tuple[LampSettings, ...] = Field(alias="lamp", min_length=1)

    @model_validator(mode="after")
    def _sense(self) -> Self:
        if any(lamp.shows == "message" for lamp in self.lamps) is not (self.socket is not None):
            raise ValueError("socket and lamps that show messages belong together: without one the other does nothing")
        return self


Ask = Callable[[str], Any]


class Lamps:
    """Runs until cancelled. `ask` gives the answer of a verb, or raises ControlError; it may block."""

    def __init__(self, config: DeskConfig, *, clock: Clock, base: Path, ask: Ask | None = None) -> None:
        """ConfigError for a lamp on a device that is not there."""
        self._lamps = config.lamps
        self._clock = clock
        self._bridge = Bridge(config.buses, config.devices, clock=clock, base=base)
        self._controller = base / config.controller
        self._socket = base / config.socket if config.socket else None
        self._ask = ask or (lambda verb: control.ask(self._controller, verb))
        for lamp in config.lamps:
            if lamp.device not in self._bridge.devices:
                raise ConfigError(f"lamp {lamp.point!r} is on device {lamp.device!r}, and there is none")
            device = self._bridge.devices[lamp.device]
            if lamp.point not in device.points:
                raise ConfigError(
                    f"device {lamp.device!r} has no relay {lamp.point!r}: it has {', '.join(device.points)}"
                )
            channels = [channel.id for channel in device.channels]
            if lamp.proof is not None and lamp.proof not in channels:
                raise ConfigError(f"device {lamp.device!r} has no channel {lamp.proof!r}: it has {', '.join(channels)}")
        self._heard_ns = clock.monotonic_ns() - BLIND_NS  # before the first answer it knows nothing
        self._alarms: list[dict[str, Any]] = []
        self._stuck = False
        self._beat = False
        self._until_ns = [0] * len(config.lamps)  # of those that show messages
        self._held = [False] * len(config.lamps)  # whether the last message closed it
        self._known: dict[str, list[str]] = {}  # identifier → the points that it closed
        self._one = asyncio.Lock()  # a look never opens what a message closes at the same moment
        self.lit: tuple[bool, ...] = ()
        self.broken: tuple[str, ...] = ()  # points that could not be written, at the last look

    @property
    def verbs(self) -> dict[str, Handler]:
        """What the controller's desk channel asks."""
        return {"desk.tell": self.tell, "desk.status": self._status}

    async def run(self) -> None:
        await self._bridge.open()
        try:
            async with AsyncExitStack() as stack:
                await self.look()
                if self._socket is not None:
                    await stack.enter_async_context(control.serve(self._socket, self.verbs))
                while True:
                    await asyncio.sleep(LOOK_S)
                    await self.look()
        finally:
            await self._rest()
            await self._bridge.close()

    async def _rest(self) -> None:
        """Every relay lets go, since a board keeps what it was told: what is wired to a rest contact is lit from now on."""
        async with self._one:
            for lamp in self._lamps:
                await self._bridge.devices[lamp.device].write(lamp.point, 0.0)

    async def look(self) -> None:
        """Ask, and bring every relay to what it should be; each time anew, so that a relay board that was off is set again."""
        with suppress(ControlError):
            alarms, status = (
                await asyncio.to_thread(self._ask, "alarm.list"),
                await asyncio.to_thread(self._ask, "status"),
            )
            self._bridge.require_real_allowed(status["root"])
            self._alarms, self._heard_ns = alarms, self._clock.monotonic_ns()
            self._stuck = any(each["code"] == STUCK for each in status["troubles"])
        async with self._one:
            self._beat = not self._beat
            now_ns = self._clock.monotonic_ns()
            blind = now_ns - self._heard_ns >= BLIND_NS
            self.lit = tuple(blind or self._wanted(at, now_ns) for at in range(len(self._lamps)))
            pairs = list(zip(self._lamps, self.lit, strict=True))
            self.broken = tuple([lamp.point for lamp, lit in pairs if not await self._set(lamp, lit, beat=self._beat)])

    # A message of the controller's outbox.

    async def tell(self, args: dict[str, Any]) -> dict[str, Any]:
        """Close what is for it, and say what closed. ControlError: a relay did not; it is tried again, and so is the message."""
        identifier, level = args.get("identifier"), args.get("level")
        if not isinstance(identifier, str) or not 0 < len(identifier) <= IDENTIFIER_MAX:
            raise ControlError("malformed", f"identifier is a text of 1 to {IDENTIFIER_MAX} characters")
        if not isinstance(level, int) or level not in range(len(Level)):
            raise ControlError("malformed", f"level is 0 to {max(Level)}")
        async with self._one:
            if identifier in self._known:
                return {"closed": self._known[identifier], "repeated": True}
            chosen = [at for at, lamp in enumerate(self._lamps) if _is_for(lamp, level)]
            failed = [self._lamps[at].point for at in chosen if not await self._close(at)]
            if failed:
                raise ControlError("relay", f"not closed: {', '.join(failed)}")
            self._known[identifier] = [self._lamps[at].point for at in chosen]
            while len(self._known) > KNOWN_MAX:
                del self._known[next(iter(self._known))]
            return {"closed": self._known[identifier], "repeated": False}

    async def _close(self, at: int) -> bool:
        """For `hold_s` from now on. One that is closed is only held for longer: of a storm the board hears the first message."""
        lamp, now_ns = self._lamps[at], self._clock.monotonic_ns()
        held = self._held[at] and now_ns < self._until_ns[at] and lamp.point not in self.broken
        self._until_ns[at] = now_ns + round(lamp.hold_s * NS_PER_S)
        self._held[at] = held or (await self._set(lamp, True) and await self._proven(lamp))
        return self._held[at]

    async def _status(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"broken": list(self.broken)}

    # Relays.

    def _wanted(self, at: int, now_ns: int) -> bool:
        lamp = self._lamps[at]
        if lamp.shows == "message":
            return now_ns < self._until_ns[at]
        if lamp.shows == "stuck":
            return self._stuck
        least = Level[lamp.least.upper()]
        return any(
            each["state"] in UNSEEN and each["mode"] != "test" and each["severity"] >= least for each in self._alarms
        )

    async def _set(self, lamp: LampSettings, lit: bool, *, beat: bool = True) -> bool:
        device: Device = self._bridge.devices[lamp.device]
        outcome = await device.write(lamp.point, _written(lamp, lit and (beat or not lamp.blink)))
        return outcome.ok

    async def _proven(self, lamp: LampSettings) -> bool:
        """Whether the read-back says that it is lit."""
        if lamp.proof is None:
            return True
        device: Device = self._bridge.devices[lamp.device]
        for _ in range(PROOF_TRIES):
            [reading] = await device.read([lamp.proof])
            if reading.status is Status.OK and reading.value == _written(lamp, True):
                return True
            await asyncio.sleep(PROOF_S)
        return False


def _written(lamp: LampSettings, shines: bool) -> float:
    return float(shines is not lamp.lit_at_rest)


def _is_for(lamp: LampSettings, level: int) -> bool:
    """A siren's notice or a call may have no Level: it is for all."""
    return lamp.shows == "message" and (not level or level >= Level[lamp.least.upper()])


def load(path: Path) -> DeskConfig:
    """desk.toml; ConfigError as `lanes.settings.load`."""
    return settings.load(path, DeskConfig)
