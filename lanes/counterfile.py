"""A whole number in a small file, durable: Sparkplug's bdSeq and the host's STATE timestamp.

Written beside, synced, renamed, the folder synced: a power cut leaves the old number or the new one.
"""

import logging
from pathlib import Path
from typing import Final

from . import durable
from .sparkplug import BDSEQ_COUNT, TIMESTAMP_MAX
from .store import Runner

log = logging.getLogger("bucium.lanes")

SIZE_MAX: Final = 32  # bytes; a file that is longer is not ours


class CounterFile:
    """The number in `path`; `run` runs what waits for the disk."""

    def __init__(self, path: Path, run: Runner) -> None:
        self._path = path
        self._run = run

    async def read(self) -> int | None:
        """The number, or None when there is none that can be read: missing, damaged, or somebody else's."""
        return await self._run(_read, self._path)

    async def write(self, value: int) -> None:
        """Durable when it returns. OSError when the disk refuses."""
        await self._run(_write, self._path, value)


class BdSeqFile:
    """A BdSeqStore in a file. A lost file begins at 0 again, as a new node would."""

    def __init__(self, path: Path, run: Runner) -> None:
        self._file = CounterFile(path, run)

    async def advance(self) -> int:
        last = await self._file.read()
        following = 0 if last is None else (last + 1) % BDSEQ_COUNT
        await self._file.write(following)
        return following


class StateTimeFile:
    """A StateTimeStore in a file. While the disk refuses it goes on in memory: telemetry is never a reason to stop."""

    def __init__(self, path: Path, run: Runner) -> None:
        self._path = path
        self._file = CounterFile(path, run)
        self._last = -1

    async def advance(self, now_ms: int) -> int:
        try:
            last = await self._file.read()
        except OSError:
            last = None
        following = self._last = max(now_ms, self._last + 1, 0 if last is None else last + 1)
        try:
            await self._file.write(following)
        except OSError as error:
            log.warning("state-time.not-kept path=%s error=%s", self._path, error.strerror)
        return following


def _read(path: Path) -> int | None:
    try:
        with path.open("rb") as file:
            data = file.read(SIZE_MAX + 1).strip()
    except FileNotFoundError:
        return None
    if len(data) > SIZE_MAX or not data.isdigit():
        return None
    value = int(data)
    return value if value <= TIMESTAMP_MAX else None


def _write(path: Path, value: int) -> None:
    durable.replace(path, b"%d\n" % value)
