"""Carrying frames to one receiver over TCP or UDP: kept connections, bounded buffers, no time of its own.

Whoever asks sets the deadline, and drops the link when that has passed: an answer that comes later then belongs to nobody.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol, TypeVar, cast

from .frame import Malformed, take

IDLE_S: Final = 30.0  # a kept connection; each poll after more than this finds out anew whether one can be made
HEARD_BYTES_MAX: Final = 16 << 10  # for one question: an answer has 100
DATAGRAMS_MAX: Final = 16  # that wait to be looked at
_READ: Final = 2048

T = TypeVar("T")
Hear = Callable[[bytes], T | None]  # a frame: what it means, or None where it is not what was asked for


class Broken(Exception):
    """The receiver cannot be reached, or does not speak DC-09. `why`: short and stable, for the journal."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(why)


class Link(Protocol):
    """One receiver. One question at a time."""

    async def ask(self, frame: bytes, hear: Hear[T]) -> T:
        """Send `frame`, and give what `hear` makes of the first frame that answers it. Broken; else it waits for ever."""

    def drop(self) -> None:
        """Close what is open."""


class Tcp:
    """A connection that is kept from one message to the next."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._idle_at = 0.0

    async def ask(self, frame: bytes, hear: Hear[T]) -> T:
        kept = self._kept()
        try:
            if kept is not None:
                try:
                    return await self._exchange(*kept, frame, hear)
                except (OSError, EOFError):  # closed while it was idle: that says nothing of the receiver
                    self.drop()
            streams = await asyncio.open_connection(self._host, self._port)
            self._streams = streams
            return await self._exchange(*streams, frame, hear)
        except EOFError:
            raise Broken("no-connection: closed") from None
        except OSError as error:
            raise Broken(f"no-connection: {type(error).__name__}") from None

    def _kept(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        if self._streams is None:
            return None
        reader, writer = self._streams
        fresh = asyncio.get_running_loop().time() - self._idle_at < IDLE_S
        if fresh and not reader.at_eof() and not writer.is_closing():
            return self._streams
        self.drop()
        return None

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, frame: bytes, hear: Hear[T]
    ) -> T:
        writer.write(frame)
        await writer.drain()
        buffer = bytearray()
        heard = 0
        while True:
            data = await reader.read(_READ)
            if not data:
                raise EOFError
            buffer += data
            heard += len(data)
            try:
                while (raw := take(buffer)) is not None:
                    if (meaning := hear(raw)) is not None:
                        self._idle_at = asyncio.get_running_loop().time()
                        return meaning
            except Malformed:
                raise Broken("garbled") from None
            if heard > HEARD_BYTES_MAX:
                raise Broken("oversized")

    def drop(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None


class Udp:
    """A connected socket: only the receiver's own datagrams are heard, and that nobody listens there is told."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._ends: _Ends | None = None

    async def ask(self, frame: bytes, hear: Hear[T]) -> T:
        try:
            if self._ends is None or self._ends.transport.is_closing():
                _, self._ends = await asyncio.get_running_loop().create_datagram_endpoint(
                    _Ends, remote_addr=(self._host, self._port)
                )
            ends = self._ends
            ends.transport.sendto(frame)
            heard = 0
            while True:
                data = await ends.next()
                heard += len(data)
                buffer = bytearray(data)
                try:
                    raw = take(buffer)
                except Malformed:
                    raw = None
                if (meaning := hear(raw if raw is not None else data)) is not None:
                    return meaning
                if heard > HEARD_BYTES_MAX:
                    raise Broken("oversized")
        except OSError as error:
            raise Broken(f"no-connection: {type(error).__name__}") from None

    def drop(self) -> None:
        if self._ends is not None:
            self._ends.transport.abort()
            self._ends = None


class _Ends(asyncio.DatagramProtocol):
    """What has come, oldest first; what is beyond DATAGRAMS_MAX is lost, as UDP may."""

    transport: asyncio.DatagramTransport

    def __init__(self) -> None:
        self._come: asyncio.Queue[bytes | OSError] = asyncio.Queue(DATAGRAMS_MAX)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)  # Python 3.11 does not derive it

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        self._put(data)

    def error_received(self, exc: Exception) -> None:
        if isinstance(exc, OSError):
            self._put(exc)

    def _put(self, each: bytes | OSError) -> None:
        if not self._come.full():
            self._come.put_nowait(each)

    async def next(self) -> bytes:
        """The next datagram; OSError: the network says that it cannot be."""
        each = await self._come.get()
        if isinstance(each, OSError):
            raise each
        return each
