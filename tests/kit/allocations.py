"""What the core asks of the C heap: configured once, then quiet samples, a storm of transitions, wire and a crowded payload.

In a process of its own, under `allocations.c` (LD_PRELOAD): prints how often, by what was done, as JSON.
"""

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from cython_ext.model import NS_PER_S, Dependency, GroupConfig, LevelConfig, PanelConfig, PointConfig
from cython_ext.panel import Panel, pack
from cython_ext.payload import DataType, Metric, Payload
from cython_ext.wire import encode
from cython_ext.wire_data import AliasTable, decode_data
from cython_ext.wire_feed import feed_wire

S = NS_PER_S
POINTS = 6_000
HERE = Path(__file__)
TREE = HERE.parents[2]
REPEATS = 2_000  # of one metric in one payload: near the most that a payload may have
THREE = (LevelConfig(1.0, 0.8, on_delay_ns=S), LevelConfig(2.0, 1.8), LevelConfig(3.0, 2.8))


def build(folder: Path) -> Path:
    """The counting library."""
    library = folder / "allocations.so"
    subprocess.run(
        ("cc", "-O1", "-fno-builtin", "-shared", "-fPIC", "-o", str(library), str(HERE.with_suffix(".c"))), check=True
    )
    return library


def counted(library: Path) -> dict[str, dict[str, int]]:
    """The counts of a fresh process: {what was done: {"ours": by the core's own code, "all": by anyone}}."""
    environment = os.environ | {"LD_PRELOAD": str(library), "PYTHONPATH": str(TREE)}
    command = (sys.executable, "-m", "tests.kit.allocations", str(library))
    done = subprocess.run(command, env=environment, cwd=TREE, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


class Counter:
    """The two counts of the library, and what was done between looks at them."""

    def __init__(self, library: str) -> None:
        shim = ctypes.CDLL(library)
        shim.allocations_watch.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
        for line in Path("/proc/self/maps").read_text().splitlines():
            span, flags, *rest = line.split()
            if "x" in flags and rest and "/cython_ext/" in rest[-1]:
                low, high = (int(end, 16) for end in span.split("-"))
                if shim.allocations_watch(low, high) < 0:
                    raise RuntimeError("more mappings than the library can watch")
        self._counts = [ctypes.c_ulong.in_dll(shim, f"allocations_of_{whose}") for whose in ("ours", "all")]
        self.found: dict[str, dict[str, int]] = {}

    def count(self, what: str, once: Callable[[], object]) -> None:
        before = [each.value for each in self._counts]
        once()
        after = [each.value for each in self._counts]
        ours, everyone = (b - a for a, b in zip(before, after, strict=True))
        self.found[what] = {"ours": ours, "all": everyone}


def config() -> PanelConfig:
    """Everything that keeps something or tells more than once: windows, drift, dependencies, votes, re-alarm."""
    points = tuple(
        PointConfig(
            f"p{n}",
            levels=THREE,
            stale_ns=3 * S,
            realarm_ns=60 * S,
            rate_window_ns=11 * S,
            spike=5.0,
            drift_rate=1e-5,
            drift_total=0.1,
            dependency=Dependency.B,
        )
        for n in range(POINTS)
    )
    groups = tuple(GroupConfig(f"g{n}", (n, n + 1, n + 2), 2, 10 * S) for n in range(0, POINTS - 2, 2))
    return PanelConfig(points, groups)


def batch(at_s: int, value: float) -> bytes:
    return pack([(n, at_s * S, value, 0) for n in range(POINTS)])


def payload(points: int, repeats: int = 1) -> bytes:
    metrics = tuple(
        Metric(alias=n % points + 1, timestamp=9_000 - n % 50, datatype=DataType.DOUBLE, value=0.5)
        for n in range(points * repeats)
    )
    return encode(Payload(9_000, metrics, 1), datatypes=False)


def main(library: str) -> None:
    counter = Counter(library)
    made: list[Panel] = []
    table, single = AliasTable(), AliasTable()
    counter.count("configure", lambda: made.append(Panel(config())))
    panel = made[0]

    def born() -> None:
        single.bind(1, DataType.DOUBLE, 0)
        for n in range(60):
            table.bind(n + 1, DataType.DOUBLE, n)

    counter.count("birth", born)
    quiet = [batch(at_s, 0.5) for at_s in range(1, 20)]
    counter.count("quiet", lambda: [panel.feed(one, n * S) for n, one in enumerate(quiet, 1)])
    wire, crowd = payload(60), payload(1, REPEATS)
    counter.count("wire", lambda: [feed_wire(panel, wire, table, 20 * S + n) for n in range(100)])
    counter.count("crowded payload", lambda: feed_wire(panel, crowd, single, 20 * S + 200))
    counter.count("decode", lambda: decode_data(crowd, single, 21 * S))
    storm, told = [batch(21, 3.5), batch(22, 3.5), batch(23, 3.5)], []
    counter.count("storm", lambda: [told.append(len(panel.feed(one, n * S))) for n, one in enumerate(storm, 21)])
    counter.count("silence", lambda: told.append(len(panel.advance(200 * S))))
    counter.count("storm by wire", lambda: told.append(len(feed_wire(panel, wire, table, 1000 * S))))
    counter.found["told"] = {"storms": sum(told), "most": max(told)}
    print(json.dumps(counter.found))


if __name__ == "__main__":
    main(sys.argv[1])
