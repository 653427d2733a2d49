"""What is seen of a siren's parts: mains, battery, charger, amplifier, door, rotation (issue 5, item 7).

A look that finds something worse than before is believed when the next one, a second later, says the same: one lost answer is
no fault. What has become good is believed at once. A part that says something only while the siren sounds (a rotor) is good
when it was seen to be once in an activation, bad when it never was though the siren sounded long enough; that stands until the
next. Sounding without mains is counted, so that the controller can tell what is left in the battery.
"""

from typing import Final

from cython_ext import NS_PER_S, Clock
from firmware_bridge.sirens.driver import SirenStatus, Supervised
from lanes import readiness
from lanes.readiness import Input, Seen
from lanes.reports import CHARGE_UNKNOWN, DRAWN_UNKNOWN, ON_BATTERY_MAX_S, SirenTrouble

LOOKED_AT: Final = SirenTrouble.UNREACHABLE | SirenTrouble.SUPERVISION | SirenTrouble.NOT_SEEN
POWERED: Final = frozenset({Seen.GOOD, Seen.WEAK})
MV_MAX: Final = 1_000_000


class Supervision:
    """One siren's. Until the first look all is unseen."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._points: dict[str, Seen] = {}
        self._turning: dict[str, Seen] = {}  # points that count only while it sounds
        self._turned: set[str] = set()  # of those, good in this activation
        self._looked = False
        self.trouble = SirenTrouble.NOT_SEEN
        self._battery_mv = 0
        self._charge = CHARGE_UNKNOWN
        self._lost_ns: int | None = None  # since when there is no mains
        self._known = False  # the mains have been seen since we began
        self._drawn_ns: int | None = 0  # sounded since then; None: it was away when we began

    @property
    def inputs(self) -> dict[Input, Seen]:
        """What is supervised, and how it is."""
        found: dict[Input, list[Seen]] = {}
        for name, seen in (self._points | self._turning).items():
            found.setdefault(readiness.input_of(name), []).append(seen)
        return {each: readiness.together(each, several) for each, several in found.items()}

    @property
    def turns(self) -> bool:
        """Whether a part is to be looked at while the siren sounds."""
        return bool(self._turning)

    def take(self, status: SirenStatus, *, again: bool = False) -> bool:
        """What a look has found. False: it is worse than before, and not yet believed: look again."""
        points = {name: _seen(one) for name, one in status.supervised.items() if not one.sounding}
        trouble = _trouble(status, points)
        if not again and (self._worse(points, trouble) or (trouble and not self._looked)):
            return False
        self._looked = True
        self._points, self.trouble = points, trouble
        for name, one in status.supervised.items():
            if one.sounding:
                self._turning.setdefault(name, Seen.GOOD)
        self._measure(status)
        self._follow_mains()
        return True

    def _worse(self, points: dict[str, Seen], trouble: SirenTrouble) -> bool:
        bad = any(seen > self._points.get(name, Seen.GOOD) for name, seen in points.items())
        return bad or bool(trouble & ~self.trouble)

    # While it sounds.

    def begins(self) -> None:
        """An activation begins."""
        self._turned.clear()

    def sounds(self, status: SirenStatus, *, late: bool) -> None:
        """A look while it should be heard. `late`: it has sounded long enough for every part to show."""
        for name, one in status.supervised.items():
            if not one.sounding:
                continue
            if one.good:
                self._turned.add(name)
            if name in self._turned:
                self._turning[name] = Seen.GOOD
            elif late:
                self._turning[name] = _seen(one)

    def sounded(self, sounded_ns: int) -> None:
        """An activation has ended, that was to be heard for so long."""
        if self._lost_ns is not None and self._drawn_ns is not None:
            self._drawn_ns += sounded_ns

    # For the state report.

    def row(self) -> tuple[int, int, int, int, int]:
        """Inputs, battery mV, charge %, seconds sounded and seconds since the mains went (lanes/reports.py)."""
        on_battery_s = 0
        if self._lost_ns is not None:
            on_battery_s = 1 + (self._clock.monotonic_ns() - self._lost_ns) // NS_PER_S
        drawn_s = DRAWN_UNKNOWN if self._drawn_ns is None else min(self._drawn_ns // NS_PER_S, DRAWN_UNKNOWN - 1)
        on_battery_s = min(on_battery_s, ON_BATTERY_MAX_S)
        return readiness.pack(self.inputs), self._battery_mv, self._charge, drawn_s, on_battery_s

    def _measure(self, status: SirenStatus) -> None:
        """Volts and percent of the battery, where its points are measured in them."""
        self._battery_mv, self._charge = 0, CHARGE_UNKNOWN
        for name, one in status.supervised.items():
            if readiness.input_of(name) is not Input.BATTERY or one.good is None:
                continue
            if one.unit == "V":
                self._battery_mv = round(min(max(one.reading.value * 1000, 0), MV_MAX))
            elif one.unit == "%":
                self._charge = round(min(max(one.reading.value, 0), 100))

    def _follow_mains(self) -> None:
        mains = self.inputs.get(Input.MAINS, Seen.ABSENT)
        if mains in POWERED:
            self._lost_ns, self._drawn_ns = None, 0
            self._known = True
        elif mains is Seen.BAD and self._lost_ns is None:
            self._lost_ns = self._clock.monotonic_ns()
            self._drawn_ns = 0 if self._known else None


def _seen(one: Supervised) -> Seen:
    if one.good is None:
        return Seen.UNSEEN
    return Seen.GOOD if one.good else Seen.BAD


def _trouble(status: SirenStatus, points: dict[str, Seen]) -> SirenTrouble:
    found = SirenTrouble.NONE
    if not status.reachable:
        found |= SirenTrouble.UNREACHABLE
    if Seen.BAD in points.values():
        found |= SirenTrouble.SUPERVISION
    if Seen.UNSEEN in points.values() or (status.proof is not None and status.proof.sounding is None):
        found |= SirenTrouble.NOT_SEEN
    return found
