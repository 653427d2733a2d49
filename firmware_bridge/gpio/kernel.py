"""gpiod 2.5: lines of the kernel's character device, by name and never by number.

Chip numbers change with boards and kernels; line names (GPIO17) do not. The kernel stamps and debounces edges, and
frees the lines when this process dies.
"""

import asyncio
import contextlib
import os
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from cython_ext.errors import ConfigError

from .chip import InputLine, OnEdge, OutputLine

if TYPE_CHECKING:
    import gpiod

EDGES_A_TURN: Final = 64  # edges taken from the kernel's queue in one turn of the loop: a noisy line cannot hold it


class GpiodChip:
    """Lines through libgpiod (contract: `chip.Chip`). `label` narrows the search to one chip."""

    real = True

    def __init__(self, label: str = "", folder: str = "/dev") -> None:
        self._label = label
        self._folder = folder
        self._requests: list[gpiod.LineRequest] = []
        self._where: dict[str, gpiod.LineRequest] = {}
        self._rest: dict[str, bool] = {}

    async def open(self, inputs: Sequence[InputLine], outputs: Sequence[OutputLine], on_edge: OnEdge) -> None:
        import gpiod
        from gpiod.line import Bias, Clock, Direction, Edge

        bias = {"none": Bias.AS_IS, "up": Bias.PULL_UP, "down": Bias.PULL_DOWN}
        config: dict[str, gpiod.LineSettings] = {}
        for out in outputs:
            config[out.name] = gpiod.LineSettings(direction=Direction.OUTPUT, output_value=_value(out.rest))
            self._rest[out.name] = out.rest
        for one in inputs:
            config[one.name] = gpiod.LineSettings(
                direction=Direction.INPUT,
                edge_detection=Edge.BOTH,
                bias=bias[one.pull],
                debounce_period=timedelta(microseconds=one.debounce_ns // 1000),
                event_clock=Clock.MONOTONIC,
            )
        names = [one.name for one in inputs]
        for path, lines in self._find(list(config)).items():
            request = gpiod.request_lines(path, {line: config[line] for line in lines}, consumer="bucium")
            self._requests.append(request)
            self._where.update(dict.fromkeys(lines, request))
            if any(line in names for line in lines):
                by_offset = {offset: line for line, offset in lines.items()}
                asyncio.get_running_loop().add_reader(request.fd, self._edges, request, by_offset, on_edge)

    def require_names(self, lines: Sequence[str]) -> None:
        """See `chip.Chip`. gpiod itself would take '17' for an offset."""
        for line in lines:
            if line.isdecimal():
                raise ConfigError(f"line {line!r} is a number: give the line's name, which `gpioinfo` lists")

    def _find(self, lines: list[str]) -> dict[str, dict[str, int]]:
        """Chip path → its lines with their offsets there; OSError names the lines that are nowhere."""
        import gpiod

        found: dict[str, dict[str, int]] = {}
        left = list(lines)
        for entry in sorted(os.listdir(self._folder)):
            path = f"{self._folder}/{entry}"
            if not entry.startswith("gpiochip") or not gpiod.is_gpiochip_device(path):
                continue
            with gpiod.Chip(path) as chip:
                if self._label and chip.get_info().label != self._label:
                    continue
                for line in list(left):
                    try:
                        offset = chip.line_offset_from_id(line)
                    except OSError:
                        continue
                    left.remove(line)
                    found.setdefault(path, {})[line] = offset
        if left:
            where = f"the chip labelled {self._label!r}" if self._label else "any GPIO chip"
            raise OSError(f"no line named {', '.join(left)} on {where}: `gpioinfo` lists the names")
        return found

    def locate(self, outputs: Sequence[OutputLine]) -> dict[str, Any]:
        """See `kept.RealChip`."""
        rest = {out.name: out.rest for out in outputs}
        found = self._find(list(rest))
        lines = {name: [path, offset, rest[name]] for path, here in found.items() for name, offset in here.items()}
        return {"kind": "gpiod", "lines": lines}

    def _edges(self, request: "gpiod.LineRequest", names: dict[int, str], on_edge: OnEdge) -> None:
        from gpiod import EdgeEvent

        for event in request.read_edge_events(EDGES_A_TURN):
            rising = event.event_type is EdgeEvent.Type.RISING_EDGE
            on_edge(names[event.line_offset], rising, event.timestamp_ns)

    async def close(self) -> None:
        loop = asyncio.get_running_loop()
        for name, rest in self._rest.items():
            if name in self._where:
                with contextlib.suppress(OSError):  # the chip may be gone
                    self._where[name].set_value(name, _value(rest))
        for request in self._requests:
            loop.remove_reader(request.fd)
            request.release()
        self._requests.clear()
        self._where.clear()
        self._rest.clear()

    async def read(self, line: str) -> bool:
        from gpiod.line import Value

        return self._request(line).get_value(line) is Value.ACTIVE

    async def write(self, line: str, high: bool) -> None:
        self._request(line).set_value(line, _value(high))

    def _request(self, line: str) -> "gpiod.LineRequest":
        if line not in self._where:
            raise OSError("the lines are not open")
        return self._where[line]


def _value(high: bool) -> "gpiod.line.Value":
    from gpiod.line import Value

    return Value.ACTIVE if high else Value.INACTIVE
