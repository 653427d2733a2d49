"""An MQTT 3.1.1 broker in memory, behind the same port as the real link: for unit tests and the simulator.

It keeps what matters of the real ones: wills, retained messages, clean and kept sessions, takeover of a client id, at most
QoS 1, unacknowledged messages sent again in the next session. What the network does to a message is a hook (`weather`).
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from lanes.link import LinkDown, Message, Will

QUEUED_MAX = 10_000

Weather = Callable[[str, str, Message], list[float]]
"""(sender, receiver, message) → delays in seconds of each copy that arrives; [] loses it, two entries duplicate it."""


def fair(_sender: str, _receiver: str, _message: Message) -> list[float]:
    return [0.0]


@lru_cache(maxsize=4096)
def matches(pattern: str, topic: str) -> bool:
    """MQTT topic filters: `+` one level, a final `#` the rest."""
    want, have = pattern.split("/"), topic.split("/")
    for at, part in enumerate(want):
        if part == "#":
            return True
        if at >= len(have) or part not in ("+", have[at]):
            return False
    return len(want) == len(have)


@dataclass
class _Session:
    """What the broker keeps of a client."""

    filters: dict[str, int] = field(default_factory=dict)
    unacked: dict[int, Message] = field(default_factory=dict)
    waiting: deque[Message] = field(default_factory=deque)
    link: "MemoryLink | None" = None
    token: int = 0


class MemoryBroker:
    """The broker. `published` records all that was handed over, in order."""

    def __init__(self, weather: Weather = fair) -> None:
        self.weather = weather
        self.up = True
        self.sessions: dict[str, _Session] = {}
        self.retained: dict[str, Message] = {}
        self.published: list[tuple[str, Message]] = []
        self.cut: set[str] = set()  # client ids that cannot connect now

    def connector(self) -> "MemoryConnector":
        return MemoryConnector(self)

    def clients(self) -> list[str]:
        return [name for name, session in self.sessions.items() if session.link]

    def drop(self, client_id: str) -> None:
        """Cut one client's connection: its will goes out."""
        session = self.sessions.get(client_id)
        if session and session.link:
            session.link._lose("connection cut", will=True)

    def stop(self, *, wipe: bool = False) -> None:
        """The broker dies: no wills. `wipe` loses sessions and retained messages."""
        self.up = False
        for session in list(self.sessions.values()):
            if session.link:
                session.link._lose("broker gone", will=False)
        if wipe:
            self.sessions.clear()
            self.retained.clear()

    def start(self) -> None:
        self.up = True

    def inject(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> None:
        """A message from a stranger."""
        self._take("stranger", Message(topic, payload, qos, retain))

    def _take(self, sender: str, message: Message) -> None:
        self.published.append((sender, message))
        if message.retain:
            if message.payload:
                self.retained[message.topic] = message
            else:
                self.retained.pop(message.topic, None)
        live = Message(message.topic, message.payload, message.qos, False)
        for name, session in list(self.sessions.items()):
            granted = [qos for pattern, qos in session.filters.items() if matches(pattern, message.topic)]
            if granted:
                self._give(sender, name, session, live, max(granted))

    def _give(self, sender: str, name: str, session: _Session, message: Message, granted: int) -> None:
        qos = min(message.qos, granted)
        for delay in self.weather(sender, name, message):
            copy = Message(message.topic, message.payload, qos, message.retain)
            if delay <= 0:
                self._arrive(session, copy)
            else:
                asyncio.get_running_loop().call_later(delay, self._arrive, session, copy)

    def _arrive(self, session: _Session, message: Message) -> None:
        if message.qos:
            session.token += 1
            message = Message(message.topic, message.payload, message.qos, message.retain, session.token)
        if session.link:
            if message.qos:
                session.unacked[message.token] = message
            session.link._queue.put_nowait(message)
        elif message.qos and len(session.waiting) < QUEUED_MAX:  # in a clean session that has ended nobody comes for it
            session.waiting.append(message)


class MemoryConnector:
    """Links to a MemoryBroker."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    @asynccontextmanager
    async def connect(
        self, client_id: str, will: Will | None = None, *, clean: bool = True
    ) -> AsyncIterator["MemoryLink"]:
        broker = self._broker
        await asyncio.sleep(0)
        if not broker.up or client_id in broker.cut:
            raise LinkDown("no connection")
        broker.drop(client_id)  # takeover
        session = broker.sessions.get(client_id)
        if session is None or clean:
            session = broker.sessions[client_id] = _Session()
        link = MemoryLink(broker, client_id, session, will, clean)
        session.link = link
        for message in [*session.unacked.values(), *session.waiting]:
            session.unacked[message.token] = message
            link._queue.put_nowait(message)
        session.waiting.clear()
        try:
            yield link
        finally:
            link._lose("closed", will=False)


class MemoryLink:
    """One client's connection."""

    def __init__(self, broker: MemoryBroker, client_id: str, session: _Session, will: Will | None, clean: bool) -> None:
        self._broker = broker
        self.client_id = client_id
        self._session = session
        self._will = will
        self._clean = clean
        self.life: Any = None  # whose connection it is, for who simulates machines
        self._queue: asyncio.Queue[Message | None] = asyncio.Queue()
        self._down = ""

    async def subscribe(self, *filters: tuple[str, int]) -> None:
        self._check()
        for pattern, qos in filters:
            self._session.filters[pattern] = qos
            for topic, message in self._broker.retained.items():
                if matches(pattern, topic):
                    kept = Message(topic, message.payload, message.qos, True)
                    self._broker._give("broker", self.client_id, self._session, kept, qos)
        await asyncio.sleep(0)

    async def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool = False) -> None:
        self._check()
        self._broker._take(self.client_id, Message(topic, payload, qos, retain))
        await asyncio.sleep(0)
        self._check()

    async def settled(self, unused: str) -> None:
        self._check()
        await asyncio.sleep(0)
        self._check()

    async def messages(self) -> AsyncIterator[Message]:
        while True:
            message = await self._queue.get()
            if message is None:
                raise LinkDown(self._down)
            yield message

    def ack(self, message: Message) -> None:
        self._session.unacked.pop(message.token, None)

    def _check(self) -> None:
        if self._down:
            raise LinkDown(self._down)

    def _lose(self, why: str, *, will: bool) -> None:
        if self._down:
            return
        self._down = why
        self._session.link = None
        if self._clean and self._broker.sessions.get(self.client_id) is self._session:
            del self._broker.sessions[self.client_id]
        self._queue.put_nowait(None)
        if will and self._will:
            w = self._will
            self._broker._take(self.client_id, Message(w.topic, w.payload, w.qos, w.retain))
