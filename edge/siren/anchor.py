"""The anchor: how far the order store had come, kept beside it, so that a store that is missing or went back in time is seen.

It may lag behind the store (it is written after the relay has moved), never lead it. Put it on another partition where there
is one: whoever restores a disk image restores both otherwise, and then only not-after and the boot nonce stand (design §2.4).
"""

from dataclasses import dataclass
from pathlib import Path

from lanes import durable
from lanes.identity import STORE_ID_BYTES


@dataclass(frozen=True, slots=True)
class Anchor:
    """The store's id, and the number of its last known commit."""

    store: bytes
    generation: int


def read_anchor(path: Path) -> Anchor | None:
    """None when there is none, or none that can be read."""
    try:
        store, generation = path.read_text("ascii").split()
        found = Anchor(bytes.fromhex(store), int(generation))
    except (OSError, ValueError):
        return None
    return found if len(found.store) == STORE_ID_BYTES and found.generation >= 0 else None


def write_anchor(path: Path, anchor: Anchor) -> None:
    """Replace the file so that a power cut leaves the old or the new one. OSError on trouble."""
    durable.replace(path, f"{anchor.store.hex()} {anchor.generation}\n".encode("ascii"))
