"""Bodies of the messages a node sends: events (durable, acked) and state reports (what is true now).

Bodies are CBOR lists, in the order of the fields here; `docs/wire.md` has them as tables.
"""

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Any, Final

from cython_ext import Cause, ClockQuality, ClockSource, Level, Reason, Trouble

from . import fields
from .identity import DIGEST_BYTES, INCIDENT_BYTES, SEQ_MAX, STORE_ID_BYTES

EVIDENCE_MAX: Final = 8  # members of a vote named in one event: keeps it within 300 bytes
STATE_ROWS_MAX: Final = 10  # rows of one state report: keeps it within 300 bytes
REFERENCE_BYTES: Final = 8
SIREN_FIELDS_FORMER: Final = 5
CHARGE_UNKNOWN: Final = 255
DRAWN_UNKNOWN: Final = 65_535  # sounded seconds: the node began when the mains were away already
ON_BATTERY_MAX_S: Final = 366 * 86_400
NO_POWER: Final = [0, CHARGE_UNKNOWN, 0, 0]  # nothing of a siren's battery is measured: not sent
CLOCK_ERROR_MAX_MS: Final = 65_535  # a minute and more: what is worse is no better known


class EventKind(IntEnum):
    """What an event tells."""

    TRANSITION = 1
    RECEIPT = 2  # the answer to an order, and each step of a siren
    TROUBLE = 3  # of the node itself: clock, disk, plan, link, key
    BOOT = 4
    RESET = 5  # the answer to a person's reset of a latched point


class Stage(IntEnum):
    """Steps of an activation, and the answers to an order (design §2.4; proof: what was measured)."""

    REFUSED = 0
    ACCEPTED = 1
    ARMED = 2
    SOUNDING = 3  # measured, where the siren can be measured
    DONE = 4
    FAILED = 5
    STOPPED = 6
    ALREADY = 7  # this incident sounds, or has sounded, here
    UNORDERED = 8  # it sounds, and nobody ordered it: a security alarm


@dataclass(frozen=True, slots=True)
class TransitionData:
    """A point's (or group's) change. `evidence` counts points in the order of the plan."""

    point: str
    cause: Cause
    was: Level
    level: Level
    value: float
    reason: Reason
    trouble: Trouble
    evidence: tuple[int, ...] = ()

    def pack(self) -> list[Any]:
        heads = [self.point, int(self.cause), int(self.was), int(self.level), self.value]
        return [*heads, int(self.reason), int(self.trouble), list(self.evidence)]

    @classmethod
    def unpack(cls, value: Any) -> "TransitionData":
        point, cause, was, level, measured, reason, trouble, evidence = fields.row(value, 8, "transition")
        return cls(
            fields.name(point, "point"),
            fields.one_of(Cause, cause, "cause"),
            fields.one_of(Level, was, "was"),
            fields.one_of(Level, level, "level"),
            fields.number(measured, "value"),
            fields.one_of(Reason, reason, "reason"),
            Trouble(fields.natural(trouble, "trouble", 0xFFFF_FFFF)),
            fields.many(evidence, EVIDENCE_MAX, "evidence", lambda v: fields.natural(v, "point index", 1 << 20)),
        )


@dataclass(frozen=True, slots=True)
class ReceiptData:
    """A siren's answer or step. `order` is the first 8 bytes of the order's SHA-256, zeros for a reflex."""

    siren: str
    order: bytes
    stage: Stage
    reason: str  # a code of docs/receipts.md, never free text
    incident: bytes
    order_epoch: int
    measured: bool = False  # whether SOUNDING or DONE rests on a measurement

    def pack(self) -> list[Any]:
        heads = [self.siren, self.order, int(self.stage), self.reason, self.incident]
        return [*heads, self.order_epoch, self.measured]

    @classmethod
    def unpack(cls, value: Any) -> "ReceiptData":
        siren, order, stage, reason, incident, order_epoch, measured = fields.row(value, 7, "receipt")
        return cls(
            fields.optional_name(siren, "siren"),
            fields.octets(order, "order", REFERENCE_BYTES),
            fields.one_of(Stage, stage, "stage"),
            fields.text(reason, "reason", 24),
            fields.octets(incident, "incident", INCIDENT_BYTES),
            fields.natural(order_epoch, "order epoch"),
            fields.flag(measured, "measured"),
        )


@dataclass(frozen=True, slots=True)
class TroubleData:
    """A trouble of the node itself. `code` is a word of docs/troubles.md; `subject` names the part."""

    code: str
    on: bool
    subject: str = ""

    def pack(self) -> list[Any]:
        return [self.code, self.on, self.subject]

    @classmethod
    def unpack(cls, value: Any) -> "TroubleData":
        code, on, subject = fields.row(value, 3, "trouble")
        return cls(fields.name(code, "code"), fields.flag(on, "on"), fields.text(subject, "subject", 48))


@dataclass(frozen=True, slots=True)
class BootData:
    """The node has started: what runs, and why it started again."""

    software: str
    why: str

    def pack(self) -> list[Any]:
        return [self.software, self.why]

    @classmethod
    def unpack(cls, value: Any) -> "BootData":
        software, why = fields.row(value, 2, "boot")
        return cls(fields.text(software, "software", 32), fields.text(why, "why", 32))


@dataclass(frozen=True, slots=True)
class ResetData:
    """What became of a reset. `order`: the first 8 bytes of the message's SHA-256; `why`: a code of docs/receipts.md."""

    point: str
    order: bytes
    done: bool
    why: str

    def pack(self) -> list[Any]:
        return [self.point, self.order, self.done, self.why]

    @classmethod
    def unpack(cls, value: Any) -> "ResetData":
        point, order, done, why = fields.row(value, 4, "reset")
        return cls(
            fields.name(point, "point"),
            fields.octets(order, "order", REFERENCE_BYTES),
            fields.flag(done, "done"),
            fields.text(why, "why", 24),
        )


Data = TransitionData | ReceiptData | TroubleData | BootData | ResetData
_DATA: Final[dict[EventKind, Any]] = {
    EventKind.TRANSITION: TransitionData,
    EventKind.RECEIPT: ReceiptData,
    EventKind.TROUBLE: TroubleData,
    EventKind.BOOT: BootData,
    EventKind.RESET: ResetData,
}
_KIND: Final = {data: kind for kind, data in _DATA.items()}


def _clock(clock: ClockQuality) -> tuple[int, int]:
    return int(clock.source), min(clock.error_ms, CLOCK_ERROR_MAX_MS)


def _clock_of(source: Any, error_ms: Any) -> ClockQuality:
    return ClockQuality(
        fields.one_of(ClockSource, source, "clock source"), fields.natural(error_ms, "clock error", CLOCK_ERROR_MAX_MS)
    )


@dataclass(frozen=True, slots=True)
class Event:
    """A durable event. Its key is (issuer, ledger, seq); its wall time is the envelope's issued-at."""

    ledger: bytes
    seq: int
    monotonic_ns: int  # within the envelope's boot id
    clock: ClockQuality
    plan: bytes  # SHA-256 of the plan it was judged under
    data: Data

    @property
    def kind(self) -> EventKind:
        return _KIND[type(self.data)]

    def pack(self) -> list[Any]:
        heads = [
            self.ledger,
            self.seq,
            self.monotonic_ns,
            int(self.clock.source),
            self.clock.error_ms,
            self.plan,
        ]
        return [*heads, int(self.kind), self.data.pack()]

    @classmethod
    def unpack(cls, value: Any) -> "Event":
        ledger, seq, monotonic_ns, source, error_ms, plan, kind, data = fields.row(value, 8, "event")
        return cls(
            fields.octets(ledger, "ledger id", STORE_ID_BYTES),
            fields.natural(seq, "seq", SEQ_MAX),
            fields.natural(monotonic_ns, "monotonic"),
            _clock_of(source, error_ms),
            fields.octets(plan, "plan", DIGEST_BYTES),
            _DATA[fields.one_of(EventKind, kind, "event kind")].unpack(data),
        )


@dataclass(frozen=True, slots=True)
class PointState:
    """A point that is not normal, now. `point` counts in the order of the plan (groups after points)."""

    point: int
    level: Level
    trouble: Trouble
    raise_seq: int  # seq of the event that raised this Level; 0: none yet
    age_ms: int  # since then, by the node's monotonic clock

    def pack(self) -> list[Any]:
        return [self.point, int(self.level), int(self.trouble), self.raise_seq, self.age_ms]

    @classmethod
    def unpack(cls, value: Any) -> "PointState":
        point, level, trouble, raise_seq, age_ms = fields.row(value, 5, "point state")
        return cls(
            fields.natural(point, "point index", 1 << 20),
            fields.one_of(Level, level, "level"),
            Trouble(fields.natural(trouble, "trouble", 0xFFFF_FFFF)),
            fields.natural(raise_seq, "seq", SEQ_MAX),
            fields.natural(age_ms, "age"),
        )


class SirenTrouble(IntFlag):
    """Why a siren could not sound, or may not be trusted to; several may be true at once."""

    NONE = 0
    UNREACHABLE = 1 << 0  # its device does not answer
    SUPERVISION = 1 << 1  # mains, battery, door …: a supervised point is not good
    NOT_SEEN = 1 << 2  # its feedback or a supervised point cannot be read
    NOT_OFF = 1 << 3  # the last OFF was not confirmed
    FAILED = 1 << 4  # its last activation failed
    UNORDERED = 1 << 5  # it sounds, and nobody ordered it
    NO_FEEDBACK = 1 << 6  # the plan asks for proof, and it has nothing to prove with
    DOUBT = 1 << 7  # orders must quote the boot nonce
    STORE = 1 << 8  # the order store cannot be written: orders are refused
    BEYOND = 1 << 9  # a policy asks for a signal that it has not, or that nothing would end if its node died


@dataclass(frozen=True, slots=True)
class SirenState:
    """A siren of this node, now. `siren` counts in the order of the plan."""

    siren: int
    stage: Stage  # DONE: silent and ready
    order_epoch: int
    hold_s: int  # of a stop, still to run
    trouble: int = 0  # bits of SirenTrouble
    inputs: int = 0  # what is supervised, three bits each (lanes/readiness.py)
    battery_mv: int = 0  # 0: not measured
    charge_percent: int = CHARGE_UNKNOWN
    drawn_s: int = 0  # sounded since the mains went
    on_battery_s: int = 0  # since then; 0: on mains, or not supervised

    def pack(self) -> list[Any]:
        heads = [self.siren, int(self.stage), self.order_epoch, self.hold_s, self.trouble, self.inputs]
        power = [self.battery_mv, self.charge_percent, self.drawn_s, self.on_battery_s]
        return [*heads, [] if power == NO_POWER else power]

    @classmethod
    def unpack(cls, value: Any) -> "SirenState":
        """The row; one of five fields is of a journal, or a node, from before there were inputs."""
        if isinstance(value, list) and len(value) == SIREN_FIELDS_FORMER:
            value = [*value, 0, []]
        siren, stage, order_epoch, hold_s, trouble, inputs, power = fields.row(value, 7, "siren state")
        battery_mv, charge_percent, drawn_s, on_battery_s = fields.row(power or NO_POWER, 4, "siren power")
        return cls(
            fields.natural(siren, "siren index", 1 << 20),
            fields.one_of(Stage, stage, "stage"),
            fields.natural(order_epoch, "order epoch"),
            fields.natural(hold_s, "hold"),
            fields.natural(trouble, "trouble", 0xFFFF),
            fields.natural(inputs, "inputs", 0xFF_FFFF),
            fields.natural(battery_mv, "battery", 1_000_000),
            fields.natural(charge_percent, "charge", CHARGE_UNKNOWN),
            fields.natural(drawn_s, "drawn", DRAWN_UNKNOWN),
            fields.natural(on_battery_s, "on battery", ON_BATTERY_MAX_S),
        )


@dataclass(frozen=True, slots=True)
class State:
    """What is true now: sent on connecting, every 30 s while any Level ≥ 1, and in several parts when it is long."""

    ledger: bytes
    head: int  # the ledger's last seq
    monotonic_ns: int
    clock: ClockQuality
    plan: bytes
    part: int
    parts: int
    points: tuple[PointState, ...] = ()
    sirens: tuple[SirenState, ...] = ()

    def pack(self) -> list[Any]:
        heads = [
            self.ledger,
            self.head,
            self.monotonic_ns,
            int(self.clock.source),
            self.clock.error_ms,
            self.plan,
        ]
        rows = [[p.pack() for p in self.points], [s.pack() for s in self.sirens]]
        return [*heads, self.part, self.parts, *rows]

    @classmethod
    def unpack(cls, value: Any) -> "State":
        ledger, head, mono, source, error_ms, plan, part, parts, points, sirens = fields.row(value, 10, "state")
        return cls(
            fields.octets(ledger, "ledger id", STORE_ID_BYTES),
            fields.natural(head, "head", SEQ_MAX),
            fields.natural(mono, "monotonic"),
            _clock_of(source, error_ms),
            fields.octets(plan, "plan", DIGEST_BYTES),
            fields.natural(part, "part", 255),
            fields.natural(parts, "parts", 255),
            fields.many(points, STATE_ROWS_MAX, "points", PointState.unpack),
            fields.many(sirens, STATE_ROWS_MAX, "sirens", SirenState.unpack),
        )
