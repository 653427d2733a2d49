"""Other people's Sparkplug programs, each in an environment of its own: installed by pip now, or asked for in one line."""

import asyncio
import contextlib
import fcntl
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

PYSPARKPLUG = "pysparkplug==0.6.1"  # Apache-2.0; brings paho-mqtt 1.6.1 and protobuf
INSTALL_S = 300.0
SCRIPTS = Path(__file__).parent / "peers"


def python(requirement: str) -> Path:
    """The interpreter of the package's own environment; skips the test (fails it in CI) when it cannot be made."""
    found, why = _environment(requirement)
    if found is None:
        line = f"{requirement} is not installed ({why}); get it with: pip download {requirement}, from a network that has it"
        if os.environ.get("CI"):
            pytest.fail(line)
        pytest.skip(line)
    return found


@cache
def _environment(requirement: str) -> tuple[Path | None, str]:
    name = requirement.replace("==", "-")
    folder = (
        Path(tempfile.gettempdir()) / f"bucium-tests-{os.getuid()}-{name}-{sys.version_info[0]}.{sys.version_info[1]}"
    )
    made, interpreter = folder / "made", folder / "bin" / "python"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test workers, one pip
        if not made.exists():
            for command in (
                [sys.executable, "-m", "venv", "--clear", str(folder)],
                [str(interpreter), "-m", "pip", "install", "-q", "--disable-pip-version-check", requirement],
            ):
                try:
                    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=INSTALL_S)
                except subprocess.TimeoutExpired:
                    return None, "pip took too long"
                if done.returncode:
                    lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
                    return None, lines[-1][7:120] if lines else "pip failed"
            made.touch()
    return interpreter, ""


@dataclass
class Peer:
    """A running script. It is told things as lines of JSON, and says what happened to it in the same way."""

    process: asyncio.subprocess.Process
    said: list[dict[str, Any]] = field(default_factory=list)

    async def tell(self, do: str, **values: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do} | values).encode() + b"\n")
        await self.process.stdin.drain()

    def of(self, kind: str) -> list[dict[str, Any]]:
        """What it said of this kind, in order."""
        return [each for each in self.said if each["is"] == kind]

    async def hear(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.said.append(json.loads(line))


@asynccontextmanager
async def peer(requirement: str, script: str, *arguments: object) -> AsyncIterator[Peer]:
    """`tests/kit/peers/{script}` under the package's interpreter, until the context ends."""
    process = await asyncio.create_subprocess_exec(
        str(python(requirement)),
        str(SCRIPTS / script),
        *map(str, arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    made = Peer(process)
    hearing = asyncio.create_task(made.hear())
    try:
        yield made
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)
