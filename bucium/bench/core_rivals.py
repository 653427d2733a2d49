"""What the panel is measured against: numpy's bare compare, and a good numba kernel of the subset that such a kernel has.

numpy and numba are of the test group: the product does not need them.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

S = 1_000_000_000
RECORD = np.dtype([("at", "<i8"), ("value", "<f8"), ("point", "<u4"), ("status", "<u2"), ("reserved", "<u2")])
STATE = np.dtype(
    [
        ("last_ns", "<i8"),
        ("since_ns", "<i8"),
        ("reference_ns", "<i8"),
        ("reference", "<f8"),
        ("attention", "<f8"),
        ("alarm", "<f8"),
        ("danger", "<f8"),
        ("deadband", "<f8"),
        ("rate", "<f8"),
        ("on_delay_ns", "<i8"),
        ("window_ns", "<i8"),
        ("stale_ns", "<i8"),
        ("level", "<i4"),
        ("stale", "<i4"),
        ("padding", "<i8", (3,)),
    ]
)  # 128 bytes: two cache lines
assert STATE.itemsize == 128

Records = NDArray[Any]


def numpy_compare(points: int, limit: float) -> Callable[[Records], int]:
    """`value > limit[point]`, and nothing else."""
    limits = np.full(points, limit)

    def compare(batch: Records) -> int:
        return int(np.count_nonzero(batch["value"] > limits[batch["point"]]))

    return compare


def kernel(records: Any, state: Any, told: Any) -> int:
    """Three Levels, deadband, on-delay, plain rate of rise, stale: what a kernel without deadlines or quality can do."""
    count = 0
    room = len(told)
    for k in range(len(records)):
        record = records[k]
        s = state[record.point]
        value = record.value
        at = record.at
        if at <= s.last_ns or value != value or record.status != 0:
            continue
        if at - s.last_ns > s.stale_ns and s.last_ns != 0:
            s.stale = 1
            if count < room:
                told[count] = k
            count += 1
        s.last_ns = at
        level = s.level
        if value >= s.danger:
            target = 3
        elif value >= s.alarm:
            target = 2
        elif value >= s.attention:
            target = 1
        else:
            target = 0
        elapsed = at - s.reference_ns
        if elapsed >= s.window_ns:
            if target == 0 and s.reference_ns != 0 and value - s.reference >= s.rate * elapsed:
                target = 1
            s.reference = value
            s.reference_ns = at
        if target > level:
            if s.since_ns == 0:
                s.since_ns = at
            if at - s.since_ns >= s.on_delay_ns:
                s.level = target
                s.since_ns = 0
                if count < room:
                    told[count] = k
                count += 1
        else:
            s.since_ns = 0
            if target < level:
                limit = s.danger if level == 3 else s.alarm if level == 2 else s.attention
                if value < limit - s.deadband:
                    s.level = target
                    if count < room:
                        told[count] = k
                    count += 1
    return count


def numba_kernel(points: int, levels: tuple[float, float, float], deadband: float) -> Callable[[Records], int]:
    """The kernel, compiled, over an array of records, one a point."""
    from numba import njit

    state = np.zeros(points, STATE)
    state["attention"], state["alarm"], state["danger"] = levels
    state["deadband"] = deadband
    state["rate"] = 0.01 / S
    state["window_ns"], state["on_delay_ns"], state["stale_ns"] = 900 * S, 5 * S, 30 * S
    told = np.zeros(1 << 16, np.int64)
    compiled = njit(kernel)

    def judge(batch: Records) -> int:
        return int(compiled(batch, state, told))

    return judge
