"""A recording proxy between our programs and a broker: every MQTT 3.1.1 packet in order, and links that can be cut."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

KINDS = {
    1: "CONNECT",
    2: "CONNACK",
    3: "PUBLISH",
    4: "PUBACK",
    8: "SUBSCRIBE",
    9: "SUBACK",
    12: "PINGREQ",
    14: "DISCONNECT",
}


@dataclass
class Packet:
    """One packet, as far as a checker asks. `up`: from the client. Kind "END": the connection closed."""

    kind: str
    client: str
    session: int
    up: bool
    topic: str = ""
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    clean: bool = False
    level: int = 0
    will: "Packet | None" = None
    filters: tuple[tuple[str, int], ...] = ()


@dataclass
class Tap:
    """The proxy. `packets` grows; `sessions` counts connections from 0."""

    target: int
    port: int = 0
    packets: list[Packet] = field(default_factory=list)
    sessions: int = 0
    refused: set[str] = field(default_factory=set)  # clients that do not get through
    _writers: dict[int, tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = field(default_factory=dict)

    def of(self, client: str) -> list[Packet]:
        return [packet for packet in self.packets if packet.client == client]

    def session(self, client: str, nth: int) -> list[Packet]:
        """All packets of the client's nth connection."""
        numbers = sorted({packet.session for packet in self.of(client)})
        return [packet for packet in self.packets if packet.session == numbers[nth]]

    def cut(self, client: str, *, stay: bool = False) -> None:
        """Break the client's connection both ways, without a DISCONNECT; `stay`: it cannot come back until `mend`."""
        if stay:
            self.refused.add(client)
        number = max(packet.session for packet in self.of(client))
        for writer in self._writers.pop(number, ()):
            writer.transport.abort()

    def mend(self, client: str) -> None:
        self.refused.discard(client)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = self.sessions
        self.sessions += 1
        out_reader, out_writer = await asyncio.open_connection("127.0.0.1", self.target)
        self._writers[number] = (writer, out_writer)
        client: list[str] = [""]
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(
                self._pump(reader, out_writer, number, client, True),
                self._pump(out_reader, writer, number, client, False),
            )
        self.packets.append(Packet("END", client[0], number, True))
        for end in (writer, out_writer):
            end.close()

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, number: int, client: list[str], up: bool
    ) -> None:
        try:
            while True:
                head = await source.readexactly(1)
                length, shift, raw = 0, 0, head
                while True:
                    byte = await source.readexactly(1)
                    raw += byte
                    length |= (byte[0] & 0x7F) << shift
                    shift += 7
                    if byte[0] < 0x80:
                        break
                body = await source.readexactly(length)
                self.packets.append(parse(head[0], body, number, client, up))
                if client[0] in self.refused:
                    raise ConnectionError("cut")
                sink.write(raw + body)
                await sink.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            sink.close()


def parse(head: int, body: bytes, number: int, client: list[str], up: bool) -> Packet:
    """A whole packet. A CONNECT tells the name of all that follow on its connection."""
    kind = KINDS.get(head >> 4, str(head >> 4))
    packet = Packet(kind, client[0], number, up)
    if kind == "CONNECT":
        _connect(packet, body)
        client[0] = packet.client
    elif kind == "PUBLISH":
        packet.topic, at = _text(body, 0)
        packet.qos, packet.retain = head >> 1 & 3, bool(head & 1)
        packet.payload = body[at + (2 if packet.qos else 0) :]
    elif kind == "SUBSCRIBE":
        at, found = 2, []
        while at < len(body):
            pattern, at = _text(body, at)
            found.append((pattern, body[at]))
            at += 1
        packet.filters = tuple(found)
    return packet


def _connect(packet: Packet, body: bytes) -> None:
    _, at = _text(body, 0)
    packet.level, flags = body[at], body[at + 1]
    packet.clean = bool(flags & 2)
    packet.client, at = _text(body, at + 4)
    if flags & 4:
        topic, at = _text(body, at)
        size = int.from_bytes(body[at : at + 2])
        packet.will = Packet(
            "WILL",
            packet.client,
            packet.session,
            True,
            topic,
            body[at + 2 : at + 2 + size],
            flags >> 3 & 3,
            bool(flags & 32),
        )


def _text(body: bytes, at: int) -> tuple[str, int]:
    size = int.from_bytes(body[at : at + 2])
    return body[at + 2 : at + 2 + size].decode(), at + 2 + size


@asynccontextmanager
async def tap(target: int) -> AsyncIterator[Tap]:
    """A tap before the broker on `target`."""
    made = Tap(target)
    server = await asyncio.start_server(made._serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for pair in made._writers.values():
            for writer in pair:
                writer.close()
