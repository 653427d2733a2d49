"""What a chip of lines is. Lines are named; levels are electrical (True is high): active-low is the device's business."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class InputLine:
    """A line to read; `debounce_ns` is asked of the kernel where it can."""

    name: str
    pull: Literal["none", "up", "down"] = "none"
    debounce_ns: int = 0


@dataclass(frozen=True, slots=True)
class OutputLine:
    """`rest`: the level that lets the relay off. It is set when the line is taken, and again when it is let go."""

    name: str
    rest: bool = False


# Called on an edge: line, level after it, monotonic nanoseconds.
OnEdge = Callable[[str, bool, int], None]


class Chip(Protocol):
    """Lines of one board. Trouble raises OSError, which the device turns into a Status; nothing else is raised."""

    real: bool

    def require_names(self, lines: Sequence[str]) -> None:
        """ConfigError when a line cannot be named so on this kind of chip. Before anything is opened."""

    async def open(self, inputs: Sequence[InputLine], outputs: Sequence[OutputLine], on_edge: OnEdge) -> None:
        """Take the lines; every output goes to rest. OSError when a line is missing or taken."""

    async def close(self) -> None:
        """Outputs to rest, lines let go. Never raises."""

    async def read(self, line: str) -> bool: ...

    async def write(self, line: str, high: bool) -> None: ...


@runtime_checkable
class TimedChip(Protocol):
    """A chip that ends what it began by itself, though this process stands still."""

    async def write_for(self, line: str, high: bool, hold_s: float) -> None:
        """As `Chip.write`, and to rest after `hold_s` unless it is written again before; 0: no end."""
