"""A simulated Modbus device: answers requests from its memory, does what its coils and registers command, and records it."""

import asyncio
import struct
from typing import Final, Protocol

from cython_ext.clock import Clock
from firmware_bridge.modbus.frames import COIL_OFF, COIL_ON
from firmware_bridge.profile import BIT_FUNCTIONS, MAX_BITS, MAX_REGISTERS, Profile, WritePoint

from .memory import Memory
from .record import Entry, Record

ILLEGAL_FUNCTION: Final = 1
ILLEGAL_ADDRESS: Final = 2
ILLEGAL_VALUE: Final = 3


class Behaviour(Protocol):
    """What a device does beyond holding registers."""

    def wrote(self, point: str, value: int) -> None:
        """A master wrote a point."""

    def fail(self, how: str) -> None:
        """Fail in a named way from now on; '' is well again."""

    def stop(self) -> None: ...


class SimulatedDevice:
    """One unit. `address_offset` is the node's: added to every address of the profile."""

    def __init__(self, name: str, profile: Profile, unit: int, offset: int, record: Record, clock: Clock) -> None:
        self.id = name
        self.profile = profile
        self.unit = unit
        self.memory = Memory(profile)
        self.behaviour: Behaviour | None = None
        self._offset = offset
        self._record = record
        self._clock = clock
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._by_address: dict[tuple[int, int], str] = {
            (one.function, one.address): name for name, one in profile.write.items()
        }
        self._by_pulse = {one.pulse.address: name for name, one in profile.write.items() if one.pulse}

    def answer(self, pdu: bytes) -> bytes:
        """The reply to a request's PDU: an answer or an exception."""
        function = pdu[0]
        if function in (1, 2, 3, 4) and len(pdu) == 5:
            return self._read(function, *struct.unpack(">HH", pdu[1:]))
        if function in (5, 6) and len(pdu) == 5:
            address, value = struct.unpack(">HH", pdu[1:])
            code = self._write(function, address - self._offset, value)
            return _exception(function, code) if code else pdu
        if function in (15, 16) and len(pdu) > 6:
            return self._write_many(function, pdu)
        return _exception(function, ILLEGAL_FUNCTION)

    def _read(self, function: int, address: int, count: int) -> bytes:
        most = MAX_BITS if function in BIT_FUNCTIONS else MAX_REGISTERS
        if not 1 <= count <= most:
            return _exception(function, ILLEGAL_VALUE)
        values = self.memory.read(function, address - self._offset, count)
        if values is None:
            return _exception(function, ILLEGAL_ADDRESS)
        if function in BIT_FUNCTIONS:
            data = bytearray((count + 7) // 8)
            for i, bit in enumerate(values):
                data[i // 8] |= bit << (i % 8)
            return bytes([function, len(data)]) + data
        return bytes([function, 2 * count]) + struct.pack(f">{count}H", *values)

    def _write_many(self, function: int, pdu: bytes) -> bytes:
        address, count, size = struct.unpack(">HHB", pdu[1:6])
        data = pdu[6:]
        if size != len(data) or count < 1 or size != ((count + 7) // 8 if function == 15 else 2 * count):
            return _exception(function, ILLEGAL_VALUE)
        for i in range(count):
            if function == 15:
                value = COIL_ON if data[i // 8] >> (i % 8) & 1 else COIL_OFF
            else:
                value = int.from_bytes(data[2 * i : 2 * i + 2], "big")
            code = self._write(5 if function == 15 else 6, address - self._offset + i, value)
            if code:
                return _exception(function, code)
        return pdu[:5]

    def _write(self, function: int, address: int, value: int) -> int:
        """0, or the exception code."""
        if function == 5 and address in self._by_pulse:
            return self._pulse(self._by_pulse[address], value)
        name = self._by_address.get((function, address))
        if name is None:
            return ILLEGAL_ADDRESS
        point = self.profile.write[name]
        if function == 5:
            if value not in (COIL_ON, COIL_OFF):
                return ILLEGAL_VALUE
            for one in point.every or (name,):
                self._stop_timer(one)
                self.set_coil(one, value == COIL_ON, "bus")
        elif not _takes(point, value):
            return ILLEGAL_VALUE
        else:
            self.memory.tables[3][address] = value
            self._add("register", name, value, "bus")
        if self.behaviour is not None:
            self.behaviour.wrote(name, int(value == COIL_ON) if function == 5 else value)
        return 0

    def _pulse(self, name: str, count: int) -> int:
        pulse = self.profile.write[name].pulse
        if pulse is None or not 1 <= count <= pulse.most:
            return ILLEGAL_VALUE
        self._stop_timer(name)
        self.set_coil(name, True, "bus")
        loop = asyncio.get_running_loop()
        self._timers[name] = loop.call_later(count * pulse.unit_s, self._pulse_over, name)
        return 0

    def _pulse_over(self, name: str) -> None:
        self._timers.pop(name, None)
        self.set_coil(name, False, "timer")

    def _stop_timer(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    def set_coil(self, name: str, on: bool, by: str) -> None:
        """Switch a coil, and record it if that was an edge."""
        address = self.profile.write[name].address
        if self.memory.tables[1][address] != int(on):
            self.memory.tables[1][address] = int(on)
            self._add("coil", name, int(on), by)

    def sound(self, tone: str, on: bool, by: str) -> None:
        """A siren controller makes or ends a sound."""
        self._add("sound", tone, int(on), by)

    def _add(self, what: str, name: str, value: float, by: str) -> None:
        self._record.add(Entry(self._clock.monotonic_ns(), self.id, what, name, value, by))

    def stop(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        if self.behaviour is not None:
            self.behaviour.stop()


def _takes(point: WritePoint, value: int) -> bool:
    return value in point.values.values() if point.values else value <= point.most


def _exception(function: int, code: int) -> bytes:
    return bytes([function | 0x80, code])
