"""A plan changed in a whole network that runs: real services, a real broker, real Modbus devices, the command line."""

import asyncio
import contextlib
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from controller import app as controller_app
from controller import config as controller_config
from cython_ext import SystemClock
from edge import app as edge_app
from edge import config as edge_config
from firmware_bridge.simulators.record import Entry
from lanes import control, planfile
from lanes.keys import SigningKey, write_key
from lanes.link import MqttConnector
from lanes.store import ThreadRunner, run_here
from tests.kit import brokers, capkeys
from tests.kit.face import Face
from tests.kit.nodes import CONTROLLER, KEYS, NODE, document
from tests.kit.relay_monitor import RelayMonitor
from tests.kit.site import PLANNERS, lay_out, signed_plan, world
from tests.kit.slowline import SlowLine

pytestmark = [pytest.mark.broker, pytest.mark.timeout(180)]
LIMIT_S = 60
MARIA = SigningKey.from_seed(b"maria".ljust(32, b"."))
TOML = """
[controller]
id = "{id}"
socket = "c.sock"
[keys]
live = "live.pem"
[broker]
port = {port}
[cap]
key = "cap.key"
certificate = "cap.crt"
[[dispatch]]
kind = "files"
folder = "cap"
"""


def plan(version: int = 7, *, strangers: int = 0, **gauge: Any) -> planfile.SignedPlan:
    """The test's plan, with a person, and perhaps many other nodes' keys."""
    facts = document()
    points = [point | gauge if point["id"] == "level" else point for point in facts["point"]]
    maria = {"public": MARIA.public.hex(), "signer": "maria", "role": "operator", "mode": "live", "zones": ["town"]}
    others = [
        {
            "public": SigningKey.from_seed(hashlib.sha256(b"%d" % n).digest()).public.hex(),
            "signer": f"far-{n}",
            "role": "node",
            "mode": "live",
        }
        for n in range(strangers)
    ]
    return signed_plan(version=version, point=points, key=[*facts["key"], maria, *others])


HIGHER = {
    "attention": {"raise": 2.5, "clear": 2.3},
    "alarm": {"raise": 3.5, "clear": 3.3},
    "danger": {"raise": 4.5, "clear": 4.3},
    "latch": True,
}


class Network:
    """A broker, a node with its devices, a controller; and people at its socket."""

    def __init__(self, folder: Path, face: Face, broker: int, *, node_broker: int = 0) -> None:
        self.folder, self.face = folder, face
        self.broker, self.node_broker = broker, node_broker or broker
        self.devices = world(folder / "record.jsonl")
        self.monitor = RelayMonitor({"relay-1": "school"})
        self.devices.record.watch(self._entry)
        self.stop = asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []
        self.socket = folder / "c" / "c.sock"
        for name, key in (*PLANNERS.items(), ("maria", MARIA)):
            write_key(key, folder / f"{name}.pem")

    def start(self) -> None:
        port = int(self.devices.endpoint("river")["port"])
        node = lay_out(self.folder / "n", port=port, broker=self.node_broker)
        planfile.write(plan(), self.folder / "n" / "plan.cbor")
        ready = edge_config.ready(edge_config.load(node))
        self.runner = ThreadRunner("ledger")
        common = {"clock": SystemClock(), "entropy": os.urandom, "stop": self.stop}
        connector = MqttConnector(ready.local.config.broker)
        self.tasks.append(asyncio.create_task(edge_app.run(ready, connector=connector, runner=self.runner, **common)))
        self._start_controller(common)

    def _start_controller(self, common: dict[str, Any]) -> None:
        home = self.folder / "c"
        home.mkdir()
        planfile.write(plan(), home / "plan.cbor")
        (home / "root.toml").write_text((self.folder / "n" / "root.toml").read_text())
        write_key(KEYS[CONTROLLER, "live"], home / "live.pem")
        capkeys.write(home, capkeys.signer())
        (home / "controller.toml").write_text(TOML.format(id=CONTROLLER, port=self.broker))
        ready = controller_config.ready(controller_config.load(home / "controller.toml"))
        connector = MqttConnector(ready.local.config.broker)
        self.tasks.append(
            asyncio.create_task(controller_app.run(ready, connector=connector, runner=run_here, **common))
        )

    def _entry(self, entry: Entry) -> None:
        if entry.device == "relays":
            self.monitor.edge(entry.name, bool(entry.value), entry.at_ns)

    def flood(self) -> None:
        """The water rises, and the siren may sound for it, once; not before."""
        self.monitor.permit("relay-1", SystemClock().monotonic_ns(), max_s=300, within_s=300)
        self.devices.set("gauge", "level", 3.2)

    async def say(self, *words: object) -> Any:
        """A verb of the command line, at the controller's socket."""
        return await asyncio.to_thread(self.face, *words, "--socket", self.socket, "--json")

    async def ask(self, verb: str) -> Any:
        return await asyncio.to_thread(control.ask, self.socket, verb)

    async def until(self, condition: Any) -> Any:
        async with asyncio.timeout(LIMIT_S):
            while True:
                for task in self.tasks:
                    assert not task.done(), task.result()
                with contextlib.suppress(control.ControlError):
                    if found := await condition():
                        return found
                await asyncio.sleep(0.1)

    async def node(self) -> dict[str, Any]:
        """How the node stands to the plan, as the controller knows it."""
        return next(row["plan"] for row in await self.ask("node.list") if row["node"] == NODE)

    async def current(self) -> bool:
        return bool((await self.node())["current"])

    async def level(self) -> int:
        """Of the flood alarm; 0: there is none."""
        return max([a["level"] for a in await self.ask("alarm.list") if a["hazard"] == "flood"], default=0)

    async def end(self) -> None:
        self.stop.set()
        await asyncio.wait_for(asyncio.gather(*self.tasks), LIMIT_S)
        self.runner.close()
        self.monitor.check(SystemClock().monotonic_ns())
        assert not self.monitor.findings, self.monitor.findings


@pytest.fixture
def face(capsys: pytest.CaptureFixture[str]) -> Face:
    return Face(capsys)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short path: sockets stand in it."""
    return tmp_path_factory.mktemp("r")


@pytest.mark.parametrize("kind", brokers.KINDS)
async def test_a_threshold_is_changed_in_the_whole_network_and_a_latched_point_is_reset(
    kind: str, folder: Path, face: Face
) -> None:
    if why := brokers.missing(kind):
        pytest.skip(why)
    broker = brokers.RealBroker(kind, folder / "b").start()
    network = Network(folder, face, broker.port)
    async with network.devices:
        network.start()
        await network.until(network.current)
        network.flood()
        await network.until(network.level)

        # The gauge was moved: from now on it alarms half a metre later, and latches.
        planfile.write(plan(8, **HIGHER), folder / "new.cbor")
        applied = await network.say(
            "plan", "apply", folder / "new.cbor", "--key", folder / "ana.pem", "--reason", "the gauge was moved"
        )
        assert applied.code == 0, applied.err
        assert (applied.document["version"], applied.document["by"]) == (8, "ana")
        await network.until(network.current)
        shown = (await network.say("plan", "show")).document
        assert shown["running"]["version"] == 8
        assert {row["node"]: row["current"] for row in shown["nodes"]}[NODE]
        again = await network.say("plan", "apply", folder / "new.cbor", "--key", folder / "ana.pem", "--reason", "x")
        assert again.code == 1
        assert again.document["code"] == "older"

        # The alarm has lived through it. It is latched now: a person resets it, once the water is down.
        maria = ("--key", folder / "maria.pem")
        assert (await network.say("alarm", "ack", "town/flood", *maria)).code == 0
        refused = await network.say("alarm", "reset", "town/flood", *maria)
        assert [(p["point"], p["why"]) for p in refused.document["points"]] == [("level", "above")]
        network.devices.set("gauge", "level", 1.0)

        async def reset() -> bool:
            said = await network.say("alarm", "reset", "town/flood", *maria)
            return said.code == 0 and all(point["reset"] for point in said.document["points"])

        await network.until(reset)

        async def over() -> bool:
            return not await network.level()

        await network.until(over)
        await network.end()
    broker.stop()


async def test_on_a_slow_link_an_alarm_does_not_wait_for_the_plan(folder: Path, face: Face) -> None:
    """9.6 kbit/s, and a plan of a hundred nodes: the alarm is known long before the plan has come."""
    if why := brokers.missing("mosquitto"):
        pytest.skip(why)
    broker = brokers.RealBroker("mosquitto", folder / "b").start()
    line = SlowLine(broker.port, 9600.0)
    async with line.laid():
        network = Network(folder, face, broker.port, node_broker=line.port)
        async with network.devices:
            network.devices.set("gauge", "level", 1.0)
            network.start()
            await network.until(network.current)
            planfile.write(plan(8, strangers=100, **HIGHER), folder / "new.cbor")
            applied = await network.say(
                "plan", "apply", folder / "new.cbor", "--key", folder / "ana.pem", "--reason", "more nodes"
            )
            assert applied.code == 0, applied.err

            async def under_way() -> bool:
                sent = (await network.node())["sent"]
                return sent is not None and sent > 0

            await network.until(under_way)
            network.flood()
            await network.until(network.level)
            assert not await network.current(), "the alarm was first"
            await network.until(network.current)
            await network.end()
    broker.stop()
