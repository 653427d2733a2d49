"""The Federal Signal Informer's behaviour: arm, act, activation detected, cancel (domain.md §2.4 K).

- A tone or a voice message sounds only while the controller is armed; arming lasts `arm_window_s`.
- A function sounds what is programmed into it (`program`), armed or not, and ends by itself after its length.
- Each new function resets 'activation detected'; a sound that really sounds sets it again after `DETECT_S`.
- A tone ends with cancel, disarm or master reset, or by itself after `TONE_S`. A quiet test makes no sound.
It can fail on cue: "deaf" (neither arms nor runs a function), "mute" (accepts, but nothing sounds and nothing is detected),
"stuck" (does not stop on cancel; the sound's own end still comes), "endless" (no sound ends by itself).
"""

import asyncio
from typing import Final

from cython_ext.clock import Clock
from cython_ext.errors import ConfigError
from cython_ext.model import NS_PER_S

from .device import SimulatedDevice

DETECT_S: Final = 0.2  # our choice: the manual does not say how soon
TONE_S: Final = 180.0  # our choice: how long a tone sounds that nobody cancels
VOICE_S: Final = 10.0
FAILURES: Final = ("", "deaf", "mute", "stuck", "endless")


class Informer:
    """Contract: `device.Behaviour`."""

    def __init__(self, device: SimulatedDevice, clock: Clock) -> None:
        self._device = device
        self._clock = clock
        self._failure = ""
        self._armed_ns: int | None = None
        self._playing = ""
        self._timers: list[asyncio.TimerHandle] = []
        self._functions: dict[int, tuple[str, float]] = {}
        siren = device.profile.siren
        self._window_ns = int((siren.arm_window_s if siren else 0.0) * NS_PER_S)
        self._tones = {value: name for name, value in device.profile.write["tone"].values.items()}
        self._utilities = {value: name for name, value in device.profile.write["utility"].values.items()}

    def program(self, code: int, tone: str, length_s: float) -> None:
        """What its program gives a function: the tone that it plays, and for how long."""
        self._functions[code] = (tone, length_s)

    @property
    def armed(self) -> bool:
        if self._armed_ns is None:
            return False
        return not self._window_ns or self._clock.monotonic_ns() - self._armed_ns < self._window_ns

    def wrote(self, point: str, value: int) -> None:
        if point == "utility":
            self._utility(self._utilities[value])
        elif point in ("tone", "voice"):
            self._detected(False)
            if self.armed:
                self._play(
                    self._tones[value] if point == "tone" else f"voice-{value}", VOICE_S if point == "voice" else TONE_S
                )
        elif point == "run":
            self._run(value)
        elif point.startswith("run-") and value:
            self._run(int(point.removeprefix("run-")))

    def _run(self, code: int) -> None:
        self._detected(False)
        if code in self._functions and self._failure != "deaf":
            self._play(*self._functions[code])

    def fail(self, how: str) -> None:
        if how not in FAILURES:
            raise ConfigError(f"an Informer fails as {', '.join(FAILURES[1:])}, not as {how!r}")
        self._failure = how

    def stop(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def _utility(self, name: str) -> None:
        self._detected(False)
        if name == "arm":
            self._armed_ns = None if self._failure == "deaf" else self._clock.monotonic_ns()
        elif name in ("disarm", "master-reset", "cancel"):
            if name != "cancel":
                self._armed_ns = None
            if self._failure != "stuck":
                self._end("bus")

    def _play(self, name: str, length_s: float) -> None:
        self._end("bus")
        if self._failure == "mute":
            return
        self._playing = name
        self._device.sound(name, True, "bus")
        loop = asyncio.get_running_loop()
        self._timers = [loop.call_later(DETECT_S, self._detected, True)]
        if self._failure != "endless":
            self._timers.append(loop.call_later(length_s, self._end, "timer"))

    def _end(self, by: str) -> None:
        self.stop()
        if self._playing:
            self._device.sound(self._playing, False, by)
            self._playing = ""

    def _detected(self, on: bool) -> None:
        self._device.memory.set("activation", float(on))
