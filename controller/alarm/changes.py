"""What changed in an alarm: the one value that the alarm book gives to dispatch, history and the console."""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from cython_ext import Hazard, Level, Reason, Trouble
from lanes import cbor, fields
from lanes.identity import AlarmId, EventKey
from lanes.keys import Mode

from .sight import Sight

READINGS_MAX: Final = 16  # as many as one event's evidence: a person reads no more, the journal has them all
OUTSIDE: Final = "cap:"  # begins the "point" of another centre's warning; no id of a plan can begin so
ALIASES_MAX: Final = 64  # alarms of one zone and hazard that merged; the lowest keys are kept


class ChangeKind(StrEnum):
    """What happened to the alarm."""

    RAISED = "raised"
    ESCALATED = "escalated"
    LOWERED = "lowered"
    CLEARED = "cleared"
    ACKNOWLEDGED = "acknowledged"
    MUTED = "muted"  # its danger lasts
    RELEASED = "released"  # no longer muted, and its danger lasts


@dataclass(frozen=True, slots=True)
class Reading:
    """One point's part in a change. `value` in the point's unit, `at_us` UTC microseconds."""

    key: EventKey
    point: str
    value: float
    level: Level
    reason: Reason
    trouble: Trouble
    at_us: int

    @property
    def outside(self) -> bool:
        """Whether another centre says so, and no point of ours: `point` is then OUTSIDE and the source's name."""
        return self.point.startswith(OUTSIDE)

    def pack(self) -> list[Any]:
        numbers = [self.value, int(self.level), int(self.reason), int(self.trouble), self.at_us]
        return [self.key.pack(), self.point, *numbers]

    @classmethod
    def unpack(cls, value: Any) -> "Reading":
        key, point, measured, level, reason, trouble, at_us = fields.row(value, 7, "reading")
        return cls(
            EventKey.unpack(key),
            _point(point),
            fields.number(measured, "value"),
            fields.one_of(Level, level, "level"),
            fields.one_of(Reason, reason, "reason"),
            Trouble(fields.natural(trouble, "trouble", 0xFFFF_FFFF)),
            fields.natural(at_us, "time"),
        )


def _point(value: Any) -> str:
    if isinstance(value, str) and value.startswith(OUTSIDE):
        return OUTSIDE + fields.name(value.removeprefix(OUTSIDE), "source")
    return fields.name(value, "point")


@dataclass(frozen=True, slots=True)
class AlarmChange:
    """An alarm went from `was` to `level`, was acknowledged, muted or released. Times are UTC microseconds.

    `alarm_id` is the canonical id now; `aliases` are the ids it has swallowed. `evidence` names every event behind it,
    `readings` the newest value of each contributing point. `by` is the person who acknowledged, muted or released it. `own` is
    the Level that rests on points of ours, where it is not `level`: what others said is not said again in our name. `muted`: the
    alarm's state, where that is a mute; it is told all the same.
    """

    alarm_id: AlarmId
    kind: ChangeKind
    was: Level
    level: Level
    mode: Mode
    opened_us: int
    at_us: int
    evidence: tuple[EventKey, ...] = ()
    readings: tuple[Reading, ...] = ()
    aliases: tuple[AlarmId, ...] = field(default=())
    by: str = ""
    own: Level | None = None
    muted: str = ""
    sights: tuple[Sight, ...] = field(default=(), compare=False)  # around its points when it is told; not kept

    @property
    def ours(self) -> "AlarmChange":
        """The change as far as it rests on points of ours: what CAP tells."""
        if self.own is None:
            return self
        readings = tuple(each for each in self.readings if not each.outside)
        kind = ChangeKind.CLEARED if self.own is Level.NORMAL else self.kind
        was = self.was if self.was is not Level.NORMAL else self.level
        return replace(self, kind=kind, was=was, level=self.own, readings=readings, own=None)

    @property
    def zone(self) -> str:
        return self.alarm_id.zone

    @property
    def hazard(self) -> Hazard:
        return self.alarm_id.hazard

    def pack(self) -> bytes:
        """The change as bytes, for a store; evidence beyond the readings is the journal's."""
        numbers = [int(self.was), int(self.level), int(self.mode), self.opened_us, self.at_us]
        rows = [r.pack() for r in self.readings[:READINGS_MAX]]
        aliases = [str(a) for a in self.aliases[:ALIASES_MAX]]
        own = [-1 if self.own is None else int(self.own), self.muted] if self.muted or self.own is not None else []
        return cbor.encode_document([str(self.alarm_id), str(self.kind), *numbers, rows, aliases, self.by, *own])

    @classmethod
    def unpack(cls, data: bytes) -> "AlarmChange":
        """What `pack` gave."""
        body = cbor.decode_document(data)
        body, rest = (body[:10], body[10:]) if isinstance(body, list) else (body, [])
        own = rest[0] if rest else -1
        muted = rest[1] if len(rest) > 1 else ""  # the first journals had only `own`
        alarm_id, kind, was, level, mode, opened_us, at_us, rows, aliases, by = fields.row(body, 10, "change")
        readings = tuple(Reading.unpack(row) for row in rows)
        return cls(
            AlarmId.parse(alarm_id),
            ChangeKind(kind),
            Level(was),
            Level(level),
            Mode(mode),
            opened_us,
            at_us,
            tuple(r.key for r in readings),
            readings,
            tuple(AlarmId.parse(a) for a in aliases),
            by,
            None if own == -1 else Level(own),
            muted,
        )
