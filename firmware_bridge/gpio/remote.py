"""A simulated board in another process, over its Unix socket: JSON lines, a reply for each request, edges in between.

    {"n": 1, "do": "take", "inputs": [...], "outputs": [...]}   ->  {"n": 1, "ok": true}
    {"n": 2, "do": "write", "line": "GPIO5", "high": true}      ->  {"n": 2, "ok": true}     with "hold_s": to rest after it
    {"n": 3, "do": "read", "line": "GPIO6"}                     ->  {"n": 3, "ok": true, "high": false}
                                                                <-  {"edge": "GPIO6", "high": true, "at_ns": 123}

The board lets the outputs fall to rest when the connection ends.
"""

import asyncio
import contextlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from .chip import InputLine, OnEdge, OutputLine

REPLY_S: Final = 2.0  # a simulator on this machine answers in milliseconds
LINE_MOST: Final = 64 * 1024  # bytes of one JSON line


class RemoteChip:
    """Contract: `chip.Chip` and `chip.TimedChip`."""

    real = False

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._writer: asyncio.StreamWriter | None = None
        self._listener: asyncio.Task[None] | None = None
        self._replies: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._number = 0
        self._on_edge: OnEdge | None = None

    def require_names(self, lines: Sequence[str]) -> None:
        """See `chip.Chip`: the board knows its lines, and says so when they are taken."""

    async def open(self, inputs: Sequence[InputLine], outputs: Sequence[OutputLine], on_edge: OnEdge) -> None:
        await self.close()
        try:
            async with asyncio.timeout(REPLY_S):
                reader, self._writer = await asyncio.open_unix_connection(self._socket, limit=LINE_MOST)
        except TimeoutError:
            raise OSError(f"the simulated board at {self._socket} does not answer") from None
        self._on_edge = on_edge
        self._listener = asyncio.get_running_loop().create_task(self._listen(reader), name="simulated board")
        try:
            await self._ask("take", inputs=[asdict(one) for one in inputs], outputs=[asdict(one) for one in outputs])
        except OSError:
            await self.close()
            raise

    async def close(self) -> None:
        if self._listener is not None:
            self._listener.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._listener
            self._listener = None
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
            self._writer = None

    async def read(self, line: str) -> bool:
        return bool((await self._ask("read", line=line))["high"])

    async def write(self, line: str, high: bool) -> None:
        await self._ask("write", line=line, high=high)

    async def write_for(self, line: str, high: bool, hold_s: float) -> None:
        """See `chip.TimedChip`: the simulator is the keeper too, and outlives this process."""
        await self._ask("write", line=line, high=high, hold_s=hold_s)

    async def _ask(self, do: str, **fields: object) -> dict[str, Any]:
        if self._writer is None or self._listener is None or self._listener.done():
            raise OSError("the simulated board is not connected")
        self._number += 1
        number = self._number
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._replies[number] = future
        try:
            self._writer.write(json.dumps({"n": number, "do": do, **fields}).encode() + b"\n")
            await self._writer.drain()
            async with asyncio.timeout(REPLY_S):  # wait_for can swallow a cancellation
                reply = await future
        except TimeoutError:
            raise OSError("the simulated board does not answer") from None
        finally:
            del self._replies[number]
        if not reply.get("ok"):
            raise OSError(str(reply.get("error", "refused")))
        return reply

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                message = json.loads(line)
                if not isinstance(message, dict):
                    break
                if "edge" in message and self._on_edge is not None:
                    self._on_edge(str(message["edge"]), bool(message["high"]), int(message["at_ns"]))
                elif (future := self._replies.get(message.get("n", 0))) is not None and not future.done():
                    future.set_result(message)
        except (OSError, ValueError):
            pass  # a broken stream ends as a closed one does: below
        for future in self._replies.values():
            if not future.done():
                future.set_result({"error": "the simulated board closed the connection"})
