"""A real HTTP receiver on a real socket that misbehaves on cue: down, slow, 500, half-open, or accepts and forgets."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum


class Mood(StrEnum):
    """How the receiver answers."""

    WELL = "well"
    DOWN = "down"  # nobody listens
    FAILING = "failing"  # answers `status`
    SLOW = "slow"  # answers one byte at a time, for ever
    HALF_OPEN = "half-open"  # takes the request and never answers
    CUT = "cut"  # closes in the middle of the answer
    REDIRECT = "redirect"


@dataclass(frozen=True, slots=True)
class Posted:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes
    answered: int  # 0: no whole answer was given
    at_ns: int = field(default_factory=time.monotonic_ns)


@dataclass
class Receiver:
    """A recording HTTP/1.1 server on 127.0.0.1. `taken` has what was answered with 2xx, `seen` everything."""

    mood: Mood = Mood.WELL
    status: int = 204
    delay_s: float = 0.0
    answer_headers: dict[str, str] = field(default_factory=dict)
    refuse: set[str] = field(default_factory=set)  # webhook ids that get 422
    port: int = 0
    seen: list[Posted] = field(default_factory=list)
    _server: asyncio.Server | None = None
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/alarms"

    @property
    def taken(self) -> list[Posted]:
        return [posted for posted in self.seen if 200 <= posted.answered < 300]

    @property
    def identifiers(self) -> list[str]:
        return [posted.headers["webhook-id"] for posted in self.taken]

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the port and every connection; the port number is kept for the next `start`."""
        if self._server is not None:
            self._server.close()
            for writer in list(self._open):
                writer.transport.abort()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._server.wait_closed(), 2)
            self._server = None

    async def become(self, mood: Mood, status: int = 204) -> None:
        """Change the mood; connections that stand are cut, as a restarted server would."""
        await self.stop()
        self.mood, self.status = mood, status
        if mood is not Mood.DOWN:
            await self.start()

    async def until(self, count: int, timeout_s: float = 20.0) -> list[Posted]:
        """Wait until `count` messages were taken."""
        async with asyncio.timeout(timeout_s), self._news:
            await self._news.wait_for(lambda: len(self.taken) >= count)
        return self.taken

    async def until_seen(self, count: int, timeout_s: float = 20.0) -> list[Posted]:
        """Wait until `count` requests came, whatever was answered."""
        async with asyncio.timeout(timeout_s), self._news:
            await self._news.wait_for(lambda: len(self.seen) >= count)
        return self.seen

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while await self._request(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {}
        for line in head[1:]:
            if line:
                name, _, value = line.partition(":")
                headers[name.strip().lower()] = value.strip()
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        path = head[0].split()[1]
        status = await self._answer(headers, writer)
        async with self._news:
            self.seen.append(Posted(path, headers, body, status))
            self._news.notify_all()
        return status != 0

    async def _answer(self, headers: dict[str, str], writer: asyncio.StreamWriter) -> int:
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self.mood is Mood.HALF_OPEN:
            async with self._news:
                self.seen.append(Posted("", headers, b"", 0))
                self._news.notify_all()
            await asyncio.Event().wait()
        if self.mood is Mood.SLOW:
            while True:
                writer.write(b"H")
                await writer.drain()
                await asyncio.sleep(0.05)
        if self.mood is Mood.CUT:
            writer.write(b"HTTP/1.1 2")
            await writer.drain()
            return 0
        status = {Mood.WELL: 204, Mood.REDIRECT: 302}.get(self.mood, self.status)
        if headers.get("webhook-id") in self.refuse:
            status = 422
        extra = dict(self.answer_headers)
        if self.mood is Mood.REDIRECT:
            extra["location"] = "http://127.0.0.1:1/elsewhere"
        lines = "".join(f"{name}: {value}\r\n" for name, value in extra.items())
        writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: 0\r\n{lines}\r\n".encode())
        await writer.drain()
        return status


@asynccontextmanager
async def receiver(mood: Mood = Mood.WELL, status: int = 204) -> AsyncIterator[Receiver]:
    """A receiver that stops with the context."""
    each = Receiver(mood, status)
    await each.start()
    if mood is Mood.DOWN:
        await each.stop()
    try:
        yield each
    finally:
        await each.stop()
