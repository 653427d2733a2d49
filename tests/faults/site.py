"""The site that the breaking machine breaks: two nodes on one river, each with a gauge, a siren and a zone; one controller.

Real files in a real folder: keys, plan, node.toml, controller.toml. Each zone is endangered by one gauge and warned by one siren,
so that what must happen follows from the water alone.
"""

import base64
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bucium.keyring import Keyring
from firmware_bridge.simulators.settings import WorldSettings
from lanes import planfile
from lanes.keys import Mode, Role, write_key
from lanes.plan import Plan
from lanes.settings import parse
from tests.kit.clock import START_WALL_US
from tests.kit.plans import PEOPLE, key, key_entry

LOOPBACK: Final = "127.0.0.1"
GROUP: Final = "prut"
CENTRE: Final = "iasi"
NODES: Final = ("bridge", "quay")
ZONE_OF: Final = {"bridge": "upper", "quay": "lower"}
LOW_M: Final = 1.0
RAISE: Final = {1: 2.0, 2: 3.0, 3: 4.0}  # Level → metres
PEAKS_M: Final = {1: 2.4, 2: 3.4, 3: 4.6}
SIREN_LEVEL: Final = 2
PERIOD_S: Final = 0.5
PATTERN_S: Final = 4.0  # 1.5 s on, 1 s off, 1.5 s on
MAX_S: Final = 5.0

_HEAD: Final = f"""
version = 3
root = "DEMO"
group = "{GROUP}"
controller = "{CENTRE}"
stop_hold_s = 60

[[pattern]]
id = "short"
source = "test"
verified = false
segments = [{{ mode = "steady", on_s = 1.5, off_s = 1, repeat = 2 }}]
"""
_NODE: Final = """
[[zone]]
id = "{zone}"
name = {{ ro = "{zone}" }}
circle = [47.21, 27.80, 5.0]

[[point]]
id = "{node}-level"
node = "{node}"
zones = ["{zone}"]
hazard = "flood"
unit = "m"
period_s = {period}
stale_s = 5
attention = {{ raise = 2.0, clear = 1.8 }}
alarm = {{ raise = 3.0, clear = 2.8 }}
danger = {{ raise = 4.0, clear = 3.8 }}
sensor_span = [-1.0, 20.0]

[[siren]]
id = "s-{node}"
node = "{node}"
zones = ["{zone}"]
proof = true

[[policy]]
zone = "{zone}"
hazard = "flood"
level = "alarm"
mode = "automatic"
pattern = "short"
reflex = true
"""
_NODE_TOML: Final = """[node]
id = "{node}"
data = "{data}"
plan = "plan.cbor"
root = "root.toml"
socket = "{socket}"

[keys]
live = "keys/{node}.live.pem"
exercise = "keys/{node}.exercise.pem"
test = "keys/{node}.test.pem"

[broker]
host = "{host}"
port = {broker}

[telemetry]
primary_host = "{centre}"

[[bus]]
id = "river"
type = "modbus-tcp"
host = "127.0.0.1"
port = {modbus}
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
id = "{node}-level"
device = "gauge"
channel = "level"

[[siren]]
id = "s-{node}"
device = "relays"
contacts = {{ any = "relay-1" }}
feedback = {{ device = "panel", channel = "alarm-1" }}
"""
_CONTROLLER_TOML: Final = """[controller]
id = "{centre}"
data = "{data}"
plan = "plan.cbor"
root = "root.toml"
socket = "{socket}"
emergency = "spare"  # on another disk than its data, as docs/admin.md advises

[keys]
live = "keys/{centre}.live.pem"
exercise = "keys/{centre}.exercise.pem"
test = "keys/{centre}.test.pem"

[broker]
host = "127.0.0.1"
port = {broker}

[cap]
sender = "centre@iasi.example"
languages = ["ro"]
key = "ring/cap/{centre}.key"
certificate = "ring/cap/{centre}.crt"

[[dispatch]]
kind = "files"
folder = "{told}"

[[dispatch]]
kind = "webhook"
name = "dispatch-centre"
url = "{url}"
secret_file = "webhook.secret"
"""


@dataclass(frozen=True)
class Site:
    """The folder of one world. `sockets` is short: a Unix socket's path has at most 107 bytes."""

    folder: Path
    sockets: Path

    def data(self, program: str) -> Path:
        """Where a program keeps what it must not lose; may be a mount point."""
        return self.folder / "data" / program

    def config(self, program: str) -> Path:
        return self.folder / f"{program}.toml"

    def socket(self, program: str) -> Path:
        return self.sockets / f"{program}.sock"

    def key(self, person: str) -> Path:
        return self.folder / "keys" / f"{person}.live.pem"

    @property
    def told(self) -> Path:
        """The dispatch receiver's own folder, on no disk that is broken here."""
        return self.folder / "told"


def public_key(name: str) -> bytes:
    """The live key of a node or of the controller."""
    return key(name).public


def lay_out(site: Site) -> None:
    """Folders, keys, root and signed plan."""
    for program in (*NODES, CENTRE):
        site.data(program).mkdir(parents=True, exist_ok=True)
    site.told.mkdir(exist_ok=True)
    (site.folder / "keys").mkdir(exist_ok=True)
    text = _HEAD + "".join(_NODE.format(node=node, zone=ZONE_OF[node], period=PERIOD_S) for node in NODES)
    zones = tuple(ZONE_OF.values())
    for mode in Mode:
        for name, role in (*((node, Role.NODE) for node in NODES), (CENTRE, Role.CONTROLLER)):
            text += key_entry(name, role, mode)
            write_key(key(name, mode), site.folder / "keys" / f"{name}.{mode.name.lower()}.pem")
        for person in PEOPLE:
            text += key_entry(person, Role.OPERATOR, mode, zones)
            write_key(key(person, mode), site.folder / "keys" / f"{person}.{mode.name.lower()}.pem")
    signed = planfile.build(parse(text, Plan))
    for person in PEOPLE:
        signed = planfile.sign(signed, person, key(f"planner-{person}"), START_WALL_US)
    planfile.write(signed, site.folder / "plan.cbor")
    planners = "".join(
        f'[[planner]]\nid = "{person}"\npublic = "{key(f"planner-{person}").public.hex()}"\n' for person in PEOPLE
    )
    (site.folder / "root.toml").write_text(f'name = "DEMO"\nthreshold = 2\n{planners}')
    ring = Keyring(site.folder / "ring")  # only for what signs CAP
    now_us = time.time_ns() // 1000
    ring.init("DEMO", PEOPLE, 2, now_us)
    ring.issue_cap(CENTRE, now_us)
    secret = site.folder / "webhook.secret"
    secret.touch(mode=0o600)
    secret.write_bytes(b"whsec_" + base64.b64encode(b"." * 32) + b"\n")


def write_node(site: Site, node: str, *, broker: int, modbus: int, host: str = LOOPBACK) -> None:
    """node.toml: the broker is reached at this host and port, the devices at that port of loopback."""
    text = _NODE_TOML.format(
        node=node,
        data=site.data(node),
        socket=site.socket(node),
        centre=CENTRE,
        broker=broker,
        modbus=modbus,
        host=host,
    )
    site.config(node).write_text(text)


def write_controller(site: Site, *, broker: int, url: str) -> None:
    text = _CONTROLLER_TOML.format(
        data=site.data(CENTRE), socket=site.socket(CENTRE), centre=CENTRE, broker=broker, told=site.told, url=url
    )
    site.config(CENTRE).write_text(text)


def devices() -> WorldSettings:
    """The simulated devices of both nodes, on real sockets."""
    lines, units, wires = [], list[dict[str, Any]](), []
    for node in NODES:
        lines.append({"type": "tcp", "id": node})
        units += [
            {"id": f"{node}-gauge", "line": node, "profile": "vegapuls", "initial": {"level": LOW_M}},
            {"id": f"{node}-relays", "line": node, "profile": "waveshare-relay8", "unit": 2},
            {"id": f"{node}-panel", "line": node, "profile": "novabo-di8", "unit": 3, "initial": {"alarm-1": 0}},
        ]
        wires.append({"from": f"{node}-relays/relay-1", "to": f"{node}-panel/alarm-1", "delay_s": 0.1})
    return WorldSettings.model_validate({"line": lines, "device": units, "wire": wires})
