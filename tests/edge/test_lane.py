"""The alarm lane, in virtual time against a broker in memory: nothing is forgotten before our own signed ack."""

import asyncio
import contextlib
import shutil
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import apsw
import pytest

from cython_ext import Cause, Level, Reason, Trouble, topics
from edge.report import ledgers
from edge.report.ledger import AckVerdict
from lanes.envelope import Kind
from lanes.keys import SigningKey
from lanes.orders import Ack, Beat
from lanes.reports import BootData, PointState, TransitionData, TroubleData
from tests.kit.broker import MemoryBroker, MemoryConnector
from tests.kit.lane_world import World, run, until
from tests.kit.nodes import CONTROLLER, GROUP, KEYS, NODE, FarEnd, event_of, signed

PLAN = signed()
RAISED = TransitionData("level", Cause.RAISED, Level.NORMAL, Level.ALARM, 3.2, Reason.THRESHOLD, Trouble.NONE)
LOWERED = TransitionData("level", Cause.LOWERED, Level.ALARM, Level.NORMAL, 1.2, Reason.THRESHOLD, Trouble.NONE)


def test_an_event_reaches_the_far_end_and_is_forgotten_only_when_acked(tmp_path):
    async def scenario(world):
        world.far.acking = False
        world.start(world.far.run())
        key = await world.reporter.record(RAISED)
        await until(lambda: world.far.events)
        assert await world.reporter.unacked() >= 1, "a PUBACK is no promise"
        await world.far.ack(key.ledger)
        await until(lambda: not world.ledgers.unacked())

    world = run(tmp_path, scenario)
    assert world.far.events[0].data == RAISED


def test_an_event_is_sent_again_until_it_is_acked(tmp_path):
    async def scenario(world):
        world.far.acking = False
        world.start(world.far.run(), world.beats())
        await world.reporter.record(RAISED)
        await asyncio.sleep(60)
        assert 3 <= world.far.copies <= 30, "2 s doubling to 30 s"
        world.far.acking = True
        await until(lambda: not world.ledgers.unacked())

    run(tmp_path, scenario)


def test_with_three_of_ten_messages_lost_nothing_is_lost(tmp_path):
    async def scenario(world):
        dice = Random(5)
        world.broker.weather = lambda *_: [] if dice.random() < 0.3 else [0.1, 0.3] if dice.random() < 0.2 else [0.1]
        world.start(world.far.run(), world.beats())
        for n in range(40):
            await world.reporter.record(RAISED if n % 2 else LOWERED)
            await asyncio.sleep(1)
        await until(lambda: not world.ledgers.unacked(), 300)
        assert len([e for e in world.far.events if isinstance(e.data, TransitionData)]) == 40

    run(tmp_path, scenario)


def test_what_was_unacked_at_a_crash_comes_after_the_restart_under_the_same_key(tmp_path):
    async def scenario(world):
        world.broker.stop()
        world.start(world.far.run())
        keys = [await world.reporter.record(RAISED) for _ in range(5)]
        await world.kill()
        world.boot()
        world.broker.start()
        world.start(world.far.run())
        await until(lambda: not world.ledgers.unacked())
        assert {(k.ledger, k.seq) for k in keys} <= set(world.far.held)

    run(tmp_path, scenario)


def test_a_broker_that_dies_and_forgets_costs_nothing(tmp_path):
    async def scenario(world):
        world.start(world.far.run(), world.beats())
        await world.reporter.record(RAISED)
        await until(lambda: world.far.events)
        world.broker.stop(wipe=True)
        await world.reporter.record(LOWERED)
        await asyncio.sleep(20)
        world.broker.start()
        began = world.clock.monotonic_ns()
        await until(lambda: world.lane.connected)
        assert world.clock.monotonic_ns() - began < 30e9
        await until(lambda: not world.ledgers.unacked())
        assert LOWERED in [event.data for event in world.far.events]

    run(tmp_path, scenario)


def test_each_end_of_a_connection_is_a_line_and_a_row_of_attempts_is_one(tmp_path, caplog):
    """A broker that is absent at the start, comes, and is lost before the connection was steady."""
    caplog.set_level("INFO")

    async def scenario(world):
        world.broker.stop()
        world.start(world.far.run(), world.beats())
        await asyncio.sleep(60)
        world.broker.start()
        await until(lambda: world.lane.connected)
        world.broker.stop()
        await until(lambda: not world.lane.connected)
        await asyncio.sleep(60)

    run(tmp_path, scenario)
    said = [record.getMessage().split()[0] for record in caplog.records]
    assert [word for word in said if word in ("lane.up", "lane.down")] == ["lane.down", "lane.up", "lane.down"]


class SlowConnector:
    """Links whose PUBACK comes when the message is through the wire, which is free again at `free_at()`."""

    def __init__(self, connector: MemoryConnector, free_at: Callable[[], float]) -> None:
        self._connector = connector
        self._free_at = free_at

    @asynccontextmanager
    async def connect(self, client_id, will=None, *, clean=True):
        async with self._connector.connect(client_id, will, clean=clean) as link:
            publish = link.publish

            async def slowly(*args, **kwargs):
                await publish(*args, **kwargs)
                await asyncio.sleep(max(0.0, self._free_at() - asyncio.get_running_loop().time()))

            link.publish = slowly
            yield link


def test_a_broker_that_dies_again_and_again_is_reached_within_seconds_each_time(tmp_path):
    """F03 promises 15 s. A connection that brought a word of the controller ends the back-off, however short it was."""

    async def scenario(world):
        world.start(world.far.run(), world.beats())
        for _ in range(12):
            world.broker.start()
            await until(lambda: world.lane.connected, 6)
            await asyncio.sleep(4)  # a beat comes every 3 s
            world.broker.stop()
            await until(lambda: not world.lane.connected)
            await asyncio.sleep(1)

    run(tmp_path, scenario)


def test_a_new_alarm_does_not_wait_behind_a_backlog(tmp_path):
    """A link that carries one message in 250 ms (9.6 kbit/s), ten minutes of backlog: the alarm is there within a second."""

    async def scenario(world):
        for n in range(600):
            world.reporter.post(TroubleData("noise", bool(n % 2), str(n)))
        free_at = 0.0

        def slow(_sender, receiver, _message):
            nonlocal free_at
            if receiver != "far-end":
                return [0.0]
            now = asyncio.get_running_loop().time()
            free_at = max(free_at, now) + 0.25
            return [free_at - now]

        world.broker.weather = slow
        world.lane._connector = SlowConnector(world.broker.connector(), lambda: free_at)
        world.start(world.far.run(), world.beats())
        await until(lambda: len(world.far.events) > 20)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await world.reporter.record(RAISED)
        await until(lambda: any(e.data == RAISED for e in world.far.events))
        assert loop.time() - began <= 1.0
        await until(lambda: not world.ledgers.unacked(), 400)

    run(tmp_path, scenario)


def test_silence_is_a_cut_off_after_ten_seconds_and_a_beat_ends_it(tmp_path):
    async def scenario(world):
        world.far.acking = False
        world.start(world.far.run())
        began = world.clock.monotonic_ns()
        await until(lambda: world.cuts)
        assert 10.0 <= (world.cuts[0] - began) / 1e9 < 10.2
        assert ("cut-off", "") in world.troubles.standing()
        world.far.acking = True
        await until(lambda: world.far.events)  # the trouble itself is told and acked
        await until(lambda: world.cuts[-1] is None)

    run(tmp_path, scenario)


def test_beats_without_acks_are_a_cut_off_too(tmp_path):
    """MQTT works, the controller lives, and yet our event is not taken."""

    async def scenario(world):
        world.far.acking = False
        world.start(world.far.run(), world.beats())
        await asyncio.sleep(20)
        assert not world.cuts, "beats alone keep us connected while nothing is owed"
        await world.reporter.record(RAISED)
        began = world.clock.monotonic_ns()
        await until(lambda: world.cuts)
        assert 10.0 <= (world.cuts[0] - began) / 1e9 < 10.2
        world.far.acking = True
        await until(lambda: world.cuts[-1] is None)

    run(tmp_path, scenario)


def test_replayed_beats_do_not_keep_a_node_quiet(tmp_path):
    async def scenario(world):
        world.start(world.far.run())
        await asyncio.sleep(1)
        recorded = [world.far.sealed(Kind.BEAT, Beat(b"journal1").pack()) for _ in range(3)]
        world.far.boot = b"far-end2"  # the controller started again since
        await world.far.beat()
        await asyncio.sleep(0.1)
        for _ in range(12):
            world.broker.inject(topics.beat(GROUP), recorded[0])
            world.broker.inject(topics.beat(GROUP), recorded[-1])
            await asyncio.sleep(1)
        assert world.cuts
        assert world.lane.refused == {"replayed": 24}

    run(tmp_path, scenario)


def strangers() -> dict[str, tuple[str, bytes, str]]:
    far = FarEnd(MemoryBroker(), PLAN)
    order, beat = topics.order(GROUP, NODE), topics.beat(GROUP)
    ack = Ack(b"journal1", b"ledger01", 0).pack()
    return {
        "garbage": (order, b"\xd2\x84garbage", "malformed"),
        "empty": (beat, b"", "malformed"),
        "oversized": (order, bytes(3000), "oversized"),
        "unknown key": (beat, far.sealed(Kind.BEAT, [b"journal1"], key=SigningKey.from_seed(b"z" * 32)), "unknown-key"),
        "a node's key": (order, far.sealed(Kind.ACK, ack, key=KEYS["mill", "live"]), "issuer"),
        "test key": (order, far.sealed(Kind.ACK, ack, key=KEYS[CONTROLLER, "test"]), "wrong-mode"),
        "wrong topic": (beat, far.sealed(Kind.ACK, ack), "wrong-topic"),
        "another's": (order, FarEnd(MemoryBroker(), PLAN, "mill").sealed(Kind.ACK, ack), "not-for-us"),
    }


@pytest.mark.parametrize("case", strangers())
def test_strangers_are_refused_counted_and_told_of(tmp_path, case):
    topic, data, why = strangers()[case]

    async def scenario(world):
        world.start(world.far.run())
        await until(lambda: world.lane.connected)
        world.broker.inject(topic, data)
        await until(lambda: world.far.events)
        assert world.lane.refused == {why: 1}
        assert world.far.events[0].data == TroubleData("messages-refused", True)
        await until(lambda: TroubleData("messages-refused", False) in [e.data for e in world.far.events])

    run(tmp_path, scenario)


def test_a_retained_message_is_refused_even_when_it_is_authentic(tmp_path):
    async def scenario(world):
        world.far.link = object()
        world.broker.inject(topics.beat(GROUP), world.far.sealed(Kind.BEAT, Beat(b"journal1").pack()), retain=True)
        world.start()
        await until(lambda: world.cuts)
        assert ("messages-refused", "") in world.troubles.standing()

    run(tmp_path, scenario)


def test_an_ack_above_the_head_is_refused_and_troubles(tmp_path):
    async def scenario(world):
        world.start(world.far.run())
        world.far.acking = False
        key = await world.reporter.record(RAISED)
        await until(lambda: world.far.events)
        await world.far.say(Kind.ACK, Ack(b"journal1", key.ledger, 99, (), b"x" * 32).pack())
        await until(lambda: world.lane.counts["acks_refused"])
        assert ("ledger-rolled-back", "") in world.troubles.standing()
        assert world.reporter.ledger != key.ledger
        assert world.ledgers.unacked() >= 1

    run(tmp_path, scenario)


async def _roll_back(world: World, image: Path, kept: int, lost: int) -> bytes:
    """The node's disk is copied after `kept` events and put back after `lost` more, all of them acked. Its ledger's id."""
    world.start(world.far.run(), world.beats())
    for _ in range(kept):
        await world.reporter.record(LOWERED)
    await until(lambda: not world.ledgers.unacked())
    world.ledgers.current.checkpoint()
    shutil.copytree(world.folder, image)
    for _ in range(lost):
        await world.reporter.record(LOWERED)
    await until(lambda: not world.ledgers.unacked())
    await world.kill()
    world.ledgers.close()
    for path in world.folder.glob("ledger*"):
        path.unlink()
    shutil.copy(image / "ledger.db", world.folder)
    world.far.forgiving = True
    world.boot()
    return world.reporter.ledger


@pytest.mark.parametrize("more", [0, 1, 4, 5, 6, 20])
def test_an_old_image_put_back_begins_a_new_ledger_and_no_alarm_is_taken_for_an_old_event(tmp_path, more):
    """The controller has 5 events under seqs that the node uses again; it must hear all that was minted since."""

    async def scenario(world):
        old = await _roll_back(world, tmp_path / "image", 3, 5)
        world.broker.stop()
        world.start(world.far.run(), world.beats())
        minted = [TroubleData(f"new-{n}", True) for n in range(more)]
        for data in minted:
            await world.reporter.record(data)
        await world.reporter.record(RAISED)
        world.broker.start()
        await until(lambda: {*minted, RAISED} <= {event.data for event in world.far.events}, 10)
        await until(lambda: world.reporter.ledger != old and not world.ledgers.unacked(), 10)
        new = [event for event in world.far.events if event.ledger == world.reporter.ledger]
        assert new[0].data == RAISED, "the alarm first"
        assert sorted(event.seq for event in new) == [*range(1, len(new) + 1)]
        await until(lambda: TroubleData("ledger-replaced", True, "rolled-back") in [e.data for e in world.far.events])
        await until(lambda: ("ledger-rolled-back", "") not in world.troubles.standing())
        assert list(world.folder.glob("ledger-aside-*.db"))

    run(tmp_path / "data", scenario)


def test_a_power_cut_while_the_new_ledger_takes_its_place_loses_nothing(tmp_path, monkeypatch):
    async def scenario(world):
        old = await _roll_back(world, tmp_path / "image", 3, 5)
        world.tasks.append(asyncio.ensure_future(world.reporter.run()))
        await world.reporter.record(RAISED)
        await world.kill()
        real, calls = ledgers._rename, []

        def cut(path, to):
            if len(calls) == step:
                raise KeyboardInterrupt
            calls.append(to)
            real(path, to)

        for step in (0, 1, 2):
            calls.clear()
            with monkeypatch.context() as patch:
                patch.setattr(ledgers, "_rename", cut)
                with contextlib.suppress(KeyboardInterrupt):
                    world.ledgers.begin_anew(99, world.reporter._remint)
            with contextlib.suppress(apsw.Error):
                world.ledgers.close()
            world.boot()
            assert RAISED in [event_of(k.data, PLAN).data for k in world.ledgers.pending(99, frozenset())], step
        assert world.reporter.ledger != old

    run(tmp_path / "data", scenario)


def test_a_disk_that_lets_no_new_ledger_be_made_keeps_the_old_one(tmp_path):
    async def scenario(world):
        old = await _roll_back(world, tmp_path / "image", 3, 5)
        world.tasks.append(asyncio.ensure_future(world.reporter.run()))
        await world.reporter.record(RAISED)
        await world.kill()
        (world.folder / "ledger-next.db").mkdir()
        assert not world.ledgers.begin_anew(99, world.reporter._remint)
        assert world.reporter.ledger == old
        (world.folder / "ledger-next.db").rmdir()
        assert world.ledgers.begin_anew(99, world.reporter._remint)
        assert [event_of(k.data, PLAN).data for k in world.ledgers.pending(9, frozenset())] == [RAISED]

    run(tmp_path / "data", scenario)


def test_a_controller_with_a_new_journal_gets_everything_again(tmp_path):
    async def scenario(world):
        world.start(world.far.run(), world.beats())
        for _ in range(5):
            await world.reporter.record(LOWERED)
        await until(lambda: not world.ledgers.unacked())
        world.far.held.clear()
        world.far.journal = b"journal2"
        await world.far.say(Kind.ACK, Ack(b"journal2", world.reporter.ledger, 0).pack())
        await until(lambda: len(world.far.held) >= 5)
        await until(lambda: not world.ledgers.unacked())

    run(tmp_path, scenario)


def test_state_reports_on_connecting_and_every_thirty_seconds_while_endangered(tmp_path):
    async def scenario(world):
        world.start(world.far.run(), world.beats())
        await until(lambda: world.far.states)
        await asyncio.sleep(100)
        assert len(world.far.states) == 2  # the second because the controller, first heard then, may have missed it
        world.level = Level.ALARM
        await asyncio.sleep(95)
        assert 3 <= len(world.far.states) - 2 <= 4
        assert world.far.states[-1].points == (PointState(1, Level.ALARM, Trouble.NONE, 1, 0),)
        before = len(world.far.states)
        world.broker.drop(f"{NODE}_alarm")
        await until(lambda: len(world.far.states) > before, 29)

    run(tmp_path, scenario)


def test_a_controller_that_has_begun_anew_is_told_what_is_true_now(tmp_path):
    async def scenario(world):
        world.start(world.far.run(), world.beats())
        await until(lambda: len(world.far.states) == 2)
        world.far.boot = b"far-end2"
        await until(lambda: len(world.far.states) == 3, 5)
        await asyncio.sleep(100)
        assert len(world.far.states) == 3

    run(tmp_path, scenario)


def test_state_counters_rise_across_boots(tmp_path):
    from lanes.envelope import peek

    counters = []

    async def scenario(world):
        for _ in range(3):
            world.start(world.far.run())
            before = len(world.far.states)
            await until(lambda before=before: len(world.far.states) > before)
            await world.kill()
            world.ledgers.close()
            world.boot()
        for _, message in world.broker.published:
            envelope = peek(message.payload)
            if envelope and envelope.kind is Kind.STATE:
                counters.append(envelope.counter)

    run(tmp_path, scenario)
    assert len(counters) == 3
    assert counters == sorted(set(counters))


def test_orders_are_handed_over_whoever_signed_and_acked_after_that(tmp_path):
    from lanes.keys import Mode
    from lanes.orders import Action, Order, OrderCore

    core = OrderCore(b"incident", ("town",), "flood", Mode.LIVE, 10, 0, PLAN.digest)
    body = Order(Action.START, "school", core, 0, bytes(8)).pack()

    async def scenario(world):
        gate = asyncio.Event()

        async def slowly(data):
            world.orders.append(data)
            await gate.wait()

        world.obey = slowly
        world.start(world.far.run(), world.beats())
        await until(lambda: world.lane.connected)
        for key in (KEYS[CONTROLLER, "live"], SigningKey.from_seed(b"z" * 32)):
            await world.far.say(Kind.ORDER, body, key=key)
        await until(lambda: len(world.orders) == 2)
        session = world.broker.sessions[f"{NODE}_alarm"]
        assert len(session.unacked) == 2, "PUBACK only when it is safe with us"
        await world.reporter.record(RAISED)
        await until(lambda: not world.ledgers.unacked())  # acks go on meanwhile
        gate.set()
        await until(lambda: not session.unacked)

    run(tmp_path, scenario)


def test_events_are_signed_by_the_live_key_and_name_boot_plan_and_clock(tmp_path):
    async def scenario(world):
        world.start(world.far.run())
        await world.reporter.record(BootData("bucium 0.1", "first-start"))
        await until(lambda: world.far.held)
        event = event_of(next(iter(world.far.held.values())), PLAN)
        assert (event.plan, event.seq, event.clock) == (PLAN.digest, 1, world.clock.quality())

    run(tmp_path, scenario)


def test_verdict_words_are_what_the_log_and_docs_say():
    assert [*AckVerdict] == ["taken", "resend", "foreign-ledger", "above-head", "other-event"]
