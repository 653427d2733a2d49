"""Receipts on their way into the ledger, in order, so that no relay waits for that disk.

Steps of sirens are never dropped. Refusals are: whoever floods us with bad orders must not fill the ledger. Each kind has a
bucket of tokens; when it is empty, refusals are counted, and the next one that is written is preceded by one that says FLOOD.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from cython_ext import NS_PER_S, Clock
from lanes.identity import INCIDENT_BYTES
from lanes.reports import REFERENCE_BYTES, ReceiptData, Stage

from .refusals import Why

NOISE_BURST: Final = 10  # bad orders that nobody vouches for: an attack, or a broken broker
NOISE_EVERY_S: Final = 30.0  # 2,880 a day: a fiftieth of the ledger
KNOWN_BURST: Final = 32  # refused orders of our own controller: all sirens of a node, twice
KNOWN_EVERY_S: Final = 2.0
WAITING_MAX: Final = 1024  # receipts while the ledger's disk is away; then refusals are no longer taken


class Bucket:
    """So many at once, then one every so many seconds."""

    def __init__(self, burst: int, every_s: float, clock: Clock) -> None:
        self._burst = burst
        self._every_ns = round(every_s * NS_PER_S)
        self._clock = clock
        self._full_ns = clock.monotonic_ns()  # when it will be full again
        self.missed = 0  # since the last one taken

    def take(self) -> bool:
        now_ns = self._clock.monotonic_ns()
        full_ns = max(self._full_ns, now_ns) + self._every_ns
        if full_ns - now_ns > self._burst * self._every_ns:
            self.missed += 1
            return False
        self._full_ns = full_ns
        return True


class Answers:
    """The queue. `refused` counts every refusal, `unwritten` those that found no token."""

    def __init__(self, record: Callable[[ReceiptData], Awaitable[object]], clock: Clock) -> None:
        self._record = record
        self._noise = Bucket(NOISE_BURST, NOISE_EVERY_S, clock)
        self._known = Bucket(KNOWN_BURST, KNOWN_EVERY_S, clock)
        self._waiting: deque[ReceiptData] = deque()
        self._wake = asyncio.Event()
        self.refused = 0
        self.unwritten = 0

    def tell(self, receipt: ReceiptData) -> None:
        """A step of a siren."""
        self._waiting.append(receipt)
        self._wake.set()

    def refuse(self, receipt: ReceiptData, *, known: bool) -> None:
        """A refusal. `known`: a new order of our own controller."""
        self.refused += 1
        bucket = self._known if known else self._noise
        if len(self._waiting) >= WAITING_MAX or not bucket.take():
            self.unwritten += 1
            return
        if bucket.missed:
            bucket.missed = 0
            zeros = bytes(REFERENCE_BYTES)
            self.tell(ReceiptData("", zeros, Stage.REFUSED, Why.FLOOD, bytes(INCIDENT_BYTES), receipt.order_epoch))
        self.tell(receipt)

    async def run(self) -> None:
        """Write them, in order, until cancelled."""
        while True:
            while self._waiting:
                await self._record(self._waiting[0])
                self._waiting.popleft()
            self._wake.clear()
            await self._wake.wait()

    async def flush(self) -> None:
        """Write what waits: for the end, when `run` no longer runs. One that was being written may be written twice."""
        while self._waiting:
            await self._record(self._waiting.popleft())
