"""The network between the machines and the broker: it delays, loses, repeats, reorders, spoils, and is cut, one way or both.

Each machine has one road to the broker and one back. What TCP would notice it notices: a dial or a PUBACK that gets no answer
fails after 10 s, a connection that carries nothing for 15 s is dropped by the broker, with its will.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from contextvars import Context
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from lanes.link import LinkDown, Message, Will
from tests.kit.broker import MemoryBroker, MemoryLink

from .machine import Life

SYN_S: Final = (
    1.0,
    2.0,
    4.0,
    3.0,
)  # when the kernel tries again to connect; 10 s in all: lanes.link.BrokerSettings.timeout_s
RESENT_S: Final = (0.3, 0.6, 1.2, 2.4, 4.8, 0.7)  # the same, of what was sent on a connection
KEEPALIVE_S: Final = 15.0  # 1.5 × lanes.link.BrokerSettings.keepalive_s


@dataclass
class Weather:
    """What the network does to each message."""

    loss: float = 0.0
    repeat: float = 0.0
    spoil: float = 0.0  # of messages, one bit
    delay_s: float = 0.0  # mean of each way
    spread: bool = False  # delays differ from message to message: they overtake each other


class Network:
    """The broker, and the roads to it."""

    def __init__(self, rng: Random, seen: Counter[str]) -> None:
        self.rng = rng
        self.seen = seen
        self.weather = Weather()
        self.broker = SpoilingBroker(self)
        self.no_way_out: set[str] = set()  # machines whose messages do not reach the broker
        self.no_way_in: set[str] = set()
        self._cuts: list[tuple[str, bool, bool]] = []  # machine, its road out, its road in
        self._orphans: list[Any] = []

    def connector(self, life: Life) -> "Connector":
        return Connector(self, life)

    def delay_s(self) -> float:
        mean = self.weather.delay_s
        return self.rng.random() * 2 * mean if self.weather.spread else mean

    def fate(self, _sender: str, receiver: str, message: Message) -> list[float]:
        """The broker's weather hook: delays of each copy that arrives."""
        weather = self.weather
        if machine_of(receiver) in self.no_way_in:
            self.seen["lost in a partition"] += 1
            return []
        if weather.loss and self.rng.random() < weather.loss:
            self.seen["message lost"] += 1
            return []
        delays = [self.delay_s()]
        if weather.repeat and message.qos and self.rng.random() < weather.repeat:
            self.seen["message repeated"] += 1
            delays.append(self.rng.random() * 5.0)
        return delays

    async def through(self, is_open: Callable[[], bool], tries_s: Sequence[float], why: str) -> None:
        """Over a road, as soon as TCP tries when it is open; LinkDown when it has given up."""
        for wait_s in tries_s:
            if is_open():
                return
            await asyncio.sleep(wait_s)
        if not is_open():
            raise LinkDown(why)

    def block(self, name: str, *, out: bool, into: bool) -> None:
        """Cut a road, or both, of one machine; where it is cut already, once more."""
        self._cuts.append((name, out, into))
        self._look()
        asyncio.get_running_loop().call_later(KEEPALIVE_S, self._keepalive, name)

    def unblock(self, name: str, *, out: bool, into: bool) -> None:
        """Mend one such cut. A road is open when none of its cuts is left."""
        if (name, out, into) in self._cuts:
            self._cuts.remove((name, out, into))
            self._look()

    def _look(self) -> None:
        self.no_way_out = {name for name, out, _ in self._cuts if out}
        self.no_way_in = {name for name, _, into in self._cuts if into}

    def blocked(self, name: str) -> bool:
        return name in self.no_way_out or name in self.no_way_in

    def _keepalive(self, name: str) -> None:
        if self.blocked(name):
            self.drop(name)

    def drop(self, name: str) -> None:
        """All connections of a machine end, with their wills."""
        for client in self.broker.clients():
            if machine_of(client) == name:
                self.broker.drop(client)

    def reset(self) -> None:
        """Fair weather, all roads open."""
        self.weather = Weather()
        self._cuts.clear()
        self._look()

    def bury(self, context: Any) -> None:
        """A dead life's connection: nobody closes it; the broker notices by itself."""
        self._orphans.append(context)


class SpoilingBroker(MemoryBroker):
    """The broker, which may change a bit of what it carries."""

    def __init__(self, network: Network) -> None:
        super().__init__(network.fate)
        self._network = network
        self.tap: list[Any] = []  # called with (receiver, message) at each arrival

    def _take(self, sender: str, message: Message) -> None:
        Context().run(super()._take, sender, message)  # what is on its way does not stop with its sender
        self.published.clear()  # nobody reads it here, and hours pass

    def _arrive(self, session: Any, message: Message) -> None:
        network = self._network
        if network.weather.spoil and message.payload and network.rng.random() < network.weather.spoil:
            network.seen["message spoilt"] += 1
            spoilt = bytearray(message.payload)
            spoilt[network.rng.randrange(len(spoilt))] ^= 1 << network.rng.randrange(8)
            message = Message(message.topic, bytes(spoilt), message.qos, message.retain, message.token)
        link = session.link
        if link is not None and (
            link.life is None or link.life.alive
        ):  # the dead, and connections of the dead, hear nothing
            for tap in self.tap:
                tap(link.client_id, message)
        super()._arrive(session, message)


class Connector:
    """The product's port to the network, for one life."""

    def __init__(self, network: Network, life: Life) -> None:
        self._network = network
        self._life = life

    @asynccontextmanager
    async def connect(self, client_id: str, will: Will | None = None, *, clean: bool = True) -> AsyncIterator["Link"]:
        network, life = self._network, self._life
        name = life.machine.name
        life.require()
        await asyncio.sleep(2 * network.delay_s())
        await network.through(lambda: not network.blocked(name), SYN_S, "no answer")
        context = network.broker.connector().connect(client_id, will, clean=clean)
        link = await context.__aenter__()
        link.life = life
        life.require()
        try:
            yield Link(network, life, link)
        finally:
            if life.alive:
                await context.__aexit__(None, None, None)
            else:
                network.bury(context)


class Link:
    """A connection through the weather."""

    def __init__(self, network: Network, life: Life, link: MemoryLink) -> None:
        self._network = network
        self._life = life
        self._link = link
        self.messages = link.messages
        self.ack = link.ack

    async def subscribe(self, *filters: tuple[str, int]) -> None:
        await self._way_out()
        await self._link.subscribe(*filters)

    async def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool = False) -> None:
        self._life.step("net.before")
        if not await self._way_out() and qos == 0:
            return
        self._life.require()
        await self._link.publish(topic, payload, qos=qos, retain=retain)
        self._life.step("net.after")
        if qos:
            await self._way_in()

    async def settled(self, unused: str) -> None:
        await self._way_out()
        self._life.require()
        await self._link.settled(unused)
        await self._way_in()

    async def _way_out(self) -> bool:
        network, name = self._network, self._life.machine.name
        delay_s = network.delay_s()
        if delay_s:
            await asyncio.sleep(delay_s)
        if name in network.no_way_out:
            network.seen["publish without an answer"] += 1
            await network.through(lambda: name not in network.no_way_out, RESENT_S, "no answer")
        return True

    async def _way_in(self) -> None:
        network, name = self._network, self._life.machine.name
        delay_s = network.delay_s()
        if delay_s:
            await asyncio.sleep(delay_s)
        if name in network.no_way_in:
            network.seen["PUBACK lost"] += 1
            await network.through(lambda: name not in network.no_way_in, RESENT_S, "no PUBACK")


def machine_of(client_id: str) -> str:
    """Which machine a client id is of."""
    return client_id.partition("_")[0]
