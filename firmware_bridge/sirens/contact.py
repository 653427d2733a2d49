"""A siren behind contacts: relays on this board, or coils of a relay board on Modbus.

Where the relay has a timer of its own (Waveshare: FC05 with the time as its value), `start` sets it to `hold_s`, so the
siren falls silent even when the node and its bus die. A line of this board is held by the relay keeper. A plain coil has neither:
then a time relay behind it must end each sound (`sound`, own_end_s), or it is not begun.
"""

from collections.abc import Mapping

from cython_ext.clock import Clock
from firmware_bridge.driver import Device, Outcome, Priority
from firmware_bridge.settings import SoundSettings

from .base import BaseSiren, Watched, worst
from .mode import Mode

TRIES = 2  # off: a single lost answer must not leave the outcome open


class ContactSiren(BaseSiren):
    """Contract: `driver.Siren`. `contacts`: mode → point of `device`."""

    def __init__(
        self,
        name: str,
        device: Device,
        contacts: Mapping[Mode, str],
        feedback: Watched | None,
        proof_within_s: float,
        supervision: Mapping[str, Watched],
        clock: Clock,
        sounds: tuple[SoundSettings, ...] = (),
    ) -> None:
        super().__init__(name, device, frozenset(contacts), feedback, proof_within_s, supervision, clock, sounds)
        self._contacts = contacts

    def _told(self, mode: Mode) -> bool:
        return self._device.ends_alone(self._contacts[mode])

    async def _sound(self, mode: Mode, hold_s: float) -> Outcome:
        point = self._contacts[mode]
        others = [one for one in dict.fromkeys(self._contacts.values()) if one != point]
        released = [await self._write(one, 0) for one in others]
        if self._device.has_timer(point):
            outcome = await self._device.pulse(point, hold_s, priority=Priority.SIREN)
        else:
            outcome = await self._write(point, 1)
        return worst([outcome, *released], self._clock.monotonic_ns())

    async def _silence(self) -> Outcome:
        outcomes = []
        for point in dict.fromkeys(self._contacts.values()):
            for _ in range(TRIES):
                outcome = await self._write(point, 0)
                if outcome.ok:
                    break
            outcomes.append(outcome)
        return worst(outcomes, self._clock.monotonic_ns())
