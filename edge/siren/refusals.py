"""Why an order was not obeyed: stable codes, as receipts carry them (docs/receipts.md has them all as a table)."""

from dataclasses import dataclass
from enum import StrEnum

from cython_ext import Level
from lanes.envelope import Refused as Unopened
from lanes.identity import INCIDENT_BYTES
from lanes.reports import REFERENCE_BYTES


class Why(StrEnum):
    """Reason codes, at most 24 letters. Never rename: journals and operators' habits hold them."""

    # The message itself.
    OVERSIZED = "oversized"
    MALFORMED = "malformed"
    VERSION = "version"
    UNKNOWN_KEY = "unknown-key"
    SIGNATURE = "signature"
    ISSUER = "issuer"
    KIND = "kind"
    ROLE = "role"
    ADDRESSEE = "addressee"
    MODE = "mode"
    # What it is for.
    SIREN = "siren"
    ZONE = "zone"
    PLAN = "plan"
    PATTERN = "pattern"
    FAMILY = "family"
    DURATION = "duration"
    UNSUPPORTED = "unsupported"
    # Whether it is new and of this time.
    COUNTER = "counter"
    EPOCH = "epoch"
    ORDER_EPOCH = "order-epoch"
    NONCE = "nonce"
    EXPIRED = "expired"
    NOT_AFTER = "not-after"
    # Who stands for it.
    AUTHORITY = "authority"
    CALENDAR = "calendar"
    POLICY = "policy"
    APPROVALS = "approvals"
    APPROVAL_FORGED = "approval-forged"
    APPROVAL_ROLE = "approval-role"
    APPROVAL_MODE = "approval-mode"
    APPROVAL_ZONES = "approval-zones"
    APPROVAL_OTHER = "approval-other"
    APPROVAL_EXPIRED = "approval-expired"
    APPROVAL_NONCE = "approval-nonce"
    APPROVAL_USED = "approval-used"
    APPROVAL_COUNT = "approval-count"
    CENTRES = "centres"
    EVIDENCE = "evidence"
    EVIDENCE_FORGED = "evidence-forged"
    EVIDENCE_ROLE = "evidence-role"
    EVIDENCE_MODE = "evidence-mode"
    EVIDENCE_KIND = "evidence-kind"
    EVIDENCE_POINT = "evidence-point"
    EVIDENCE_OLD = "evidence-old"
    # What stands against it here and now.
    HELD = "held"
    BUSY = "busy"
    RATE = "rate"
    STORE = "store"
    FLOOD = "flood"


UNOPENED = {
    Unopened.OVERSIZED: Why.OVERSIZED,
    Unopened.MALFORMED: Why.MALFORMED,
    Unopened.VERSION: Why.VERSION,
    Unopened.UNKNOWN_KEY: Why.UNKNOWN_KEY,
    Unopened.SIGNATURE: Why.SIGNATURE,
    Unopened.ISSUER: Why.ISSUER,
    Unopened.ADDRESSEE: Why.ADDRESSEE,
}


@dataclass(frozen=True, slots=True)
class Refused:
    """An order (or its part for one siren) that is not obeyed. `authentic`: the controller's signature was right."""

    why: Why
    detail: str = ""
    siren: str = ""
    authentic: bool = True
    reference: bytes = bytes(REFERENCE_BYTES)
    incident: bytes = bytes(INCIDENT_BYTES)
    level: Level = Level.NORMAL  # of a held order: what it would have sounded for
