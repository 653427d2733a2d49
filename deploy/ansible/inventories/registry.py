#!/usr/bin/env python3
"""A dynamic inventory: the nodes as the controller knows them. Beside a static one, which has their addresses.

    BUCIUM_CONTROLLER=admin@centre-1 ansible-inventory -i inventories/example/hosts.yml -i inventories/registry.py --graph

Groups: `registered` (every node of the running plan), `heard`, `silent` (not for 90 s, or never), `behind` (does not run the
plan). Host variables: bucium_silent_s, bucium_plan_version.

    BUCIUM_SSH     the command that reaches the controller, with its options; ssh
    BUCIUM_DOMAIN  appended to each node's id, where the names of hosts are longer
"""

import json
import os
import shlex
import subprocess
import sys
from typing import Any

SILENT_S = 90.0
ASK = ["bucium", "plan", "show", "--json"]


def inventory(said: dict[str, Any], domain: str = "") -> dict[str, Any]:
    """The answer of `bucium plan show --json` as Ansible wants it."""
    groups: dict[str, list[str]] = {name: [] for name in ("registered", "heard", "silent", "behind")}
    hosts: dict[str, dict[str, Any]] = {}
    for node in said["nodes"]:
        name = node["node"] + domain
        silent = node["silent_s"] is None or node["silent_s"] > SILENT_S
        for group, member in (
            ("registered", True),
            ("heard", not silent),
            ("silent", silent),
            ("behind", not node["current"]),
        ):
            if member:
                groups[group].append(name)
        hosts[name] = {"bucium_silent_s": node["silent_s"], "bucium_plan_version": node["version"]}
    return {name: {"hosts": sorted(members)} for name, members in groups.items()} | {"_meta": {"hostvars": hosts}}


def main() -> int:
    """Print the inventory; exit code 1 with a line when the controller cannot be asked."""
    if "--host" in sys.argv:
        print("{}")
        return 0
    controller = os.environ.get("BUCIUM_CONTROLLER", "")
    if not controller:
        print("registry.py: say where the controller is: BUCIUM_CONTROLLER=USER@HOST", file=sys.stderr)
        return 1
    words = [*shlex.split(os.environ.get("BUCIUM_SSH", "ssh")), controller, "sudo", *ASK]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
        said = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        why = getattr(error, "stderr", "") or error
        print(f"registry.py: {controller} did not answer: {why}", file=sys.stderr)
        return 1
    print(json.dumps(inventory(said, os.environ.get("BUCIUM_DOMAIN", "")), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
