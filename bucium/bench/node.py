"""`bucium bench edge`: what a node costs its machine: memory, share of a core, samples a second, by the kernel's own count.

The three nodes of the demo's town run as they would on a Pi: own processes, real Modbus and GPIO protocols, both lanes connected.
"""

import asyncio
import os
from pathlib import Path
from typing import Any, Final

from bucium.bench.latency import running
from bucium.demo.site import NODES
from bucium.output import emit, plain
from cython_ext import NS_PER_S, SystemClock
from lanes.control import ask

WATCHED_S: Final = 20.0
SETTLE_S: Final = 5.0  # births, first state reports
PROMISE_RSS_MIB: Final = 48.0


async def measure(watched_s: float = WATCHED_S) -> dict[str, Any]:
    """Each node's figures over `watched_s`."""
    clock = SystemClock()
    async with running(clock) as town:
        await asyncio.sleep(SETTLE_S)
        before = {name: _look(town.programs[name].pid, town.site.socket(name)) for name in NODES}
        began_ns = clock.monotonic_ns()
        await asyncio.sleep(watched_s)
        took_s = (clock.monotonic_ns() - began_ns) / NS_PER_S
        after = {name: _look(town.programs[name].pid, town.site.socket(name)) for name in NODES}
    nodes = {
        name: {
            "rss_mib": round(after[name][0] / 1024, 1),
            "cpu_percent": round((after[name][1] - before[name][1]) / took_s * 100, 2),
            "samples_per_s": round((after[name][2] - before[name][2]) / took_s, 2),
        }
        for name in NODES
    }
    return {"bench": "edge", "watched_s": round(took_s, 1), "promised_rss_mib": PROMISE_RSS_MIB, "nodes": nodes}


def _look(pid: int, socket: Path) -> tuple[int, float, int]:
    """Resident KiB, seconds of processor, and samples since the node's start."""
    status = Path(f"/proc/{pid}/status").read_text()
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
    times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    seconds = (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")
    return resident, seconds, int(ask(socket, "node.status")["samples"])


def run(*, json: bool) -> None:
    """Measure and print."""
    found = asyncio.run(measure())
    if json:
        emit({"ok": True, **found})
        return
    for name, row in found["nodes"].items():
        plain(
            f"{name:8} {row['rss_mib']:6.1f} MiB resident, {row['cpu_percent']:5.2f} % of a core, "
            f"{row['samples_per_s']:5.2f} samples a second"
        )
    plain(f"promised: at most {found['promised_rss_mib']:g} MiB resident")
