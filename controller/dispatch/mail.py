"""E-mail (RFC 5322 by SMTP, RFC 5321): what happened, in words, with the CAP message attached.

The Message-ID is the message's identifier, the same at every retry, so that a mail program shows a repeat once; an alarm's
messages refer to each other and stand together. Auto-Submitted keeps absence notices away (RFC 3834). With several recipients
each is done for itself: one that is refused for now is tried again alone.
"""

import asyncio
import json
import re
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP as WIRE
from email.utils import format_datetime, formataddr
from typing import Any, Final

from aiosmtplib import SMTP, errors

from cython_ext import Clock, ConfigError
from lanes.keys import secret_bytes
from lanes.store import Runner, run_here

from ..duty import Duty
from . import Answer, Message, gate
from .http import Trust, tls_context
from .people import NO_ADDRESS, ToPeople
from .settings import MailSettings
from .short import words_of

IDLE_MAX: Final = 8  # connections kept: as many as a courier uses side by side
IDLE_S: Final = 20.0
PARTLY_MAX: Final = 1_000  # messages of which some recipients are done, remembered until the rest are
SUBJECT_MAX: Final = 160
_FOLDED: Final = re.compile(
    rb"^([A-Za-z-]+):\r\n ", re.MULTILINE
)  # a value that begins on the next line: some readers keep the space


class Mail(ToPeople):
    """One server, one sender. Without `to` it only calls people."""

    def __init__(self, settings: MailSettings, duty: Duty, clock: Clock, runner: Runner = run_here) -> None:
        super().__init__(settings, duty)
        self._settings = settings
        self._clock = clock
        self._runner = runner
        self._password = ""
        if settings.password_file is not None:
            self._password = secret_bytes(settings.password_file).decode("utf-8", "replace").strip()
            if not self._password:
                raise ConfigError("there is no password in this file", source=str(settings.password_file))
        self._tls: ssl.SSLContext | None = None
        if settings.ca is not None:
            self._tls = tls_context(
                Trust(settings.ca), settings.name
            )  # a file that cannot be used is told at the start
        self._idle: list[tuple[float, SMTP]] = []
        self._partly: dict[str, set[str]] = {}

    async def deliver(self, message: Message) -> Answer:
        summary: dict[str, Any] = json.loads(message.summary)
        person = str(summary.get("person", ""))
        recipients = self._recipients(summary)
        if not recipients:
            return NO_ADDRESS
        done = self._partly.get(message.identifier, set())
        left = [each for each in recipients if each not in done]
        data = self._write(message, summary, recipients, person)
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                return self._answer(message, left, await self._send(left, data))
        except TimeoutError:
            return Answer(False, "timeout")
        except errors.SMTPTimeoutError:
            return Answer(False, "timeout")
        except errors.SMTPRecipientsRefused as error:
            return self._answer(message, left, {each.recipient: each.code for each in error.recipients})
        except errors.SMTPResponseException as error:
            return Answer(False, str(error.code), refused=isinstance(error, errors.SMTPDataError) and error.code >= 500)
        except errors.SMTPException as error:
            return Answer(False, f"no-connection: {type(error).__name__}")
        except OSError as error:
            return Answer(False, f"no-connection: {type(error).__name__}")

    def _answer(self, message: Message, left: Sequence[str], refused: dict[str, int]) -> Answer:
        """Taken when every recipient is done; what is left of them is tried again alone."""
        if not refused:
            self._partly.pop(message.identifier, None)
            return Answer(True, "250")
        if len(refused) < len(left):
            done = self._partly.setdefault(message.identifier, set())
            done.update(each for each in left if each not in refused)
            while len(self._partly) > PARTLY_MAX:
                del self._partly[next(iter(self._partly))]
        worst = max(refused.values())
        return Answer(False, str(min(refused.values())), refused=worst >= 500 and min(refused.values()) >= 500)

    async def _send(self, recipients: Sequence[str], data: bytes) -> dict[str, int]:
        """The recipients that were refused, with the server's code. Raises what aiosmtplib raises."""
        client = await self._kept()
        if client is not None:
            try:
                return await self._over(client, recipients, data)
            except errors.SMTPServerDisconnected:
                pass  # it was closed while it was idle: the message was not taken
        return await self._over(await self._connect(), recipients, data)

    async def _over(self, client: SMTP, recipients: Sequence[str], data: bytes) -> dict[str, int]:
        keep = False
        try:
            refused, _ = await client.sendmail(self._settings.sender, list(recipients), data)
            keep = True
            return {name: response.code for name, response in refused.items()}
        finally:
            if keep and len(self._idle) < IDLE_MAX:
                self._idle.append((asyncio.get_running_loop().time(), client))
            else:
                client.close()

    async def _kept(self) -> SMTP | None:
        now_s = asyncio.get_running_loop().time()
        while self._idle:
            since_s, client = self._idle.pop()
            if client.is_connected and now_s - since_s < IDLE_S:
                return client
            client.close()
        return None

    async def _connect(self) -> SMTP:
        settings = self._settings
        secured = settings.security != "none"
        if secured and self._tls is None:
            self._tls = await self._runner(tls_context, Trust(settings.ca), settings.name)
        client = SMTP(
            hostname=settings.host,
            port=settings.port,
            username=settings.username or None,
            password=self._password or None,
            local_hostname=settings.sender.rpartition("@")[2],
            timeout=settings.timeout_s,
            use_tls=settings.security == "tls",
            start_tls=settings.security == "starttls",
            tls_context=self._tls if secured else None,
        )
        try:
            await client.connect()
        except BaseException:
            client.close()
            raise
        return client

    async def close(self) -> None:
        while self._idle:
            self._idle.pop()[1].close()

    # Writing.

    def compose(self, message: Message) -> bytes:
        """The mail to `to`, as it would be sent."""
        return self._write(message, json.loads(message.summary), self._settings.to, "")

    def _write(self, message: Message, summary: dict[str, Any], recipients: Sequence[str], person: str) -> bytes:
        known = self._duty.person(person)
        spoken: dict[str, dict[str, str]] = summary["texts"]
        texts = [words_of(summary, known.language)] if known else list(spoken.values())
        domain = self._settings.sender.rpartition("@")[2]
        mail = EmailMessage()
        mail["Message-ID"] = f"<{message.identifier}@{domain}>"
        mail["Date"] = format_datetime(datetime.fromtimestamp(message.sent_us // 1_000_000, UTC))
        mail["From"] = formataddr((_line(self._settings.sender_name), self._settings.sender))
        mail["To"] = recipients[0] if len(recipients) == 1 else "undisclosed-recipients:;"
        mail["Subject"] = _line(texts[0]["headline"])[:SUBJECT_MAX]
        mail["Auto-Submitted"] = "auto-generated"
        if message.urgent:
            mail["Importance"], mail["X-Priority"] = "high", "1"
        chain = [reference.split(",") for reference in summary.get("references", ())]
        ids = [f"<{each[1]}@{domain}>" for each in chain if len(each) == 3]
        if ids:
            mail["In-Reply-To"], mail["References"] = ids[-1], " ".join((ids[0], *ids[1:][-9:]))
        mail.set_content(_body(texts, message.identifier))
        if message.cap is not None and gate.fresh(message.expires_us, self._clock.wall_us()):
            mail.add_attachment(
                message.cap, maintype="application", subtype="cap+xml", filename=f"{message.identifier}.xml"
            )
        head, blank, body = mail.as_bytes(policy=WIRE).partition(b"\r\n\r\n")
        return _FOLDED.sub(rb"\1: ", head) + blank + body


def _line(text: str) -> str:
    """One line: a header holds no other."""
    return " ".join(text.split())


def _body(texts: Sequence[dict[str, str]], identifier: str) -> str:
    parts = []
    for words in texts:
        paragraphs = (words.get(name, "") for name in ("headline", "description", "instruction"))
        parts.append("\n\n".join(text for text in paragraphs if text))
    return "\n\n* * *\n\n".join(parts) + f"\n\n-- \n{identifier}\n"
