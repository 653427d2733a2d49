"""Names of things that happen: event keys, alarm ids, incidents. The same at both ends, by construction (design §2.2, §2.3)."""

import hashlib
from dataclasses import dataclass
from typing import Any, Final

from cython_ext import Hazard

from . import fields

STORE_ID_BYTES: Final = 8  # ledger and journal ids: random, made once with the file
INCIDENT_BYTES: Final = 8
SEQ_MAX: Final = (1 << 32) - 1  # of one ledger: an event a second for 136 years
NAMES_MAX: Final = (
    52  # letters of node, controller and point (or siren) id together: keeps every event within 300 bytes
)
DIGEST_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class EventKey:
    """(node, ledger id, seq): unique for ever, since a ledger never reuses a seq and a new ledger has a new id."""

    node: str
    ledger: bytes
    seq: int

    @property
    def octets(self) -> bytes:
        """The byte order in which the lowest of several keys is chosen."""
        return self.node.encode() + b"\0" + self.ledger + self.seq.to_bytes(8, "big")

    def __str__(self) -> str:
        return f"{self.node}/{self.ledger.hex()}/{self.seq}"

    @classmethod
    def parse(cls, text: str) -> "EventKey":
        """The key that `str` gave; ValueError otherwise."""
        node, ledger, seq = text.split("/")
        return cls(node, bytes.fromhex(ledger), int(seq))

    def pack(self) -> list[Any]:
        return [self.node, self.ledger, self.seq]

    @classmethod
    def unpack(cls, value: Any) -> "EventKey":
        node, ledger, seq = fields.row(value, 3, "event key")
        return cls(
            fields.name(node, "node"),
            fields.octets(ledger, "ledger id", STORE_ID_BYTES),
            fields.natural(seq, "seq", SEQ_MAX),
        )


@dataclass(frozen=True, slots=True)
class AlarmId:
    """(zone, hazard, key of the event that opened it)."""

    zone: str
    hazard: Hazard
    key: EventKey

    def __str__(self) -> str:
        return f"{self.zone}/{self.hazard.name.lower()}/{self.key}"

    @classmethod
    def parse(cls, text: str) -> "AlarmId":
        """The id that `str` gave; ValueError or KeyError otherwise."""
        zone, hazard, key = text.split("/", 2)
        return cls(zone, Hazard[hazard.upper()], EventKey.parse(key))

    @property
    def incident(self) -> bytes:
        """The incident that this alarm opens, if no other stands: both ends derive the same."""
        return hashlib.sha256(str(self).encode()).digest()[:INCIDENT_BYTES]
