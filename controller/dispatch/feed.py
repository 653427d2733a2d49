"""The published CAP messages: on disk until they expire, and as an Atom feed (RFC 4287, paged after RFC 5005).

    outbox ─ courier ─ Feed.deliver ─ feed.db ─ page(n), alert(identifier) ─ the listener ─ whoever polls

A damaged file is set aside and a new one begun: what lasts is published again when it is renewed (outbox.py).

A message is published when its commit is durable; deliveries that wait at the same time share one. Nothing that has expired is
listed or handed out. Newest first, PAGE entries a page, the older ones behind `rel="next"`.
"""

import asyncio
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Final
from urllib.parse import quote
from xml.etree.ElementTree import fromstring
from xml.sax.saxutils import escape, quoteattr

import apsw

from cython_ext import Clock
from lanes.store import DAMAGE, Runner, StoreError, is_damaged, open_store, set_aside, transaction

from .. import texts
from . import Answer, Message, gate
from .capform import PREFIX
from .settings import AtomSettings

APPLICATION: Final = 0x42554644  # "BUFD"
ENTRIES_MAX: Final = 10_000  # F31's storm twice over: about 120 MiB of disk, 5 MiB of memory
PAGE: Final = 100  # entries: 60 KiB of feed
MEDIA: Final = "application/atom+xml; charset=utf-8"
ALERT_MEDIA: Final = "application/cap+xml"
_SCHEMA: Final = """
CREATE TABLE entry(number INTEGER PRIMARY KEY AUTOINCREMENT, identifier TEXT NOT NULL UNIQUE, alarm TEXT NOT NULL,
    sent_us INTEGER NOT NULL, expires_us INTEGER NOT NULL, title TEXT NOT NULL, summary TEXT NOT NULL,
    category TEXT NOT NULL, cap BLOB NOT NULL) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """What the feed says of one message. Times in UTC microseconds."""

    identifier: str
    alarm: str
    sent_us: int
    expires_us: int
    title: str
    summary: str
    category: str


@dataclass(frozen=True, slots=True)
class Document:
    """Something to hand out. `etag` names its bytes."""

    body: bytes
    media: str
    etag: str
    modified_us: int

    @property
    def last_modified(self) -> str:
        return formatdate(self.modified_us // 1_000_000, usegmt=True)


class Feed:
    """The channel that publishes. Blocking work goes through `runner`, which is the feed's own."""

    def __init__(self, settings: AtomSettings, *, path: Path, sender: str, clock: Clock, runner: Runner) -> None:
        self._settings = settings
        self._sender = sender
        self._clock = clock
        self._runner = runner
        try:
            self._open(path)
        except StoreError as error:
            if not is_damaged(error, path, APPLICATION):
                raise
            set_aside(path)
            self._open(path)
        self._waiting: list[tuple[Message, Entry, asyncio.Future[str]]] = []
        self._committing = False
        self._pages: dict[int, Document] = {}
        self._stale_us = 0  # when a page that was written is no longer true

    def _open(self, path: Path) -> None:
        """StoreError when it holds what nobody wrote."""
        self._db = open_store(path, application=APPLICATION, schema=_SCHEMA, version=1)
        try:
            if (said := self._db.pragma("quick_check")) != "ok":
                raise apsw.CorruptError(str(said)[:80])
            rows = self._db.execute(
                "SELECT identifier, alarm, sent_us, expires_us, title, summary, category FROM entry ORDER BY number"
            )
            self._entries: dict[str, Entry] = {row[0]: Entry(*row) for row in rows}
        except DAMAGE as error:
            self._db.close()
            raise StoreError(f"damaged: {error}", path) from error

    # The channel.

    @property
    def name(self) -> str:
        return self._settings.name

    @property
    def expires(self) -> bool:
        return True

    def wants(self, *, cap: bool) -> bool:
        return cap

    async def deliver(self, message: Message) -> Answer:
        if message.identifier in self._entries:
            return Answer(True, "published")
        done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting.append((message, _entry_of(message), done))
        if not self._committing:
            self._committing = True
            try:
                while self._waiting:
                    await self._commit()
            finally:
                self._committing = False
        refused = await done
        return Answer(not refused, refused or "published")

    async def _commit(self) -> None:
        batch, self._waiting = self._waiting, []
        now_us = self._clock.wall_us()
        gone = [each.identifier for each in self._entries.values() if not gate.fresh(each.expires_us, now_us)]
        gone += self._beyond(len(batch), set(gone))
        refused = ""
        try:
            await self._runner(self._write, [(message, entry) for message, entry, _ in batch], gone)
        except (apsw.FullError, apsw.IOError, apsw.BusyError) as error:
            refused = f"disk: {str(error)[:40]}"
        else:
            for identifier in gone:
                self._entries.pop(identifier, None)
            self._entries.update({entry.identifier: entry for _, entry, _ in batch})
            self._pages.clear()
        for _, _, done in batch:
            if not done.done():
                done.set_result(refused)

    def _beyond(self, coming: int, gone: set[str]) -> list[str]:
        """What the bound costs: first what a newer message of its alarm stands for, then the oldest."""
        kept = [each for each in self._entries.values() if each.identifier not in gone]
        excess = len(kept) + coming - ENTRIES_MAX
        if excess <= 0:
            return []
        newest = {each.alarm: each.identifier for each in kept}
        kept.sort(key=lambda each: newest[each.alarm] == each.identifier)  # stable: oldest first within both halves
        return [each.identifier for each in kept[:excess]]

    def _write(self, batch: Iterable[tuple[Message, Entry]], gone: Iterable[str]) -> None:
        with transaction(self._db):
            self._db.executemany("DELETE FROM entry WHERE identifier = ?", [(identifier,) for identifier in gone])
            for message, e in batch:
                row = (e.identifier, e.alarm, e.sent_us, e.expires_us, e.title, e.summary, e.category, message.cap)
                self._db.execute(
                    "INSERT OR IGNORE INTO entry(identifier, alarm, sent_us, expires_us, title, summary, category, cap)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    row,
                )

    async def close(self) -> None:
        await self._runner(self._db.close)

    # What is handed out.

    def page(self, number: int) -> Document | None:
        """The feed's page (from 1); None: it has not so many. The first page always is."""
        now_us = self._clock.wall_us()
        if now_us >= self._stale_us:
            self._pages.clear()
        if number not in self._pages:
            if not self._pages:
                alive = [each.expires_us for each in self._entries.values() if gate.fresh(each.expires_us, now_us)]
                self._stale_us = min(alive, default=now_us + 3_600_000_000)
            entries = [each for each in reversed(self._entries.values()) if gate.fresh(each.expires_us, now_us)]
            part = entries[(number - 1) * PAGE : number * PAGE]
            if number < 1 or (number > 1 and not part):
                return None
            updated_us = max((each.sent_us for each in self._entries.values()), default=0)
            body = self._written(number, part, updated_us, more=len(entries) > number * PAGE)
            self._pages[number] = Document(body, MEDIA, _etag(body), updated_us)
        return self._pages[number]

    async def alert(self, identifier: str) -> Document | None:
        """The message's very bytes; None: it is not there, or has expired."""
        entry = self._entries.get(identifier)
        if entry is None or not gate.fresh(entry.expires_us, self._clock.wall_us()):
            return None
        body = await self._runner(self._read, identifier)
        return Document(body, ALERT_MEDIA, _etag(body), entry.sent_us) if body else None

    def _read(self, identifier: str) -> bytes:
        found = self._db.execute("SELECT cap FROM entry WHERE identifier = ?", (identifier,)).get
        return bytes(found) if found else b""

    def _written(self, number: int, entries: Iterable[Entry], updated_us: int, *, more: bool) -> bytes:
        here = "atom.xml" if number == 1 else f"atom.xml?page={number}"
        lines = [
            '<?xml version="1.0" encoding="UTF-8"?>',
            '<feed xmlns="http://www.w3.org/2005/Atom">',
            f"<id>{escape(_tag(self._sender, 'feed'))}</id>",
            f"<title>{escape(self._settings.title)}</title>",
            f"<updated>{_instant(updated_us)}</updated>",
            f"<author><name>{escape(self._sender)}</name></author>",
            f"<link rel={quoteattr('self')} href={quoteattr(here)}/>",
        ]
        if number > 1:
            lines.append('<link rel="first" href="atom.xml"/>')
        if more:
            lines.append(f'<link rel="next" href="atom.xml?page={number + 1}"/>')
        for each in entries:
            lines += [
                "<entry>",
                f"<id>{escape(_tag(self._sender, each.identifier))}</id>",
                f"<title>{escape(each.title)}</title>",
                f"<updated>{_instant(each.sent_us)}</updated>",
                f"<category term={quoteattr(each.category)}/>",
                f"<summary>{escape(each.summary)}</summary>",
                f'<link rel="alternate" type="{ALERT_MEDIA}" href={quoteattr(f"alerts/{quote(each.identifier)}.xml")}/>',
                "</entry>",
            ]
        lines.append("</feed>\n")
        return "\n".join(lines).encode()


def _entry_of(message: Message) -> Entry:
    """What the feed says of it, in the first language of the message."""
    assert message.cap is not None, "it wants nothing else"
    root = fromstring(message.cap)  # noqa: S314 - our own bytes, as the gate let them pass
    info = root.find(PREFIX + "info")
    facts = {child.tag.removeprefix(PREFIX): child.text or "" for child in (info if info is not None else root)}
    kind = root.findtext(PREFIX + "msgType", "")
    return Entry(
        message.identifier,
        message.alarm,
        message.sent_us,
        message.expires_us,
        facts.get("headline") or facts.get("event", kind),
        facts.get("description", ""),
        kind,
    )


def _tag(sender: str, name: str) -> str:
    """A permanent IRI (RFC 4151): the sender is unique, and so is a message's identifier within it."""
    return f"tag:{quote(sender, safe='@.-_')},2026:{quote(name, safe='')}"


def _instant(at_us: int) -> str:
    """As Atom writes it (RFC 3339)."""
    return texts.instant(at_us // 1_000_000 * 1_000_000).strftime("%Y-%m-%dT%H:%M:%SZ")


def _etag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'
