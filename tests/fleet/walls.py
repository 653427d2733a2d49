"""Every unit of deploy/ansible, as its defaults make it, against `systemd-analyze security`: exposure at most 2.0.

    .venv-fleet/bin/python tests/fleet/walls.py

Runs where the playbooks' tools are: it needs Jinja and YAML, and nothing of Bucium.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import yaml
from jinja2 import Environment, StrictUndefined

ROLES: Final = Path(__file__).parents[2] / "deploy" / "ansible" / "roles"
TENTHS_MAX: Final = 20
FACTS: Final = {"ansible_managed": "made by Ansible", "bucium_id": "quay"}


def render(path: Path) -> str:
    """A template as Ansible would render it with its role's defaults."""
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True)
    role = path.parents[1]

    def lookup(_: str, name: str) -> str:
        return environment.from_string(Path(name).read_text()).render(FACTS)

    defaults: dict[str, Any] = yaml.safe_load((role / "defaults" / "main.yml").read_text())
    return environment.from_string(path.read_text()).render(FACTS, **defaults, role_path=str(role), lookup=lookup)


def main() -> int:
    """0: every unit is behind its walls; 1: one is not."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        print("walls: systemd-analyze is not here; not looked at")
        return int(os.environ.get("CI") == "true" and os.geteuid() == 0)
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        for template in sorted(ROLES.glob("*/templates/*.service.j2")):
            unit = Path(folder, template.name.removesuffix(".j2"))
            unit.write_text(render(template))
            words = [analyze, "security", "--offline=true", f"--threshold={TENTHS_MAX}", "--no-pager", str(unit)]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            said = re.search(r"Overall exposure level[^:]*: ([0-9.]+)", done.stdout)
            print(f"walls: {unit.name} {said[1] if said else done.stderr.strip()}")
            bad += done.returncode != 0
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
