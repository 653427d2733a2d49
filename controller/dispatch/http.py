"""A small HTTP/1.1 client for one server: kept connections, one deadline for the whole of a request, bounded answers.

h11 reads and writes the protocol. Measured in a storm (F31): 1 ms of the loop for a post on a busy machine, where httpx takes
6 ms, and that loop also orders sirens. No redirect is followed (it would carry an alarm to whom nobody configured), no proxy is
taken from the environment, nothing is decompressed.
"""

import asyncio
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import h11

from cython_ext import ConfigError
from lanes.keys import secret_bytes
from lanes.store import Runner, run_here

IDLE_MAX: Final = 8  # connections kept: as many as a courier uses side by side
IDLE_S: Final = 30.0  # less than what servers commonly keep
HEAD_BYTES_MAX: Final = 32 << 10
_READ: Final = 32 << 10


@dataclass(frozen=True, slots=True)
class Trust:
    """How a TLS server is known, and how it knows us. `ca`: pinned, no public one counts then; PEM files."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """An answer. `headers` in lower case; `whole` False: its body was larger than asked for."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    whole: bool = True


class Broken(Exception):
    """No answer came. `why`: "timeout", or "no-connection: " and what the system said."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(why)


@dataclass(slots=True)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    machine: h11.Connection
    idle_s: float = 0.0

    @property
    def usable(self) -> bool:
        return not self.reader.at_eof() and not self.writer.is_closing()


class Client:
    """Requests to the server of `url`. `runner` makes the TLS context (0.1 s of CAs) outside the loop."""

    def __init__(self, url: str, *, timeout_s: float, trust: Trust, what: str, runner: Runner = run_here) -> None:
        parts = urlsplit(url)
        self._secure = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._secure else 80)
        self._authority = parts.netloc.rpartition("@")[2]
        self.target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._timeout_s = timeout_s
        self._trust = trust
        self._what = what
        self._runner = runner
        self._tls: ssl.SSLContext | None = None
        self._idle: list[_Connection] = []
        if self._secure and (trust.ca or trust.certificate):
            self._tls = tls_context(trust, what)  # a file that cannot be used is told at the start

    async def request(
        self, method: str, target: str, headers: dict[str, str], body: bytes = b"", *, answer_max: int
    ) -> Response:
        """One request, within the timeout as a whole; Broken when no answer came. Of a body, `answer_max` bytes are read."""
        try:
            async with asyncio.timeout(self._timeout_s):
                if self._secure and self._tls is None:
                    self._tls = await self._runner(tls_context, self._trust, self._what)
                while (kept := self._kept()) is not None:
                    with suppress(OSError, EOFError, h11.RemoteProtocolError):  # closed while it was idle
                        return await self._exchange(kept, method, target, headers, body, answer_max)
                return await self._exchange(await self._connect(), method, target, headers, body, answer_max)
        except TimeoutError:
            raise Broken("timeout") from None
        except (EOFError, h11.RemoteProtocolError):
            raise Broken("no-connection: RemoteProtocolError") from None
        except OSError as error:
            raise Broken(f"no-connection: {type(error).__name__}") from None

    def _kept(self) -> _Connection | None:
        now_s = asyncio.get_running_loop().time()
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and now_s - connection.idle_s < IDLE_S:
                return connection
            connection.writer.close()
        return None

    async def _connect(self) -> _Connection:
        name = self._host if self._secure else None
        reader, writer = await asyncio.open_connection(
            self._host, self._port, ssl=self._tls if self._secure else None, server_hostname=name
        )
        return _Connection(reader, writer, h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES_MAX))

    async def _exchange(
        self, at: _Connection, method: str, target: str, headers: dict[str, str], body: bytes, answer_max: int
    ) -> Response:
        again = False
        try:
            machine = at.machine
            own = {"host": self._authority, "user-agent": "bucium", "accept": "*/*", **headers}
            if method == "POST":
                own["content-length"] = str(len(body))
            pieces = [machine.send(h11.Request(method=method, target=target, headers=list(own.items())))]
            if body:
                pieces.append(machine.send(h11.Data(data=body)))
            pieces.append(machine.send(h11.EndOfMessage()))
            at.writer.write(b"".join(piece for piece in pieces if piece))
            await at.writer.drain()
            response = await _answer(at, answer_max)
            again = response.whole and machine.our_state is h11.DONE and machine.their_state is h11.DONE
            return response
        finally:
            if again and len(self._idle) < IDLE_MAX:
                at.machine.start_next_cycle()
                at.idle_s = asyncio.get_running_loop().time()
                self._idle.append(at)
            else:
                at.writer.transport.abort()

    async def close(self) -> None:
        while self._idle:
            self._idle.pop().writer.transport.abort()


async def _answer(at: _Connection, answer_max: int) -> Response:
    head: h11.Response | None = None
    body = bytearray()
    while True:
        event = at.machine.next_event()
        if event is h11.NEED_DATA:
            data = await at.reader.read(_READ)
            at.machine.receive_data(data)  # empty: h11 says whether it may end here
        elif isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > answer_max:
                return _response(head, bytes(body[:answer_max]), whole=False)
        elif isinstance(event, h11.EndOfMessage):
            return _response(head, bytes(body), whole=True)
        elif isinstance(event, h11.ConnectionClosed):
            raise EOFError


def _response(head: h11.Response | None, body: bytes, *, whole: bool) -> Response:
    assert head is not None, "h11 gives a head before a body"
    headers = {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers}
    return Response(head.status_code, headers, body, whole)


def tls_context(trust: Trust, what: str) -> ssl.SSLContext:
    """A client's TLS for this trust. ConfigError names the file that cannot be used."""
    try:
        context = ssl.create_default_context(cafile=str(trust.ca) if trust.ca else None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{what}: cannot use this CA: {error}", source=str(trust.ca)) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if trust.certificate is not None and trust.key is not None:
        secret_bytes(trust.key)
        try:
            context.load_cert_chain(trust.certificate, trust.key)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"{what}: cannot use this certificate: {error}", source=str(trust.certificate)) from None
    return context
