"""`python -m controller --config controller.toml`: arguments, signals, the machine's own clock and randomness; nothing else."""

import argparse
import asyncio
import gc
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cython_ext import BuciumError
from lanes import logs
from lanes.kernelclock import KernelClock
from lanes.link import MqttConnector
from lanes.store import ThreadRunner

from . import app, config

INFLIGHT: Final = 100  # publishes under way at once, beside a broker on a fast network: a storm's acks are thousands
SWITCH_S: Final = 0.0005  # how long a thread that writes CAP may hold up an ack: each of our sends lets it in


def main(argv: Sequence[str] | None = None) -> int:
    """Run a controller until SIGTERM or SIGINT: 0; 1 when its configuration, plan, keys or journal are refused."""
    options = _parse(argv)
    handler = logs.begin(options.log)
    try:
        ready = config.ready(config.load(options.config))
        logs.belong(handler, controller=ready.local.config.controller.id)
        asyncio.run(_run(ready))
    except BuciumError as error:
        print(f"bucium controller: {error}", file=sys.stderr)  # noqa: T201
        return 1
    except ExceptionGroup as several:
        said, bugs = several.split(BuciumError)
        if bugs is not None or said is None:
            raise
        print(f"bucium controller: {said.exceptions[0]}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("bucium controller run", description="Run a controller until SIGTERM or SIGINT.")
    parser.add_argument("--config", type=Path, default=Path("controller.toml"), help="the controller's TOML file")
    parser.add_argument("--log", default="info", choices=("debug", "info", "warning", "error"), help="what is logged")
    return parser.parse_args(argv)


async def _run(ready: config.Ready) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    runners = {name: ThreadRunner(name) for name in ("journal", "dispatch", "files", "history", "network")}
    sys.setswitchinterval(SWITCH_S)
    gc.freeze()  # what is loaded now stays: the collector need not walk it again
    try:
        await app.run(
            ready,
            clock=KernelClock(),
            connector=MqttConnector(ready.local.config.broker, INFLIGHT),
            runner=runners["journal"],
            entropy=os.urandom,
            stop=stop,
            others=runners.__getitem__,
        )
    finally:
        for runner in runners.values():
            runner.close()


if __name__ == "__main__":
    sys.exit(main())
