"""A node that judges orders and remembers them, without sirens: for what must survive reboots and disks."""

import asyncio
from pathlib import Path

from cython_ext import Level
from edge.siren.activation import Activation
from edge.siren.moment import Moment
from edge.siren.orders import Accepted, judge, open_order
from edge.siren.orderstore import OrderStore
from edge.siren.refusals import Refused, Why
from edge.siren.standing import Line, Standing
from lanes.keys import Mode
from lanes.store import run_here
from tests.kit.clock import ManualClock
from tests.kit.orders import BOOT, NODE, Maker, key_of, siren_plan

NO_NONCE = bytes(8)


class Node:
    """A store, and the judge before it. `reboot` keeps the disk, and gives a new boot nonce and monotonic clock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock()
        self.make = Maker(self.clock)
        self.boots = 0
        self.open()

    def open(self) -> None:
        self.boot = self.make.boot = bytes([self.boots]) * 8 if self.boots else BOOT
        self.store = OrderStore(
            self.folder / "orders.db",
            anchor=self.folder / "orders.anchor",
            clock=self.clock,
            runner=run_here,
            entropy=lambda n: bytes([self.boots + 1]) * n,
        )

    def reboot(self, away_s: float = 1.0) -> None:
        self.store.close()
        self.boots += 1
        clock = ManualClock(self.clock.wall_us() + int(away_s * 1e6), self.clock.quality())
        self.clock = self.make.clock = clock
        self.open()

    def judge(self, data: bytes) -> list[object]:
        standing = Standing(siren_plan(), NODE, self.boot, self.store)
        opened = open_order(data, standing)
        assert not isinstance(opened, Refused), opened
        return list(judge(opened, standing, Moment.of(self.clock)))

    def take(self, data: bytes) -> Why | None:
        """Obey it as the node would: None, or why not."""
        verdicts = self.judge(data)
        accepted = [v for v in verdicts if isinstance(v, Accepted)]
        if accepted and accepted[0].line is Line.STOP:
            core = accepted[0].opened.order.core
            self.store.accept(accepted, Moment.of(self.clock))
            sirens = [one.siren.id for one in accepted]
            self.store.stop(sirens, core.incident, core.mode, Moment.of(self.clock), 600.0)
        elif accepted:
            self.store.accept(accepted, Moment.of(self.clock))
        self.commit()
        first = verdicts[0]
        return first.why if isinstance(first, Refused) else None

    def commit(self) -> None:
        asyncio.run(self.store.commit())
        asyncio.run(self.store.keep_anchor())

    def order(self, **changes: object) -> bytes:
        return self.make.order(**{"nonce": self.boot, "order_epoch": self.store.order_epoch, **changes})

    def activation(self, level: Level = Level.ALARM, incident: bytes = b"incident") -> Activation:
        pattern = siren_plan().plan.pattern("dezastre")
        assert pattern is not None
        return Activation("s1", b"order..1", incident, Mode.LIVE, level, pattern, 120.0, 0, events=(key_of(1, "n2"),))

    def left_s(self) -> float:
        return self.store.hold_left_s("s1", self.clock.monotonic_ns())
