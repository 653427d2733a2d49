"""The controller's small HTTP/1.1 server: the Atom feed for others to read, and a door for their CAP (docs/cap.md).

h11 reads and writes the protocol; this file has what a general server leaves open and a public door needs: each connection has a
slot before it is accepted, a head must come within HEAD_S and a body within BODY_S, and an answer must be read within REPLY_S, so
that nobody holds a slot by being slow. Loopback unless `[listener] host` says otherwise, and then with TLS.
"""

import asyncio
import contextlib
import ipaddress
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final, Self

import h11
from pydantic import Field, model_validator

from cython_ext import ConfigError
from lanes.keys import secret_bytes
from lanes.settings import Settings

log = logging.getLogger("bucium.listener")

CONNECTIONS_MAX: Final = 64  # at once; each costs some 100 KiB at worst
FROM_ONE_MAX: Final = 16  # of these from one address that is not this machine's
HEAD_BYTES_MAX: Final = 16 << 10  # request line and headers
BODY_BYTES_MAX: Final = 256 << 10  # a CAP message is no larger (capcheck.BYTES_MAX)
REQUESTS_MAX: Final = 1000  # on one connection
HANDSHAKE_S: Final = 10.0
HEAD_S: Final = 10.0  # also between two requests of one connection
BODY_S: Final = 20.0
REPLY_S: Final = 30.0  # until the other end has read an answer
LINGER_S: Final = 1.0
_READ: Final = 4 << 10
_BOTH_DONE: Final = {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}
_MAY_ANSWER: Final = (h11.IDLE, h11.SEND_RESPONSE)


class ListenerSettings(Settings):
    """`[listener]`: the HTTP server for other centres."""

    host: str = Field("127.0.0.1", description="the address to listen on; beyond this machine only with TLS")
    port: int = Field(8731, ge=0, le=65535, description="TCP port; 0: a free one")
    certificate: Path | None = Field(None, description="the server's certificate, PEM; turns TLS on")
    key: Path | None = Field(None, description="its key, PEM, mode 0600")
    insecure: bool = Field(False, description="true: no TLS beyond this machine, because a proxy before it has it")

    @model_validator(mode="after")
    def _sense(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("listener.certificate and listener.key belong together")
        try:
            address = ipaddress.ip_address(self.host)
        except ValueError:
            raise ValueError("listener.host is an address, e.g. 127.0.0.1, 0.0.0.0 or ::") from None
        if not address.is_loopback and self.certificate is None and not self.insecure:
            raise ValueError("listener: beyond this machine give certificate and key, or say insecure = true")
        return self


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `headers` in lower case; `peer`: the address it came from."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    peer: str
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered. A HEAD gets the same without the body."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


Handler = Callable[[Request], Awaitable[Reply]]


class Refusal(Exception):
    """The request cannot be read: this status, and the connection ends."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(status)


def server_tls(settings: ListenerSettings) -> ssl.SSLContext | None:
    """The server's TLS; ConfigError when its files cannot be used."""
    if settings.certificate is None or settings.key is None:
        return None
    secret_bytes(settings.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.certificate, settings.key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"[listener]: cannot use this certificate: {error}", source=str(settings.certificate)
        ) from None
    return context


class Listener:
    """Serves until cancelled. A bug in the handler is a bug of the program."""

    def __init__(self, settings: ListenerSettings, handler: Handler) -> None:
        """Binds at once: ConfigError when the address cannot be had."""
        self._handler = handler
        self._tls = server_tls(settings)
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        try:
            self._socket = socket.create_server((settings.host, settings.port), family=family, backlog=CONNECTIONS_MAX)
        except OSError as error:
            raise ConfigError(
                f"[listener]: cannot listen on {settings.host} port {settings.port}: {error.strerror}"
            ) from None
        self._socket.setblocking(False)
        self.port: int = self._socket.getsockname()[1]
        self._from: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    def close(self) -> None:
        self._socket.close()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        slots = asyncio.Semaphore(CONNECTIONS_MAX)
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    await slots.acquire()
                    try:
                        connection, address = await loop.sock_accept(self._socket)
                    except OSError as error:  # out of descriptors, or the peer is gone already
                        log.warning("listener.accept error=%s", error)
                        slots.release()
                        await asyncio.sleep(0.1)
                        continue
                    task = group.create_task(self._connection(connection, str(address[0])))
                    task.add_done_callback(lambda _: slots.release())
        finally:
            self.close()

    async def _connection(self, connection: socket.socket, peer: str) -> None:
        far = not ipaddress.ip_address(peer.partition("%")[0]).is_loopback
        if far and self._from[peer] >= FROM_ONE_MAX:
            self.refused["connections"] += 1
            connection.close()
            return
        self._from[peer] += 1
        writer = None
        try:
            reader, writer = await self._opened(connection)
            await self._requests(reader, writer, peer)
        except (OSError, EOFError, TimeoutError):
            self.refused["broken"] += 1
        finally:
            self._from[peer] -= 1
            if not self._from[peer]:
                del self._from[peer]
            if writer is not None:
                writer.transport.abort()
            connection.close()

    async def _opened(self, connection: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=_READ, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        wait = HANDSHAKE_S if self._tls else None
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol, connection, ssl=self._tls, ssl_handshake_timeout=wait
        )
        transport.set_write_buffer_limits(high=0)  # drain waits until all of an answer has left
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: str) -> None:
        machine = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES_MAX)
        for _ in range(REQUESTS_MAX):
            try:
                request = await _read(machine, reader, peer)
                if request is None:
                    return
                reply = await self._handler(request)
            except Refusal as refusal:
                self.refused[str(refusal.status)] += 1
                request, reply = None, Reply(refusal.status, headers={"connection": "close"})
            except h11.RemoteProtocolError as error:
                self.refused["protocol"] += 1
                request, reply = None, Reply(error.error_status_hint, headers={"connection": "close"})
            if machine.our_state not in _MAY_ANSWER:
                return
            async with asyncio.timeout(REPLY_S):
                writer.write(_written(machine, reply, head=request is not None and request.method == "HEAD"))
                await writer.drain()
            if machine.states != _BOTH_DONE:
                if request is None:
                    await _linger(reader, writer)
                return
            machine.start_next_cycle()


async def _read(machine: h11.Connection, reader: asyncio.StreamReader, peer: str) -> Request | None:
    """The next request, whole; None: the other end has closed."""
    async with asyncio.timeout(HEAD_S):
        head = await _event(machine, reader)
    if not isinstance(head, h11.Request):
        return None
    headers = {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers}
    if "expect" in headers:
        raise Refusal(417)
    length = headers.get("content-length", "0")
    if len(length) > 9 or int(length) > BODY_BYTES_MAX:
        raise Refusal(413)
    body = bytearray()
    async with asyncio.timeout(BODY_S):
        while not isinstance(event := await _event(machine, reader), h11.EndOfMessage):
            if not isinstance(event, h11.Data):
                return None
            body += event.data
            if len(body) > BODY_BYTES_MAX:
                raise Refusal(413)
    path, _, query = head.target.decode("latin-1").partition("?")
    return Request(head.method.decode("ascii"), path, query, headers, peer, bytes(body))


async def _linger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read on for a moment after a refusal: a connection closed on unread data takes the answer with it."""
    if writer.can_write_eof():
        writer.write_eof()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_S):
            for _ in range(4 * BODY_BYTES_MAX // _READ):
                if not await reader.read(_READ):
                    return


async def _event(machine: h11.Connection, reader: asyncio.StreamReader) -> h11.Event:
    while True:
        event = machine.next_event()
        if event is h11.NEED_DATA:
            machine.receive_data(await reader.read(_READ))
            continue
        assert isinstance(event, h11.Event), "a request is read before the next one begins"
        return event


def _written(machine: h11.Connection, reply: Reply, *, head: bool) -> bytes:
    """The answer's bytes."""
    headers = {"server": "bucium", "x-content-type-options": "nosniff", **reply.headers}
    if reply.status != 304:
        headers["content-length"] = str(len(reply.body))
    response = h11.Response(status_code=reply.status, headers=list(headers.items()))
    pieces = [machine.send(response)]
    if reply.body and not head and reply.status != 304:
        pieces.append(machine.send(h11.Data(data=reply.body)))
    pieces.append(machine.send(h11.EndOfMessage()))
    return b"".join(piece for piece in pieces if piece)


def unchanged(request: Request, etag: str, modified_us: int) -> bool:
    """Whether the other end has this very version already (RFC 9110 §13: the tag decides, failing that the date)."""
    tags = request.headers.get("if-none-match")
    if tags is not None:
        return tags.strip() == "*" or etag in [tag.strip().removeprefix("W/") for tag in tags.split(",")]
    since = request.headers.get("if-modified-since")
    if since is None:
        return False
    try:
        return modified_us // 1_000_000 <= parsedate_to_datetime(since).timestamp()
    except (ValueError, TypeError, OverflowError):
        return False
