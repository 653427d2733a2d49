"""What is left of many samples when room is short: for each point and interval its lowest, its highest and its last.

Samples of different status are thinned apart, so that a fault within the interval is still to be seen. What remains are
samples as they were measured, each with its own instant; where others of its interval are gone it says how long that is
(the record's last field, in seconds).
"""

from dataclasses import dataclass
from typing import Final

from cython_ext import NS_PER_S

from .births import RECORD

INTERVALS_S: Final = (60, 600, 3600)  # 1 Hz becomes a twentieth, a 200th, a 1,200th

Row = tuple[int, float, int, int, int]  # at_ns, value, point, status, thinned to so many seconds (0: not at all)


@dataclass(slots=True)
class _Kept:
    """What is kept of one point, status and interval."""

    lowest: Row
    highest: Row
    last: Row
    count: int = 1

    def add(self, row: Row) -> None:
        self.count += 1
        if row[1] < self.lowest[1]:
            self.lowest = row
        if row[1] > self.highest[1]:
            self.highest = row
        if row[0] >= self.last[0]:
            self.last = row


def thin(records: bytes, interval_s: int) -> bytes:
    """The packed records that stand for `records`, oldest first; never more than came."""
    kept: dict[tuple[int, int, int], _Kept] = {}
    interval_ns = interval_s * NS_PER_S
    for row in RECORD.iter_unpack(records):
        key = row[2], row[3], row[0] // interval_ns
        found = kept.get(key)
        if found is None:
            kept[key] = _Kept(row, row, row)
        else:
            found.add(row)
    rows: set[Row] = set()
    for one in kept.values():
        chosen = {one.lowest, one.highest, one.last}
        if one.count > len(chosen):
            chosen = {(*row[:4], interval_s) for row in chosen}
        rows |= chosen
    return b"".join(RECORD.pack(*row) for row in sorted(rows, key=lambda row: (row[0], row[2])))
