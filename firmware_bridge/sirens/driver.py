"""What a siren is to the edge: arm, act, verify, report.

The pattern is the edge's: it calls `start` for each sounding segment and `off` at its end. `hold_s` is how long the
segment may last at the very most, a dead man's handle, `DEAD_MAN_S` more than the segment. Something that outlives this process
and its bus must keep it: the relay's own timer, the relay keeper, or a sound of a length that is programmed into the siren. What
nothing would end is not begun: `can_sound`.
An act that is not ok may have happened all the same (the answer was lost): call `off`, then `measure`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from firmware_bridge.driver import Outcome, Reading

from .mode import Mode

END_S: Final = 1.0  # how long after its segment a sound may last when all else is dead: off ≤ 1 s after the maximum
DEAD_MAN_S: Final = 0.5  # of that, what a timer that is told is given; the rest is the bus's and the timer's own


@dataclass(frozen=True, slots=True)
class Proof:
    """What was measured. `sounding` is None when the measurement itself failed; `source` says what was looked at."""

    sounding: bool | None
    source: str  # device/channel
    at_ns: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Supervised:
    """One supervised point: `good` is None when it could not be read. `sounding`: it counts only while the siren sounds."""

    good: bool | None
    reading: Reading
    unit: str = ""
    sounding: bool = False


@dataclass(frozen=True, slots=True)
class SirenStatus:
    """Whether it could sound now, as far as can be seen."""

    reachable: bool
    proof: Proof | None
    supervised: Mapping[str, Supervised] = field(default_factory=dict)


class Siren(Protocol):
    """A siren on its device.

    `proof_within_s`: how soon after start the proof must be there. `hears`: its proof follows the sound and ends with it, as a
    contact does; a controller's register may say only that it has sounded.
    """

    id: str
    real: bool
    modes: frozenset[Mode]
    can_prove: bool
    can_quiet_test: bool
    hears: bool
    proof_within_s: float

    def can_sound(self, mode: Mode, sound_s: float) -> bool:
        """Whether it has `mode`, and a sound of `sound_s` would end ≤ END_S after that, were everything else dead."""

    def own_end_s(self, mode: Mode, sound_s: float) -> float | None:
        """When a sound of that length ends by the length programmed into the siren; None: by a timer that is told each time."""

    async def open(self) -> None:
        """Off, whatever was before."""

    async def close(self) -> None:
        """Off, and no timers left."""

    async def arm(self) -> Outcome:
        """Ready to act. Ok at once for sirens that need no arming."""

    async def start(self, mode: Mode, hold_s: float) -> Outcome:
        """Sound in `mode`, `hold_s` (≤ 300 s) at most. ConfigError for a mode that this siren has not.

        Not ok, and nothing done, where no sound of it would end in time.
        """

    async def off(self) -> Outcome:
        """Silence: every way to it is tried, twice. Idempotent. Ok when all were confirmed."""

    async def measure(self) -> Proof | None:
        """Whether it sounds, by its feedback or its own registers; None when it has neither."""

    async def quiet_test(self) -> Outcome:
        """Test without sound: the siren's own silent test, then (or only, where it has none) a look at the whole chain.

        Not ok with the first thing that is wrong as its reason: `unreachable`, `driver`, `not-seen`, `sounding`, or the
        name of a supervised point.
        """

    async def status(self) -> SirenStatus:
        """What can be seen now. Points that count only while it sounds are read all the same."""
