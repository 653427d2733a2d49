"""Device profiles: a device's registers as data. One TOML file each; the words are explained in `docs/devices.md`.

A profile that loads is complete: types fit, references meet, every channel's value and its status can be read by one
request where the device keeps them in one table. Anything else is ConfigError.
"""

from difflib import get_close_matches
from functools import cache
from math import inf
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from cython_ext.errors import ConfigError
from lanes.settings import Settings
from lanes.settings import load as load_toml

from .registers import Order, Type, register_count
from .settings import Id, require_one_test
from .sirens.mode import Mode

FOLDER: Final = Path(__file__).parent / "profiles"
MAX_REGISTERS: Final = 125  # Modbus application protocol v1.1b3, §6.3
MAX_BITS: Final = 2000  # the same, §6.1
BIT_FUNCTIONS: Final = (1, 2)

Address = Annotated[int, Field(ge=0, le=65535)]
Function = Literal[1, 2, 3, 4]
Means = Literal["missing", "sentinel", "loop-fault", "device-fault", "test"]


class StatusRule(Settings):
    """A word (or bit) of the device that says something of a value: true when (word & mask) matches."""

    address: Address
    function: Function | None = None  # the channel's own unless said
    type: Literal["u16", "u32"] = "u16"
    order: Order = Order.ABCD
    mask: int = Field(0xFFFFFFFF, ge=1, le=0xFFFFFFFF)
    equals: int | None = Field(None, ge=0, le=0xFFFFFFFF)
    not_equals: int | None = Field(None, ge=0, le=0xFFFFFFFF)
    means: Means
    reason: str = Field(min_length=1)

    @model_validator(mode="after")
    def _one_test(self) -> Self:
        if (self.equals is None) == (self.not_equals is None):
            raise ValueError("a status rule has exactly one of equals, not_equals")
        return self


class Reference(Settings):
    """A register elsewhere in the device."""

    address: Address
    function: Function | None = None
    type: Literal["u16", "u32"] = "u16"
    order: Order = Order.ABCD


class ScaleRegister(Reference):
    """value = raw / 10^register; a register above `most` is a device fault."""

    most: int = Field(4, ge=0, le=9)


class UnitRegister(Reference):
    """The device's unit code; each known code with the factor that turns its value into the channel's unit."""

    factors: dict[str, float] = Field(min_length=1)  # code in decimal → factor

    @model_validator(mode="after")
    def _codes(self) -> Self:
        for code, factor in self.factors.items():
            if not code.isdecimal() or not 0.0 < factor < inf:
                raise ValueError(f"factors: {code!r} = {factor}: codes are decimal numbers, factors above 0")
        return self


class Loop(Settings):
    """A 4–20 mA input whose value is in milliamperes: 4 mA is `low`, 20 mA is `high` of the channel's unit."""

    low: float
    high: float


class ChannelProfile(Settings):
    """One value of the device. Value in `unit` = raw × scale + offset."""

    title: str = ""
    function: Function
    address: Address
    type: Type
    order: Order = Order.ABCD
    order_register: Reference | None = None  # holds 0 ABCD, 1 CDAB, 2 DCBA, 3 BADC
    length: int = Field(1, ge=1, le=60)  # ascii: registers
    mask: int = Field(0xFFFF, ge=1, le=0xFFFF)  # bits: the part of the register, moved to bit 0
    invert: bool = False  # bits: 1 when the bit is 0 (fail-safe contacts)
    scale: float = 1.0
    scale_register: ScaleRegister | None = None
    offset: float = 0.0
    unit: str = ""
    unit_register: UnitRegister | None = None
    range: tuple[float, float] = (-inf, inf)
    sentinels: tuple[int, ...] = ()  # raw patterns (after word order) that mean "no value"
    status: tuple[StatusRule, ...] = ()
    wrap: int = Field(0, ge=0, le=0x1_0000_0000)  # a counter's modulus: the driver counts on through it
    read_once: bool = False  # reading clears it: values are summed here, and nobody else may read it
    loop: Loop | None = None
    same_as: str = ""  # the same value in another place: another channel of this device

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.function in BIT_FUNCTIONS and (self.type is not Type.BITS or self.mask != 0xFFFF):
            raise ValueError("coils and discrete inputs are of type 'bits', without a mask")
        if self.type not in (Type.BITS,) and (self.mask != 0xFFFF or self.invert):
            raise ValueError("mask and invert belong to type 'bits'")
        if self.scale == 0.0 or not self.range[0] <= self.range[1]:
            raise ValueError("scale must not be 0, and range is [low, high]")
        if self.wrap and self.read_once:
            raise ValueError("a channel is either a wrapping counter or cleared by reading")
        if self.address + self.count > 65536:
            raise ValueError("the value reaches beyond address 65535")
        return self

    @property
    def count(self) -> int:
        """Registers (or bits) of the value."""
        return register_count(self.type, self.length)

    def references(self) -> list[tuple[int, int, int]]:
        """(function, first address, count) of the value and of everything it needs."""
        others = (*self.status, self.scale_register, self.unit_register, self.order_register)
        needs = [(one.function or self.function, one.address, 2 if one.type == "u32" else 1) for one in others if one]
        return [(self.function, self.address, self.count), *needs]


class Pulse(Settings):
    """A hardware-timed on: FC05 at `address` with the time as its value."""

    address: Address
    unit_s: float = Field(gt=0.0)  # what one count is
    most: int = Field(ge=1, le=0xFFFF)


class WritePoint(Settings):
    """Something that can be written. A coil takes 0 and 1; a register takes its own number."""

    title: str = ""
    function: Literal[5, 6]
    address: Address
    values: dict[str, int] = Field(default_factory=dict)  # register: what its numbers mean; others are refused
    most: int = Field(0xFFFF, ge=0, le=0xFFFF)
    pulse: Pulse | None = None
    every: tuple[str, ...] = ()  # a point that acts on all of these (for the simulator and for people)
    on_only: bool = False  # a coil that starts something: writing 0 has no meaning


class Act(Settings):
    """One write of a siren's procedure."""

    point: str
    value: int | None = None  # None: the value comes with the call (voice message number)


class Check(Settings):
    """A channel, and what means that all is well: one value, or a span."""

    channel: str
    good: float | None = None
    least: float | None = None
    most: float | None = None
    sounding: bool = False  # says something only while the siren sounds: a rotor, a current

    @model_validator(mode="after")
    def _one_test(self) -> Self:
        require_one_test(self.good, self.least, self.most)
        return self


class SirenProfile(Settings):
    """arm → act → verify → report, as the controller's manual has it."""

    arm: tuple[Act, ...] = ()
    arm_window_s: float = Field(0.0, ge=0.0)  # 0: arming does not run out
    modes: dict[Mode, tuple[Act, ...]]
    run: tuple[Act, ...] = ()  # run a function that is programmed into it: its code comes with the call
    off: tuple[Act, ...] = Field(min_length=1)
    quiet_test: tuple[Act, ...] = ()
    quiet_test_s: float = Field(1.0, ge=0.0, le=60.0)  # until its result shows in the supervised channels
    proof: Check | None = None  # equal to good: it sounds, or has sounded since the last function
    proof_within_s: float = Field(2.0, gt=0.0, le=60.0)
    supervision: dict[str, Check] = Field(default_factory=dict)


class SerialDefaults(Settings):
    """Factory settings of the line."""

    baud: int = 9600
    parity: Literal["none", "even", "odd"] = "none"
    stop: Literal[1, 2] = 1


class Profile(Settings):
    """A device, as data."""

    title: str = Field(min_length=1)
    source: str = Field(min_length=1)
    verified: bool  # the map was read in the maker's own manual; never a claim of a test on hardware
    notes: str = ""
    unit: int = Field(1, ge=0, le=255)  # factory address
    serial: SerialDefaults = SerialDefaults()
    gap: int = Field(0, ge=0, le=64)  # unlisted registers that one request may bridge
    max_count: int = Field(MAX_REGISTERS, ge=1, le=MAX_REGISTERS)
    channel: dict[Id, ChannelProfile] = Field(default_factory=dict)
    write: dict[Id, WritePoint] = Field(default_factory=dict)
    siren: SirenProfile | None = None
    behaviour: Literal["", "informer"] = ""  # what the simulator plays beyond registers

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.channel and not self.write:
            raise ValueError("a profile has at least one channel or write point")
        for name, channel in self.channel.items():
            if channel.same_as and channel.same_as not in self.channel:
                raise ValueError(f"channel.{name}.same_as names {channel.same_as!r}, which is not a channel")
        for name, point in self.write.items():
            unknown = [one for one in point.every if one not in self.write]
            if unknown:
                raise ValueError(f"write.{name}.every names {', '.join(unknown)}, which is not a write point")
        if self.siren:
            self._check_siren(self.siren)
        return self

    def _check_siren(self, siren: SirenProfile) -> None:
        acts = [*siren.arm, *siren.run, *siren.off, *siren.quiet_test]
        for steps in siren.modes.values():
            acts += steps
        for act in acts:
            if act.point not in self.write:
                raise ValueError(f"siren: {act.point!r} is not a write point")
        if siren.proof and (siren.proof.good is None or siren.proof.sounding):
            raise ValueError("siren: proof is a channel and its value while it sounds: good")
        for check in (*([siren.proof] if siren.proof else []), *siren.supervision.values()):
            if check.channel not in self.channel:
                raise ValueError(f"siren: {check.channel!r} is not a channel")


def load(name: str, base: Path | None = None) -> Profile:
    """A shipped profile by name, or one from a file (a path ending in .toml, relative to `base`). ConfigError."""
    if name.endswith(".toml"):
        return load_toml((base or Path()) / name, Profile)
    if name not in names():
        near = get_close_matches(name, names(), n=1)
        hint = f"did you mean {near[0]!r}? There are" if near else "give one of"
        raise ConfigError(f"there is no profile {name!r}: {hint} {', '.join(names())}, or a path ending in .toml")
    return _shipped(name)


@cache
def _shipped(name: str) -> Profile:
    return load_toml(FOLDER / f"{name}.toml", Profile)


def names() -> tuple[str, ...]:
    """The shipped profiles."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))
