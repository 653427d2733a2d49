"""A disk that fails on cue, under SQLite: full at so many bytes, or with an error at sync, read or write."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw


class Disk:
    """The state of the disk that holds `folder`. Everything in the folder takes room, whoever wrote it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.room: int | None = None  # bytes that the folder may hold; None: no end
        self.sync_fails = False
        self.write_fails = False
        self.syncs = 0

    def used(self) -> int:
        return sum(path.stat().st_size for path in self.folder.iterdir())

    def free(self, _folder: Path | None = None) -> int:
        return (1 << 40) if self.room is None else max(0, self.room - self.used())


class _File(apsw.VFSFile):
    def __init__(self, name: object, flags: list[int], disk: Disk) -> None:
        self._disk = disk
        super().__init__("unix", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        if self._disk.write_fails:
            raise apsw.IOError("write failed")
        growth = offset + len(data) - self.xFileSize()
        if self._disk.room is not None and growth > 0 and self._disk.used() + growth > self._disk.room:
            raise apsw.FullError("no room")
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        if self._disk.sync_fails:
            raise apsw.IOError("sync failed")
        self._disk.syncs += 1
        super().xSync(flags)


class _Vfs(apsw.VFS):
    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        super().__init__("faulty", "unix", makedefault=True)

    def xOpen(self, name: object, flags: list[int]) -> apsw.VFSFile:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        if path is not None and self._disk.folder not in Path(str(path)).parents:
            return apsw.VFSFile("unix", name, flags)  # another disk
        return _File(name, flags, self._disk)


@contextmanager
def faulty_disk(folder: Path) -> Iterator[Disk]:
    """The SQLite files of the folder that are opened within the context stand on this disk."""
    disk = Disk(folder)
    vfs = _Vfs(disk)
    try:
        yield disk
    finally:
        vfs.unregister()
