"""A lab of real hosts: Debian with systemd as PID 1, each in namespaces of this machine, on a network that only they are on.

    with Lab(folder) as lab:
        host = lab.add("centre-1", "10.77.0.10")
        host.run("systemctl", "is-system-running")
        lab.inside("ansible-playbook", …)      # a command on the lab's network

The tree that all hosts begin from is made once from Debian's packages and kept; each host writes into a layer of its own, in
memory. Needs root. Not to be tested so: another kernel, real disks, memory limits (this machine's cgroups are not the hosts' to
set).
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.kit import debian

CACHE: Final = Path(os.environ.get("BUCIUM_LAB_CACHE", "/var/cache/bucium-lab"))
NEWER: Final = sys.version_info[:2] == (3, 13)  # a release is made with the hosts' Python: the suite that has ours
SUITE: Final = os.environ.get("BUCIUM_LAB_SUITE", "trixie" if NEWER else "bookworm")
INSTALLED: Final = "systemd systemd-sysv dbus openssh-server python3 iproute2 ca-certificates sudo python3-apt"
DOWNLOADED: Final = (
    "python3-venv mosquitto nftables victoria-metrics systemd-timesyncd"  # what the playbooks install, offline
)
GATEWAY: Final = "10.77.0.1"
BOOT_S: Final = 120.0
STOP_S: Final = 30.0
CGROUPS: Final = ("/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup")  # of both kinds of machine
TOOLS: Final = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "ip": "iproute2",
    "ssh-keygen": "openssh-client",
}


def missing() -> str:
    """Why there can be no lab here, in a line; empty: there can."""
    if os.geteuid() != 0:
        return "the lab of real hosts needs root"
    for tool, package in TOOLS.items():
        if debian.program(tool, package) is None:
            return debian.how(package)
    return ""


def forbidden() -> str:
    """Why this machine lets no one make hosts, in a line; empty: it does. A container often may not mount, or make networks."""
    tried = """
        mount -t tmpfs none "$1"
        mkdir "$1/low" "$1/up" "$1/work" "$1/root"
        mount -t overlay none -o "lowerdir=$1/low,upperdir=$1/up,workdir=$1/work" "$1/root"
        ip link add type veth
    """
    words = ["unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--fork", "sh", "-euc", tried, "sh"]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([*words, folder], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return f"this machine lets no one make hosts: {done.stderr.strip().rpartition(chr(10))[2]}"
    if not any(Path(each, "cgroup.procs").exists() for each in CGROUPS):
        return "this machine lets no one make hosts: systemd's control groups are not mounted"
    return ""


def tree() -> Path:
    """The tree that hosts begin from; made now if it is not there: some minutes, and Debian's mirror."""
    name = hashlib.sha256(f"1 {SUITE} {INSTALLED} {DOWNLOADED}".encode()).hexdigest()[:12]
    path = CACHE / f"{SUITE}-{name}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            _make(path)
    return path


def _make(path: Path) -> None:
    new = path.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    apt = "APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get -qy --no-install-recommends"
    hooks = [
        f"{apt} --download-only install {DOWNLOADED.replace(',', ' ')}",
        'chroot "$1" useradd --create-home --shell /bin/bash admin',
        'echo "admin ALL=(ALL) NOPASSWD: ALL" > "$1/etc/sudoers.d/admin"',
        'rm -f "$1"/etc/ssh/ssh_host_* "$1/etc/resolv.conf"',
    ]
    command = [
        "mmdebstrap", "--quiet", "--variant=minbase", "--skip=cleanup/apt", '--aptopt=Acquire::Languages "none"',
        "--dpkgopt=force-unsafe-io",
        f"--include={INSTALLED.replace(' ', ',')}", *(f"--customize-hook={hook}" for hook in hooks), SUITE, str(new),
    ]  # fmt: skip
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr[-2000:]
    new.rename(path)


@dataclass
class Host:
    """One host of the lab. Its disk is `root`; `run` is a root's shell on it, which needs no ssh.

    Each has control groups of its own: where two share them, systemd of one counts, and kills, the processes of the other.
    """

    name: str
    address: str
    folder: Path  # a memory file system of the lab
    netns: str
    _nspawn: subprocess.Popen[bytes] | None = None
    _leader: int = 0

    @property
    def root(self) -> Path:
        return self.folder / "root"

    def make(self, base: Path, public_key: str) -> str:
        """Its disk, a layer over `base`. Returns its line for known_hosts."""
        for part in ("upper", "work", "root"):
            (self.folder / part).mkdir(parents=True)
        layers = f"lowerdir={base},upperdir={self.folder / 'upper'},workdir={self.folder / 'work'}"
        _do("mount", "-t", "overlay", "overlay", "-o", layers, str(self.root))
        etc = self.root / "etc"
        (etc / "hostname").write_text(self.name + "\n")
        (etc / "hosts").write_text(f"127.0.0.1 localhost\n{self.address} {self.name}\n")
        (etc / "machine-id").write_text("")
        key = etc / "ssh" / "ssh_host_ed25519_key"
        _do("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name, "-f", str(key))
        allowed = self.root / "home" / "admin" / ".ssh"
        allowed.mkdir(mode=0o700)
        (allowed / "authorized_keys").write_text(public_key)
        owner = (self.root / "home" / "admin").stat()
        for path in (allowed, allowed / "authorized_keys"):
            os.chown(path, owner.st_uid, owner.st_gid)
        kind, public, *_ = key.with_suffix(".pub").read_text().split()
        return f"{self.address} {kind} {public}\n"

    def boot(self) -> None:
        """Switch it on, and wait until systemd is content."""
        command = [
            "systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", f"--directory={self.root}",
            f"--machine={self.name}", f"--network-namespace-path=/run/netns/{self.netns}", "--console=pipe",
            "--resolv-conf=off", "--timezone=off", "--link-journal=no", "--capability=CAP_NET_ADMIN",  # the firewall is theirs
        ]  # fmt: skip
        for group in self._groups():
            group.mkdir(parents=True, exist_ok=True)
        enter = 'while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs"; shift; done; shift; exec "$@"'
        with (self.folder / "console").open("ab") as log:
            self._nspawn = subprocess.Popen(
                ["sh", "-euc", enter, "sh", *map(str, self._groups()), "--", *command],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + BOOT_S
        while time.monotonic() < deadline:
            assert self._nspawn.poll() is None, (self.folder / "console").read_text()[-2000:]
            self._leader = _init_below(self._nspawn.pid)
            if (
                self._leader
                and self.run("systemctl", "is-active", "ssh.service", check=False).stdout.strip() == "active"
            ):
                return
            time.sleep(0.2)
        raise TimeoutError(f"{self.name} did not boot in {BOOT_S} s: {(self.folder / 'console').read_text()[-2000:]}")

    def _groups(self) -> list[Path]:
        """Its control groups, in each hierarchy that systemd would count processes by."""
        there = [Path(each) for each in CGROUPS if Path(each, "cgroup.procs").exists()]
        return [each / "bucium-lab" / self.netns for each in there]

    def run(self, *command: str, check: bool = True, text: str | None = None) -> subprocess.CompletedProcess[str]:
        """A command as root on the host."""
        done = subprocess.run(
            ["nsenter", "--target", str(self._leader), "--all", "--wd=/", *command],
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
        )
        assert not check or done.returncode == 0, f"{self.name}: {command}: {done.stdout[-1500:]}{done.stderr[-1500:]}"
        return done

    def cut(self) -> None:
        """As a power cut. Its disk stays."""
        if self._nspawn is not None and self._nspawn.poll() is None:
            for pid in (self._leader, self._nspawn.pid):
                with contextlib.suppress(ProcessLookupError):
                    if pid:
                        os.kill(pid, signal.SIGKILL)
            self._nspawn.wait(STOP_S)
        self._nspawn, self._leader = None, 0
        for group in self._groups():
            for below in sorted(group.rglob("*/"), reverse=True):
                _remove(below)
            _remove(group)

    def away(self) -> None:
        """Switched off, and its disk with it."""
        self.cut()
        subprocess.run(["umount", "--lazy", str(self.root)], check=False, stderr=subprocess.DEVNULL)


@dataclass
class Lab:
    """The network, its hosts, and a key for them. `folder` gets `id`, `id.pub` and `known_hosts`."""

    folder: Path
    hosts: dict[str, Host] = field(default_factory=dict)
    tag: str = field(default_factory=lambda: f"blab{os.getpid()}")

    def __enter__(self) -> "Lab":
        self.base = tree()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.disks = self.folder / "disks"
        self.disks.mkdir()
        _do("mount", "-t", "tmpfs", "-o", "size=4g,mode=755", "bucium-lab", str(self.disks))
        _do("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(self.folder / "id"))
        (self.folder / "known_hosts").write_text("")
        _do("ip", "netns", "add", self.tag)
        for words in (
            "link set lo up",
            "link add br0 type bridge",
            "link set br0 up",
            f"addr add {GATEWAY}/24 dev br0",
        ):
            _do("ip", "-n", self.tag, *words.split())
        return self

    def __exit__(self, *_: object) -> None:
        for host in self.hosts.values():
            host.away()
        for number in range(len(self.hosts)):
            subprocess.run(["ip", "netns", "delete", f"{self.tag}-{number}"], check=False)
        subprocess.run(["ip", "netns", "delete", self.tag], check=False)
        shutil.rmtree(f"/tmp/.{self.tag}", ignore_errors=True)
        subprocess.run(["umount", "--lazy", str(self.disks)], check=False)

    def add(self, name: str, address: str) -> Host:
        """One more host, running."""
        number = len(self.hosts)
        netns = f"{self.tag}-{number}"
        _do("ip", "netns", "add", netns)
        _do("ip", "-n", self.tag, "link", "add", f"v{number}", "type", "veth", "peer", "name", "host0", "netns", netns)
        _do("ip", "-n", self.tag, "link", "set", f"v{number}", "master", "br0", "up")
        for words in ("link set lo up", f"addr add {address}/24 dev host0", "link set host0 up"):
            _do("ip", "-n", netns, *words.split())
        host = Host(name, address, self.disks / name, netns)
        self.hosts[name] = host
        with (self.folder / "known_hosts").open("a") as file:
            file.write(host.make(self.base, (self.folder / "id.pub").read_text()))
        host.boot()
        return host

    def wire(self, name: str, *, up: bool) -> None:
        """Plug a host's cable in, or out."""
        number = list(self.hosts).index(name)
        _do("ip", "-n", self.tag, "link", "set", f"v{number}", "up" if up else "down")

    def inside(
        self, *command: str, cwd: Path, env: dict[str, str] | None = None, timeout_s: float = 900
    ) -> subprocess.CompletedProcess[str]:
        """A command on the lab's network, on this machine's disk."""
        words: Sequence[str] = ("ip", "netns", "exec", self.tag, *command)
        return subprocess.run(
            words, cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False,
            stdin=subprocess.DEVNULL, timeout=timeout_s,
        )  # fmt: skip


def _init_below(pid: int) -> int:
    """The PID 1 of the host that this systemd-nspawn runs; 0: not yet."""
    with contextlib.suppress(OSError, ValueError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            for line in Path(f"/proc/{child}/status").read_text().splitlines():
                if line.startswith("NSpid:") and line.split()[-1] == "1" and len(line.split()) > 2:
                    return int(child)
    return 0


def _remove(group: Path) -> None:
    """A control group that has no process any more, or in a moment."""
    deadline = time.monotonic() + STOP_S
    while time.monotonic() < deadline:
        try:
            group.rmdir()
        except FileNotFoundError:
            return
        except OSError:  # the kernel is still putting its last process away
            time.sleep(0.05)


def _do(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
