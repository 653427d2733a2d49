"""A disk whose power can be cut: a FUSE file system in memory that forgets what was never synced, in the manner of a disk.

    python -m tests.kit.powercut MOUNTPOINT

It takes commands on its standard input and answers each with one line of JSON on its standard output:

    cut SEED     the next unmount is a power cut: of what was written since a file's last fsync, nothing survives, or a part in
                 any order, or a part with one write torn; of names made, moved and removed since the last fsync of anything,
                 the first few (a journaling file system keeps their order). Then it is mounted anew.
    eio 1|0      every fsync fails with EIO (and what it was to sync counts as never synced), or no longer does
    stats        what happened so far

The program that writes here must be dead (SIGKILL) and its files closed when the mount point is unmounted (`umount`).
"""

import errno
import json
import os
import stat
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

SECTOR: Final = 512
ROOM: Final = 1 << 30  # what statfs says
Op = tuple[str, Any, Any]


@dataclass
class Inode:
    """A file: what programs see, what the platter has, and what lies between."""

    mode: int
    seen: bytearray = field(default_factory=bytearray)
    kept: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)  # (offset, data), or (length, None): cut to

    def put(self, offset: int, data: bytes | None) -> None:
        _apply(self.seen, offset, data)
        self.pending.append((offset, data))

    def sync(self) -> None:
        for offset, data in self.pending:
            _apply(self.kept, offset, data)
        self.pending.clear()


def _apply(to: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del to[offset:]
        to.extend(bytes(offset - len(to)))
        return
    if offset > len(to):
        to.extend(bytes(offset - len(to)))
    to[offset : offset + len(data)] = data


class Platter:
    """Names and files, as seen and as kept. Paths are '/a/b'."""

    def __init__(self) -> None:
        self.names: dict[str, Inode] = {"/": Inode(stat.S_IFDIR | 0o755)}
        self.kept_names = dict(self.names)
        self.log: list[Op] = []
        self.sync_fails = False
        self.stats: Counter[str] = Counter()

    def change(self, what: str, path: str, other: Any = None) -> None:
        """A change of names: "make" (other: the inode), "move" (other: the new path), "drop"."""
        _rename(self.names, (what, path, other))
        self.log.append((what, path, other))

    def sync(self, inode: Inode | None) -> None:
        """fsync of a file (None: of a folder). OSError when that is to fail."""
        self.stats["syncs"] += 1
        if self.sync_fails:
            self.stats["failed syncs"] += 1
            if inode is not None:  # the kernel drops what it could not write, and says so once
                self.stats["writes of failed syncs"] += len(inode.pending)
                inode.pending = [(len(inode.seen), None)] if inode.pending else []
            raise OSError(errno.EIO, "fsync")
        if inode is not None:
            inode.sync()
        for op in self.log:
            _rename(self.kept_names, op)
        self.log.clear()

    def cut(self, rng: Random) -> None:
        """The power goes, and comes back."""
        self.stats["cuts"] += 1
        for op in self.log[: rng.randint(0, len(self.log))]:
            _rename(self.kept_names, op)
        self.stats["names lost"] += len(self.log)
        self.log.clear()
        self.names = dict(self.kept_names)
        for inode in self.names.values():
            if inode.pending:
                self._settle(inode, rng)
            inode.pending.clear()
            inode.seen = bytearray(inode.kept)

    def _settle(self, inode: Inode, rng: Random) -> None:
        """Which unsynced writes have reached the platter."""
        how = rng.choice(("none", "some", "torn"))
        self.stats[f"files cut: {how}"] += 1
        survivors: list[tuple[int, bytes | None]] = []
        if how == "some":
            survivors = [op for op in inode.pending if rng.random() < 0.5]
            rng.shuffle(survivors)
        elif how == "torn":
            survivors = inode.pending[: rng.randint(1, len(inode.pending))]
            offset, data = survivors[-1]
            if data is not None:
                survivors[-1] = offset, data[: rng.randint(0, len(data) // SECTOR) * SECTOR]
        self.stats["writes lost"] += len(inode.pending) - len(survivors)
        for offset, data in survivors:
            _apply(inode.kept, offset, data)


def _rename(names: dict[str, Inode], op: Op) -> None:
    what, path, other = op
    if what == "make":
        names[path] = other
    elif what == "drop":
        names.pop(path, None)
    elif path in names:
        for old in [name for name in names if name == path or name.startswith(path + "/")]:
            names[other + old[len(path) :]] = names.pop(old)


class Calls:
    """The file system's calls. `fh` is the identity of an inode."""

    use_ns = True

    def __init__(self, platter: Platter) -> None:
        self.platter = platter
        self.open_files: dict[int, Inode] = {}

    def _at(self, path: str) -> Inode:
        found = self.platter.names.get(path)
        if found is None:
            raise OSError(errno.ENOENT, path)
        return found

    def _of(self, path: str, fh: int | None) -> Inode:
        return self.open_files.get(fh or 0) or self._at(path)

    def _hold(self, inode: Inode) -> int:
        self.open_files[id(inode)] = inode  # kept alive, so that the number stays its own
        return id(inode)

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        inode = self._of(path, fh)
        return {"st_mode": inode.mode, "st_size": len(inode.seen), "st_nlink": 1, "st_uid": os.getuid()}

    def readdir(self, path: str, fh: int) -> list[str]:
        inside = path.rstrip("/") + "/"
        names = (name[len(inside) :] for name in self.platter.names if name.startswith(inside) and name != "/")
        return [".", "..", *(name for name in names if "/" not in name)]

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        inode = Inode(stat.S_IFREG | (mode & 0o777))
        self.platter.change("make", path, inode)
        return self._hold(inode)

    def open(self, path: str, flags: int) -> int:
        return self._hold(self._at(path))

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return bytes(self._of(path, fh).seen[offset : offset + size])

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        self._of(path, fh).put(offset, bytes(data))
        return len(data)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        self._of(path, fh).put(length, None)
        return 0

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        self.platter.sync(self._of(path, fh))
        return 0

    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        self.platter.sync(None)
        return 0

    def mkdir(self, path: str, mode: int) -> int:
        self.platter.change("make", path, Inode(stat.S_IFDIR | (mode & 0o777)))
        return 0

    def unlink(self, path: str) -> int:
        self._at(path)
        self.platter.change("drop", path)
        return 0

    def rmdir(self, path: str) -> int:
        if any(name.startswith(path + "/") for name in self.platter.names):
            raise OSError(errno.ENOTEMPTY, path)
        self.platter.change("drop", path)
        return 0

    def rename(self, old: str, new: str) -> int:
        self._at(old)
        self.platter.change("move", old, new)
        return 0

    def chmod(self, path: str, mode: int) -> int:
        inode = self._at(path)
        inode.mode = stat.S_IFMT(inode.mode) | (mode & 0o7777)
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        return 0

    def utimens(self, path: str, times: Any = None) -> int:
        return 0

    def statfs(self, path: str) -> dict[str, int]:
        used = sum(len(inode.seen) for inode in self.platter.names.values())
        free = max(0, ROOM - used) // 4096
        return {"f_bsize": 4096, "f_frsize": 4096, "f_blocks": ROOM // 4096, "f_bfree": free, "f_bavail": free}

    def init_with_config(self, conn: Any, config: Any) -> None:
        _say({"ready": True, **self.platter.stats})


def _say(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def _listen(platter: Platter, cuts: list[int]) -> None:
    for line in sys.stdin:
        word, _, rest = line.strip().partition(" ")
        if word == "cut":
            cuts.append(int(rest))
        elif word == "eio":
            platter.sync_fails = rest == "1"
        _say(dict(platter.stats))


def main() -> None:
    """Serve until unmounted without a cut before."""
    import mfusepy

    class Disk(Calls, mfusepy.Operations):  # type: ignore[misc]
        """As the library wants it."""

    platter, cuts = Platter(), list[int]()
    threading.Thread(target=_listen, args=(platter, cuts), daemon=True).start()
    while True:
        mfusepy.FUSE(Disk(platter), sys.argv[1], foreground=True, nothreads=True, fsname="bucium-powercut")
        if not cuts:
            return
        platter.cut(Random(cuts.pop()))


if __name__ == "__main__":
    main()
