"""The relay keeper: a program of its own that holds the node's output lines, so that a relay lets go though the node hangs.

A node that is killed is taken care of by the kernel; one that stands still (stopped, swapped out, caught in a library) would keep
its relay closed until somebody kills it. This program does one thing: it sets lines as it is told, each no longer than it is
told, and all to rest when nobody tells it any more. It imports nothing of ours, and is run by `kept.KeptChip`:

    argument   {"kind": "gpiod", "lines": {name: [path, offset, rest]}}  or  {"kind": "rpi", "lines": {name: [number, rest]}}
    in         NUMBER NAME LEVEL HOLD_MS     one a line; HOLD_MS 0: until told otherwise
    out        NUMBER ok, or NUMBER and what went wrong; 0 when the lines are taken
"""

import importlib
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any, Final

AGAIN_S: Final = 0.25  # a line that could not be set to rest


class Lines:
    """The outputs, each with the timer that ends it. `put` sets one line; OSError or RuntimeError when it cannot."""

    def __init__(self, rest: dict[str, bool], put: Callable[[str, bool], None]) -> None:
        self._rest = rest
        self._put = put
        self._timers: dict[str, threading.Timer] = {}
        self._lock = threading.Lock()

    def set(self, name: str, high: bool, hold_ms: int) -> None:
        """Set it now; to rest after `hold_ms`, unless it is set again before."""
        with self._lock:
            timer = self._timers.pop(name, None)
            if timer is not None:
                timer.cancel()
            self._put(name, high)
            if hold_ms:
                self._start(name, hold_ms / 1000)

    def _start(self, name: str, after_s: float) -> None:
        timer = threading.Timer(after_s, lambda: self._expire(name, timer))
        timer.daemon = True
        self._timers[name] = timer
        timer.start()

    def _expire(self, name: str, timer: threading.Timer) -> None:
        with self._lock:
            if self._timers.get(name) is not timer:
                return  # it was set again while this waited for the lock
            try:
                self._put(name, self._rest[name])
            except (OSError, RuntimeError):
                self._start(name, AGAIN_S)
            else:
                del self._timers[name]

    def rest(self) -> None:
        """All of them, as well as it goes: then the kernel lets go of them."""
        with self._lock:
            for name, level in self._rest.items():
                try:
                    self._put(name, level)
                except (OSError, RuntimeError) as error:
                    sys.stderr.write(f"relay keeper: {name}: {error}\n")


def take_gpiod(lines: dict[str, list[Any]]) -> Lines:
    """Lines of the kernel, by chip and offset."""
    import gpiod
    from gpiod.line import Direction, Value

    value = {True: Value.ACTIVE, False: Value.INACTIVE}
    requests: dict[str, gpiod.LineRequest] = {}
    for path in dict.fromkeys(path for path, _, _ in lines.values()):
        config: dict[Iterable[int | str] | int | str, gpiod.LineSettings | None] = {
            offset: gpiod.LineSettings(direction=Direction.OUTPUT, output_value=value[rest])
            for of, offset, rest in lines.values()
            if of == path
        }
        requests[path] = gpiod.request_lines(path, config, consumer="bucium")
    where = {name: (requests[path], offset) for name, (path, offset, _) in lines.items()}

    def put(name: str, high: bool) -> None:
        request, offset = where[name]
        request.set_value(offset, value[high])

    return Lines({name: rest for name, (_, _, rest) in lines.items()}, put)


def take_rpi(lines: dict[str, list[Any]]) -> Lines:
    """Lines of the RPi.GPIO interface, by BCM number."""
    gpio = importlib.import_module("RPi.GPIO")
    gpio.setwarnings(False)
    gpio.setmode(gpio.BCM)
    for number, rest in lines.values():
        gpio.setup(number, gpio.OUT, initial=gpio.HIGH if rest else gpio.LOW)
    numbers = {name: number for name, (number, _) in lines.items()}
    return Lines({name: rest for name, (_, rest) in lines.items()}, lambda name, high: gpio.output(numbers[name], high))


def say(number: int | str, what: object) -> None:
    """One line of answer, at once."""
    text = "ok" if what == "" else f"{type(what).__name__}: {what}".splitlines()[0]
    sys.stdout.write(f"{number} {text}\n")
    sys.stdout.flush()


def main(argument: str) -> int:
    """Serve until the input ends: whoever began us has gone."""
    for each in (signal.SIGTERM, signal.SIGINT):  # of the whole group, at the node's own end: its relays come first
        signal.signal(each, signal.SIG_IGN)
    said = json.loads(argument)
    try:
        lines = (take_gpiod if said["kind"] == "gpiod" else take_rpi)(said["lines"])
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        say(0, error)
        return 1
    try:
        say(0, "")
        for request in sys.stdin:
            number, name, high, hold_ms = request.split()
            try:
                lines.set(name, high == "1", int(hold_ms))
            except (OSError, RuntimeError) as error:
                say(number, error)
            else:
                say(number, "")
    except BrokenPipeError:
        pass  # as the end of the input
    finally:
        lines.rest()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
