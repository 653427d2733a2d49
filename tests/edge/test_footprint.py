"""What a node costs: a real process on real sockets loads only what it needs, and stays within 48 MiB (issue 2, item 4)."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge import footprint
from lanes import control
from tests.kit.brokers import RealBroker
from tests.kit.site import lay_out, world

# On Python 3.11 45.9 MiB are measured, on 3.13 45.7 to 46.5 (x86-64, both brokers, with and without the checks of UBSan).
RSS_MAX_KIB = 48 * 1024
FOREIGN = {
    "controller",
    "bucium.cli",
    "rich",
    "typer",
    "click",
    "prometheus_client",
    "influxdb_client",
    "httpx",
    "lxml",
}
# The process tells its own module list when it is asked by a signal: nothing in the product knows of it.
HOOK = """
import json, os, runpy, signal, sys
def tell(*_):
    with open(os.environ["MODULES_FILE"] + ".new", "w") as file:
        json.dump(sorted(sys.modules), file)
    os.replace(os.environ["MODULES_FILE"] + ".new", os.environ["MODULES_FILE"])
signal.signal(signal.SIGUSR1, tell)
sys.argv = ["bucium", *sys.argv[1:]]
runpy.run_module("bucium", run_name="__main__", alter_sys=True)
"""
LIMIT_S = 100  # to start, on a machine that has much else to do


def after_a_boot(folder: Path) -> dict[str, str]:
    """The environment of a node as a board that was switched on finds it: bytecode on disk, libraries not yet in memory.

    Right after an installation the page cache holds the largest library in pieces of 2 MiB, and the kernel maps a piece whole
    where one page is read: 4 MiB of shared clean pages (seen) that say nothing of the node.
    """
    import cryptography

    ours = folder / "libraries"
    copy = shutil.copytree(Path(cryptography.__file__).parent, ours / "cryptography")
    for library in copy.rglob("*.so"):
        with library.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    paths = [str(ours), str(Path(__file__).parents[2])]
    environment = {"PYTHONPATH": os.pathsep.join(paths), "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
    environment["PYTHONDONTWRITEBYTECODE"] = ""
    command = (sys.executable, "-c", "import edge.__main__, firmware_bridge.modbus.device, firmware_bridge.modbus.port")
    subprocess.run(command, env=os.environ | environment, check=True)
    return environment


def memory(pid: int) -> dict[str, int]:
    """KiB by name, from /proc."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {
        name: int(value.split()[0]) for name, value in (line.split(":", 1) for line in lines) if name.startswith("Vm")
    }


@contextlib.asynccontextmanager
async def process(folder: Path, *command: str, **environment: str):
    log = (folder / "node.log").open("wb")
    node = await asyncio.create_subprocess_exec(
        sys.executable, *command, env=os.environ | environment, stdout=log, stderr=log, cwd=Path(__file__).parents[2]
    )
    log.close()
    try:
        yield node
    finally:
        if node.returncode is None:
            node.kill()
        await node.wait()


async def until_sampling(folder: Path, node: asyncio.subprocess.Process) -> dict:
    """Until it reads its devices and both MQTT connections are up."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            assert node.returncode is None, (folder / "node.log").read_text()
            with contextlib.suppress(control.ControlError):
                status = await asyncio.to_thread(control.ask, folder / "run" / "node.sock", "node.status")
                if status["samples"] > 10 and status["lane"]["connected"] and status["telemetry"] == "up":
                    return status
            await asyncio.sleep(0.1)


@pytest.mark.broker
@pytest.mark.timeout(400)
async def test_a_node_imports_only_its_own_and_stays_within_48_mib(tmp_path, broker: RealBroker):
    async with world(tmp_path / "record.jsonl") as devices:
        config = lay_out(tmp_path, broker=broker.port, port=int(devices.endpoint("river")["port"]))
        modules = tmp_path / "modules.json"
        command = ("-c", HOOK, "edge", "run", "--config", str(config))
        async with process(tmp_path, *command, MODULES_FILE=str(modules), **after_a_boot(tmp_path)) as node:
            before = await until_sampling(tmp_path, node)
            await asyncio.sleep(footprint.SETTLED_S + 2)
            used = memory(node.pid)
            print(f"RSS {used['VmRSS'] / 1024:.1f} MiB, peak {used['VmHWM'] / 1024:.1f} MiB")
            after = await until_sampling(tmp_path, node)
            assert after["samples"] > before["samples"], "measured while it works"
            assert used["VmRSS"] <= RSS_MAX_KIB
            node.send_signal(signal.SIGUSR1)
            async with asyncio.timeout(LIMIT_S):
                while not modules.exists():
                    await asyncio.sleep(0.05)
            loaded = {name for name in FOREIGN if f'"{name}"' in modules.read_text()}
            assert not loaded, "a node must not pay for these"
            node.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(node.wait(), LIMIT_S) == 0, (tmp_path / "node.log").read_text()


def test_only_mappings_that_hold_nothing_of_ours_are_given_back():
    smaps = """\
1000-2000 r-xp 00000000 08:01 1    /usr/lib/clean.so
Anonymous:             0 kB
2000-3000 r--p 00001000 08:01 1    /usr/lib/relocated.so
Anonymous:             8 kB
3000-4000 rw-p 00002000 08:01 1    /usr/lib/clean.so
Anonymous:             0 kB
4000-5000 r--p 00000000 00:00 0
Anonymous:             0 kB
5000-6000 r-xp 00000000 00:00 0    [vdso]
Anonymous:             0 kB
"""
    assert footprint.clean_files(smaps) == [(0x1000, 0x2000)]
