"""The lines that simulated devices hang on: a TCP port, or a pseudo-terminal. Real bytes, real sockets.

pymodbus's own server answers for units that are not there, so it cannot play a dead slave; these responders answer
from the same profile tables, or not at all.
"""

import asyncio
import contextlib
import os
import struct
import tty
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

from firmware_bridge.modbus.frames import crc

from .device import SimulatedDevice
from .faults import Fault, Misbehaviour, rtu_pieces, tcp_pieces

BUFFER_MOST: Final = 1024
Send = Callable[[bytes], None]


class Line:
    """The devices of one line, by unit, and how each misbehaves."""

    def __init__(self, name: str) -> None:
        self.id = name
        self.units: dict[int, SimulatedDevice] = {}
        self.misbehaviour: dict[int, Misbehaviour] = {}
        self.requests: dict[int, int] = {}  # unit → how many requests came for it
        self._timers: set[asyncio.TimerHandle] = set()

    def handle(self, unit: int, pdu: bytes, transaction: int | None, send: Send, cut: Callable[[], None]) -> None:
        """One request: answer it, or misbehave. `transaction` is None on a serial line."""
        self.requests[unit] = self.requests.get(unit, 0) + 1
        if unit == 0:  # broadcast: everybody acts, nobody answers
            for everyone in self.units.values():
                everyone.answer(pdu)
            return
        device = self.units.get(unit)
        if device is None:
            return
        how = self._misbehaviour(unit)
        if how.fault is Fault.DROP and transaction is not None:
            cut()
            return
        if how.fault is Fault.DEAD:
            return
        reply = device.answer(pdu)
        pieces = rtu_pieces(how, unit, reply) if transaction is None else tcp_pieces(how, transaction, unit, reply)
        for delay_s, data in pieces:
            self._send_later(delay_s, data, send)

    def _misbehaviour(self, unit: int) -> Misbehaviour:
        how = self.misbehaviour.get(unit, Misbehaviour())
        if how.times == 1:
            del self.misbehaviour[unit]
        elif how.times > 1:
            self.misbehaviour[unit] = Misbehaviour(how.fault, how.delay_s, how.code, how.times - 1)
        return how

    def _send_later(self, delay_s: float, data: bytes, send: Send) -> None:
        if delay_s <= 0:
            send(data)
            return

        def now() -> None:
            self._timers.discard(timer)
            send(data)

        timer = asyncio.get_running_loop().call_later(delay_s, now)
        self._timers.add(timer)

    def stop(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()


class TcpLine(Line):
    """Modbus TCP on a socket."""

    def __init__(self, name: str, host: str, port: int) -> None:
        super().__init__(name)
        self._host = host
        self.port = port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._clients: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._client, self._host, self.port, reuse_address=True)
        self.port = self._server.sockets[0].getsockname()[1]  # a restart takes the same one

    async def close(self) -> None:
        self.stop()
        if self._server is not None:
            self._server.close()
            for writer in list(self._writers):
                writer.transport.abort()
            await self._server.wait_closed()
            self._server = None
            await asyncio.gather(*self._clients)

    def endpoint(self) -> dict[str, str | int]:
        return {"host": self._host, "port": self.port}

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._clients.add(task)
        task.add_done_callback(self._clients.discard)

        def send(data: bytes) -> None:
            if not writer.is_closing():
                writer.write(data)

        try:
            while True:
                head = await reader.readexactly(7)
                transaction, protocol, length, unit = struct.unpack(">HHHB", head)
                if protocol != 0 or not 2 <= length <= 254:
                    break
                pdu = await reader.readexactly(length - 1)
                self.handle(unit, pdu, transaction, send, writer.transport.abort)
        except (asyncio.IncompleteReadError, OSError):
            pass  # the master went: that is its right
        finally:
            self._writers.discard(writer)
            writer.close()


class PtyLine(Line):
    """Modbus RTU on a pseudo-terminal; `link` is a stable name for its /dev/pts path."""

    def __init__(self, name: str, link: Path | None) -> None:
        super().__init__(name)
        self._link = link
        self._master = self._slave = -1
        self._buffer = b""
        self.device = ""

    async def open(self) -> None:
        self._master, self._slave = os.openpty()  # the slave stays open here: else each close by a node reads as EIO
        tty.setraw(self._master)
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.device = os.ttyname(self._slave)
        if self._link is not None:
            self._link.unlink(missing_ok=True)
            self._link.symlink_to(self.device)
        asyncio.get_running_loop().add_reader(self._master, self._readable)

    async def close(self) -> None:
        self.stop()
        if self._master >= 0:
            asyncio.get_running_loop().remove_reader(self._master)
            os.close(self._master)
            os.close(self._slave)
            self._master = self._slave = -1
        if self._link is not None:
            self._link.unlink(missing_ok=True)

    def endpoint(self) -> dict[str, str | int]:
        return {"device": str(self._link) if self._link else self.device}

    def babble(self, data: bytes) -> None:
        """Noise that nobody asked for."""
        self._send(data)

    def _readable(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._buffer = (self._buffer + os.read(self._master, BUFFER_MOST))[-BUFFER_MOST:]
        while (request := request_of(self._buffer)) is not None:
            unit, pdu, self._buffer = request
            self.handle(unit, pdu, None, self._send, lambda: None)

    def _send(self, data: bytes) -> None:
        with contextlib.suppress(BlockingIOError):  # nobody reads: the line is full, as a wire without a listener
            os.write(self._master, data)


def request_of(buffer: bytes) -> tuple[int, bytes, bytes] | None:
    """(unit, PDU, the rest) of the first whole request in `buffer`."""
    for start in range(max(0, len(buffer) - 7)):
        function = buffer[start + 1]
        if 1 <= function <= 6:
            size = 8
        elif function in (15, 16):
            size = 9 + buffer[start + 6]
        else:
            continue
        end = start + size
        if end <= len(buffer) and crc(buffer[start : end - 2]) == buffer[end - 2 : end]:
            return buffer[start], buffer[start + 1 : end - 2], buffer[end:]
    return None
