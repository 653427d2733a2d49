"""A node's folder as a site has it: keys, root, signed plan, node.toml; and the simulated devices that it reads."""

from pathlib import Path
from typing import Any

from cython_ext import SystemClock
from firmware_bridge.simulators.settings import WorldSettings
from firmware_bridge.simulators.world import Simulation
from lanes import planfile
from lanes.keys import SigningKey, write_key
from lanes.plan import Plan
from lanes.planfile import SignedPlan
from tests.kit.clock import START_WALL_US
from tests.kit.nodes import KEYS, NODE, document

PLANNERS = {name: SigningKey.from_seed(name.encode().ljust(32, b".")) for name in ("ana", "ion")}
WORLD = WorldSettings.model_validate(
    {
        "line": [{"type": "tcp", "id": "river"}],
        "device": [
            {"id": "gauge", "line": "river", "profile": "vegapuls", "initial": {"level": 1.0}},
            {"id": "relays", "line": "river", "profile": "waveshare-relay8", "unit": 2},
            {"id": "panel", "line": "river", "profile": "novabo-di8", "unit": 3},
        ],
        "wire": [{"from": "relays/relay-1", "to": "panel/alarm-1", "delay_s": 0.05}],
    }
)
TOML = """\
[node]
id = "{node}"

[keys]
live = "keys/live.pem"
exercise = "keys/exercise.pem"
test = "keys/test.pem"

[broker]
host = "127.0.0.1"
port = {broker}

[[bus]]
id = "river"
type = "modbus-tcp"
host = "127.0.0.1"
port = {port}
simulated = true

[[device]]
id = "gauge"
bus = "river"
profile = "vegapuls"

[[device]]
id = "relays"
bus = "river"
profile = "waveshare-relay8"
unit = 2

[[device]]
id = "panel"
bus = "river"
profile = "novabo-di8"
unit = 3

[[point]]
id = "level"
device = "gauge"
channel = "level"

[[point]]
id = "smoke"
device = "panel"
channel = "alarm-2"

[[siren]]
id = "school"
device = "relays"
contacts = {{ any = "relay-1" }}
feedback = {{ device = "panel", channel = "alarm-1" }}
"""


def world(record: Path) -> Simulation:
    """The devices, on real sockets."""
    settings = WORLD.model_copy(update={"record": record.name})
    return Simulation(settings, clock=SystemClock(), base=record.parent)


def lay_out(folder: Path, *, broker: int = 1, port: int = 1, text: str = TOML, **changes: Any) -> Path:
    """Write everything that a node starts from; returns node.toml. `changes` are of the plan."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "keys").mkdir(exist_ok=True)
    for mode in ("live", "exercise", "test"):
        path = folder / "keys" / f"{mode}.pem"
        if not path.exists():
            write_key(KEYS[NODE, mode], path)
    plan = signed_plan(**changes)
    planfile.write(plan, folder / "plan.cbor")
    people = "".join(f'[[planner]]\nid = "{name}"\npublic = "{key.public.hex()}"\n' for name, key in PLANNERS.items())
    (folder / "root.toml").write_text(f'name = "{plan.plan.root}"\nthreshold = 2\n{people}')
    config = folder / "node.toml"
    config.write_text(text.format(node=NODE, broker=broker, port=port))
    return config


def signed_plan(**changes: Any) -> SignedPlan:
    plan = planfile.build(Plan.model_validate(document(**changes)))
    for name, key in PLANNERS.items():
        plan = planfile.sign(plan, name, key, START_WALL_US)
    return plan
