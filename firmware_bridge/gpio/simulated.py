"""A board of lines that is not there: it records every edge of every line, and lets its inputs be driven.

It ships, and is chosen by configuration only (chip = "simulated"). `Board` is the world's side; `SimulatedChip` is what
a node in the same process holds; over a Unix socket it is `remote.RemoteChip`. When the holder goes, however it goes,
its outputs fall to rest, as the kernel's lines do.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from cython_ext.clock import Clock

from .chip import InputLine, OnEdge, OutputLine

RECORD_MOST: Final = 100_000  # edges kept in memory: a day of a siren pattern is under 1,000


@dataclass(frozen=True, slots=True)
class Edge:
    """A line changed. `by`: "holder" (the node), "world" (the simulation), "release" (the holder went), "keeper" (time over)."""

    at_ns: int
    line: str
    high: bool
    by: str


class Board:
    """The lines, their levels, and the record of what became of them."""

    def __init__(self, clock: Clock, record: Path | None = None) -> None:
        self._clock = clock
        self._file = record
        self.record: list[Edge] = []
        self.levels: dict[str, bool] = {}
        self._holders: dict[str, tuple[object, OnEdge | None, bool]] = {}  # line → holder, edge callback, rest
        self._watchers: list[Callable[[Edge], None]] = []

    def watch(self, callback: Callable[[Edge], None]) -> None:
        """Be told of every edge."""
        self._watchers.append(callback)

    def drive(self, line: str, high: bool) -> None:
        """The world presses (or lets go of) an input."""
        self._set(line, high, "world")

    def take(self, holder: object, inputs: Sequence[InputLine], outputs: Sequence[OutputLine], on_edge: OnEdge) -> None:
        """OSError when another holder has one of the lines, as the kernel would."""
        names = [one.name for one in inputs] + [one.name for one in outputs]
        taken = sorted(one for one in names if one in self._holders)
        if taken:
            raise OSError(f"line {', '.join(taken)} is taken")
        for one in inputs:
            self._holders[one.name] = (holder, on_edge, False)
            self.levels.setdefault(one.name, one.pull == "up")
        for out in outputs:
            self._holders[out.name] = (holder, None, out.rest)
            self.levels.setdefault(out.name, out.rest)
            self._set(out.name, out.rest, "holder")

    def write(self, holder: object, line: str, high: bool) -> None:
        """OSError when `holder` does not hold `line` as an output."""
        held = self._holders.get(line)
        if held is None or held[0] is not holder or held[1] is not None:
            raise OSError(f"line {line} is not an output of yours")
        self._set(line, high, "holder")

    def rest(self, holder: object, line: str) -> None:
        """The relay keeper of `holder` lets go of an output: its time is over. Another's line by now stays as it is."""
        held = self._holders.get(line)
        if held is not None and held[0] is holder and held[1] is None:
            self._set(line, held[2], "keeper")

    def release(self, holder: object) -> None:
        """The holder goes: its outputs fall to rest."""
        for line, (owner, on_edge, rest) in list(self._holders.items()):
            if owner is holder:
                del self._holders[line]
                if on_edge is None:
                    self._set(line, rest, "release")

    def _set(self, line: str, high: bool, by: str) -> None:
        if self.levels.get(line) is high:
            return
        self.levels[line] = high
        edge = Edge(self._clock.monotonic_ns(), line, high, by)
        self.record.append(edge)
        del self.record[:-RECORD_MOST]
        if self._file is not None:
            with self._file.open("a") as out:
                out.write(json.dumps(asdict(edge)) + "\n")
        held = self._holders.get(line)
        if held is not None and held[1] is not None:
            held[1](line, high, edge.at_ns)
        for watcher in list(self._watchers):
            watcher(edge)


class SimulatedChip:
    """A board in this process, held by a node (contract: `chip.Chip` and `chip.TimedChip`)."""

    real = False

    def __init__(self, board: Board) -> None:
        self.board = board
        self._ends: dict[str, asyncio.TimerHandle] = {}

    def require_names(self, lines: Sequence[str]) -> None:
        """See `chip.Chip`: any name will do."""

    async def open(self, inputs: Sequence[InputLine], outputs: Sequence[OutputLine], on_edge: OnEdge) -> None:
        self.board.take(self, inputs, outputs, on_edge)

    async def close(self) -> None:
        for end in self._ends.values():
            end.cancel()
        self._ends.clear()
        self.board.release(self)

    async def read(self, line: str) -> bool:
        if line not in self.board.levels:
            raise OSError(f"there is no line {line}")
        return self.board.levels[line]

    async def write(self, line: str, high: bool) -> None:
        self.board.write(self, line, high)

    async def write_for(self, line: str, high: bool, hold_s: float) -> None:
        """See `chip.TimedChip`: this board is in this process, and stands still when it does."""
        await self.write(line, high)
        if (end := self._ends.pop(line, None)) is not None:
            end.cancel()
        if hold_s > 0:
            self._ends[line] = asyncio.get_running_loop().call_later(hold_s, self.board.rest, self, line)
