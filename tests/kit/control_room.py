"""A whole control room without its network, and nodes that sign: for the tests of the controller."""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from controller.acting import Acting
from controller.deciding import Deciding
from controller.falling import Falling
from controller.hearing import Heard, Hearing
from controller.lane import Lane
from controller.ordering import Ordering
from controller.record.journal import Former, Journal, Spare
from controller.recovery import open_room
from controller.refusals import Refusals
from controller.room import Room
from controller.spread import Spread
from controller.upkeep import Upkeep
from controller.watchdog import Watchdog
from cython_ext import Cause, Level, Reason, Trouble, topics
from lanes import acts
from lanes.envelope import Envelope, Kind, Opened, open_envelope, peek, seal
from lanes.identity import EventKey
from lanes.keys import Mode
from lanes.orders import Action, Order
from lanes.planfile import SignedPlan
from lanes.reports import Event, PointState, ReceiptData, SirenState, Stage, State, TransitionData, TroubleData
from lanes.store import run_here
from tests.kit.broker import MemoryBroker
from tests.kit.clock import ManualClock
from tests.kit.plans import key, signed, with_keys

CONTROLLER = "iasi"
GROUP = "prut"


@dataclass
class FakeNode:
    """Signs events and states as a node would; keeps its ledger in a list."""

    id: str
    clock: ManualClock
    plan: SignedPlan
    ledger: bytes = b"ledger01"
    boot: bytes = b"boot0001"
    mode: Mode = Mode.LIVE
    events: list[bytes] = field(default_factory=list)
    counter: int = 0

    @property
    def seq(self) -> int:
        return len(self.events)

    def key(self, seq: int | None = None) -> EventKey:
        return EventKey(self.id, self.ledger, self.seq if seq is None else seq)

    def _seal(self, kind: Kind, counter: int, body: Any) -> bytes:
        plan = self.plan.plan
        envelope = Envelope(
            kind, self.id, plan.controller, self.boot, counter, self.clock.wall_us(), plan.version, 0, body
        )
        return seal(envelope, key(self.id, self.mode))

    def event(self, data: Any, *, plan: bytes | None = None) -> bytes:
        """The next event of the ledger, signed."""
        seq = self.seq + 1
        clock = self.clock
        digest = self.plan.digest if plan is None else plan
        body = Event(self.ledger, seq, clock.monotonic_ns(), clock.quality(), digest, data).pack()
        self.events.append(self._seal(Kind.EVENT, seq, body))
        return self.events[-1]

    def level(self, point: str, was: Level, level: Level, value: float = 3.5) -> bytes:
        """The point goes from one Level to another."""
        cause = Cause.RAISED if level > was else Cause.LOWERED
        return self.event(TransitionData(point, cause, was, level, value, Reason.THRESHOLD, Trouble.NONE))

    def trouble(self, code: str, on: bool) -> bytes:
        return self.event(TroubleData(code, on))

    def receipt(self, order: bytes, stage: Stage, reason: str = "", *, measured: bool = False, epoch: int = 0) -> bytes:
        """This node's answer to an order."""
        envelope = peek(order)
        assert envelope is not None
        found = Order.unpack(envelope.body)
        reference = hashlib.sha256(order).digest()[:8]
        return self.event(
            ReceiptData(found.siren, reference, stage, reason, found.core.incident, epoch, measured=measured)
        )

    def state(self, *points: tuple[str, Level, int], sirens: tuple[SirenState, ...] = ()) -> bytes:
        """A state report: (point, Level, seq of its raise)."""
        self.counter += 1
        clock, ids = self.clock, self.plan.plan.judged_ids
        rows = tuple(PointState(ids.index(point), level, Trouble.NONE, seq, 0) for point, level, seq in points)
        body = State(self.ledger, self.seq, clock.monotonic_ns(), clock.quality(), self.plan.digest, 0, 1, rows, sirens)
        return self._seal(Kind.STATE, self.counter, body.pack())


class ControlRoom:
    """The controller's logic on a journal in `path`, driven by hand; `restart` opens it again from the journal."""

    without: frozenset[Mode] = frozenset()  # kinds of key that it has not, from its next start on

    def __init__(
        self,
        path: Path,
        plan: SignedPlan | None = None,
        clock: ManualClock | None = None,
        *,
        spare: Spare | None = None,
    ) -> None:
        self.path = path
        self.spare: Spare | None = spare
        self.plan = plan or signed(with_keys())
        self.clock = clock or ManualClock()
        self.broker = MemoryBroker()
        self._random = Random(1)
        self._acts = 0
        self.carried: list[bytes] = []  # what went out beside orders
        self.open()

    def open(self) -> None:
        clock = self.clock
        keys = {mode: key(CONTROLLER, mode) for mode in Mode if mode not in self.without}

        def journal(former: Former | None) -> Journal:
            new_id = self._random.randbytes(8)
            return Journal(
                self.path,
                clock=clock,
                runner=run_here,
                key=keys[Mode.LIVE],
                new_id=new_id,
                former=former,
                spare=self.spare,
                controller=CONTROLLER,
            )

        def room(journal: Journal) -> Room:
            return Room(signed=self.plan, journal=journal, keys=keys, clock=clock, entropy=self._random.randbytes)

        found = open_room(self.path, self.spare.path if self.spare else None, journal, room)
        self.room, self.recovered, self.aside = found.room, found.rows, found.aside
        self.journal = self.room.journal
        self.recovered_state = self.room.pack()
        with self.room.clock.hold():
            self.room.begin()
            self._wire()

    def _wire(self) -> None:
        self.refusals = Refusals(self.room)
        self.ordering = Ordering(self.room, lambda: 0.5)
        self.deciding = Deciding(self.room, self.ordering)
        self.falling = Falling(self.room, self.ordering, self.deciding)
        self.falling.resume()
        self.acting = Acting(self.room, self.ordering, self.deciding)
        self.spread = Spread(self.room, lambda: 0.5)
        self.hearing = Hearing(self.room, self.ordering, self.deciding, wants=self.spread.want)
        self.watchdog = Watchdog(self.room, self.deciding)
        connector = self.broker.connector()
        self.lane = Lane(self.room, self.hearing, self.refusals, self.spread, connector=connector, jitter=lambda: 0.5)
        self.room.notify = self.lane.wake
        self.upkeep = Upkeep(
            self.room,
            ordering=self.ordering,
            deciding=self.deciding,
            falling=self.falling,
            acting=self.acting,
            watchdog=self.watchdog,
            lane=self.lane,
            refusals=self.refusals,
        )

    def node(self, name: str, **changes: Any) -> FakeNode:
        return FakeNode(name, self.clock, self.plan, **changes)

    def hear(self, node: FakeNode | str, data: bytes) -> Heard:
        """A report arrives on the node's topic."""
        opened = open_envelope(data, self.plan.plan.roster)
        assert isinstance(opened, Opened), opened
        return self.hearing.take(opened, node if isinstance(node, str) else node.id)

    def orders(self) -> list[tuple[Order, bytes]]:
        """The orders that went out since the last look."""
        found = []
        while self.room.outgoing:
            data = self.room.outgoing.popleft().message()
            envelope = peek(data)
            assert envelope is not None
            if envelope.kind is not Kind.ORDER:
                self.carried.append(data)
                continue
            found.append((Order.unpack(envelope.body), data))
        return found

    def starts(self) -> list[tuple[Order, bytes]]:
        return [(order, data) for order, data in self.orders() if order.action is Action.START]

    def act(self, act: acts.Act, person: str = "ana", mode: Mode = Mode.LIVE) -> dict[str, Any]:
        """A person's act, signed."""
        return self.acting.act(self.signed_act(act, person, mode), act.VERB)

    def signed_act(self, act: acts.Act, person: str = "ana", mode: Mode = Mode.LIVE) -> bytes:
        return acts.sign_act(
            act,
            person=person,
            service=CONTROLLER,
            key=key(person, mode),
            now_us=self.clock.wall_us(),
            once=self._once(),
        )

    def approve(self, request: dict[str, Any], person: str, mode: Mode = Mode.LIVE) -> dict[str, Any]:
        """A person's yes to a request as the desk showed it."""
        return self.acting.approve(self.signed_approval(request, person, mode))

    def signed_approval(self, request: dict[str, Any], person: str, mode: Mode = Mode.LIVE) -> bytes:
        return acts.sign_approval(
            bytes.fromhex(request["digest"]),
            nonces=tuple(bytes.fromhex(nonce) for nonce in request["nonces"]),
            person=person,
            service=CONTROLLER,
            key=key(person, mode),
            now_us=self.clock.wall_us(),
            not_after_us=request["not_after_us"],
            once=self._once(),
        )

    def _once(self) -> bytes:
        self._acts += 1
        return self._acts.to_bytes(8, "big")

    def wait(self, seconds: float) -> None:
        """Time passes, in quarters of a second."""
        for _ in range(max(1, round(seconds * 4))):
            self.clock.advance(0.25)
            self.upkeep.tick()

    async def commit(self) -> None:
        """Everything that was appended is on disk."""
        running = asyncio.create_task(self.journal.run())
        await self.journal.durable()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    async def restart(self, *, clean: bool = False) -> None:
        """Stop and start on the same journal; `clean`: with a snapshot and a signed head."""
        if clean:
            self.room.snapshot()
        await self.commit()
        await self.journal.close()
        self.open()

    def codes(self) -> set[tuple[str, str]]:
        """Standing troubles: (code, subject)."""
        return {(each.code, each.subject) for each in self.room.troubles}


async def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until it is so; AssertionError when it does not become so."""
    for _ in range(round(seconds * 100)):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen")


def report_topic(node: str) -> str:
    return topics.report(GROUP, node)
