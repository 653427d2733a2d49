"""Which units are worth asking: a circuit breaker for each, and one probe at a time for all the dead. Pure.

A unit that was silent `dead_after` times in a row is dead: it is not asked, except that in each `probe_ns` one dead
unit, the one that has waited longest, is asked once. So the live units lose at most one time-out in each probe period,
however many are dead. A probe that is answered lets the next follow at once: when a whole line comes back, all its units
are found in one round. Any answer, an exception too, closes the circuit.

An RTU answer that comes after its time-out looks like the answer to the next question. So a unit that was silent is
left alone for `quiet_ns` (others go on); what arrives then is dropped. A device whose answers take longer than twice
`timeout_s` needs a longer `timeout_s`.
"""

from dataclasses import dataclass
from enum import Enum, auto


class Verdict(Enum):
    """Whether a unit may be asked now."""

    ASK = auto()
    DEAD = auto()  # its circuit is open, and it is not its turn to be probed
    SETTLING = auto()  # it was silent a moment ago


@dataclass(slots=True)
class _Unit:
    silences: int = 0
    quiet_until_ns: int = 0


class Breaker:
    """The units of one bus. Times are monotonic nanoseconds."""

    def __init__(self, dead_after: int, probe_ns: int, quiet_ns: int) -> None:
        self._dead_after = dead_after
        self._probe_ns = probe_ns
        self._quiet_ns = quiet_ns
        self._units: dict[int, _Unit] = {}  # at most 256
        self._queue: list[int] = []  # the dead that wait for their probe
        self._probed_ns: int | None = None

    def may(self, unit: int, now_ns: int) -> Verdict:
        """Whether to ask `unit` now."""
        state = self._units.get(unit)
        if state is None or state.silences == 0:
            return Verdict.ASK
        if now_ns < state.quiet_until_ns:
            return Verdict.SETTLING
        if state.silences < self._dead_after:
            return Verdict.ASK
        return Verdict.ASK if self._turn(unit, now_ns) else Verdict.DEAD

    def _turn(self, unit: int, now_ns: int) -> bool:
        """Whether it is this dead unit's turn to be probed; it stands in the queue afterwards otherwise."""
        if unit not in self._queue:
            self._queue.append(unit)
        waited_ns = self._probe_ns * 2 if self._probed_ns is None else now_ns - self._probed_ns
        if waited_ns < self._probe_ns:
            return False
        if self._queue[0] != unit and waited_ns < 2 * self._probe_ns:  # after that, the first is not polled any more
            return False
        self._queue.remove(unit)
        self._probed_ns = now_ns
        return True

    def answered(self, unit: int) -> None:
        if unit in self.dead:
            self._probed_ns = None  # back, perhaps with the whole line: the next may be probed at once
        self._units[unit] = _Unit()
        if unit in self._queue:
            self._queue.remove(unit)

    def silent(self, unit: int, now_ns: int) -> None:
        state = self._units.setdefault(unit, _Unit())
        state.silences += 1
        state.quiet_until_ns = now_ns + self._quiet_ns

    @property
    def dead(self) -> tuple[int, ...]:
        return tuple(sorted(unit for unit, one in self._units.items() if one.silences >= self._dead_after))
