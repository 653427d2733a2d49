"""A siren controller on Modbus, driven by the [siren] table of its profile: arm, act, verify, report."""

import asyncio
from collections.abc import Mapping, Sequence

from cython_ext.clock import Clock
from cython_ext.model import NS_PER_S
from firmware_bridge.driver import Device, Outcome
from firmware_bridge.profile import Act, SirenProfile

from .base import BaseSiren, Watched, worst
from .mode import Mode

TRIES = 2


class ControllerSiren(BaseSiren):
    """Contract: `driver.Siren`. Arms by itself before each act whose arming has run out."""

    def __init__(
        self,
        name: str,
        device: Device,
        procedure: SirenProfile,
        feedback: Watched | None,
        proof_within_s: float,
        supervision: Mapping[str, Watched],
        clock: Clock,
    ) -> None:
        super().__init__(name, device, frozenset(procedure.modes), feedback, proof_within_s, supervision, clock)
        self.can_quiet_test = bool(procedure.quiet_test)
        self._procedure = procedure
        self._armed_ns: int | None = None

    async def arm(self) -> Outcome:
        async with self._one_act:
            return await self._arm()

    async def _arm(self) -> Outcome:
        outcome = await self._all(self._procedure.arm)
        self._armed_ns = outcome.at_ns if outcome.ok else None
        return outcome

    async def _sound(self, mode: Mode, hold_s: float, voice: int) -> Outcome:
        del hold_s  # such a controller has no timer for it: the dead man's timer of this process stands in
        window_ns = int(self._procedure.arm_window_s * NS_PER_S)
        now_ns = self._clock.monotonic_ns()
        if self._armed_ns is None or (window_ns and now_ns - self._armed_ns >= window_ns):
            armed = await self._arm()
            if not armed.ok:
                return Outcome(False, f"not armed: {armed.reason}", armed.at_ns)
        return await self._all(self._procedure.modes[mode], voice)

    async def _silence(self) -> Outcome:
        self._armed_ns = None
        outcomes = []
        for act in self._procedure.off:
            for _ in range(TRIES):
                outcome = await self._write(act.point, act.value or 0)
                if outcome.ok:
                    break
            outcomes.append(outcome)
        return worst(outcomes, self._clock.monotonic_ns())

    async def _drive_quietly(self) -> Outcome:
        outcome = await self._all(self._procedure.quiet_test)
        if outcome.ok and self.can_quiet_test:
            await asyncio.sleep(self._procedure.quiet_test_s)
        return outcome

    async def _all(self, acts: Sequence[Act], voice: int = 0) -> Outcome:
        """The acts in order, up to the first that fails."""
        for act in acts:
            outcome = await self._write(act.point, voice if act.value is None else act.value)
            if not outcome.ok:
                return outcome
        return Outcome(True, at_ns=self._clock.monotonic_ns())
