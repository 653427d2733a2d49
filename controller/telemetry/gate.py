"""What one node may send on the telemetry lane: looked at before anything of a message is decoded (F22).

Telemetry may be lost: what is over the ration is dropped, the gap in the sequence is seen, and the node is asked for its births
when it has calmed down.
"""

from typing import Final

from cython_ext import NS_PER_S

RATE_PER_S: Final = 100.0  # messages for long: 16 points at 1 Hz with their history take a tenth
BURST: Final = 500.0
BIRTHS_PER_S: Final = 0.5  # a birth is large, and forgets what was before; we ask for one every 5 s at most
BIRTHS_BURST: Final = 10.0
CALM_NS: Final = 10 * NS_PER_S


class Gate:
    """One node's two buckets."""

    def __init__(self, now_ns: int) -> None:
        self._tokens, self._births = BURST, BIRTHS_BURST
        self._at_ns = now_ns
        self._over_ns = now_ns - CALM_NS  # when something was last dropped

    def enter(self, now_ns: int, *, birth: bool) -> bool:
        """Whether a message (a node's birth) may be looked at."""
        since_s = (now_ns - self._at_ns) / NS_PER_S
        self._at_ns = now_ns
        self._tokens = min(BURST, self._tokens + since_s * RATE_PER_S)
        self._births = min(BIRTHS_BURST, self._births + since_s * BIRTHS_PER_S)
        if self._tokens < 1.0 or (birth and self._births < 1.0):
            self._over_ns = now_ns
            return False
        self._tokens -= 1.0
        self._births -= birth
        return True

    def calm(self, now_ns: int) -> bool:
        """Nothing was dropped for a while."""
        return now_ns - self._over_ns >= CALM_NS
