"""Pieces of a plan, put together in order (docs/wire.md). Pure: no clock, no I/O, nothing is trusted but the sums.

Bytes are taken only where those that are here end. So a piece that comes twice, too early or too late changes nothing, and what
is asked for next is always right; a link that loses, repeats and reorders only costs time. Another packed file begins anew: the
controller sends the plan that it runs, and there is only one. What does not add up in the end is thrown away and fetched again,
three times at most. A file that was refused is taken again when it is offered again, from its first byte: its reason may be gone.
"""

import hashlib
from typing import Final

from lanes.pieces import Piece, Want

DAMAGED_MAX: Final = 3  # packed files whose sum was wrong: each piece was signed, so the sender's own copy is


class Collector:
    """At most one file, of at most `PACKED_BYTES_MAX` bytes."""

    def __init__(self) -> None:
        self._packed = b""  # the SHA-256 of what is being collected
        self._plan = b""
        self._size = 0
        self._data = bytearray()
        self._why = ""
        self._damaged = 0

    @property
    def packed(self) -> bytes:
        """The SHA-256 of what is collected or refused; empty: nothing."""
        return self._packed

    def take(self, piece: Piece) -> bytes | None:
        """Add a piece; the whole packed file when it was the last."""
        other = (piece.packed, piece.plan, piece.size) != (self._packed, self._plan, self._size)
        if other or (self._why and piece.first == 0):
            self._begin(piece)
        if self._why or piece.first != len(self._data) or len(self._data) == self._size:
            return None
        self._data += piece.data
        if len(self._data) < self._size:
            return None
        whole = bytes(self._data)
        if hashlib.sha256(whole).digest() == self._packed:
            return whole
        self._data.clear()
        self._damaged += 1
        if self._damaged >= DAMAGED_MAX:
            self.refuse("damaged")
        return None

    def _begin(self, piece: Piece) -> None:
        if piece.packed != self._packed:
            self._damaged = 0
        self._packed, self._plan, self._size = piece.packed, piece.plan, piece.size
        self._data.clear()
        self._why = ""

    def refuse(self, why: str) -> None:
        """No more of this file: a code of docs/troubles.md."""
        self._why = why
        self._data.clear()

    def forget(self) -> None:
        """It is done with."""
        self._packed = b""
        self._data.clear()

    def want(self) -> Want | None:
        """What to ask for next; None: nothing is being collected."""
        return Want(self._packed, len(self._data), self._why) if self._packed else None
