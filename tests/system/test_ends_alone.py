"""Off at the maximum even if all else is dead (issue 5, item 4): real node processes are killed or stopped, real buses cut, in
mid-sound. Each siren falls silent at its blast's end, by what outlives the node; the relay monitor judges by the devices' record.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from cython_ext import SystemClock
from firmware_bridge.simulators.record import Entry
from firmware_bridge.simulators.settings import WorldSettings
from firmware_bridge.simulators.world import Simulation
from tests.kit.nodes import NODE
from tests.kit.relay_monitor import RelayMonitor
from tests.kit.site import lay_out

ON_S, OFF_S = 4, 3
MAX_S: Final = 2 * ON_S + OFF_S
WITHIN_S: Final = 60.0
SOURCES: Final = {("informer", "steady"): "informer", ("relays", "relay-1"): "coil", ("board", "horn"): "line"}
WORLD: Final = {
    "line": [{"type": "tcp", "id": name} for name in ("river", "siren", "coils")],
    "device": [
        {"id": "gauge", "line": "river", "profile": "vegapuls", "initial": {"level": 1.0}},
        {"id": "panel", "line": "river", "profile": "novabo-di8", "unit": 3},
        {
            "id": "informer",
            "line": "siren",
            "profile": "federal-informer",
            "function": [{"code": 3, "tone": "steady", "length_s": ON_S}],
        },
        {"id": "relays", "line": "coils", "profile": "waveshare-relay8"},
    ],
    "board": [{"id": "board", "socket": "board.sock", "output": [{"point": "horn", "line": "GPIO17"}]}],
}
TOML: Final = """\
[node]
id = "{{node}}"
[keys]
live = "keys/live.pem"
[broker]
host = "127.0.0.1"
port = {{broker}}
[[bus]]
id = "river"
type = "modbus-tcp"
host = "127.0.0.1"
port = {river}
simulated = true
[[bus]]
id = "siren"
type = "modbus-tcp"
host = "127.0.0.1"
port = {siren}
simulated = true
[[bus]]
id = "coils"
type = "modbus-tcp"
host = "127.0.0.1"
port = {coils}
simulated = true
[[bus]]
id = "board"
type = "gpio"
chip = "simulated"
socket = "board.sock"
[[device]]
id = "gauge"
bus = "river"
profile = "vegapuls"
[[device]]
id = "panel"
bus = "river"
profile = "novabo-di8"
unit = 3
[[device]]
id = "informer"
bus = "siren"
profile = "federal-informer"
[[device]]
id = "relays"
bus = "coils"
profile = "waveshare-relay8"
[[device]]
id = "pins"
bus = "board"
output = [{{{{ point = "horn", line = "GPIO17" }}}}]
[[point]]
id = "level"
device = "gauge"
channel = "level"
[[point]]
id = "smoke"
device = "panel"
channel = "alarm-2"
[[siren]]
id = "informer"
device = "informer"
sound = [{{{{ mode = "steady", function = 3, own_end_s = {on}.0 }}}}]
[[siren]]
id = "coil"
device = "relays"
contacts = {{{{ any = "relay-1" }}}}
[[siren]]
id = "line"
device = "pins"
contacts = {{{{ any = "horn" }}}}
"""


class Rig:
    """A node's process, its devices in this one, and the monitor."""

    def __init__(self, folder: Path) -> None:
        self.world = Simulation(WorldSettings.model_validate(WORLD), clock=SystemClock(), base=folder)
        self.world.record.watch(self._entry)
        self.monitor = RelayMonitor({siren: siren for siren in SOURCES.values()})
        self.ended: dict[str, str] = {}  # siren → by whom its last sound was ended
        self.process: asyncio.subprocess.Process

    def _entry(self, entry: Entry) -> None:
        siren = SOURCES.get((entry.device, entry.name))
        if siren is not None:
            self.monitor.edge(siren, bool(entry.value), entry.at_ns)
            if not entry.value:
                self.ended[siren] = entry.by

    def last(self, siren: str) -> bool:
        """Whether it sounds, by the device's own record."""
        return next((on for _, line, on in reversed(self.monitor.edges) if line == siren), False)

    async def until(self, sound: bool) -> None:
        async with asyncio.timeout(WITHIN_S):
            while any(self.last(siren) is not sound for siren in SOURCES.values()):
                assert self.process.returncode in (None, -signal.SIGKILL)
                await asyncio.sleep(0.02)


@asynccontextmanager
async def rig(folder: Path) -> AsyncIterator[Rig]:
    r = Rig(folder)
    sirens = [{"id": name, "node": NODE, "zones": ["town"]} for name in SOURCES.values()]
    segments = [{"mode": "steady", "on_s": ON_S, "off_s": OFF_S, "repeat": 2}]
    pattern = [{"id": "flood", "source": "test", "verified": False, "segments": segments}]
    async with r.world as world:
        ports = {name: world.endpoint(name)["port"] for name in ("river", "siren", "coils")}
        config = lay_out(folder, text=TOML.format(on=ON_S, **ports), siren=sirens, pattern=pattern)
        command = [sys.executable, "-m", "bucium", "edge", "run", "--config", str(config)]
        with (folder / "log").open("w") as log:
            r.process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
        try:
            yield r
        finally:
            if r.process.returncode is None:
                os.kill(r.process.pid, signal.SIGKILL)
            await r.process.wait()


@pytest.mark.parametrize("how", ["killed", "stopped", "killed and every bus cut"])
async def test_every_siren_falls_silent_at_its_blast_s_end_by_itself(tmp_path: Path, how: str) -> None:
    async with rig(tmp_path) as r:
        for siren in SOURCES.values():
            r.monitor.permit(siren, SystemClock().monotonic_ns(), MAX_S)
        r.world.set("gauge", "level", 3.4)  # nobody answers the node: after 10 s its reflex sounds all three
        await r.until(sound=True)
        os.kill(r.process.pid, signal.SIGSTOP if how == "stopped" else signal.SIGKILL)
        struck_ns = SystemClock().monotonic_ns()
        if "cut" in how:
            for line in ("siren", "coils"):
                await r.world.cut(line)
        await asyncio.sleep(MAX_S + 1.5)
        r.monitor.check(SystemClock().monotonic_ns())
        assert not r.monitor.findings
        for siren in SOURCES.values():
            assert not r.last(siren), f"{siren} sounds on"
            on, off = [at for at, line, _ in r.monitor.edges if line == siren]
            assert on < struck_ns, "the node was struck while it sounded"
            assert (off - on) / 1e9 <= ON_S + 1, f"{siren}: {(off - on) / 1e9} s"
        assert r.ended["informer"] == r.ended["coil"] == "timer"
        assert r.ended["line"] == ("keeper" if how == "stopped" else "release")
