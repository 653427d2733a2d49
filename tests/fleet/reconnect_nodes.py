"""Some of the nodes of `tests.fleet.reconnect`, in a process of their own: the real lanes of each, with its own certificate.

Each has its ledger on the disk, its alarm lane and its telemetry uplink, as `edge` runs them; nothing samples and nothing sounds.
Commands come on standard input, a line each, and each is answered by a line of JSON.

    look          how many nodes have both lanes
    storm SECONDS each node raises its gauge's alarm once within so long; answers at once
    tell          per node: when it had both lanes again, and when its alarm was made, and acked
"""

import asyncio
import json
import secrets
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

from bucium.bench.fleet import CONTROLLER, GROUP, key_of
from cython_ext import Cause, ClockQuality, ClockSource, Level, Reason, SystemClock, Trouble
from edge.report.lane import Lane, Node
from edge.report.ledger import AckVerdict
from edge.report.ledgers import Ledgers
from edge.report.reporter import Reporter
from edge.telemetry.births import BirthTable, PointMetric
from edge.telemetry.session import Identity
from edge.telemetry.uplink import Uplink
from edge.troubles import Troubles
from lanes import planfile
from lanes.counterfile import BdSeqFile
from lanes.envelope import BOOT_BYTES
from lanes.link import BrokerSettings, MqttConnector
from lanes.orders import Ack
from lanes.planfile import SignedPlan
from lanes.reports import PointState, TransitionData
from lanes.store import Runner, ThreadRunner

FREE_BYTES: Final = (
    30 << 20
)  # what each ledger is told is free: enough to work, too little for a thousand times 8 MiB of ballast
LOOK_S: Final = 0.05


class Told(Reporter):
    """Notes when the alarm was acked, after its signature was judged and the ledger has it."""

    acked: Callable[[Ack], None]

    async def ack(self, ack: Ack, handed: Any = None) -> AckVerdict:
        verdict = await super().ack(ack, handed)
        if verdict is AckVerdict.TAKEN:
            self.acked(ack)
        return verdict


class StormNode:
    """One node's two lanes. Instants are of the machine's monotonic clock, which all processes share."""

    def __init__(self, number: int, signed: SignedPlan, folder: Path, port: int, clock: SystemClock, runner: Runner):
        self.number, self.id = number, f"n{number}"
        self.clock = clock
        self.level = Level.NORMAL
        self.seq = 0
        self.raised_ns = self.acked_ns = self.back_ns = self.lost_ns = 0
        rng = Random(secrets.randbits(64))
        tls = folder / "tls"
        broker = {"host": "127.0.0.1", "port": port, "ca": tls / "ca.crt"}
        certificate = {"certificate": tls / f"{self.id}.crt", "key": tls / f"{self.id}.key"}
        connector = MqttConnector(BrokerSettings.model_validate(broker | certificate))
        data = folder / "nodes" / self.id
        data.mkdir(parents=True)
        boot = secrets.token_bytes(BOOT_BYTES)
        self.reporter = Told(
            signed=signed, node=self.id, key=key_of(self.id), boot=boot, clock=clock, runner=runner,
            ledgers=Ledgers(data, self.id, secrets.token_bytes, lambda _: FREE_BYTES),
        )  # fmt: skip
        self.reporter.acked = self._acked
        self.lane = Lane(
            signed=signed, node=self.id, reporter=self.reporter, troubles=Troubles(self.reporter.post),
            rest=self._rest(), connector=connector, clock=clock, jitter=rng.random,
        )  # fmt: skip
        self.uplink = Uplink(
            Identity(GROUP, self.id, CONTROLLER), BirthTable((PointMetric(f"p{number}", "gauge", unit="m"),)),
            connectors=[connector], store=BdSeqFile(data / "bdseq", runner), clock=clock, rng=rng,
            hold=lambda: self.lane.unsaid,
        )  # fmt: skip
        self.uplink.device_online("gauge")

    def _rest(self) -> Node:
        async def order(_: bytes) -> None:
            return None

        return Node(
            order=order, act=lambda _: "kind", heard=lambda _: None, states=self._states,
            endangered=lambda: self.level > 0, cut_off=lambda _: None, piece=lambda _: "", reset=lambda _: "",
            want=lambda: None,
        )  # fmt: skip

    def _states(self) -> tuple[list[PointState], list[Any]]:
        age_ms = (self.clock.monotonic_ns() - self.raised_ns) // 1_000_000
        raised = [PointState(self.number, self.level, Trouble.NONE, self.seq, age_ms)] if self.seq else []
        return raised, []

    @property
    def whole(self) -> bool:
        """Both lanes are there: the alarm lane subscribed, the node born for the controller."""
        return self.lane.connected and self.uplink.live

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for part in (self.reporter.run(), self.lane.run(), self.uplink.run()):
                group.create_task(part)

    async def raise_within(self, seconds: float, rng: Random) -> None:
        await asyncio.sleep(rng.uniform(0, seconds))
        self.level, self.raised_ns = Level.ALARM, self.clock.monotonic_ns()
        data = TransitionData(
            f"p{self.number}", Cause.RAISED, Level.NORMAL, Level.ALARM, 3.5, Reason.THRESHOLD, Trouble.NONE
        )
        self.seq = (await self.reporter.record(data)).seq

    def _acked(self, ack: Ack) -> None:
        through = any(first <= self.seq <= last for first, last in ((0, ack.through), *ack.ranges))
        if self.seq and not self.acked_ns and through:
            self.acked_ns = self.clock.monotonic_ns()

    def look(self) -> None:
        """Note when it was first whole after it was lost."""
        if not self.whole:
            self.lost_ns, self.back_ns = self.lost_ns or self.clock.monotonic_ns(), 0
        elif self.lost_ns and not self.back_ns:
            self.back_ns = self.clock.monotonic_ns()

    def told(self) -> dict[str, int]:
        counts = {"connects": self.lane.counts["connects"], "lost_ns": self.lost_ns, "back_ns": self.back_ns}
        return counts | {"raised_ns": self.raised_ns, "acked_ns": self.acked_ns}


async def _watch(nodes: list[StormNode]) -> None:
    while True:
        for node in nodes:
            node.look()
        await asyncio.sleep(LOOK_S)


async def main(folder: Path, port: int, first: int, last: int) -> None:
    clock = SystemClock(ClockQuality(ClockSource.NTP, 5))
    signed, runner = planfile.read(folder / "plan.cbor"), ThreadRunner("disk")
    nodes = [StormNode(number, signed, folder, port, clock, runner) for number in range(first, last)]
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(partial(asyncio.StreamReaderProtocol, lines), sys.stdin)
    rng = Random(first)
    async with asyncio.TaskGroup() as group:
        work = [group.create_task(part) for part in (_watch(nodes), *(node.run() for node in nodes))]
        alarms: list[asyncio.Task[None]] = []
        async for line in lines:
            word, *rest = line.decode().split()
            if word == "storm":
                for node in nodes:
                    node.look()
                    node.lost_ns = node.back_ns = 0
                    alarms.append(group.create_task(node.raise_within(float(rest[0]), rng)))
            answers = {"look": sum(node.whole for node in nodes), "storm": len(nodes)}
            print(json.dumps(answers.get(word, {node.id: node.told() for node in nodes})), flush=True)
        for task in (*work, *alarms):
            task.cancel()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), *map(int, sys.argv[2:5])))
