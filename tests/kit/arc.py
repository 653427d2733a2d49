"""Alarm receiving centres on real sockets: one that misbehaves on cue (siadc09 reads for it), and pysiaalarm as it is.

Neither shares a line with our codec: what they understand, others do.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from pysiaalarm import SIAAccount
from pysiaalarm.aio import CommunicationsProtocol, SIAClient, SIAEvent
from siadc09 import message as siadc09
from siadc09 import util

ACCOUNT = "1234"
WINDOW_S = (-40, 20)  # how old and how early a stamp may be


class Mood(StrEnum):
    """How the centre answers."""

    WELL = "well"
    SILENT = "silent"  # takes all and answers nothing: half-open
    SLOW = "slow"  # one byte at a time, for ever
    CLOSE = "close"  # takes it, and closes without an answer: accepts and loses
    NAK = "nak"
    DUH = "duh"
    BARE = "bare"  # DUH to what has extended data
    OTHER = "other"  # DUH to all but Contact ID
    GARBAGE = "garbage"
    OVERSIZED = "oversized"
    BAD_CRC = "bad-crc"
    WRONG_SEQUENCE = "wrong-sequence"
    WRONG_ACCOUNT = "wrong-account"
    NO_L = "no-l"
    WRONG_TOKEN = "wrong-token"
    WRONG_KEY = "wrong-key"
    CLEAR = "clear"  # an ACK that is not encrypted
    OLD = "old"  # an ACK of ten minutes ago
    BINARY_CRC = "binary-crc"  # a good ACK whose CRC is two raw bytes


def framed(body: bytes) -> bytes:
    return b"\n%04X%04X%b\r" % (util.crc(body), len(body), body)


def at(offset_s: float = 0.0) -> datetime:
    return (datetime.now(UTC) + timedelta(seconds=offset_s)).replace(microsecond=0)


@dataclass(frozen=True, slots=True)
class Came:
    """One frame as it came, and what siadc09 reads in it."""

    raw: bytes
    message: Any
    connection: int
    at_ns: int = field(default_factory=time.monotonic_ns)

    @property
    def data(self) -> bytes:
        return bytes(self.message.pack_data())

    @property
    def extended(self) -> dict[str, Any]:
        return {each.prefix: each.value for each in self.message.xdata}


@dataclass
class Centre:
    """A receiver of account 1234 over TCP or UDP. `ahead_s`: how far its clock is ahead of ours."""

    mood: Mood = Mood.WELL
    transport: str = "tcp"
    key: bytes | None = None
    ahead_s: float = 0.0
    polls_too: bool = False  # the mood is for NULL messages too
    port: int = 0
    came: list[Came] = field(default_factory=list)
    connections: int = 0
    _server: asyncio.Server | None = None
    _socket: asyncio.DatagramTransport | None = None
    _open: set[asyncio.StreamWriter] = field(default_factory=set)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def events(self) -> list[Came]:
        return [each for each in self.came if each.message.idtoken != "NULL"]

    @property
    def polls(self) -> list[Came]:
        return [each for each in self.came if each.message.idtoken == "NULL"]

    async def start(self) -> None:
        if self.transport == "tcp":
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]
        else:
            loop = asyncio.get_running_loop()
            self._socket, _ = await loop.create_datagram_endpoint(lambda: _Ears(self), ("127.0.0.1", self.port))
            self.port = self._socket.get_extra_info("sockname")[1]

    async def stop(self) -> None:
        """Nobody is there any more; the port is kept for the next `start`."""
        if self._socket is not None:
            self._socket.abort()
            self._socket = None
            await asyncio.sleep(0)
        if self._server is not None:
            self._server.close()
            for writer in list(self._open):
                writer.transport.abort()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._server.wait_closed(), 2)
            self._server = None

    async def until(self, count: int, kind: str = "events", timeout_s: float = 30.0) -> list[Came]:
        """Wait for so many events, polls or frames."""
        async with asyncio.timeout(timeout_s), self._news:
            await self._news.wait_for(lambda: len(getattr(self, kind)) >= count)
        return list(getattr(self, kind))

    async def take(self, raw: bytes, connection: int) -> bytes | None:
        """Note a frame, and what to answer; None: nothing."""
        message = siadc09.parse_frame(raw, self.key)
        came = Came(raw, message, connection)
        async with self._news:
            self.came.append(came)
            self._news.notify_all()
        mood = self.mood
        if message.idtoken == "NULL" and not self.polls_too:
            mood = Mood.WELL
        stamp = message.timestamp
        if stamp is not None and mood is Mood.WELL:
            late_s = (stamp - at(self.ahead_s)).total_seconds()
            if not WINDOW_S[0] <= late_s <= WINDOW_S[1]:
                mood = Mood.NAK
        return self._reply(mood, message)

    def _reply(self, mood: Mood, message: Any) -> bytes | None:
        account, sequence = message.account, message.seq
        account.rcvr = None if account.rcvr is None else account.rcvr
        ack = siadc09.AckMessage(account, sequence, at(self.ahead_s))
        head = b'"ACK"%04dR0L0#%b' % (sequence, ACCOUNT.encode())
        if mood in (Mood.SILENT, Mood.CLOSE):
            return None
        if mood is Mood.NAK:
            return siadc09.NakMessage(account, at(self.ahead_s)).encode()
        if (
            mood is Mood.DUH
            or (mood is Mood.BARE and message.xdata)
            or (mood is Mood.OTHER and message.idtoken != "ADM-CID")
        ):
            return siadc09.DuhMessage(account, sequence).encode()
        simple = {
            Mood.GARBAGE: b"\nHTTP/1.1 400 Bad Request\r",
            Mood.OVERSIZED: framed(head + b"[" + b"x" * 3000 + b"]") * 8,
            Mood.BAD_CRC: b"\n0000" + framed(head + b"[]")[5:],
            Mood.WRONG_SEQUENCE: framed(b'"ACK"%04dR0L0#1234[]' % ((sequence + 1) % 10000)),
            Mood.WRONG_ACCOUNT: framed(b'"ACK"%04dR0L0#4321[]' % sequence),
            Mood.NO_L: framed(b'"ACK"%04d#1234[]' % sequence),
            Mood.WRONG_TOKEN: framed(b'"RSP"%04dR0L0#1234[]' % sequence),
            Mood.CLEAR: framed(head + b"[]"),
            Mood.BINARY_CRC: b"\n%b%04X%b\r"
            % (
                util.crc(head + b"[]").to_bytes(2, "big"),
                len(head) + 2,
                head + b"[]",
            ),
        }
        if mood in simple:
            return simple[mood]
        if mood is Mood.OLD:
            ack.timestamp = at(self.ahead_s - 600)
        if mood is Mood.WRONG_KEY:
            ack.account.set_key(b"0123456789abcdef")
        return bytes(ack.encode(encrypt=message.encrypted or mood is Mood.WRONG_KEY))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        self.connections += 1
        number = self.connections
        try:
            while True:
                raw = await reader.readuntil(b"\r")
                answer = await self.take(raw, number)
                if self.mood is Mood.CLOSE:
                    return
                if answer is None:
                    continue
                if self.mood is Mood.SLOW:
                    for byte in answer:
                        writer.write(bytes([byte]))
                        await asyncio.sleep(0.1)
                writer.write(answer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()


class _Ears(asyncio.DatagramProtocol):
    def __init__(self, centre: Centre) -> None:
        self._centre = centre
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        task = asyncio.create_task(self._answer(data, addr))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, data: bytes, addr: Any) -> None:
        answer = await self._centre.take(data, 0)
        if answer is not None and not self._transport.is_closing():
            self._transport.sendto(answer, addr)


@asynccontextmanager
async def centre(mood: Mood = Mood.WELL, transport: str = "tcp", **more: Any) -> AsyncIterator[Centre]:
    """A centre that stops with the context."""
    each = Centre(mood, transport, **more)
    await each.start()
    try:
        yield each
    finally:
        await each.stop()


@dataclass
class Pysiaalarm:
    """pysiaalarm as a receiving centre: what its operator would see, and what it counted."""

    port: int
    client: SIAClient
    events: list[SIAEvent]

    @property
    def counts(self) -> Any:
        return self.client.counts


@asynccontextmanager
async def pysiaalarm(
    transport: str = "tcp", key: str | None = None, account: str = ACCOUNT
) -> AsyncIterator[Pysiaalarm]:
    """The real receiver on a free port of this machine."""
    events: list[SIAEvent] = []

    async def heard(event: SIAEvent) -> None:
        events.append(event)

    protocol = CommunicationsProtocol.TCP if transport == "tcp" else CommunicationsProtocol.UDP
    client: Any = SIAClient("127.0.0.1", 0, [SIAAccount(account, key)], heard, protocol=protocol)
    ears = client.sia_server
    if transport == "udp":  # its own asserts a base class that Python 3.11 does not give the transport
        ears.connection_made = lambda socket: setattr(ears, "transport", socket)
    await client.async_start()
    socket = client.server.sockets[0] if transport == "tcp" else client.transport.get_extra_info("socket")
    port = socket.getsockname()[1]
    try:
        yield Pysiaalarm(port, client, events)
    finally:
        client.sia_server.shutdown_flag = True
        (client.server if transport == "tcp" else client.transport).close()
