"""The site that every seed floods: three nodes on one river, a controller, two sirens, one zone.

    bridge   gauge (Modbus)                      watches
    quay     gauge (Modbus), siren on GPIO       watches and warns; its feedback contact proves the sound
    mill     gauge and siren on Modbus           the siren's relay falls off by itself (its device's own dead man)

Everything is judged from one gauge each, so that what must happen follows from the water alone.
"""

from functools import cache
from pathlib import Path
from typing import Any, Final

from controller.config import ControllerConfig
from controller.config import Local as ControllerLocal
from controller.config import Ready as ControllerReady
from edge.config import Local as NodeLocal
from edge.config import NodeConfig
from edge.config import Ready as NodeReady
from lanes import planfile
from lanes.keys import Mode, Role, SigningKey
from lanes.plan import Plan
from lanes.planfile import SignedPlan
from lanes.settings import parse
from tests.kit import capkeys
from tests.kit.clock import START_WALL_US
from tests.kit.plans import key, key_entry, root

GROUP: Final = "prut"
CENTRE: Final = "iasi"
ZONE: Final = "ungheni"
NODES: Final = ("bridge", "quay", "mill")
SIREN_OF: Final = {"quay": "s-quay", "mill": "s-mill"}
FALLS_OFF: Final = frozenset({"s-mill"})  # by a timer in its relay
PEOPLE: Final = ("ana", "ion")
PERIOD_S: Final = 4.0
STALE_S: Final = 15.0
RAISE: Final = {1: 2.0, 2: 3.0, 3: 4.0}  # Level → metres
CLEAR: Final = {1: 1.8, 2: 2.8, 3: 3.8}
ON_S, OFF_S, REPEAT = 6, 4, 3
PATTERN_S: Final = REPEAT * (ON_S + OFF_S) - OFF_S
REFLEX_LEVEL: Final = 2

_HEAD: Final = f"""
version = 3
root = "DEMO"
group = "{GROUP}"
controller = "{CENTRE}"
stop_hold_s = 60

[[zone]]
id = "{ZONE}"
name = {{ ro = "Ungheni" }}
timezone = "Europe/Chisinau"
circle = [47.21, 27.80, 5.0]

[[pattern]]
id = "flood"
source = "test"
verified = false
segments = [{{ mode = "steady", on_s = {ON_S}, off_s = {OFF_S}, repeat = {REPEAT} }}]

[[policy]]
zone = "{ZONE}"
hazard = "flood"
level = "alarm"
mode = "automatic"
pattern = "flood"
reflex = true
"""
_POINT: Final = """
[[point]]
id = "{node}-level"
node = "{node}"
zones = ["{zone}"]
hazard = "flood"
unit = "m"
period_s = {period}
stale_s = {stale}
attention = {{ raise = 2.0, clear = 1.8 }}
alarm = {{ raise = 3.0, clear = 2.8 }}
danger = {{ raise = 4.0, clear = 3.8 }}
sensor_span = [-1.0, 20.0]
"""
_SIREN: Final = """
[[siren]]
id = "{siren}"
node = "{node}"
zones = ["{zone}"]
"""


@cache
def plan() -> SignedPlan:
    """The plan, signed by its two planners. The same bytes in every run."""
    text = _HEAD
    for node in NODES:
        text += _POINT.format(node=node, zone=ZONE, period=PERIOD_S, stale=STALE_S)
    for node, siren in SIREN_OF.items():
        text += _SIREN.format(siren=siren, node=node, zone=ZONE)
    for mode in Mode:
        for node in NODES:
            text += key_entry(node, Role.NODE, mode)
        text += key_entry(CENTRE, Role.CONTROLLER, mode)
        for person in PEOPLE:
            text += key_entry(person, Role.OPERATOR, mode, (ZONE,))
    signed = planfile.build(parse(text, Plan))
    for person in PEOPLE:
        signed = planfile.sign(signed, person, key(f"planner-{person}"), START_WALL_US)
    return signed


@cache
def _keys(name: str) -> dict[Mode, SigningKey]:
    return {mode: key(name, mode) for mode in Mode}


def public_key(name: str) -> bytes:
    """The live key of a node or of the controller."""
    return _keys(name)[Mode.LIVE].public


@cache
def _node_config(node: str) -> NodeConfig:
    document: dict[str, Any] = {
        "node": {"id": node},
        "keys": {"live": "live.pem"},
        "telemetry": {"primary_host": CENTRE},
        "bus": [{"type": "modbus-tcp", "id": "river", "host": "127.0.0.1", "simulated": True}],
        "device": [{"id": "gauge", "bus": "river", "profile": "vegapuls"}],
        "point": [{"id": f"{node}-level", "device": "gauge", "channel": "level"}],
    }
    if node == "quay":
        document["bus"].append({"type": "gpio", "id": "board", "chip": "simulated"})
        document["device"].append(
            {
                "id": "io",
                "bus": "board",
                "input": [{"channel": "heard", "line": "F1", "debounce_s": 0.05}],
                "output": [{"point": "horn", "line": "R1"}],
            }
        )
        feedback = {"device": "io", "channel": "heard", "within_s": 2.0}
        document["siren"] = [{"id": "s-quay", "device": "io", "contacts": {"any": "horn"}, "feedback": feedback}]
    if node == "mill":
        document["device"].append({"id": "relays", "bus": "river", "profile": "waveshare-relay8", "unit": 2})
        document["siren"] = [{"id": "s-mill", "device": "relays", "contacts": {"any": "relay-1"}}]
    return NodeConfig.model_validate(document)


@cache
def _root() -> Any:
    return root()


def node_ready(node: str, base: Path) -> NodeReady:
    """What `node` starts from, with its data under `base`."""
    return NodeReady(NodeLocal(_node_config(node), base), plan(), _root(), _keys(node))


def controller_ready(base: Path, told: Path) -> ControllerReady:
    """What the controller starts from; `told` is the folder of the dispatch receiver, which is another machine's."""
    config = ControllerConfig.model_validate(
        {
            "controller": {"id": CENTRE, "emergency_mib": 1},
            "keys": {"live": "live.pem"},
            "cap": {"sender": "centre@iasi.example", "languages": ["ro"]},
            "dispatch": [{"kind": "files", "name": "receiver", "folder": str(told)}],
        }
    )
    return ControllerReady(ControllerLocal(config, base), plan(), _keys(CENTRE), capkeys.signer())
