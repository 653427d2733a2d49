"""The person at the dispatch centre: acknowledges what the controller shows, and releases latches once a danger is over.

She goes the way that every person goes: the control socket, with her own key. An acknowledgement stops no siren.
"""

import asyncio
from pathlib import Path
from typing import Any, Final

from bucium.demo.happening import Teller
from bucium.people import Person
from cython_ext import Clock, Level
from lanes.acts import ResetAlarm
from lanes.control import ControlError, ask
from lanes.identity import AlarmId

LOOK_S: Final = 1.0
READS_US: Final = 6_000_000  # how long she looks at a change before she acknowledges it
LATCHED: Final = "latched-acknowledged"


class Dispatcher:
    """Looks at the alarm list once a second."""

    def __init__(self, socket: Path, key: Path, clock: Clock, teller: Teller) -> None:
        self._socket = socket
        self._key = key
        self._clock = clock
        self._teller = teller
        self._person: Person | None = None
        self.open = False  # an alarm is still to be dealt with

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Do what is due now. A controller that refuses is told, not argued with."""
        try:
            alarms: list[dict[str, Any]] = await asyncio.to_thread(ask, self._socket, "alarm.list")
            for alarm in alarms:
                await self._tend(alarm)
        except ControlError as error:
            self._teller.tell("trouble", f"the dispatcher: {error}", node="", code=error.code, on=True)
            return
        self.open = any(alarm["state"] != "normal" for alarm in alarms)

    async def _tend(self, alarm: dict[str, Any]) -> None:
        over = alarm["level"] == Level.NORMAL
        waited_us = self._clock.wall_us() - alarm["changed_us"]
        if alarm["unseen"] and (over or (alarm["level"] >= Level.ALARM and waited_us >= READS_US)):
            await self._say("alarm.ack", alarm)
        elif alarm["state"] == LATCHED:
            await self._say("alarm.reset", alarm)

    async def _say(self, verb: str, alarm: dict[str, Any]) -> None:
        if self._person is None:
            self._person = await asyncio.to_thread(Person, self._socket, self._key, self._clock)
        person = self._person
        if verb == "alarm.ack":
            answer = await asyncio.to_thread(person.acknowledge, alarm["alarm"])
            text = f"{person.id} acknowledges the {alarm['hazard']} in {alarm['zone']}: {answer['state']}"
        else:
            answer = await asyncio.to_thread(person.do, ResetAlarm(AlarmId.parse(alarm["alarm"])))
            text = f"{person.id} resets the {alarm['hazard']} in {alarm['zone']}: {answer['state']}"
        self._teller.tell("act", text, person=person.id, verb=verb, alarm=alarm["alarm"], state=answer["state"])
