"""The dispatcher: takes every change of an alarm, makes it durable, and sets the couriers going.

`tell` returns when the message will be delivered, so the alarm path need not wait for it: sirens are ordered first, and a change
that was not yet told when the program stopped is told again at the next start (the outbox knows it by its identifier). When the
disk takes nothing, messages are delivered from memory (keeping.py), and their changes are told again until they are durable.
Give it a runner of its own: it then never queues behind, or before, the journal's commits.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from cython_ext import Clock
from lanes.store import Runner

from . import Channel, Delivery, Outcome, ReceiptSink, Supervised, TroubleSink
from .cap import Author
from .courier import Courier, Entropy
from .keeping import Keeping
from .outbox import PARCELS_MAX, RENEW_MAX, Lost, Tellable, Told
from .standin import StandIn

RENEW_EVERY_S: Final = 30.0  # how often messages are looked through for renewal; they last at least 600 s
DISK_RETRY_S: Final = 5.0  # a full disk: people are making room
WRITE_MAX: Final = (
    50  # changes in one commit: about 0.15 s of XML, so that the first of a storm leave while the last are written
)


class Dispatcher:
    """Runs until cancelled. `receipt` takes each delivery into the journal; `trouble` is told (code, on, subject)."""

    def __init__(
        self,
        author: Author,
        channels: Sequence[Channel],
        *,
        path: Path,
        clock: Clock,
        runner: Runner,
        entropy: Entropy,
        receipt: ReceiptSink,
        trouble: TroubleSink,
        fallbacks: Mapping[str, str] | None = None,
        standby: frozenset[str] = frozenset(),
        parcels_max: int = PARCELS_MAX,
    ) -> None:
        """`fallbacks`: channel → its stand-in; `standby`: channels that only stand in, or only call people."""
        self.author = author
        wants = {channel.name: _wish(channel) for channel in channels}
        self._outbox = Keeping(path, wants, standby=standby, parcels_max=parcels_max)
        self._clock = clock
        self._runner = runner
        self._receipt = receipt
        self._trouble = trouble
        self._couriers = {
            channel.name: Courier(
                channel,
                self._outbox,
                clock=clock,
                runner=runner,
                entropy=entropy,
                receipt=receipt,
                trouble=trouble,
            )
            for channel in channels
        }
        self._stand_ins = [
            StandIn(
                self._couriers[name],
                self._couriers[by],
                self._outbox,
                clock=clock,
                runner=runner,
                receipt=receipt,
            )
            for name, by in (fallbacks or {}).items()
        ]
        self._pending: list[tuple[Tellable, asyncio.Future[bool]]] = []
        self._arrived = asyncio.Event()
        self._invalid = False
        self._refused = False  # the disk takes nothing

    async def tell(self, change: Tellable) -> bool:
        """Returns when the change is taken up: True when that is durable, False when only memory has it: tell it again later.

        Changes told at the same time share one commit. Needs `run`.
        """
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._pending.append((change, done))
        self._arrived.set()
        return await done

    @property
    def forgetful(self) -> bool:
        """Whether the outbox was damaged, and what it had to tell is to be told again: until `retold`."""
        return self._outbox.anew

    async def retold(self) -> None:
        """It has been."""
        await self._runner(self._outbox.retold)

    async def pending(self) -> dict[str, int]:
        """How many messages each channel still has to take."""
        return await self._runner(self._outbox.pending)

    async def settled(self, timeout_s: float) -> bool:
        """Wait until every channel has taken everything, at most so long. For tools that end; True: it has."""
        try:
            async with asyncio.timeout(timeout_s):
                if self._pending:
                    await asyncio.wait([done for _, done in self._pending])
                for courier in self._couriers.values():
                    await courier.idle.wait()
        except TimeoutError:
            return False
        return True

    async def run(self) -> None:
        """Deliver, renew, and write, until cancelled."""
        try:
            await self._lost(await self._runner(self._outbox.orphans))
            async with asyncio.TaskGroup() as group:
                group.create_task(self._write())
                group.create_task(self._renew())
                group.create_task(self._tend())
                for courier in self._couriers.values():
                    group.create_task(courier.run())
                    if isinstance(courier.channel, Supervised):
                        group.create_task(courier.channel.supervise(self._trouble))
                for stand_in in self._stand_ins:
                    group.create_task(stand_in.run())
        finally:
            for courier in self._couriers.values():
                await courier.channel.close()
            await self._runner(self._outbox.close)

    async def _write(self) -> None:
        while True:
            await self._arrived.wait()
            batch = self._pending[:WRITE_MAX]
            changes = [change for change, _ in batch]
            told = await self._runner(self._outbox.tell, self.author, changes, self._clock.wall_us())
            durable = not self._outbox.why
            del self._pending[: len(batch)]
            if not self._pending:
                self._arrived.clear()
            self._wake()
            for _, done in batch:
                if not done.done():
                    done.set_result(durable)
            self._look()
            await self._after(told)

    async def _renew(self) -> None:
        while True:
            told = await self._runner(self._outbox.renew, self.author, self._clock.wall_us())
            if told.identifiers:
                self._wake()
            await self._after(told)
            if len(told.identifiers) < RENEW_MAX:
                await asyncio.sleep(RENEW_EVERY_S)

    async def _tend(self) -> None:
        """From memory back to the disk, when it takes things again."""
        while True:
            await asyncio.sleep(DISK_RETRY_S)
            if self._outbox.why:
                await self._runner(self._outbox.back)
            self._look()

    def _look(self) -> None:
        """Tell whether the disk takes things."""
        why = self._outbox.why
        if bool(why) != self._refused:
            self._refused = bool(why)
            self._trouble("dispatch-disk", self._refused, why)

    def _wake(self) -> None:
        for courier in self._couriers.values():
            courier.wake()

    async def _after(self, told: Told) -> None:
        if told.identifiers and bool(told.invalid) != self._invalid:
            self._invalid = bool(told.invalid)
            self._trouble("dispatch-invalid", self._invalid, "cap")
        for text in told.invalid:
            identifier, _, why = text.partition(": ")
            await self._receipt(
                Delivery("cap", identifier, "", Outcome.REFUSED, why[:120], 0, self._clock.wall_us(), 0.0)
            )
        await self._lost(told.shed)
        shed = {lost.channel for lost in told.shed}
        for name, courier in self._couriers.items():
            if told.identifiers and name not in shed:
                courier.kept()

    async def _lost(self, all_lost: Sequence[Lost]) -> None:
        for lost in all_lost:
            courier = self._couriers.get(lost.channel)
            if courier:
                await courier.lost(lost)
                continue
            at_us = self._clock.wall_us()
            await self._receipt(
                Delivery(lost.channel, lost.identifier, lost.alarm, Outcome.SHED, lost.detail, 0, at_us, 0.0)
            )


def _wish(channel: Channel) -> Callable[[bool], bool]:
    return lambda cap: channel.wants(cap=cap)
