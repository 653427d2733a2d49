"""What dispatch is told of a siren, beside the alarms: it failed to sound, it sounded after all, it sounds unordered.

Such a notice is for the people who dispatch, never for the public: no CAP message is made of it (docs/cap.md).
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from cython_ext import Level
from lanes import cbor, fields
from lanes.identity import INCIDENT_BYTES
from lanes.keys import Mode
from lanes.orders import ZONES_MAX

MARK: Final = "siren"  # the first item of a packed notice; an alarm's change begins with its alarm's id
STAND_INS_MAX: Final = 16


class NoticeKind(StrEnum):
    """Words of the journal and of receivers: never rename."""

    FAILED = "siren-failed"
    SOUNDED = "siren-sounded"  # it was told as failed, and is proven now
    UNORDERED = "siren-unordered"  # a security alarm
    QUIET = "siren-quiet"  # the unordered sound has ended


@dataclass(frozen=True, slots=True)
class SirenNotice:
    """`reason`: a code of docs/receipts.md or docs/decisions.md; `failure`: its class; `stand_ins`: ordered in its place."""

    kind: NoticeKind
    siren: str
    node: str
    reason: str
    failure: str
    mode: Mode
    level: Level
    zones: tuple[str, ...]
    incident: bytes
    alarm: str
    activation: int
    stand_ins: tuple[str, ...]
    at_us: int

    @property
    def identifier(self) -> str:
        """The same notice told twice, after a crash or to several channels, has the same."""
        return f"bucium-{self.siren}-{self.kind}-{hashlib.sha256(self.pack()).hexdigest()[:16]}"

    def pack(self) -> bytes:
        heads = [MARK, str(self.kind), self.siren, self.node, self.reason, self.failure, int(self.mode)]
        tail = [self.incident, self.alarm, self.activation, list(self.stand_ins), self.at_us]
        return cbor.encode_document([*heads, int(self.level), list(self.zones), *tail])

    @classmethod
    def unpack(cls, data: bytes) -> "SirenNotice":
        """What `pack` gave."""
        return cls._of(fields.row(cbor.decode_document(data), 14, "notice"))

    @classmethod
    def _of(cls, row: list[Any]) -> "SirenNotice":
        _, kind, siren, node, reason, failure, mode, level, zones, incident, alarm, activation, stand_ins, at_us = row
        return cls(
            NoticeKind(kind),
            fields.optional_name(siren, "siren"),
            fields.name(node, "node"),
            fields.text(reason, "reason", 48),
            fields.text(failure, "failure", 24),
            fields.one_of(Mode, mode, "mode"),
            fields.one_of(Level, level, "level"),
            fields.many(zones, ZONES_MAX, "zones", lambda v: fields.name(v, "zone")),
            fields.octets(incident, "incident", INCIDENT_BYTES),
            fields.text(alarm, "alarm", 160),
            fields.natural(activation, "activation"),
            fields.many(stand_ins, STAND_INS_MAX, "stand-ins", lambda v: fields.name(v, "siren")),
            fields.natural(at_us, "time"),
        )
