"""`bucium bench core`: nanoseconds a sample takes in the panel, beside numpy, numba, the oracle and the memory's own speed.

One run, one machine, the contestants in turn, the best of several rounds each: ratios are the finding, not nanoseconds.
"""

import json as json_format
import sys
import time
from collections.abc import Callable
from math import isnan, nan
from pathlib import Path
from typing import Any, Final

from cython_ext.model import (
    NS_PER_S,
    Dependency,
    GroupConfig,
    LevelConfig,
    PanelConfig,
    PointConfig,
    RateMethod,
)
from cython_ext.panel import Panel

S: Final = NS_PER_S
SIZES: Final = (1_000, 100_000, 1_000_000)
ORDERS: Final = ("in_order", "shuffled")
BATCH: Final = 400_000  # samples a round at least: milliseconds, far above the clock's grain
ROUNDS: Final = {1_000: 200, 100_000: 60, 1_000_000: 15}  # of each: enough that a busy machine leaves some alone
TREE: Final = Path(__file__).resolve().parents[2]  # where the tests lie, when this runs from the source
HEIGHTS: Final = (1.0, 2.0, 3.0)
DEADBAND: Final = 0.2
DUE: Final = 500  # deadlines that run out at once
CROSSING: Final = 1e-5  # the share of samples above the first Level: a busy day

Contestant = Callable[[Any, int], object]


def levels(rate_at: float = nan) -> tuple[LevelConfig, LevelConfig, LevelConfig]:
    made = [LevelConfig(h, h - DEADBAND, on_delay_ns=5 * S) for h in HEIGHTS]
    made[0] = LevelConfig(HEIGHTS[0], HEIGHTS[0] - DEADBAND, on_delay_ns=5 * S, rate_at=rate_at)
    return made[0], made[1], made[2]


def subset(points: int) -> PanelConfig:
    """What a kernel has too: three Levels, deadband, on-delay, plain rate of rise, stale."""
    common: dict[str, Any] = {
        "levels": levels(0.01),
        "stale_ns": 30 * S,
        "rate_window_ns": 900 * S,
        "rate_method": RateMethod.DELTA,
        "chatter_count": 0,
    }
    return PanelConfig(tuple(PointConfig(f"p{n}", **common) for n in range(points)))


def everything(points: int) -> PanelConfig:
    """Every check and primitive on, every third point in a 2-of-3 vote, one in ten a smoke detector with drift."""
    common: dict[str, Any] = {
        "levels": levels(0.01),
        "stale_ns": 30 * S,
        "rate_window_ns": 900 * S,
        "sensor_span": (-1.0, 10.0),
        "operator_span": (-0.5, 8.0),
        "spike": 0.5,
        "rate_limit": 1.0,
        "flat_ns": 600 * S,
        "flat_tolerance": 1e-6,
        "minimum_on_ns": 10 * S,
        "realarm_ns": 600 * S,
        "sentinels": (9999.0,),
        "loop_span": (-1.0, 10.0),
    }
    smoke = {**common, "drift_rate": 1e-6, "drift_total": 0.3, "drift_clean": 0.5, "dependency": Dependency.C}
    made = tuple(PointConfig(f"p{n}", **(smoke if n % 10 == 0 else common)) for n in range(points))
    groups = tuple(GroupConfig(f"g{n}", (n, n + 1, n + 2), 2, 60 * S) for n in range(0, points - 2, 9))
    return PanelConfig(made, groups)


class Stream:
    """Batches of packed records for so many points, a sample a second each; times go on from batch to batch."""

    def __init__(self, points: int, shuffled: bool, seed: int = 1) -> None:
        import numpy as np

        from .core_rivals import RECORD

        random = np.random.default_rng(seed)
        self.rounds = max(1, BATCH // points)
        self.batch = np.zeros(self.rounds * points, RECORD)
        order = np.arange(points)
        for n in range(self.rounds):
            part = self.batch[n * points : (n + 1) * points]
            if shuffled:
                random.shuffle(order)
            part["point"] = order
            part["at"] = (n + 1) * S + np.arange(points)
            part["value"] = 0.5 + 0.01 * random.standard_normal(points)
        self.batch["value"][random.random(len(self.batch)) < CROSSING] = 1.1
        self.now_ns = self.rounds * S + points

    def step(self) -> None:
        """The next batch: the same values, later."""
        self.batch["at"] += self.rounds * S
        self.now_ns += self.rounds * S


def in_turn(stream: Stream, contestants: dict[str, Contestant], repeats: int) -> dict[str, float]:
    """Best nanoseconds a sample of each, taken in turn on the same batches."""
    best = dict.fromkeys(contestants, float("inf"))
    for _ in range(repeats):
        for name, contestant in contestants.items():
            begun = time.perf_counter_ns()
            contestant(stream.batch, stream.now_ns)
            best[name] = min(best[name], (time.perf_counter_ns() - begun) / len(stream.batch))
        stream.step()
    return best


def deadline_ns(points: int, repeats: int = 20) -> float:
    """Best nanoseconds for a deadline that runs out, told and all, among so many points whose deadlines do not."""
    import numpy as np

    from .core_rivals import RECORD

    quick: dict[str, Any] = {"stale_ns": 10 * S, "chatter_count": 0}
    slow: dict[str, Any] = {"stale_ns": 3600 * S}
    panel = Panel(PanelConfig(tuple(PointConfig(f"p{n}", **(quick if n < DUE else slow)) for n in range(points))))
    batch = np.zeros(points, RECORD)
    batch["point"] = np.arange(points)
    best = float("inf")
    for turn in range(1, repeats + 1):
        batch["at"] = 20 * turn * S
        panel.feed(batch.tobytes(), 20 * turn * S)
        begun = time.perf_counter_ns()
        fired = panel.advance((20 * turn + 11) * S)
        best = min(best, (time.perf_counter_ns() - begun) / len(fired))
    return best


def bytes_per_point(config: PanelConfig) -> float:
    """State of one more point beside its windows, by two panels of different size."""
    small = PanelConfig(config.points[:1000])
    tiny = PanelConfig(config.points[:500])
    return (Panel(small).state_bytes - Panel(tiny).state_bytes) / 500


def copy_gb_per_s() -> float:
    """The machine's copy bandwidth: bytes read and written a second, best of seven."""
    import numpy as np

    source = np.ones(1 << 25)
    target = np.empty_like(source)
    best = float("inf")
    for _ in range(7):
        begun = time.perf_counter()
        np.copyto(target, source)
        best = min(best, time.perf_counter() - begun)
    return 2 * source.nbytes / best / 1e9


def oracle_ns(points: int = 3, samples: int = 3_000) -> float:
    """The plainest Python of the same semantics, from the tests; nan where they are not there.

    Few points: its search for what is due grows with them, and that is not what is compared.
    """
    if not (TREE / "tests" / "kit" / "oracle.py").exists():
        return nan
    if str(TREE) not in sys.path:  # the command's own folder is there instead
        sys.path.append(str(TREE))
    from tests.kit.oracle import Oracle

    stream = Stream(points, shuffled=True)
    oracle = Oracle(everything(points))
    batch = [(int(r["point"]), int(r["at"]), float(r["value"]), int(r["status"])) for r in stream.batch[:samples]]
    begun = time.perf_counter_ns()
    oracle.feed(batch, stream.now_ns)
    return (time.perf_counter_ns() - begun) / samples


def measure(points: int, shuffled: bool, repeats: int) -> dict[str, float]:
    from .core_rivals import numba_kernel, numpy_compare

    stream = Stream(points, shuffled)
    whole, part = Panel(everything(points)), Panel(subset(points))
    compare, kernel = numpy_compare(points, HEIGHTS[0]), numba_kernel(points, HEIGHTS, DEADBAND)
    contestants: dict[str, Contestant] = {
        "numpy_compare": lambda batch, now_ns: compare(batch),
        "numba": lambda batch, now_ns: kernel(batch),
        "subset": lambda batch, now_ns: part.feed(batch.view("u1"), now_ns),
        "panel": lambda batch, now_ns: whole.feed(batch.view("u1"), now_ns),
    }
    for contestant in contestants.values():
        contestant(stream.batch, stream.now_ns)  # compile, touch the memory
    stream.step()
    return in_turn(stream, contestants, repeats)


def results(sizes: tuple[int, ...] = SIZES, repeats: int | None = None) -> dict[str, Any]:
    """Everything measured, as `--json` prints it."""
    of: dict[str, dict[str, dict[str, float]]] = {
        str(points): {
            order: measure(points, order == "shuffled", repeats or ROUNDS.get(points, 25)) for order in ORDERS
        }
        for points in sizes
    }
    oracle = oracle_ns()

    def ratio(one: str, other: str) -> dict[str, dict[str, float]]:
        return {n: {order: ns[one] / ns[other] for order, ns in by.items()} for n, by in of.items()}

    plain: dict[str, Any] = {"levels": levels(), "stale_ns": 30 * S}
    return {
        "ns_per_sample": {n: {order: ns["panel"] for order, ns in by.items()} for n, by in of.items()},
        "ns_per_sample_of": of,
        "ns_per_sample_oracle": oracle,
        "ratio_numpy_compare": ratio("panel", "numpy_compare"),
        "ratio_numba": ratio("subset", "numba"),
        "ratio_oracle": {n: {order: oracle / ns["panel"] for order, ns in by.items()} for n, by in of.items()},
        "ns_per_deadline": {str(points): deadline_ns(points) for points in sizes},
        "bytes_per_point": bytes_per_point(PanelConfig(tuple(PointConfig(f"p{n}", **plain) for n in range(1000)))),
        "bytes_per_point_with_windows": bytes_per_point(everything(1000)),
        "copy_gb_per_s": copy_gb_per_s(),
    }


def known(found: Any) -> Any:
    """The same with None for what is not known: JSON has no nan."""
    if isinstance(found, dict):
        return {name: known(value) for name, value in found.items()}
    return None if isinstance(found, float) and isnan(found) else found


def run(json: bool = False, sizes: tuple[int, ...] = SIZES, repeats: int | None = None) -> dict[str, Any]:
    """Measure and print: a table, or one JSON object."""
    found = results(sizes, repeats)
    if json:
        print(json_format.dumps(known(found), indent=1, allow_nan=False))
        return found
    print("ns/sample         numpy compare   numba subset   panel subset   panel, all   all / numpy   subset / numba")
    for points, by in found["ns_per_sample_of"].items():
        for order, ns in by.items():
            print(
                f"{points:>9} {order:9} {ns['numpy_compare']:11.2f} {ns['numba']:14.2f} {ns['subset']:14.2f}"
                f" {ns['panel']:12.2f} {ns['panel'] / ns['numpy_compare']:13.2f} {ns['subset'] / ns['numba']:16.2f}"
            )
    print(f"oracle {found['ns_per_sample_oracle']:.0f} ns/sample; memory copies {found['copy_gb_per_s']:.1f} GB/s")
    among = ", ".join(f"{ns:.0f} ns among {int(points):,} points" for points, ns in found["ns_per_deadline"].items())
    print(f"a deadline that runs out, told: {among}")
    print(
        f"state {found['bytes_per_point']:.0f} bytes a point, {found['bytes_per_point_with_windows']:.0f} with windows"
    )
    return found
