"""Real MQTT brokers as child processes on loopback: the embedded nats-server of the wheel, and Mosquitto."""

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.kit import debian

KINDS = ("embedded", "mosquitto")
READY_S = 20.0

MOSQUITTO = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence false
max_queued_messages 0
max_inflight_messages 20
max_packet_size 65536
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def missing(kind: str) -> str:
    """Why this broker cannot run here, with how to get it; empty: it can."""
    if _program(kind):
        return ""
    if kind == "mosquitto":
        return debian.how("mosquitto")
    return "nats-server is not installed; get it with: make setup"


def _program(kind: str) -> str | None:
    if kind == "mosquitto":
        return debian.program("mosquitto", "mosquitto")
    beside = Path(sys.executable).with_name("nats-server")
    return str(beside) if beside.exists() else None


@dataclass
class RealBroker:
    """One broker process; `kill` and `start` again keep the port."""

    kind: str
    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> "RealBroker":
        program = _program(self.kind)
        assert program, missing(self.kind)
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "broker.conf"
        if self.kind == "mosquitto":
            config.write_text(MOSQUITTO.format(port=self.port))
        else:
            document = {
                "host": "127.0.0.1",
                "port": free_port(),
                "server_name": "bucium",
                "jetstream": {"store_dir": str(self.folder / "store")},
                "mqtt": {"host": "127.0.0.1", "port": self.port, "ack_wait": "2s"},
                "pid_file": str(self.folder / "broker.pid"),
            }
            config.write_text(json.dumps(document))
        log = (self.folder / "broker.log").open("ab")
        self.process = subprocess.Popen([program, "-c", str(config)], stdout=log, stderr=log)
        log.close()
        self._await_port()
        return self

    def _await_port(self) -> None:
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.2):
                return
            assert self.process is not None
            assert self.process.poll() is None, (self.folder / "broker.log").read_text()
            time.sleep(0.02)
        raise TimeoutError(f"{self.kind} did not open its port in {READY_S} s")

    def kill(self, *, wipe: bool = True) -> None:
        """As a power cut; with `wipe`, its disk goes too."""
        self.stop(signal.SIGKILL)
        if wipe:
            shutil.rmtree(self.folder / "store", ignore_errors=True)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
        self.process = None
