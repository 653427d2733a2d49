"""A plan on its way to a node, in pieces over the alarm lane (design §2.5; docs/wire.md).

    packed = zlib( the plan's file )          named by its own SHA-256; at most 720 KiB
    CHUNK    controller → node    [plan, packed, size, first, data]    bytes first … of packed
    WANT     node → controller    [packed, have, why]                  so many bytes are here; or why there is no use in more

The node sets the pace: one piece is on its way to it at a time, and the next goes when it has asked. A piece takes 0.7 s on a
9.6 kbit/s link, which is the longest that an order can stand behind it. Nothing here is trusted: a piece counts because the home
controller signed it, and the plan because its people did.
"""

import hashlib
import zlib
from dataclasses import dataclass
from typing import Any, Final

from cython_ext import WireError

from . import fields
from .identity import DIGEST_BYTES

PIECE_BYTES: Final = 512  # with its envelope some 760 bytes: 0.7 s at 9.6 kbit/s
PACKED_BYTES_MAX: Final = (
    720 << 10
)  # the plan of 5,000 nodes with three keys each; in base64 one line of the control socket
FILE_BYTES_MAX: Final = (4 << 20) + 4096  # unpacked: the largest plan with its signatures (planfile.PLAN_BYTES_MAX)
WHY_BYTES_MAX: Final = 24


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes `first` … of the packed file `packed` (SHA-256), which has `size` bytes and holds the plan `plan` (SHA-256)."""

    plan: bytes
    packed: bytes
    size: int
    first: int
    data: bytes

    def pack(self) -> list[Any]:
        return [self.plan, self.packed, self.size, self.first, self.data]

    @classmethod
    def unpack(cls, value: Any) -> "Piece":
        plan, packed, size, first, data = fields.row(value, 5, "piece")
        found = cls(
            fields.octets(plan, "plan", DIGEST_BYTES),
            fields.octets(packed, "packed", DIGEST_BYTES),
            fields.natural(size, "size", PACKED_BYTES_MAX),
            fields.natural(first, "first", PACKED_BYTES_MAX),
            fields.blob(data, "data", PIECE_BYTES),
        )
        if not data or found.first + len(data) > found.size:
            raise WireError("malformed", f"a piece of {len(data)} bytes at {found.first} of {found.size}")
        return found


@dataclass(frozen=True, slots=True)
class Want:
    """The first `have` bytes of the packed file are here. `why`: a code of docs/troubles.md when no more is wanted."""

    packed: bytes
    have: int
    why: str = ""

    def pack(self) -> list[Any]:
        return [self.packed, self.have, self.why]

    @classmethod
    def unpack(cls, value: Any) -> "Want":
        packed, have, why = fields.row(value, 3, "want")
        return cls(
            fields.octets(packed, "packed", DIGEST_BYTES),
            fields.natural(have, "have", PACKED_BYTES_MAX),
            fields.text(why, "why", WHY_BYTES_MAX),
        )


@dataclass(frozen=True, slots=True)
class Packed:
    """A plan's file as it travels: `digest` is the SHA-256 of `data`, `plan` that of the plan in it."""

    plan: bytes
    data: bytes
    digest: bytes

    def piece(self, first: int) -> Piece:
        """The piece that begins at byte `first`."""
        return Piece(self.plan, self.digest, len(self.data), first, self.data[first : first + PIECE_BYTES])


def pack(plan: bytes, file: bytes) -> Packed:
    """The file of the plan with this SHA-256, made to travel. WireError ('oversized') when it is too long for that."""
    data = zlib.compress(file, 9)
    if len(data) > PACKED_BYTES_MAX:
        raise WireError(
            "oversized", f"packed it has {len(data)} bytes, at most {PACKED_BYTES_MAX}: deliver it as a file"
        )
    return Packed(plan, data, hashlib.sha256(data).digest())


def unpack(data: bytes) -> bytes:
    """The file; WireError when the bytes are not a packed one, or unpack to more than a plan may have."""
    unpacker = zlib.decompressobj()
    try:
        file = unpacker.decompress(data, FILE_BYTES_MAX)
    except zlib.error as error:
        raise WireError("malformed", str(error)) from None
    if not unpacker.eof or unpacker.unused_data or unpacker.unconsumed_tail:
        raise WireError("oversized", f"it does not end within {FILE_BYTES_MAX} bytes, or with its own end")
    return file
