"""A real chip whose outputs are held by a process of their own (keeper.py): off at their time even when this one hangs.

Inputs stay here. The keeper and the node watch each other: without us it sets all to rest; one that does not answer is killed,
and then the kernel lets its lines go. Either way the chip is opened again with the next act, as any chip that breaks.
"""

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from .chip import Chip, InputLine, OnEdge, OutputLine

START_S: Final = 10.0  # a Pi Zero's Python with its library, from a slow card
ANSWER_S: Final = 1.0  # a line is set in microseconds
END_S: Final = 1.0
PROGRAM: Final = Path(__file__).with_name("keeper.py")


class RealChip(Chip, Protocol):
    """A chip that can say where its lines are."""

    def locate(self, outputs: Sequence[OutputLine]) -> dict[str, Any]:
        """The keeper's argument for these lines; OSError when one is nowhere."""


class KeptChip:
    """Contract: `chip.Chip` and `chip.TimedChip`."""

    real = True

    def __init__(self, inner: RealChip) -> None:
        self._inner = inner
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter | None = None
        self._levels: dict[str, bool] = {}
        self._number = 0  # of the last request: who is cancelled leaves an answer behind
        self._one_act = asyncio.Lock()

    def require_names(self, lines: Sequence[str]) -> None:
        """See `chip.Chip`."""
        self._inner.require_names(lines)

    async def open(self, inputs: Sequence[InputLine], outputs: Sequence[OutputLine], on_edge: OnEdge) -> None:
        await self._inner.open(inputs, [], on_edge)
        if not outputs:
            return
        try:
            await self._begin(json.dumps(self._inner.locate(outputs)))
        except OSError:
            await self.close()
            raise
        self._levels = {out.name: out.rest for out in outputs}

    async def _begin(self, argument: str) -> None:
        ours, theirs = socket.socketpair()
        try:
            command = [sys.executable, "-P", str(PROGRAM), argument]  # -P: its folder's names are no modules to it
            end = theirs.fileno()
            self._process = subprocess.Popen(command, stdin=end, stdout=end)  # noqa: ASYNC220 - milliseconds, once
            self._reader, self._writer = await asyncio.open_unix_connection(sock=ours)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self._number = 0
        await self._answer(0, START_S)

    async def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
            self._writer = None
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(END_S):  # it sets its lines to rest
                    while process.poll() is None:  # noqa: ASYNC110 - a process ends without an event
                        await asyncio.sleep(0.01)
            process.kill()
            process.wait()
        self._levels.clear()
        await self._inner.close()

    async def read(self, line: str) -> bool:
        return self._levels[line] if line in self._levels else await self._inner.read(line)

    async def write(self, line: str, high: bool) -> None:
        await self.write_for(line, high, 0.0)

    async def write_for(self, line: str, high: bool, hold_s: float) -> None:
        """See `chip.TimedChip`."""
        async with self._one_act:
            if self._writer is None:
                raise OSError("the lines are not open")
            self._number += 1
            self._writer.write(f"{self._number} {line} {int(high)} {round(hold_s * 1000)}\n".encode())
            await self._answer(self._number, ANSWER_S)
            self._levels[line] = high

    async def _answer(self, number: int, within_s: float) -> None:
        """OSError when the keeper cannot, has gone, or stands still; then it is killed, and its lines are free."""
        said, what = "", ""
        try:
            async with asyncio.timeout(within_s):
                while said != str(number):
                    line = (await self._reader.readline()).decode()
                    if not line:
                        break
                    said, _, what = line.strip().partition(" ")
        except (TimeoutError, OSError):
            self._kill()
            raise OSError("the relay keeper does not answer") from None
        if said != str(number):
            self._kill()
            raise OSError("the relay keeper has gone")
        if what != "ok":
            raise OSError(what)

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
