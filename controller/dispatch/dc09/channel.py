"""The DC-09 channel: an alarm receiving centre, by one path or two, behind the interface of every channel.

A message goes by the first path that is up, then by the other. A receiver that answers DUH or NAK is asked in a plainer form and
then in the other protocol; one that understands none of them has refused this message, which is told, and offered again later,
while the next ones pass. A message is never too old here: the centre gets what happened in the order in which it did, each with
its time, and one that comes late says so in its text.
"""

import asyncio
from pathlib import Path as File
from typing import Final

from cython_ext import Clock, ConfigError
from lanes.keys import secret_bytes

from .. import Answer, Message, TroubleSink
from ..settings import Dc09Settings
from .event import Form, forms, read
from .frame import ACK
from .link import Link, Tcp, Udp
from .path import Line, Path, Question, Refuse

KEY_BYTES: Final = (16, 24, 32)


def read_key(file: File, form: str) -> bytes:
    """The AES key of a file; ConfigError says what to do when it is none."""
    text = secret_bytes(file).decode("ascii", "replace").strip()
    if form == "text":
        if len(text) not in KEY_BYTES or not text.isascii():
            raise ConfigError(
                f"a key of form text is 16, 24 or 32 ASCII characters, here are {len(text)}", source=str(file)
            )
        return text.encode("ascii")
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) not in KEY_BYTES:
        raise ConfigError(
            f"an AES key is 32, 48 or 64 hex digits, here are {len(text)} characters; when the centre's key is these "
            'characters themselves, say key_form = "text"',
            source=str(file),
        )
    return key


class Dc09:
    """One centre. `refuse` counts answers that do not count, by reason."""

    def __init__(self, settings: Dc09Settings, clock: Clock, refuse: Refuse) -> None:
        self._settings = settings
        self._clock = clock
        key = None if settings.key is None else read_key(settings.key, settings.key_form)
        line = Line(settings.account, settings.prefix, settings.receiver, key, settings.answer_s, settings.tries)
        link = _link(settings.transport, settings.host, settings.port)
        first = Path(settings.name, link, line, poll_s=lambda: settings.poll_s, clock=clock, refuse=refuse)
        self.paths: tuple[Path, ...] = (first,)
        if (second := settings.second) is not None:

            def often() -> float:
                return min(settings.poll_s, second.poll_s) if first.up is False else second.poll_s

            link = _link(second.transport, second.host, second.port)
            name = f"{settings.name}/second"
            self.paths = (first, Path(name, link, line, poll_s=often, clock=clock, refuse=refuse))

    @property
    def name(self) -> str:
        return self._settings.name

    @property
    def expires(self) -> bool:
        return False

    def wants(self, *, cap: bool) -> bool:
        return True

    async def supervise(self, trouble: TroubleSink) -> None:
        """Ask each path whether it is there, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for path in self.paths:
                group.create_task(path.supervise(trouble))

    async def deliver(self, message: Message) -> Answer:
        event = read(message, self._settings)
        ways = forms(event, self._settings, self._clock.wall_us())
        refused, silent = "", ""
        for path in sorted(self.paths, key=lambda each: each.up is False):
            said = await self._by(path, event.sequence, ways)
            if said.taken:
                return said
            if said.refused:
                refused = refused or said.detail
            else:
                silent = silent or said.detail
        return Answer(False, refused or silent, refused=bool(refused))

    async def _by(self, path: Path, sequence: int, ways: tuple[Form, ...]) -> Answer:
        """One path, in each form until one is understood."""
        said = ""
        for form in ways:
            heard = await path.ask(Question(form.protocol, sequence, form.data, form.extended))
            if isinstance(heard, str):
                return Answer(False, heard)
            if heard.token == ACK:
                where = " by the second" if path is not self.paths[0] else ""
                how = f" ({form.protocol} {form.how})" if form.how else ""
                return Answer(True, f"ack{how}{where}")
            said = heard.token.lower()
        return Answer(False, f"refused: {said}", refused=True)

    async def close(self) -> None:
        for path in self.paths:
            path.close()


def _link(transport: str, host: str, port: int) -> Link:
    return Tcp(host, port) if transport == "tcp" else Udp(host, port)
