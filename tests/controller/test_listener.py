"""The HTTP server on real sockets: what it answers, and that nobody holds it by being slow, large or wrong."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bucium import certificates
from controller import listener
from controller.listener import Listener, ListenerSettings, Reply, Request, unchanged
from cython_ext import ConfigError
from tests.kit.clock import START_WALL_US

ETAG = '"abc"'


async def handler(request: Request) -> Reply:
    if request.path == "/echo":
        return Reply(200, request.body, {"content-type": "text/plain"})
    if unchanged(request, ETAG, START_WALL_US):
        return Reply(304, headers={"etag": ETAG})
    return Reply(200, b"hello", {"etag": ETAG})


@asynccontextmanager
async def serving(**more: object) -> AsyncIterator[Listener]:
    server = Listener(ListenerSettings.model_validate({"port": 0, **more}), handler)
    task = asyncio.create_task(server.run())
    try:
        yield server
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def ask(server: Listener, data: bytes, *, eof: bool = False) -> bytes:
    """Everything that the server answers until it closes, or until it has been quiet after an answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(data)
    if eof:
        writer.write_eof()
    answer = b""
    with contextlib.suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(5):
            while piece := await reader.read(65536):
                answer += piece
    writer.close()
    return answer


def get(path: str = "/", method: str = "GET", **headers: str) -> bytes:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{lines}\r\n".encode()


async def test_it_answers_get_head_and_post() -> None:
    async with serving() as server:
        whole = await ask(server, get())
        assert whole.startswith(b"HTTP/1.1 200")
        assert whole.endswith(b"\r\n\r\nhello")
        head = await ask(server, get(method="HEAD"))
        assert head.endswith(b"\r\n\r\n")
        assert b"content-length: 5" in head
        posted = await ask(server, get("/echo", "POST", content_length="3") + b"abc")
        assert posted.endswith(b"\r\n\r\nabc")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"if_none_match": ETAG}, 304),
        ({"if_none_match": f'"x", W/{ETAG}'}, 304),
        ({"if_none_match": "*"}, 304),
        ({"if_none_match": '"x"', "if_modified_since": "Fri, 02 Jan 2099 03:00:00 GMT"}, 200),
        ({"if_modified_since": "Fri, 02 Jan 2026 03:00:00 GMT"}, 304),
        ({"if_modified_since": "Fri, 02 Jan 2026 02:59:59 GMT"}, 200),
        ({"if_modified_since": "yesterday"}, 200),
    ],
)
async def test_conditional_requests(headers: dict[str, str], status: int) -> None:
    async with serving() as server:
        answer = await ask(server, get(**headers))
        assert answer.startswith(f"HTTP/1.1 {status}".encode())
        assert (b"hello" in answer) is (status == 200)


async def test_one_connection_serves_many_requests() -> None:
    async with serving() as server:
        keep = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
        answer = await ask(server, keep * 4 + get())
        assert answer.count(b"HTTP/1.1 200") == 5


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),  # no host
        (b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"y" * (20 << 10) + b"\r\n\r\n", b"431"),
        (b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 999999999\r\n\r\n", b"413"),
        (b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999\r\n\r\n", b"413"),
        (b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", b"400"),
        (b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n", b"400"),
        (b"POST /echo HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\n", b"417"),
    ],
)
async def test_what_is_wrong_or_too_large_is_refused(data: bytes, status: bytes) -> None:
    async with serving() as server:
        assert (await ask(server, data)).startswith(b"HTTP/1.1 " + status)
        assert (await ask(server, get())).endswith(b"hello"), "and the next is served"


async def test_a_chunked_body_is_bounded_too() -> None:
    async with serving() as server:
        head = b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        piece = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"
        assert (await ask(server, head + piece * 5)).startswith(b"HTTP/1.1 413")
        small = await ask(server, head + b"3\r\nabc\r\n0\r\n\r\n" + get())
        assert b"abc" in small


async def test_the_slow_are_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEAD_S", "BODY_S"):
        monkeypatch.setattr(listener, name, 0.2)
    async with serving() as server:
        for data in (b"", b"GET / HT", b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nabc"):
            assert await ask(server, data) == b""
        assert server.refused["broken"] == 3
        assert (await ask(server, get())).endswith(b"hello")


async def test_all_slots_taken_means_waiting_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "CONNECTIONS_MAX", 2)
    monkeypatch.setattr(listener, "HEAD_S", 0.3)
    async with serving() as server:
        idle = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(2)]
        assert (await ask(server, get())).endswith(b"hello"), "once the idle ones were cut off"
        for _, writer in idle:
            writer.close()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_leave_it_standing(data: bytes) -> None:
    async def play() -> None:
        async with serving() as server:
            await ask(server, data, eof=True)
            assert (await ask(server, get())).endswith(b"hello")

    asyncio.run(play())


async def test_tls_with_its_own_certificate(tmp_path: Path) -> None:
    certificates.make_authority(tmp_path, "T", START_WALL_US + 200 * 86_400_000_000)
    certificate, key = certificates.issue(
        tmp_path, "centre", START_WALL_US + 200 * 86_400_000_000, hosts=("127.0.0.1",), days=3650
    )
    async with serving(certificate=certificate, key=key) as server:
        trust = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=trust)
        writer.write(get())
        assert (await reader.read(-1)).endswith(b"hello")
        writer.close()
        assert await ask(server, get()) == b"", "no plain HTTP there"
    key.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        Listener(ListenerSettings(port=0, certificate=certificate, key=key), handler)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"host": "0.0.0.0"}, "certificate and key"),
        ({"host": "localhost"}, "an address"),
        ({"certificate": "x"}, "belong together"),
        ({"prot": 1}, "Extra inputs"),
    ],
)
def test_a_bad_setting_says_what_is_wrong(more: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ListenerSettings.model_validate(more)
    ListenerSettings.model_validate({"host": "0.0.0.0", "insecure": True})


async def test_a_port_that_is_taken_is_a_clear_refusal() -> None:
    async with serving() as server:
        with pytest.raises(ConfigError, match="cannot listen"):
            Listener(ListenerSettings(port=server.port), handler)
