"""`python -m edge --config node.toml`: arguments, signals, the machine's own clock and randomness; nothing else."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from cython_ext import BuciumError, SystemClock
from lanes import logs
from lanes.kernelclock import kernel_quality
from lanes.link import MqttConnector
from lanes.store import ThreadRunner

from . import app, config, footprint


def main(argv: Sequence[str] | None = None) -> int:
    """Run a node until SIGTERM or SIGINT: 0; 1 when its configuration, plan or keys are refused."""
    footprint.start_small()
    options = _parse(argv)
    handler = logs.begin(options.log)
    try:
        ready = config.ready(config.load(options.config))
        logs.belong(handler, node=ready.node)
        asyncio.run(_run(ready))
    except BuciumError as error:
        print(f"bucium edge: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("bucium edge run", description="Run a node until SIGTERM or SIGINT.")
    parser.add_argument("--config", type=Path, default=Path("node.toml"), help="the node's TOML file")
    parser.add_argument("--log", default="info", choices=("debug", "info", "warning", "error"), help="what is logged")
    return parser.parse_args(argv)


async def _run(ready: config.Ready) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    runner, spare = ThreadRunner("ledger"), ThreadRunner("telemetry")
    loop.call_later(footprint.SETTLED_S, footprint.give_back)
    try:
        await app.run(
            ready,
            clock=SystemClock(),
            connector=MqttConnector(ready.local.config.broker),
            runner=runner,
            entropy=os.urandom,
            stop=stop,
            probe=kernel_quality,
            spare=spare,
        )
    finally:
        runner.close()
        spare.close()


if __name__ == "__main__":
    sys.exit(main())
