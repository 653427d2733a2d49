"""The owner of a Modbus line: one request at a time, sirens first, every one inside a hard deadline.

- One task sends and receives; everybody else queues. A siren's write overtakes every poll that waits (at most the one
  request on the line is before it), and is sent even to a unit that seems dead.
- A request ends after `timeout_s` at the latest, whatever the line does. Bytes that are no answer are dropped.
- A lost connection is opened again at once for the next request, then after 0.2 s, doubling to 5 s; a request whose
  connection breaks under it is asked once more in what is left of its time, unless reading clears the register.
- Dead units: see `breaker.py`.
"""

import asyncio
import contextlib
import os
from dataclasses import dataclass, field
from typing import Final

from cython_ext.clock import Clock
from cython_ext.model import NS_PER_S
from firmware_bridge.driver import BusHealth, Priority
from firmware_bridge.settings import ModbusRtuBus, ModbusTcpBus

from . import frames
from .breaker import Breaker, Verdict
from .frames import Found, Match, Request
from .port import Connect, Connection, connector

QUEUE_MAX: Final = 256  # requests: four for each of 64 devices; more would only be late
RETRY_FIRST_S: Final = 0.2
RETRY_MOST_S: Final = 5.0
FLOOD_BYTES: Final = 16 * frames.MAX_BUFFER  # in one request's time: nothing that speaks Modbus sends that


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a request: the answer's PDU, or why there is none. `exception` is the device's own refusal."""

    pdu: bytes = b""
    reason: str = ""
    exception: int = 0
    at_ns: int = 0

    @property
    def ok(self) -> bool:
        return not self.reason


@dataclass(order=True, slots=True)
class _Waiting:
    priority: int
    number: int
    request: Request = field(compare=False)
    future: asyncio.Future[Reply] = field(compare=False)


class ModbusBus:
    """One line or connection (contract: `driver.Bus`), with `request` for the devices on it."""

    def __init__(self, settings: ModbusTcpBus | ModbusRtuBus, clock: Clock, connect: Connect | None = None) -> None:
        self.id = settings.id
        self.real = not settings.simulated
        self.settings = settings
        self.rtu = isinstance(settings, ModbusRtuBus) or settings.framing == "rtu"
        self._clock = clock
        self._connect = connect or connector(settings)
        timeout_ns = int(settings.timeout_s * NS_PER_S)
        self.breaker = Breaker(settings.dead_after, int(settings.probe_s * NS_PER_S), timeout_ns if self.rtu else 0)
        self._queue: asyncio.PriorityQueue[_Waiting] = asyncio.PriorityQueue(QUEUE_MAX)
        self._number = 0
        self._owner: asyncio.Task[None] | None = None
        self._port: Connection | None = None
        self._buffer = b""
        self._flood = 0
        self._changed = asyncio.Event()
        self._transaction = 0
        self._retry_s = 0.0
        self._retry_at_ns = 0
        self._free_at_ns = 0  # turn-round: not before
        self._count = {"requests": 0, "answers": 0, "silences": 0, "garbled": 0, "reconnects": 0}
        self._reason = ""

    async def open(self) -> None:
        """Begin; the connection itself is made by the first request."""
        if self._owner is None:
            self._owner = asyncio.get_running_loop().create_task(self._own(), name=f"bus {self.id}")

    async def close(self) -> None:
        """End; who still waits is answered."""
        if self._owner is not None:
            self._owner.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._owner
            self._owner = None
        while not self._queue.empty():
            waiting = self._queue.get_nowait()
            if not waiting.future.done():
                waiting.future.set_result(self._failed("the bus is closed"))
        self._drop()

    def health(self) -> BusHealth:
        return BusHealth(self._port is not None, self.breaker.dead, reason=self._reason, **self._count)

    async def request(self, request: Request, priority: Priority = Priority.POLL) -> Reply:
        """Ask, and wait for the end of it. Never raises on trouble; a bug of the owner comes out here."""
        if self._owner is None:
            return self._failed("the bus is not open")
        if self._owner.done():
            self._owner.result()  # raises what broke it
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._number += 1
        waiting = _Waiting(priority, self._number, request, future)
        if self._queue.full() and priority is not Priority.SIREN:
            return self._failed(f"{QUEUE_MAX} requests are waiting for this bus already")
        await self._queue.put(waiting)
        try:
            both: set[asyncio.Future[Reply] | asyncio.Task[None]] = {future, self._owner}
            done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            future.cancel()  # nobody wants the answer: do not ask
            raise
        if future not in done:
            self._owner.result()
            return self._failed("the bus is closed")
        return future.result()

    # The owner's side.

    async def _own(self) -> None:
        while True:
            waiting = await self._queue.get()
            if waiting.future.cancelled():
                continue
            try:
                reply = await self._serve(waiting.request, Priority(waiting.priority))
            except asyncio.CancelledError:
                if not waiting.future.done():
                    waiting.future.set_result(self._failed("the bus is closed"))
                raise
            if not waiting.future.done():
                waiting.future.set_result(reply)

    async def _serve(self, request: Request, priority: Priority) -> Reply:
        now_ns = self._clock.monotonic_ns()
        if priority is not Priority.SIREN:
            verdict = self.breaker.may(request.unit, now_ns)
            if verdict is Verdict.DEAD:
                return self._failed("the device has not answered lately; it is asked again from time to time")
            if verdict is Verdict.SETTLING:
                return self._failed("the device was silent a moment ago; waiting so that a late answer is not believed")
        self._count["requests"] += 1
        end_ns = now_ns + int(self.settings.timeout_s * NS_PER_S)
        reply = await self._attempt(request, end_ns, urgent=priority is Priority.SIREN)
        if reply is None and not request.once and self._clock.monotonic_ns() < end_ns:
            reply = await self._attempt(request, end_ns, urgent=priority is Priority.SIREN)
        return reply or self._failed("the connection was lost")

    async def _attempt(self, request: Request, end_ns: int, *, urgent: bool) -> Reply | None:
        """One question; None when the connection broke under it."""
        if self._port is None and not await self._reconnect(end_ns, urgent=urgent):
            return self._failed("not connected: " + self._reason.removeprefix("not connected: "))
        await self._turn_round()
        self._buffer = b""
        self._flood = 0
        self._transaction = self._transaction % 0xFFFF + 1
        frame = (
            frames.rtu_frame(request.unit, request.pdu)
            if self.rtu
            else frames.tcp_frame(self._transaction, request.unit, request.pdu)
        )
        if self._port is None:
            return None
        self._port.send(frame)
        if request.unit == 0 and self.rtu:  # a broadcast has no answer; slaves need time to act
            self._free_at_ns = self._clock.monotonic_ns() + NS_PER_S // 10
            return Reply(at_ns=self._clock.monotonic_ns())
        match = await self._answer(request, frame, end_ns)
        now_ns = self._clock.monotonic_ns()
        self._free_at_ns = now_ns + int(self.settings.turn_round_s * NS_PER_S)
        return self._judge(request, match, now_ns)

    def _judge(self, request: Request, match: Match | None, now_ns: int) -> Reply | None:
        if match is None:
            return None
        if match.found is Found.EXCEPTION:
            code = match.pdu[1]
            text = frames.EXCEPTIONS.get(code, "unknown")
            if code == frames.GATEWAY_SILENCE:
                self.breaker.silent(request.unit, now_ns)
            else:
                self.breaker.answered(request.unit)
            return Reply(reason=f"the device refused: exception {code}, {text}", exception=code, at_ns=now_ns)
        if match.found is Found.ANSWER:
            self._count["answers"] += 1
            self.breaker.answered(request.unit)
            return Reply(match.pdu, at_ns=now_ns)
        self.breaker.silent(request.unit, now_ns)
        if match.found is Found.BROKEN:
            self._drop()
        if self._buffer or match.found is Found.BROKEN:
            self._count["garbled"] += 1
            return self._failed("what came back was not an answer (noise, a wrong CRC, another device)")
        self._count["silences"] += 1
        return self._failed("the device did not answer")

    async def _answer(self, request: Request, sent: bytes, end_ns: int) -> Match | None:
        """The answer, NOTHING at the deadline, None when the connection is lost."""
        echo = sent if isinstance(self.settings, ModbusRtuBus) and self.settings.echo else b""
        while True:
            if self._port is None:
                return None
            at = self._buffer.find(echo)
            heard = self._buffer[at + len(echo) :] if at >= 0 else b""
            match = frames.find_rtu(heard, request) if self.rtu else frames.find_tcp(heard, request, self._transaction)
            left_s = (end_ns - self._clock.monotonic_ns()) / NS_PER_S
            if match.found is not Found.NOTHING or left_s <= 0:
                return match
            self._changed.clear()
            with contextlib.suppress(TimeoutError):  # not wait_for: up to Python 3.11 it can swallow a cancellation
                async with asyncio.timeout(left_s):
                    await self._changed.wait()

    async def _turn_round(self) -> None:
        wait_ns = self._free_at_ns - self._clock.monotonic_ns()
        if wait_ns > 0:
            await asyncio.sleep(wait_ns / NS_PER_S)

    async def _reconnect(self, end_ns: int, *, urgent: bool) -> bool:
        now_ns = self._clock.monotonic_ns()
        if not urgent and now_ns < self._retry_at_ns:
            return False
        try:
            self._port = await self._connect(self, max(0.05, (end_ns - now_ns) / NS_PER_S))
        except (OSError, TimeoutError) as error:
            self._reason = _plainly(error)
            self._retry_s = min(max(RETRY_FIRST_S, 2 * self._retry_s), RETRY_MOST_S)
            self._retry_at_ns = self._clock.monotonic_ns() + int(self._retry_s * NS_PER_S)
            return False
        self._count["reconnects"] += 1
        self._retry_s = 0.0
        return True

    def _drop(self) -> None:
        if self._port is not None:
            self._port.close()
            self._port = None

    def _failed(self, reason: str) -> Reply:
        self._reason = reason
        return Reply(reason=reason, at_ns=self._clock.monotonic_ns())

    # Called by the port.

    def received(self, data: bytes) -> None:
        """Bytes of the line. Kept is the end of them: that is where an answer would be."""
        self._flood += len(data)
        self._buffer = (self._buffer + data)[-frames.MAX_BUFFER :]
        self._changed.set()
        if self._flood > FLOOD_BYTES:
            self._drop()
            self._retry_at_ns = self._clock.monotonic_ns() + int(RETRY_FIRST_S * NS_PER_S)
            self._reason = f"more than {FLOOD_BYTES} bytes without a request: the line was closed for a moment"

    def lost(self) -> None:
        self._port = None
        self._changed.set()


def _plainly(error: OSError) -> str:
    """Why a port did not open, in the system's own few words: libraries wrap them in more, once or twice over."""
    if isinstance(error, TimeoutError) and not error.errno:
        return str(error) or "no connection in time"
    if error.errno and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error) or "no connection in time"  # unknown host names count by numbers of their own
