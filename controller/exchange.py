"""What goes between centres over HTTP, wired: the listener and its door, the feed, the pollers, and the certificates' ends."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from lanes.store import Runner

from .config import Ready
from .dispatch import Channel
from .dispatch.feed import Feed
from .door import Door
from .heeding import Heeding
from .inbound.poller import Poller
from .listener import Listener
from .receiving import ENDING_US, Receiving, sources_of
from .refusals import Refusals
from .room import Room

LOOK_S: Final = 60.0


class Exchange:
    """Binds the listener at once: ConfigError when that cannot be, or when a certificate cannot be used."""

    def __init__(
        self,
        ready: Ready,
        room: Room,
        heeding: Heeding,
        refusals: Refusals,
        channels: Sequence[Channel],
        *,
        others: Callable[[str], Runner],
    ) -> None:
        config = ready.local.config
        self._room = room
        self._signer = ready.signer
        self.receiving = Receiving(
            room,
            heeding,
            refusals,
            sources_of(config.sources),
            runner=others("cap") if config.sources else others("files"),
        )
        self.pollers = {
            each.name: Poller(each, take=self.receiving.take, unreached=self.receiving.unreached, runner=others("cap"))
            for each in config.sources
            if each.feed
        }
        feed = next((channel for channel in channels if isinstance(channel, Feed)), None)
        takes = any(each.post for each in config.sources)
        self.listener: Listener | None = None
        if config.listener is not None:
            self.listener = Listener(config.listener, Door(feed, self.receiving.post if takes else None))

    def loops(self) -> list[tuple[str, Coroutine[Any, Any, Any]]]:
        """What must run, by name."""
        loops: list[tuple[str, Coroutine[Any, Any, Any]]] = [("certificates", self._watch())]
        if self.listener is not None:
            loops.append(("listener", self.listener.run()))
        return [*loops, *((f"feed-{name}", poller.run()) for name, poller in self.pollers.items())]

    def close(self) -> None:
        """For a start that fails after the listener was bound."""
        if self.listener is not None:
            self.listener.close()

    async def _watch(self) -> None:
        while True:
            self.receiving.look()
            if self._signer is not None:
                now_us = self._room.clock.wall_us()
                good = self._signer.begins_us <= now_us < self._signer.ends_us - ENDING_US
                self._room.trouble("cap-certificate", "cap", not good)
            await asyncio.sleep(LOOK_S)
