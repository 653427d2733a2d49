"""A series as a picture needs it: lowest and highest value of each bucket of time, however long the recording is.

Buckets double in width whenever there are too many, so memory is bounded and one pass is enough.
"""

from dataclasses import dataclass, field
from typing import Final

BUCKETS_MAX: Final = 8192  # several a pixel


@dataclass(slots=True)
class Bucket:
    """Values of one slice of time. `first_us` and `last_us`: of its samples."""

    first_us: int
    last_us: int
    low: float
    high: float

    def join(self, later: "Bucket") -> None:
        self.first_us = min(self.first_us, later.first_us)
        self.last_us = max(self.last_us, later.last_us)
        self.low = min(self.low, later.low)
        self.high = max(self.high, later.high)


@dataclass(slots=True)
class Trace:
    """One point's series. `gap_us`: an interval longer than this is drawn as a gap; 0: none is."""

    gap_us: int
    _width_us: int = 1_000_000
    _buckets: dict[int, Bucket] = field(default_factory=dict)

    def note(self, at_us: int, value: float) -> None:
        """One value, not nan; in any order."""
        place = at_us // self._width_us
        bucket = self._buckets.get(place)
        if bucket is None:
            self._buckets[place] = Bucket(at_us, at_us, value, value)
            if len(self._buckets) > BUCKETS_MAX:
                self._widen()
            return
        if at_us > bucket.last_us:
            bucket.last_us = at_us
        elif at_us < bucket.first_us:
            bucket.first_us = at_us
        if value < bucket.low:
            bucket.low = value
        elif value > bucket.high:
            bucket.high = value

    def runs(self) -> list[list[Bucket]]:
        """Buckets in order of time, a list for each stretch without a gap."""
        found: list[list[Bucket]] = []
        limit_us = max(self.gap_us, self._width_us * 2) if self.gap_us else 0
        for place in sorted(self._buckets):
            bucket = self._buckets[place]
            if not found or (limit_us and bucket.first_us - found[-1][-1].last_us > limit_us):
                found.append([])
            found[-1].append(bucket)
        return found

    def _widen(self) -> None:
        self._width_us *= 2
        joined: dict[int, Bucket] = {}
        for place, bucket in self._buckets.items():
            held = joined.setdefault(place // 2, bucket)
            if held is not bucket:
                held.join(bucket)
        self._buckets = joined
