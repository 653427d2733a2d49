"""Releases on real hosts: waves, refusals, a release that does not start, cuts of power in the middle. `make test-fleet`.

In the order of the file, on one lab: each test goes on where the one before it ended.
"""

import json
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fleet import lab as labs
from tests.fleet.lab import Lab
from tests.fleet.site import ADDRESSES, CENTRE, Played, Site, ask, made_release
from tests.fleet.world import World, flood, told, until, wire_up
from tests.kit.releases import like, renamed

pytestmark = pytest.mark.timeout(1800)
NODES = ("bridge", "quay")
TOOL = "/usr/local/lib/bucium/release"
QUICK = ("-e", "bucium_spare_minutes=1", "-e", '{"bucium_waves": ["1", "100%"]}')


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The lab, converged with the release of this tree; beside it three more: good, one that does not start, good."""
    if why := labs.missing():
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("fleet")
    site = Site(folder / "site")
    base = made_release()
    site.lay_out(base)
    subprocess.run(["tar", "-xf", base / "release.tar", "-C", folder], check=True)
    [wheel] = folder.glob("wheels/bucium-*.whl")
    (folder / "wheel").mkdir()
    for version, change in (("0.2.0", whole), ("0.3.0", dead), ("0.4.0", whole)):
        site.take(like(base, renamed(wheel, folder / "wheel", version, change), folder / version), version)
    with Lab(site.folder / "ssh") as lab:
        for name, address in ADDRESSES.items():
            lab.add(name, address)
        site.play(lab, "site").good()
        made = World(lab, site)
        for node in NODES:
            wire_up(made, node)
        until(lambda: all(runs(made, node) == "0.1.0" for node in NODES), "the nodes at the controller")
        yield made


def whole(_: dict[str, bytes]) -> None:
    pass


def dead(files: dict[str, bytes]) -> None:
    """It installs, and finds its configuration good; only a start shows."""
    name = "edge/__main__.py"
    files[name] = files[name].replace(b"    stop = asyncio.Event()\n", b"    raise SystemExit(3)\n", 1)
    assert b"SystemExit(3)" in files[name]


def nodes(world: World) -> dict[str, Any]:
    return {row["node"]: row for row in ask(world.lab, CENTRE, "release", "nodes")["nodes"]}


def runs(world: World, node: str) -> str:
    """Which release, as the controller heard it in this boot of the node."""
    row = nodes(world)[node]
    return str(row["software"]).removeprefix("bucium ") if row["stated"] else ""


def update(world: World, version: str, *words: str) -> Played:
    began = time.monotonic()
    folder = world.site.folder / version if version != "0.1.0" else world.site.folder / "release"
    played = world.site.play(world.lab, "update", "-e", f"bucium_release={folder}", *QUICK, *words)
    print(f"\nupdate to {version}: {time.monotonic() - began:.0f} s, exit code {played.code}, changed {played.changed}")
    return played


def outcome(played: Played) -> str:
    found = re.findall(r"updated \d+, backed out \d+, postponed \d+, refused \d+[^\"]*", played.out)
    assert found, played.out[-4000:]
    return str(found[-1])


def state(world: World, host: str) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(world.lab.hosts[host].run(TOOL, "status").stdout)
    return said


def active(world: World, host: str) -> bool:
    done = world.lab.hosts[host].run("systemctl", "is-active", "--quiet", "bucium-edge", check=False)
    return done.returncode == 0


def test_what_nobody_stands_for_is_refused_before_anything_changes(world: World) -> None:
    folder = world.site.folder
    shutil.copytree(folder / "0.2.0", folder / "strange")
    world.site.bucium("release", "key", "mallory", "--dir", "strange-keys")
    world.site.bucium("release", "sign", "strange", "--key", "strange-keys/release/mallory.pem")
    played = update(world, "strange")
    assert played.code != 0
    assert played.changed == 0
    assert "is not signed by a release key" in played.out
    host = world.lab.hosts["quay"]  # and the host itself asks too, whoever brings it
    mirror = host.root / "opt/bucium/mirror/0.2.0"
    shutil.copytree(folder / "strange", mirror)
    done = host.run(TOOL, "install", "0.2.0", check=False)
    assert done.returncode == 1
    assert "is not signed by a release key of this site (ana)" in done.stderr
    assert not (host.root / "opt/bucium/releases/0.2.0").exists()


def test_no_node_is_restarted_while_an_alarm_is_active_in_its_zone(world: World) -> None:
    told(world, "bridge", "set", device="gauge", channel="level", value=3.5)
    until(lambda: [a for a in ask(world.lab, CENTRE, "alarm", "list")["alarms"] if a["level"]], "the alarm")
    played = update(world, "0.2.0", "--limit", "bridge")
    assert played.code != 0
    assert runs(world, "bridge") == "0.1.0"
    assert "trial" not in state(world, "bridge")
    told(world, "bridge", "set", device="gauge", channel="level", value=1.0)
    until(lambda: not [a for a in ask(world.lab, CENTRE, "alarm", "list")["alarms"] if a["level"]], "its end")


def test_an_update_goes_in_waves_and_a_second_run_changes_nothing(world: World) -> None:
    played = update(world, "0.2.0").good()
    assert outcome(played).startswith("updated 2, backed out 0, postponed 0, refused 0")
    assert [runs(world, node) for node in NODES] == ["0.2.0", "0.2.0"]
    for host in (CENTRE, *NODES):
        said = state(world, host)
        assert (said["current"], said["previous"]["version"]) == ("0.2.0", "0.1.0")
        assert "trial" not in said
    flood(world, "quay")
    assert update(world, "0.2.0").good().changed == 0
    assert (
        world.site.play(world.lab, "update", "--check", "-e", f"bucium_release={world.site.folder / '0.4.0'}").code == 0
    )


def test_a_release_that_does_not_start_is_backed_out_and_stops_the_rest(world: World) -> None:
    played = update(world, "0.3.0", "--limit", "nodes")
    assert played.code != 0
    assert "1 failed (bridge), and 0 may" in played.out, played.out[-4000:]
    assert [state(world, node)["current"] for node in NODES] == ["0.2.0", "0.2.0"]
    assert state(world, "bridge")["backed_out"]["version"] == "0.3.0"
    assert "backed_out" not in state(world, "quay")
    until(lambda: "release-backed-out 0.3.0" in nodes(world)["bridge"]["troubles"], "its word at the controller")
    assert runs(world, "bridge") == "0.2.0"
    flood(world, "bridge")


def test_it_is_backed_out_while_nobody_can_be_reached(world: World) -> None:
    host = world.lab.hosts["bridge"]
    config = host.run("readlink", "/etc/bucium/node").stdout
    world.lab.wire("bridge", up=False)
    host.run(TOOL, "use", "node", "0.3.0", "--as-it-is")
    began = time.monotonic()
    host.run("systemctl", "--no-block", "restart", "bucium-edge")
    until(lambda: state(world, "bridge")["current"] == "0.2.0", "the way back", 180)
    until(lambda: active(world, "bridge"), "the node")
    print(f"\nthree failed starts and back, cut off: {time.monotonic() - began:.0f} s")
    assert host.run("readlink", "/etc/bucium/node").stdout == config
    world.lab.wire("bridge", up=True)
    until(lambda: "release-backed-out 0.3.0" in nodes(world)["bridge"]["troubles"], "its word at the controller")


def test_a_configuration_that_the_node_refuses_leaves_release_and_configuration(world: World) -> None:
    host, text = world.lab.hosts["quay"], (world.site.folder / "files" / "node.toml").read_text()
    before = host.run("readlink", "/etc/bucium/node", "/opt/bucium/current").stdout
    world.site.change("files/node.toml", 'id = "{{ bucium_id }}-level"', 'id = "elsewhere"')
    played = world.site.play(
        world.lab, "edge", "--limit", "quay", "-e", f"bucium_release={world.site.folder / '0.4.0'}"
    )
    (world.site.folder / "files" / "node.toml").write_text(text)
    assert played.code != 0
    assert "release 0.4.0 refuses this configuration; what runs goes on" in played.out
    assert host.run("readlink", "/etc/bucium/node", "/opt/bucium/current").stdout == before
    assert host.run("systemctl", "is-active", "bucium-edge").stdout.strip() == "active"
    assert "trial" not in state(world, "quay")


def test_a_full_disk_leaves_the_running_one(world: World) -> None:
    host = world.lab.hosts["bridge"]
    host.run("mount", "-t", "tmpfs", "-o", "size=45m", "none", "/opt/bucium/mirror")
    played = update(world, "0.4.0", "--limit", "bridge")
    host.run("umount", "/opt/bucium/mirror")
    assert played.code != 0
    assert "No space left on device" in played.out
    assert state(world, "bridge")["current"] == "0.2.0"
    assert not (host.root / "opt/bucium/releases/0.4.0").exists()
    assert host.run("systemctl", "is-active", "bucium-edge").stdout.strip() == "active"


def test_a_power_cut_at_any_moment_leaves_the_old_or_the_new_one(world: World) -> None:
    host = world.lab.hosts["quay"]
    folder = host.root / "opt/bucium/mirror/0.4.0"
    if not (host.root / "opt/bucium/releases/0.4.0/complete").exists():
        shutil.copytree(world.site.folder / "0.4.0", folder, dirs_exist_ok=True)
        host.run(TOOL, "install", "0.4.0")
    seen: list[str] = []
    words = f"{TOOL} use node 0.4.0 --as-it-is && systemctl restart bucium-edge"
    delay_s = 0.2
    while delay_s < 20 and seen[-2:] != ["0.4.0", "0.4.0"]:
        delay_s += 0.3
        change = threading.Thread(target=lambda: host.run("sh", "-c", words, check=False))
        change.start()
        time.sleep(delay_s)
        host.cut()
        change.join()
        host.boot()
        until(lambda: active(world, "quay"), "the node")
        said = state(world, "quay")
        seen.append(said["current"])
        assert said["current"] in ("0.2.0", "0.4.0")
        if "trial" in said:
            host.run(TOOL, "back-out", "once more")
    print(f"\nafter cuts of power: {seen}")
    assert set(seen) == {"0.2.0", "0.4.0"}
    wire_up(world, "quay")
    until(lambda: state(world, "quay")["current"] == "0.2.0", "the way back")
    until(lambda: runs(world, "quay") == "0.2.0", "the node at the controller")


def test_a_rollback_brings_back_what_was_there_and_a_second_one_changes_nothing(world: World) -> None:
    played = world.site.play(world.lab, "rollback", "-e", "bucium_bad=0.2.0", *QUICK).good()
    assert outcome(played).startswith("updated 2, backed out 0")
    assert [runs(world, node) for node in NODES] == ["0.1.0", "0.1.0"]
    assert state(world, CENTRE)["current"] == "0.1.0"
    assert world.site.play(world.lab, "rollback", "-e", "bucium_bad=0.2.0", *QUICK).good().changed == 0
    flood(world, "bridge")
