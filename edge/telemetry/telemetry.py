"""The node's telemetry, put together: its Sparkplug side, and what is kept while that cannot send."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Final

from cython_ext import Clock
from lanes.counterfile import BdSeqFile
from lanes.link import Connector
from lanes.plan import Plan
from lanes.sparkplug import BDSEQ_COUNT, NodeMetric
from lanes.store import Runner

from ..config import PointBinding, Ready
from ..troubles import Troubles
from .births import BirthTable, PointMetric
from .forward import Forward
from .session import Identity
from .uplink import Uplink

log = logging.getLogger("bucium.edge")

TELL_S: Final = 5.0  # the node's own metrics, as often as the heartbeat that carries them
Facts = Mapping[NodeMetric, int | str | None]


class Telemetry:
    """One node's. Nothing here delays an alarm: calls do not wait, and the disk thread is its own."""

    def __init__(
        self,
        ready: Ready,
        found: list[PointBinding],
        *,
        data: Path,
        boot: bytes,
        clock: Clock,
        connector: Connector,
        runner: Runner,
        spare: Runner,
        rng: Random,
        troubles: Troubles,
        facts: Callable[[], Facts],
        hold: Callable[[], bool],
        first: Callable[[], bool],
        free: Callable[[Path], int],
    ) -> None:
        """`runner` keeps small files, `spare` the backlog. `facts`: what the node says of itself. `hold`: the past
        waits; `first`: births wait too, a little.
        """
        config = ready.local.config
        self._facts = facts
        self._uplink = Uplink(
            Identity(ready.signed.plan.group, ready.node, config.telemetry.primary_host),
            _births(ready.signed.plan, found),
            connectors=[connector],
            store=_BdSeq(BdSeqFile(data / "bdseq", runner)),
            clock=clock,
            rng=rng,
            hold=first,
        )
        self._forward: Forward | None = None
        if config.telemetry.backlog_mib:
            self._forward = Forward(
                data / "backlog",
                self._uplink,
                boot=boot,
                clock=clock,
                runner=spare,
                troubles=troubles,
                free=free,
                hold=hold,
                keepalive_s=config.broker.keepalive_s,
                backlog_mib=config.telemetry.backlog_mib,
                backlog_bytes_per_s=config.telemetry.backlog_bytes_per_s,
            )
        self._tell()

    def readings(self, batch: bytes) -> None:
        """A packed batch of this node's points."""
        self._uplink.readings(batch)

    def presence(self, device: str, there: bool) -> None:
        """A device answers again, or no longer."""
        (self._uplink.device_online if there else self._uplink.device_lost)(device)

    def replan(self, plan: Plan, found: list[PointBinding]) -> None:
        """Another plan, which gives these points to the node."""
        self._uplink.replan(_births(plan, found))
        self._tell()

    def status(self) -> tuple[str, dict[str, int]]:
        """Why it does not send ("": it does), and what is kept."""
        return self._uplink.down_reason, self._forward.status() if self._forward is not None else {}

    async def run(self) -> None:
        """Until cancelled; `close` afterwards."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._uplink.run(), name="uplink")
            group.create_task(self._keep_telling(), name="tell")
            if self._forward is not None:
                group.create_task(self._forward.run(), name="forward")

    async def close(self) -> None:
        """What has not been sent is kept for the next start."""
        if self._forward is not None:
            await self._forward.close()

    async def _keep_telling(self) -> None:
        while True:
            self._tell()
            await asyncio.sleep(TELL_S)

    def _tell(self) -> None:
        for metric, value in self._facts().items():
            self._uplink.tell(metric, value)
        if self._forward is not None:
            self._forward.tell()


def _births(plan: Plan, found: list[PointBinding]) -> BirthTable:
    units = {point.id: point.unit for point in plan.points}
    return BirthTable([PointMetric(each.id, each.device, unit=units[each.id]) for each in found])


class _BdSeq:
    """bdSeq on disk; while the disk refuses it goes on in memory: telemetry is never a reason to stop."""

    def __init__(self, file: BdSeqFile) -> None:
        self._file = file
        self._last = -1

    async def advance(self) -> int:
        try:
            self._last = await self._file.advance()
        except OSError as error:
            self._last = (self._last + 1) % BDSEQ_COUNT
            log.warning("bdseq.not-kept error=%s", error.strerror)
        return self._last
