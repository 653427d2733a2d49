"""The second channel when the first fails: what has not been delivered in 45 s goes to the stand-in as well (F32: within 60 s).

A message is given once, so its receivers get it at most one time more than once; it stays in the first channel's queue too and is
tried there for ever, under the same identifier. A channel that is failing already is not waited for again: what comes goes to the
stand-in at the next look. When it delivers again, it is the first again.
"""

import asyncio
from collections import deque
from typing import Final

from cython_ext import NS_PER_S, Clock
from lanes.store import Runner

from . import Delivery, Outcome, ReceiptSink
from .courier import Courier
from .keeping import Keeping

AFTER_NS: Final = 45 * NS_PER_S
LOOK_S: Final = 5.0


class StandIn:
    """Runs beside the courier of a channel with a `fallback`, until cancelled."""

    def __init__(
        self, courier: Courier, by: Courier, outbox: Keeping, *, clock: Clock, runner: Runner, receipt: ReceiptSink
    ) -> None:
        self._courier = courier
        self._by = by
        self._outbox = outbox
        self._clock = clock
        self._runner = runner
        self._receipt = receipt
        self._marks: deque[tuple[int, int]] = deque()  # (monotonic ns, the newest message then)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            now_ns = self._clock.monotonic_ns()
            newest = await self._runner(self._outbox.newest)
            through = self._due(now_ns, newest)
            if through:
                await self._give(through)

    def _due(self, now_ns: int, newest: int) -> int:
        """The number of the newest message that has had its time; 0: none."""
        self._marks.append((now_ns, newest))
        if self._courier.failing_ns(now_ns) >= AFTER_NS:
            return newest
        through = 0
        while self._marks and now_ns - self._marks[0][0] >= AFTER_NS:
            through = self._marks.popleft()[1]
        return through

    async def _give(self, through: int) -> None:
        name, by = self._courier.channel.name, self._by.channel.name
        given = await self._runner(self._outbox.stand_in, name, by, through)
        if not given:
            return
        self._by.wake()
        at_us = self._clock.wall_us()
        for each in given:
            await self._receipt(
                Delivery(name, each.identifier, each.alarm, Outcome.STAND_IN, each.detail, 0, at_us, 0.0)
            )
