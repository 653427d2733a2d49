"""The lane: no ack before the commit, no PUBACK before it either, and one flooding node hurts nobody else."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from controller.lane import AT_ONCE, CROWDED
from controller.precedence import Waiting
from controller.record.records import Record
from controller.room import SNAPSHOT_ROWS
from controller.turnstile import REPORTS
from controller.upkeep import SNAPSHOT_LATE_ROWS
from cython_ext import Level, topics
from lanes.envelope import Kind, Opened, open_envelope, peek
from lanes.link import Message
from lanes.orders import Ack
from tests.kit.control_room import GROUP, ControlRoom, FakeNode, report_topic, until
from tests.kit.plans import PLAN, QUIET, signed, with_keys


class Gate:
    """A runner that commits only while it is open."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self, function: Callable[..., object], *args: object) -> object:
        await self.open.wait()
        return function(*args)


class World:
    """A control room with its lane and journal running on the in-memory broker."""

    def __init__(self, path: Path) -> None:
        self.control = ControlRoom(path)
        self.gate = Gate()
        self.control.journal._runner = self.gate  # type: ignore[assignment]
        self.broker = self.control.broker

    def acks(self, node: str) -> list[Ack]:
        """Acks sent to the node, in order."""
        found = []
        for message in self.sent(topics.order(GROUP, node)):
            opened = open_envelope(message.payload, self.control.plan.plan.roster)
            assert isinstance(opened, Opened), opened
            if opened.envelope.kind is Kind.ACK:
                found.append(Ack.unpack(opened.envelope.body))
        return found

    def sent(self, topic: str) -> list[Message]:
        return [message for _, message in self.broker.published if message.topic == topic]

    def say(self, node: FakeNode, data: bytes) -> None:
        self.broker.inject(report_topic(node.id), data)

    @property
    def unacked(self) -> int:
        """Messages that the controller has not PUBACKed."""
        return len(self.broker.sessions[topics.alarm_client("iasi")].unacked)


@asynccontextmanager
async def running(world: World) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(world.control.journal.run()), asyncio.create_task(world.control.lane.run())]
    await until(lambda: world.control.lane.connected)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "journal.db")


async def test_neither_ack_nor_puback_before_the_commit(world: World) -> None:
    async with running(world):
        await until(lambda: len(world.sent(topics.beat(GROUP))) > 0)
        node = world.control.node("n1")
        world.gate.open.clear()
        world.say(node, node.level("gauge", Level.NORMAL, Level.ALARM))
        await until(lambda: len(world.control.room.book) == 1)
        await asyncio.sleep(0.05)
        assert world.acks("n1") == []
        assert world.unacked == 1
        # More comes while the first waits for the disk: the first ack must not speak of it.
        world.say(node, node.trouble("disk", True))
        await until(lambda: world.control.room.fold.registry.nodes["n1"].head == 2)
        world.gate.open.set()
        await until(lambda: any(ack.through == 2 for ack in world.acks("n1")))
        assert world.unacked == 0
        journal = world.control.journal
        for ack in world.acks("n1"):
            assert ack.journal == journal.id
        assert journal.durable_seq == journal.seq


async def test_an_order_goes_out_only_after_its_row_is_on_disk(world: World) -> None:
    async with running(world):
        node = world.control.node("n1")
        world.say(node, node.state())
        await until(lambda: node.boot == world.control.room.fold.registry.nodes["n1"].boot)
        world.gate.open.clear()
        world.say(node, node.level("gauge", Level.NORMAL, Level.ALARM))
        await until(lambda: bool(list(world.control.room.fold.activations)))
        await asyncio.sleep(0.05)
        assert world.sent(topics.order(GROUP, "n1")) == []
        world.gate.open.set()
        await until(lambda: len(world.sent(topics.order(GROUP, "n1"))) >= 2)  # the order and the ack


async def test_gaps_are_told_and_closed(world: World) -> None:
    async with running(world):
        node = world.control.node("n1")
        events = [node.trouble("disk", on) for on in (True, False, True)]
        world.say(node, events[2])
        world.say(node, events[0])
        await until(lambda: bool(world.acks("n1")) and world.acks("n1")[-1].through == 1)
        assert world.acks("n1")[-1].ranges == ((3, 3),)
        world.say(node, events[1])
        await until(lambda: world.acks("n1")[-1].through == 3)
        assert world.acks("n1")[-1].ranges == ()


async def test_a_flooding_node_is_quarantined_and_the_others_go_on(world: World) -> None:
    async with running(world):
        rogue, good = world.control.node("n1"), world.control.node("n2")
        same = rogue.trouble("disk", True)
        over = 300
        for _ in range(int(REPORTS.burst) + REPORTS.queue + over):
            world.say(rogue, same)
        world.say(good, good.level("gauge2", Level.NORMAL, Level.ALARM))
        await until(lambda: bool(world.acks("n2")))
        await until(lambda: world.unacked == 0)  # what waits or is turned away does not fill the broker's window
        # Turned away up to the quarantine, which lets in a trickle: two messages a second, four at once.
        assert world.control.lane.counts["dropped"] == over - 2 * int(REPORTS.trickle)
        assert ("node-flooding", "n1") in world.control.codes()
        assert ("node-flooding", "n2") not in world.control.codes()
        world.control.wait(11)
        assert ("node-flooding", "n1") not in world.control.codes()
        world.say(rogue, rogue.trouble("disk", False))
        await until(lambda: world.acks("n1")[-1].through == 2)


@pytest.mark.parametrize("garbage", [False, True])
async def test_signed_and_unsigned_floods_delay_no_good_nodes_alarm(world: World, garbage: bool) -> None:
    """Ten events of a good node in the middle of a flood: each acked before the flood's own next turn but one."""
    async with running(world):
        rogue, good = world.control.node("n1"), world.control.node("n2")
        flood = [b"\xd2garbage" if garbage else rogue.trouble("disk", n % 2 == 0) for n in range(900)]
        for place, data in enumerate(flood):
            world.say(rogue, data)
            if place % 90 == 89:
                world.say(good, good.trouble("disk", place % 180 == 89))
        await until(lambda: bool(world.acks("n2")) and world.acks("n2")[-1].through == 10)
        await until(lambda: not world.control.lane._turnstile.waiting)
        # The clock stands still: what came in beyond the burst and the trickle was turned away.
        taken = world.control.lane.counts["reports"] - 10
        assert garbage or taken <= REPORTS.burst + 2 * REPORTS.trickle
        assert ("node-flooding", "n1") in world.control.codes()


async def test_of_a_storm_what_may_sound_a_siren_is_opened_first(tmp_path: Path) -> None:
    """A whole backlog of a node that only asks people is read, and stands behind the raise that came last."""
    world = World(tmp_path / "journal.db")
    world.control = ControlRoom(tmp_path / "storm.db", signed(with_keys(PLAN + QUIET, nodes=("n1", "n2", "n3"))))
    world.control.journal._runner = world.gate  # type: ignore[assignment]
    world.broker = world.control.broker
    async with running(world):
        quiet, loud = world.control.node("n3"), world.control.node("n1")
        world.say(loud, loud.state())
        await until(lambda: world.control.lane.counts["reports"] == 1 and world.unacked == 0)
        world.gate.open.clear()
        for n in range(40):
            world.say(quiet, quiet.trouble("disk", n % 2 == 0))
        world.say(loud, loud.level("gauge", Level.NORMAL, Level.ALARM))
        await until(lambda: bool(list(world.control.room.fold.activations)))
        # The broker's window is kept open for what may overtake; that is a PUBACK and no promise, our ack is one.
        assert world.unacked <= 2 * AT_ONCE
        await until(lambda: world.control.lane.counts["reports"] == 42)
        assert world.acks("n3") == world.acks("n1") == []
        assert not any(peek_kind(m) is Kind.ORDER for m in world.sent(topics.order(GROUP, "n1")))
        world.gate.open.set()
        await until(lambda: bool(world.acks("n3")) and world.acks("n3")[-1].through == 40)
        await until(lambda: world.unacked == 0)
        kinds = [peek_kind(m) for _, m in world.broker.published if m.topic.endswith("/order")]
        assert kinds[0] is Kind.ORDER, "no order waits for acks"
        events = [row.payload for row in world.control.journal.rows() if row.kind is Record.EVENT]
        assert len(events) == 41
        [place] = [n for n, payload in enumerate(events) if loud.events[-1] in payload]
        assert place < 20, "the raise did not wait for all of them"


def peek_kind(message: Message) -> Kind | None:
    envelope = peek(message.payload)
    return envelope.kind if envelope else None


async def test_what_is_sent_again_while_it_waits_is_opened_once(world: World) -> None:
    async with running(world):
        node = world.control.node("n1")
        data = node.trouble("disk", True)
        for _ in range(5):
            world.say(node, data)
        await until(lambda: bool(world.acks("n1")) and world.unacked == 0)
        assert world.control.lane.counts["reports"] < 5
        world.say(node, data)  # the ack was lost, perhaps: it is owed again
        reports, acks = world.control.lane.counts["reports"], len(world.acks("n1"))
        await until(lambda: len(world.acks("n1")) == acks + 1)
        assert world.control.lane.counts["reports"] == reports + 1


async def test_a_snapshot_waits_while_reports_crowd_in_but_not_for_ever(world: World) -> None:
    control = world.control
    crowd = control.node("n2")
    for n in range(CROWDED):
        control.lane._precedence.put(
            Waiting("n2", Message("", crowd.trouble("disk", n % 2 == 0), 1, False), acked=True)
        )
    assert control.lane.crowded
    kept: list[int] = []
    control.room.snapshot = lambda: kept.append(control.journal.seq)  # type: ignore[method-assign]
    control.room.snapshot_seq = control.journal.seq - SNAPSHOT_ROWS
    control.wait(1.1)
    assert kept == []
    control.room.snapshot_seq = control.journal.seq - SNAPSHOT_LATE_ROWS
    control.wait(1.1)
    assert len(kept) == 1
    control.room.snapshot_seq = control.journal.seq - SNAPSHOT_ROWS
    control.lane._precedence.next()
    assert not control.lane.crowded
    control.wait(1.1)
    assert len(kept) == 2


async def test_the_beat_is_one_message_for_the_group(world: World) -> None:
    async with running(world):
        await until(lambda: len(world.sent(topics.beat(GROUP))) > 0)
        opened = open_envelope(world.sent(topics.beat(GROUP))[0].payload, world.control.plan.plan.roster)
        assert isinstance(opened, Opened)
        assert (opened.envelope.kind, opened.envelope.addressee) == (Kind.BEAT, "")


async def test_after_a_lost_broker_unanswered_orders_go_out_again(world: World) -> None:
    async with running(world):
        node = world.control.node("n1")
        world.say(node, node.state())
        world.say(node, node.level("gauge", Level.NORMAL, Level.ALARM))
        await until(lambda: len(world.sent(topics.order(GROUP, "n1"))) >= 2)
        orders = [m.payload for m in world.sent(topics.order(GROUP, "n1"))]
        world.broker.stop(wipe=True)
        await until(lambda: not world.control.lane.connected)
        assert ("broker-lost", "alarm") in world.control.codes()
        world.broker.published.clear()
        world.broker.start()
        await until(lambda: world.control.lane.connected)
        world.control.upkeep.tick()
        await until(lambda: any(m.payload in orders for m in world.sent(topics.order(GROUP, "n1"))))
