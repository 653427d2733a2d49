"""`world.toml`: the lines, devices, boards and wires that a simulation plays."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from firmware_bridge.settings import Id, InputSettings, OutputSettings
from lanes.settings import Settings


class TcpLineSettings(Settings):
    """Modbus TCP on this machine."""

    type: Literal["tcp"]
    id: Id
    host: str = "127.0.0.1"
    port: int = Field(0, ge=0, le=65535)  # 0: any free one, see `endpoint`


class PtyLineSettings(Settings):
    """Modbus RTU on a pseudo-terminal."""

    type: Literal["pty"]
    id: Id
    link: str = ""  # a stable name for the /dev/pts path


LineSettings = Annotated[TcpLineSettings | PtyLineSettings, Field(discriminator="type")]


class FunctionSettings(Settings):
    """A function that somebody has programmed into a siren controller: it ends by itself."""

    code: int = Field(ge=0, le=0xFFFF)
    tone: str = Field(min_length=1)
    length_s: float = Field(gt=0.0, le=3600.0)


class SimulatedDeviceSettings(Settings):
    """A Modbus device, made from its profile."""

    id: Id
    line: Id
    profile: str
    unit: int = Field(-1, ge=-1, le=255)  # -1: the profile's
    address_offset: int = Field(0, ge=0, le=65535)
    initial: dict[str, float] = Field(default_factory=dict)  # channel → value in its unit
    function: tuple[FunctionSettings, ...] = ()  # an Informer's, as programmed


class BoardSettings(Settings):
    """A board of GPIO lines: what hangs on each line, as the node's configuration names it."""

    id: Id
    socket: str = Field(min_length=1)  # where the node's chip = "simulated" connects to
    input: tuple[InputSettings, ...] = ()
    output: tuple[OutputSettings, ...] = ()


class WireSettings(Settings):
    """A wire: when the relay or coil `from` changes, the input `to` follows. Both are 'device/name'."""

    from_: str = Field(alias="from", pattern=r"^[^/]+/[^/]+$")
    to: str = Field(pattern=r"^[^/]+/[^/]+$")
    delay_s: float = Field(0.2, ge=0.0, le=60.0)  # a siren's motor takes its time


class WorldSettings(Settings):
    """Paths are relative to the file."""

    control: str = ""  # Unix socket for other processes
    record: str = ""  # JSON lines of everything that happened
    line: tuple[LineSettings, ...] = ()
    device: tuple[SimulatedDeviceSettings, ...] = ()
    board: tuple[BoardSettings, ...] = ()
    wire: tuple[WireSettings, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        ids = [one.id for one in self.device] + [one.id for one in self.board]
        lines = [one.id for one in self.line]
        for what, seen in (("device or board", ids), ("line", lines)):
            twice = sorted({one for one in seen if seen.count(one) > 1})
            if twice:
                raise ValueError(f"two of {what} have the id {', '.join(twice)}")
        for one in self.device:
            if one.line not in lines:
                raise ValueError(f"device {one.id} is on line {one.line!r}, which is not in this world")
        for wire in self.wire:
            for end in (wire.from_, wire.to):
                if end.split("/")[0] not in ids:
                    raise ValueError(f"wire: there is no device or board {end.split('/')[0]!r}")
        return self
