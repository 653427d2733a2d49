"""Frames: the golden ones of the makers, and no false value out of garbled ones."""

import os
import random

import pytest

from firmware_bridge.modbus import frames
from firmware_bridge.modbus.frames import Found

CASES = int(os.environ.get("BUCIUM_FRAMES", "100000"))  # by hand: 1,000,000


def test_sonbest_golden_frames() -> None:
    request = frames.read(1, 3, 0, 1)
    assert frames.rtu_frame(1, request.pdu) == bytes.fromhex("01 03 00 00 00 01 84 0A")
    match = frames.find_rtu(bytes.fromhex("01 03 02 02 18 B9 2E"), request)
    assert match.found is Found.ANSWER
    assert frames.registers_of(match.pdu) == (536,)


def test_waveshare_golden_frame() -> None:
    request = frames.write_coil(1, 0, frames.COIL_ON)
    frame = bytes.fromhex("01 05 00 00 FF 00 8C 3A")
    assert frames.rtu_frame(1, request.pdu) == frame
    assert frames.find_rtu(frame, request).found is Found.ANSWER


def test_waveshare_timed_pulse_is_a_raw_value() -> None:
    request = frames.write_coil(1, 0x0200, 7)
    assert request.pdu == bytes.fromhex("05 02 00 00 07")
    assert frames.find_rtu(frames.rtu_frame(1, request.pdu), request).found is Found.ANSWER


@pytest.mark.parametrize(("reply", "bits"), [("FF 02 01 01 51 A0", 1), ("FF 02 01 00 90 60", 0)])
def test_novabo_golden_frames(reply: str, bits: int) -> None:
    request = frames.read(255, 2, 0, 8)
    assert frames.rtu_frame(255, request.pdu) == bytes.fromhex("FF 02 00 00 00 08 6C 12")
    match = frames.find_rtu(bytes.fromhex(reply), request)
    assert frames.bits_of(match.pdu, 8) == (bits, 0, 0, 0, 0, 0, 0, 0)


def test_a_good_frame_after_stray_bytes_is_found() -> None:
    request = frames.read(1, 3, 0, 1)
    good = bytes.fromhex("01 03 02 02 18 B9 2E")
    for stray in (b"\x00", b"\xff", b"\x01", b"\x01\x03", b"\x01\x03\x02", bytes(range(200))):
        match = frames.find_rtu(stray + good, request)
        assert match.found is Found.ANSWER, stray
        assert frames.registers_of(match.pdu) == (536,)


def test_what_follows_a_frame_decides_about_it() -> None:
    request = frames.read(1, 3, 0, 1)
    good = bytes.fromhex("01 03 02 02 18 B9 2E")
    assert frames.find_rtu(good + b"\xff\x00", request).found is Found.ANSWER  # a line driver that lets go
    assert frames.find_rtu(good + b"\x41", request).found is Found.NOTHING
    assert frames.find_rtu(good + b"\x00\x00\x00", request).found is Found.NOTHING


def test_of_two_frames_the_last_is_the_answer() -> None:
    request = frames.read(1, 3, 0, 1)
    late = frames.rtu_frame(1, bytes.fromhex("03 02 00 01"))
    good = bytes.fromhex("01 03 02 02 18 B9 2E")
    assert frames.registers_of(frames.find_rtu(late + good, request).pdu) == (536,)


def test_an_exception_is_told_apart() -> None:
    request = frames.read(1, 3, 0, 1)
    assert frames.find_rtu(frames.rtu_frame(1, b"\x83\x02"), request).found is Found.EXCEPTION
    assert frames.find_rtu(frames.rtu_frame(1, b"\x83\x77"), request).found is Found.NOTHING  # no such exception


def _garble(rng: random.Random, good: bytes) -> bytes:
    """A frame after the faults of F19; never `good` itself with only clean surroundings."""
    kind = rng.randrange(8)
    at = rng.randrange(len(good))
    if kind == 0:  # a burst of up to 16 bits
        data = bytearray(good)
        burst = rng.randrange(1, 0x10000).to_bytes(2, "big")
        data[at] ^= burst[0]
        data[min(at + 1, len(good) - 1)] ^= burst[1] if at + 1 < len(good) else 0
        return bytes(data)
    if kind == 1:  # truncated
        return good[:at]
    if kind == 2:  # a byte lost
        return good[:at] + good[at + 1 :]
    if kind == 3:  # a byte too many inside
        return good[: at or 1] + bytes([rng.randrange(256)]) + good[at or 1 :]
    if kind == 4:  # another unit, function or length, with a CRC that fits
        body = bytearray(good[:-2])
        place = rng.randrange(3)
        body[place] = (body[place] + rng.randrange(1, 256)) % 256
        return bytes(body) + frames.crc(bytes(body))
    if kind == 5:  # a stream of FF or 00
        return bytes([rng.choice((0x00, 0xFF))]) * rng.randrange(1, 300)
    if kind == 6:  # noise
        return rng.randbytes(rng.randrange(0, 80))
    return good[rng.randrange(1, len(good)) :] + good[: rng.randrange(1, len(good))]  # pieces in the wrong order


def test_no_false_value_in_garbled_rtu_frames() -> None:
    rng = random.Random(19)
    false = []
    answered = 0
    for number in range(CASES):
        unit, function = rng.randrange(1, 248), rng.choice((1, 2, 3, 4))
        count = rng.randrange(1, 20)
        request = frames.read(unit, function, rng.randrange(0, 65000), count)
        truth = request.prefix + rng.randbytes(request.length - 2)
        good = frames.rtu_frame(unit, truth)
        garbled = _garble(rng, good)
        match = frames.find_rtu(garbled, request)
        if match.found is Found.ANSWER:
            answered += 1
            if match.pdu != truth:
                false.append((number, garbled.hex()))
    print(f"garbled RTU frames {CASES}, false values {len(false)}, true values recovered {answered}")
    assert not false


def test_no_false_value_in_garbled_tcp_frames() -> None:
    rng = random.Random(502)
    for _ in range(CASES // 5):
        request = frames.read(rng.randrange(1, 248), rng.choice((1, 2, 3, 4)), 0, rng.randrange(1, 20))
        transaction = rng.randrange(1, 65536)
        truth = request.prefix + rng.randbytes(request.length - 2)
        good = frames.tcp_frame(transaction, request.unit, truth)
        data = bytearray(good)
        place = rng.randrange(9)  # the header, the function and the length: what a frame is known by
        data[place] = (data[place] + rng.randrange(1, 256)) % 256
        for garbled in (bytes(data), good[: rng.randrange(len(good))], b"\xff" * 300):
            match = frames.find_tcp(garbled, request, transaction)
            assert match.found is not Found.ANSWER, garbled.hex()


def test_a_late_tcp_answer_is_stepped_over() -> None:
    request = frames.read(1, 3, 0, 1)
    late = frames.tcp_frame(6, 1, bytes.fromhex("03 02 00 01"))
    good = frames.tcp_frame(7, 1, bytes.fromhex("03 02 02 18"))
    assert frames.find_tcp(late, request, 7).found is Found.NOTHING
    assert frames.registers_of(frames.find_tcp(late + good, request, 7).pdu) == (536,)


@pytest.mark.parametrize(("function", "count"), [(3, 0), (3, 126), (4, 126), (1, 2001), (2, 0)])
def test_what_the_protocol_cannot_carry_is_refused(function: int, count: int) -> None:
    with pytest.raises(ValueError, match="count"):
        frames.read(1, function, 0, count)
