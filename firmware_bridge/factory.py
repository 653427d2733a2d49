"""From configuration to open buses, devices and sirens. Only what is configured is imported."""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cython_ext.clock import Clock
from cython_ext.errors import ConfigError

from . import driver
from .driver import Bus, Device
from .settings import BusSettings, DeviceSettings, GpioBus, ModbusRtuBus, SirenSettings
from .sirens.driver import Siren

if TYPE_CHECKING:
    from .gpio.chip import Chip
    from .gpio.kept import RealChip


class Bridge:
    """All buses, devices and sirens of a node.

    `base` is the folder of node.toml: profile, socket and record paths are relative to it. `make_bus` replaces how a
    Modbus or GPIO bus is made (a simulated network in tests). Misuse raises ConfigError here, before anything opens.
    """

    def __init__(
        self,
        buses: Sequence[BusSettings],
        devices: Sequence[DeviceSettings],
        sirens: Sequence[SirenSettings] = (),
        *,
        clock: Clock,
        base: Path | None = None,
        make_bus: "Callable[[BusSettings, Clock, Path], Bus] | None" = None,
    ) -> None:
        self._base = base or Path()
        _require_unique("bus", [one.id for one in buses])
        _require_unique("device", [one.id for one in devices])
        _require_unique("siren", [one.id for one in sirens])
        make = make_bus or open_bus
        self.buses: dict[str, Bus] = {one.id: make(one, clock, self._base) for one in buses}
        self.devices: dict[str, Device] = {one.id: self._device(one, clock) for one in devices}
        self._require_one_reader()
        self.sirens: dict[str, Siren] = {one.id: self._siren(one, clock) for one in sirens}

    def require_real_allowed(self, root_name: str) -> None:
        """ConfigError when the plan's root is DEMO and a bus is real (design §2.4)."""
        driver.require_real_allowed(self.buses.values(), root_name)

    async def open(self) -> None:
        """Open the buses, then let every siren off. Never raises on trouble."""
        for bus in self.buses.values():
            await bus.open()
        for siren in self.sirens.values():
            await siren.open()

    async def close(self) -> None:
        """Sirens off, relays to rest, ports closed."""
        async with contextlib.AsyncExitStack() as stack:
            for bus in self.buses.values():
                stack.push_async_callback(bus.close)
            for siren in self.sirens.values():
                await siren.close()

    def _device(self, settings: DeviceSettings, clock: Clock) -> Device:
        bus = self.buses.get(settings.bus)
        if bus is None:
            raise ConfigError(
                f"device {settings.id} is on bus {settings.bus!r}, which is not configured: "
                f"there is {', '.join(self.buses) or 'none'}"
            )
        from .gpio.device import Gpio

        if isinstance(bus, Gpio) != (not settings.profile):
            raise ConfigError(
                f"device {settings.id}: a device on a gpio bus has inputs and outputs, one on a Modbus bus a profile"
            )
        return make_device(settings, bus, clock, self._base)

    def _require_one_reader(self) -> None:
        """A register that reading clears must have one reader: refuse two devices on one unit of one bus."""
        seen: dict[tuple[str, int], Device] = {}
        for device in self.devices.values():
            unit = getattr(device, "unit", None)
            if unit is None:
                continue
            other = seen.setdefault((device.bus.id, unit), device)
            if other is not device and any(one.read_once for one in (*device.channels, *other.channels)):
                raise ConfigError(
                    f"devices {other.id} and {device.id} are the same unit {unit} of bus {device.bus.id}, "
                    "and its profile has a register that reading clears: only one may read it"
                )

    def _siren(self, settings: SirenSettings, clock: Clock) -> Siren:
        from .sirens.make import make_siren

        return make_siren(settings, self.devices, clock)


def open_bus(settings: BusSettings, clock: Clock, base: Path) -> Bus:
    """The bus that `settings` describe. Nothing is opened yet; real GPIO is imported only if chip says so."""
    if isinstance(settings, GpioBus):
        return _gpio(settings, clock, base)
    from .modbus.bus import ModbusBus

    if isinstance(settings, ModbusRtuBus) and settings.simulated and not settings.device.startswith("/"):
        settings = settings.model_copy(update={"device": str(base / settings.device)})
    return ModbusBus(settings, clock)


def _gpio(settings: GpioBus, clock: Clock, base: Path) -> Bus:
    from .gpio.device import Gpio

    if settings.chip != "simulated":
        return Gpio(settings, _real(settings, clock), clock)
    if settings.socket:
        from .gpio.remote import RemoteChip

        return Gpio(settings, RemoteChip(str(base / settings.socket)), clock)
    from .gpio.simulated import Board, SimulatedChip

    record = base / settings.record if settings.record else None
    return Gpio(settings, SimulatedChip(Board(clock, record)), clock)


def _real(settings: GpioBus, clock: Clock) -> "Chip":
    chip: RealChip
    if settings.chip == "rpi":
        from .gpio.rpi import RpiChip

        chip = RpiChip(clock)
    else:
        from .gpio.kernel import GpiodChip

        chip = GpiodChip(settings.label)
    if not settings.keeper:
        return chip
    from .gpio.kept import KeptChip

    return KeptChip(chip)


def make_device(settings: DeviceSettings, bus: Bus, clock: Clock, base: Path | None = None) -> Device:
    """A device on its bus."""
    from .gpio.device import Gpio, GpioDevice

    if isinstance(bus, Gpio):
        return GpioDevice(settings, bus, clock)
    from .modbus.bus import ModbusBus
    from .modbus.device import ModbusDevice
    from .profile import load

    if not isinstance(bus, ModbusBus):
        raise ConfigError(f"device {settings.id}: bus {bus.id} is neither Modbus nor gpio")
    return ModbusDevice(settings, load(settings.profile, base), bus, clock)


def _require_unique(what: str, ids: Sequence[str]) -> None:
    twice = sorted({one for one in ids if ids.count(one) > 1})
    if twice:
        raise ConfigError(f"two {what}s have the id {', '.join(twice)}")
