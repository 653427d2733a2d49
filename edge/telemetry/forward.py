"""Store and forward, put together: what keeps the samples, and what sends them when it may."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cython_ext import Clock
from lanes.sparkplug import NodeMetric
from lanes.store import Runner

from ..troubles import Troubles
from .backlog import Backlog
from .keep import Keep
from .pace import Pace
from .uplink import Uplink

MIB: Final = 1 << 20
ARRIVAL_S: Final = 5.0  # beyond what a dead connection or host needs to be noticed


def window_s(keepalive_s: int) -> float:
    """How long a session must live on before what it sent has arrived: both ends notice a dead link within 2 keep-alives."""
    return 2 * keepalive_s + ARRIVAL_S


class Forward:
    """One node's store and forward."""

    def __init__(
        self,
        folder: Path,
        uplink: Uplink,
        *,
        boot: bytes,
        clock: Clock,
        runner: Runner,
        troubles: Troubles,
        free: Callable[[Path], int],
        hold: Callable[[], bool],
        keepalive_s: int,
        backlog_mib: int,
        backlog_bytes_per_s: int,
    ) -> None:
        """`runner` is its own: the ledger must never wait for telemetry's disk. `hold`: an alarm waits for its ack."""
        table, window = uplink.session.table, window_s(keepalive_s)
        self._uplink = uplink
        self._keep = Keep(
            folder,
            table.names,
            boot=boot,
            dating=uplink.dating,
            clock=clock,
            runner=runner,
            troubles=troubles,
            bytes_max=backlog_mib * MIB,
            window_s=window,
            free=free,
        )
        self._backlog = Backlog(
            self._keep,
            uplink,
            table,
            dating=uplink.dating,
            clock=clock,
            pace=Pace(backlog_bytes_per_s),
            window_s=window,
            hold=hold,
        )
        uplink.keep_in(self._keep, self._backlog)

    async def run(self) -> None:
        """Until cancelled; `close` afterwards."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep.run(), name="forward.keep")
            group.create_task(self._backlog.run(), name="forward.backlog")

    async def close(self) -> None:
        """Nobody knows whether what was sent lately has arrived: it is kept with the rest."""
        self._keep.parted()
        await self._keep.flush()

    def status(self) -> dict[str, int]:
        """What waits, what was thinned, lost and sent since the start."""
        return {**self._keep.status(), "sent": self._backlog.sent}

    def tell(self) -> None:
        """The node's own metrics of it."""
        status = self._keep.status()
        self._uplink.tell(NodeMetric.BACKLOG_SAMPLES, status["samples"])
        self._uplink.tell(NodeMetric.BACKLOG_THINNED, status["thinned"])
        self._uplink.tell(NodeMetric.BACKLOG_LOST, status["lost"])
