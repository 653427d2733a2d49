"""The playbooks on real hosts: one controller with broker and history, two nodes; systemd, ssh, firewalls. `make test-fleet`.

In the order of the file, on one lab: each test goes on where the one before it ended.
"""

import json
import re
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bucium import certificates
from tests.fleet import lab as labs
from tests.fleet.lab import Host, Lab
from tests.fleet.site import ADDRESSES, ANSIBLE, CENTRE, ROOT, Site, ask, made_release
from tests.fleet.world import World, flood, until, wire_up

pytestmark = pytest.mark.timeout(1800)
NODES = ("bridge", "quay")
UNITS = {CENTRE: ("bucium-controller", "mosquitto", "victoria-metrics", "bucium-backup"), "bridge": ("bucium-edge",)}
EVERYWHERE = ("bucium-health", "bucium-firewall")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    if why := labs.missing():
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("fleet")
    site = Site(folder / "site")
    site.lay_out(made_release())
    with Lab(site.folder / "ssh") as lab:
        for name, address in ADDRESSES.items():
            lab.add(name, address)
        yield World(lab, site)


def test_two_labs_on_one_machine_do_not_see_each_other(world: World, tmp_path: Path) -> None:
    """The same names and addresses twice: what systemd of one does to its services, those of the other never notice."""
    host = world.lab.hosts["quay"]

    def process() -> str:
        return host.run("systemctl", "show", "-P", "MainPID", "ssh").stdout

    before = process()
    with Lab(tmp_path / "other", tag=f"{world.lab.tag}b") as other:
        twin = other.add("quay", ADDRESSES["quay"])
        twin.run("systemctl", "kill", "--signal=KILL", "ssh")
        twin.run("systemctl", "stop", "ssh")
        assert process() == before
        assert host.run("systemctl", "is-active", "ssh").stdout.strip() == "active"


# The box, and the admin's machine.


def test_the_admin_reaches_every_host(world: World) -> None:
    world.site.ssh()
    world.site.page(world.lab, "box").good()


def test_the_admin_s_machine_has_what_it_needs(world: World) -> None:
    world.site.page(world.lab, "machine").good()
    site = world.site.folder / "home" / "prut"
    assert (site / "hosts.yml").exists()
    assert (site / "group_vars" / "all.yml").exists()


# Refused before anything changes.


def expired(folder: Path) -> None:
    shutil.rmtree(folder / "tls")
    (folder / "tls").mkdir()
    certificates.make_authority(folder / "tls", "OLD", 1_200_000_000_000_000)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["-e", "broker_queue_bytes=7"], "out of its range"),
        (["-e", '{"edge_memory_mib": "much"}'], "edge_memory_mib"),
        (["-e", "bucium_id=quay"], "both bucium_id quay"),
        (["-e", "bucium_keys={folder}/expired"], "No certificate of|ends on 2018"),
        (["-e", "bucium_plan={folder}/one-hand.cbor"], "one-hand.cbor"),
        (["-e", "base_room_mib=65536"], "MiB free, 65536 are needed"),
        (["-e", "bucium_release={folder}/tampered"], "is not what its release.json says"),
    ],
    ids=["range", "type", "two of one identity", "expired authority", "wrong signature", "no room", "tampered release"],
)
def test_bad_input_is_refused_before_anything_changes(world: World, words: list[str], why: str) -> None:
    folder = world.site.folder
    if not (folder / "expired").exists():
        shutil.copytree(folder / "keys", folder / "expired")
        expired(folder / "expired")
        world.site.bucium("plan", "build", "plan.toml", "--roster", "keys/roster.toml", "-o", "one-hand.cbor")
        world.site.bucium("plan", "sign", "one-hand.cbor", "--key", "keys/planners/ana.pem", "--by", "ana")
        (folder / "tampered").mkdir()
        for name in ("release.json", "release.sig"):
            shutil.copy(folder / "release" / name, folder / "tampered")
        (folder / "tampered" / "release.tar").write_bytes(b"something else")
    played = world.site.play(
        world.lab, "site", *(word.format(folder=folder) if "{folder}" in word else word for word in words)
    )
    assert played.code != 0
    assert played.changed == 0, played.recap
    assert re.search(why, played.out + played.err), played.out[-3000:]
    for host in world.lab.hosts.values():
        assert not (host.root / "etc" / "bucium").exists()


def test_a_fresh_host_can_be_looked_at_without_a_change(world: World) -> None:
    before = {name: kept(host) for name, host in world.lab.hosts.items()}
    world.site.play(world.lab, "site", "--check").good()
    for name, host in world.lab.hosts.items():
        assert kept(host) == before[name]


def kept(host: Host) -> list[str]:
    """What a change would change: packages, users, and every file of configuration and programs."""
    return host.run(
        "sh", "-c", "dpkg -l; cat /etc/passwd; find /etc /opt /usr/local /var/lib/systemd /root -type f | sort"
    ).stdout.splitlines()


def test_a_disk_that_is_full_during_the_install_leaves_nothing_half(world: World) -> None:
    """The preflight saw room; then it goes."""
    host = world.lab.hosts["quay"]
    host.run("mount", "-t", "tmpfs", "-o", "size=150m", "small", "/opt")
    played = world.site.play(world.lab, "edge", "--limit", "quay")
    assert played.code != 0
    assert "could not be installed on quay" in played.out
    assert "No space left" in played.out
    assert host.run("find", "/opt", "-type", "f").stdout == ""
    assert host.run("test", "-e", "/opt/bucium/current", check=False).returncode != 0
    host.run("umount", "/opt")


# Made, and made again.


def test_it_converges(world: World) -> None:
    began = time.monotonic()
    played = world.site.page(world.lab, "install").good()
    print(f"\nconverge of three hosts: {time.monotonic() - began:.0f} s; {played.recap}")
    for host, units in UNITS.items():
        for unit in units[:3]:
            assert world.lab.hosts[host].run("systemctl", "is-active", unit, check=False).stdout.strip() == "active", (
                unit
            )


def test_a_second_run_changes_nothing(world: World) -> None:
    began = time.monotonic()
    played = world.site.play(world.lab, "site").good()
    print(f"\nsecond run: {time.monotonic() - began:.0f} s, changed {played.changed}")
    assert played.changed == 0, played.out[-8000:]


# The whole path.


def test_an_alarm_goes_all_the_way_over_tls(world: World) -> None:
    for node in NODES:
        wire_up(world, node)
    until(
        lambda: all(ask(world.lab, node, "node", "status")["status"]["lane"]["connected"] for node in NODES),
        "the lanes",
    )
    until(lambda: all(n["current"] for n in ask(world.lab, CENTRE, "plan", "show")["nodes"]), "the nodes' first word")
    flood(world, "bridge")
    said = world.site.page(world.lab, "ask").good().out
    assert "node bridge, up" in said
    assert "runs it" in said


# Walls and doors.


@pytest.mark.parametrize("host", ["centre-1", "bridge"])
def test_every_unit_is_behind_its_walls(world: World, host: str) -> None:
    for unit in (*UNITS[host], *EVERYWHERE):
        words = ("systemd-analyze", "security", "--threshold=20", "--no-pager", f"{unit}.service")
        done = world.lab.hosts[host].run(*words, check=False)
        assert done.returncode == 0, f"{unit}: {done.stdout[-300:]}"


@pytest.mark.parametrize("host", ["centre-1", "bridge"])
def test_every_unit_has_limits_and_needs_far_less(world: World, host: str) -> None:
    """Here they can only be read: this machine's control groups are not the hosts' to set."""
    for unit in (*UNITS[host], *EVERYWHERE):
        said = world.lab.hosts[host].run("systemctl", "show", "-p", "MemoryMax,TasksMax,MainPID", f"{unit}.service")
        shown = dict(line.split("=") for line in said.stdout.split())
        memory, tasks, process = (shown.get(name, "0") for name in ("MemoryMax", "TasksMax", "MainPID"))
        assert int(memory) <= 2 << 30, unit
        assert int(tasks) <= 512, unit
        if process != "0":
            status = world.lab.hosts[host].run("cat", f"/proc/{process}/status").stdout
            most = int(re.findall(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)[0]) << 10
            threads = int(re.findall(r"^Threads:\s+(\d+)", status, re.MULTILINE)[0])
            print(f"\n{host} {unit}: {most >> 20} of {int(memory) >> 20} MiB, {threads} of {tasks} tasks")
            assert most < int(memory) / 2, unit
            assert threads < int(tasks) / 2, unit


def test_logs_are_in_the_journal_with_their_fields_apart(world: World) -> None:
    for host, who in (("bridge", "BUCIUM_NODE"), (CENTRE, "BUCIUM_CONTROLLER")):
        words = ("journalctl", "BUCIUM_EVENT=lane.up", "--output=json", "--lines=1")
        said = json.loads(world.lab.hosts[host].run(*words).stdout)
        assert said[who] == host
        assert said["MESSAGE"].startswith("lane.up ")
        assert said["_SYSTEMD_UNIT"].startswith("bucium-")
    said = world.site.page(world.lab, "logs").good().out
    assert "BUCIUM_NODE=quay" in said


SCAN = """
import asyncio, sys

async def open_(port, turn):
    async with turn:
        try:
            _, writer = await asyncio.wait_for(asyncio.open_connection(sys.argv[1], port), 1.0)
        except (OSError, TimeoutError):
            return False
        writer.close()
        return True

async def main():
    turn = asyncio.Semaphore(400)
    found = await asyncio.gather(*(open_(port, turn) for port in range(1, 10000)))
    print(*(port for port, there in enumerate(found, 1) if there))

asyncio.run(main())
"""


def test_only_the_listed_ports_answer(world: World) -> None:
    for host, ports in ((CENTRE, "22 8883"), ("bridge", "22")):
        done = world.lab.inside(sys.executable, "-c", SCAN, ADDRESSES[host], cwd=ROOT)
        assert done.stdout.strip() == ports, done.stderr


def test_the_broker_wants_a_certificate_and_keeps_each_to_its_own(world: World) -> None:
    """A node's identity may not speak for another; a stranger may not speak at all."""
    script = (ROOT / "tests" / "fleet" / "intruder.py").read_text()
    tls = world.site.folder / "keys" / "tls"
    done = world.lab.inside(sys.executable, "-c", script, ADDRESSES[CENTRE], str(tls), cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


# What goes wrong.


def test_a_configuration_that_is_refused_leaves_the_running_one(world: World) -> None:
    """Good as a file, and not fit for the plan: only the node itself can see that."""
    host, text = world.lab.hosts["bridge"], (world.site.folder / "files" / "node.toml").read_text()
    before = host.run("readlink", "/etc/bucium/node").stdout
    world.site.change("files/node.toml", 'id = "{{ bucium_id }}-level"', 'id = "elsewhere"')
    played = world.site.play(world.lab, "edge", "--limit", "bridge")
    (world.site.folder / "files" / "node.toml").write_text(text)
    assert played.code != 0
    assert "elsewhere" in played.out
    assert host.run("readlink", "/etc/bucium/node").stdout == before
    assert host.run("systemctl", "is-active", "bucium-edge").stdout.strip() == "active"
    world.site.play(world.lab, "edge", "--limit", "bridge").good()
    assert host.run("readlink", "/etc/bucium/node").stdout == before


def test_drift_is_found(world: World) -> None:
    world.site.page(world.lab, "daily").good()
    found = world.site.folder / "drift.txt"
    host = world.lab.hosts["quay"]
    host.run("sed", "-i", "s/WatchdogSec=30/WatchdogSec=3000/", "/etc/systemd/system/bucium-edge.service")
    played = world.site.play(world.lab, "drift", "--check", "--diff", BUCIUM_DRIFT=str(found))
    assert played.code == 2
    assert "quay: edge : The unit" in found.read_text()
    assert not [line for line in found.read_text().splitlines() if not line.startswith("quay: ")]
    assert "WatchdogSec=3000" in host.run("cat", "/etc/systemd/system/bucium-edge.service").stdout, "it only looks"
    world.site.play(world.lab, "edge", "--limit", "quay").good()
    assert "WatchdogSec=30\n" in host.run("cat", "/etc/systemd/system/bucium-edge.service").stdout


def test_a_hanging_node_is_started_again_by_its_watchdog(world: World) -> None:
    host = world.lab.hosts["quay"]

    def process() -> str:
        return host.run("systemctl", "show", "-P", "MainPID", "bucium-edge").stdout.strip()

    before = process()
    host.run("kill", "-STOP", before)
    until(lambda: process() not in ("0", before), "another process", 200)


def test_a_node_starts_without_network_and_reports_when_it_is_back(world: World) -> None:
    host = world.lab.hosts["quay"]
    host.cut()
    world.lab.wire("quay", up=False)
    host.boot()
    wire_up(world, "quay")

    def lane() -> dict[str, Any]:
        said: dict[str, Any] = ask(world.lab, "quay", "node", "status")["status"]["lane"]
        return said

    active = ("systemctl", "is-active", "--quiet", "bucium-edge")
    until(lambda: host.run(*active, check=False).returncode == 0, "the node without a network")
    assert lane()["connected"] is False
    world.lab.wire("quay", up=True)
    until(lambda: lane()["connected"], "the lane")
    flood(world, "quay")


# Back up, and bring back.


def test_a_journal_is_backed_up_and_brought_back(world: World) -> None:
    world.site.play(world.lab, "backup").good()
    *_, copy = sorted((world.site.folder / "backups" / CENTRE).glob("journal-*.db"))
    host = world.lab.hosts[CENTRE]
    alarms = ask(world.lab, CENTRE, "alarm", "list")["alarms"]
    assert alarms
    host.run("systemctl", "stop", "bucium-controller")
    host.run("sh", "-c", "rm /var/lib/bucium/controller/journal.*")
    world.site.play(world.lab, "restore", "-e", f"bucium_restore={copy}").good()
    back = until(lambda: ask(world.lab, CENTRE, "alarm", "list")["alarms"], "the alarms")
    assert {each["alarm"] for each in alarms} <= {each["alarm"] for each in back}
    host.run(
        "bucium",
        "journal",
        "verify",
        "/var/lib/bucium/controller/journal.db",
        "--plan",
        "/etc/bucium/controller/plan.cbor",
    )


def test_a_damaged_copy_is_not_put_back(world: World) -> None:
    *_, copy = sorted((world.site.folder / "backups" / CENTRE).glob("journal-*.db"))
    data = bytearray(copy.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 200] = bytes(200)
    bad = world.site.folder / "bad.db"
    bad.write_bytes(data)
    played = world.site.play(world.lab, "restore", "-e", f"bucium_restore={bad}")
    assert played.code != 0
    assert played.changed == 0
    assert ask(world.lab, CENTRE, "alarm", "list")["alarms"]


def test_the_registry_is_an_inventory(world: World) -> None:
    ssh = f"ssh -i {world.site.folder}/ssh/id -o UserKnownHostsFile={world.site.folder}/ssh/known_hosts"
    environment = {"BUCIUM_CONTROLLER": f"admin@{ADDRESSES[CENTRE]}", "BUCIUM_SSH": ssh}
    done = world.lab.inside(
        sys.executable, str(ANSIBLE / "inventories" / "registry.py"), "--list", cwd=ROOT, env=environment
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["registered"]["hosts"] == ["bridge", "quay"]
    assert said["behind"]["hosts"] == []
