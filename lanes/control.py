"""A service's control socket: a Unix socket of mode 0660 that speaks JSON, one request and one answer a line (design §5).

A request is {"verb": …, "args": {…}} and the answer {"ok": true, "result": …} or {"ok": false, "error": …, "code": …}. What a
person does carries that person's signature in `args` (base64 of an ACT or APPROVAL envelope): the socket's mode keeps strangers
out, the signature says who it was.
"""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from cython_ext import BuciumError, ConfigError, WireError

LINE_BYTES_MAX: Final = 1 << 20  # a long alarm list is 200 kB
CLIENTS_MAX: Final = 32  # people and their tools on one machine
ANSWER_TIMEOUT_S: Final = 15.0

Handler = Callable[[dict[str, Any]], Awaitable[Any]]


class ControlError(BuciumError):
    """The service refused, or is not there. `code` is a stable short word."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


@asynccontextmanager
async def serve(path: Path, verbs: dict[str, Handler]) -> AsyncIterator[None]:
    """Answer `verbs` on the socket `path` while the context lasts. A handler's BuciumError is its answer."""
    clients = 0

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal clients
        clients += 1
        try:
            if clients > CLIENTS_MAX:
                await _send(writer, _refusal("busy", f"more than {CLIENTS_MAX} clients"))
                return
            while line := await reader.readline():
                await _send(writer, await _answer(line, verbs))
        except (ValueError, ConnectionError, asyncio.IncompleteReadError):
            return  # an over-long line, or the client has gone: its trouble, not ours
        finally:
            clients -= 1
            writer.close()

    path.unlink(missing_ok=True)
    own = socket.socket(socket.AF_UNIX)
    try:
        own.bind(str(path))
        path.chmod(
            0o660
        )  # before anyone can connect; a umask would be the whole process's: folders made meanwhile (seen)
        server = await asyncio.start_unix_server(client, sock=own, limit=LINE_BYTES_MAX)
    except OSError as error:
        own.close()
        raise ConfigError(f"cannot open the control socket: {error.strerror or error}", source=str(path)) from None
    try:
        yield
    finally:
        server.close()
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


async def _answer(line: bytes, verbs: dict[str, Handler]) -> dict[str, Any]:
    try:
        request = json.loads(line)
        handler = verbs[request["verb"]]
        args = request.get("args", {})
        if not isinstance(args, dict):
            raise TypeError
    except KeyError:
        return _refusal("unknown-verb", f"this service knows: {', '.join(sorted(verbs))}")
    except (ValueError, TypeError, RecursionError):
        return _refusal("malformed", 'a request is one line of JSON: {"verb": …, "args": {…}}')
    try:
        return {"ok": True, "result": await handler(args)}
    except (ControlError, WireError) as error:
        return _refusal(error.code, str(error))
    except BuciumError as error:
        return _refusal("refused", str(error))


def _refusal(code: str, message: str) -> dict[str, Any]:
    return {"ok": False, "code": code, "error": message}


async def _send(writer: asyncio.StreamWriter, answer: dict[str, Any]) -> None:
    writer.write(json.dumps(answer, ensure_ascii=False).encode() + b"\n")
    await writer.drain()


def _nobody(path: Path, error: OSError) -> ControlError:
    return ControlError("no-service", f"no service answers at {path} ({error.strerror or error}); is it running?")


def ask(path: Path, verb: str, **args: Any) -> Any:
    """One request from a command line; ControlError when the service refuses or is not there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(ANSWER_TIMEOUT_S)
        try:
            client.connect(str(path))
            client.sendall(json.dumps({"verb": verb, "args": args}).encode() + b"\n")
            with client.makefile("rb") as file:
                line = file.readline(LINE_BYTES_MAX)
        except OSError as error:
            raise _nobody(path, error) from None
    return _result(path, line)


async def call(path: Path, verb: str, *, timeout_s: float = ANSWER_TIMEOUT_S, **args: Any) -> Any:
    """As `ask`, for a service that asks another one and has other things to do meanwhile."""
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_unix_connection(str(path), limit=LINE_BYTES_MAX)
            try:
                writer.write(json.dumps({"verb": verb, "args": args}).encode() + b"\n")
                line = await reader.readline()
            finally:
                writer.close()
    except TimeoutError:
        raise ControlError("no-answer", f"the service at {path} has not answered in {timeout_s:g} s") from None
    except OSError as error:
        raise _nobody(path, error) from None
    except ValueError:
        line = b""  # longer than any answer
    return _result(path, line)


def _result(path: Path, line: bytes) -> Any:
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise ControlError("no-answer", f"the service at {path} closed without an answer")
    if not answer.get("ok"):
        raise ControlError(str(answer.get("code", "refused")), str(answer.get("error", "refused")))
    return answer.get("result")
