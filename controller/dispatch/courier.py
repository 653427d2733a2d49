"""One channel's courier: takes its messages from the outbox in order, delivers, and tries again for ever.

Theory. A failure is of the channel (no answer, 5xx, a wrong secret) or of one message (the receiver is there and refuses it).
A failing channel rests, doubling to REST_MAX_S with jitter, and is then probed with one message; a refused message is held
back on its own and lets the others pass, since a message that a receiver cannot read must not keep the next alarm from it.
Messages of one alarm go in order, those of different alarms side by side.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

from cython_ext import NS_PER_S, Clock
from lanes.store import Runner

from . import Answer, Channel, Delivery, Message, Outcome, ReceiptSink, TroubleSink, gate
from .call import PREFIX
from .keeping import Keeping
from .outbox import Lost

BATCH: Final = 64  # messages read from disk at once: a megabyte or so
PARALLEL: Final = 8  # deliveries side by side: 5,000 alarms in 30 s at 48 ms each
REST_S: Final = 1.0  # after the first failure
REST_MAX_S: Final = 60.0  # a receiver that is back is found within a minute
HOLD_S: Final = 60.0  # a refused message
HOLD_MAX_S: Final = 900.0
TELL_AFTER_NS: Final = 30 * NS_PER_S  # failing for this long is a person's business (F32: within 90 s)
WISH_MAX_S: Final = 300.0  # a receiver's Retry-After is heeded up to here


class Entropy(Protocol):
    """A source of jitter."""

    def random(self) -> float:
        """From 0 to below 1."""


class Courier:
    """Delivers for one channel until cancelled."""

    def __init__(
        self,
        channel: Channel,
        outbox: Keeping,
        *,
        clock: Clock,
        runner: Runner,
        entropy: Entropy,
        receipt: ReceiptSink,
        trouble: TroubleSink,
    ) -> None:
        self.channel = channel
        self._outbox = outbox
        self._clock = clock
        self._runner = runner
        self._entropy = entropy
        self._receipt = receipt
        self._trouble = trouble
        self._arrived = asyncio.Event()
        self.idle = asyncio.Event()  # everything is delivered, as far as this courier has been told
        self._attempts: dict[int, int] = {}
        self._held: dict[int, tuple[int, str]] = {}  # until (monotonic ns), and what the receiver said
        self._failures = 0
        self._failing_since_ns = 0
        self._said = ""  # the failure that the journal knows of
        self._on: set[str] = set()

    def failing_ns(self, now_ns: int) -> int:
        """For how long deliveries have failed; 0: the last one did not."""
        return now_ns - self._failing_since_ns if self._failures else 0

    def wake(self) -> None:
        """There may be something to deliver."""
        self.idle.clear()
        self._arrived.set()

    async def run(self) -> None:
        while True:
            self._arrived.clear()
            limit = 1 if self._failures else BATCH
            messages = await self._runner(self._outbox.due, self.channel.name, self._held_now(), limit)
            if not messages:
                if not self._held and not self._arrived.is_set():
                    self.idle.set()
                await self._until_due()
                continue
            wish_s = await self._round(messages)
            if self._failures:
                await asyncio.sleep(max(self._back_off(REST_S, REST_MAX_S, self._failures), wish_s))

    async def _until_due(self) -> None:
        """Wait for a wake, or for the first held message."""
        until_ns = min((until for until, _ in self._held.values()), default=None)
        if until_ns is None:
            await self._arrived.wait()
            return
        wait_s = max((until_ns - self._clock.monotonic_ns()) / NS_PER_S, 0.001)
        try:
            async with asyncio.timeout(wait_s):
                await self._arrived.wait()
        except TimeoutError:
            pass

    def _held_now(self) -> list[int]:
        now_ns = self._clock.monotonic_ns()
        return [number for number, (until_ns, _) in self._held.items() if until_ns > now_ns]

    def _back_off(self, first_s: float, most_s: float, times: int) -> float:
        """Doubling, capped, and spread over its upper half, so that many couriers do not knock together."""
        whole = min(first_s * 2.0 ** min(times - 1, 30), most_s)
        return whole / 2 + whole / 2 * self._entropy.random()

    async def _round(self, messages: Sequence[Message]) -> float:
        """Deliver these. Returns the receiver's own wish for a rest, in seconds."""
        queue = deque(messages)
        over: list[int] = []
        failed: list[Answer] = []

        async def work() -> None:
            while queue and not failed:
                message = queue.popleft()
                answer = await self._one(message)
                if answer is None:
                    over.append(message.number)
                elif not answer.refused:
                    failed.append(answer)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(PARALLEL, len(messages))):
                group.create_task(work())
        if over:
            await self._runner(self._outbox.done, self.channel.name, over)
            for number in over:
                self._attempts.pop(number, None)
                self._held.pop(number, None)
        if not self._held:
            self._say("dispatch-refused", False)
        if not failed:
            return 0.0
        self._failures += 1
        return min(max((answer.after_s for answer in failed), default=0.0), WISH_MAX_S)

    async def _one(self, message: Message) -> Answer | None:
        """One attempt; None: this message needs no more telling here."""
        expires = self.channel.expires or message.alarm.startswith(PREFIX)  # a call of yesterday helps nobody
        if expires and not gate.fresh(message.expires_us, self._clock.wall_us()):
            self._say("dispatch-expired", True)
            await self._tell(message, Outcome.EXPIRED, "expired", 0.0)
            return None
        began_ns = self._clock.monotonic_ns()
        self._attempts[message.number] = self._attempts.get(message.number, 0) + 1
        answer = await self.channel.deliver(message)
        took_ms = (self._clock.monotonic_ns() - began_ns) / 1e6
        if answer.taken:
            self._failures = 0
            self._said = ""
            self._say("dispatch-down", False)
            self._say("dispatch-expired", False)
            await self._tell(message, Outcome.DELIVERED, answer.detail, took_ms)
            return None
        if answer.refused:
            await self._hold(message, answer, took_ms)
        else:
            await self._note_failure(message, answer, began_ns)
        return answer

    async def _hold(self, message: Message, answer: Answer, took_ms: float) -> None:
        self._failures = 0  # the receiver is there
        self._say("dispatch-down", False)
        self._say("dispatch-refused", True)
        known = self._held.get(message.number, (0, ""))[1]
        wait_s = self._back_off(HOLD_S, HOLD_MAX_S, self._attempts[message.number])
        self._held[message.number] = (self._clock.monotonic_ns() + round(wait_s * NS_PER_S), answer.detail)
        if answer.detail != known:
            await self._tell(message, Outcome.REFUSED, answer.detail, took_ms)

    async def _note_failure(self, message: Message, answer: Answer, began_ns: int) -> None:
        now_ns = self._clock.monotonic_ns()
        took_ms = (now_ns - began_ns) / 1e6
        if not self._failures:
            self._failing_since_ns = began_ns  # a receiver that says nothing fails from the first second on
        elif now_ns - self._failing_since_ns >= TELL_AFTER_NS:
            self._say("dispatch-down", True)
        if answer.detail != self._said:
            self._said = answer.detail
            await self._tell(message, Outcome.FAILED, answer.detail, took_ms)

    def _say(self, code: str, on: bool) -> None:
        """Raise or end a Trouble, once."""
        if on == (code in self._on):
            return
        (self._on.add if on else self._on.discard)(code)
        self._trouble(code, on, self.channel.name)

    async def _tell(self, message: Message, outcome: Outcome, detail: str, took_ms: float) -> None:
        attempts = self._attempts.get(message.number, 0)
        at_us = self._clock.wall_us()
        name = self.channel.name
        await self._receipt(
            Delivery(name, message.identifier, message.alarm, outcome, detail, attempts, at_us, round(took_ms, 3))
        )

    async def lost(self, each: Lost) -> None:
        """The outbox gave this up: say so."""
        self._say("dispatch-shed", True)
        at_us = self._clock.wall_us()
        await self._receipt(
            Delivery(each.channel, each.identifier, each.alarm, Outcome.SHED, each.detail, 0, at_us, 0.0)
        )

    def kept(self) -> None:
        """The queue is within its bound again."""
        self._say("dispatch-shed", False)
