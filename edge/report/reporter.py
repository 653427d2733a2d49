"""What happened, made durable and signed: the one way into the ledger (design §2.1, §2.2).

`record` returns after the commit, so whoever acts on an event acts on a durable one. Commits are grouped: what comes while
the disk is busy goes into the next one. Each event is signed once; the ledger keeps and resends those bytes.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from cython_ext import Cause, Clock, ClockQuality, WireError
from lanes.envelope import Envelope, Kind, peek, seal
from lanes.identity import EventKey
from lanes.keys import SigningKey
from lanes.orders import Ack
from lanes.pieces import Want
from lanes.planfile import SignedPlan
from lanes.reports import (
    STATE_ROWS_MAX,
    BootData,
    Event,
    PointState,
    ReceiptData,
    ResetData,
    SirenState,
    State,
    TransitionData,
    TroubleData,
)
from lanes.store import Runner

from .ledger import COUNTER_BLOCK, AckVerdict, Draft, Kept
from .ledgers import Ledgers

log = logging.getLogger("bucium.edge")

Data = TransitionData | ReceiptData | TroubleData | BootData | ResetData
COMMIT_EVENTS_MAX: Final = 64  # events of one commit: 20 kB of log
WAITING_MAX: Final = 4096  # events waiting for the disk; beyond it record() waits, and post() drops troubles (counted)
TEND_S: Final = 10.0  # ballast and disk looked after: a disk that filled up once may do so again soon


@dataclass(eq=False, slots=True)
class _Waiting:
    """An event not yet in the ledger."""

    data: Data
    plan: bytes  # judged under it
    monotonic_ns: int
    wall_us: int
    clock: ClockQuality
    done: asyncio.Future[EventKey] | None = field(default=None)


class Reporter:
    """Signs and stores events, and signs state reports. `run` must be running for `record` to return."""

    def __init__(
        self,
        *,
        signed: SignedPlan,
        node: str,
        key: SigningKey,
        ledgers: Ledgers,
        boot: bytes,
        clock: Clock,
        runner: Runner,
    ) -> None:
        self._signed = signed
        self._node = node
        self._key = key
        self._ledgers = ledgers
        self._boot = boot
        self._clock = clock
        self._runner = runner
        self._waiting: deque[_Waiting] = deque()
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._committing: asyncio.Future[None] | None = None
        self._counter = self._counter_end = 0
        self._counted = b""  # the ledger that the counters are of
        self.epoch = 0  # the last epoch heard from the controller
        self.dropped = 0  # troubles that found no room
        self.listeners: list[Callable[[Kept], None]] = []  # told of each event after its commit

    @property
    def ledger(self) -> bytes:
        """The ledger's id."""
        return self._ledgers.current.id

    @property
    def owes(self) -> bool:
        """Whether more is to come that a ledger set aside still owes."""
        return self._ledgers.owes

    @property
    def head(self) -> int:
        return self._ledgers.current.head

    def replan(self, signed: SignedPlan, key: SigningKey) -> None:
        """What is recorded from now on was judged under this plan."""
        self._signed, self._key = signed, key

    async def record(self, data: Data) -> EventKey:
        """Make it durable; the key it got. Waits for the disk, however long that takes."""
        waiting = self._stamp(data)
        while len(self._waiting) >= WAITING_MAX:
            self._room.clear()
            await self._room.wait()
        waiting.done = asyncio.get_running_loop().create_future()
        self._enqueue(waiting)
        return await waiting.done

    def post(self, data: Data) -> None:
        """As record, for those who need not wait for it: troubles."""
        if len(self._waiting) >= WAITING_MAX:
            self.dropped += 1
            return
        self._enqueue(self._stamp(data))

    def _stamp(self, data: Data) -> _Waiting:
        return _Waiting(
            data, self._signed.digest, self._clock.monotonic_ns(), self._clock.wall_us(), self._clock.quality()
        )

    def _enqueue(self, waiting: _Waiting) -> None:
        self._waiting.append(waiting)
        self._wake.set()

    async def run(self) -> None:
        """Commit what comes, until cancelled. What was taken up is finished: `flush` afterwards commits the rest."""
        tended_ns = self._clock.monotonic_ns()
        await self._reserve()
        self._take_findings()
        while True:
            while self._waiting:
                await self._commit()
            if self._counter_end - self._counter < COUNTER_BLOCK // 2 or self._counted != self.ledger:
                await self._reserve()
            now_ns = self._clock.monotonic_ns()
            if now_ns - tended_ns >= TEND_S * 1e9:
                tended_ns = now_ns
                await self._runner(self._ledgers.tend)
                self._take_findings()
            self._wake.clear()
            if not self._waiting:
                try:
                    async with asyncio.timeout(TEND_S):
                        await self._wake.wait()
                except TimeoutError:
                    continue

    async def flush(self) -> None:
        """Commit what waits: for the end, when `run` no longer runs."""
        if self._committing is not None:
            await self._committing
        while self._waiting:
            await self._commit()

    async def _commit(self) -> None:
        # Shielded: a commit that has begun is finished and told of even when we are being stopped, else it were done twice.
        self._committing = asyncio.ensure_future(self._commit_some())
        await asyncio.shield(self._committing)
        self._committing = None

    async def _commit_some(self) -> None:
        batch = [self._waiting[n] for n in range(min(COMMIT_EVENTS_MAX, len(self._waiting)))]
        drafts = [Draft(_urgent(w.data), self._sealer(w)) for w in batch]
        kept = await self._runner(self._ledgers.append, drafts)
        for _ in batch:
            self._waiting.popleft()
        self._room.set()
        for waiting, each in zip(batch, kept, strict=True):
            if waiting.done is not None and not waiting.done.done():
                waiting.done.set_result(EventKey(self._node, each.ledger, each.seq))
            for listener in self.listeners:
                listener(each)
        self._take_findings()

    def _take_findings(self) -> None:
        found, self._ledgers.findings = self._ledgers.findings, []
        for code, on, subject in found:
            log.warning("ledger.trouble code=%s on=%s subject=%s", code, on, subject)
            self.post(TroubleData(code, on, subject[:48]))

    def _sealer(self, waiting: _Waiting) -> Callable[[bytes, int], bytes]:
        def sealed(ledger: bytes, seq: int) -> bytes:
            return self._seal_event(waiting, ledger, seq)

        return sealed

    def _seal_event(self, waiting: _Waiting, ledger: bytes, seq: int) -> bytes:
        data = waiting.data
        while True:
            event = Event(ledger, seq, waiting.monotonic_ns, waiting.clock, waiting.plan, data)
            try:
                return seal(self._envelope(Kind.EVENT, seq, waiting.wall_us, event.pack()), self._key)
            except WireError:
                # Only a vote's evidence can be that long. The verdict travels; the members stand in the journal of samples.
                if not isinstance(data, TransitionData) or not data.evidence:
                    raise
                data = _with_less_evidence(data)

    def _envelope(self, kind: Kind, counter: int, wall_us: int, body: object) -> Envelope:
        plan = self._signed.plan
        return Envelope(kind, self._node, plan.controller, self._boot, counter, wall_us, plan.version, self.epoch, body)

    # What is true now.

    def state(self, points: Sequence[PointState], sirens: Sequence[SirenState]) -> list[bytes]:
        """Signed state reports, in as many parts as the size rule asks for. [] while no counters are reserved."""
        for rows in range(STATE_ROWS_MAX, 0, -1):
            parts = max(1, -(-len(points) // rows), -(-len(sirens) // rows))
            if self._counter_end - self._counter < parts or self._counted != self.ledger:
                self._wake.set()
                return []
            try:
                return [self._seal_state(points, sirens, part, parts, rows) for part in range(parts)]
            except WireError:
                continue
        raise AssertionError("one row is always small enough")

    def _seal_state(
        self, points: Sequence[PointState], sirens: Sequence[SirenState], part: int, parts: int, rows: int
    ) -> bytes:
        first, last = part * rows, (part + 1) * rows
        body = State(
            self.ledger,
            self.head,
            self._clock.monotonic_ns(),
            self._clock.quality(),
            self._signed.digest,
            part,
            parts,
            tuple(points[first:last]),
            tuple(sirens[first:last]),
        )
        self._counter += 1
        return seal(self._envelope(Kind.STATE, self._counter, self._clock.wall_us(), body.pack()), self._key)

    def want(self, want: Want) -> bytes | None:
        """What we want of a plan, signed. None while no counters are reserved."""
        if self._counter == self._counter_end or self._counted != self.ledger:
            self._wake.set()
            return None
        self._counter += 1
        return seal(self._envelope(Kind.WANT, self._counter, self._clock.wall_us(), want.pack()), self._key)

    async def _reserve(self) -> None:
        first = await self._runner(self._ledgers.reserve_counter)
        self._counted = self.ledger
        self._counter, self._counter_end = first - 1, first + COUNTER_BLOCK - 1

    # What the lane asks.

    async def ack(self, ack: Ack, handed: Collection[int] | None = None) -> AckVerdict:
        """Let the ledger know of a controller's ack; its signature was checked. `handed`: as Ledger.ack."""
        verdict = await self._runner(self._ledgers.ack, ack, handed)
        if verdict in (AckVerdict.ABOVE_HEAD, AckVerdict.DIFFERS):
            # The controller has events of this ledger that we have not: an old copy of the disk has been put back.
            await self._runner(self._ledgers.begin_anew, ack.through, self._remint)
            self._wake.set()  # the new ledger's counters are to be reserved
        self._take_findings()
        return verdict

    def _remint(self, kept: Kept) -> Draft | None:
        """The same event, to be sealed under another ledger's key: what it says, and when it was said, stays."""
        envelope = peek(kept.data)
        if envelope is None:
            return None
        try:
            event = Event.unpack(envelope.body)
        except WireError:
            return None

        def sealed(ledger: bytes, seq: int) -> bytes:
            body = replace(event, ledger=ledger, seq=seq).pack()
            return seal(replace(envelope, counter=seq, body=body), self._key)

        return Draft(kept.urgent, sealed)

    async def pending(self, limit: int, skip: frozenset[tuple[bytes, int]]) -> list[Kept]:
        """Unacked events, the urgent first."""
        kept = await self._runner(self._ledgers.pending, limit, skip)
        self._take_findings()
        return kept

    async def unacked(self) -> int:
        return await self._runner(self._ledgers.unacked)

    async def latest(self, limit: int) -> list[Kept]:
        return await self._runner(self._ledgers.latest, limit)


Record = Callable[[Data], Awaitable[EventKey]]


def _urgent(data: Data) -> bool:
    """A raised Level goes before everything."""
    return isinstance(data, TransitionData) and (
        data.cause is Cause.RAISED or (data.cause is Cause.RESTATED and data.level > 0)
    )


def _with_less_evidence(data: TransitionData) -> TransitionData:
    kept = data.evidence[: len(data.evidence) // 2]
    return TransitionData(data.point, data.cause, data.was, data.level, data.value, data.reason, data.trouble, kept)
