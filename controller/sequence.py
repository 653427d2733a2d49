"""What the controller holds of one ledger: everything up to `through`, and runs beyond it (design §2.2)."""

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Any, Final

from lanes.identity import DIGEST_BYTES
from lanes.orders import RANGES_MAX, Ack

RECENT: Final = 32  # events whose digest is at hand: a node that repeats seqs repeats the newest of them too
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
    forked: int = 0  # the lowest seq under which the node has sent another event than ours; 0: none
    _recent: bytearray = field(default_factory=bytearray, repr=False, compare=False)

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
        self._recent = self._recent or bytearray(RECENT * DIGEST_BYTES)
        if seq > self.highest - RECENT:  # an older one that comes late must not stand in the place of a newer
            at = seq % RECENT * DIGEST_BYTES
            self._recent[at : at + DIGEST_BYTES] = digest
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

    def again(self, seq: int, digest: bytes) -> bool:
        """An event that is here has come again. True: it is another one, so the node's ledger is an old copy put back."""
        ours = self._digest(seq)
        if not any(ours) or ours == digest:
            return False
        self.forked = min(self.forked or seq, seq)
        return True

    def _digest(self, seq: int) -> bytes:
        """Of one of the newest events; zeros when it is not at hand (any more)."""
        at = seq % RECENT * DIGEST_BYTES
        return bytes(self._recent[at : at + DIGEST_BYTES]) if seq > self.highest - RECENT else b""

    def ack(self, journal: bytes) -> Ack:
        """What we hold. Of a forked ledger only our event at the fork: by it the node sees that its own is another."""
        if self.forked:
            return Ack(journal, self.ledger, self.forked, (), self._digest(self.forked) or bytes(DIGEST_BYTES))
        ranges = tuple((run.first, run.last) for run in self.runs[:RANGES_MAX])
        return Ack(journal, self.ledger, self.through, ranges, self.last)

    def pack(self) -> list[Any]:
        runs = [[run.first, run.last, run.hash] for run in self.runs]
        return [self.ledger, self.through, self.last, runs, self.stated]

    @classmethod
    def restore(cls, value: list[Any]) -> "Sequence":
        ledger, through, last, runs, *stated = value
        return cls(ledger, through, last, [Run(*run) for run in runs], *stated)
