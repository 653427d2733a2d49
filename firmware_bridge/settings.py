"""The buses, devices and sirens of `node.toml`. Local configuration: the technician's (design §2.5).

Simulated hardware is chosen here and only here: a bus is real unless it says otherwise, and what says `simulated`
is checked to be so (loopback for TCP, /dev/pts for a serial line). There is no fallback from real to simulated.
"""

import ipaddress
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from cython_ext.topics import valid_id
from lanes.settings import Settings

from .sirens.mode import Mode


def _id(text: str) -> str:
    if not valid_id(text):
        raise ValueError("an id is 1 to 32 of a-z, 0-9 and '-', beginning with a letter or digit")
    return text


Id = Annotated[str, AfterValidator(_id)]
MAX_TIMEOUT_S = 10.0  # a longer wait would stall the other devices of the bus beyond the 30 s of fault F19
MAX_HOLD_S = 300.0  # continuous sound, design §2.4


class _ModbusBus(Settings):
    id: Id = Field(description="what devices call this bus")
    timeout_s: float = Field(
        0.5, gt=0.0, le=MAX_TIMEOUT_S, description="one request, from its first byte to the answer's last"
    )
    probe_s: float = Field(5.0, ge=0.1, le=3600.0, description="a dead unit is asked once in this time")
    dead_after: int = Field(3, ge=1, le=100, description="silences in a row that make a unit dead")
    simulated: bool = Field(False, description="true: a simulator on this machine; anything else is then refused")


class ModbusTcpBus(_ModbusBus):
    """Modbus over TCP: a device, or a gateway with units behind it."""

    type: Literal["modbus-tcp"] = Field(description="a device, or a gateway with units behind it")
    host: str = Field(min_length=1, description="name or address of the device or gateway")
    port: int = Field(502, ge=1, le=65535, description="its TCP port")
    framing: Literal["tcp", "rtu"] = Field("tcp", description="rtu: for transparent serial servers")
    turn_round_s: float = Field(0.0, ge=0.0, le=5.0, description="silence before each request")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.simulated and not _loopback(self.host):
            raise ValueError(f"simulated = true, but {self.host} is not this machine: a simulator listens on loopback")
        return self


class ModbusRtuBus(_ModbusBus):
    """Modbus RTU on a serial line."""

    type: Literal["modbus-rtu"] = Field(description="a serial line")
    device: str = Field(min_length=1, description="the serial line; /dev/serial/by-id/… is stable, /dev/ttyUSB0 is not")
    baud: int = Field(9600, ge=300, le=1_000_000, description="bits a second; all devices of a line share it")
    parity: Literal["none", "even", "odd"] = Field("none", description="as the devices have it")
    stop: Literal[1, 2] = Field(1, description="stop bits")
    turn_round_s: float = Field(
        0.02, ge=0.0, le=5.0, description="silence before each request; 3.5 characters at 2400 baud are 16 ms"
    )
    echo: bool = Field(False, description="true: the adapter hears what it sends")


class GpioBus(Settings):
    """Contacts and relays on this board."""

    type: Literal["gpio"] = Field(description="contacts and relays of this board")
    id: Id = Field(description="what devices call this bus")
    chip: Literal["rpi", "gpiod", "simulated"] = Field(
        description="rpi: the RPi.GPIO interface (rpi-lgpio); gpiod: the kernel's lines, by name; simulated"
    )
    label: str = Field("", description="gpiod: the chip's label, when line names are not unique on this board")
    socket: str = Field(
        "", description="simulated: the Unix socket of the simulator; empty: a chip inside this process"
    )
    record: str = Field("", description="simulated in this process: a file of JSON lines, one for each edge")
    keeper: bool = Field(
        True,
        description="relays are held by a small process of their own, off in time though the node hangs; "
        "false: no siren may hang on these lines, unless a relay of its own ends each sound",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.chip != "simulated" and (self.socket or self.record):
            raise ValueError(f"socket and record belong to chip = 'simulated', not to {self.chip!r}")
        if self.chip != "gpiod" and self.label:
            raise ValueError("label belongs to chip = 'gpiod'")
        if self.socket and self.record:
            raise ValueError("with a socket the simulator keeps the record: remove one of socket, record")
        return self


BusSettings = Annotated[ModbusTcpBus | ModbusRtuBus | GpioBus, Field(discriminator="type")]


class InputSettings(Settings):
    """A contact: reads 1 when active."""

    channel: Id = Field(description="what points and sirens call this contact; it reads 1 when active")
    line: str = Field(min_length=1, description="gpiod: the line's name, e.g. GPIO17; rpi: GPIO17 or 17 (BCM)")
    active_low: bool = Field(False, description="true: active when the line is at 0 V")
    pull: Literal["none", "up", "down"] = Field("none", description="resistor of the chip")
    debounce_s: float = Field(0.05, ge=0.0, le=10.0, description="a change counts when it has stood for so long")


class OutputSettings(Settings):
    """A relay: OFF at open, and OFF again at close."""

    point: Id = Field(description="what sirens call this relay")
    line: str = Field(min_length=1, description="as for an input")
    active_low: bool = Field(False, description="true: the relay pulls at 0 V")


class DeviceSettings(Settings):
    """A device on a bus: a Modbus unit with a profile, or contacts and relays of a gpio bus."""

    id: Id = Field(description="what points and sirens call this device")
    bus: Id = Field(description="the bus that it is on")
    unit: int = Field(-1, ge=-1, le=255, description="Modbus address; -1: the profile's factory address")
    profile: str = Field("", description="a shipped profile (bucium bus profiles), or a path ending in .toml")
    address_offset: int = Field(
        0, ge=0, le=65535, description="added to every address of the profile: the n-th zone of a panel"
    )
    input: tuple[InputSettings, ...] = Field(default=(), description="contacts, on a gpio bus")
    output: tuple[OutputSettings, ...] = Field(default=(), description="relays, on a gpio bus")

    @model_validator(mode="after")
    def _check(self) -> Self:
        lines = [one.line for one in self.input] + [one.line for one in self.output]
        if bool(self.profile) == bool(lines):
            raise ValueError("a device has either a profile (on a Modbus bus) or inputs and outputs (on a gpio bus)")
        if lines and (self.unit != -1 or self.address_offset):
            raise ValueError("unit and address_offset belong to Modbus devices")
        names = [one.channel for one in self.input] + [one.point for one in self.output]
        for what, seen in (("line", lines), ("channel or point", names)):
            twice = sorted({one for one in seen if seen.count(one) > 1})
            if twice:
                raise ValueError(f"{what} {', '.join(twice)} is used twice")
        return self


class ChannelRef(Settings):
    """A channel of a device of this node."""

    device: Id = Field(description="a device of this node")
    channel: Id = Field(description="its channel")
    good: float | None = Field(
        None, description="supervision: the value that means all is well, 1 unless said; feedback: while it sounds"
    )
    within_s: float = Field(2.0, gt=0.0, le=60.0, description="feedback: how soon after the start it must be seen")


class SupervisedRef(ChannelRef):
    """A channel of this node that says whether a part of a siren is well."""

    least: float | None = Field(None, description="supervision: below it is bad, e.g. 23.6 V of a battery")
    most: float | None = Field(None, description="supervision: above it is bad")
    sounding: bool = Field(False, description="supervision: true when it says something only while the siren sounds")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.good is not None or self.least is not None or self.most is not None:
            require_one_test(self.good, self.least, self.most)
        return self


def require_one_test(good: float | None, least: float | None, most: float | None) -> None:
    """ValueError unless there is one value that is good, or a span."""
    if (good is None) == (least is None and most is None):
        raise ValueError("give either good, or least and most (or one of them)")
    if least is not None and most is not None and not least <= most:
        raise ValueError(f"least ({least:g}) is above most ({most:g})")


class SoundSettings(Settings):
    """A sound that the siren ends by itself, though node and bus are dead."""

    mode: Mode = Field(description="steady, wail, pulsed or voice")
    own_end_s: float = Field(
        gt=0.0, le=MAX_HOLD_S, description="its length, as programmed there and measured at commissioning"
    )
    function: Annotated[int, Field(ge=0, le=0xFFFF)] | None = Field(
        None, description="siren controllers: the code of the function that plays it; without: the tone itself"
    )
    message: Annotated[int, Field(ge=0, le=0xFFFF)] | None = Field(
        None, description="siren controllers, mode voice: the number of the message, where no function plays it"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.message is not None and (self.mode is not Mode.VOICE or self.function is not None):
            raise ValueError("message belongs to mode = 'voice' without a function")
        return self


class SirenSettings(Settings):
    """A siren: contacts of a relay device, or a controller whose profile has a [siren] table."""

    id: Id = Field(description="the siren's id in the plan")
    device: Id = Field(description="the relay device, or a controller whose profile has a [siren] table")
    contacts: dict[Mode | Literal["any"], Id] = Field(
        default_factory=dict,
        description="mode (steady, wail, pulsed, voice) = relay; any: all modes that are not named, but voice",
    )
    sounds: tuple[SoundSettings, ...] = Field(
        (),
        alias="sound",
        max_length=32,
        description="sounds that end by themselves: needed where nothing else outlives the node (docs/devices.md)",
    )
    feedback: ChannelRef | None = Field(None, description="a contact or current switch that is 1 while it sounds")
    supervision: dict[Id, SupervisedRef] = Field(
        default_factory=dict,
        max_length=24,
        description="mains, battery, charge, charger, amplifier, door, rotation, time (or a name of yours; "
        "amplifier-1, amplifier-2) = the channel that shows it",
    )


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
