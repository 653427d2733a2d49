"""A pattern in time: when a siren is switched on and off, to ± 50 ms, on the monotonic clock (design §2.4; issue 5, item 4).

Every deadline counts from the first one, so that what one switch costs does not shift the next. What a driver cannot do at its
time is tried again until the blast is over. Nothing here ends a siren's sound for certain: the caller switches off whatever
happens, a guard does it again at the limit, and each `start` carries a dead man's time.
"""

import asyncio
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from cython_ext import NS_PER_S, Clock, ConfigError
from firmware_bridge.sirens.driver import DEAD_MAN_S, Siren
from firmware_bridge.sirens.mode import Mode
from lanes.orders import SOUND_MAX_S
from lanes.plan import Pattern
from lanes.sounding import CONTINUOUS_MAX_S

RETRY_S: Final = 0.25  # after a switch that failed; a Modbus answer takes up to 0.2 s


@dataclass(frozen=True, slots=True)
class Blast:
    """Sound without a pause, in one mode; seconds from the pattern's first sound."""

    at_s: float
    until_s: float
    mode: Mode


def blasts(pattern: Pattern, limit_s: float) -> tuple[Blast, ...]:
    """The pattern as blasts, cut at `limit_s`. ConfigError beyond 900 s in all or 300 s without a pause."""
    found: list[Blast] = []
    now_s = 0.0
    for segment in pattern.segments:
        for _ in range(segment.repeat):
            mode = Mode(segment.mode)
            if found and found[-1].until_s == now_s and found[-1].mode is mode:
                found[-1] = Blast(found[-1].at_s, now_s + segment.on_s, mode)
            else:
                found.append(Blast(now_s, now_s + segment.on_s, mode))
            now_s += segment.on_s + segment.off_s
    run_s = max(_runs(found))
    if found[-1].until_s > SOUND_MAX_S or run_s > CONTINUOUS_MAX_S:
        raise ConfigError(
            f"pattern {pattern.id!r} lasts {found[-1].until_s:g} s, {run_s:g} s of them without a pause: "
            f"at most {SOUND_MAX_S} s and {CONTINUOUS_MAX_S:g} s"
        )
    return tuple(Blast(b.at_s, min(b.until_s, limit_s), b.mode) for b in found if b.at_s < limit_s)


def _runs(found: list[Blast]) -> list[float]:
    """The length of each sound without a pause, whatever its modes."""
    runs = [found[0].until_s - found[0].at_s]
    for before, after in pairwise(found):
        length_s = after.until_s - after.at_s
        runs.append(runs[-1] + length_s if after.at_s == before.until_s else length_s)
    return runs


class Player:
    """Plays blasts on one siren. `started`: the driver has once said that it sounds; `failing`: why it last did not."""

    def __init__(self, driver: Siren, clock: Clock) -> None:
        self._driver = driver
        self._clock = clock
        self._on_ns: int | None = None  # since when it is on
        self._past_ns = 0  # how long it was on before that
        self.started = False
        self.failing = ""
        self.missed = 0  # blasts that the driver could not begin at all

    @property
    def on(self) -> bool:
        """Whether it should sound now."""
        return self._on_ns is not None

    def sounded_ns(self) -> int:
        """For how long it should have been heard until now; pauses do not count."""
        return self._past_ns + (self._clock.monotonic_ns() - self._on_ns if self._on_ns is not None else 0)

    async def play(self, played: tuple[Blast, ...], began_ns: int) -> None:
        """All blasts, the first at `began_ns`. Voice is left out where the siren has none."""
        heard = [b for b in played if b.mode is not Mode.VOICE or Mode.VOICE in self._driver.modes]
        for number, blast in enumerate(heard):
            await until(self._clock, began_ns + round(blast.at_s * NS_PER_S))
            end_ns = began_ns + round(blast.until_s * NS_PER_S)
            self._mark(on=True)
            await self._start(blast.mode, end_ns)
            await until(self._clock, end_ns)
            goes_on = number + 1 < len(heard) and heard[number + 1].at_s == blast.until_s
            if not goes_on:
                self._mark(on=False)
                await self._driver.off()  # not confirmed: the dead man's time ends it, and the next off is tried again

    async def _start(self, mode: Mode, end_ns: int) -> None:
        """On; what fails is tried again until the blast is over."""
        while (left_s := (end_ns - self._clock.monotonic_ns()) / NS_PER_S) > 0:
            outcome = await self._driver.start(mode, min(left_s + DEAD_MAN_S, CONTINUOUS_MAX_S))
            if outcome.ok:
                self.started, self.failing = True, ""
                return
            self.failing = outcome.reason or "driver"
            await until(self._clock, min(end_ns, self._clock.monotonic_ns() + round(RETRY_S * NS_PER_S)))
        self.missed += 1

    def _mark(self, *, on: bool) -> None:
        now_ns = self._clock.monotonic_ns()
        if self._on_ns is not None:
            self._past_ns += now_ns - self._on_ns
        self._on_ns = now_ns if on else None


async def until(clock: Clock, at_ns: int) -> None:
    """Wait for this monotonic time; a sleep that ends early is slept again."""
    while (left_ns := at_ns - clock.monotonic_ns()) > 0:  # noqa: ASYNC110 - time is what is waited for
        await asyncio.sleep(left_ns / NS_PER_S)
