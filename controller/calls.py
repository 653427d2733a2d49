"""What one person is told, by one channel, of alarms that nobody has acknowledged; or everybody, of an escalation that is stuck.

A call names the person and the channel by their ids: addresses stand in duty.toml only, never in the journal.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from cython_ext import Hazard, Level
from lanes import cbor, fields
from lanes.identity import AlarmId
from lanes.keys import Mode

MARK: Final = "call"  # the first item of a packed call; an alarm's change begins with its alarm's id
NAMED_MAX: Final = (
    16  # alarms named in one call; `count` has the rest: a person reads no more, the alarm list has them all
)


class CallKind(StrEnum):
    """Words of the journal and of receivers: never rename."""

    CALL = "call"
    STUCK = "call-stuck"  # nobody has answered, or nobody could be reached


@dataclass(frozen=True, slots=True)
class About:
    """One alarm of a call. `since_us`: since when it waits for a person, UTC microseconds."""

    alarm: str
    zone: str
    hazard: Hazard
    level: Level
    since_us: int
    over: bool = False  # the danger has passed, and still nobody has looked

    def pack(self) -> list[Any]:
        return [self.alarm, self.zone, int(self.hazard), int(self.level), self.since_us, self.over]

    @classmethod
    def unpack(cls, value: Any) -> "About":
        alarm, zone, hazard, level, since_us, over = fields.row(value, 6, "alarm of a call")
        return cls(
            str(AlarmId.parse(fields.text(alarm, "alarm", 160))),
            fields.name(zone, "zone"),
            fields.one_of(Hazard, hazard, "hazard"),
            fields.one_of(Level, level, "level"),
            fields.natural(since_us, "time"),
            bool(over),
        )


@dataclass(frozen=True, slots=True)
class Call:
    """`person` "": whoever listens to the channels that carry more than CAP; `channel` "": all of those.

    `step` counts from 1; `reason`: a code of docs/decisions.md, "Escalation". `about` has at most NAMED_MAX of `count` alarms.
    """

    kind: CallKind
    person: str
    channel: str
    step: int
    reason: str
    mode: Mode
    about: tuple[About, ...]
    count: int
    at_us: int

    @property
    def identifier(self) -> str:
        """The same call told twice, after a crash, has the same."""
        return f"bucium-{self.kind}-{hashlib.sha256(self.pack()).hexdigest()[:16]}"

    @property
    def level(self) -> Level:
        """The worst that it tells of."""
        return max((each.level for each in self.about), default=Level.NORMAL)

    def pack(self) -> bytes:
        heads = [MARK, str(self.kind), self.person, self.channel, self.step, self.reason, int(self.mode)]
        return cbor.encode_document([*heads, [each.pack() for each in self.about], self.count, self.at_us])

    @classmethod
    def unpack(cls, data: bytes) -> "Call":
        """What `pack` gave."""
        row = fields.row(cbor.decode_document(data), 10, "call")
        _, kind, person, channel, step, reason, mode, about, count, at_us = row
        return cls(
            CallKind(kind),
            fields.optional_name(person, "person"),
            fields.optional_name(channel, "channel"),
            fields.natural(step, "step"),
            fields.text(reason, "reason", 48),
            fields.one_of(Mode, mode, "mode"),
            fields.many(about, NAMED_MAX, "alarms", About.unpack),
            fields.natural(count, "count"),
            fields.natural(at_us, "time"),
        )
