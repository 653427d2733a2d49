"""The dispatch centre of the demo: a real HTTP server on loopback that takes what our webhook posts, and remembers when."""

import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Final, Self

from cython_ext import Clock

BODY_BYTES_MAX: Final = 1 << 20  # a CAP message with four languages is 20 kB


@dataclass(frozen=True, slots=True)
class Post:
    """One request as it came."""

    at_us: int
    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """`with Receiver(clock) as receiver:` listens on a free port; `posts` grows. Every post is answered 204."""

    def __init__(self, clock: Clock) -> None:
        self.posts: list[Post] = []
        posts = self.posts

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30

            def do_POST(self) -> None:
                length = self.headers.get("Content-Length", "")
                if not length.isdecimal() or int(length) > BODY_BYTES_MAX:
                    self.send_error(413 if length.isdecimal() else 411)
                    return
                body = self.rfile.read(int(length))
                headers = {name.lower(): value for name, value in self.headers.items()}
                posts.append(Post(clock.wall_us(), self.path, headers, body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the standard library's name
                """Nothing: what came is in `posts`."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="receiver", daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/alarms"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
