"""The disks under the programs' folders: an ordinary folder, one whose power can be cut, one that can be full."""

import asyncio
import contextlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any, Final

from tests.kit import debian

from .programs import ROOT

READY_S: Final = 60.0
LOOP_MIB: Final = 64  # room for a node's ballast, which needs five times its size to be taken aboard
CHUNK: Final = 1 << 20


class DiskError(Exception):
    """A disk that cannot be had here; the message says how to get it."""


class Disk:
    """An ordinary folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def mount(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    async def unmount(self) -> None:
        return

    async def cut(self, seed: int) -> dict[str, int]:
        """The power goes; the program that wrote here is dead."""
        raise DiskError("this disk's power cannot be cut")

    async def failing(self, on: bool) -> dict[str, int]:
        """Every fsync fails, or no longer does."""
        raise DiskError("this disk's fsync cannot fail")

    def fill(self) -> int:
        """Take all room that is left; how many bytes that was."""
        raise DiskError("this disk cannot be filled")

    def empty(self) -> None:
        raise DiskError("this disk cannot be filled")


class PowerDisk(Disk):
    """A FUSE file system (tests/kit/powercut.py) that forgets what was not synced."""

    _process: asyncio.subprocess.Process

    @staticmethod
    def missing() -> str:
        """Why there is none here, with how to get it; empty: it can be had."""
        if os.geteuid() != 0 or not Path("/dev/fuse").exists():
            return "power cuts and failing fsyncs need root and /dev/fuse; run as root: make faults"
        if debian.library("fuse3", "libfuse3-3") is None:
            return debian.how("libfuse3-3")
        try:
            import mfusepy  # noqa: F401
        except (ImportError, OSError, AttributeError):
            return "mfusepy is not installed; get it with: make test"
        return ""

    async def mount(self) -> None:
        await super().mount()
        guard = shutil.which("setpriv")
        self._process = await asyncio.create_subprocess_exec(
            *([guard, "--pdeathsig", "TERM", "--"] if guard else []),
            sys.executable,
            "-m",
            "tests.kit.powercut",
            str(self.folder),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
        )
        await self._line()

    async def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        async with asyncio.timeout(READY_S):
            line = await self._process.stdout.readline()
        found: dict[str, Any] = json.loads(line or b"{}")
        return found

    async def _ask(self, words: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(words.encode() + b"\n")
        return await self._line()

    async def cut(self, seed: int) -> dict[str, int]:
        await self._ask(f"cut {seed}")
        await _run("umount", str(self.folder))
        return await self._line()

    async def failing(self, on: bool) -> dict[str, int]:
        return await self._ask(f"eio {int(on)}")

    async def stats(self) -> dict[str, int]:
        return await self._ask("stats")

    async def unmount(self) -> None:
        with contextlib.suppress(DiskError):
            await _run("umount", "-l", str(self.folder))
        with contextlib.suppress(TimeoutError, ProcessLookupError):
            await asyncio.wait_for(self._process.wait(), READY_S)
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()


class LoopDisk(Disk):
    """A small ext4 in a file."""

    @staticmethod
    def missing() -> str:
        if os.geteuid() != 0 or not Path("/dev/loop-control").exists():
            return "full disks need root and loop devices; run as root: make faults"
        if shutil.which("mkfs.ext4", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") is None:
            return "mkfs.ext4 is not installed; get it with: sudo apt install e2fsprogs"
        return ""

    async def mount(self) -> None:
        await super().mount()
        image = self.folder.with_name(self.folder.name + ".img")
        with image.open("wb") as file:
            file.truncate(LOOP_MIB << 20)
        await _run("mkfs.ext4", "-q", "-m", "0", str(image))
        await _run("mount", "-o", "loop", str(image), str(self.folder))

    async def unmount(self) -> None:
        with contextlib.suppress(DiskError):
            await _run("umount", str(self.folder))

    @property
    def _junk(self) -> Path:
        return self.folder / "junk"

    def fill(self) -> int:
        """Somebody else's log, down to the last byte."""
        written = 0
        with self._junk.open("wb", buffering=0) as file:
            size = CHUNK
            while size >= 512:
                try:
                    written += file.write(bytes(size))
                except OSError:
                    size //= 2
        return written

    def empty(self) -> None:
        self._junk.unlink(missing_ok=True)


async def _run(*words: str) -> None:
    environment = {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}
    process = await asyncio.create_subprocess_exec(
        *words, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    if process.returncode:
        raise DiskError(f"{' '.join(words)}: {said.decode(errors='replace').strip()}")
