"""SMS, messengers and the rest through apprise (an extra: `pip install bucium[apprise]`): one short text a message.

A line of the secret file is an apprise URL; `{to}` in it stands for a person's address. apprise blocks, so it runs in a thread of
its own, and never writes what it was given: its URLs are passwords. It has no receipts: "delivered" is what the gateway said.
"""

import asyncio
import json
import logging
import re
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final
from urllib.parse import quote

from cython_ext import ConfigError
from lanes.keys import secret_bytes
from lanes.store import Runner

from ..duty import Duty
from . import Answer, Message
from .people import NO_ADDRESS, ToPeople
from .settings import AppriseSettings
from .short import short

TO: Final = "{to}"
URLS_MAX: Final = 8
PARTLY_MAX: Final = 1_000
GRACE_S: Final = 5.0  # apprise keeps its own time; this is for when it does not
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


class Messenger(ToPeople):
    """The gateways of one secret file, by one `runner` of its own."""

    def __init__(self, settings: AppriseSettings, duty: Duty, runner: Runner) -> None:
        if find_spec("apprise") is None:
            raise ConfigError(f"dispatch {settings.name!r} needs apprise; get it with: pip install 'bucium[apprise]'")
        super().__init__(settings, duty)
        self._settings = settings
        self._runner = runner
        self._urls = read_urls(settings)
        self._one = asyncio.Lock()  # the thread does one thing at a time: nobody's time runs while it waits for it
        self._partly: dict[str, set[str]] = {}  # message → the URLs that have taken it, until all have

    async def deliver(self, message: Message) -> Answer:
        summary: dict[str, Any] = json.loads(message.summary)
        person = self._duty.person(str(summary.get("person", "")))
        addresses = self._recipients(summary)
        if not addresses:
            return NO_ADDRESS
        text = short(summary, person.language if person else self._settings.language)
        done = self._partly.setdefault(message.identifier, set())
        urls = [url.replace(TO, quote(to, safe="+")) for url in self._urls for to in addresses]
        left = [url for url in dict.fromkeys(urls) if url not in done]
        try:
            async with self._one, asyncio.timeout(self._settings.timeout_s * len(left) + GRACE_S):
                done.update(await self._runner(_send, left, text, self._settings.timeout_s))
        except TimeoutError:
            return Answer(False, "timeout")
        if not done.issuperset(left):
            while len(self._partly) > PARTLY_MAX:
                del self._partly[next(iter(self._partly))]
            return Answer(False, "not-sent")
        del self._partly[message.identifier]
        return Answer(True, "sent")

    async def close(self) -> None:
        """Nothing is held open."""


def read_urls(settings: AppriseSettings) -> tuple[str, ...]:
    """The URLs of the secret file; ConfigError never repeats one."""
    path = settings.url_file
    lines = [line.strip() for line in secret_bytes(path).decode("utf-8", "replace").splitlines()]
    urls = [line for line in lines if line and not line.startswith("#")]
    if not 1 <= len(urls) <= URLS_MAX:
        raise ConfigError(f"{len(urls)} lines with an apprise URL; 1 to {URLS_MAX} are asked for", source=str(path))
    for number, url in enumerate(urls, 1):
        if not _SCHEME.match(url) or not _known(url.replace(TO, "+10000000000")):
            raise ConfigError(f"URL {number} is none that apprise knows; see: apprise --details", source=str(path))
    return tuple(urls)


def _known(url: str) -> bool:
    apprise: Any = import_module("apprise")
    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # it would log what is wrong with a URL, password and all
    return bool(apprise.Apprise().add(url))


def _send(urls: Sequence[str], text: str, timeout_s: float) -> list[str]:
    """Blocks. The URLs that have taken it: apprise answers with an object, of which only the status is the answer."""
    apprise: Any = import_module("apprise")
    taken = []
    for url in urls:
        sender = apprise.Apprise()
        if not sender.add(url):
            continue
        result = sender.notify(body=text, body_format="text", timeout=timeout_s)
        if result.status is apprise.AppriseResultStatus.SUCCESS:
            taken.append(url)
    return taken
