"""Bodies of the messages a controller sends: acks, siren orders with their approvals, and the beat (design §2.2, §2.4)."""

import hashlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from . import cbor, fields
from .envelope import BOOT_BYTES
from .identity import DIGEST_BYTES, INCIDENT_BYTES, SEQ_MAX, STORE_ID_BYTES
from .keys import Mode
from .reports import REFERENCE_BYTES

RANGES_MAX: Final = 8
ZONES_MAX: Final = 8
PROOFS_MAX: Final = 6  # approvals or pieces of evidence in one order: keeps it within 2 KiB
NONCES_MAX: Final = 8
EVIDENCE_BYTES_MAX: Final = 300
APPROVAL_BYTES_MAX: Final = 448  # a passkey's assertion; four of them and the order's own fields stay within 2 KiB
REQUEST_LIFE_US: Final = 120_000_000  # an order core that people approve ends so long after it was asked for (F29)
SOUND_MAX_S: Final = 900  # a whole sequence; pauses count (design §2.4)


class Action(IntEnum):
    """What an order asks of a siren."""

    START = 1
    STOP = 2
    ARM = 3
    SILENT_TEST = 4
    GROWL_TEST = 5
    STATUS = 6


TESTS: Final = frozenset({Action.SILENT_TEST, Action.GROWL_TEST})  # signed with test keys only


@dataclass(frozen=True, slots=True)
class Ack:
    """Everything of this ledger up to `through` (and in `ranges`) is committed; `last` is the SHA-256 of event `through`."""

    journal: bytes
    ledger: bytes
    through: int
    ranges: tuple[tuple[int, int], ...] = ()
    last: bytes = bytes(DIGEST_BYTES)

    def pack(self) -> list[Any]:
        return [self.journal, self.ledger, self.through, [list(r) for r in self.ranges], self.last]

    @classmethod
    def unpack(cls, value: Any) -> "Ack":
        journal, ledger, through, ranges, last = fields.row(value, 5, "ack")
        return cls(
            fields.octets(journal, "journal id", STORE_ID_BYTES),
            fields.octets(ledger, "ledger id", STORE_ID_BYTES),
            fields.natural(through, "through", SEQ_MAX),
            fields.many(ranges, RANGES_MAX, "ranges", _range),
            fields.octets(last, "last", DIGEST_BYTES),
        )


def _range(value: Any) -> tuple[int, int]:
    first, last = fields.row(value, 2, "range")
    return fields.natural(first, "first", SEQ_MAX), fields.natural(last, "last", SEQ_MAX)


@dataclass(frozen=True, slots=True)
class OrderCore:
    """What people approve: an order may do no more than this. Its SHA-256 is what they sign."""

    incident: bytes
    zones: tuple[str, ...]
    pattern: str
    mode: Mode
    max_s: int
    not_after_us: int
    plan: bytes

    def pack(self) -> list[Any]:
        heads = [self.incident, list(self.zones), self.pattern, int(self.mode), self.max_s]
        return [*heads, self.not_after_us, self.plan]

    @classmethod
    def unpack(cls, value: Any) -> "OrderCore":
        incident, zones, pattern, mode, max_s, not_after_us, plan = fields.row(value, 7, "order core")
        return cls(
            fields.octets(incident, "incident", INCIDENT_BYTES),
            fields.many(zones, ZONES_MAX, "zones", lambda v: fields.name(v, "zone")),
            fields.optional_name(pattern, "pattern"),
            fields.one_of(Mode, mode, "mode"),
            fields.natural(max_s, "max_s", SOUND_MAX_S + 1),
            fields.natural(not_after_us, "not-after"),
            fields.octets(plan, "plan", DIGEST_BYTES),
        )

    def digest(self) -> bytes:
        return hashlib.sha256(cbor.encode(self.pack())).digest()


@dataclass(frozen=True, slots=True)
class Order:
    """A command to one siren (or, empty, to all of the node's in `core.zones`).

    A stop has no not-after and names an incident, or all by eight zero bytes. `nonce` is the node's boot id as the sender
    last heard it, quoted for the case of doubt. `evidence` are whole signed reports; `approvals` whole signed approvals, or
    passkeys' assertions.
    """

    action: Action
    siren: str
    core: OrderCore
    order_epoch: int
    nonce: bytes
    evidence: tuple[bytes, ...] = ()
    approvals: tuple[bytes, ...] = ()

    def pack(self) -> list[Any]:
        heads = [int(self.action), self.siren, self.core.pack(), self.order_epoch, self.nonce]
        return [*heads, list(self.evidence), list(self.approvals)]

    @classmethod
    def unpack(cls, value: Any) -> "Order":
        action, siren, core, order_epoch, nonce, evidence, approvals = fields.row(value, 7, "order")
        return cls(
            fields.one_of(Action, action, "action"),
            fields.optional_name(siren, "siren"),
            OrderCore.unpack(core),
            fields.natural(order_epoch, "order epoch"),
            fields.octets(nonce, "nonce", BOOT_BYTES),
            fields.many(evidence, PROOFS_MAX, "evidence", lambda v: fields.blob(v, "evidence", EVIDENCE_BYTES_MAX)),
            fields.many(approvals, PROOFS_MAX, "approvals", lambda v: fields.blob(v, "approval", APPROVAL_BYTES_MAX)),
        )


@dataclass(frozen=True, slots=True)
class Approval:
    """One person's yes to one order core; single use. `nonces`: boot ids of the nodes it is for, in case of doubt."""

    digest: bytes
    nonces: tuple[bytes, ...] = ()

    def pack(self) -> list[Any]:
        return [self.digest, list(self.nonces)]

    @classmethod
    def unpack(cls, value: Any) -> "Approval":
        digest, nonces = fields.row(value, 2, "approval")
        return cls(
            fields.octets(digest, "digest", DIGEST_BYTES),
            fields.many(nonces, NONCES_MAX, "nonces", lambda v: fields.octets(v, "nonce", BOOT_BYTES)),
        )


@dataclass(frozen=True, slots=True)
class Beat:
    """The controller lives: signed once for a group every 3 s."""

    journal: bytes

    def pack(self) -> list[Any]:
        return [self.journal]

    @classmethod
    def unpack(cls, value: Any) -> "Beat":
        return cls(fields.octets(fields.row(value, 1, "beat")[0], "journal id", STORE_ID_BYTES))


def reference_of(data: bytes) -> bytes:
    """The short name of an order's bytes, as receipts quote it."""
    return hashlib.sha256(data).digest()[:REFERENCE_BYTES]
