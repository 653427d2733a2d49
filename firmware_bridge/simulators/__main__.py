"""`python -m firmware_bridge.simulators --config world.toml`: play a world until told to stop.

Prints one line of JSON with the endpoints when everything listens; then works in silence.
"""

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path

from cython_ext.clock import SystemClock
from cython_ext.errors import BuciumError

from .world import Simulation, load_world


async def _run(path: Path) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with Simulation(load_world(path), clock=SystemClock(), base=path.parent) as world:
        ready = {"ready": {name: line.endpoint() for name, line in world.lines.items()}}
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        await stop.wait()


def main() -> int:
    """0 when told to stop, 2 for a configuration that cannot be played."""
    parser = argparse.ArgumentParser(prog="python -m firmware_bridge.simulators", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="world.toml")
    try:
        asyncio.run(_run(parser.parse_args().config))
    except (BuciumError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
