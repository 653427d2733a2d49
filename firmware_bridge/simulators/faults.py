"""How a simulated device's answer goes wrong on its way. Pure: a frame in, pieces with their delays out."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cython_ext.errors import ConfigError
from firmware_bridge.modbus.frames import crc

STRAY: Final = 0x7E  # neither 00 nor FF: no idle line
NOISE_BYTES: Final = 400


class Fault(StrEnum):
    """What goes wrong with an answer (reliability.md, F19)."""

    NONE = ""
    DEAD = "dead"  # no answer
    SLOW = "slow"  # the answer after `delay_s`
    STRAY = "stray"  # one byte in front of the answer
    TAIL = "tail"  # one FF after it, as a line driver that lets go
    BAD_CRC = "bad-crc"  # TCP: a wrong protocol number
    TRUNCATED = "truncated"
    WRONG_UNIT = "wrong-unit"
    WRONG_FUNCTION = "wrong-function"
    WRONG_LENGTH = "wrong-length"
    EXCEPTION = "exception"  # the device refuses with `code`
    NOISE = "noise"  # a stream of FF instead of an answer
    DROP = "drop"  # TCP: the connection is cut; a line: no answer


@dataclass(frozen=True, slots=True)
class Misbehaviour:
    """A fault, for the next `times` requests (0: until it is changed)."""

    fault: Fault = Fault.NONE
    delay_s: float = 0.0
    code: int = 4
    times: int = 0


def misbehaviour(fault: str, **fields: float) -> Misbehaviour:
    """From a control message; ConfigError names the faults."""
    known = {"delay_s": float, "code": int, "times": int}
    if fault not in {one.value for one in Fault} or not fields.keys() <= known.keys():
        faults = ", ".join(one.value for one in Fault if one)
        raise ConfigError(f"faults are {faults}, each with {', '.join(known)}; '' is none")
    return Misbehaviour(
        Fault(fault),
        delay_s=fields.get("delay_s", 0.0),
        code=int(fields.get("code", 4)),
        times=int(fields.get("times", 0)),
    )


def rtu_pieces(how: Misbehaviour, unit: int, pdu: bytes) -> list[tuple[float, bytes]]:
    """What goes over a serial line, and when."""
    unit, pdu = _content(how, unit, pdu)
    body = bytes([unit]) + pdu
    frame = body + crc(body)
    if how.fault is Fault.BAD_CRC:
        frame = frame[:-1] + bytes([frame[-1] ^ 0x55])
    return _on_the_way(how, frame)


def tcp_pieces(how: Misbehaviour, transaction: int, unit: int, pdu: bytes) -> list[tuple[float, bytes]]:
    """What goes over a connection, and when."""
    unit, pdu = _content(how, unit, pdu)
    protocol = 0x5500 if how.fault is Fault.BAD_CRC else 0
    head = transaction.to_bytes(2, "big") + protocol.to_bytes(2, "big") + (len(pdu) + 1).to_bytes(2, "big")
    return _on_the_way(how, head + bytes([unit]) + pdu)


def _content(how: Misbehaviour, unit: int, pdu: bytes) -> tuple[int, bytes]:
    if how.fault is Fault.WRONG_UNIT:
        return unit % 247 + 1, pdu
    if how.fault is Fault.WRONG_FUNCTION:
        return unit, bytes([pdu[0] ^ 0x07]) + pdu[1:]
    if how.fault is Fault.WRONG_LENGTH:
        return unit, bytes([pdu[0], pdu[1] + 2]) + pdu[2:] + b"\0\0"
    if how.fault is Fault.EXCEPTION:
        return unit, bytes([pdu[0] | 0x80, how.code])
    return unit, pdu


def _on_the_way(how: Misbehaviour, frame: bytes) -> list[tuple[float, bytes]]:
    match how.fault:
        case Fault.DEAD | Fault.DROP:
            return []
        case Fault.TRUNCATED:
            frame = frame[: len(frame) // 2]
        case Fault.STRAY:
            frame = bytes([STRAY]) + frame
        case Fault.TAIL:
            frame += b"\xff"
        case Fault.NOISE:
            frame = b"\xff" * NOISE_BYTES
        case _:
            pass
    return [(how.delay_s, frame)]
