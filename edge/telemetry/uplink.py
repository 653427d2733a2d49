"""The node's telemetry lane: one session after another on real links, for as long as the node runs.

It delays nothing: what the node measures is handed over without waiting, and a lost link only loses telemetry. Alarms
travel on their own lane and connection (design §2).
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from cython_ext import NS_PER_S, Clock
from cython_ext.topics import Verb
from lanes.link import Connector, Link, LinkDown
from lanes.sparkplug import BdSeqStore, NodeMetric

from .births import RECORD, BirthTable, Late, Reading, unpack
from .dating import Dating
from .keep import Keep
from .session import Identity, Packet, Session
from .states import State

BACKOFF_FIRST_S: Final = 1.0
BACKOFF_MAX_S: Final = 30.0  # a restarted broker sees 5,000 nodes within half a minute, not at once (F30)
BIRTH_JITTER_S: Final = 2.0  # births after the host came back (reference §6.8)
LAST_WORD_S: Final = 1.0  # how long a cancelled node may take to say that it ends
ASK_AGAIN_S: Final = 20.0  # for the STATE that a node waits for: a broker can lose it while both subscribe (seen)
STEADY_S: Final = 10.0  # a session that lasted so long ends the back-off


class Backlog(Protocol):
    """Who sends what was kept."""

    def parted(self) -> None:
        """The session is over or begins anew."""

    def replan(self, table: BirthTable) -> None:
        """Other points, or in another order."""


class Uplink:
    """Publishes a node's readings. `connectors` are the brokers to walk through, `rng` the source of jitter.

    `hold`: births wait for a more urgent word of the node.
    """

    def __init__(
        self,
        identity: Identity,
        table: BirthTable,
        *,
        connectors: Sequence[Connector],
        store: BdSeqStore,
        clock: Clock,
        rng: random.Random,
        birth_jitter_s: float = BIRTH_JITTER_S,
        datatype_in_data: bool = False,
        hold: Callable[[], bool] = lambda: False,
    ) -> None:
        self.session = Session(
            identity,
            table,
            jitter_ns=lambda: round(rng.uniform(0, birth_jitter_s) * NS_PER_S),
            datatype_in_data=datatype_in_data,
        )
        self.dating = Dating(clock)
        self._keep: Keep | None = None
        self._backlog: Backlog | None = None
        self._link: Link | None = None
        self.down_reason = "not connected yet"  # why there is no connection; empty while there is one
        self._connectors = tuple(connectors)
        self._store = store
        self._clock = clock
        self._rng = rng
        self._hold = hold
        self._wake = asyncio.Event()
        self._stop = asyncio.Event()

    @property
    def live(self) -> bool:
        """Whether the node is born and its readings go out."""
        return self.session.state is State.LIVE

    def keep_in(self, keep: Keep, backlog: Backlog) -> None:
        """What cannot be sent is kept there, and sent from there when it can be."""
        self._keep, self._backlog = keep, backlog

        def parted() -> None:
            keep.parted()
            backlog.parted()

        self.session.parted = parted
        self.session.unsent = lambda readings: keep.add(_pack(readings))

    def readings(self, batch: bytes) -> None:
        """A packed batch (the Panel's records) of this node's points."""
        taken = self.session.readings(unpack(batch))
        if self._keep is not None:
            (self._keep.sent if taken else self._keep.add)(batch)
        self._wake.set()

    def replan(self, table: BirthTable) -> None:
        """Another plan: these points from now on. Births follow when they are not the same ones."""
        if table.points != self.session.table.points:
            table.adopt(self.session.table)
            if self._keep is not None:
                self._keep.replan(table.names)
            self.session.replan(table, self._clock.monotonic_ns())
            if self._backlog is not None:
                self._backlog.replan(table)
            self._wake.set()

    def device_online(self, device: str) -> None:
        self.session.device_online(device)
        self._wake.set()

    def device_lost(self, device: str) -> None:
        self.session.device_lost(device)
        self._wake.set()

    def tell(self, metric: NodeMetric, value: int | str | None) -> None:
        """What the node says of itself; sent with the next birth or heartbeat."""
        self.session.table.tell(metric, value)

    async def publish_historical(self, late: Sequence[Late]) -> bool:
        """Send readings of one device as is_historical, after all that is live.

        True: handed to the socket. That is no delivery (backlog.py).
        """
        handed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if not late or not self.session.offer_late(list(late), lambda done: _settle(handed, done)):
            return False
        self._wake.set()
        return await handed

    async def settled(self) -> bool:
        """Wait until the broker has all that was handed over; False when there is none to say so in time."""
        link = self._link
        if link is None:
            return False
        try:
            await link.settled(self.session.identity.topic(Verb.NDATA))
        except LinkDown:  # a dead connection is the writer's to notice
            return False
        return link is self._link

    def leave(self) -> None:
        """No more is coming of devices that are not there."""
        self.session.leave()
        self._wake.set()

    def stop(self) -> None:
        """End on purpose: `run` publishes the death and returns."""
        self._stop.set()
        self.session.stop()
        self._wake.set()

    async def run(self) -> None:
        """Sessions, one after another, until `stop` or cancellation."""
        failures = 0
        server = 0
        while not self._stop.is_set():
            began_ns = self._clock.monotonic_ns()
            try:
                await self._one(self._connectors[server])
            except LinkDown as down:
                self.down_reason = str(down)
            finally:
                self.session.lost()
            if self._stop.is_set():
                return
            server = (server + 1) % len(self._connectors)
            steady = self._clock.monotonic_ns() - began_ns > STEADY_S * NS_PER_S
            failures = 0 if steady else failures + 1
            longest = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(failures, 10))
            await _pause(self._stop, self._rng.uniform(0, longest))

    async def _one(self, connector: Connector) -> None:
        bdseq = await self._store.advance()
        will = self.session.will(bdseq, self.dating.moment().wall_ms)
        async with connector.connect(self.session.identity.node, will) as link:
            await link.subscribe(*self.session.filters())
            self.session.linked(self._clock.monotonic_ns())
            self._link, self.down_reason = link, ""
            if self._stop.is_set():
                self.session.stop()
            reader = asyncio.create_task(self._read(link), name="uplink.read")
            reader.add_done_callback(lambda _: self._wake.set())
            try:
                await self._write(link, reader)
            except asyncio.CancelledError:
                await self._say_death(link)  # closing the link takes the will back, so say it ourselves
                raise
            finally:
                self._link = None
                reader.cancel()
                await asyncio.gather(reader, return_exceptions=True)
        self.down_reason = "the primary host is offline" if not self._stop.is_set() else "stopped"

    async def _read(self, link: Link) -> None:
        async for message in link.messages():
            self.session.received(message.topic, message.payload, message.retain, self._clock.monotonic_ns())
            link.ack(message)
            self._wake.set()

    async def _write(self, link: Link, reader: "asyncio.Task[None]") -> None:
        """Until the session ended: what is due, one packet at a time. LinkDown when the connection is gone."""
        ask_ns = self._ask_ns()
        while not self.session.ended:
            if reader.done():
                reader.result()
                raise LinkDown("connection ended")
            self._wake.clear()
            self.session.tick(self._clock.monotonic_ns(), hold=self._hold())
            packet = self.session.pop(self.dating.moment())
            if packet is not None:
                await _hand_over(link, packet)
            elif not self.session.ended:
                await self._until_due()
                if self.session.state is State.WAITING and self._clock.monotonic_ns() >= ask_ns:
                    await link.subscribe(*self.session.filters())  # what is retained must be sent again [MQTT-3.8.4-3]
                    ask_ns = self._ask_ns()

    async def _say_death(self, link: Link) -> None:
        self.session.stop()
        packet = self.session.pop(self.dating.moment())
        if packet is not None:
            with contextlib.suppress(LinkDown, TimeoutError):
                async with asyncio.timeout(LAST_WORD_S):
                    await _hand_over(link, packet)

    def _ask_ns(self) -> int:
        """When to ask for the host's STATE again: 5,000 nodes of a host that is away do not ask at once."""
        return self._clock.monotonic_ns() + round(self._rng.uniform(0.5, 1.0) * ASK_AGAIN_S * NS_PER_S)

    async def _until_due(self) -> None:
        due_ns = self.session.due_ns()
        if due_ns is None and self.session.state is State.WAITING:
            due_ns = self._clock.monotonic_ns() + round(ASK_AGAIN_S * NS_PER_S)
        if due_ns is None:
            await self._wake.wait()
            return
        await _pause(self._wake, max(0.0, (due_ns - self._clock.monotonic_ns()) / NS_PER_S))


async def _pause(event: asyncio.Event, seconds: float) -> None:
    """Wait so long, or until the event."""
    with contextlib.suppress(TimeoutError):  # not wait_for: up to Python 3.11 it can swallow a cancellation
        async with asyncio.timeout(seconds):
            await event.wait()


async def _hand_over(link: Link, packet: Packet) -> None:
    handed = False
    try:
        await link.publish(packet.topic, packet.payload, qos=packet.qos)
        handed = True
    finally:
        if packet.done:
            packet.done(handed)


def _pack(readings: list[Reading]) -> bytes:
    return b"".join(RECORD.pack(r.at_ns, r.value, r.point, r.status, 0) for r in readings)


def _settle(future: "asyncio.Future[bool]", value: bool) -> None:
    if not future.done():
        future.set_result(value)
