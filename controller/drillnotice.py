"""What dispatch is told of an exercise: that it will be, that it begins, how it ended, that it gave way to what is real."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from lanes import cbor, fields
from lanes.identity import INCIDENT_BYTES
from lanes.orders import ZONES_MAX

MARK: Final = "exercise"  # the first item of a packed notice; an alarm's change begins with its alarm's id
SIRENS_MAX: Final = 100_000


class DrillKind(StrEnum):
    """Words of the journal and of receivers: never rename."""

    ANNOUNCED = "exercise-announced"
    BEGUN = "exercise-begun"
    ENDED = "exercise-ended"
    SUSPENDED = "exercise-suspended"  # a live alarm is active in one of its zones
    MISSED = "exercise-missed"  # announced, and it did not take place


OVER: Final = frozenset({DrillKind.ENDED, DrillKind.SUSPENDED, DrillKind.MISSED})


@dataclass(frozen=True, slots=True)
class DrillNotice:
    """`at_us`: when it takes place; `told_us`: when this is told; `lead_s`: how long before, of an announcement."""

    kind: DrillKind
    exercise: str
    zones: tuple[str, ...]
    pattern: str
    incident: bytes
    at_us: int
    told_us: int
    length_s: int
    lead_s: int = 0
    passed: int = 0
    total: int = 0

    @property
    def identifier(self) -> str:
        """The same notice told twice has the same."""
        return f"bucium-{self.exercise}-{self.kind}-{hashlib.sha256(self.pack()).hexdigest()[:16]}"

    @property
    def chain(self) -> str:
        """What its messages are to each other: one chain for each occasion."""
        return f"exercise/{self.exercise}/{self.at_us}"

    def pack(self) -> bytes:
        heads = [MARK, str(self.kind), self.exercise, list(self.zones), self.pattern, self.incident]
        return cbor.encode_document(
            [*heads, self.at_us, self.told_us, self.length_s, self.lead_s, self.passed, self.total]
        )

    @classmethod
    def unpack(cls, data: bytes) -> "DrillNotice":
        """What `pack` gave."""
        row: list[Any] = fields.row(cbor.decode_document(data), 12, "exercise notice")
        _, kind, exercise, zones, pattern, incident, *numbers = row
        at_us, told_us, length_s, lead_s, passed, total = (fields.natural(each, "number") for each in numbers)
        return cls(
            DrillKind(kind),
            fields.name(exercise, "exercise"),
            fields.many(zones, ZONES_MAX, "zones", lambda v: fields.name(v, "zone")),
            fields.name(pattern, "pattern"),
            fields.octets(incident, "incident", INCIDENT_BYTES),
            at_us,
            told_us,
            length_s,
            lead_s,
            passed,
            total,
        )
