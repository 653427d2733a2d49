"""A device's registers, made from its profile, in engineering units on one side and in Modbus tables on the other.

Tables are by function code: 1 coils, 2 discrete inputs, 3 holding and 4 input registers. Only what the profile knows
exists; anything else is an illegal address, as in the device.
"""

from cython_ext.errors import ConfigError
from firmware_bridge.modbus.interpret import MEANS, applies
from firmware_bridge.modbus.plan import blocks
from firmware_bridge.profile import ChannelProfile, Profile, Reference, StatusRule
from firmware_bridge.registers import ORDER_BY_CODE, Order, Type, encode, encode_text, from_pattern, pattern

PLACES = 2  # decimal places that a device with a scale register starts with


class Memory:
    """Addresses are the profile's; an offset is the line's business."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.tables: dict[int, dict[int, int]] = {1: {}, 2: {}, 3: {}, 4: {}}
        self._clearing = {
            (one.function, one.address + i)
            for one in profile.channel.values()
            if one.read_once
            for i in range(one.count)
        }
        for block in blocks(profile, profile.channel):  # gaps that a read bridges exist too
            for address in range(block.address, block.end):
                self.tables[block.function][address] = 0
        for point in profile.write.values():
            if not point.every:
                self.tables[1 if point.function == 5 else 3].setdefault(point.address, 0)
        for channel in profile.channel.values():
            self._start(channel)

    def _start(self, channel: ChannelProfile) -> None:
        """Healthy, in the channel's own unit."""
        if channel.scale_register is not None:
            self._put(channel.scale_register, channel, min(PLACES, channel.scale_register.most))
        if channel.unit_register is not None:
            factors = channel.unit_register.factors
            self._put(channel.unit_register, channel, int(min(factors, key=lambda code: abs(factors[code] - 1.0))))
        if channel.loop is not None:
            self.set_channel(channel, channel.loop.low)
        self._heal(channel)

    def channel(self, name: str) -> ChannelProfile:
        """ConfigError for an unknown one."""
        found = self.profile.channel.get(name)
        if found is None:
            raise ConfigError(f"{self.profile.title} has no channel {name!r}: it has {', '.join(self.profile.channel)}")
        return found

    def set(self, name: str, value: float | str) -> None:
        """Set a channel in its own unit. ConfigError when the registers cannot hold it."""
        first = self.channel(name)
        for channel in (first, *(one for one in self.profile.channel.values() if one.same_as == name)):
            if isinstance(value, str):
                self._write(channel, encode_text(value, channel.length, channel.order))
                continue
            try:
                self.set_channel(channel, value)
            except OverflowError as error:
                raise ConfigError(f"{name} = {value}: {error}") from None

    def set_channel(self, channel: ChannelProfile, value: float) -> None:
        if channel.type is Type.BITS:
            self._set_bits(channel, value)
            return
        if channel.loop is not None:
            value = 4.0 + (value - channel.loop.low) / (channel.loop.high - channel.loop.low) * 16.0
        if channel.unit_register is not None:
            value /= channel.unit_register.factors[str(self._get(channel.unit_register, channel))]
        number = (value - channel.offset) / channel.scale
        if channel.scale_register is not None:
            number *= 10 ** self._get(channel.scale_register, channel)
        if channel.wrap:
            number = round(number) % channel.wrap
        self._write(channel, encode(number, channel.type, self._order(channel)))

    def _set_bits(self, channel: ChannelProfile, value: float) -> None:
        number = round((value - channel.offset) / channel.scale)
        table = self.tables[channel.function]
        if channel.function in (1, 2):
            table[channel.address] = int((number != 0) is not channel.invert)
            return
        shift = (channel.mask & -channel.mask).bit_length() - 1
        part = (0 if number else channel.mask) if channel.invert else (number << shift) & channel.mask
        table[channel.address] = (table[channel.address] & ~channel.mask) | part

    def trouble(self, name: str, means: str, on: bool = True) -> None:
        """Make the device say `means` of a channel (a status rule of the profile, or its sentinel), or say it no more."""
        channel = self.channel(name)
        rules = [one for one in channel.status if one.means == means]
        if means not in MEANS or not (rules or (means == "sentinel" and channel.sentinels)):
            raise ConfigError(f"{self.profile.title} cannot say {means!r} of {name}")
        if not on:
            self._heal(channel)
        elif rules:
            rule = rules[0]
            wanted = rule.equals if rule.equals is not None else (rule.not_equals or 0) ^ (rule.mask & -rule.mask)
            self._put(rule, channel, (self._get(rule, channel) & ~rule.mask) | wanted)
        else:
            self._write(channel, from_pattern(channel.sentinels[0], channel.count, self._order(channel)))

    def _heal(self, channel: ChannelProfile) -> None:
        """Turn the channel's status words so that no rule applies: bit by bit, in a few rounds."""
        for _ in range(4):
            wrong = [rule for rule in channel.status if applies(rule, self._get(rule, channel))]
            if not wrong:
                return
            for rule in wrong:
                word = self._get(rule, channel)
                if rule.not_equals is not None:
                    self._put(rule, channel, (word & ~rule.mask) | (rule.not_equals & rule.mask))
                else:
                    own = channel.mask if channel.type is Type.BITS and rule.address == channel.address else 0
                    free = rule.mask & ~own or rule.mask
                    self._put(rule, channel, word ^ (free & -free))

    def _order(self, channel: ChannelProfile) -> Order:
        if channel.order_register is None:
            return channel.order
        return ORDER_BY_CODE[self._get(channel.order_register, channel)]

    def _get(self, of: Reference | StatusRule, channel: ChannelProfile) -> int:
        table = self.tables[of.function or channel.function]
        count = 2 if of.type == "u32" else 1
        return pattern([table[of.address + i] for i in range(count)], of.order)

    def _put(self, of: Reference | StatusRule, channel: ChannelProfile, number: int) -> None:
        table = self.tables[of.function or channel.function]
        count = 2 if of.type == "u32" else 1
        for i, word in enumerate(from_pattern(number & (1 << 16 * count) - 1, count, of.order)):
            table[of.address + i] = word

    def _write(self, channel: ChannelProfile, registers: list[int]) -> None:
        for i, word in enumerate(registers):
            self.tables[channel.function][channel.address + i] = word

    def read(self, function: int, address: int, count: int) -> list[int] | None:
        """What a master reads; None: illegal address. Reading may clear."""
        table = self.tables[function]
        found = [table.get(address + i) for i in range(count)]
        if None in found:
            return None
        for i in range(count):
            if (function, address + i) in self._clearing:
                table[address + i] = 0
        return [one for one in found if one is not None]
