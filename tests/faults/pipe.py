"""The line between one program and the broker: real TCP, which can be cut or slowed, and is listened in on.

A cut is a cut: bytes stop, nobody is told, connections hang; what TCP holds goes on when it is mended. Slow: all connections of
the program share the rate, each way, packet by packet in turn, with 40 bytes of TCP and IP for each packet, and hardly any
buffer of its own: what waits, waits at the sender.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Final

from tests.kit.tap import Packet, parse

PACKET_BYTES: Final = 536  # of a slow line's packets; a whole second's worth would make every alarm wait for one
HEADER_BYTES: Final = 40
FAST_BYTES: Final = 65536
BUFFER_BYTES: Final = 2048
PACKET_MAX: Final = 1 << 20

Heard = Callable[[Packet], None]


class Pipe:
    """`port` is what the program connects to."""

    def __init__(self, target: int, heard: Heard) -> None:
        self._target = target
        self._heard = heard
        self._server: asyncio.Server | None = None
        self._open = asyncio.Event()
        self._open.set()
        self._turn = {True: asyncio.Lock(), False: asyncio.Lock()}
        self._tasks: set[asyncio.Task[None]] = set()
        self._number = 0
        self.port = 0
        self.bits_per_s = 0  # 0: as fast as it goes
        self.carried = 0

    async def start(self, host: str = "127.0.0.1", inside: socket.socket | None = None) -> None:
        """Listen at `host`, or with a socket that listens already."""
        if inside is not None:
            self._server = await asyncio.start_server(self._serve, sock=inside)
        else:
            self._server = await asyncio.start_server(self._serve, host, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        self._open.clear()

    def mend(self) -> None:
        self._open.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._connect(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._open.wait()
        self._number += 1
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        ear = _Ear(self._number, self._heard)
        pumps = [
            asyncio.create_task(self._pump(reader, far_writer, ear, up=True)),
            asyncio.create_task(self._pump(far_reader, writer, ear, up=False)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            far_writer.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, ear: "_Ear", *, up: bool) -> None:
        with contextlib.suppress(OSError):
            sink.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.bits_per_s:
            sink.transport.set_write_buffer_limits(high=0)
        while True:
            data = await source.read(PACKET_BYTES if self.bits_per_s else FAST_BYTES)
            await self._open.wait()
            if not data:
                return
            if self.bits_per_s:
                async with self._turn[up]:
                    await asyncio.sleep((len(data) + HEADER_BYTES) * 8 / self.bits_per_s)
                    await self._open.wait()
            self.carried += len(data)
            ear.take(data, up=up)
            sink.write(data)
            await sink.drain()


class _Ear:
    """Cuts one connection's bytes into MQTT packets."""

    def __init__(self, number: int, heard: Heard) -> None:
        self._number = number
        self._heard = heard
        self._client = [""]
        self._rest = {True: bytearray(), False: bytearray()}

    def take(self, data: bytes, *, up: bool) -> None:
        rest = self._rest[up]
        rest += data
        while (found := _whole(rest)) is not None:
            head, start, end = found
            body = bytes(rest[start:end])
            del rest[:end]
            self._heard(parse(head, body, self._number, self._client, up))


def _whole(data: bytearray) -> tuple[int, int, int] | None:
    """(first byte, where the body begins, where it ends) of the first whole packet."""
    length = shift = 0
    for place in range(1, min(5, len(data))):
        length |= (data[place] & 0x7F) << shift
        shift += 7
        if data[place] < 0x80:
            end = place + 1 + length
            return (data[0], place + 1, end) if length <= PACKET_MAX and len(data) >= end else None
    return None
