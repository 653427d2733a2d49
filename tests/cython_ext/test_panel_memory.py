"""A configured panel does not grow: neither objects of Python nor bytes of the C heap, however much is judged."""

import ctypes
import gc
import sys
from collections.abc import Callable

from cython_ext.model import NS_PER_S, GroupConfig, LevelConfig, PanelConfig, PointConfig
from cython_ext.panel import Panel, pack
from cython_ext.payload import DataType, Metric, Payload
from cython_ext.wire import encode
from cython_ext.wire_data import AliasTable
from cython_ext.wire_feed import feed_wire
from tests.kit.drive import THREE

S = NS_PER_S
POINTS = 60
NAMES = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
BREATH = 24_000  # bytes that a thousand calls may leave, for whatever else runs: one block a call would be 32,000


class Mallinfo2(ctypes.Structure):
    """glibc's account of the C heap, in bytes."""

    _fields_ = [(name, ctypes.c_size_t) for name in NAMES]


def heap_bytes() -> int:
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = Mallinfo2
    found = mallinfo2()
    return int(found.uordblks + found.hblkhd)


def grown(once: Callable[[], object]) -> tuple[int, int]:
    """Bytes of the C heap and blocks of Python's that a thousand more calls leave behind."""
    for _ in range(200):
        once()
    gc.collect()
    gc.disable()
    try:
        before = heap_bytes(), sys.getallocatedblocks()
        for _ in range(1000):
            once()
        gc.collect()  # Python's own free lists are empty again
        after = heap_bytes(), sys.getallocatedblocks()
    finally:
        gc.enable()
    return after[0] - before[0], after[1] - before[1]


def busy() -> PanelConfig:
    """Everything that keeps something: windows, drift, votes, delays, re-alarm."""
    point = PointConfig(
        "p",
        levels=(LevelConfig(1.0, 0.8, 2 * S, 2 * S, 0.5), *THREE[1:]),
        stale_ns=3 * S,
        realarm_ns=2 * S,
        rate_window_ns=11 * S,
        spike=5.0,
        flat_ns=600 * S,
        drift_rate=1e-5,
        drift_total=0.1,
        operator_span=(-9.0, 9.0),
    )
    made = [
        PointConfig(**{name: getattr(point, name) for name in PointConfig.__slots__} | {"id": f"p{n}"})
        for n in range(POINTS)
    ]
    groups = tuple(GroupConfig(f"g{n}", (n, n + 1, n + 2), 2, 10 * S) for n in range(0, POINTS, 3))
    return PanelConfig(tuple(made), groups)


def test_judging_leaves_nothing_behind() -> None:
    """Not even while Levels come and go: room for a call's transitions was there from the start, and they are given away."""
    panel = Panel(busy())
    now = 0

    def judge() -> None:
        nonlocal now
        now += 1
        value = (0.5, 0.51, 1.5, 2.5, 12.0, 0.52, 0.53, 0.54)[now // 3 % 8] + now * 1e-6
        panel.feed(pack([(n, now * S + n, value, 0) for n in range(POINTS)]), now * S + POINTS)
        panel.advance(now * S + S // 2)

    heap, blocks = grown(judge)
    assert panel.counters["transitions"] > 1000 * POINTS // 8
    assert heap < BREATH
    assert blocks < 500


def test_the_judged_path_of_the_wire_leaves_nothing_behind() -> None:
    levels = (LevelConfig(1e6), LevelConfig(2e6), LevelConfig(3e6))
    panel = Panel(PanelConfig(tuple(PointConfig(f"p{n}", levels=levels) for n in range(POINTS))))
    table = AliasTable()
    for n in range(POINTS):
        table.bind(n + 1 if n % 2 else None, DataType.FLOAT, n, f"gauge/{n}")
    metrics = tuple(
        Metric(None if n % 2 else f"gauge/{n}", n + 1 if n % 2 else None, 9_000 - n, DataType.FLOAT, n / 4)
        for n in range(POINTS)
    )
    data = encode(Payload(9_000, metrics, 7), datatypes=False)
    now = 0

    def judge() -> None:
        nonlocal now
        now += 1
        feed_wire(panel, data, table, 100 * S + now * S)

    heap, blocks = grown(judge)
    assert panel.counters["samples"] == 1200 * POINTS
    assert heap < BREATH
    assert blocks < 500
