"""A siren controller on Modbus, driven by the [siren] table of its profile: arm, act, verify, report.

Such a map starts a sound and has no time for it. So the configuration names the sounds whose length is programmed into the
controller (`sound`, own_end_s), and only these are begun: the siren falls silent though node and bus are dead. OFF is written at
the end of each all the same.
"""

import asyncio
from collections.abc import Mapping, Sequence

from cython_ext.clock import Clock
from cython_ext.model import NS_PER_S
from firmware_bridge.driver import Device, Outcome
from firmware_bridge.profile import Act, SirenProfile
from firmware_bridge.settings import SoundSettings

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
        sounds: tuple[SoundSettings, ...] = (),
    ) -> None:
        modes = frozenset(one.mode for one in sounds)
        super().__init__(name, device, modes, feedback, proof_within_s, supervision, clock, sounds)
        own = procedure.proof
        own_word = own is not None and feedback == Watched(device, own.channel, own.good)
        self.hears = feedback is not None and not own_word
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

    def _told(self, mode: Mode) -> bool:
        return False

    async def _sound(self, mode: Mode, hold_s: float) -> Outcome:
        sound = self._ending(mode, hold_s)
        assert sound is not None, "start has looked"
        window_ns = int(self._procedure.arm_window_s * NS_PER_S)
        now_ns = self._clock.monotonic_ns()
        if self._armed_ns is None or (window_ns and now_ns - self._armed_ns >= window_ns):
            armed = await self._arm()
            if not armed.ok:
                return Outcome(False, f"not armed: {armed.reason}", armed.at_ns)
        if sound.function is not None:
            return await self._all(self._procedure.run, sound.function)
        return await self._all(self._procedure.modes[mode], sound.message or 0)

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

    async def _all(self, acts: Sequence[Act], number: int = 0) -> Outcome:
        """The acts in order, up to the first that fails."""
        for act in acts:
            outcome = await self._write(act.point, number if act.value is None else act.value)
            if not outcome.ok:
                return outcome
        return Outcome(True, at_ns=self._clock.monotonic_ns())
