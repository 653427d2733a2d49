"""What the listener answers: the Atom feed and its alerts to anyone who may connect, and the door for other centres' CAP.

GET, HEAD  /cap/atom.xml, /cap/atom.xml?page=2     the feed, with ETag and Last-Modified
GET, HEAD  /cap/alerts/IDENTIFIER.xml              one message, its very bytes
POST       /cap/in/SOURCE                          a CAP message of that [[source]]
"""

import re
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import unquote

from .dispatch.feed import Document, Feed
from .listener import Reply, Request, unchanged

READING: Final = ("GET", "HEAD")
_ALERT: Final = re.compile(r"/cap/alerts/([^/]{1,600})\.xml")
_IN: Final = re.compile(r"/cap/in/([a-z0-9-]{1,32})")
_PAGE: Final = re.compile(r"page=([1-9][0-9]{0,3})")
PLAIN: Final = {"content-type": "text/plain; charset=utf-8"}

Take = Callable[
    [str, bytes, str], Awaitable[tuple[int, str]]
]  # (source, message, address) → (HTTP status, a short word)


class Door:
    """The routes. `feed`: None when nothing is published; `take`: None when nothing is taken here."""

    def __init__(self, feed: Feed | None, take: Take | None) -> None:
        self._feed = feed
        self._take = take

    async def __call__(self, request: Request) -> Reply:
        if self._take is not None and (source := _IN.fullmatch(request.path)):
            if request.method != "POST":
                return _text(405, "POST only", allow="POST")
            status, word = await self._take(source[1], request.body, request.peer)
            return _text(status, word)
        if self._feed is None:
            return _text(404, "not here")
        if request.path == "/cap/atom.xml":
            return await self._page(self._feed, request)
        if alert := _ALERT.fullmatch(request.path):
            if request.method not in READING:
                return _text(405, "GET and HEAD only", allow="GET, HEAD")
            return _document(request, await self._feed.alert(unquote(alert[1])))
        return _text(404, "not here")

    async def _page(self, feed: Feed, request: Request) -> Reply:
        if request.method not in READING:
            return _text(405, "GET and HEAD only", allow="GET, HEAD")
        wanted = _PAGE.fullmatch(request.query)
        if request.query and wanted is None:
            return _text(404, "not here")
        return _document(request, feed.page(int(wanted[1]) if wanted else 1))


def _document(request: Request, document: Document | None) -> Reply:
    if document is None:
        return _text(404, "not here, or expired")
    headers = {"etag": document.etag, "last-modified": document.last_modified, "cache-control": "no-cache"}
    if unchanged(request, document.etag, document.modified_us):
        return Reply(304, headers=headers)
    return Reply(200, document.body, {"content-type": document.media, **headers})


def _text(status: int, text: str, **headers: str) -> Reply:
    return Reply(status, f"{text}\n".encode(), {**PLAIN, **headers})
