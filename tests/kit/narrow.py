"""A narrow line of the kernel's own: a network namespace behind a token bucket, as behind a modem.

    with Narrow() as line: line.shape(9600); run [*line.prefix, …]; line.cut(); line.mend()

The program inside reaches us at `line.host` over the narrow line. `line.listen()` is a socket on its own loopback, for devices
that stand beside it. Needs root and iproute2.
"""

import contextlib
import ctypes
import itertools
import os
import socket
import subprocess
import threading
from types import TracebackType
from typing import Final, Self

from tests.kit import debian

CLONE_NEWNET: Final = 0x40000000
BURST: Final = 1600  # bytes: one full packet; the kernel's tbf needs that much
QUEUE: Final = 6000  # bytes that the modem holds: five seconds at 9.6 kbit/s, for whoever fills it
_SERIAL: Final = itertools.count()
PATH: Final = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


class Narrow:
    """One namespace and its line."""

    def __init__(self) -> None:
        number = (os.getpid() + 2000 * next(_SERIAL)) % 4000  # the kernel takes a line down after its name is gone
        self.name = f"bf{number}"
        self.near = f"{self.name}n"  # the device at our end
        high, low = 64 + number // 250, number % 250
        self.host, self._inside = f"10.{high}.{low}.1", f"10.{high}.{low}.2"

    @staticmethod
    def missing() -> str:
        """Why there is none here, with how to get it; empty: it can be had."""
        if os.geteuid() != 0:
            return "a narrow line needs root; run as root: make test"
        if debian.program("tc", "iproute2") is None or debian.program("ip", "iproute2") is None:
            return debian.how("iproute2")
        return ""

    @property
    def prefix(self) -> list[str]:
        """What goes before a command that is to run inside."""
        return ["ip", "netns", "exec", self.name]

    def __enter__(self) -> Self:
        self._ip("netns", "add", self.name)
        near, far = self.near, f"{self.name}ni"
        self._ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", self.name)
        self._ip("addr", "add", f"{self.host}/24", "dev", near)
        self._ip("-n", self.name, "addr", "add", f"{self._inside}/24", "dev", far)
        self._ip("link", "set", near, "up")
        for device in (far, "lo"):
            self._ip("-n", self.name, "link", "set", device, "up")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):
            self._ip("netns", "del", self.name)

    def shape(self, bits_per_s: int) -> None:
        """Both ways, from now on."""
        rate = ["root", "tbf", "rate", f"{bits_per_s}bit", "burst", str(BURST), "limit", str(QUEUE)]
        _run("tc", "qdisc", "replace", "dev", self.near, *rate)
        _run("ip", "netns", "exec", self.name, "tc", "qdisc", "replace", "dev", f"{self.name}ni", *rate)

    def cut(self) -> None:
        """Nothing passes, and nobody is told."""
        self._ip("link", "set", self.near, "down")

    def mend(self) -> None:
        self._ip("link", "set", self.near, "up")

    def listen(self) -> socket.socket:
        """A listening socket on the loopback of the inside."""
        made: list[socket.socket] = []

        def inside() -> None:
            libc = ctypes.CDLL(None, use_errno=True)
            with open(f"/run/netns/{self.name}") as namespace:  # of this thread only
                if libc.setns(namespace.fileno(), CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            made.append(socket.create_server(("127.0.0.1", 0)))

        thread = threading.Thread(target=inside)
        thread.start()
        thread.join()
        return made[0]

    def _ip(self, *words: str) -> None:
        _run("ip", *words)


def _run(*words: str) -> None:
    subprocess.run(words, check=True, env={**os.environ, "PATH": PATH}, capture_output=True)
