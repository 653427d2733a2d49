"""F30: the broker is restarted, and 1,000 nodes come back with their certificates, raising alarms meanwhile.

    python -m tests.fleet.reconnect [--nodes 1000] [--processes 4]

A real Mosquitto with the broker role's own configuration and access list (TLS 1.3, client certificates), a real controller,
and of each node both lanes as `edge` runs them: two connections each, its own certificate, its own ledger on disk, our own
back-off. The broker is killed and started again at once. From then on within 30 s each node raises one alarm. Told is when the
last node had both lanes again (promised: 60 s), and the longest that an alarm waited from the node's sensor to the controller's
signed ack, which follows its commit (promised: 30 s). Exit code 0: every node is back and every alarm acked, whatever it took.

Broker, controller and all nodes share this machine's cores.
"""

import argparse
import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bucium import certificates
from bucium.bench.fleet import CONTROLLER, GROUP, plan_of, write_centre
from bucium.bench.ingest import cpu_s
from cython_ext import SystemClock
from lanes import planfile
from tests.fleet.site import ANSIBLE, ROOT, TOOLS
from tests.kit import debian
from tests.kit.brokers import free_port

ROLE: Final = ANSIBLE / "roles" / "broker"
ALARMS_S: Final = 30.0
BACK_S, ALARM_S = 60.0, 30.0  # promised (reliability.md F30)
WAIT_S: Final = 600.0  # longer than anything promised: what is slow is told, not cut short


@dataclass
class Broker:
    """Mosquitto, as the role sets it up."""

    folder: Path
    port: int
    limit_files: int
    process: subprocess.Popen[bytes] | None = None

    @classmethod
    def of_role(cls, folder: Path, port: int, nodes: list[str]) -> "Broker":
        """The role's own templates and defaults, rendered by Ansible; only the folder is another."""
        variables = {
            "bucium_keys": str(folder), "bucium_group": GROUP, "broker_controllers": [CONTROLLER], "broker_nodes": nodes,
            "broker_port": port, "broker_address": "127.0.0.1", "ansible_managed": "made by Ansible",
        }  # fmt: skip
        (folder / "variables.json").write_text(json.dumps(variables))
        defaults = ROLE / "defaults" / "main.yml"
        for name in ("mosquitto.conf", "acl"):
            argument = f"src={ROLE}/templates/{name}.j2 dest={folder}/{name} mode=0644"
            words = [str(TOOLS / "ansible"), "localhost", "-c", "local", "-m", "template", "-a", argument]
            more = ["-e", f"@{defaults}", "-e", f"@{folder}/variables.json"]
            done = subprocess.run([*words, *more], cwd=ANSIBLE, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
        config = folder / "mosquitto.conf"
        config.write_text(config.read_text().replace("/etc/mosquitto/bucium", str(folder)))
        for name in ("ca.crt", "broker.crt", "broker.key"):
            shutil.copy(folder / "tls" / name, folder / name)
            if os.geteuid() == 0:  # it gives up root before it reads them
                shutil.chown(folder / name, "mosquitto")
        return cls(folder, port, 12000 + 256)  # broker_connections + 256, as its unit has it

    def start(self) -> None:
        program = debian.program("mosquitto", "mosquitto")
        assert program, debian.how("mosquitto")
        files = min(self.limit_files, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        with (self.folder / "broker.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["prlimit", f"--nofile={files}", program, "-c", str(self.folder / "mosquitto.conf")],
                stdout=log, stderr=log,
            )  # fmt: skip

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


class Worker:
    """A process with some of the nodes."""

    def __init__(self, folder: Path, port: int, first: int, last: int) -> None:
        words = [sys.executable, "-m", "tests.fleet.reconnect_nodes", str(folder), str(port), str(first), str(last)]
        with (folder / f"nodes-{first}.log").open("ab") as log:
            self._process = subprocess.Popen(
                words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
        self.pid = self._process.pid

    def ask(self, line: str) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline() or "null")

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


def lay_out(folder: Path, nodes: int, port: int) -> Broker:
    """Plan, certificates, configurations."""
    folder.chmod(0o755)
    now_us, tls = SystemClock().wall_us(), folder / "tls"
    tls.mkdir()
    certificates.make_authority(tls, "storm", now_us)
    certificates.issue(tls, "broker", now_us, hosts=("127.0.0.1",))
    names = [f"n{number}" for number in range(nodes)]
    for name in (CONTROLLER, *names):
        certificates.issue(tls, name, now_us)
    signed = plan_of(nodes)
    planfile.write(signed, folder / "plan.cbor")
    config = write_centre(folder / CONTROLLER, signed, port)
    mine = f'ca = "{tls}/ca.crt"\ncertificate = "{tls}/{CONTROLLER}.crt"\nkey = "{tls}/{CONTROLLER}.key"\n'
    config.write_text(config.read_text() + mine)
    return Broker.of_role(folder, port, names)


@contextlib.contextmanager
def running(folder: Path, nodes: int, processes: int) -> Iterator[tuple[Broker, int, list[Worker]]]:
    """All of it at work: the broker, the controller's process id, the nodes' processes."""
    port = free_port()
    broker = lay_out(folder, nodes, port)
    words = ["-m", "controller", "--config", str(folder / CONTROLLER / "controller.toml"), "--log", "warning"]
    workers: list[Worker] = []
    broker.start()
    with (folder / "controller.log").open("ab") as log:
        controller = subprocess.Popen([sys.executable, *words], cwd=ROOT, stdout=log, stderr=log)
    try:
        for number in range(processes):
            first, last = nodes * number // processes, nodes * (number + 1) // processes
            workers.append(Worker(folder, port, first, last))
        yield broker, controller.pid, workers
    finally:
        for worker in workers:
            worker.stop()
        controller.kill()
        controller.wait()
        broker.kill()


def until(workers: list[Worker], nodes: int) -> bool:
    """Every node has both lanes."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if sum(worker.ask("look") for worker in workers) == nodes:
            return True
        time.sleep(0.25)
    return False


def measure(nodes: int, processes: int) -> dict[str, Any]:
    """The figures."""
    with tempfile.TemporaryDirectory(prefix="bucium-storm-") as name:
        folder = Path(name)
        with running(folder, nodes, processes) as (broker, controller, workers):
            assert until(workers, nodes), f"the nodes did not connect; the broker's log: {_tail(folder)}"
            spent_s = cpu_s(controller)
            for worker in workers:
                worker.ask(f"storm {ALARMS_S}")
            killed_ns = time.monotonic_ns()
            broker.kill()
            broker.start()
            told: dict[str, dict[str, int]] = {}
            deadline = time.monotonic() + WAIT_S
            while time.monotonic() < deadline:
                time.sleep(1.0)
                told = {node: said for worker in workers for node, said in worker.ask("tell").items()}
                if all(said["back_ns"] and said["acked_ns"] for said in told.values()):
                    break
            found = _figures(list(told.values()), killed_ns)
            found["controller_cpu_s"] = round(cpu_s(controller) - spent_s, 1)
            assert broker.process is not None
            found["broker_cpu_s"] = round(cpu_s(broker.process.pid), 1)
    return found


def _figures(told: list[dict[str, int]], killed_ns: int) -> dict[str, Any]:
    back = sorted((said["back_ns"] - killed_ns) / 1e9 for said in told if said["back_ns"])
    alarms = sorted((said["acked_ns"] - said["raised_ns"]) / 1e9 for said in told if said["acked_ns"])
    return {
        "nodes": len(told),
        "back": len(back),
        "back_s": {"p50": round(back[len(back) // 2], 1), "last": round(back[-1], 1)} if back else {},
        "alarms": sum(said["raised_ns"] > 0 for said in told),
        "acked": len(alarms),
        "alarm_s": {"p50": round(alarms[len(alarms) // 2], 2), "slowest": round(alarms[-1], 1)} if alarms else {},
        "late": sum(each > ALARM_S for each in alarms),
        "dials": sum(said["connects"] for said in told),
        "load": round(os.getloadavg()[0], 1),
    }


def _tail(folder: Path) -> str:
    logs = [path for path in folder.glob("*.log") if path.stat().st_size]
    return "\n".join(f"{path.name}: {path.read_text()[-800:]}" for path in logs)


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.fleet.reconnect", description=__doc__)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=4)
    asked = parser.parse_args()
    found = measure(asked.nodes, asked.processes)
    back, alarm = found["back_s"], found["alarm_s"]
    print(
        f"reconnect: nodes {found['nodes']}, back {found['back']}, last after {back.get('last')} s (promised: {BACK_S:g} s),"
        f" alarms {found['alarms']}, acked {found['acked']}, slowest {alarm.get('slowest')} s (promised: {ALARM_S:g} s),"
        f" late {found['late']}"
    )
    print(json.dumps(found))
    return int(not found["nodes"] == found["back"] == found["acked"] == found["alarms"])


if __name__ == "__main__":
    sys.exit(main())
