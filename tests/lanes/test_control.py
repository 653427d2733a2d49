"""The control socket: one line in, one line out, strangers kept out, bad input answered."""

import asyncio
import json

import pytest

from cython_ext import BuciumError
from lanes.control import LINE_BYTES_MAX, ControlError, ask, serve


async def echo(args):
    return args


async def refuse(_args):
    raise BuciumError("the siren is held")


async def codes(_args):
    raise ControlError("held", "the siren is held")


VERBS = {"echo": echo, "refuse": refuse, "codes": codes}


async def call(path, verb, **args):
    return await asyncio.to_thread(ask, path, verb, **args)


async def test_what_others_make_meanwhile_keeps_its_mode(tmp_path, monkeypatch):
    listen = asyncio.start_unix_server

    async def slowly(*words, **options):
        (tmp_path / "folder").mkdir(0o750)
        return await listen(*words, **options)

    monkeypatch.setattr(asyncio, "start_unix_server", slowly)
    async with serve(tmp_path / "s", VERBS):
        assert (tmp_path / "folder").stat().st_mode & 0o700 == 0o700


async def test_a_request_is_answered_and_the_socket_is_for_the_group_only(tmp_path):
    path = tmp_path / "s"
    async with serve(path, VERBS):
        assert path.stat().st_mode & 0o777 == 0o660
        assert await call(path, "echo", a="ș") == {"a": "ș"}
        with pytest.raises(ControlError, match="held") as caught:
            await call(path, "refuse")
        assert caught.value.code == "refused"
        with pytest.raises(ControlError) as caught:
            await call(path, "codes")
        assert caught.value.code == "held"
        with pytest.raises(ControlError, match="knows: codes, echo, refuse"):
            await call(path, "siren")
    with pytest.raises(ControlError, match="is it running"):
        await call(path, "echo")


@pytest.mark.parametrize(
    "line", [b"{}\n", b"[]\n", b"hello\n", b'{"verb": "echo", "args": 5}\n', b'{"verb": []}\n', b"[" * 5000 + b"\n"]
)
async def test_bad_lines_are_answered_and_the_next_one_works(tmp_path, line):
    async with serve(tmp_path / "s", VERBS):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
        writer.write(line)
        assert json.loads(await reader.readline())["ok"] is False
        writer.write(b'{"verb": "echo", "args": {"n": 1}}\n')
        assert json.loads(await reader.readline()) == {"ok": True, "result": {"n": 1}}
        writer.close()


async def test_an_endless_line_is_cut(tmp_path):
    async with serve(tmp_path / "s", VERBS):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            for _ in range(4):
                writer.write(b"x" * LINE_BYTES_MAX)
                await writer.drain()
            await reader.readexactly(1)
        assert await call(tmp_path / "s", "echo") == {}
