"""A real SMTP server (aiosmtpd) on a real socket, with STARTTLS or TLS and AUTH, that misbehaves on cue."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from enum import StrEnum
from pathlib import Path
from typing import Any

import trustme
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

LOGIN, PASSWORD = "bucium", "secret with spaces"


class Mood(StrEnum):
    """How the server answers."""

    WELL = "well"
    DOWN = "down"  # nobody listens
    BUSY = "busy"  # 451 to every message
    NO = "no"  # 554 to every message
    SLOW = "slow"  # one byte at a time, for ever
    HALF_OPEN = "half-open"  # takes the connection and says nothing
    CUT = "cut"  # takes the whole message, and is gone before it says so
    LOSES = "loses"  # says 250 and forgets it


@dataclass(frozen=True, slots=True)
class Mail:
    """One message as it came, whatever was answered."""

    sender: str
    recipients: tuple[str, ...]
    data: bytes
    taken: bool
    secured: bool
    user: str

    @property
    def message(self) -> EmailMessage:
        found = message_from_bytes(self.data, policy=default)
        assert isinstance(found, EmailMessage)
        return found

    @property
    def id(self) -> str:
        return str(self.message["Message-ID"])


@dataclass
class MailServer:
    """`got` has what it keeps, `seen` every message whose end it read."""

    certificate: Path
    key: Path
    secure: str = "starttls"  # or tls, none
    auth: bool = True
    mood: Mood = Mood.WELL
    port: int = 0
    refuse: dict[str, str] = field(default_factory=dict)  # recipient → the answer to RCPT
    seen: list[Mail] = field(default_factory=list)
    connections: int = 0
    _server: asyncio.Server | None = None
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)
    _open: set[asyncio.BaseTransport] = field(default_factory=set)

    @property
    def got(self) -> list[Mail]:
        return [mail for mail in self.seen if mail.taken]

    def _tls(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        tls = self._tls() if self.secure != "none" else None
        make = self._bad if self.mood in (Mood.SLOW, Mood.HALF_OPEN) else self._smtp(tls)
        over = tls if self.secure == "tls" and self.mood not in (Mood.SLOW, Mood.HALF_OPEN) else None
        self._server = await loop.create_server(make, "127.0.0.1", self.port, ssl=over)
        self.port = self._server.sockets[0].getsockname()[1]

    def _smtp(self, tls: ssl.SSLContext | None) -> Callable[[], asyncio.BaseProtocol]:
        def make() -> SMTP:
            self.connections += 1
            server = _Watched(
                _Handler(self),
                hostname="mail.example",
                tls_context=tls if self.secure == "starttls" else None,
                require_starttls=self.secure == "starttls",
                auth_required=self.auth,
                auth_require_tls=self.secure == "starttls",
                authenticator=_authenticate if self.auth else None,
                enable_SMTPUTF8=False,
                loop=asyncio.get_running_loop(),
            )
            server.transports = self._open
            return server

        return make

    def _bad(self) -> asyncio.BaseProtocol:
        return _Bad(self)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for transport in list(self._open):
                if isinstance(transport, asyncio.WriteTransport):
                    with contextlib.suppress(AttributeError):  # Python 3.11.2: one that is closed has no protocol
                        transport.abort()
            self._open.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._server.wait_closed(), 2)
            self._server = None

    async def become(self, mood: Mood) -> None:
        """As a server that was restarted with another mind."""
        await self.stop()
        self.mood = mood
        if mood is not Mood.DOWN:
            await self.start()

    async def note(self, mail: Mail) -> None:
        async with self._news:
            self.seen.append(mail)
            self._news.notify_all()

    async def until(self, count: int, timeout_s: float = 30.0) -> list[Mail]:
        """Wait until it has kept so many."""
        async with asyncio.timeout(timeout_s), self._news:
            await self._news.wait_for(lambda: len(self.got) >= count)
        return self.got


class _Watched(SMTP):
    transports: set[asyncio.BaseTransport]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transports.add(transport)
        super().connection_made(transport)  # type: ignore[arg-type]


class _Bad(asyncio.Protocol):
    """Says nothing, or one byte at a time."""

    def __init__(self, server: MailServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._server._open.add(transport)
        self._server.connections += 1
        if self._server.mood is Mood.SLOW:
            self._drip(transport)

    def _drip(self, transport: Any) -> None:
        if not transport.is_closing():
            transport.write(b"2")
            asyncio.get_running_loop().call_later(0.05, self._drip, transport)


class _Handler:
    def __init__(self, server: MailServer) -> None:
        self._server = server

    async def handle_RCPT(self, _server: SMTP, _session: Any, envelope: Any, address: str, _options: Any) -> str:
        if address in self._server.refuse:
            return self._server.refuse[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:
        mood = self._server.mood
        taken = mood is Mood.WELL
        user = session.auth_data.login.decode() if session.auth_data else ""
        mail = Mail(
            envelope.mail_from,
            tuple(envelope.rcpt_tos),
            envelope.content,
            taken,
            server.transport.get_extra_info("ssl_object") is not None,
            user,
        )
        await self._server.note(mail)
        if mood is Mood.CUT:
            server.transport.abort()
        return {Mood.BUSY: "451 try again later", Mood.NO: "554 not here"}.get(mood, "250 OK")


def _authenticate(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (LOGIN.encode(), PASSWORD.encode())
    return AuthResult(success=good, handled=False, auth_data=data)


def certificates(folder: Path, name: str = "localhost") -> tuple[Path, Path, Path]:
    """A CA, and a certificate and key of its for this host name."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")
    issued = ca.issue_cert(name)
    (folder / "server.pem").unlink(missing_ok=True)
    for blob in issued.cert_chain_pems:
        blob.write_to_path(folder / "server.pem", append=True)
    issued.private_key_pem.write_to_path(folder / "server.key")
    return folder / "ca.pem", folder / "server.pem", folder / "server.key"


@asynccontextmanager
async def mail_server(folder: Path, **more: Any) -> AsyncIterator[MailServer]:
    """A server that stops with the context; its CA is `ca.pem` in the folder."""
    _, certificate, key = certificates(folder)
    server = MailServer(certificate, key, **more)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
