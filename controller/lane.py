"""The controller's end of the alarm lane: its own connection, reports in, acks, orders and the beat out (design §2, §2.2).

What goes out waits for the journal: an ack says that the event is on our disk, an order rests on rows that are. A report's PUBACK
too comes after the commit, though it promises nobody anything; a report that is refused is PUBACKed at once, lest it fill the
broker's window and hold back other nodes' reports.

One node that floods is held to its own ration before anything of its message is decoded (F22, turnstile.py): what it sends beyond
waits for its turn or is turned away, PUBACKed at once, and comes again by itself, since no ack went out.

A region that raises alarms all at once (F31) is read before it is opened, so that the reports that may sound sirens are opened
first (precedence.py). What waits for that is PUBACKed at once too: else the broker would keep back, behind its window, the very
reports that should overtake. Orders go by a place of their own, past the acks.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

from cython_ext import NS_PER_S, WireError, topics
from cython_ext.topics import Lane as Direction
from lanes.envelope import Kind, Refusal, open_envelope
from lanes.link import Connector, Link, LinkDown, Message
from lanes.orders import Ack, Beat

from .hearing import Heard, Hearing, Owed
from .precedence import Precedence, Waiting
from .refusals import Refusals
from .room import Outgoing, Room
from .spread import Spread
from .turnstile import REPORTS, Entry, Turnstile

log = logging.getLogger("bucium.controller")

BEAT_S: Final = 3.0  # design §2.4: a node is cut off after 10 s without a signed word
BACKOFF_FIRST_S: Final = 0.5
BACKOFF_MAX_S: Final = 10.0  # nodes are cut off meanwhile
STEADY_S: Final = 10.0
READ_EVERY: Final = 64  # messages read before others get the loop: some 2 ms
OPEN_EVERY: Final = 4  # messages opened before others get the loop: some 3 ms
AT_ONCE: Final = 8  # so many may wait with their PUBACK held back; a broker's window is 20 and more
HELD_MAX: Final = 8_192  # waiting with a PUBACK, 5 MB; beyond it the broker's window holds the senders back
WAITING_MAX: Final = 16_384  # waiting in all, 10 MB: only QoS 0 comes so far; the rest is turned away
CROWDED: Final = 64  # so many wait: what can wait longer gives way (teller.py)
SENDING_MAX: Final = 256  # orders under way at once
ACKING: Final = 64  # acks under way at once: of the link's places (__main__.py) an order finds one free
TURN_S: Final = 0.005  # between looks whether a turn has come: the clock of the loop is not finer
STRANGERS: Final = ""  # the ration that all unknown nodes share


class Lane:
    """Runs until cancelled. `jitter` gives numbers in [0, 1)."""

    def __init__(
        self,
        room: Room,
        hearing: Hearing,
        refusals: Refusals,
        spread: Spread,
        *,
        connector: Connector,
        jitter: Callable[[], float],
    ) -> None:
        self._room = room
        self._hearing = hearing
        self._refusals = refusals
        self._spread = spread
        self._connector = connector
        self._jitter = jitter
        self._group = room.plan.group
        self._wake = asyncio.Event()
        self._turnstile: Turnstile[Message] = Turnstile(REPORTS, self._quarantined)
        self._turn = asyncio.Event()  # somebody waits for a turn
        self._precedence = Precedence(room.plan)
        self._came = asyncio.Event()  # something waits to be opened
        self._unacked: list[Message] = []  # reports whose PUBACK waits for the commit
        self._acks: dict[Owed, Ack] = {}  # durable, to be sent
        self._ackable = asyncio.Event()
        self._sending = asyncio.Semaphore(SENDING_MAX)
        self.connected = False
        self.counts = {"connects": 0, "reports": 0, "acks": 0, "orders": 0, "beats": 0, "pieces": 0, "dropped": 0}

    def wake(self) -> None:
        """Something may wait to go out."""
        self._wake.set()

    @property
    def crowded(self) -> bool:
        """Whether more reports wait than are opened in a moment."""
        return len(self._precedence) >= CROWDED

    async def run(self) -> None:
        failures = 0
        while True:
            began_ns = self._room.clock.monotonic_ns()
            why = "ended"
            try:
                await self._connection()
            except LinkDown as down:
                why = str(down)
            except ExceptionGroup as several:
                downs, bugs = several.split(LinkDown)
                if bugs is not None:
                    raise bugs from None
                why = str(downs.exceptions[0]) if downs else why
            self.connected = False
            self._unacked.clear()
            self._turnstile.clear()
            self._precedence.clear()
            self._room.trouble("broker-lost", "alarm", True)
            failures = 0 if self._room.clock.monotonic_ns() - began_ns > STEADY_S * NS_PER_S else failures + 1
            if failures < 2:
                log.warning("lane.down why=%s", why)
            longest = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(failures, 6))
            await asyncio.sleep(longest * self._jitter())

    async def _connection(self) -> None:
        async with self._connector.connect(topics.alarm_client(self._room.plan.controller)) as link:
            await link.subscribe((f"{topics.ALARM}/{self._group}/+/{Direction.REPORT}", 1))
            log.info("lane.up controller=%s", self._room.plan.controller)
            self.connected = True
            self.counts["connects"] += 1
            self._room.trouble("broker-lost", "alarm", False)
            self._room.outgoing.clear()  # every order that is unanswered is due again, as it stands now
            self._room.fold.activations.all_due()
            self._spread.reconnected()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._receive(link), name="lane.receive")
                group.create_task(self._open_all(link), name="lane.open")
                group.create_task(self._in_turn(), name="lane.turns")
                group.create_task(self._send(link, group), name="lane.send")
                for _ in range(ACKING):
                    group.create_task(self._send_acks(link), name="lane.ack")
                group.create_task(self._beat(link), name="lane.beat")
                group.create_task(self._spread_plan(link), name="lane.plan")

    # In.

    async def _receive(self, link: Link) -> None:
        count = 0
        async for message in link.messages():
            if not self._take(link, message):
                link.ack(message)
            count += 1
            if count % READ_EVERY == 0:
                await asyncio.sleep(0)

    def _take(self, link: Link, message: Message) -> bool:
        """Whether the message waits to be opened; its PUBACK is then seen to."""
        try:
            node = topics.parse_alarm(message.topic).node
        except WireError:
            self._refusals.count("topic", message.topic)
            return False
        name = node if node in self._room.fold.registry.nodes else STRANGERS
        entry = self._turnstile.enter(name, message, self._room.clock.monotonic_ns())
        if entry is Entry.LATER:
            self._turn.set()
        full = len(self._precedence) >= WAITING_MAX
        if entry is Entry.TURNED_AWAY or (full and entry is Entry.NOW):
            self.counts["dropped"] += 1
        if full or entry is not Entry.NOW:
            return False
        self._precedence.replan(self._room.plan)
        acked = AT_ONCE <= len(self._precedence) < HELD_MAX
        if not self._precedence.put(Waiting(node, message, acked)):
            return False
        if acked:
            link.ack(message)
        self._came.set()
        return True

    async def _open_all(self, link: Link) -> None:
        """What waits, a few at a time: reading, orders and acks have the loop in between."""
        while True:
            await self._came.wait()
            for _ in range(OPEN_EVERY):
                each = self._precedence.next()
                if each is None:
                    self._came.clear()
                    break
                taken = self._open(each.message, each.node)
                if taken and not each.acked:
                    self._unacked.append(each.message)  # until it is in the journal, and that on disk
                    self._wake.set()
                elif not each.acked:
                    link.ack(each.message)
            await asyncio.sleep(0)

    async def _in_turn(self) -> None:
        """What had to wait, one message of each node after another, with room for everything else in between."""
        turnstile, clock = self._turnstile, self._room.clock
        while True:
            taken = turnstile.next(clock.monotonic_ns())
            if taken is not None:
                self._open(taken[1], topics.parse_alarm(taken[1].topic).node)
                await asyncio.sleep(0)
                continue
            wait_ns = turnstile.wait_ns(clock.monotonic_ns())
            if wait_ns is None:
                self._turn.clear()
                await self._turn.wait()
            else:
                await asyncio.sleep(max(wait_ns / NS_PER_S, TURN_S))

    def _open(self, message: Message, node: str) -> bool:
        if message.retain:
            self._refusals.count("retained", message.topic)
            return False
        opened = open_envelope(message.payload, self._room.plan.roster)
        if isinstance(opened, Refusal):
            self._refusals.count(opened.why, f"{node}: {opened.detail}")
            return False
        heard = self._hearing.take(opened, node)
        if heard in (Heard.TAKEN, Heard.AGAIN, Heard.UNUSABLE):
            self.counts["reports"] += 1
            return True
        if heard not in (Heard.STALE, Heard.GAPS, Heard.ASKED):  # QoS 1 itself repeats
            self._refusals.count(heard, node)
        return False

    def _quarantined(self, name: str, on: bool) -> None:
        self._room.trouble("node-flooding", name, on)

    def tick(self, now_ns: int) -> None:
        """End the quarantines of those that have calmed down."""
        self._turnstile.tick(now_ns)

    # Out.

    async def _send(self, link: Link, group: asyncio.TaskGroup) -> None:
        room = self._room
        while True:
            await self._wake.wait()
            self._wake.clear()
            reports, self._unacked = self._unacked, []
            owed, self._hearing.owed = self._hearing.owed, {}
            acks = {each: self._ack_of(each) for each in owed}  # before the wait: they say what will be durable then
            orders = [room.outgoing.popleft() for _ in range(len(room.outgoing))]
            await room.journal.durable()
            for message in reports:
                link.ack(message)
            for outgoing in orders:  # a siren does not wait for anyone's ack
                await self._start(group, self._order(link, outgoing))
            if acks:
                self._acks |= acks  # of one ledger the later says more
                self._ackable.set()

    async def _send_acks(self, link: Link) -> None:
        while True:
            await self._ackable.wait()
            while self._acks:
                owed = next(iter(self._acks))
                await self._ack(link, owed.node, self._acks.pop(owed))
            self._ackable.clear()

    async def _spread_plan(self, link: Link) -> None:
        """Pieces of the plan, one publish at a time: orders, acks and beats have all other places."""
        spread, clock = self._spread, self._room.clock
        while True:
            spread.news.clear()
            for node, data in spread.due(clock.monotonic_ns()):
                await link.publish(topics.order(self._group, node), data, qos=1)
                self.counts["pieces"] += 1
            try:
                async with asyncio.timeout(spread.rest_s(clock.monotonic_ns())):
                    await spread.news.wait()
            except TimeoutError:
                continue

    async def _start(self, group: asyncio.TaskGroup, sending: Coroutine[Any, Any, None]) -> None:
        await self._sending.acquire()
        group.create_task(self._finish(sending), name="lane.publish")

    async def _finish(self, sending: Coroutine[Any, Any, None]) -> None:
        try:
            await sending
        finally:
            self._sending.release()

    async def _order(self, link: Link, outgoing: Outgoing) -> None:
        await link.publish(topics.order(self._group, outgoing.node), outgoing.message(), qos=1)
        self.counts["orders"] += 1

    def _ack_of(self, owed: Owed) -> Ack:
        room = self._room
        return room.fold.registry.nodes[owed.node].sequence(owed.ledger).ack(room.journal.id)

    async def _ack(self, link: Link, node: str, ack: Ack) -> None:
        data = self._room.seal(Kind.ACK, node, ack.pack())
        await link.publish(topics.order(self._group, node), data, qos=1)
        self.counts["acks"] += 1

    async def _beat(self, link: Link) -> None:
        """One signature for the whole group."""
        room = self._room
        while True:
            await room.journal.durable()  # a controller whose disk hangs does not say that all is well
            data = room.seal(Kind.BEAT, "", Beat(room.journal.id).pack())
            await link.publish(topics.beat(self._group), data, qos=1)
            self.counts["beats"] += 1
            await asyncio.sleep(BEAT_S)
