"""A program of ours as a process: started, killed, stopped and gone on as the campaign wills; its memory watched."""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
TERM_S: Final = 20.0
TAIL_BYTES: Final = 1000


class Program:
    """`start` again and again. `words` are the command's; `preamble` is Python that runs before it (planted bugs); `prefix` a
    command in which it runs.
    """

    def __init__(self, name: str, words: list[str], log: Path, preamble: str = "", prefix: Sequence[str] = ()) -> None:
        self.name = name
        self.log = log
        self.preamble = preamble
        self.peak_kib = 0
        self.starts = 0
        self._words = words
        self._prefix = [*prefix]
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        run = f"import sys\n{self.preamble}\nfrom bucium.__main__ import main\nsys.exit(main({self._words!r}))"
        argv = [*self._prefix, sys.executable, "-c", run]
        if guard := shutil.which("setpriv"):  # nothing outlives the campaign, however that ends
            argv = [guard, "--pdeathsig", "KILL", "--", *argv]
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
        self.starts += 1

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    def signal(self, number: signal.Signals) -> None:
        """Now, without waiting for anything."""
        if self._process is not None and self.running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    async def gone(self) -> None:
        """Until it has ended."""
        if self._process is not None:
            await self._process.wait()

    async def kill(self) -> None:
        self.signal(signal.SIGKILL)
        await self.gone()

    async def stop(self) -> bool:
        """SIGTERM; False when that was not enough."""
        self.signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.gone(), TERM_S)
        except TimeoutError:
            await self.kill()
            return False
        return True

    def weigh(self) -> None:
        """Note the most memory that any life of it has held."""
        if self._process is None or not self.running:
            return
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    self.peak_kib = max(self.peak_kib, int(line.split()[1]))

    def queued_s(self) -> float:
        """How long this life has waited for a processor that others had: not the product's time."""
        with contextlib.suppress(OSError, IndexError):
            return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[1]) / 1e9
        return 0.0

    def tail(self) -> str:
        with contextlib.suppress(OSError):
            return self.log.read_bytes()[-TAIL_BYTES:].decode(errors="replace")
        return ""
