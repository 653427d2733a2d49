"""A node's siren on a Modbus line in memory: real drivers, real frames, virtual time, and the relay monitor on what sounds.

The line has an Informer (unit 1), a relay board with timers of its own (unit 2) and a contact module (unit 3) whose first input
hears the siren behind relay 1, or the Informer. `deaf`: it does not.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from edge.siren.orderstore import OrderStore
from edge.siren.sirens import Sirens
from firmware_bridge.factory import Bridge
from firmware_bridge.settings import DeviceSettings, ModbusRtuBus, SirenSettings
from firmware_bridge.simulators.record import Entry
from lanes.reports import ReceiptData, Stage
from lanes.store import run_here
from tests.kit.modbus import SOUNDS, MemoryLine
from tests.kit.orders import BOOT, NODE, Maker, siren_plan
from tests.kit.relay_monitor import RelayMonitor
from tests.kit.siren_rig import clock_of

SIREN: Final[dict[str, dict[str, Any]]] = {
    "informer": {"device": "informer", "sound": SOUNDS},
    "informer-heard": {  # with a contact that follows its sound
        "device": "informer",
        "sound": SOUNDS,
        "feedback": {"device": "contacts", "channel": "alarm-1", "within_s": 2.0},
    },
    "coil-timed": {  # the Waveshare board's own timer
        "device": "relays",
        "contacts": {"any": "relay-1"},
        "feedback": {"device": "contacts", "channel": "alarm-1", "within_s": 2.0},
    },
}
DEVICES: Final = {"informer": ("federal-informer", 1), "relays": ("waveshare-relay8", 2), "contacts": ("novabo-di8", 3)}


class LineRig:
    """What a test holds. The siren is s1, its line in the monitor `s1` too."""

    def __init__(self, folder: Path, kind: str, **changes: Any) -> None:
        self.clock = clock_of()
        self.make = Maker(self.clock)
        self.monitor = RelayMonitor({"s1": "s1"})
        self.receipts: list[ReceiptData] = []
        self.deaf = False
        self.line = MemoryLine(self.clock)
        for name, (profile, unit) in DEVICES.items():
            self.line.add(profile, unit, name=name)
        self.line.units[3].memory.set("alarm-1", 0.0)
        self.line.record.watch(self._entry)
        bus = ModbusRtuBus.model_validate({"type": "modbus-rtu", "id": "bus", "device": "memory", "timeout_s": 0.2})
        devices = [
            DeviceSettings(id=name, bus="bus", unit=unit, profile=profile) for name, (profile, unit) in DEVICES.items()
        ]
        self.bridge = Bridge(
            [bus],
            devices,
            [SirenSettings.model_validate({"id": "s1", **SIREN[kind], **changes})],
            clock=self.clock,
            make_bus=lambda _settings, _clock, _base: self.line.bus(timeout_s=0.2),
        )
        self.store = OrderStore(
            folder / "orders.db", anchor=folder / "anchor", clock=self.clock, runner=run_here, entropy=bytes
        )
        self.sirens = Sirens(
            signed=siren_plan(),
            node=NODE,
            drivers=self.bridge.sirens,
            store=self.store,
            clock=self.clock,
            boot=BOOT,
            record=self._record,
        )

    async def _record(self, receipt: ReceiptData) -> None:
        self.receipts.append(receipt)

    def _entry(self, entry: Entry) -> None:
        sounds = (entry.device, entry.what) == ("informer", "sound")
        closes = (entry.device, entry.name) == ("relays", "relay-1")
        if sounds or closes:
            self.monitor.edge("s1", bool(entry.value), entry.at_ns)
        if (closes or sounds) and not self.deaf:
            self.line.units[3].memory.set("alarm-1", entry.value)

    async def give(self, data: bytes, max_s: float = 120.0) -> None:
        """A valid order."""
        self.monitor.permit("s1", self.clock.monotonic_ns(), max_s)
        await self.sirens.order(data)

    def told(self) -> list[tuple[Stage, str]]:
        return [(r.stage, r.reason) for r in self.receipts if r.siren == "s1"]

    @property
    def sounds(self) -> bool:
        return bool(self.monitor.edges) and self.monitor.edges[-1][2]


@asynccontextmanager
async def line_rig(folder: Path, kind: str, **changes: Any) -> AsyncIterator[LineRig]:
    """A running node; at the end the monitor has found nothing. `changes` are of the siren's settings."""
    made = LineRig(folder, kind, **changes)
    await made.bridge.open()
    task = asyncio.create_task(made.sirens.run())
    await asyncio.sleep(1.0)
    try:
        yield made
    finally:
        task.cancel()
        (done,) = await asyncio.gather(task, return_exceptions=True)
        await made.bridge.close()
        made.store.close()
        if isinstance(done, Exception):
            raise done
    made.monitor.check(made.clock.monotonic_ns())
    assert not made.monitor.findings, made.monitor.findings
    assert not made.sounds
