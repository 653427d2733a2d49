"""The lab's site as an admin has it: a copy of inventories/lab, with keys, a signed plan and a release in it."""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from tests.fleet import lab as labs
from tests.fleet.lab import Lab

ROOT: Final = Path(__file__).parents[2]
ANSIBLE: Final = ROOT / "deploy" / "ansible"
TOOLS: Final = Path(os.environ.get("BUCIUM_ANSIBLE", ROOT / ".venv-fleet" / "bin"))
CENTRE: Final = "centre-1"
ADDRESSES: Final = {CENTRE: "10.77.0.10", "bridge": "10.77.0.21", "quay": "10.77.0.22"}
PYTHONS: Final = {"bookworm": "3.11", "trixie": "3.13"}
KEPT_S: Final = 2 * 86400.0  # of states of the tree that are gone: no lab of them runs any more
BLOCK: Final = re.compile(r"^```sh fleet (\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
BUCIUM: Final = f"{sys.executable} -m bucium"
SHIPPED: Final = (
    "bucium",
    "edge",
    "controller",
    "firmware_bridge",
    "lanes",
    "cython_ext",
    "pyproject.toml",
    "setup.py",
    "scripts/release",
    "scripts/release_set.py",
)


def python() -> str:
    """A Python of this machine that makes releases for the lab's hosts; FileNotFoundError with what is missing."""
    wanted = PYTHONS[labs.SUITE]
    kept = sorted(map(str, Path.home().glob(f".pyenv/versions/{wanted}.*/bin/python")))
    for each in (sys.executable, f"python{wanted}", *kept):  # the second may be a shim with nothing behind it
        with contextlib.suppress(OSError):
            code = "import sys; print('{}.{}'.format(*sys.version_info))"
            done = subprocess.run([each, "-c", code], capture_output=True, text=True, check=False)
            if done.stdout.strip() == wanted:
                return each
    raise FileNotFoundError(f"a release for {labs.SUITE} needs python{wanted}, and it is not installed")


def made_release() -> Path:
    """A release of this tree as it stands, for the lab's hosts, made once for each state of it."""
    names = subprocess.run(
        ["git", "ls-files", *SHIPPED], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    digest = hashlib.sha256(PYTHONS[labs.SUITE].encode())
    for name in names:
        digest.update(name.encode() + (ROOT / name).read_bytes())
    path = labs.CACHE / "releases" / digest.hexdigest()[:12]
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # labs side by side share it
        if not (path / "release.json").exists():
            for old in path.parent.iterdir():
                if old.is_dir() and time.time() - old.stat().st_mtime > KEPT_S:
                    shutil.rmtree(old, ignore_errors=True)
            _make(path)
    return path


def _make(path: Path) -> None:
    interpreter = python()
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        environment = {"PYTHON": interpreter}
        if interpreter == sys.executable:  # its build tools are here: no second set is fetched
            pip = [interpreter, "-m", "pip", "wheel", "--quiet", "--no-build-isolation", "--no-deps"]
            _quiet([*pip, "--wheel-dir", folder, str(ROOT)])
            environment["WHEEL"] = str(next(Path(folder).glob("bucium-*.whl")))
        _quiet(["sh", "scripts/release", f"{folder}/made"], **environment)
        shutil.rmtree(path, ignore_errors=True)
        Path(folder, "made").rename(path)


def _quiet(command: list[str], **env: str) -> None:
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


@dataclass(frozen=True)
class Site:
    """The folder, which is the inventory too."""

    folder: Path

    @property
    def command(self) -> Path:
        """The admin's own `bucium`."""
        return self.folder / "bin" / "bucium"

    def lay_out(self, release: Path, *, without: tuple[str, ...] = ()) -> None:
        """Keys, plan, release; hosts that this lab has not are taken out of the inventory."""
        shutil.copytree(ANSIBLE / "inventories" / "lab", self.folder, dirs_exist_ok=True)
        self.command.parent.mkdir()
        self.command.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {BUCIUM} "$@"\n')
        self.command.chmod(0o755)
        (self.folder / "home").mkdir()
        self.bucium("keys", "init", "--root", "LAB-2027", "--planner", "ana", "--planner", "ion")
        self.bucium("keys", "issue", CENTRE, "--role", "controller", "--centre", "iasi")
        self.bucium("keys", "issue", CENTRE, "--role", "cap")
        self.bucium("keys", "issue", "broker", "--role", "broker", "--host", ADDRESSES[CENTRE])
        for node in ("bridge", "quay"):
            self.bucium("keys", "issue", node, "--role", "node")
        self.plan()
        self.bucium("release", "key", "ana", "--dir", "keys")
        self.take(release)
        hosts = (self.folder / "hosts.yml").read_text()
        for name in without:
            hosts = hosts.replace(f"        {name}:\n          ansible_host: {ADDRESSES[name]}\n", "")
        (self.folder / "hosts.yml").write_text(hosts)

    def plan(self) -> None:
        """plan.toml, built and signed by both."""
        self.bucium("plan", "build", "plan.toml", "--roster", "keys/roster.toml", "-o", "plan.cbor")
        for person in ("ana", "ion"):
            key = f"keys/planners/{person}.pem"
            self.bucium("plan", "sign", "plan.cbor", "--key", key, "--by", person, "--root", "keys/root.toml")

    def take(self, release: Path, name: str = "release") -> None:
        """A release, signed by who may."""
        (self.folder / name).mkdir()
        for part in ("release.json", "release.tar"):
            shutil.copy(release / part, self.folder / name)
        self.bucium("release", "sign", name, "--key", "keys/release/ana.pem")

    def bucium(self, *words: str) -> str:
        done = subprocess.run([self.command, *words], cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"bucium {' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def change(self, name: str, old: str, new: str) -> None:
        """Edit a file, as the admin would."""
        text = (self.folder / name).read_text()
        assert old in text, name
        (self.folder / name).write_text(text.replace(old, new))

    def play(self, lab: Lab, playbook: str, *words: str, timeout_s: float = 900, **env: str) -> "Played":
        """A playbook over this site."""
        done = lab.inside(
            str(TOOLS / "ansible-playbook"), "-i", str(self.folder / "hosts.yml"), f"playbooks/{playbook}.yml",
            "-e", json.dumps({"bucium_command": str(self.command), "bucium_serial": ["100%"]}), *words,
            cwd=ANSIBLE,
            env={
                "ANSIBLE_NOCOLOR": "1",
                "ANSIBLE_SSH_CONTROL_PATH_DIR": f"/tmp/.{lab.tag}",
                "ANSIBLE_LOG_PATH": str(self.folder / f"{playbook}.times"),
                **env,
            },
            timeout_s=timeout_s,
        )  # fmt: skip
        (self.folder / f"{playbook}.log").write_text(done.stdout + done.stderr)
        return Played(done.returncode, done.stdout, done.stderr)

    def nodes_s(self, playbook: str) -> float:
        """How long the play of the nodes took when this playbook was last played, by the times in Ansible's own log."""
        text = (self.folder / f"{playbook}.times").read_text()
        at = [
            datetime.strptime(
                re.findall(rf"^(\S+ \S+) .*\| {name} \*", text, re.MULTILINE)[-1], "%Y-%m-%d %H:%M:%S,%f"
            ).replace(tzinfo=UTC)
            for name in (r"PLAY \[Nodes\]", "PLAY RECAP")
        ]
        return (at[1] - at[0]).total_seconds()

    def page(self, lab: Lab, name: str) -> "Played":
        """The commands of the block of docs/fleet.md that is marked `sh fleet NAME`, as they stand there."""
        block = dict(BLOCK.findall((ROOT / "docs" / "fleet.md").read_text()))[name]
        environment = {
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": f"/tmp/.{lab.tag}",
            "HOME": str(self.folder / "home"),
            "PATH": f"{self.command.parent}:{TOOLS}:{os.environ['PATH']}",
            "SITE": str(self.folder),
        }
        place = ANSIBLE if name in ("ask", "daily", "logs") else ROOT
        done = lab.inside("sh", "-euc", block, cwd=place, env=environment, timeout_s=1800)
        return Played(done.returncode, done.stdout, done.stderr)

    def ssh(self) -> None:
        """The admin's ssh: which key, and where the hosts are."""
        folder = self.folder / "ssh"
        hosts = "".join(f"Host {name}\n  HostName {address}\n" for name, address in ADDRESSES.items())
        known = f"Host *\n  IdentityFile {folder}/id\n  UserKnownHostsFile {folder}/known_hosts\n"
        (folder / "config").write_text(hosts + known)
        tool = self.command.with_name("ssh")
        tool.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/config "$@"\n')
        tool.chmod(0o755)


@dataclass(frozen=True)
class Played:
    """What a playbook said."""

    code: int
    out: str
    err: str

    @property
    def recap(self) -> dict[str, dict[str, int]]:
        """host → ok, changed, failed, …"""
        rows = {}
        for line in self.out.rpartition("PLAY RECAP")[2].splitlines()[1:]:
            if " : " in line:
                host, _, figures = line.partition(" : ")
                rows[host.strip()] = {key: int(value) for key, value in (each.split("=") for each in figures.split())}
        return rows

    @property
    def changed(self) -> int:
        return sum(row["changed"] for row in self.recap.values())

    def good(self) -> "Played":
        assert self.code == 0, self.out[-6000:] + self.err[-1000:]
        return self


def ask(lab: Lab, host: str, *words: str) -> Any:
    """`bucium … --json` on a host, as its root."""
    return json.loads(lab.hosts[host].run("bucium", *words, "--json").stdout)
