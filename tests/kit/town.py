"""A small town that works: a controller and two nodes, real drivers on simulated devices, in a thread of their own.

For verbs of the command line, which block: `with Town(folder) as town:` and the socket of each service answers. Node n1 has a
relay with its feedback contact on a board, node n2 a siren controller on Modbus. A relay monitor watches the board.
"""

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from controller import app as controller
from controller import config as controller_config
from cython_ext import SystemClock
from edge import app as edge
from edge import config as edge_config
from firmware_bridge.factory import Bridge
from firmware_bridge.gpio.device import Gpio
from firmware_bridge.gpio.simulated import Board, Edge, SimulatedChip
from firmware_bridge.simulators.settings import WorldSettings
from firmware_bridge.simulators.world import Simulation
from lanes import planfile
from lanes.control import ask
from lanes.envelope import NOT_AFTER_MAX_US, Envelope, Kind, seal
from lanes.keys import Mode, Role, write_key
from lanes.orders import Action, Order, OrderCore
from lanes.store import run_here
from tests.kit.broker import MemoryBroker
from tests.kit.plans import key, key_entry, root, signed
from tests.kit.relay_monitor import RelayMonitor

READY_S = 30.0
NODES = ("n1", "n2")
PEOPLE = {"ana": ("ungheni", "valea"), "ion": ("ungheni", "valea"), "eva": ("valea",)}
PLAN = """
version = 3
root = "DEMO"
group = "prut"
controller = "iasi"

[[zone]]
id = "ungheni"

[[zone]]
id = "valea"

[[point]]
id = "smoke"
node = "n1"
zones = ["ungheni"]
hazard = "fire"
unit = "1"
period_s = 0.2
alarm = { raise = 1, clear = 0.5 }

[[siren]]
id = "s1"
node = "n1"
zones = ["ungheni"]
proof = true

[[siren]]
id = "s2"
node = "n2"
zones = ["valea"]
reserve_zones = ["ungheni"]
proof = true

[[pattern]]
id = "long"
source = "test"
verified = false
segments = [{ mode = "steady", on_s = 60 }]

[[policy]]
zone = "ungheni"
hazard = "fire"
level = "alarm"
mode = "unless-vetoed"
veto_s = 600
pattern = "long"
reflex = true
"""
NODE = """
[node]
id = "{node}"
data = "data"
plan = "../plan.cbor"
root = "../root.toml"
socket = "n.sock"
[keys]
live = "../keys/{node}.live.pem"
exercise = "../keys/{node}.exercise.pem"
test = "../keys/{node}.test.pem"
[broker]
host = "127.0.0.1"
port = 1
"""
BOARD = """
[[bus]]
id = "board"
type = "gpio"
chip = "simulated"
[[device]]
id = "io"
bus = "board"
input = [{ channel = "heard", line = "F1" }, { channel = "smoke", line = "SMOKE" }]
output = [{ point = "horn", line = "R1" }]
[[point]]
id = "smoke"
device = "io"
channel = "smoke"
[[siren]]
id = "s1"
device = "io"
contacts = { any = "horn" }
feedback = { device = "io", channel = "heard", within_s = 1.0 }
"""
INFORMER = """
[[bus]]
id = "line"
type = "modbus-tcp"
host = "127.0.0.1"
port = %d
simulated = true
[[device]]
id = "informer"
bus = "line"
profile = "federal-informer"
[[siren]]
id = "s2"
device = "informer"
sound = [{ mode = "steady", function = 1, own_end_s = 60.0 }]
"""
CONTROLLER = """
[controller]
id = "iasi"
data = "data"
plan = "../plan.cbor"
root = "../root.toml"
socket = "c.sock"
[keys]
live = "../keys/iasi.live.pem"
exercise = "../keys/iasi.exercise.pem"
test = "../keys/iasi.test.pem"
"""
LONG = {"code": 1, "tone": "steady", "length_s": 60.0}
WORLD = {
    "line": [{"type": "tcp", "id": "siren"}],
    "device": [{"id": "informer", "line": "siren", "profile": "federal-informer", "function": [LONG]}],
}


def plan_text() -> str:
    text = PLAN
    for mode in Mode:
        for node in NODES:
            text += key_entry(node, Role.NODE, mode)
        text += key_entry("iasi", Role.CONTROLLER, mode)
        for person, zones in PEOPLE.items():
            text += key_entry(person, Role.OPERATOR, mode, zones)
    return text


def order_of(person: str, *, node: str, siren: str) -> bytes:
    """A start that a person signs with their own key: a stop of theirs would count, a start does not."""
    now_us, plan = SystemClock().wall_us(), signed(plan_text())
    end_us = now_us + NOT_AFTER_MAX_US
    core = OrderCore(b"stranger", ("ungheni",), "long", Mode.LIVE, 60, end_us, plan.digest)
    body = Order(Action.START, siren, core, 0, bytes(8)).pack()
    envelope = Envelope(Kind.ORDER, person, node, bytes(8), 1, now_us, plan.plan.version, 0, body, end_us)
    return seal(envelope, key(person))


class Town:
    """Running from `__enter__` to `__exit__`. `board` is n1's; `heard` False: its siren is deaf, its feedback stays open."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = SystemClock()
        self.board = Board(self.clock)
        self.heard = True
        self.monitor = RelayMonitor({"R1": "s1"})
        self.board.watch(self._edge)
        self.broker = MemoryBroker()
        self.devices: Simulation
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._thread = threading.Thread(target=self._main, name="town")
        self._error: BaseException | None = None
        self._begun = threading.Event()

    def socket(self, service: str) -> Path:
        """A node's control socket, or the controller's (`iasi`)."""
        return self.folder / service / ("c.sock" if service == "iasi" else "n.sock")

    def key(self, person: str, mode: str = "live") -> Path:
        return self.folder / "keys" / f"{person}.{mode}.pem"

    def permit(self, max_s: float) -> None:
        """A valid order for s1 is about to be given."""
        self._call(lambda: self.monitor.permit("R1", self.clock.monotonic_ns(), max_s))

    def until(self, condition: Callable[[], Any], seconds: float = READY_S) -> Any:
        """Wait until it is so; what it then was."""
        pause = threading.Event()
        for _ in range(round(seconds * 20)):
            if self._error is not None:
                raise self._error
            if found := condition():
                return found
            pause.wait(0.05)
        raise AssertionError("it did not happen")

    def sirens(self) -> dict[str, Any]:
        return {each["siren"]: each for each in ask(self.socket("iasi"), "siren.list")}

    def activation(self, number: int) -> dict[str, Any]:
        found = ask(self.socket("iasi"), "siren.status")["activations"]
        return next(each for each in found if each["activation"] == number)

    def settled(self, number: int) -> dict[str, Any]:
        """The activation, once nothing of it is pending."""
        return self.until(lambda: (a := self.activation(number)) if not self.activation(number)["pending"] else None)

    def inject(self, node: str, order: bytes) -> None:
        """An order that comes to this node from nobody of the town."""
        self._call(lambda: self.broker.inject(f"bucium/1/prut/{node}/order", order))

    def drive(self, line: str, high: bool) -> None:
        """An input of n1's board."""
        self._call(lambda: self.board.drive(line, high))

    def _call(self, work: Callable[[], object]) -> None:
        done = threading.Event()
        self._loop.call_soon_threadsafe(lambda: (work(), done.set()))
        assert done.wait(5)

    # Life.

    def __enter__(self) -> Self:
        self._lay_out()
        self._thread.start()
        assert self._begun.wait(READY_S)
        self.until(lambda: self.socket("iasi").exists() and all(s["heard_us"] for s in self.sirens().values()))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(READY_S)
        if kind is None:
            assert self._error is None, self._error
            self.monitor.check(self.clock.monotonic_ns())
            assert not self.monitor.findings, self.monitor.findings

    def _lay_out(self) -> None:
        keys = self.folder / "keys"
        keys.mkdir(parents=True)
        for mode in Mode:
            for name in (*NODES, "iasi", *PEOPLE):
                write_key(key(name, mode), keys / f"{name}.{mode.name.lower()}.pem")
        planfile.write(signed(plan_text()), self.folder / "plan.cbor")
        people = "".join(f'[[planner]]\nid = "{p.id}"\npublic = "{p.public}"\n' for p in root().planners)
        (self.folder / "root.toml").write_text(f'name = "DEMO"\nthreshold = 2\n{people}')
        for name in (*NODES, "iasi"):
            (self.folder / name).mkdir()

    def _main(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as error:  # noqa: BLE001 - told to the test that waits
            self._error = error
        finally:
            self._begun.set()

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with AsyncExitStack() as ends:
            self.devices = Simulation(WorldSettings.model_validate(WORLD), clock=self.clock, base=self.folder)
            await ends.enter_async_context(self.devices)
            works = [self._controller(), self._board_node(), self._informer_node()]
            async with asyncio.TaskGroup() as group:
                for work in works:
                    group.create_task(work)
                self._begun.set()

    async def _controller(self) -> None:
        path = self.folder / "iasi" / "controller.toml"
        path.write_text(CONTROLLER)
        ready = controller_config.ready(controller_config.load(path))
        await controller.run(
            ready,
            clock=self.clock,
            connector=self.broker.connector(),
            runner=run_here,
            entropy=os.urandom,
            stop=self._stop,
        )

    def _board_node(self) -> Awaitable[None]:
        ready = self._node("n1", BOARD)
        config = ready.local.config
        bridge = Bridge(
            config.buses,
            config.devices,
            config.sirens,
            clock=self.clock,
            make_bus=lambda settings, clock, _base: Gpio(settings, SimulatedChip(self.board), clock),  # type: ignore[arg-type]
        )
        return self._edge_run(ready, bridge)

    def _informer_node(self) -> Awaitable[None]:
        return self._edge_run(self._node("n2", INFORMER % int(self.devices.endpoint("siren")["port"])), None)

    def _node(self, name: str, devices: str) -> edge_config.Ready:
        path = self.folder / name / "node.toml"
        path.write_text(NODE.format(node=name) + devices)
        return edge_config.ready(edge_config.load(path))

    async def _edge_run(self, ready: edge_config.Ready, bridge: Bridge | None) -> None:
        await edge.run(
            ready,
            clock=self.clock,
            connector=self.broker.connector(),
            runner=run_here,
            entropy=os.urandom,
            stop=self._stop,
            bridge=bridge,
        )

    def _edge(self, change: Edge) -> None:
        self.monitor.edge(change.line, change.high, change.at_ns)
        if change.line == "R1" and self.heard:
            self.board.drive("F1", change.high)
