"""The lab with its site, and what hangs on the nodes' wires: a gauge, a siren's relay and its contact, simulated."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from tests.fleet.lab import Lab
from tests.fleet.site import CENTRE, Site, ask

PYTHON: Final = "/opt/bucium/current/bin/python"


@dataclass
class World:
    """What the tests work on."""

    lab: Lab
    site: Site


def until(look: Callable[[], Any], what: str, seconds: float = 120.0) -> Any:
    """Ask again and again until there is something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.5)
    raise AssertionError(f"not within {seconds} s: {what}")


def wire_up(world: World, node: str) -> None:
    """A gauge, a siren's relay and its contact, simulated, on the node's own loopback."""
    host = world.lab.hosts[node]
    host.run("tee", "/srv/world.toml", text=(world.site.folder / "files" / "world.toml").read_text())
    host.run(
        "systemd-run", "--unit=lab-world", PYTHON, "-m", "firmware_bridge.simulators", "--config", "/srv/world.toml"
    )
    until(lambda: host.run("test", "-S", "/run/lab-world.sock", check=False).returncode == 0, "the simulated world")


def told(world: World, node: str, verb: str, **args: Any) -> Any:
    """Ask the simulated world of a node."""
    code = (
        "import json; from pathlib import Path; from lanes.control import ask; "
        f"print(json.dumps(ask(Path('/run/lab-world.sock'), {verb!r}, **{args!r})))"
    )
    return json.loads(world.lab.hosts[node].run(PYTHON, "-c", code).stdout)


def flood(world: World, node: str) -> None:
    """Water over the alarm's threshold: at the controller, in a siren that proves its sound, in CAP, and acknowledged."""
    caps = world.lab.hosts[CENTRE].root / "var" / "lib" / "bucium" / "controller" / "cap"
    before = set(caps.glob("*.xml"))
    seen = told(world, node, "record")["next"]
    passed = proofs(world)
    began = time.monotonic()
    told(world, node, "set", device="gauge", channel="level", value=3.5)
    until(lambda: proofs(world) > passed, "a siren that proved its sound")
    print(f"\nfrom water to a proof seen at the controller: {time.monotonic() - began:.1f} s, with the time to ask")
    assert [entry for entry in told(world, node, "record", since=seen)["entries"] if "relay-1" in str(entry)]
    until(lambda: set(caps.glob("*.xml")) - before, "a CAP message")
    until(lambda: ask(world.lab, node, "node", "status")["status"]["ledger"]["unacked"] == 0, "the controller's acks")
    told(world, node, "set", device="gauge", channel="level", value=1.0)


def proofs(world: World) -> int:
    return sum(each["pass"] for each in ask(world.lab, CENTRE, "siren", "status")["activations"])
