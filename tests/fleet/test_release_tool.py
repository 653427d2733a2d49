"""The hosts' own tool for releases: what it refuses, what three failed starts do, and what a kill at any step leaves."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from bucium import release as releases
from tests.kit.releases import small_release

TOOLS = Path(__file__).parents[2] / "deploy" / "ansible" / "roles"
pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.geteuid() != 0, reason="it is root's tool: it owns what it makes"),
]
KILLER = """
import os, shutil, signal, subprocess, sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

loader = SourceFileLoader("release", sys.argv[2])
tool = module_from_spec(spec_from_loader("release", loader))
loader.exec_module(tool)
left = int(sys.argv[1])

def counted(what):
    def step(*args, **kwargs):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return what(*args, **kwargs)
    return step

for place, names in ((os, ["replace", "fsync", "sync"]), (shutil, ["rmtree", "copyfile"]), (subprocess, ["run"]),
                     (Path, ["symlink_to", "unlink", "write_text", "open", "mkdir"])):
    for name in names:
        setattr(place, name, counted(getattr(place, name)))
sys.exit(tool.main(sys.argv[3:]))
"""


@dataclass
class Host:
    """A host's folders, without the host."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        places = {"FOLDER": "opt", "ETC": "etc", "VAR": "var", "RUN": "run"}
        found = {f"BUCIUM_{name}": str(self.folder / place) for name, place in places.items()}
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        return {**os.environ, **found, "BUCIUM_USER": "root", "BUCIUM_PYTHON": sys.executable, "PATH": path}

    @property
    def tool(self) -> Path:
        return self.folder / "tools" / "release"

    def run(self, *words: str, kill_at: int = 0, **more: str) -> subprocess.CompletedProcess[str]:
        command = (
            [sys.executable, "-c", KILLER, str(kill_at), str(self.tool)]
            if kill_at
            else [sys.executable, str(self.tool)]
        )
        return subprocess.run(
            [*command, *words], env={**self.environment, **more}, capture_output=True, text=True, check=False
        )

    def good(self, *words: str, **more: str) -> str:
        done = self.run(*words, **more)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def stage(self, text: str) -> None:
        (self.folder / "etc/staged/node").mkdir(parents=True, exist_ok=True)
        (self.folder / "etc/staged/node/node.toml").write_text(text)

    def put(self, version: str) -> None:
        """A release that is installed: its folder as `install` leaves it, but for what makes it large."""
        folder = self.folder / "opt/releases" / version
        (folder / "bin").mkdir(parents=True)
        (folder / "bin/bucium").write_text('#!/bin/sh\n! grep -q refuse "$3" || { echo "bucium: refused"; exit 1; }\n')
        (folder / "bin/bucium").chmod(0o755)
        for name in ("release.json", "release.sig"):
            shutil.copy(self.folder / "signed" / version / name, folder)
        (folder / "complete").touch()

    def bring(self, version: str) -> Path:
        """A signed release into the mirror, as Ansible copies it."""
        mirror = self.folder / "opt/mirror" / version
        shutil.copytree(self.folder / "signed" / version, mirror)
        return mirror

    @property
    def pair(self) -> tuple[str, str]:
        """Which release, and with which configuration; neither ever without the other."""
        current = os.readlink(self.folder / "opt/current").removeprefix("releases/")
        assert (self.folder / "opt/current/complete").is_file()
        return current, (self.folder / "etc/node/node.toml").read_text()

    @property
    def state(self) -> dict[str, object]:
        return json.loads(self.good("status"))  # type: ignore[no-any-return]

    def start(self, *, result: str) -> None:
        """A start as systemd does it, which ends so."""
        self.good("begin", "node")
        self.good("ended", "node", SERVICE_RESULT=result)


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three releases, and who signs them."""
    folder = tmp_path_factory.mktemp("signed")
    releases.make_key(folder, "ana")
    for version in ("0.1.0", "0.2.0", "0.3.0"):
        releases.sign(small_release(folder, version), folder / "release/ana.pem")
    return folder


@pytest.fixture
def host(signed: Path, tmp_path: Path) -> Host:
    """It runs 0.1.0 with configuration `one`; 0.2.0 is installed and `two` staged."""
    made = Host(tmp_path)
    for place in ("tools", "bin", "var/node", "run", "etc/release-keys", "etc/sets", "etc/keys", "etc/tls"):
        (tmp_path / place).mkdir(parents=True)
    for tool in ("release/files/release", "base/files/adopt"):
        shutil.copy(TOOLS / tool, tmp_path / "tools")
        (tmp_path / "tools" / Path(tool).name).chmod(0o755)
    (tmp_path / "bin/systemctl").write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/systemctl\n')
    (tmp_path / "bin/systemctl").chmod(0o755)
    (tmp_path / "signed").symlink_to(signed)
    shutil.copy(signed / "release/ana.pub", tmp_path / "etc/release-keys")
    made.put("0.1.0")
    made.put("0.2.0")
    made.stage("one")
    assert made.good("use", "node", "0.1.0").startswith("adopted 0.1.0")
    made.stage("two")
    return made


OLD, NEW = ("0.1.0", "one"), ("0.2.0", "two")


def test_a_change_is_a_trial_until_it_is_confirmed(host: Host) -> None:
    assert host.good("use", "node", "0.2.0", "--dry") == "differs 0.2.0"
    assert host.pair == OLD
    assert host.good("use", "node", "0.2.0").startswith("adopted 0.2.0")
    assert host.pair == NEW
    assert host.good("use", "node", "0.2.0") == "same"
    assert host.good("confirm") == "confirmed 0.2.0"
    assert host.good("confirm") == "same"
    assert host.good("rollback") == "back to 0.1.0"
    assert host.pair == OLD
    assert "try-restart bucium-edge" in (host.folder / "systemctl").read_text()
    host.good("confirm")
    assert host.good("rollback") == "back to 0.2.0"
    assert host.pair == NEW


def test_three_failed_starts_bring_back_release_and_configuration(host: Host) -> None:
    host.good("use", "node", "0.2.0")
    for result in ("exit-code", "watchdog"):
        host.start(result=result)
        assert host.pair == NEW
    host.start(result="success")  # somebody stopped it: no failure
    host.start(result="signal")
    assert host.pair == NEW
    host.good("begin", "node")
    assert host.pair == OLD, "this very start is of the old one"
    assert host.state["backed_out"]["version"] == "0.2.0"  # type: ignore[index]
    assert (host.folder / "var/node/release-backed-out").read_text() == "0.2.0\n"
    for _ in range(5):
        host.start(result="exit-code")
    assert host.pair == OLD
    host.good("use", "node", "0.2.0")
    assert not (host.folder / "var/node/release-backed-out").exists()


def test_a_machine_that_goes_down_with_each_start_comes_back_with_the_old_one(host: Host) -> None:
    """A power cut is no end that systemd could tell of."""
    host.good("use", "node", "0.2.0")
    for _ in range(4):
        host.good("begin", "node")
    assert host.pair == OLD


def test_after_it_is_confirmed_failures_change_nothing(host: Host) -> None:
    host.good("use", "node", "0.2.0")
    host.good("confirm")
    for _ in range(5):
        host.start(result="exit-code")
    assert host.pair == NEW


def test_a_configuration_that_the_new_release_refuses_switches_nothing(host: Host) -> None:
    host.stage("refuse")
    done = host.run("use", "node", "0.2.0")
    assert done.returncode == 1
    assert "refuses this configuration; what runs goes on: bucium: refused" in done.stderr
    assert host.pair == OLD
    assert "trial" not in host.state


def test_a_release_may_come_without_what_is_staged(host: Host) -> None:
    """What an interrupted playbook left there is not for an update to take."""
    host.stage("refuse")
    assert host.good("use", "node", "0.2.0", "--as-it-is", "--dry") == "differs 0.2.0"
    host.good("use", "node", "0.2.0", "--as-it-is")
    assert host.pair == ("0.2.0", "one")
    assert host.good("use", "node", "0.2.0", "--as-it-is") == "same"
    assert host.good("rollback") == "back to 0.1.0"
    (host.folder / "etc/node/node.toml").write_text("refuse")
    assert "refuses this configuration" in host.run("use", "node", "0.2.0", "--as-it-is").stderr
    assert host.state["current"] == "0.1.0"


def test_a_step_back_must_be_signed_for(host: Host) -> None:
    host.good("use", "node", "0.2.0")
    host.good("confirm")
    done = host.run("use", "node", "0.1.0")
    assert done.returncode == 1
    assert "0.1.0 is older than 0.2.0, which runs, and is not signed as a step back" in done.stderr
    assert host.pair == NEW
    key = host.folder / "signed/release/ana.pem"
    again = host.folder / "again"
    shutil.copytree(host.folder / "signed/0.1.0", again)
    releases.sign(again, key, ("0.2.0",))
    for name in ("release.json", "release.sig"):
        shutil.copy(again / name, host.folder / "opt/releases/0.1.0")
    assert host.good("use", "node", "0.1.0").startswith("adopted 0.1.0")


@pytest.mark.parametrize("what", ["release.json", "release.sig", "release.tar", "key", "no key", "other machine"])
def test_what_is_not_ours_is_refused_before_anything_changes(host: Host, what: str) -> None:
    mirror = host.bring("0.3.0")
    if what == "key":
        releases.make_key(host.folder / "strange", "mallory")
        releases.sign(mirror, host.folder / "strange/release/mallory.pem")
    elif what == "no key":
        (host.folder / "etc/release-keys/ana.pub").unlink()
    elif what == "other machine":
        text = (mirror / "release.json").read_text().replace('"python": "3.1', '"python": "3.9')
        (mirror / "release.json").write_text(text)
        releases.sign(mirror, host.folder / "signed/release/ana.pem")
    else:
        data = bytearray((mirror / what).read_bytes())
        data[len(data) // 2] ^= 1
        (mirror / what).write_bytes(data)
    before = sorted(path.name for path in (host.folder / "opt/releases").iterdir())
    assert host.run("verify", str(mirror)).returncode == 1
    done = host.run("install", "0.3.0")
    assert done.returncode == 1
    assert done.stderr.startswith("release: "), done.stderr
    assert sorted(path.name for path in (host.folder / "opt/releases").iterdir()) == before
    assert not mirror.exists()
    assert host.pair == OLD


def test_an_installed_release_runs_and_names_its_parts(host: Host) -> None:
    host.bring("0.3.0")
    host.good("install", "0.3.0")
    host.good("use", "node", "0.3.0")
    assert host.pair == ("0.3.0", "two")
    assert json.loads((host.folder / "opt/current/sbom.cdx.json").read_text())["bomFormat"] == "CycloneDX"
    assert not list((host.folder / "opt/mirror").iterdir())


def test_a_full_disk_leaves_the_running_one_and_nothing_of_the_new(host: Host) -> None:
    small = host.folder / "opt/releases"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "small", str(small)], check=True)
    try:
        host.put("0.1.0")
        host.bring("0.3.0")
        done = host.run("install", "0.3.0")
        assert done.returncode == 1
        assert "No space left on device" in done.stderr
        assert "the running one goes on" in done.stderr
        assert [path.name for path in small.iterdir()] == ["0.1.0"]
        assert host.pair == OLD
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_pruning_keeps_what_runs_and_what_there_is_to_go_back_to(host: Host) -> None:
    host.put("0.3.0")
    host.good("use", "node", "0.2.0")
    assert host.good("prune", "2") == "removed 0.3.0", "younger, and neither"
    host.good("confirm")
    assert host.good("prune", "1") == "same"
    assert host.good("rollback") == "back to 0.1.0"
    (host.folder / "opt/releases/0.9.9").mkdir()  # begun, and never complete
    assert host.good("prune", "5") == "removed 0.9.9"


@pytest.mark.parametrize(
    ("before", "words", "outcomes"),
    [
        ([], ["use", "node", "0.2.0"], {OLD, NEW}),
        ([["use", "node", "0.2.0"]], ["back-out", "by hand"], {OLD, NEW}),
        ([["use", "node", "0.2.0"]], ["confirm"], {NEW}),
        ([["use", "node", "0.2.0"], ["confirm"]], ["rollback"], {OLD, NEW}),
        ([["use", "node", "0.2.0"], *[["begin", "node"]] * 3], ["begin", "node"], {OLD, NEW}),
    ],
    ids=["use", "back-out", "confirm", "rollback", "the start that backs out"],
)
def test_a_kill_at_any_step_leaves_the_old_or_the_new_one(
    host: Host, tmp_path: Path, before: list[list[str]], words: list[str], outcomes: set[tuple[str, str]]
) -> None:
    for each in before:
        host.good(*each)
    whole = tmp_path.with_name(tmp_path.name + ".whole")
    shutil.copytree(tmp_path, whole, symlinks=True)
    seen: set[tuple[str, str]] = set()
    step = 0
    while True:
        step += 1
        done = host.run(*words, kill_at=step)
        assert host.pair[0] in ("0.1.0", "0.2.0"), "before anybody repairs anything a whole release is there"
        host.good("begin", "node")  # the machine starts again
        assert host.pair in outcomes, f"killed at step {step}"
        seen.add(host.pair)
        if done.returncode != -signal.SIGKILL:
            break
        again = host.run(*words)
        assert again.returncode == 0 or "nothing to go back to" in again.stderr, again.stderr
        assert host.pair in {OLD, NEW}
        shutil.rmtree(tmp_path)
        shutil.copytree(whole, tmp_path, symlinks=True)
    print(f"\nkilled at {step - 1} steps of {' '.join(words)}")
    assert step > 5
    assert seen <= outcomes


def test_a_kill_at_any_step_of_an_installation_leaves_the_running_one(host: Host) -> None:
    step = -2
    while True:
        step += 3  # a third of the steps: each installs for seconds
        shutil.rmtree(host.folder / "opt/mirror", ignore_errors=True)
        host.bring("0.3.0")
        done = host.run("install", "0.3.0", kill_at=step)
        assert host.pair == OLD
        complete = (host.folder / "opt/releases/0.3.0/complete").exists()
        if done.returncode != -signal.SIGKILL:
            break
        if complete:
            shutil.rmtree(host.folder / "opt/releases/0.3.0")
        else:
            assert host.run("use", "node", "0.3.0").returncode == 1, "what is not complete is not used"
    assert done.returncode == 0
    assert complete
    assert step > 12
