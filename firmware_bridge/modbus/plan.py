"""Which requests read which channels: contiguous registers in one request, a value together with its status. Pure.

Blocks are computed per call from the channels asked for, so that a point read at its own pace reads no more than it
needs. A register that reading clears (`read_once`) is in a block of its own, and no other block runs over it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cython_ext.errors import ConfigError
from firmware_bridge.profile import BIT_FUNCTIONS, MAX_BITS, ChannelProfile, Profile


@dataclass(frozen=True, slots=True, order=True)
class Block:
    """One read request."""

    function: int
    address: int
    count: int
    once: bool = False

    @property
    def end(self) -> int:
        return self.address + self.count


def blocks(profile: Profile, channels: Iterable[str]) -> tuple[Block, ...]:
    """The requests for `channels`, in order of function and address."""
    asked = [profile.channel[one] for one in channels]
    clearing = _clearing(profile.channel)
    spans = sorted({span for channel in asked if not channel.read_once for span in channel.references()})
    own = {span for channel in asked if channel.read_once for span in channel.references()}
    found = [Block(*span, once=True) for span in own]
    current: Block | None = None
    for function, address, count in spans:
        most = MAX_BITS if function in BIT_FUNCTIONS else profile.max_count
        if current is not None and current.function == function:
            end = max(current.end, address + count)
            near = address <= current.end + profile.gap
            if near and end - current.address <= most and not _covers(clearing, function, current.end, address):
                current = Block(function, current.address, end - current.address)
                continue
        if current is not None:
            found.append(current)
        current = Block(function, address, count)
    if current is not None:
        found.append(current)
    return tuple(sorted(found))


def check(name: str, profile: Profile) -> None:
    """ConfigError when a channel's value and its status in the same table cannot be read together."""
    clearing = _clearing(profile.channel)
    for channel_id, channel in profile.channel.items():
        own = [span for span in channel.references() if span[0] == channel.function]
        parts = [one for one in blocks(profile, [channel_id]) if one.function == channel.function]
        if len(parts) > 1:
            raise ConfigError(
                f"profile {name}: channel {channel_id} needs {len(parts)} requests of function {channel.function}, "
                f"so its value and its status could be of different moments: raise gap (now {profile.gap})"
            )
        if not channel.read_once and any(_covers(clearing, f, a, a + n) for f, a, n in own):
            raise ConfigError(f"profile {name}: channel {channel_id} reads a register that reading clears")


def _clearing(channels: Mapping[str, ChannelProfile]) -> set[tuple[int, int]]:
    return {(one.function, one.address + i) for one in channels.values() if one.read_once for i in range(one.count)}


def _covers(clearing: set[tuple[int, int]], function: int, first: int, end: int) -> bool:
    return any((function, address) in clearing for address in range(first, end))
