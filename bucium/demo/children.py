"""Our programs, and the broker, as child processes: each with a log of its own, ended in order, never left behind."""

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from cython_ext import BuciumError

TERM_S: Final = 8.0  # a node switches its sirens off and commits; a controller flushes its outboxes
TAIL_LINES: Final = 8
TAIL_BYTES: Final = 8192


class ChildError(BuciumError):
    """A child that did not start, or has died; the message holds the end of its log."""


class Child:
    """One child process. `start` returns once it runs; `stop` always ends it."""

    def __init__(self, name: str, argv: Sequence[str], log: Path, cwd: Path) -> None:
        self.name = name
        self.log = log
        self._argv = [*_die_with_us(), *argv]
        self._cwd = cwd
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self.log.open("ab") as file:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *self._argv,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=file,
                    stderr=file,
                    cwd=self._cwd,
                    env=_environment(),
                    start_new_session=True,  # the terminal's Ctrl-C is ours to handle, in order
                )
            except OSError as error:
                raise ChildError(f"cannot start {self.name} ({self._argv[0]}): {error.strerror}") from None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    @property
    def ended(self) -> int | None:
        """Its exit code, or None while it runs."""
        return self._process.returncode if self._process else None

    def require(self) -> None:
        """ChildError when it has ended by itself."""
        if self.ended is not None:
            raise ChildError(f"{self.name} ended with code {self.ended}; the end of {self.log.name}:\n{self.tail()}")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal: SIGKILL is how the demo pulls a plug."""
        if self._process and self.ended is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL when that is not answered in 8 s."""
        if self._process is None:
            return
        self.signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), TERM_S)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()

    def tail(self, lines: int = TAIL_LINES) -> str:
        """The last lines of its log."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - TAIL_BYTES))
                text = file.read().decode(errors="replace")
        except OSError:
            return ""
        return "\n".join(f"  {line}" for line in text.splitlines()[-lines:])


class Family:
    """Children that are stopped together, the last started first."""

    def __init__(self) -> None:
        self.children: list[Child] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self.children:
            await asyncio.shield(self.children.pop().stop())

    async def add(self, child: Child) -> Child:
        self.children.append(child)
        await child.start()
        return child

    def require(self) -> None:
        """ChildError for the first that has ended by itself."""
        for child in self.children:
            child.require()


def _environment() -> dict[str, str]:
    """Our packages are found where this file is, and never in the child's folder."""
    here = str(Path(__file__).resolve().parents[2])
    old = os.environ.get("PYTHONPATH", "")
    path = f"{here}{os.pathsep}{old}" if old else here
    return {**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}


def _die_with_us() -> list[str]:
    """util-linux's setpriv makes the kernel end the child when the demo is killed without a chance to tidy up."""
    found = shutil.which("setpriv")
    return [found, "--pdeathsig", "TERM", "--"] if found else []
