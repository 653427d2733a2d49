"""One alarm as the book and the journal keep it: a zone's danger, the points and events behind it, and its life (design §2.3)."""

from dataclasses import dataclass
from typing import Final

from cython_ext import Level
from lanes import cbor, fields
from lanes.identity import AlarmId, EventKey
from lanes.keys import Mode

from .changes import Reading
from .life import State
from .mutes import Mute

EVIDENCE_MAX: Final = 128  # events of one alarm: a point that flaps for a day; the opening ones and the newest stay


@dataclass(frozen=True, slots=True)
class Part:
    """One point in danger. `live`: it is so now, as far as its node has said. `watched`: only the controller's Panel says so."""

    reading: Reading
    live: bool
    watched: bool = False

    @property
    def place(self) -> tuple[str, bool]:
        return self.reading.point, self.watched


@dataclass(frozen=True, slots=True)
class Seen:
    """One event of an alarm, and whether a person has acknowledged it."""

    key: EventKey
    seen: bool = False


@dataclass(frozen=True, slots=True)
class Alarm:
    """A zone's danger and its life. Times are UTC microseconds."""

    id: AlarmId
    mode: Mode
    state: State
    episode: EventKey  # the event that began the present (or last) danger: a latched alarm may see several
    severity: Level
    opened_us: int
    changed_us: int
    parts: tuple[Part, ...]
    evidence: tuple[Seen, ...]
    aliases: tuple[AlarmId, ...] = ()
    ours: bool = True  # minted by a controller, not by a node's reflex
    latches: bool = False
    mute: Mute | None = None
    spent: tuple[str, ...] = ()  # rules of the plan that have muted it for as long as they may

    @property
    def level(self) -> Level:
        """How bad it is now."""
        return max((part.reading.level for part in self.parts), default=Level.NORMAL)

    @property
    def live_level(self) -> Level:
        """How bad it is now, as far as that is not late news: what may sound sirens."""
        return max((part.reading.level for part in self.parts if part.live), default=Level.NORMAL)

    @property
    def measured_level(self) -> Level:
        """How bad it is now by points of ours: what may sound sirens by itself."""
        ours = (part.reading.level for part in self.parts if part.live and not part.reading.outside)
        return max(ours, default=Level.NORMAL)

    @property
    def incident(self) -> bytes:
        """The incident of the present danger; for the first one it is that of the alarm's id, as a node's reflex derives it."""
        return AlarmId(self.id.zone, self.id.hazard, self.episode).incident

    @property
    def unseen(self) -> tuple[EventKey, ...]:
        return tuple(each.key for each in self.evidence if not each.seen)

    def names(self, wanted: AlarmId) -> bool:
        """Whether `wanted` is this alarm's id, one of its aliases, or what a node would have called it."""
        if wanted in (self.id, *self.aliases):
            return True
        same = (wanted.zone, wanted.hazard) == (self.id.zone, self.id.hazard)
        return same and any(each.key == wanted.key for each in self.evidence)

    def pack(self) -> bytes:
        document = [
            str(self.id),
            int(self.mode),
            str(self.state),
            self.episode.pack(),
            int(self.severity),
            [self.opened_us, self.changed_us],
            [[part.reading.pack(), part.live, part.watched] for part in self.parts],
            [[each.key.pack(), each.seen] for each in self.evidence],
            [str(alias) for alias in self.aliases],
            [self.ours, self.latches, *self.spent],
            self.mute.pack() if self.mute else None,
        ]
        return cbor.encode_document(document)

    @classmethod
    def unpack(cls, data: bytes) -> "Alarm":
        """What `pack` gave."""
        alarm_id, mode, state, episode, severity, times, parts, evidence, aliases, flags, mute = fields.row(
            cbor.decode_document(data), 11, "alarm"
        )
        return cls(
            AlarmId.parse(alarm_id),
            Mode(mode),
            State(state),
            EventKey.unpack(episode),
            Level(severity),
            times[0],
            times[1],
            tuple(Part(Reading.unpack(reading), live, watched) for reading, live, watched in parts),
            tuple(Seen(EventKey.unpack(key), seen) for key, seen in evidence),
            tuple(AlarmId.parse(alias) for alias in aliases),
            flags[0],
            flags[1],
            Mute.unpack(mute) if mute else None,
            tuple(flags[2:]),
        )


def bounded(evidence: tuple[Seen, ...]) -> tuple[Seen, ...]:
    """The evidence within its limit."""
    if len(evidence) <= EVIDENCE_MAX:
        return evidence
    half = EVIDENCE_MAX // 2
    return (*evidence[:half], *evidence[-half:])
