"""Says the sirens' state at once when it has changed: the controller must see within 20 s what cannot sound (reliability.md I5).

What receipts tell (the stage, the order epoch) is not said twice, and a battery's figures only when they have moved a little.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from lanes.reports import SirenState

LOOK_S: Final = 1.0  # with a look each 10 s, and one more to be sure, still far within 20 s
CHARGE_STEP: Final = 5  # percent
VOLTAGE_STEP_MV: Final = 500
DRAWN_STEP_S: Final = 30


class Restating:
    """Runs until cancelled. `say` asks for a state report."""

    def __init__(self, states: Callable[[], Sequence[SirenState]], say: Callable[[], None]) -> None:
        self._states = states
        self._say = say

    async def run(self) -> None:
        said = self._key()
        while True:
            await asyncio.sleep(LOOK_S)
            now = self._key()
            if now != said:
                said = now
                self._say()

    def _key(self) -> list[Any]:
        return [
            (
                state.siren,
                state.trouble,
                state.inputs,
                round(state.battery_mv / VOLTAGE_STEP_MV),
                round(state.charge_percent / CHARGE_STEP),
                state.drawn_s // DRAWN_STEP_S,
            )
            for state in self._states()
        ]
