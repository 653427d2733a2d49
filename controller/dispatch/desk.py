"""The desk: relay contacts, buzzers and lamps, through the program that has their relays (`bucium alarm lamps`, desk.toml).

The controller never touches hardware, so it says a message to that program over a Unix socket. The program closes the contacts
that are for messages, and answers when their relays have taken it, by their read-back where they have one: that answer is the
receipt. It knows identifiers, so what is said twice closes nothing twice. A program that is not there, or a relay that does not
pull, is a channel that fails, as every other: the message is kept, tried for ever, and given to the second channel.

Only what asks for a person closes a contact: a raise, a rise, the end of a mute, a call that nobody answered, a siren that failed
or that nobody ordered. The rest has nothing to show here, nor has a test, nor what is muted.
"""

import asyncio
import json
from typing import Any, Final

from lanes import control
from lanes.keys import Mode

from . import Answer, Message, TroubleSink
from .settings import DeskSettings

ASKS: Final = frozenset({"raised", "escalated", "released", "call-stuck", "siren-failed", "siren-unordered"})
NOTHING: Final = "nothing-to-show"
ASK_EVERY_S: Final = 30.0  # supervision; told after the second silence, since the program may have begun again
SILENT: Final = "desk-silent"
_TEST: Final = f"{int(Mode.TEST)}:"  # begins the outbox's key of what is only a test


class Desk:
    """One desk program."""

    def __init__(self, settings: DeskSettings) -> None:
        self._settings = settings

    @property
    def name(self) -> str:
        return self._settings.name

    @property
    def expires(self) -> bool:
        """A contact that closes now for what was yesterday misleads."""
        return True

    def wants(self, *, cap: bool) -> bool:
        del cap
        return True

    async def deliver(self, message: Message) -> Answer:
        said: dict[str, Any] = json.loads(message.summary)
        asks = said["kind"] in ASKS and not said.get("renewed") and not said.get("muted")
        if not asks or message.alarm.startswith(_TEST):
            return Answer(True, NOTHING)
        try:
            found = await self._ask("desk.tell", identifier=message.identifier, level=int(said.get("level") or 0))
            closed, repeated = len(found["closed"]), bool(found["repeated"])
        except control.ControlError as error:
            return Answer(False, error.code)
        except (KeyError, TypeError):
            return Answer(False, "malformed")
        if not closed:
            return Answer(True, NOTHING)
        return Answer(True, "closed already" if repeated else f"closed: {closed}")

    async def supervise(self, trouble: TroubleSink) -> None:
        """Ask whether the program is there and every relay obeys it, until cancelled."""
        trouble(SILENT, False, self.name)
        before, told = False, False
        while True:
            silent = not await self._well()
            if (silent and before) is not told:
                told = silent and before
                trouble(SILENT, told, self.name)
            before = silent
            await asyncio.sleep(ASK_EVERY_S)

    async def _well(self) -> bool:
        try:
            found = await self._ask("desk.status")
            return not found["broken"]
        except (control.ControlError, KeyError, TypeError):
            return False

    async def _ask(self, verb: str, **args: Any) -> Any:
        return await control.call(self._settings.socket, verb, timeout_s=self._settings.timeout_s, **args)

    async def close(self) -> None:
        """Nothing is held open."""
