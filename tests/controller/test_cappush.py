"""Signed CAP to an endpoint: over TLS with a pinned CA and a client certificate, through every way that a receiver can fail."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bucium import certificates
from controller.dispatch import Message
from controller.dispatch.cappush import CapPush
from controller.dispatch.http import Broken, Client, Trust
from controller.dispatch.settings import CapPushSettings
from controller.listener import Listener, ListenerSettings, Reply, Request
from cython_ext import ConfigError, SystemClock
from tests.kit.receivers import Mood, receiver

BODY = b"<alert/>"
MESSAGE = Message(1, "one", "alarm", True, 0, 1 << 62, BODY, b"{}")


def push(url: str, **more: object) -> CapPush:
    facts = {"kind": "cap", "name": "iasi", "url": url, "timeout_s": 0.5, **more}
    return CapPush(CapPushSettings.model_validate(facts))


async def delivered(channel: CapPush) -> str:
    answer = await channel.deliver(MESSAGE)
    await channel.close()
    assert answer.taken is answer.detail.startswith("2")
    return answer.detail


@pytest.mark.parametrize(
    ("mood", "status", "detail"),
    [
        (Mood.WELL, 200, "204"),
        (Mood.FAILING, 500, "500"),
        (Mood.FAILING, 403, "403"),
        (Mood.REDIRECT, 302, "302"),
        (Mood.DOWN, 0, "no-connection: ConnectionRefusedError"),
        (Mood.CUT, 0, "no-connection: RemoteProtocolError"),
        (Mood.HALF_OPEN, 0, "timeout"),
        (Mood.SLOW, 0, "timeout"),
    ],
)
async def test_every_way_to_fail_is_an_answer(mood: Mood, status: int, detail: str) -> None:
    async with receiver() as server:
        await server.become(mood, status)
        assert await delivered(push(server.url)) == detail
        for posted in server.taken:
            assert (posted.body, posted.headers["content-type"]) == (BODY, "application/cap+xml")


async def test_a_connection_that_was_closed_while_idle_is_made_anew() -> None:
    async with receiver() as server:
        channel = push(server.url, timeout_s=10)
        for _ in range(3):
            assert (await channel.deliver(MESSAGE)).taken
            await server.become(Mood.WELL)  # as a restarted server: every connection is cut
        await channel.close()
        assert len(server.taken) == 3


@asynccontextmanager
async def secured(folder: Path, *, ask: bool = False) -> AsyncIterator[str]:
    """A TLS server on 127.0.0.1 under the CA of `folder`; `ask`: it wants a client certificate of that CA."""
    now_us = SystemClock().wall_us()
    certificates.make_authority(folder, "T", now_us)
    certificate, key = certificates.issue(folder, "server", now_us, hosts=("127.0.0.1",))
    certificates.issue(folder, "us", now_us)

    async def take(request: Request) -> Reply:
        return Reply(204 if request.body == BODY else 400)

    listener = Listener(ListenerSettings(port=0, certificate=certificate, key=key), take)
    if ask:
        assert listener._tls is not None
        listener._tls.verify_mode = ssl.CERT_REQUIRED
        listener._tls.load_verify_locations(folder / "ca.crt")
    task = asyncio.create_task(listener.run())
    yield f"https://127.0.0.1:{listener.port}/cap"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_only_the_pinned_authority_counts(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    certificates.make_authority(other, "O", SystemClock().wall_us())
    async with secured(tmp_path) as url:
        more = {"timeout_s": 10}
        assert await delivered(push(url, ca=tmp_path / "ca.crt", **more)) == "204"
        assert await delivered(push(url, ca=other / "ca.crt", **more)) == "no-connection: SSLCertVerificationError"
        assert await delivered(push(url, **more)) == "no-connection: SSLCertVerificationError", "no public CA made it"


async def test_an_endpoint_may_ask_who_we_are(tmp_path: Path) -> None:
    async with secured(tmp_path, ask=True) as url:
        ours = {"ca": tmp_path / "ca.crt", "timeout_s": 10}
        assert not (await push(url, **ours).deliver(MESSAGE)).taken
        assert await delivered(push(url, certificate=tmp_path / "us.crt", key=tmp_path / "us.key", **ours)) == "204"


def test_a_bad_setting_says_what_to_do(tmp_path: Path) -> None:
    for more, said in (
        ({"url": "http://far.example/"}, "https://"),
        ({"url": "http://127.0.0.1/", "ca": "x"}, "for https"),
        ({"url": "https://far.example/", "certificate": "x"}, "belong together"),
    ):
        with pytest.raises(ValueError, match=said):
            push(**more)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="cannot use this CA"):
        push("https://far.example/", ca=tmp_path / "none.crt")


async def test_an_answer_without_end_is_read_so_far_and_no_further() -> None:
    async def talk(_: Request) -> Reply:
        return Reply(200, b"x" * 100_000)

    listener = Listener(ListenerSettings(port=0), talk)
    task = asyncio.create_task(listener.run())
    client = Client(f"http://127.0.0.1:{listener.port}/", timeout_s=10, trust=Trust(), what="t")
    short = await client.request("GET", "/", {}, answer_max=1000)
    assert (len(short.body), short.whole) == (1000, False)
    assert (await client.request("GET", "/", {}, answer_max=100_000)).whole
    await client.close()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    with pytest.raises(Broken, match="no-connection"):
        await client.request("GET", "/", {}, answer_max=1000)
