"""Posts signed CAP to another centre's HTTP endpoint. The message is its own proof: the XML signature says from whom it is."""

from typing import Final

from lanes.store import Runner, run_here

from . import Answer, Message
from .http import Trust
from .post import Poster
from .settings import CapPushSettings

CONTENT: Final = {"content-type": "application/cap+xml"}


class CapPush:
    """One endpoint."""

    def __init__(self, settings: CapPushSettings, runner: Runner = run_here) -> None:
        self._settings = settings
        trust = Trust(settings.ca, settings.certificate, settings.key)
        self._poster = Poster(
            settings.url,
            timeout_s=settings.timeout_s,
            trust=trust,
            what=f"[[dispatch]] {settings.name!r}",
            runner=runner,
        )

    @property
    def name(self) -> str:
        return self._settings.name

    @property
    def expires(self) -> bool:
        return True

    def wants(self, *, cap: bool) -> bool:
        return cap

    async def deliver(self, message: Message) -> Answer:
        assert message.cap is not None, "it wants nothing else"
        return await self._poster.post(message.cap, CONTENT)

    async def close(self) -> None:
        await self._poster.close()
