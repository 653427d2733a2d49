"""A signed head of the journal, and the file beside the journal that holds the last one."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lanes import durable


@dataclass(frozen=True, slots=True)
class Head:
    """A signed head: whoever keeps a copy can prove a later cut or fork."""

    journal: bytes
    seq: int
    hash: bytes
    wall_us: int
    kid: bytes
    signature: bytes

    def as_json(self) -> dict[str, Any]:
        return {
            "journal": self.journal.hex(),
            "seq": self.seq,
            "hash": self.hash.hex(),
            "wall_us": self.wall_us,
            "kid": self.kid.hex(),
            "signature": self.signature.hex(),
        }


def write_head(path: Path, head: Head) -> str:
    """For others; the chain has it too. Why a disk does not take it, or ""."""
    try:
        durable.replace(path, json.dumps(head.as_json()).encode())
    except OSError as error:
        return error.strerror or "disk"
    return ""


def read_head(path: Path) -> dict[str, Any] | None:
    """The signed head beside a journal; None when there is none that can be read."""
    try:
        head = json.loads(path.read_bytes())
        return head if isinstance(head, dict) and isinstance(head["seq"], int) and head["signature"] else None
    except (OSError, ValueError, KeyError):
        return None
