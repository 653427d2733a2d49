"""The `RPi.GPIO` interface: rpi-lgpio on a Raspberry Pi. Imported only when a bus says chip = "rpi".

Edges arrive in rpi-lgpio's own thread and are handed to the event loop. Off a Pi the import itself fails, which is
reported as trouble: there is no fallback.
"""

import asyncio
import contextlib
import importlib
from collections.abc import Sequence
from typing import Any, Final

from cython_ext.clock import Clock
from cython_ext.errors import ConfigError

from .chip import InputLine, OnEdge, OutputLine

BCM_MOST: Final = 27  # the header's highest GPIO


def bcm(name: str) -> int:
    """The BCM number of 'GPIO17' or '17'; ConfigError otherwise."""
    digits = name.upper().removeprefix("GPIO")
    if not digits.isdecimal() or int(digits) > BCM_MOST:
        raise ConfigError(f"line {name!r}: with chip = 'rpi' a line is GPIO0 to GPIO{BCM_MOST} (BCM numbers)")
    return int(digits)


class RpiChip:
    """Lines through the RPi.GPIO interface (contract: `chip.Chip`)."""

    real = True

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._gpio: Any = None
        self._outputs: dict[str, bool] = {}
        self._inputs: list[str] = []

    def require_names(self, lines: Sequence[str]) -> None:
        """See `chip.Chip`."""
        for line in lines:
            bcm(line)

    def locate(self, outputs: Sequence[OutputLine]) -> dict[str, Any]:
        """See `kept.RealChip`."""
        return {"kind": "rpi", "lines": {out.name: [bcm(out.name), out.rest] for out in outputs}}

    async def open(self, inputs: Sequence[InputLine], outputs: Sequence[OutputLine], on_edge: OnEdge) -> None:
        names = [one.name for one in inputs] + [one.name for one in outputs]
        numbers = {name: bcm(name) for name in names}
        try:
            gpio = importlib.import_module("RPi.GPIO")
        except (ImportError, RuntimeError) as error:
            raise OSError(
                f"the RPi.GPIO interface cannot be loaded ({error}): on a Pi install bucium[pi] (rpi-lgpio)"
            ) from None
        self._gpio = gpio
        loop = asyncio.get_running_loop()
        try:
            gpio.setwarnings(False)
            gpio.setmode(gpio.BCM)
            for line in outputs:
                gpio.setup(numbers[line.name], gpio.OUT, initial=gpio.HIGH if line.rest else gpio.LOW)
                self._outputs[line.name] = line.rest
            pulls = {"none": gpio.PUD_OFF, "up": gpio.PUD_UP, "down": gpio.PUD_DOWN}
            for one in inputs:
                gpio.setup(numbers[one.name], gpio.IN, pull_up_down=pulls[one.pull])
                self._inputs.append(one.name)

                def edge(number: int, name: str = one.name) -> None:
                    level = bool(gpio.input(number))
                    loop.call_soon_threadsafe(on_edge, name, level, self._clock.monotonic_ns())

                gpio.add_event_detect(numbers[one.name], gpio.BOTH, callback=edge)
        except (RuntimeError, ValueError) as error:
            await self.close()
            raise OSError(f"RPi.GPIO: {error}") from None

    async def close(self) -> None:
        if self._gpio is None:
            return
        for name, rest in self._outputs.items():
            with contextlib.suppress(RuntimeError):  # the board may be gone
                self._gpio.output(bcm(name), rest)
        names = [bcm(one) for one in (*self._outputs, *self._inputs)]
        if names:
            self._gpio.cleanup(names)
        self._outputs.clear()
        self._inputs.clear()
        self._gpio = None

    async def read(self, line: str) -> bool:
        if self._gpio is None:
            raise OSError("the lines are not open")
        try:
            return bool(self._gpio.input(bcm(line)))
        except RuntimeError as error:
            raise OSError(f"RPi.GPIO: {error}") from None

    async def write(self, line: str, high: bool) -> None:
        if self._gpio is None:
            raise OSError("the lines are not open")
        try:
            self._gpio.output(bcm(line), high)
        except RuntimeError as error:
            raise OSError(f"RPi.GPIO: {error}") from None
