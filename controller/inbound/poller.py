"""Reads another centre's Atom feed, and fetches each new alert of it, the oldest first.

A feed may be anyone's: at most FEED_BYTES_MAX and PAGES_MAX are read, links are followed only to the server that is configured (a
feed must not send us elsewhere), and an alert is only as good as its own signature. ETag and Last-Modified spare both ends the
transfer. An alert that could not be fetched or taken now is asked for again at the next look.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urljoin, urlsplit

from lxml import etree

from lanes.store import Runner

from ..dispatch import capcheck
from ..dispatch.http import Broken, Client, Response, Trust
from .settings import SourceSettings

FEED_BYTES_MAX: Final = 4 << 20  # of one page
PAGES_MAX: Final = 100
ENTRIES_MAX: Final = 10_000  # of all pages
SEEN_MAX: Final = 20_000
SILENT_S: Final = 90.0  # a feed that cannot be read for so long, and three looks, is Trouble
LATER: Final = frozenset({429, 503})
_ATOM: Final = "{http://www.w3.org/2005/Atom}"
_TYPES: Final = ("application/cap+xml", "application/common-alerting-protocol+xml")

Take = Callable[[str, bytes], Awaitable[tuple[int, str]]]
Entry = tuple[str, str]  # where the alert is, and what its "updated" says: together they change when it does


class Unreadable(Exception):
    """The feed cannot be read; `why` in a few words."""


class Poller:
    """Runs until cancelled. `reached(name, on=True)` is told when the feed does not answer."""

    def __init__(self, settings: SourceSettings, *, take: Take, unreached: Callable[..., None], runner: Runner) -> None:
        self._settings = settings
        self._take = take
        self._unreached = unreached
        self._runner = runner
        self._base = urlsplit(settings.feed)
        self._client = Client(
            settings.feed,
            timeout_s=settings.timeout_s,
            trust=Trust(settings.ca),
            what=f"[[source]] {settings.name!r}",
            runner=runner,
        )
        self._seen: dict[Entry, None] = {}
        self._validators: dict[str, str] = {}
        self.why = ""  # of the last look; empty: it went well

    async def run(self) -> None:
        failing_s = 0.0
        looks = 0
        try:
            while True:
                try:
                    await self.look()
                except (Broken, Unreadable) as error:
                    self.why = str(error)
                    failing_s, looks = failing_s + self._settings.poll_s, looks + 1
                    if failing_s >= SILENT_S and looks >= 3:
                        self._unreached(self._settings.name, on=True)
                else:
                    self.why, failing_s, looks = "", 0.0, 0
                    self._unreached(self._settings.name, on=False)
                await asyncio.sleep(self._settings.poll_s)
        finally:
            await self._client.close()

    async def look(self) -> int:
        """One look; how many alerts were taken. Broken or Unreadable: the feed could not be read."""
        found = await self._entries()
        if found is None:
            return 0
        entries, validators = found
        taken = 0
        whole = True
        for entry in reversed(entries):  # a feed lists the newest first
            if entry not in self._seen:
                if await self._fetch(entry):
                    taken += 1
                else:
                    whole = False
        self._validators = validators if whole else {}
        return taken

    async def _fetch(self, entry: Entry) -> bool:
        """Whether the alert needs no further look."""
        try:
            answer = await self._client.request("GET", entry[0], {}, answer_max=capcheck.BYTES_MAX)
        except Broken:
            return False
        if answer.status in (404, 410):  # it has expired between our two requests
            self._remember(entry)
            return True
        if answer.status != 200:
            return False
        status, _ = await self._take(
            self._settings.name, answer.body if answer.whole else b" " * (capcheck.BYTES_MAX + 1)
        )
        if status in LATER:
            return False
        self._remember(entry)
        return True

    def _remember(self, entry: Entry) -> None:
        self._seen[entry] = None
        while len(self._seen) > SEEN_MAX:
            del self._seen[next(iter(self._seen))]

    async def _entries(self) -> tuple[list[Entry], dict[str, str]] | None:
        """All entries, the newest first, and what to ask with the next time; None: nothing has changed."""
        target, headers = self._client.target, self._validators
        entries: list[Entry] = []
        validators: dict[str, str] = {}
        for number in range(PAGES_MAX):
            answer = await self._client.request(
                "GET", target, headers if number == 0 else {}, answer_max=FEED_BYTES_MAX
            )
            if answer.status == 304 and number == 0:
                return None
            if answer.status != 200 or not answer.whole:
                raise Unreadable(f"status {answer.status}" if answer.whole else f"more than {FEED_BYTES_MAX} bytes")
            if number == 0:
                validators = _validators(answer)
            page, following = await self._runner(self._parse, answer.body, target)
            entries += page
            if following is None or all(entry in self._seen for entry in page) or len(entries) > ENTRIES_MAX:
                break
            target = following
        return entries[:ENTRIES_MAX], validators

    def _parse(self, body: bytes, target: str) -> tuple[list[Entry], str | None]:
        """The entries of a page, and where the next one is."""
        try:
            root = etree.fromstring(body, capcheck.parser())
        except (etree.XMLSyntaxError, ValueError) as error:
            raise Unreadable(f"not XML: {str(error)[:60]}") from None
        if root.getroottree().docinfo.doctype or root.tag != _ATOM + "feed":
            raise Unreadable("not an Atom feed")
        entries: list[Entry] = []
        for entry in root.iterchildren(_ATOM + "entry"):
            link = next((each for each in entry.iterchildren(_ATOM + "link") if each.get("type") in _TYPES), None)
            where = self._ours(target, link.get("href")) if link is not None else None
            if where is not None:
                entries.append((where, entry.findtext(_ATOM + "updated", "")[:40]))
        for each in root.iterchildren(_ATOM + "link"):
            if each.get("rel") == "next":
                return entries, self._ours(target, each.get("href"))
        return entries, None

    def _ours(self, target: str, href: str | None) -> str | None:
        """The link as a target on the feed's own server; None: it leads elsewhere."""
        try:
            where = urlsplit(urljoin(f"{self._base.scheme}://{self._base.netloc}{target}", href or ""))
        except ValueError:
            return None
        if (where.scheme, where.netloc) != (self._base.scheme, self._base.netloc) or not href or len(href) > 2000:
            return None
        path = (where.path or "/") + (f"?{where.query}" if where.query else "")
        return path if path.isascii() and path.isprintable() and " " not in path else None


def _validators(answer: Response) -> dict[str, str]:
    given = {"if-none-match": answer.headers.get("etag"), "if-modified-since": answer.headers.get("last-modified")}
    return {name: value for name, value in given.items() if value}
