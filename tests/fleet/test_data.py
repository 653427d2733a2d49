"""What of deploy/ansible can be seen without a host: every role is whole, and every variable is described."""

import importlib.util
import re
import subprocess
from pathlib import Path

import pytest

from tests.fleet.site import made_release  # noqa: F401 - the lab's kit imports without its tools

ROOT = Path(__file__).parents[2]
ANSIBLE = ROOT / "deploy" / "ansible"
ROLES = sorted(path for path in (ANSIBLE / "roles").iterdir() if path.is_dir())


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_a_role_asks_before_it_acts_and_describes_each_of_its_variables(role: Path) -> None:
    main = (role / "tasks" / "main.yml").read_text()
    assert main.index("preflight.yml") < main.index("install.yml")
    known = set(re.findall(rf"^({role.name}_\w+):", (role / "defaults" / "main.yml").read_text(), re.MULTILINE))
    described = set(
        re.findall(rf"^      ({role.name}_\w+):", (role / "meta" / "argument_specs.yml").read_text(), re.MULTILINE)
    )
    assert known == described
    page = (ROOT / "docs" / "fleet.md").read_text()
    assert {name for name in known if f"`{name}`" not in page} == set()


@pytest.mark.parametrize("tool", ["base/files/adopt", "controller/files/backup"])
def test_a_tool_of_the_hosts_is_good_shell(tool: str) -> None:
    subprocess.run(["sh", "-n", ANSIBLE / "roles" / tool], check=True)


def test_the_registry_is_told_as_ansible_wants_it() -> None:
    spec = importlib.util.spec_from_file_location("registry", ANSIBLE / "inventories" / "registry.py")
    assert spec is not None
    assert spec.loader is not None
    registry = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(registry)
    rows = [
        {"node": "bridge", "silent_s": 1.5, "current": True, "version": 3},
        {"node": "quay", "silent_s": None, "current": False, "version": 0},
        {"node": "mill", "silent_s": 91, "current": False, "version": 2},
    ]
    said = registry.inventory({"nodes": rows}, ".town.example")
    assert said["heard"]["hosts"] == ["bridge.town.example"]
    assert said["silent"]["hosts"] == said["behind"]["hosts"] == ["mill.town.example", "quay.town.example"]
    assert said["_meta"]["hostvars"]["mill.town.example"] == {"bucium_silent_s": 91, "bucium_plan_version": 2}


def rollout(now: dict[str, object], was: dict[str, object], version: str = "0.2.0") -> str:
    """Where a node stands that ran 0.1.0 and was restarted for 0.2.0."""
    spec = importlib.util.spec_from_file_location("rollout", ANSIBLE / "filter_plugins" / "rollout.py")
    assert spec is not None
    assert spec.loader is not None
    plugin = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plugin)
    row = {"node": "quay", "boot": "b", "stated": True, "silent_s": 1.0, "software": "bucium 0.2.0", "troubles": []}
    old = {"node": "quay", "boot": "a", "troubles": ["device-lost gauge"]}
    said = plugin.rollout({"nodes": [row | now]}, {"nodes": [old | was]}, {"quay": version})
    [found] = [name for name, nodes in said.items() if nodes == ["quay"]]
    return str(found)


@pytest.mark.parametrize(
    ("now", "was", "state"),
    [
        ({}, {}, "healthy"),
        ({"troubles": ["device-lost gauge"]}, {}, "healthy"),
        ({"troubles": ["device-lost panel"]}, {}, "waiting"),
        ({"boot": "a"}, {}, "waiting"),
        ({"stated": False}, {}, "waiting"),
        ({"silent_s": 31.0}, {}, "waiting"),
        ({"silent_s": None}, {}, "waiting"),
        ({"software": "bucium 0.1.0"}, {}, "waiting"),
        ({"software": "bucium 0.1.0", "troubles": ["release-backed-out 0.2.0"]}, {}, "back"),
        ({"software": "bucium 0.1.0", "troubles": ["release-backed-out 0.1.9"]}, {}, "waiting"),
        ({"node": "mill"}, {}, "waiting"),
    ],
)
def test_a_node_is_healthy_when_it_is_heard_with_its_release_and_without_new_trouble(
    now: dict[str, object], was: dict[str, object], state: str
) -> None:
    assert rollout(now, was) == state
