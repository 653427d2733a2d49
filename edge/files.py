"""Small files that must be whole or absent after a power cut. Blocking: call through a Runner."""

import os
from contextlib import suppress
from pathlib import Path


def write_durably(path: Path, data: bytes) -> bool:
    """Replace `path` so that a power cut leaves the old or the new one; False when the disk does not let us."""
    beside = path.with_name(path.name + ".new")
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        return False
    return True


def read_bytes(path: Path) -> bytes | None:
    """The content, or None when there is none to be had."""
    try:
        return path.read_bytes()
    except OSError:
        return None
