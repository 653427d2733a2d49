"""E-mail over a real SMTP server: what its reader sees, and every way in which a server can fail (reliability.md F32)."""

import asyncio
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.alarm.changes import ChangeKind
from controller.calls import About, Call, CallKind
from controller.dispatch import Message
from controller.dispatch.cap import Author, identifier_of
from controller.dispatch.dispatcher import Dispatcher
from controller.dispatch.mail import Mail
from controller.dispatch.outbox import MEMORY, Outbox, Tellable
from controller.dispatch.settings import CapSettings, MailSettings
from controller.duty import Duty, DutyFile
from cython_ext import ConfigError, Hazard, Level, SystemClock
from lanes.keys import Mode
from lanes.settings import Settings, parse
from lanes.store import ThreadRunner
from tests.controller.test_escalating import DUTY
from tests.kit.capkeys import signer
from tests.kit.clock import START_WALL_US, ManualClock
from tests.kit.control_room import until
from tests.kit.mailserver import LOGIN, PASSWORD, MailServer, Mood, certificates, mail_server
from tests.kit.telling import change, plan

AUTHOR = Author(plan(), CapSettings(sender="alarms@galati.example", languages=("ro", "en")), signer())
PEOPLE = Duty(parse(DUTY, DutyFile))
ALARM = str(change().alarm_id)
CALL = Call(
    CallKind.CALL,
    "ana",
    "mail",
    1,
    "due",
    Mode.LIVE,
    (About(ALARM, "quay", Hazard.FLOOD, Level.DANGER, START_WALL_US),),
    1,
    START_WALL_US,
)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[MailServer]:
    async with mail_server(tmp_path) as each:
        yield each


def messages(*changes: Tellable) -> list[Message]:
    """What the outbox makes of them, for a channel that takes everything."""
    box = Outbox(MEMORY, {"mail": lambda _: True})
    box.tell(AUTHOR, changes, START_WALL_US)
    found: list[Message] = []
    while batch := box.due("mail", (), 64):
        found += batch
        box.done("mail", [each.number for each in batch])
    return found


def mail(server: MailServer, folder: Path, *, clock: ManualClock | None = None, **more: object) -> Mail:
    secret = folder / "password"
    secret.write_text(PASSWORD + "\n")
    secret.chmod(0o600)
    values: dict[str, Any] = {
        "kind": "mail",
        "name": "mail",
        "host": "localhost",
        "port": server.port,
        "sender": "alarms@galati.example",
        "to": ["desk@galati.example"],
        "timeout_s": 5,
    }
    if server.auth:
        values |= {"username": LOGIN, "password_file": secret}
    if server.secure != "none":
        values |= {"ca": folder / "ca.pem", "security": server.secure}
    else:
        values |= {"security": "none"}
    return Mail(MailSettings.model_validate({**values, **more}), PEOPLE, clock or ManualClock())


@pytest.mark.parametrize("secure", ["starttls", "tls", "none"])
async def test_a_reader_sees_what_happened_with_the_cap_attached(tmp_path: Path, secure: str) -> None:
    async with mail_server(tmp_path, secure=secure, auth=secure == "starttls") as server:
        channel = mail(server, tmp_path)
        [message] = messages(change())
        answer = await channel.deliver(message)
        await channel.close()
    assert (answer.taken, answer.detail) == (True, "250")
    [got] = server.got
    assert got.secured == (secure != "none")
    assert got.user == (LOGIN if secure == "starttls" else "")
    found = got.message
    assert got.id == f"<{identifier_of(change())}@galati.example>"
    assert found["Auto-Submitted"] == "auto-generated"
    assert found["Subject"].startswith("Cheiul vechi: Cota de pericol")
    assert b":\r\n " not in got.data.partition(b"\r\n\r\n")[0], "every value begins on its header's own line"
    assert round(parsedate_to_datetime(found["Date"]).timestamp() * 1e6) == message.sent_us
    body, cap = found.get_body(("plain",)), list(found.iter_attachments())
    assert body is not None
    text = body.get_content()
    assert "Urcați pe digul nou & așteptați." in text
    assert "Climb the new dyke & wait." in text
    assert "426 cm" in text, "water levels in centimetres"
    assert [(each.get_content_type(), each.get_payload(decode=True)) for each in cap] == [
        ("application/cap+xml", message.cap)
    ]


async def test_a_mail_that_comes_late_says_what_was_and_publishes_no_expired_cap(
    server: MailServer, tmp_path: Path
) -> None:
    [message] = messages(change())
    clock = ManualClock()
    channel = mail(server, tmp_path, clock=clock)
    clock.advance((message.expires_us - clock.wall_us()) / 1e6 - 1)
    assert (await channel.deliver(message)).taken
    clock.advance(1)
    assert (await channel.deliver(message)).taken
    await channel.close()
    fresh, late = (got.message for got in server.got)
    assert len(list(fresh.iter_attachments())) == 1
    assert list(late.iter_attachments()) == []
    assert late["Subject"].startswith("Cheiul vechi: Cota de pericol")


async def test_the_subject_of_a_muted_alarm_says_so(server: MailServer, tmp_path: Path) -> None:
    channel = mail(server, tmp_path)
    [message] = messages(change(muted="out-of-service"))
    assert (await channel.deliver(message)).taken
    await channel.close()
    assert server.got[0].message["Subject"].startswith("[scoasă din serviciu] Cheiul vechi")


async def test_an_alarms_mails_stand_together(server: MailServer, tmp_path: Path) -> None:
    channel = mail(server, tmp_path)
    over = change(ChangeKind.CLEARED, Level.NORMAL, Level.DANGER, at_us=START_WALL_US + 1)
    for message in messages(change(), over):
        assert (await channel.deliver(message)).taken
    await channel.close()
    first, second = server.got
    assert second.message["In-Reply-To"] == second.message["References"] == first.id
    assert server.connections == 1, "one connection serves many"


async def test_a_person_is_called_in_their_own_language_at_their_own_address(
    server: MailServer, tmp_path: Path
) -> None:
    channel = mail(server, tmp_path, to=[])
    assert not channel.wants(cap=True)
    [message] = messages(CALL)
    assert (await channel.deliver(message)).taken
    await channel.close()
    [got] = server.got
    assert got.recipients == ("ana@x.example",)
    assert got.message["To"] == "ana@x.example"
    assert got.message["Importance"] == "high"
    assert got.message["Subject"].startswith("Cheiul vechi: Cota de pericol")
    body = got.message.get_body(("plain",))
    assert body is not None
    assert "Sunteți apelat la pasul 1" in body.get_content()
    assert "You are called" not in body.get_content()


async def test_a_person_without_an_address_is_refused_and_not_lost_silently(server: MailServer, tmp_path: Path) -> None:
    channel = mail(server, tmp_path)
    [message] = messages(Call(**{name: getattr(CALL, name) for name in CALL.__slots__} | {"person": "gone"}))
    answer = await channel.deliver(message)
    await channel.close()
    assert (answer.taken, answer.refused, answer.detail) == (False, True, "no-address")


@pytest.mark.parametrize(
    ("mood", "refused", "detail"),
    [
        (Mood.DOWN, False, "no-connection: SMTPConnectError"),
        (Mood.BUSY, False, "451"),
        (Mood.NO, True, "554"),
        (Mood.SLOW, False, "timeout"),
        (Mood.HALF_OPEN, False, "timeout"),
        (Mood.CUT, False, "no-connection: SMTPServerDisconnected"),
    ],
)
async def test_every_way_to_fail_is_an_answer_and_the_same_mail_comes_when_it_is_well(
    server: MailServer, tmp_path: Path, mood: Mood, refused: bool, detail: str
) -> None:
    await server.become(mood)
    [message] = messages(change())
    bad = mail(server, tmp_path, timeout_s=1 if detail == "timeout" else 10)
    answer = await bad.deliver(message)
    await bad.close()
    assert (answer.taken, answer.refused, answer.detail) == (False, refused, detail)
    before = len(server.seen)
    assert server.got == []
    await server.become(Mood.WELL)
    channel = mail(server, tmp_path, timeout_s=10)
    assert (await channel.deliver(message)).taken
    await channel.close()
    [got] = server.got
    assert all(each.id == got.id for each in server.seen[:before])


async def test_a_connection_that_died_while_idle_costs_nothing(server: MailServer, tmp_path: Path) -> None:
    channel = mail(server, tmp_path)
    first, second = messages(change(), change(seq=2))
    assert (await channel.deliver(first)).taken
    await server.become(Mood.WELL)
    assert (await channel.deliver(second)).taken
    await channel.close()


async def test_a_server_without_tls_or_with_another_ca_gets_nothing(server: MailServer, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    certificates(other)
    [message] = messages(change())
    wrong = mail(server, tmp_path, ca=other / "ca.pem")
    answer = await wrong.deliver(message)
    assert (answer.taken, answer.refused) == (False, False)
    await wrong.close()
    async with mail_server(tmp_path, secure="none", auth=False) as bare:
        plain = mail(bare, tmp_path, security="starttls", ca=None)
        answer = await plain.deliver(message)
        await plain.close()
        assert not answer.taken
        assert bare.seen == []
    assert server.seen == []


async def test_a_wrong_password_is_of_the_channel_and_not_of_the_message(server: MailServer, tmp_path: Path) -> None:
    channel = mail(server, tmp_path, username="somebody")
    [message] = messages(change())
    answer = await channel.deliver(message)
    await channel.close()
    assert (answer.taken, answer.refused, answer.detail) == (False, False, "535")


async def test_of_several_recipients_only_those_left_are_tried_again(server: MailServer, tmp_path: Path) -> None:
    channel = mail(server, tmp_path, to=["a@x.example", "b@x.example", "c@x.example"])
    server.refuse = {"b@x.example": "450 later"}
    [message] = messages(change())
    answer = await channel.deliver(message)
    assert (answer.taken, answer.refused, answer.detail) == (False, False, "450")
    answer = await channel.deliver(message)
    assert (answer.taken, answer.detail) == (False, "450")
    server.refuse = {"b@x.example": "550 no such user"}
    assert (await channel.deliver(message)).refused
    server.refuse = {}
    assert (await channel.deliver(message)).taken
    await channel.close()
    assert [each.recipients for each in server.got] == [("a@x.example", "c@x.example"), ("b@x.example",)]
    assert {str(each.message["To"]) for each in server.got} == {"undisclosed-recipients:;"}


async def test_through_every_failure_no_mail_is_lost_and_none_is_another(server: MailServer, tmp_path: Path) -> None:
    runner, told = ThreadRunner("outbox"), [change(seq=n) for n in range(1, 41)]
    dispatcher = Dispatcher(
        AUTHOR,
        [mail(server, tmp_path, timeout_s=0.7)],
        path=tmp_path / "o.db",
        clock=SystemClock(),
        runner=runner,
        entropy=Random(1),
        receipt=lambda _: asyncio.sleep(0),
        trouble=lambda *_: None,
    )
    task = asyncio.create_task(dispatcher.run())
    try:
        for number, mood in enumerate((Mood.HALF_OPEN, Mood.WELL, Mood.BUSY, Mood.DOWN, Mood.CUT)):
            await server.become(mood)
            before = server.connections + len(server.seen)
            for each in told[number * 8 : number * 8 + 8]:
                await dispatcher.tell(each)
            if mood is not Mood.DOWN:
                await until(lambda before=before: server.connections + len(server.seen) > before)  # type: ignore[misc]
        await server.become(Mood.WELL)
        assert await dispatcher.settled(90)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        runner.close()
    assert {each.id for each in server.got} == {f"<{identifier_of(each)}@galati.example>" for each in told}


@settings(max_examples=50)
@given(st.text(max_size=200))
def test_no_text_breaks_a_mail_or_adds_a_header(text: str) -> None:
    author = Author(plan(name={"ro": text, "en": "Quay"}), CapSettings(sender="a@x.example"), signer())
    box = Outbox(MEMORY, {"mail": lambda _: True})
    box.tell(author, [change()], START_WALL_US)
    [message] = box.due("mail", (), 1)
    settings = {"kind": "mail", "name": "m", "host": "h", "sender": "a@x.example", "to": ["b@x.example"]}
    written = Mail(MailSettings.model_validate(settings), PEOPLE, SystemClock()).compose(message)
    head = written.partition(b"\r\n\r\n")[0]
    known = {b"Message-ID", b"Date", b"From", b"To", b"Subject", b"Auto-Submitted", b"Importance", b"X-Priority"}
    known |= {b"Content-Type", b"MIME-Version", b"Content-Transfer-Encoding"}
    lines = [line for line in head.split(b"\r\n") if not line.startswith((b" ", b"\t"))]
    assert {line.partition(b":")[0] for line in lines} <= known


class _Whole(Settings):
    dispatch: tuple[MailSettings, ...]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('security = "none"', "use starttls or tls"),
        ('sender = "Ana <a@x.example>"', "no e-mail address"),
        ('to = ["a@x.example\\r\\nBcc: b@x.example"]', "no e-mail address"),
        ('username = "x"', "belong together"),
        ('host = "127.0.0.1"\nsecurity = "none"\nca = "x"', "ca is for starttls"),
    ],
)
def test_a_bad_configuration_is_refused(line: str, says: str) -> None:
    base = {"host": '"mail.example"', "sender": '"a@x.example"'}
    base |= {key: value for key, _, value in (each.partition(" = ") for each in line.splitlines())}
    text = '[[dispatch]]\nkind = "mail"\nname = "m"\n' + "".join(f"{key} = {value}\n" for key, value in base.items())
    with pytest.raises(ConfigError, match=says):
        parse(text, _Whole)
