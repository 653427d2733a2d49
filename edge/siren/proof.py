"""Proof of sound: what was measured while the siren should be heard, and what that means (issue 5, item 6).

Counted is the time that it should have been heard, pauses left out, since it was last proven. A siren that the plan asks proof
of and that stays unproven for longer than its driver needs has failed to sound; one that need not prove itself is believed,
and reported as not measured.
"""

from dataclasses import dataclass
from typing import Final

from cython_ext import NS_PER_S
from firmware_bridge.sirens.driver import Proof

from .activation import Cue

SPARE_S: Final = 0.5  # one poll, and the time of a bus that has other work


@dataclass(frozen=True, slots=True)
class Finding:
    """What a measurement means. `reason`: a code of docs/receipts.md."""

    cue: Cue
    measured: bool
    reason: str = ""


class Watch:
    """One activation's proof. `measured`: it was proven at least once."""

    def __init__(self, *, required: bool, can_prove: bool, within_s: float) -> None:
        self._required = required
        self._can_prove = can_prove
        self._within_ns = round((within_s + SPARE_S) * NS_PER_S)
        self._proven_ns = 0  # of the time heard: when it was last proven
        self._told: Cue | None = None
        self.measured = False

    def judge(self, sounded_ns: int, proof: Proof | None, *, started: bool, failing: str) -> Finding | None:
        """What is new after the siren should have been heard for `sounded_ns`; None: nothing is."""
        if proof is not None and proof.sounding:
            self._proven_ns = sounded_ns
            first, self.measured = not self.measured, True
            if first or self._told is not Cue.HEARD:
                return self._tell(Finding(Cue.HEARD, True, "measured"))
            return None
        late = sounded_ns - self._proven_ns > self._within_ns
        if self._required:
            if not self._can_prove and started:
                return self._once(Finding(Cue.SILENT, False, "no-feedback"))
            return self._once(Finding(Cue.SILENT, False, _why(proof, failing))) if late else None
        if started and not self._can_prove:
            return self._once(Finding(Cue.HEARD, False, "not-measured"))
        if late and self._told is None:
            return self._tell(
                Finding(Cue.HEARD, False, "unproven") if started else Finding(Cue.SILENT, False, "driver")
            )
        return None

    def _once(self, finding: Finding) -> Finding | None:
        return None if self._told is finding.cue else self._tell(finding)

    def _tell(self, finding: Finding) -> Finding:
        self._told = finding.cue
        return finding


def _why(proof: Proof | None, failing: str) -> str:
    if failing:
        return "driver"
    return "no-sound" if proof is not None and proof.sounding is False else "not-seen"
