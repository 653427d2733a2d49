"""The webhook against real sockets, verified by the reference implementation of Standard Webhooks."""

import asyncio
import base64
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from subprocess import run

import pytest
from standardwebhooks import Webhook as Reference
from standardwebhooks import WebhookVerificationError

from controller.dispatch import Message
from controller.dispatch.settings import WebhookSettings
from controller.dispatch.webhook import Webhook, read_secrets, sign
from cython_ext import ConfigError, SystemClock
from lanes.settings import Settings, parse
from tests.kit.receivers import Mood, Receiver, receiver

SECRET = bytes(range(32))
WRITTEN = "whsec_" + base64.b64encode(SECRET).decode()
MESSAGE = Message(1, "bucium-quay-flood-1-2", "alarm", True, 0, 1 << 62, b"<alert/>", b'{"version":1}')


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(WRITTEN + "\n")
    path.chmod(0o600)
    return path


@pytest.fixture
async def server() -> AsyncIterator[Receiver]:
    async with receiver() as each:
        yield each


def webhook(server: Receiver, secret: Path, **more: object) -> Webhook:
    settings = {"kind": "webhook", "name": "centre", "url": server.url, "secret_file": secret, "timeout_s": 0.5}
    return Webhook(WebhookSettings.model_validate({**settings, **more}), SystemClock())


@pytest.mark.parametrize(("body", "content"), [("cap", b"<alert/>"), ("json", b'{"version":1}')])
async def test_the_reference_implementation_accepts_the_signature(
    server: Receiver, secret: Path, body: str, content: bytes
) -> None:
    channel = webhook(server, secret, body=body)
    answer = await channel.deliver(MESSAGE)
    await channel.close()
    assert (answer.taken, answer.detail) == (True, "204")
    (posted,) = server.taken
    assert posted.body == content
    assert posted.headers["content-type"] == ("application/cap+xml" if body == "cap" else "application/json")
    assert posted.headers["webhook-id"] == MESSAGE.identifier
    Reference(WRITTEN).verify(posted.body, posted.headers, json_parse=False)
    with pytest.raises(WebhookVerificationError):
        Reference(WRITTEN).verify(posted.body + b" ", posted.headers, json_parse=False)


def test_the_published_vector() -> None:
    # The example of the reference implementation's own tests.
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signature = sign([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    ("mood", "status", "taken", "refused", "detail"),
    [
        (Mood.WELL, 200, True, False, "204"),
        (Mood.FAILING, 500, False, False, "500"),
        (Mood.FAILING, 401, False, False, "401"),
        (Mood.FAILING, 429, False, False, "429"),
        (Mood.FAILING, 422, False, True, "422"),
        (Mood.REDIRECT, 302, False, False, "302"),
        (Mood.DOWN, 0, False, False, "no-connection: ConnectionRefusedError"),
        (Mood.CUT, 0, False, False, "no-connection: RemoteProtocolError"),
        (Mood.HALF_OPEN, 0, False, False, "timeout"),
        (Mood.SLOW, 0, False, False, "timeout"),
    ],
)
async def test_every_way_to_fail_is_an_answer(
    server: Receiver, secret: Path, mood: Mood, status: int, taken: bool, refused: bool, detail: str
) -> None:
    await server.become(mood, status)
    channel = webhook(server, secret)
    answer = await channel.deliver(MESSAGE)
    await channel.close()
    assert (answer.taken, answer.refused, answer.detail) == (taken, refused, detail)


async def test_a_receivers_wish_is_heard_when_it_is_a_number(server: Receiver, secret: Path) -> None:
    await server.become(Mood.FAILING, 503)
    channel = webhook(server, secret)
    for wish, heard in (("7", 7.0), ("soon", 0.0), ("-1", 0.0), ("99999999", 0.0)):
        server.answer_headers = {"retry-after": wish}
        assert (await channel.deliver(MESSAGE)).after_s == heard
    await channel.close()


async def test_one_connection_serves_many_messages(server: Receiver, secret: Path) -> None:
    channel = webhook(server, secret, timeout_s=5)
    answers = await asyncio.gather(*(channel.deliver(MESSAGE) for _ in range(50)))
    assert all(answer.taken for answer in answers)
    await channel.close()


@pytest.mark.parametrize(
    ("text", "mode", "says"),
    [
        ("secret", 0o600, "begins with whsec_"),
        ("whsec_!!!", 0o600, "not base64"),
        ("whsec_" + base64.b64encode(b"short").decode(), 0o600, "has 5 bytes"),
        (WRITTEN, 0o644, "others may read"),
        ("", 0o600, "begins with whsec_"),
        ("\n".join([WRITTEN] * 3), 0o600, "3 secrets; at most 2"),
    ],
)
def test_a_bad_secret_says_what_to_do(tmp_path: Path, text: str, mode: int, says: str) -> None:
    path = tmp_path / "secret"
    path.write_text(text)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=says):
        read_secrets(path)


async def test_while_a_secret_changes_a_receiver_with_either_accepts(server: Receiver, secret: Path) -> None:
    new = "whsec_" + base64.b64encode(bytes(range(1, 33))).decode()
    secret.write_text(f"{new}\n{WRITTEN}\n")
    channel = webhook(server, secret)
    assert (await channel.deliver(MESSAGE)).taken
    await channel.close()
    [posted] = server.taken
    for each in (new, WRITTEN):
        Reference(each).verify(posted.body, posted.headers, json_parse=False)
    with pytest.raises(WebhookVerificationError):
        Reference("whsec_" + base64.b64encode(bytes(32)).decode()).verify(posted.body, posted.headers)


class _Whole(Settings):
    dispatch: tuple[WebhookSettings, ...]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('url = "http://dispatch.example/"', "use https://"),
        ('url = "ftp://dispatch.example/"', "whole address"),
        ('url = "https://me:secret@dispatch.example/"', "carries no password"),
        ('url = "http://127.0.0.1/"\nca = "x.pem"', "ca is for https"),
        ('url = "http://127.0.0.1/"\ntimeout = 3', "timeout_s"),
    ],
)
def test_a_bad_address_is_refused_with_its_reason(line: str, says: str) -> None:
    text = f'[[dispatch]]\nkind = "webhook"\nname = "a"\nsecret_file = "s"\n{line}\n'
    with pytest.raises(ConfigError, match=says):
        parse(text, _Whole)


def test_http_is_loaded_only_when_something_is_told() -> None:
    code = "import sys, controller.dispatch.webhook; print('httpx' in sys.modules)"
    assert run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
