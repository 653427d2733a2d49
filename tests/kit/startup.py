"""`python -m tests.kit.startup`: how long a controller takes to rebuild its state from 100,000 events (promised: 5 s).

The events are made, signed, heard and journaled by the real room, with snapshots as upkeep takes them; then the journal is opened
as a start does. Ends with `events N, rows R, read at start S, start_s X`, the slowest of three starts.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from .control_room import ControlRoom

COMMIT_EVENTS = 500
STARTS = 3


async def lived(path: Path, events: int) -> int:
    """A journal of so many events of two nodes; how many rows it has."""
    control = ControlRoom(path)
    nodes = [control.node("n1"), control.node("n2")]
    for node in nodes:
        control.hear(node, node.state())
    for number in range(events):
        control.clock.advance(0.5)
        control.hear(nodes[number % 2], nodes[number % 2].trouble("disk", number % 4 < 2))
        control.room.maybe_snapshot()
        if number % COMMIT_EVENTS == 0:
            await control.commit()
    await control.commit()
    control.journal.drop()
    return control.journal.seq


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.kit.startup", description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    events = parser.parse_args().events
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.db"
        rows = asyncio.run(lived(path, events))
        took_s, read = 0.0, 0
        for _ in range(STARTS):
            began_s = time.perf_counter()
            control = ControlRoom(path)
            took_s = max(took_s, time.perf_counter() - began_s)
            read = control.recovered
            control.journal.drop()
    print(f"events {events}, rows {rows}, read at start {read}, start_s {took_s:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
