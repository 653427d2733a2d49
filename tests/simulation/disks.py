"""Each machine's disk, under SQLite: full, broken, slow to tell the truth, and without power.

A shim VFS stands between SQLite and a folder in memory. It remembers every write since the file's last sync; a power cut undoes
them and lets a random few of them happen after all, in any order, the last one torn (reliability.md §0.6).
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final
from unittest.mock import patch

import apsw

from .machine import HERE

NOISE: Final = 0.5  # of the unsynced writes, how many a power cut lets through


@dataclass(frozen=True)
class Write:
    """One change of a file that is not yet synced: what stood there before, and what was to stand there."""

    offset: int
    before: bytes
    size_before: int
    data: bytes | None  # None: the file was cut at `offset`


@dataclass
class Disk:
    """One machine's disk, and how it fails now."""

    rng: Random
    seen: Counter[str]
    full: bool = False
    sync_fails: bool = False
    write_fails: bool = False
    free_bytes: int = 0  # what a full disk still takes
    quiet: bool = False  # no fault now: the dead are being buried
    failed: bool = False  # it has refused something at least once
    unsynced: dict[str, list[Write]] = field(default_factory=dict)

    def heal(self) -> None:
        self.full = self.sync_fails = self.write_fails = False

    def require_room(self, growth: int) -> None:
        if self.quiet or not self.full or growth <= 0:
            return
        if growth > self.free_bytes:
            self.failed = True
            self.seen["disk full"] += 1
            raise apsw.FullError("no room")
        self.free_bytes -= growth

    def require_writable(self) -> None:
        if self.write_fails and not self.quiet:
            self.failed = True
            self.seen["write failed"] += 1
            raise apsw.IOError("write failed")

    def require_sync(self) -> None:
        if self.sync_fails and not self.quiet:
            self.failed = True
            self.seen["sync failed"] += 1
            raise apsw.IOError("sync failed")

    def power_cut(self, here: Path, there: Path) -> None:
        """`there` is a copy of `here` as the kernel had it; make it what the disk has."""
        for name, writes in self.unsynced.items():
            path = Path(name)
            if not writes or here not in path.parents:
                continue
            copy = there / path.relative_to(here)
            if copy.exists():
                self._lose(copy, writes)
        self.unsynced.clear()

    def _lose(self, path: Path, writes: list[Write]) -> None:
        content = bytearray(path.read_bytes())
        for write in reversed(writes):
            _undo(content, write)
        kept = [write for write in writes if self.rng.random() < NOISE]
        self.rng.shuffle(kept)
        for place, write in enumerate(kept):
            torn = place == len(kept) - 1 and write.data
            _redo(content, write, self.rng.randrange(len(write.data)) if torn and write.data else None)
        path.write_bytes(content)
        self.seen["unsynced write lost"] += len(writes) - len(kept)


def _undo(content: bytearray, write: Write) -> None:
    content[write.offset : write.offset + len(write.before)] = write.before
    if len(content) > write.size_before:
        del content[write.size_before :]


def _redo(content: bytearray, write: Write, torn: int | None) -> None:
    if write.data is None:
        del content[write.offset :]
        return
    data = write.data if torn is None else write.data[:torn]
    if len(content) < write.offset:
        content.extend(bytes(write.offset - len(content)))
    content[write.offset : write.offset + len(data)] = data


class _File(apsw.VFSFile):
    def __init__(self, name: Any, flags: list[int], path: str, disk: Disk) -> None:
        self._disk = disk
        self._path = path
        super().__init__("unix", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        disk = self._disk
        disk.require_writable()
        size = self.xFileSize()
        disk.require_room(offset + len(data) - size)
        before = super().xRead(min(len(data), size - offset), offset) if offset < size else b""
        disk.unsynced.setdefault(self._path, []).append(Write(offset, before, size, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, size: int) -> None:
        self._disk.require_writable()
        now = self.xFileSize()
        gone = super().xRead(now - size, size) if size < now else b""
        self._disk.unsynced.setdefault(self._path, []).append(Write(size, gone, now, None))
        super().xTruncate(size)

    def xSync(self, flags: int) -> None:
        self._disk.require_sync()
        super().xSync(flags)
        self._disk.unsynced.pop(self._path, None)


class Shim(apsw.VFS):
    """The VFS of all machines; files outside their folders pass through."""

    def __init__(self) -> None:
        self.disks: dict[str, Disk] = {}
        super().__init__("world", "unix", makedefault=True)

    def _disk(self, path: str) -> Disk | None:
        return next((disk for folder, disk in self.disks.items() if path.startswith(folder)), None)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        disk = self._disk(path) if path else None
        if path is None or disk is None:
            return apsw.VFSFile("unix", name, flags)
        return _File(name, flags, path, disk)

    def xDelete(self, name: str, syncdir: bool) -> None:
        disk = self._disk(name)
        if disk is not None:
            disk.unsynced.pop(name, None)
        super().xDelete(name, syncdir)

    def xSleep(self, microseconds: int) -> int:
        """Waiting for a lock takes no time here."""
        return microseconds


@contextmanager
def shim() -> Iterator[Shim]:
    """SQLite files opened within the context stand on the disks that are put into `disks` (folder/ → disk)."""
    made = Shim()
    try:
        with patch.object(apsw, "Connection", Connection):
            yield made
    finally:
        made.unregister()


class Connection(apsw.Connection):
    """A connection that its life remembers. SQLite overlooks what fails while it closes a file; apsw would raise what a VFS
    written in Python has raised.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        life = HERE.get()
        if life is not None:
            life.connections.append(self)

    def close(self, force: bool = False) -> None:
        with suppress(apsw.Error):
            super().close(force)
