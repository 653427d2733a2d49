"""A simulated board for other processes: serves `gpio.simulated.Board` to `gpio.remote.RemoteChip`, one holder a connection."""

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any, Final, cast

from cython_ext.clock import Clock
from firmware_bridge.gpio.chip import InputLine, OutputLine
from firmware_bridge.gpio.simulated import Board, Edge
from firmware_bridge.settings import InputSettings, OutputSettings

from .record import Entry, Record
from .settings import BoardSettings

LINE_MOST: Final = 64 * 1024  # bytes of one JSON line


class SimulatedBoard:
    """The board, by the names that the node's configuration gives its lines."""

    def __init__(self, settings: BoardSettings, socket: Path, record: Record, clock: Clock) -> None:
        self.id = settings.id
        self.board = Board(clock)
        self.broken: set[str] = set()  # channels that no longer follow: a cut wire
        self._inputs: dict[str, InputSettings] = {one.channel: one for one in settings.input}
        self._outputs: dict[str, OutputSettings] = {one.point: one for one in settings.output}
        self._socket = socket
        self._record = record
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._clients: set[asyncio.Task[None]] = set()
        self._by_line: dict[str, tuple[str, bool]] = {}
        self._ends: dict[str, asyncio.TimerHandle] = {}  # the relay keeper's: when a line goes to rest by itself
        for channel, contact in self._inputs.items():
            self._by_line[contact.line] = (channel, contact.active_low)
            self.board.levels[contact.line] = contact.active_low  # at rest
        for point, relay in self._outputs.items():
            self._by_line[relay.line] = (point, relay.active_low)
            self.board.levels[relay.line] = relay.active_low
        self.board.watch(self._edge)

    def has(self, channel: str) -> bool:
        return channel in self._inputs

    def names(self) -> tuple[str, ...]:
        return (*self._inputs, *self._outputs)

    def drive(self, channel: str, active: bool) -> None:
        """Press a contact, or let it go; a broken one does not follow."""
        if channel not in self.broken:
            contact = self._inputs[channel]
            self.board.drive(contact.line, active is not contact.active_low)

    def active(self, name: str) -> bool:
        """Whether an input or output is active."""
        one = self._inputs.get(name) or self._outputs[name]
        return self.board.levels[one.line] is not one.active_low

    def _edge(self, edge: Edge) -> None:
        name, active_low = self._by_line.get(edge.line, (edge.line, False))
        by = {"holder": "bus"}.get(edge.by, edge.by)
        self._record.add(Entry(edge.at_ns, self.id, "line", name, int(edge.high is not active_low), by))

    async def open(self) -> None:
        self._socket.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._client, self._socket, limit=LINE_MOST)

    async def close(self) -> None:
        for end in self._ends.values():
            end.cancel()
        self._ends.clear()
        if self._server is not None:
            self._server.close()
            for writer in list(self._writers):
                writer.transport.abort()
            await self._server.wait_closed()
            self._server = None
            await asyncio.gather(*self._clients)
        self._socket.unlink(missing_ok=True)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._clients.add(task)
        task.add_done_callback(self._clients.discard)

        def send(message: dict[str, Any]) -> None:
            if not writer.is_closing():
                writer.write(json.dumps(message).encode() + b"\n")

        def edge(line: str, high: bool, at_ns: int) -> None:
            send({"edge": line, "high": high, "at_ns": at_ns})

        try:
            while line := await reader.readline():
                send(self._answer(writer, line, edge))
        except (OSError, ValueError):
            pass  # the holder went, or sent more than a line may hold: it loses its lines
        finally:
            self._writers.discard(writer)
            self.board.release(writer)
            with contextlib.suppress(OSError):
                writer.close()

    def _write(self, holder: object, line: str, high: bool, hold_s: float) -> None:
        """As the relay keeper does: to rest after `hold_s`, unless it is written again before; 0: no end."""
        self.board.write(holder, line, high)
        if (end := self._ends.pop(line, None)) is not None:
            end.cancel()
        if hold_s > 0:
            loop = asyncio.get_running_loop()
            self._ends[line] = loop.call_later(hold_s, self.board.rest, holder, line)

    def _answer(self, holder: object, line: bytes, edge: Any) -> dict[str, Any]:
        number = 0
        try:
            message = json.loads(line)
            number = int(message["n"])
            match message["do"]:
                case "take":
                    inputs = [InputLine(**one) for one in message["inputs"]]
                    outputs = [OutputLine(**one) for one in message["outputs"]]
                    self.board.take(holder, inputs, outputs, edge)
                case "write":
                    self._write(holder, str(message["line"]), bool(message["high"]), float(message.get("hold_s", 0)))
                case "read":
                    return {"n": number, "ok": True, "high": self.board.levels[str(message["line"])]}
                case other:
                    return {"n": number, "error": f"unknown: {other}"}
        except OSError as error:
            return {"n": number, "error": str(error)}
        except (KeyError, TypeError, ValueError) as error:
            return {"n": number, "error": f"not understood: {error!r}"}
        return {"n": number, "ok": True}
