"""Small files that must be whole or absent after a power cut. Blocking: call through a Runner."""

from pathlib import Path

from lanes import durable


def write_durably(path: Path, data: bytes) -> bool:
    """Replace `path` so that a power cut leaves the old or the new one; False when the disk does not let us."""
    try:
        durable.replace(path, data)
    except OSError:
        return False
    return True


def read_bytes(path: Path) -> bytes | None:
    """The content, or None when there is none to be had."""
    try:
        return path.read_bytes()
    except OSError:
        return None
