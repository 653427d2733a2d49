"""Requests, and the search for their answer in what the line gave. Pure.

RTU has no start mark, no length and no transaction number: a frame is known by its unit, its function, the length
that its request implies, and its CRC. So the search runs over every offset (a stray byte in front is stepped over) and
believes only a frame that meets all four and ends where the line fell silent. Up to two bytes 00 or FF may follow,
as a driver that lets go of the line makes them; any other tail means that the frame was not what it seems.
TCP frames carry their length and a transaction number; what does not fit them condemns the connection.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from pymodbus.framer.rtu import FramerRTU
from pymodbus.pdu.bit_message import ReadCoilsRequest, ReadDiscreteInputsRequest
from pymodbus.pdu.register_message import (
    ReadHoldingRegistersRequest,
    ReadInputRegistersRequest,
    WriteMultipleRegistersRequest,
    WriteSingleRegisterRequest,
)

MAX_BUFFER: Final = 1024  # four longest frames; more in one answer's time is noise
TAIL_MAX: Final = 2
COIL_ON: Final = 0xFF00
COIL_OFF: Final = 0x0000
_READS: Final = {
    1: ReadCoilsRequest,
    2: ReadDiscreteInputsRequest,
    3: ReadHoldingRegistersRequest,
    4: ReadInputRegistersRequest,
}
EXCEPTIONS: Final = {
    1: "illegal function",
    2: "illegal address",
    3: "illegal value",
    4: "device failure",
    5: "acknowledged, still busy",
    6: "busy",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway: target does not answer",
}
GATEWAY_SILENCE: Final = 11  # the gateway's way to say that the unit is dead


@dataclass(frozen=True, slots=True)
class Request:
    """One question to one unit. `prefix` and `length` are the answer's PDU, as far as the question fixes them."""

    unit: int
    pdu: bytes
    prefix: bytes
    length: int
    count: int = 0  # registers or bits asked for
    once: bool = False  # must not be asked again when the answer is lost: reading clears it

    @property
    def function(self) -> int:
        return self.pdu[0]


class Found(Enum):
    """What the buffer holds."""

    NOTHING = auto()  # not (yet) an answer
    ANSWER = auto()
    EXCEPTION = auto()
    BROKEN = auto()  # TCP only: not Modbus, close the connection


@dataclass(frozen=True, slots=True)
class Match:
    """What was found, and the PDU of an answer or exception."""

    found: Found
    pdu: bytes = b""


NOTHING: Final = Match(Found.NOTHING)


def read(unit: int, function: int, address: int, count: int, *, once: bool = False) -> Request:
    """FC01 to FC04. pymodbus refuses (ValueError) an address or count that the protocol cannot carry."""
    message = _READS[function](address=address, count=count, dev_id=unit)
    size = (count + 7) // 8 if function in (1, 2) else 2 * count
    pdu = bytes([function]) + message.encode()
    return Request(unit, pdu, bytes([function, size]), 2 + size, count, once)


def write_coil(unit: int, address: int, value: int) -> Request:
    """FC05 with any value: pymodbus has only on and off, and relay boards take a time here (domain.md §2.4 I).

    The answer repeats on and off; for other values only function and address are held to it.
    """
    pdu = struct.pack(">BHH", 5, address, value)
    return Request(unit, pdu, pdu if value in (COIL_ON, COIL_OFF) else pdu[:3], 5)


def write_register(unit: int, address: int, value: int) -> Request:
    """FC06."""
    pdu = b"\x06" + WriteSingleRegisterRequest(address=address, registers=[value], dev_id=unit).encode()
    return Request(unit, pdu, pdu, 5)


def write_registers(unit: int, address: int, values: Sequence[int]) -> Request:
    """FC16."""
    pdu = b"\x10" + WriteMultipleRegistersRequest(address=address, registers=list(values), dev_id=unit).encode()
    return Request(unit, pdu, pdu[:5], 5)


def rtu_frame(unit: int, pdu: bytes) -> bytes:
    body = bytes([unit]) + pdu
    return body + crc(body)


def crc(body: bytes) -> bytes:
    """The two CRC bytes as they go over the line."""
    return FramerRTU.compute_CRC(body).to_bytes(2, "big")


def tcp_frame(transaction: int, unit: int, pdu: bytes) -> bytes:
    return struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu


def find_rtu(buffer: bytes, request: Request) -> Match:
    """The answer to `request` in `buffer`, when the buffer holds it to the end."""
    for start in range(len(buffer) - 4):
        if buffer[start] != request.unit:
            continue
        function = buffer[start + 1]
        if function == request.function:
            size, kind = request.length, Found.ANSWER
            if not buffer.startswith(request.prefix, start + 1):
                continue
        elif function == request.function | 0x80:
            size, kind = 2, Found.EXCEPTION
            if buffer[start + 2] not in EXCEPTIONS:
                continue
        else:
            continue
        end = start + size + 3
        if end > len(buffer) or not _clean(buffer[end:]):
            continue
        if crc(buffer[start : end - 2]) == buffer[end - 2 : end]:
            return Match(kind, buffer[start + 1 : end - 2])
    return NOTHING


def _clean(tail: bytes) -> bool:
    return len(tail) <= TAIL_MAX and all(byte in (0x00, 0xFF) for byte in tail)


def find_tcp(buffer: bytes, request: Request, transaction: int) -> Match:
    """The answer with our transaction number; late answers of earlier ones are stepped over."""
    at = 0
    while len(buffer) - at >= 8:
        number, protocol, length, unit = struct.unpack_from(">HHHB", buffer, at)
        if protocol != 0 or not 3 <= length <= 254:
            return Match(Found.BROKEN)
        end = at + 6 + length
        if end > len(buffer):
            return NOTHING
        pdu = buffer[at + 7 : end]
        at = end
        if number != transaction:
            continue
        if unit != request.unit:
            return Match(Found.BROKEN)
        if pdu[0] == request.function and len(pdu) == request.length and pdu.startswith(request.prefix):
            return Match(Found.ANSWER, pdu)
        if pdu[0] == request.function | 0x80 and len(pdu) == 2:
            return Match(Found.EXCEPTION, pdu)
        return Match(Found.BROKEN)
    return NOTHING


def registers_of(pdu: bytes) -> tuple[int, ...]:
    """The registers of an answer to FC03 or FC04."""
    return struct.unpack(f">{pdu[1] // 2}H", pdu[2:])


def bits_of(pdu: bytes, count: int) -> tuple[int, ...]:
    """The `count` bits of an answer to FC01 or FC02."""
    return tuple((pdu[2 + i // 8] >> (i % 8)) & 1 for i in range(count))
