"""Small plans for tests, as TOML text and as signed plans, with keys from seeds so that runs repeat."""

import hashlib

from lanes import planfile
from lanes.keys import Mode, Role, SigningKey
from lanes.plan import Plan
from lanes.planfile import Root, SignedPlan
from lanes.settings import parse

PLAN = """
version = 1
root = "DEMO"
group = "prut"
controller = "iasi"
stop_hold_s = 600

[[zone]]
id = "ungheni"
name = { ro = "Ungheni", en = "Ungheni" }
timezone = "Europe/Chisinau"
circle = [47.21, 27.80, 5.0]

[[point]]
id = "gauge"
node = "n1"
zones = ["ungheni"]
hazard = "flood"
unit = "m"
period_s = 1.0
attention = { raise = 2.0, clear = 1.9 }
alarm = { raise = 3.0, clear = 2.8 }
danger = { raise = 4.0, clear = 3.7 }

[[point]]
id = "gauge2"
node = "n2"
zones = ["ungheni"]
hazard = "flood"
unit = "m"
alarm = { raise = 3.0, clear = 2.8 }

[[siren]]
id = "s1"
node = "n1"
zones = ["ungheni"]

[[pattern]]
id = "dezastre"
title = { ro = "Alarma la dezastre" }
source = "OMAI 1259/2006 art. 25"
verified = true
segments = [{ mode = "steady", on_s = 16, off_s = 10, repeat = 5 }]

[[policy]]
zone = "ungheni"
hazard = "flood"
level = "alarm"
mode = "automatic"
pattern = "dezastre"
reflex = true
"""
# More of it: a node and a zone that only ask people.
QUIET = """
[[zone]]
id = "sculeni"
timezone = "Europe/Chisinau"

[[point]]
id = "gauge3"
node = "n3"
zones = ["sculeni"]
hazard = "flood"
unit = "m"
alarm = { raise = 3.0, clear = 2.8 }
"""

PEOPLE = ("ana", "ion")


def key(name: str, mode: Mode = Mode.LIVE) -> SigningKey:
    """The test key of this name and mode, the same in each run."""
    return SigningKey.from_seed(hashlib.sha256(f"{name}/{mode.name}".encode()).digest())


def key_entry(signer: str, role: Role, mode: Mode = Mode.LIVE, zones: tuple[str, ...] = ()) -> str:
    """One `[[key]]` of the roster as TOML."""
    named = f"zones = {list(zones)}\n".replace("'", '"') if zones else ""
    return (
        f'\n[[key]]\npublic = "{key(signer, mode).public.hex()}"\nsigner = "{signer}"\n'
        f'role = "{role.name.lower()}"\nmode = "{mode.name.lower()}"\n{named}'
    )


def with_keys(text: str = PLAN, nodes: tuple[str, ...] = ("n1", "n2"), controller: str = "iasi") -> str:
    """`text` with keys of its nodes, controller and two operators, in all three modes."""
    for mode in Mode:
        for node in nodes:
            text += key_entry(node, Role.NODE, mode)
        text += key_entry(controller, Role.CONTROLLER, mode)
        for person in PEOPLE:
            text += key_entry(person, Role.OPERATOR, mode, ("ungheni",))
    return text


def root(name: str = "DEMO", threshold: int = 2) -> Root:
    planners = [{"id": person, "public": key(f"planner-{person}").public.hex()} for person in PEOPLE]
    return Root.model_validate({"name": name, "threshold": threshold, "planner": planners})


def signed(text: str | None = None, people: tuple[str, ...] = PEOPLE) -> SignedPlan:
    """The plan of `text`, signed by the test's planners."""
    plan = planfile.build(parse(text if text is not None else with_keys(), Plan))
    for person in people:
        plan = planfile.sign(plan, person, key(f"planner-{person}"), 1)
    return plan
