"""Whether a program lives: what its loops promise, and systemd's watchdog (sd_notify)."""

import asyncio
import logging
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from cython_ext import Clock

log = logging.getLogger("bucium.pulse")

PROBE_S: Final = 10.0


class Pulse:
    """Loops promise when they will be back. One that is not is a reason to be started again."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._by_ns: dict[str, int] = {}

    def expect(self, loop: str, by_ns: int) -> None:
        """`loop` will call again before this monotonic instant."""
        self._by_ns[loop] = by_ns

    def late(self) -> list[str]:
        now_ns = self._clock.monotonic_ns()
        return sorted(loop for loop, by_ns in self._by_ns.items() if now_ns > by_ns)


def notify(message: str, environment: Mapping[str, str] = os.environ) -> bool:
    """systemd's sd_notify: False where there is no systemd to tell."""
    address = environment.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.connect("\0" + address[1:] if address.startswith("@") else address)
        sender.sendall(message.encode())
        return True
    return False


async def watchdog(pulse: Pulse, environment: Mapping[str, str] = os.environ) -> None:
    """Ping systemd at twice its pace, but only while every loop keeps its promise."""
    micros = environment.get("WATCHDOG_USEC", "")
    interval_s = int(micros) / 2e6 if micros.isdigit() and int(micros) > 0 else PROBE_S
    while True:
        if late := pulse.late():
            log.error("loops.stuck names=%s", ",".join(late))
        else:
            notify("WATCHDOG=1", environment)
        await asyncio.sleep(interval_s)
