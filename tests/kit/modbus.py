"""A Modbus line in memory: the shipped simulators' devices behind a port that is no socket, for virtual time.

`MemoryLine` is handed to `ModbusBus(connect=line.connect)`. It can refuse connections, break them, and babble.
"""

import struct
from collections.abc import Callable
from typing import Final

from cython_ext.clock import Clock
from firmware_bridge.modbus.bus import ModbusBus
from firmware_bridge.modbus.device import ModbusDevice
from firmware_bridge.modbus.port import Connection, Listener
from firmware_bridge.profile import load
from firmware_bridge.settings import DeviceSettings, ModbusRtuBus, ModbusTcpBus
from firmware_bridge.simulators.device import SimulatedDevice
from firmware_bridge.simulators.informer import Informer
from firmware_bridge.simulators.line import Line, request_of
from firmware_bridge.simulators.record import Record

# What these tests' Informers have programmed: function code, tone, seconds. The blasts of the kit's patterns, and a growl.
PROGRAMMED: Final = (
    (1, "steady", 16.0),
    (2, "steady", 60.0),
    (3, "steady", 5.0),
    (4, "steady", 120.0),
    (5, "steady", 1.0),
    (6, "wail", 16.0),
    (7, "wail", 3.0),
)
SOUNDS: Final = [{"mode": tone, "function": code, "own_end_s": length_s} for code, tone, length_s in PROGRAMMED]


class MemoryLine(Line):
    """One line; `rtu` says whether its bytes are RTU frames or TCP frames."""

    def __init__(self, clock: Clock, *, rtu: bool = True) -> None:
        super().__init__("line")
        self.clock = clock
        self.rtu = rtu
        self.refuses = False
        self.opened = 0
        self.sent: list[bytes] = []  # every frame of the master
        self.record = Record()
        self._port: _Port | None = None

    def add(self, profile: str, unit: int, *, name: str = "", offset: int = 0) -> SimulatedDevice:
        device = SimulatedDevice(name or f"unit-{unit}", load(profile), unit, offset, self.record, self.clock)
        if device.profile.behaviour == "informer":
            device.behaviour = informer = Informer(device, self.clock)
            for function in PROGRAMMED:
                informer.program(*function)
        self.units[unit] = device
        return device

    async def connect(self, listener: Listener, timeout_s: float) -> Connection:
        del timeout_s
        if self.refuses:
            raise ConnectionRefusedError("refused")
        self.opened += 1
        self._port = _Port(self, listener)
        return self._port

    def cut(self) -> None:
        """The connection breaks."""
        if self._port is not None:
            port, self._port = self._port, None
            port.broken = True
            port.listener.lost()

    def babble(self, data: bytes) -> None:
        """Bytes that nobody asked for."""
        if self._port is not None:
            self._port.deliver(data)

    def bus(self, **settings: float | int | bool) -> ModbusBus:
        """The master."""
        if self.rtu:
            chosen: ModbusRtuBus | ModbusTcpBus = ModbusRtuBus.model_validate(
                {"type": "modbus-rtu", "id": "bus", "device": "memory", **settings}
            )
        else:
            chosen = ModbusTcpBus.model_validate({"type": "modbus-tcp", "id": "bus", "host": "memory", **settings})
        return ModbusBus(chosen, self.clock, self.connect)


class _Port:
    def __init__(self, line: MemoryLine, listener: Listener) -> None:
        self._line = line
        self.listener = listener
        self.broken = False

    def send(self, data: bytes) -> None:
        self._line.sent.append(data)
        cut: Callable[[], None] = self._line.cut
        if self._line.rtu:
            found = request_of(data)
            assert found is not None, "the master sent something that is no request"
            self._line.handle(found[0], found[1], None, self.deliver, cut)
        else:
            transaction, _, _, unit = struct.unpack(">HHHB", data[:7])
            self._line.handle(unit, data[7:], transaction, self.deliver, cut)

    def deliver(self, data: bytes) -> None:
        if not self.broken:
            self.listener.received(data)

    def close(self) -> None:
        self.broken = True


def device(bus: ModbusBus, profile: str, unit: int, clock: Clock, *, offset: int = 0) -> ModbusDevice:
    settings = DeviceSettings(id=f"unit-{unit}", bus=bus.id, unit=unit, profile=profile, address_offset=offset)
    return ModbusDevice(settings, load(profile), bus, clock)
