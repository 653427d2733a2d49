"""How a roll-out goes, from what `bucium release nodes --json` said before and says now."""

from typing import Any

HEARD_S = 30.0
BACKED_OUT = "release-backed-out"


def rollout(said: dict[str, Any], before: dict[str, Any], expected: dict[str, str]) -> dict[str, list[str]]:
    """Nodes by id: `healthy`, `back` (on what they ran before), `waiting`. `expected`: id → the version that it is to run.

    Healthy: the controller has heard it lately, in a boot after the one before, with this version, and it told no Trouble that it
    had not before. A node that left the release again says so itself.
    """
    now = {row["node"]: row for row in said["nodes"]}
    then = {row["node"]: row for row in before["nodes"]}
    found: dict[str, list[str]] = {"healthy": [], "back": [], "waiting": []}
    for node, version in sorted(expected.items()):
        found[_state(now.get(node), then.get(node, {}), version)].append(node)
    return found


def _state(row: dict[str, Any] | None, was: dict[str, Any], version: str) -> str:
    if row is None or row["boot"] == was.get("boot") or not row["stated"]:
        return "waiting"
    if row["silent_s"] is None or row["silent_s"] > HEARD_S:
        return "waiting"
    fresh = set(row["troubles"]) - set(was.get("troubles", []))
    if f"{BACKED_OUT} {version}" in row["troubles"]:
        return "back"
    return "healthy" if row["software"] == f"bucium {version}" and not fresh else "waiting"


class FilterModule:
    """For Ansible."""

    def filters(self) -> dict[str, Any]:
        return {"rollout": rollout}
