"""A slow serial line between a program and its broker: so many bits a second each way, whatever connection they are of."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

PACKET_BYTES = 64  # what the line takes at a time
BUFFER_BYTES = 2048  # what the modem holds: the sender's TCP sees the rest of the line


@dataclass
class SlowLine:
    """`port` forwards to `target`. `carried`: bytes down and up."""

    target: int
    bits_per_s: float
    port: int = 0
    carried: list[int] = field(default_factory=lambda: [0, 0])

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: int) -> None:
        try:
            while data := await reader.read(PACKET_BYTES):
                async with self._line[way]:  # one line for all connections
                    await asyncio.sleep(8 * len(data) / self.bits_per_s)
                self.carried[way] += len(data)
                writer.write(data)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        own = socket.socket()
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        own.setblocking(False)
        await asyncio.get_running_loop().sock_connect(own, ("127.0.0.1", self.target))
        far_reader, far_writer = await asyncio.open_connection(sock=own, limit=BUFFER_BYTES)
        ways = [self._carry(far_reader, writer, 0), self._carry(reader, far_writer, 1)]
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(*ways)

    @asynccontextmanager
    async def laid(self) -> AsyncIterator["SlowLine"]:
        """The line is there while the context lasts."""
        self._line = [asyncio.Lock(), asyncio.Lock()]
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=BUFFER_BYTES)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
