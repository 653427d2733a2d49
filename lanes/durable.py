"""Small files that are whole or absent after a power cut. Blocking: call through a Runner.

A rename is atomic for whoever looks, and durable only when the file was synced before it and its folder after it
(SQLite's "Atomic commit", §3.12; ext4's manual, auto_da_alloc, is no promise for others).
"""

import errno
import os
from pathlib import Path


def replace(path: Path, data: bytes) -> None:
    """Make `data` the content of `path`: a power cut leaves the old or the new one. OSError: the old one stands."""
    beside = path.with_name(path.name + ".new")
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in it durable: what was made, moved and removed. OSError when the disk does not let us."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # this file system has no such thing as a folder to sync
            raise
    finally:
        os.close(handle)
