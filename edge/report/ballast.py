"""Ballast: a file that holds room on the disk, thrown overboard when the disk is full, so that alarms still find some.

8 MiB: an event costs at most three pages of log (12 KiB), so some 600 fit; 200 are promised (issue F14).
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

BALLAST_BYTES: Final = 8 << 20
SPARE_BYTES: Final = 4 * BALLAST_BYTES  # taken aboard again only when this much is free: no see-saw at the edge of full
_CHUNK: Final = 1 << 18


class Ballast:
    """The file. Blocking; no method raises on trouble: without ballast the node goes on, with less reserve."""

    def __init__(self, path: Path, free: Callable[[Path], int], size: int = BALLAST_BYTES) -> None:
        self._path = path
        self._free = free
        self._size = size

    @property
    def aboard(self) -> bool:
        try:
            return self._path.stat().st_size >= self._size
        except OSError:
            return False

    def load(self) -> bool:
        """Take it aboard if there is room to spare; True when it is."""
        if self.aboard:
            return True
        try:
            if self._free(self._path.parent) < self._size + SPARE_BYTES:
                return False
            # Written, not truncated to size: a sparse file would hold no room.
            with self._path.open("wb") as file:
                for _ in range(0, self._size, _CHUNK):
                    file.write(os.urandom(_CHUNK))
                os.fsync(file.fileno())
        except OSError:
            self.drop()
            return False
        return True

    def drop(self) -> bool:
        """Overboard. True when that made room."""
        try:
            had = self._path.stat().st_size > 0
            self._path.unlink()
        except OSError:
            return False
        return had
