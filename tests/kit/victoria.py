"""A real VictoriaMetrics: installed from Debian when we are root, asked for in one line otherwise, demanded in CI."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.kit import debian

PACKAGE = "victoria-metrics"


def program() -> str:
    """The program's path; skips the test (fails it in CI) when it cannot be had."""
    found = debian.program(PACKAGE, PACKAGE)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(debian.how(PACKAGE))
        pytest.skip(debian.how(PACKAGE))
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@dataclass
class Victoria:
    """One server on a port and a folder of its own; it may be stopped and started again."""

    folder: Path
    port: int
    flags: tuple[str, ...] = ()
    process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            program(),
            f"-storageDataPath={self.folder}",
            f"-httpListenAddr=127.0.0.1:{self.port}",
            "-retentionPeriod=100y",
            "-search.latencyOffset=0s",
            "-memory.allowedBytes=64MB",
            *self.flags,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        async with asyncio.timeout(60):
            while not await self._healthy():
                assert self.process.returncode is None, "VictoriaMetrics ended at its start"
                await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """SIGTERM: what it has acknowledged is then on its disk (a kill -9 loses its last second, by its own design)."""
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
            await self.process.wait()

    async def series(self, metric: str) -> list[dict[str, Any]]:
        """Every series of `metric` (a regular expression), with labels, values and timestamps in ms."""
        await self._get("/internal/force_flush")
        match = urllib.parse.quote(f'{{__name__=~"{metric}"}}')
        text = await self._get(f"/api/v1/export?match[]={match}")
        return [json.loads(line) for line in text.splitlines()]

    async def _healthy(self) -> bool:
        try:
            return await self._get("/health") == "OK"
        except OSError:
            return False

    async def _get(self, path: str) -> str:
        def get() -> str:
            with urllib.request.urlopen(self.url + path, timeout=10) as response:
                return str(response.read().decode())

        return await asyncio.to_thread(get)


@asynccontextmanager
async def victoria(folder: Path, *flags: str) -> AsyncIterator[Victoria]:
    """A server that is running, and is stopped with the context."""
    server = Victoria(folder, free_port(), flags)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
