"""What people do at a service's control socket, each act signed with the person's own key (design §2.4, §5).

    ACT envelope: issuer = the person, addressee = the service, boot = 8 random bytes (single use), counter 0,
                  not-after ≤ 60 s after issued-at;  body = [verb, argument, …] as each class's `pack` has it
    APPROVAL envelope: the same, body = `orders.Approval`: a person's yes to one order core, carried on to the node

On the socket an act is `{"verb": act.VERB, "args": {"act": base64(envelope)}}`, an approval
`{"verb": "siren.approve", "args": {"approval": base64(envelope)}}`. Reading verbs (status, lists) carry no signature.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Final, get_args

from cython_ext import Hazard, Level, WireError

from . import fields
from .envelope import NOT_AFTER_MAX_US, Envelope, KeyFinder, Kind, Opened, Refusal, open_envelope, seal
from .identity import DIGEST_BYTES, INCIDENT_BYTES, AlarmId, EventKey
from .keys import Mode, Role, SigningKey
from .orders import NONCES_MAX, SOUND_MAX_S, ZONES_MAX, Action, Approval

ONCE_BYTES: Final = 8  # the random bytes that make an act single-use
EVENTS_MAX: Final = 24  # keys in one acknowledgement: keeps it within 2 KiB
SIRENS_MAX: Final = 16
REASON_BYTES_MAX: Final = 160  # what a person writes as the reason
PERMIT_BYTES_MAX: Final = 48  # the number on a permit to work
AHEAD_MAX_US: Final = 5_000_000  # how far a person's clock may be ahead of ours
ALL: Final = bytes(INCIDENT_BYTES)  # a stop of every incident; a request that opens one of its own


@dataclass(frozen=True, slots=True)
class AckAlarm:
    """I have seen these events of the alarm (its id, or one of its aliases). It stops no siren."""

    VERB: ClassVar = "alarm.ack"
    alarm: AlarmId
    events: tuple[EventKey, ...]

    def pack(self) -> list[Any]:
        return [str(self.alarm), [key.pack() for key in self.events]]

    @classmethod
    def unpack(cls, args: list[Any]) -> "AckAlarm":
        alarm, events = fields.row(args, 2, cls.VERB)
        return cls(_alarm(alarm), fields.many(events, EVENTS_MAX, "events", EventKey.unpack))


@dataclass(frozen=True, slots=True)
class ResetAlarm:
    """The danger is over and looked at: release the latch."""

    VERB: ClassVar = "alarm.reset"
    alarm: AlarmId

    def pack(self) -> list[Any]:
        return [str(self.alarm)]

    @classmethod
    def unpack(cls, args: list[Any]) -> "ResetAlarm":
        (alarm,) = fields.row(args, 1, cls.VERB)
        return cls(_alarm(alarm))


@dataclass(frozen=True, slots=True)
class ShelveAlarm:
    """Mute the alarm until `until_us`, for a reason that stays on the permanent list."""

    VERB: ClassVar = "alarm.shelve"
    alarm: AlarmId
    until_us: int
    reason: str

    def pack(self) -> list[Any]:
        return [str(self.alarm), self.until_us, self.reason]

    @classmethod
    def unpack(cls, args: list[Any]) -> "ShelveAlarm":
        alarm, until_us, reason = fields.row(args, 3, cls.VERB)
        return cls(_alarm(alarm), fields.natural(until_us, "until"), _reason(reason))


@dataclass(frozen=True, slots=True)
class UnshelveAlarm:
    """End a mute before its time."""

    VERB: ClassVar = "alarm.unshelve"
    alarm: AlarmId

    def pack(self) -> list[Any]:
        return [str(self.alarm)]

    @classmethod
    def unpack(cls, args: list[Any]) -> "UnshelveAlarm":
        (alarm,) = fields.row(args, 1, cls.VERB)
        return cls(_alarm(alarm))


@dataclass(frozen=True, slots=True)
class RemoveAlarm:
    """Take a zone's hazard out of service until `until_us`, by a permit. `covers`: a higher Level breaks it."""

    VERB: ClassVar = "alarm.remove"
    zone: str
    hazard: Hazard
    until_us: int
    covers: Level
    permit: str
    reason: str

    def pack(self) -> list[Any]:
        return [self.zone, int(self.hazard), self.until_us, int(self.covers), self.permit, self.reason]

    @classmethod
    def unpack(cls, args: list[Any]) -> "RemoveAlarm":
        zone, hazard, until_us, covers, permit, reason = fields.row(args, 6, cls.VERB)
        covered = fields.one_of(Level, covers, "covers")
        if covered is Level.NORMAL:
            raise WireError("malformed", "a permit covers attention, alarm or danger")
        return cls(
            fields.name(zone, "zone"),
            fields.one_of(Hazard, hazard, "hazard"),
            fields.natural(until_us, "until"),
            covered,
            fields.text(permit, "permit", PERMIT_BYTES_MAX),
            _reason(reason),
        )


@dataclass(frozen=True, slots=True)
class ReturnAlarm:
    """Put a zone's hazard into service again."""

    VERB: ClassVar = "alarm.return"
    zone: str
    hazard: Hazard

    def pack(self) -> list[Any]:
        return [self.zone, int(self.hazard)]

    @classmethod
    def unpack(cls, args: list[Any]) -> "ReturnAlarm":
        zone, hazard = fields.row(args, 2, cls.VERB)
        return cls(fields.name(zone, "zone"), fields.one_of(Hazard, hazard, "hazard"))


@dataclass(frozen=True, slots=True)
class RequestSiren:
    """Ask for a sound that people must approve. It sounds nothing. `max_s` 0: the pattern's own length.

    `sirens`: only these of the zones' sirens; empty: all of them. What people sign names the zones.
    """

    VERB: ClassVar = "siren.request"
    zones: tuple[str, ...]
    pattern: str
    mode: Mode
    max_s: int
    reason: str
    incident: bytes = ALL  # ALL: an incident of its own
    sirens: tuple[str, ...] = ()

    def pack(self) -> list[Any]:
        heads = [list(self.zones), self.pattern, int(self.mode), self.max_s, self.reason, self.incident]
        return [*heads, list(self.sirens)] if self.sirens else heads

    @classmethod
    def unpack(cls, args: list[Any]) -> "RequestSiren":
        named = args[6:7] if len(args) == 7 else [[]]
        zones, pattern, mode, max_s, reason, incident = fields.row(args[:6] if len(args) == 7 else args, 6, cls.VERB)
        return cls(
            _zones(zones),
            fields.name(pattern, "pattern"),
            fields.one_of(Mode, mode, "mode"),
            fields.natural(max_s, "max_s", SOUND_MAX_S + 1),
            _reason(reason),
            fields.octets(incident, "incident", INCIDENT_BYTES),
            fields.many(named[0], SIRENS_MAX, "sirens", lambda v: fields.name(v, "siren")),
        )


@dataclass(frozen=True, slots=True)
class VetoSiren:
    """No sound for this incident: ends a veto time or a request that still waits. It stops nothing that sounds."""

    VERB: ClassVar = "siren.veto"
    incident: bytes
    reason: str

    def pack(self) -> list[Any]:
        return [self.incident, self.reason]

    @classmethod
    def unpack(cls, args: list[Any]) -> "VetoSiren":
        incident, reason = fields.row(args, 2, cls.VERB)
        return cls(fields.octets(incident, "incident", INCIDENT_BYTES), _reason(reason))


@dataclass(frozen=True, slots=True)
class StopSiren:
    """Silence now: these sirens and all of these zones' sirens (both empty: every one); `incident` ALL: whatever sounds."""

    VERB: ClassVar = "siren.stop"
    incident: bytes = ALL
    zones: tuple[str, ...] = ()
    sirens: tuple[str, ...] = ()

    def pack(self) -> list[Any]:
        return [self.incident, list(self.zones), list(self.sirens)]

    @classmethod
    def unpack(cls, args: list[Any]) -> "StopSiren":
        incident, zones, sirens = fields.row(args, 3, cls.VERB)
        return cls(
            fields.octets(incident, "incident", INCIDENT_BYTES),
            _zones(zones),
            fields.many(sirens, SIRENS_MAX, "sirens", lambda v: fields.name(v, "siren")),
        )


@dataclass(frozen=True, slots=True)
class CheckSiren:
    """Arm, silent or growl test, or status: nothing that people are meant to hear as an alarm.

    These sirens and all of these zones' sirens (both empty: every one that the person may act for).
    """

    VERB: ClassVar = "siren.test"
    action: Action
    zones: tuple[str, ...] = ()
    sirens: tuple[str, ...] = ()

    def pack(self) -> list[Any]:
        return [int(self.action), list(self.zones), list(self.sirens)]

    @classmethod
    def unpack(cls, args: list[Any]) -> "CheckSiren":
        action, zones, sirens = fields.row(args, 3, cls.VERB)
        found = fields.one_of(Action, action, "action")
        if found in (Action.START, Action.STOP):
            raise WireError("malformed", f"a test is not a {found.name}")
        return cls(found, _zones(zones), fields.many(sirens, SIRENS_MAX, "sirens", lambda v: fields.name(v, "siren")))


@dataclass(frozen=True, slots=True)
class ApplyPlan:
    """Run this plan (its version and SHA-256) from now on. The plan itself goes beside it; its own people stand for it."""

    VERB: ClassVar = "plan.apply"
    version: int
    plan: bytes
    reason: str

    def pack(self) -> list[Any]:
        return [self.version, self.plan, self.reason]

    @classmethod
    def unpack(cls, args: list[Any]) -> "ApplyPlan":
        version, plan, reason = fields.row(args, 3, cls.VERB)
        return cls(fields.natural(version, "version"), fields.octets(plan, "plan", DIGEST_BYTES), _reason(reason))


Act = (
    AckAlarm
    | ResetAlarm
    | ShelveAlarm
    | UnshelveAlarm
    | RemoveAlarm
    | ReturnAlarm
    | RequestSiren
    | VetoSiren
    | StopSiren
    | CheckSiren
    | ApplyPlan
)
_ACTS: Final[dict[str, Any]] = {act.VERB: act for act in get_args(Act)}
PEOPLE: Final = frozenset({Role.OPERATOR})
APPROVE: Final = "siren.approve"


@dataclass(frozen=True, slots=True)
class Signed:
    """An act whose signature, person and time are right. `once` is what must not come twice; `data` the proof."""

    act: Act
    person: str
    centre: str
    mode: Mode
    zones: frozenset[str]  # the zones that the person may act for
    issued_us: int
    not_after_us: int
    once: bytes
    data: bytes


def sign_act(
    act: Act, *, person: str, service: str, key: SigningKey, now_us: int, once: bytes, plan_version: int = 0
) -> bytes:
    """The act as its person signs it, good for 60 s. `once`: 8 random bytes. WireError when it is too long."""
    body = [act.VERB, *act.pack()]
    not_after_us = now_us + NOT_AFTER_MAX_US
    return seal(Envelope(Kind.ACT, person, service, once, 0, now_us, plan_version, 0, body, not_after_us), key)


def sign_approval(
    digest: bytes,
    *,
    nonces: tuple[bytes, ...] = (),
    person: str,
    service: str,
    key: SigningKey,
    now_us: int,
    not_after_us: int,
    once: bytes,
    plan_version: int = 0,
) -> bytes:
    """A person's yes to the order core of this digest; it ends with the core, at most 60 s from now."""
    body = Approval(digest, nonces[:NONCES_MAX]).pack()
    end_us = min(not_after_us, now_us + NOT_AFTER_MAX_US)
    return seal(Envelope(Kind.APPROVAL, person, service, once, 0, now_us, plan_version, 0, body, end_us), key)


def open_act(data: bytes, roster: KeyFinder, *, service: str, now_us: int, roles: frozenset[Role] = PEOPLE) -> Signed:
    """The act, or WireError with why it does not count. Single use and zones are for the service to check."""
    opened = open_person(data, Kind.ACT, roster, service=service, now_us=now_us, roles=roles)
    envelope, signer = opened.envelope, opened.signer
    if not (isinstance(envelope.body, list) and envelope.body):
        raise WireError("malformed", "an act is a list that begins with its verb")
    verb, *args = envelope.body
    if not isinstance(verb, str) or verb not in _ACTS:
        raise WireError("malformed", f"unknown act {str(verb)[:32]!r}")
    act: Act = _ACTS[verb].unpack(args)
    once = signer.kid + envelope.boot + envelope.counter.to_bytes(8, "big")
    return Signed(
        act,
        signer.id,
        signer.centre,
        signer.mode,
        signer.zones,
        envelope.issued_us,
        envelope.not_after_us,
        once,
        data,
    )


def open_person(
    data: bytes, kind: Kind, roster: KeyFinder, *, service: str, now_us: int, roles: frozenset[Role] = PEOPLE
) -> Opened:
    """An ACT or APPROVAL of a person to `service`, valid now; WireError with why it is not."""
    opened = open_envelope(data, roster)
    if isinstance(opened, Refusal):
        raise WireError(str(opened.why), opened.detail)
    envelope, signer = opened.envelope, opened.signer
    if envelope.kind is not kind:
        raise WireError("malformed", f"this is {envelope.kind.name}, not {kind.name}")
    if signer.role not in roles:
        wanted = " or ".join(sorted(role.name.lower() for role in roles))
        raise WireError("role", f"{signer.id} is {signer.role.name.lower()} in the plan, not {wanted}")
    if envelope.addressee != service:
        raise WireError("addressee", f"meant for {envelope.addressee!r}, this is {service!r}")
    if now_us > envelope.not_after_us:
        raise WireError("expired", f"{(now_us - envelope.not_after_us) / 1e6:.1f} s ago; sign it again")
    life_us = envelope.not_after_us - envelope.issued_us
    if not 0 < life_us <= NOT_AFTER_MAX_US:
        raise WireError("malformed", f"a life of {life_us / 1e6:g} s; at most {NOT_AFTER_MAX_US // 1_000_000} s")
    if envelope.issued_us > now_us + AHEAD_MAX_US:
        raise WireError("future", "signed in the future; check this machine's clock")
    return opened


def _alarm(value: Any) -> AlarmId:
    try:
        return AlarmId.parse(fields.text(value, "alarm", 160))
    except (ValueError, KeyError):
        raise WireError("malformed", f"not an alarm id: {str(value)[:60]}") from None


def _zones(value: Any) -> tuple[str, ...]:
    return fields.many(value, ZONES_MAX, "zones", lambda v: fields.name(v, "zone"))


def _reason(value: Any) -> str:
    return fields.text(value, "reason", REASON_BYTES_MAX)
