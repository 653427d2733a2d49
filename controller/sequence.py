"""What the controller holds of one ledger: everything up to `through`, and runs beyond it (design §2.2)."""

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Any, Final

from lanes.identity import DIGEST_BYTES
from lanes.orders import RANGES_MAX, Ack

RUNS_MAX: Final = (
    256  # runs beyond a gap; a node has at most 20 events in flight, so this many only comes from a broken one
)


@dataclass(slots=True)
class Run:
    """Events first to last, without a gap; `hash` is the SHA-256 of the last one's bytes."""

    first: int
    last: int
    hash: bytes


@dataclass(slots=True)
class Sequence:
    """One ledger's seqs. `last` is the SHA-256 of event `through`; `stated` the highest counter of its state reports."""

    ledger: bytes
    through: int = 0
    last: bytes = bytes(DIGEST_BYTES)
    runs: list[Run] = field(default_factory=list)
    stated: int = 0

    def has(self, seq: int) -> bool:
        return seq <= self.through or any(run.first <= seq <= run.last for run in self.runs)

    @property
    def highest(self) -> int:
        return self.runs[-1].last if self.runs else self.through

    def room_for(self, seq: int) -> bool:
        """False: too many gaps stand open; the event is not taken, and its node sends it again later."""
        return len(self.runs) < RUNS_MAX or seq <= self.through + 1

    def take(self, seq: int, digest: bytes) -> None:
        """Add an event that is not yet here."""
        assert not self.has(seq)
        at = bisect_left(self.runs, seq, key=lambda run: run.first)
        before = self.runs[at - 1] if at else None
        after = self.runs[at] if at < len(self.runs) else None
        if before and before.last == seq - 1:
            before.last, before.hash = seq, digest
            if after and after.first == seq + 1:
                before.last, before.hash = after.last, after.hash
                del self.runs[at]
        elif after and after.first == seq + 1:
            after.first = seq
        else:
            self.runs.insert(at, Run(seq, seq, digest))
        if self.runs[0].first == self.through + 1:
            run = self.runs.pop(0)
            self.through, self.last = run.last, run.hash

    def ack(self, journal: bytes) -> Ack:
        ranges = tuple((run.first, run.last) for run in self.runs[:RANGES_MAX])
        return Ack(journal, self.ledger, self.through, ranges, self.last)

    def pack(self) -> list[Any]:
        runs = [[run.first, run.last, run.hash] for run in self.runs]
        return [self.ledger, self.through, self.last, runs, self.stated]

    @classmethod
    def restore(cls, value: list[Any]) -> "Sequence":
        ledger, through, last, runs, *stated = value
        return cls(ledger, through, last, [Run(*run) for run in runs], *stated)
