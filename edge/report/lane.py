"""The node's end of the alarm lane: its own connection, events until they are acked, states, orders in (design §2, §2.2).

Nothing of the telemetry lane touches it. A PUBACK promises nothing; an event leaves this node's care only by the signed ack of
the home controller. The node is *cut off* when it has heard no valid message of the controller for 10 s, or an event has
waited 10 s for its ack, whatever MQTT says (design §2.4).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from cython_ext import NS_PER_S, Clock, WireError, topics
from lanes.envelope import ORDER_BYTES_MAX, Envelope, Kind, Opened, Refusal, peek
from lanes.link import Connector, Link, LinkDown, Message
from lanes.orders import Ack
from lanes.pieces import Want
from lanes.planfile import SignedPlan
from lanes.reports import PointState, SirenState

from ..troubles import Troubles
from .hearing import Doubt, Heard, Hearing
from .ledger import AckVerdict, Kept
from .outbox import PAGE_EVENTS, Flight, Outbox
from .reporter import Reporter

log = logging.getLogger("bucium.edge")

CUT_OFF_NS: Final = 10 * NS_PER_S
STATE_S: Final = 30.0  # a present danger is said again and again: the report may be lost with its broker
STATE_RETRY_S: Final = 0.2
BACKOFF_FIRST_S: Final = 1.0
BACKOFF_MAX_S: Final = 30.0  # full jitter up to it: 5,000 nodes do not come back in one moment (F30)
STEADY_S: Final = 10.0  # a connection that lasted so long, or brought a word of the controller, ends the back-off
ORDERS_MAX: Final = 32  # handled at once; more wait in the connection, which holds the sender back
REFUSED_QUIET_S: Final = 60.0  # strangers' messages are one trouble, until a minute has passed without


@dataclass(frozen=True, slots=True)
class Node:
    """What the lane asks of the rest of the node."""

    order: Callable[[bytes], Awaitable[object]]  # each ORDER envelope; answers by receipts
    act: Callable[[bytes], str]  # each ACT envelope (a person's veto); "" when it counts, else why not
    heard: Callable[[int], None]  # a valid message of the controller was issued at this wall time (UTC microseconds)
    states: Callable[[], tuple[Sequence[PointState], Sequence[SirenState]]]
    endangered: Callable[[], bool]  # any Level ≥ 1 here
    cut_off: Callable[[int | None], None]  # since when (monotonic), or None: connected
    piece: Callable[[Envelope], str]  # each CHUNK envelope of the controller; "" when it is one, else why not
    reset: Callable[[Opened], str]  # each RESET of the controller; "" when it is one, else why not
    want: Callable[[], Want | None]  # what is to be asked of the controller's plan


class Lane:
    """Runs until cancelled. `jitter` gives numbers in [0, 1)."""

    def __init__(
        self,
        *,
        signed: SignedPlan,
        node: str,
        reporter: Reporter,
        troubles: Troubles,
        rest: Node,
        connector: Connector,
        clock: Clock,
        jitter: Callable[[], float],
    ) -> None:
        self._node = node
        self._reporter = reporter
        self._troubles = troubles
        self._rest = rest
        self._connector = connector
        self._clock = clock
        self._jitter = jitter
        self._outbox = Outbox(jitter)
        self._hearing = Hearing(signed.plan, node, clock, self._outbox.proves)
        self._wake = asyncio.Event()
        self._state_wanted = asyncio.Event()
        self._asking = asyncio.Event()
        self._orders = asyncio.Semaphore(ORDERS_MAX)
        self._order_topic = topics.order(signed.plan.group, node)
        self._beat_topic = topics.beat(signed.plan.group)
        self._report_topic = topics.report(signed.plan.group, node)
        self._began_ns = self._heard_ns = clock.monotonic_ns()
        self._controller_boot = b""
        self._cut_ns: int | None = None
        self._refused_ns = 0
        self._logged_ns: dict[str, int] = {}
        self._owes = False
        self._more = True  # the ledger may hold backlog that is not in the outbox
        self._ledger = b""
        self.connected = False
        self.counts = {"connects": 0, "sent": 0, "acks": 0, "acks_refused": 0, "orders": 0, "states": 0, "wants": 0}
        reporter.listeners.append(self._recorded)

    def replan(self, signed: SignedPlan) -> None:
        """Another plan of the same group and controller: whom to believe. What is true now is said under it at once."""
        self._hearing.replan(signed.plan)
        self._state_wanted.set()

    def say_state(self) -> None:
        """What is true now has changed in a way that no event tells."""
        self._state_wanted.set()

    def ask(self) -> None:
        """A piece of a plan has come, or nothing more of it is wanted: say so, or say under which plan we judge."""
        self._asking.set()

    @property
    def cut_off_since_ns(self) -> int | None:
        return self._cut_ns

    @property
    def busy(self) -> bool:
        """Whether an alarm is yet to go out, or the controller is there to ack what has: the past waits for them."""
        return self.unsaid or (self.connected and self._cut_ns is None and len(self._outbox) > 0)

    @property
    def unsaid(self) -> bool:
        """Whether an alarm has not gone out, on this connection or before the next: what is long waits for it."""
        return self._outbox.unsaid

    @property
    def refused(self) -> dict[str, int]:
        """Messages that did not count, by reason."""
        return dict(self._hearing.refused)

    async def run(self) -> None:
        """Connect, again and again; and watch whether we are cut off: for 10 s of listening, however long the start-up took."""
        self._began_ns = self._heard_ns = self._clock.monotonic_ns()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._stay_connected(), name="lane.connect")
            group.create_task(self._watch(), name="lane.watch")

    async def _stay_connected(self) -> None:
        failures = 0
        while True:
            began_ns = self._clock.monotonic_ns()
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
            was_up, self.connected = self.connected, False
            self._outbox.grounded()
            lasted = self._clock.monotonic_ns() - began_ns > STEADY_S * NS_PER_S
            failures = 0 if lasted or self._heard_ns > began_ns else failures + 1
            longest = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(failures, 10))
            if was_up or failures < 2:  # a line for each end, one for a row of attempts
                log.warning("lane.down why=%s", why)
            await asyncio.sleep(longest * self._jitter())

    async def _connection(self) -> None:
        async with self._connector.connect(topics.alarm_client(self._node)) as link:
            await link.subscribe((self._order_topic, 1), (self._beat_topic, 1))
            log.info("lane.up node=%s", self._node)
            self.connected = True
            self.counts["connects"] += 1
            self._outbox.all_due(self._clock.monotonic_ns())
            self._more = True
            self._state_wanted.set()
            if self._rest.want() is not None:
                self._asking.set()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._receive(link, group), name="lane.receive")
                group.create_task(self._say_state(link), name="lane.state")
                group.create_task(self._say_want(link), name="lane.want")
                group.create_task(self._send(link, group), name="lane.send")

    # Out.

    def _recorded(self, kept: Kept) -> None:
        """An event of now stands in the ledger."""
        if kept.ledger != self._ledger:  # another ledger, which may owe what a former one did
            self._ledger, self._more = kept.ledger, True
        if not self._outbox.add(kept, self._clock.monotonic_ns(), fresh=True):
            self._more = True
        self._wake.set()

    async def _send(self, link: Link, group: asyncio.TaskGroup) -> None:
        while True:
            if self._more and self._outbox.hungry:
                await self._load()
            now_ns = self._clock.monotonic_ns()
            heard = now_ns - self._heard_ns < CUT_OFF_NS
            for flight in self._outbox.take(now_ns, heard=heard):
                group.create_task(self._publish(link, flight), name="lane.publish")
            next_ns = self._outbox.next_ns(now_ns, heard=heard)
            wait_s = None if next_ns is None else (next_ns - now_ns) / NS_PER_S
            self._wake.clear()
            await _pause(self._wake, wait_s)

    async def _load(self) -> None:
        """A page of what an earlier cut or boot left in the ledger."""
        self._more = False
        kept = await self._reporter.pending(PAGE_EVENTS, self._outbox.keys)
        self._more = self._more or len(kept) == PAGE_EVENTS
        now_ns = self._clock.monotonic_ns()
        for each in kept:
            self._outbox.add(each, now_ns, fresh=False)

    async def _publish(self, link: Link, flight: Flight) -> None:
        began_ns = self._clock.monotonic_ns()
        took_ns = None
        try:
            await link.publish(self._report_topic, flight.kept.data, qos=1)
            took_ns = self._clock.monotonic_ns() - began_ns
            self.counts["sent"] += 1
        finally:
            self._outbox.landed(flight, self._clock.monotonic_ns(), took_ns)
            self._wake.set()

    async def _say_state(self, link: Link) -> None:
        """On connecting, when the controller is heard again or has begun anew, and every 30 s while any Level ≥ 1."""
        while True:
            if self._state_wanted.is_set() or self._rest.endangered():
                parts = self._reporter.state(*self._rest.states())
                if not parts:  # the ledger is just reserving counters for it
                    await asyncio.sleep(STATE_RETRY_S)
                    continue
                self._state_wanted.clear()
                for part in parts:
                    await link.publish(self._report_topic, part, qos=1)
                    self.counts["states"] += 1
            await _pause(self._state_wanted, STATE_S)

    async def _say_want(self, link: Link) -> None:
        """Each answer asks for the next piece of the controller's plan: so one at a time is on its way to us."""
        while True:
            await self._asking.wait()
            self._asking.clear()
            want = self._rest.want()
            if want is None:
                self._state_wanted.set()  # which names the plan that runs
                continue
            data = self._reporter.want(want)
            if data is None:  # as with states
                await asyncio.sleep(STATE_RETRY_S)
                self._asking.set()
                continue
            await link.publish(self._report_topic, data, qos=1)
            self.counts["wants"] += 1

    # In.

    async def _receive(self, link: Link, group: asyncio.TaskGroup) -> None:
        async for message in link.messages():
            kind = _kind(message) if message.topic == self._order_topic else None
            if kind is Kind.ORDER:
                await self._orders.acquire()
                group.create_task(self._obey(link, message), name="lane.order")
                continue
            if kind is Kind.ACT:
                if why := self._rest.act(message.payload):
                    self._refuse(why, "act")
            else:
                await self._take(message)
            link.ack(message)

    async def _obey(self, link: Link, message: Message) -> None:
        """An order, in a task of its own: a slow relay must not hold back a stop, or the next ack."""
        try:
            self._judge(message)
            self.counts["orders"] += 1
            await self._rest.order(message.payload)
            link.ack(message)
        finally:
            self._orders.release()

    async def _take(self, message: Message) -> None:
        heard = self._judge(message)
        if heard is None:
            return
        if heard.opened.envelope.kind is Kind.CHUNK:
            if why := self._rest.piece(heard.opened.envelope):
                self._refuse(why, "chunk")
            return
        if heard.opened.envelope.kind is Kind.RESET:
            if why := self._rest.reset(heard.opened):
                self._refuse(why, "reset")
            return
        if heard.opened.envelope.kind is not Kind.ACK:
            return
        try:
            ack = Ack.unpack(heard.opened.envelope.body)
        except WireError as error:
            self._refuse("malformed-ack", str(error))
            return
        await self._take_ack(ack)

    async def _take_ack(self, ack: Ack) -> None:
        verdict = await self._reporter.ack(ack, self._outbox.handed(ack.ledger))
        self.counts["acks"] += 1
        if verdict not in (AckVerdict.TAKEN, AckVerdict.RESEND):
            self.counts["acks_refused"] += 1
            log.warning("ack.refused why=%s through=%d head=%d", verdict, ack.through, self._reporter.head)
            if verdict is not AckVerdict.FOREIGN:  # late acks of a ledger that was replaced are ordinary
                self._troubles.set("ledger-rolled-back", True)
                self._outbox.clear()  # all that the controller may lack comes anew, from another ledger
                self._more = True
                self._state_wanted.set()
                self._wake.set()
            return
        self._troubles.set("ledger-rolled-back", False)
        if verdict is AckVerdict.RESEND:
            self._more = True
        self._outbox.acked(ack.ledger, ((0, ack.through), *ack.ranges))
        self._wake.set()
        self._consider()

    def _judge(self, message: Message) -> Heard | None:
        if message.retain:
            self._refuse("retained", message.topic)
            return None
        judged = self._hearing.judge(message.payload, beat=message.topic == self._beat_topic)
        if isinstance(judged, Refusal):
            self._refuse(judged.why, judged.detail)
            return None
        if isinstance(judged, Doubt):
            if judged is not Doubt.REPLAYED:  # QoS 1 itself repeats
                self._refuse(judged, message.topic)
            return None
        self._rest.heard(judged.opened.envelope.issued_us)
        now_ns = self._clock.monotonic_ns()
        silent = now_ns - self._heard_ns >= CUT_OFF_NS
        begun = judged.opened.envelope.boot != self._controller_boot  # it knows nothing of what is true now
        self._heard_ns, self._controller_boot = now_ns, judged.opened.envelope.boot
        self._reporter.epoch = max(self._reporter.epoch, judged.opened.envelope.epoch)
        if silent or begun:
            self._outbox.all_due(now_ns)
            self._more = True
            self._state_wanted.set()
            self._wake.set()
        self._consider()
        return judged

    def _refuse(self, why: str, detail: str) -> None:
        now_ns = self._refused_ns = self._clock.monotonic_ns()
        if now_ns - self._logged_ns.get(why, -1 << 62) >= REFUSED_QUIET_S * NS_PER_S:  # a flood is one line a minute
            self._logged_ns[why] = now_ns
            log.warning("message.refused why=%s detail=%s", why, detail)
        self._troubles.set("messages-refused", True)

    # Cut off.

    async def _watch(self) -> None:
        while True:
            now_ns = self._clock.monotonic_ns()
            self._consider()
            if now_ns - self._refused_ns >= REFUSED_QUIET_S * NS_PER_S:
                self._troubles.set("messages-refused", False)
            owes = self._reporter.owes
            if owes or self._owes:  # a former ledger's events come into this one by and by
                self._more = True
                self._wake.set()
            self._owes = owes
            # Not later than either limit can be reached; what comes meanwhile only moves the limits on, or ends a cut.
            limit_ns = self._limit_ns()
            wait_ns = limit_ns - now_ns if limit_ns > now_ns else CUT_OFF_NS
            await asyncio.sleep(max(0.1, min(wait_ns, CUT_OFF_NS) / NS_PER_S))

    def _limit_ns(self) -> int:
        """When, if nothing comes, we are cut off."""
        oldest_ns = self._outbox.oldest_ns()
        waits_ns = self._heard_ns if oldest_ns is None else max(oldest_ns, self._began_ns)
        return min(self._heard_ns, waits_ns) + CUT_OFF_NS

    def _consider(self) -> None:
        now_ns = self._clock.monotonic_ns()
        cut = now_ns >= self._limit_ns()
        if cut == (self._cut_ns is not None):
            return
        self._cut_ns = now_ns if cut else None
        log.warning("lane.cut-off on=%s", cut)
        self._troubles.set("cut-off", cut)
        self._rest.cut_off(self._cut_ns)


def _kind(message: Message) -> Kind | None:
    """What these bytes claim to be. An order's answer, even a refusal, is the sirens' to give."""
    envelope = peek(message.payload) if len(message.payload) <= ORDER_BYTES_MAX else None
    return envelope.kind if envelope is not None else None


async def _pause(event: asyncio.Event, seconds: float | None) -> None:
    """Until the event, or so long."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
