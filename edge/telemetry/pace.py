"""How fast the past may follow the present: one piece on its way at a time, and its size as the link takes it.

Pure: times are monotonic nanoseconds. After each piece the broker is asked for a sign that it has all. What that takes beyond
the shortest such way of this connection is the time the piece stood in the link's queue, where an alarm would stand behind it:
below `SHORT_NS` the next piece is twice as large, beyond `LONG_NS` half as large. At 9.6 kbit/s that settles at 256
bytes, so that an alarm waits less than half a second (issue 4: ≤ 1 s).
"""

from typing import Final

from cython_ext import NS_PER_S

PIECE_MIN: Final = 256  # bytes: ten samples; with MQTT, TCP and IP around them 0.35 s at 9.6 kbit/s
PIECE_MAX: Final = 16_384
SHORT_NS: Final = 150_000_000
LONG_NS: Final = 350_000_000


class Pace:
    """Of one node's backlog. `bytes_per_s` is what it may send, however fast the link is."""

    def __init__(self, bytes_per_s: int) -> None:
        self._bytes_per_s = bytes_per_s
        self._most = max(PIECE_MIN, min(PIECE_MAX, bytes_per_s))
        self._way_ns: int | None = None
        self._next_ns = 0
        self.piece = PIECE_MIN  # bytes of the next one

    def anew(self) -> None:
        """Another connection, or the host missed something: begin small."""
        self.piece = PIECE_MIN
        self._way_ns = None

    @property
    def known(self) -> bool:
        """Whether the way without load has been measured; if not, ask for a sign before the first piece."""
        return self._way_ns is not None

    def wait_ns(self, now_ns: int) -> int:
        """How long the next piece must wait."""
        return max(0, self._next_ns - now_ns)

    def sent(self, size: int, now_ns: int) -> None:
        """A piece of so many bytes goes out now."""
        self._next_ns = max(now_ns, self._next_ns) + size * NS_PER_S // self._bytes_per_s

    def arrived(self, took_ns: int | None) -> None:
        """The sign came after so long; None: it did not come in time."""
        if took_ns is None:
            self.piece = PIECE_MIN
            return
        stood_ns = 0 if self._way_ns is None else took_ns - self._way_ns
        self._way_ns = took_ns if self._way_ns is None else min(took_ns, self._way_ns)
        if stood_ns > LONG_NS:
            self.piece = max(PIECE_MIN, self.piece // 2)
        elif stood_ns < SHORT_NS:
            self.piece = min(self._most, self.piece * 2)
