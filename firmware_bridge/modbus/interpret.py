"""Registers → readings, by the profile. Pure, but for the counters that a channel carries on.

Order of judgement: no registers → MISSING; a sentinel → SENTINEL; a status rule → what it means; a scale, unit or order
register with a number that the profile does not know → DEVICE_FAULT and no value; nan and infinity → SENTINEL (no
device measures them); a loop current outside NAMUR NE 43 → LOOP_FAULT. A value outside the sensor's span is *kept*:
the core judges it (design §6, rule 2).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite, nan
from typing import Final

from cython_ext.model import Status
from firmware_bridge.driver import Reading
from firmware_bridge.profile import ChannelProfile, Reference, StatusRule
from firmware_bridge.registers import ORDER_BY_CODE, Type, decode, decode_text, pattern

# (function, address) → register or bit, as read; what is absent could not be read
Words = Mapping[tuple[int, int], int]

MEANS: Final = {
    "missing": Status.MISSING,
    "sentinel": Status.SENTINEL,
    "loop-fault": Status.LOOP_FAULT,
    "device-fault": Status.DEVICE_FAULT,
    "test": Status.TEST,
}
LOOP_LOW_MA: Final = 3.6  # NAMUR NE 43: below and above is a fault, not a value
LOOP_HIGH_MA: Final = 21.0
NO_VALUE: Final = Status.MISSING | Status.SENTINEL | Status.LOOP_FAULT


@dataclass(slots=True)
class Counter:
    """A wrapping or self-clearing counter, carried on from the first reading of this process."""

    total: int = 0
    last: int | None = None

    def wrapped(self, raw: int, modulus: int) -> int:
        """Counts through a wrap; a larger step back than forward is a restarted device, which counts from 0."""
        if self.last is None:
            self.total = raw
        else:
            step = (raw - self.last) % modulus
            self.total += step if step <= modulus // 2 else raw
        self.last = raw
        return self.total

    def cleared(self, raw: int) -> int:
        self.total += raw
        return self.total


@dataclass(slots=True)
class Counters:
    """The counters of one device, by channel."""

    by_channel: dict[str, Counter] = field(default_factory=dict)

    def of(self, channel: str) -> Counter:
        return self.by_channel.setdefault(channel, Counter())


class _NoValueError(Exception):
    """The value cannot be known: `status`, and why."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def reading(name: str, channel: ChannelProfile, words: Words, counters: Counters, at_ns: int, why: str) -> Reading:
    """One channel's Reading. `why` is the reason for what is absent from `words`."""
    raw = _registers(channel.function, channel.address, channel.count, words)
    if raw is None:
        return Reading(name, nan, Status.MISSING, at_ns, reason=why)
    try:
        status, reason = _status(channel, words, why)
        if channel.type is Type.ASCII:
            return Reading(name, nan, status, at_ns, raw, reason, decode_text(raw, channel.order))
        value = _value(name, channel, raw, words, counters, why)
    except _NoValueError as trouble:
        return Reading(name, nan, trouble.status, at_ns, raw, str(trouble))
    return Reading(name, nan if status & NO_VALUE else value, status, at_ns, raw, reason)


def _registers(function: int, address: int, count: int, words: Words) -> tuple[int, ...] | None:
    found = [words.get((function, address + i)) for i in range(count)]
    return None if None in found else tuple(one for one in found if one is not None)


def _status(channel: ChannelProfile, words: Words, why: str) -> tuple[Status, str]:
    status = Status.OK
    reasons = []
    for rule in channel.status:
        if applies(rule, _reference(rule, channel, words, why)):
            status |= MEANS[rule.means]
            reasons.append(rule.reason)
    return status, "; ".join(reasons)


def applies(rule: StatusRule, word: int) -> bool:
    """Whether the rule's test holds for the device's word."""
    part = word & rule.mask
    return part == rule.equals if rule.equals is not None else part != rule.not_equals


def _reference(of: Reference | StatusRule, channel: ChannelProfile, words: Words, why: str) -> int:
    found = _registers(of.function or channel.function, of.address, 2 if of.type == "u32" else 1, words)
    if found is None:
        raise _NoValueError(Status.MISSING, why)
    return pattern(found, of.order)


def _value(
    name: str, channel: ChannelProfile, raw: tuple[int, ...], words: Words, counters: Counters, why: str
) -> float:
    order = channel.order
    if channel.order_register is not None:
        code = _reference(channel.order_register, channel, words, why)
        if code >= len(ORDER_BY_CODE):
            raise _NoValueError(Status.DEVICE_FAULT, f"the device's byte order is {code}: unknown")
        order = ORDER_BY_CODE[code]
    if pattern(raw, order) in channel.sentinels:
        raise _NoValueError(Status.SENTINEL, "the device says that it has no value")
    number = decode(raw, channel.type, order)
    if channel.type is Type.BITS:
        return _bits(channel, int(number))
    if not isfinite(number):
        raise _NoValueError(Status.SENTINEL, f"the device sent {number}")
    if channel.wrap:
        number = counters.of(name).wrapped(int(number), channel.wrap)
    elif channel.read_once:
        number = counters.of(name).cleared(int(number))
    return _scaled(channel, float(number), words, why)


def _bits(channel: ChannelProfile, word: int) -> float:
    if channel.function in (1, 2):
        part = word & 1
    else:
        shift = (channel.mask & -channel.mask).bit_length() - 1
        part = (word & channel.mask) >> shift
    return float(part == 0) if channel.invert else float(part) * channel.scale + channel.offset


def _scaled(channel: ChannelProfile, number: float, words: Words, why: str) -> float:
    if channel.scale_register is not None:
        places = _reference(channel.scale_register, channel, words, why)
        if places > channel.scale_register.most:
            raise _NoValueError(Status.DEVICE_FAULT, f"the device says {places} decimal places")
        number /= 10**places
    value = number * channel.scale + channel.offset
    if channel.unit_register is not None:
        code = _reference(channel.unit_register, channel, words, why)
        factor = channel.unit_register.factors.get(str(code))
        if factor is None:
            raise _NoValueError(Status.DEVICE_FAULT, f"the device's unit code is {code}: unknown")
        value *= factor
    if channel.loop is not None:
        if not LOOP_LOW_MA <= value <= LOOP_HIGH_MA:
            raise _NoValueError(Status.LOOP_FAULT, f"loop current {value:.2f} mA (NAMUR NE 43)")
        value = channel.loop.low + (value - 4.0) / 16.0 * (channel.loop.high - channel.loop.low)
    return value
