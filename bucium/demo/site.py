"""The files of one run: folders, throw-away keys under the root DEMO, the signed plan, node.toml and controller.toml.

They are what an admin would write; the services get nothing else from the demo.
"""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bucium.certificates import write_secret
from bucium.demo.broker import Broker
from bucium.keyring import Keyring
from bucium.verbs.plan import read_source
from lanes import planfile
from lanes.keys import read_key
from lanes.planfile import DEMO, Root, SignedPlan
from lanes.settings import load

TOWN: Final = Path(__file__).with_name("town.toml")
PLANNERS: Final = ("ana", "ion")
NODES: Final = ("bridge", "quay", "mill")
CONTROLLER: Final = "centre"
DISPATCHER: Final = "maria"
PEOPLE: Final = (DISPATCHER, "victor")  # a sound by hand takes two
SECRET_BYTES: Final = 32

_NODE: Final = """# Node {node} of the demo.
[node]
id = "{node}"
data = "{data}"
plan = "{plan}"
root = "{root}"
socket = "{socket}"

[keys]
live = "{keys}/{node}.live.pem"
exercise = "{keys}/{node}.exercise.pem"
test = "{keys}/{node}.test.pem"

[broker]
host = "{host}"
port = {port}

[telemetry]
primary_host = "{controller}"
"""

_BRIDGE: Final = """
[[bus]]                    # the radar's gateway
id = "radar"
type = "modbus-tcp"
host = "{bridge-tcp[host]}"
port = {bridge-tcp[port]}
simulated = true
[[bus]]                    # RS-485: the siren's relay board, and a module that hears its pressure switch
id = "siren"
type = "modbus-rtu"
device = "{bridge-rtu[device]}"
simulated = true

[[device]]
id = "gauge"
bus = "radar"
profile = "vegapuls"
[[device]]
id = "relays"
bus = "siren"
profile = "waveshare-relay8"
[[device]]
id = "contacts"
bus = "siren"
profile = "novabo-di8"

[[point]]
id = "bridge-level"
device = "gauge"
channel = "level"

[[siren]]
id = "bridge"
device = "relays"
contacts = {{ any = "relay-1" }}
feedback = {{ device = "contacts", channel = "alarm-1" }}
[siren.supervision]
mains = {{ device = "contacts", channel = "alarm-2", good = 0 }}
door = {{ device = "contacts", channel = "alarm-3", good = 0 }}
"""

_QUAY: Final = """
[[bus]]                    # RS-485: the radar
id = "radar"
type = "modbus-rtu"
device = "{quay-rtu[device]}"
simulated = true
[[bus]]
id = "board"
type = "gpio"
chip = "simulated"
socket = "{board}"

[[device]]
id = "gauge"
bus = "radar"
profile = "geolux-lx80"
[[device]]
id = "horn"
bus = "board"
output = [{{ point = "horn", line = "GPIO17" }}]
input = [{{ channel = "heard", line = "GPIO27" }}]

[[point]]
id = "quay-level"
device = "gauge"
channel = "level"

[[siren]]
id = "quay"
device = "horn"
contacts = {{ any = "horn" }}
feedback = {{ device = "horn", channel = "heard" }}
"""

_MILL: Final = """
[[bus]]                    # the fire panel's gateway
id = "panel"
type = "modbus-tcp"
host = "{mill-panel[host]}"
port = {mill-panel[port]}
simulated = true
[[bus]]                    # the siren's own controller
id = "siren"
type = "modbus-tcp"
host = "{mill-siren[host]}"
port = {mill-siren[port]}
simulated = true

[[device]]
id = "panel"
bus = "panel"
profile = "notifier-zone"
[[device]]
id = "informer"
bus = "siren"
profile = "federal-informer"

[[point]]
id = "mill-smoke"
device = "panel"
channel = "alarm"

[[siren]]
id = "mill"
device = "informer"
[[siren.sound]]            # what is programmed into it: it ends by itself, though node and bus are dead
mode = "wail"
function = 1
own_end_s = 3.0            # a blast of the signal
[[siren.sound]]
mode = "wail"
function = 2
own_end_s = 1.0            # for the growl test
[siren.supervision]        # contacts at the Informer's own inputs
mains = {{ device = "informer", channel = "input-1" }}
battery = {{ device = "informer", channel = "input-2" }}
door = {{ device = "informer", channel = "input-3" }}
"""
_DEVICES: Final = {"bridge": _BRIDGE, "quay": _QUAY, "mill": _MILL}


@dataclass(frozen=True, slots=True)
class Site:
    """Where everything of a run stands. `folder` may be kept; `secret` (keys, sockets) never is."""

    folder: Path
    secret: Path

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def cap(self) -> Path:
        """Where the controller writes its CAP files."""
        return self.folder / "cap"

    @property
    def plan(self) -> Path:
        return self.folder / "plan.cbor"

    @property
    def journal(self) -> Path:
        """The controller's journal."""
        return self.folder / "controller" / "journal.db"

    def data(self, program: str) -> Path:
        """The folder in which a node keeps its ledger, or the controller its journal."""
        return self.folder / program

    def config(self, program: str) -> Path:
        """The TOML file of a node, or of the controller."""
        return self.folder / f"{program}.toml"

    def socket(self, program: str) -> Path:
        """The control socket of a program."""
        return self.secret / f"{program}.sock"

    @property
    def webhook_secret(self) -> Path:
        return self.secret / "webhook.secret"

    @property
    def certificate(self) -> Path:
        """What the controller's CAP messages are signed under: another centre would pin it."""
        return self.secret / "keys" / "cap" / f"{CONTROLLER}.crt"

    def key(self, signer: str, mode: str = "live") -> Path:
        """A signing key's file."""
        return self.secret / "keys" / "signing" / f"{signer}.{mode}.pem"


def prepare(site: Site, now_us: int, entropy: bytes) -> SignedPlan:
    """Make folders, keys and the signed plan. `entropy`: 32 random bytes, the webhook's secret."""
    assert len(entropy) == SECRET_BYTES
    for folder in (site.logs, site.cap, *(site.data(program) for program in (*NODES, "controller"))):
        folder.mkdir(parents=True, exist_ok=True)
    ring = Keyring(site.secret / "keys")
    ring.init(DEMO, PLANNERS, len(PLANNERS), now_us)
    for node in NODES:
        ring.issue(node, "node", now_us, tls=False)
    ring.issue(CONTROLLER, "controller", now_us, centre="balti", tls=False)
    ring.issue_cap(CONTROLLER, now_us)
    for person in PEOPLE:
        ring.issue(person, "operator", now_us, zones=("riverside", "mill"), centre="balti", tls=False)
    write_secret(site.webhook_secret, b"whsec_" + base64.b64encode(entropy) + b"\n")
    signed = planfile.build(read_source(TOWN, ring.roster_file))
    for planner in PLANNERS:
        signed = planfile.sign(signed, planner, read_key(ring.folder / "planners" / f"{planner}.pem"), now_us)
    planfile.write(signed, site.plan)
    (site.folder / "root.toml").write_text(ring.root_file.read_text())
    return planfile.load(site.plan, load(site.folder / "root.toml", Root))


def write_nodes(site: Site, broker: Broker, lines: dict[str, dict[str, Any]], board: Path) -> None:
    """node.toml of each node: the broker, and the lines on which its devices are."""
    for node in NODES:
        text = _NODE.format(
            node=node,
            data=node,
            plan=site.plan.name,
            root="root.toml",
            socket=site.socket(node),
            keys=site.secret / "keys" / "signing",
            host=broker.host,
            port=broker.port,
            controller=CONTROLLER,
        )
        site.config(node).write_text(text + _DEVICES[node].format(board=board, **lines))


_CONTROLLER: Final = """# The controller of the demo.
[controller]
id = "{controller}"
data = "controller"
plan = "{plan}"
root = "root.toml"
socket = "{socket}"

[keys]
live = "{keys}/{controller}.live.pem"
exercise = "{keys}/{controller}.exercise.pem"
test = "{keys}/{controller}.test.pem"

[broker]
host = "{host}"
port = {port}

[cap]
sender = "demo@bucium.invalid"
sender_name = "Bucium demo"
key = "{cap}/{controller}.key"
certificate = "{cap}/{controller}.crt"

[[dispatch]]
kind = "files"
folder = "cap"

[[dispatch]]
kind = "webhook"
name = "dispatch-centre"
url = "{url}"
secret_file = "{secret}"
"""


def write_controller(site: Site, broker: Broker, url: str) -> None:
    """controller.toml: the broker, a folder of CAP files, and the webhook of the dispatch centre."""
    text = _CONTROLLER.format(
        controller=CONTROLLER,
        plan=site.plan.name,
        socket=site.socket("controller"),
        keys=site.secret / "keys" / "signing",
        cap=site.secret / "keys" / "cap",
        host=broker.host,
        port=broker.port,
        url=url,
        secret=site.webhook_secret,
    )
    site.config("controller").write_text(text)
