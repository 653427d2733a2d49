"""The outbox and its couriers: at least once, the same identifier, bounded, each channel on its own."""

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from controller.alarm.changes import AlarmChange, ChangeKind
from controller.dispatch import Answer, Channel, Delivery, Message, Outcome, capcheck, capform
from controller.dispatch.cap import Author, identifier_of
from controller.dispatch.channels import channels_of
from controller.dispatch.dispatcher import Dispatcher
from controller.dispatch.outbox import Outbox
from controller.dispatch.settings import CapSettings, FilesSettings, WebhookSettings
from cython_ext import ConfigError, Hazard, Level, SystemClock
from lanes.identity import AlarmId, EventKey
from lanes.keys import Mode
from lanes.store import ThreadRunner, run_here
from tests.kit.capkeys import signer
from tests.kit.clock import START_WALL_US, ManualClock, run_virtual
from tests.kit.receivers import Mood, receiver
from tests.kit.telling import LEDGER, change, plan, reading

SETTINGS = CapSettings(sender="alarms@galati.example")
AUTHOR = Author(plan(), SETTINGS, signer())
NS = {"c": capform.NAMESPACE}
TAKEN = Answer(True, "204")
DOWN = Answer(False, "no-connection")
NO = Answer(False, "422", refused=True)


@dataclass
class Desk:
    """A channel in memory whose answers the test decides."""

    name: str = "desk"
    expires: bool = True
    answer: Callable[[Message], Answer] = lambda _: TAKEN
    seen: list[Message] = field(default_factory=list)
    takes_s: Callable[[], float] = lambda: 0.0
    closed: bool = False
    summaries: bool = False

    def wants(self, *, cap: bool) -> bool:
        return cap or self.summaries

    async def deliver(self, message: Message) -> Answer:
        await asyncio.sleep(self.takes_s())
        self.seen.append(message)
        return self.answer(message)

    async def close(self) -> None:
        self.closed = True

    @property
    def identifiers(self) -> list[str]:
        return [message.identifier for message in self.seen]


@dataclass
class World:
    """A dispatcher that runs, and what it said."""

    dispatcher: Dispatcher
    clock: ManualClock
    receipts: list[Delivery]
    troubles: list[tuple[str, bool, str]]

    def outcomes(self, channel: str = "desk") -> list[str]:
        return [str(each.outcome) for each in self.receipts if each.channel == channel]


@asynccontextmanager
async def world(
    path: Path, clock: ManualClock, *channels: Channel, author: Author = AUTHOR, **more: int
) -> AsyncIterator[World]:
    receipts: list[Delivery] = []
    troubles: list[tuple[str, bool, str]] = []

    async def receipt(delivery: Delivery) -> None:
        receipts.append(delivery)

    dispatcher = Dispatcher(
        author,
        channels,
        path=path,
        clock=clock,
        runner=run_here,
        entropy=random.Random(1),
        receipt=receipt,
        trouble=lambda code, on, subject: troubles.append((code, on, subject)),
        **more,
    )
    task = asyncio.create_task(dispatcher.run())
    try:
        yield World(dispatcher, clock, receipts, troubles)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def at(seconds: float) -> int:
    return START_WALL_US + round(seconds * 1e6)


def of(message: Message, name: str) -> str:
    assert message.cap is not None
    return etree.fromstring(message.cap).findtext(f"c:{name}", "", NS)


def test_a_life_is_told_as_one_chain(tmp_path: Path) -> None:
    desk = Desk()

    async def main(clock: ManualClock) -> None:
        async with world(tmp_path / "o.db", clock, desk) as w:
            for told in (
                change(level=Level.ALARM),
                change(ChangeKind.ESCALATED, Level.DANGER, Level.ALARM, at_us=at(1)),
                change(ChangeKind.ACKNOWLEDGED, Level.DANGER, Level.DANGER, at_us=at(2)),
                change(ChangeKind.LOWERED, Level.ATTENTION, Level.DANGER, at_us=at(3)),
                change(ChangeKind.CLEARED, Level.NORMAL, Level.ATTENTION, at_us=at(4)),
                change(level=Level.ALARM, at_us=at(5)),
            ):
                await w.dispatcher.tell(told)
            assert await w.dispatcher.settled(10)
            assert w.outcomes() == ["delivered"] * 5

    run_clocked(main)
    assert [of(m, "msgType") for m in desk.seen] == ["Alert", "Update", "Update", "Cancel", "Alert"]
    chain: list[str] = []
    for message in desk.seen[:4]:
        assert of(message, "references").split() == chain
        chain.append(f"{of(message, 'sender')},{message.identifier},{of(message, 'sent')}")
        assert capcheck.faults(message.cap or b"", START_WALL_US) == ()
    assert of(desk.seen[4], "references") == "", "after a Cancel a new chain begins"
    assert desk.closed


def run_clocked(main: Callable[[ManualClock], object]) -> None:
    clock = ManualClock()
    run_virtual(main(clock), clock)  # type: ignore[arg-type]


def test_each_retry_has_the_same_identifier_and_bytes(tmp_path: Path) -> None:
    desk = Desk()
    desk.answer = lambda _: TAKEN if len(desk.seen) > 9 else DOWN

    async def main(clock: ManualClock) -> None:
        async with world(tmp_path / "o.db", clock, desk) as w:
            await w.dispatcher.tell(change())
            assert await w.dispatcher.settled(3600)
            assert w.outcomes() == ["failed", "delivered"], "a failure is told when it begins, not at each retry"
            assert w.receipts[-1].attempts == 10
            assert w.troubles == [("dispatch-down", True, "desk"), ("dispatch-down", False, "desk")]

    run_clocked(main)
    assert len({(m.identifier, m.cap) for m in desk.seen}) == 1


def test_a_person_hears_of_a_dead_channel_within_90_seconds(tmp_path: Path) -> None:
    desk = Desk(answer=lambda _: DOWN)

    async def main(clock: ManualClock) -> None:
        async with world(tmp_path / "o.db", clock, desk) as w:
            await w.dispatcher.tell(change())
            await asyncio.sleep(90)
            assert w.troubles == [("dispatch-down", True, "desk")]

    run_clocked(main)


def test_a_killed_program_tells_again_and_only_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    first, second = Desk("first"), Desk("second", answer=lambda _: DOWN)

    async def main(clock: ManualClock) -> None:
        async with world(path, clock, first, second) as w:
            await w.dispatcher.tell(change())
            await asyncio.sleep(5)
        second.answer = lambda _: TAKEN
        second.seen.clear()
        async with world(path, clock, first, second) as w:
            await w.dispatcher.tell(change())  # the journal tells again what it is not sure of
            assert await w.dispatcher.settled(10)

    run_clocked(main)
    assert first.identifiers == second.identifiers == [identifier_of(change())]


def test_no_channel_waits_for_another(tmp_path: Path) -> None:
    dead = Desk("dead", answer=lambda _: DOWN, takes_s=lambda: 15)
    quick = Desk("quick")

    async def main(clock: ManualClock) -> None:
        async with world(tmp_path / "o.db", clock, dead, quick) as w:
            for n in range(1, 101):
                await w.dispatcher.tell(change(seq=n))
            began = clock.monotonic_ns()
            while len(quick.seen) < 100:
                await asyncio.sleep(0.001)
            assert clock.monotonic_ns() - began < 100_000_000

    run_clocked(main)


def test_a_refused_message_lets_the_others_pass_and_is_tried_for_ever(tmp_path: Path) -> None:
    bad = identifier_of(change())
    desk = Desk(answer=lambda m: NO if m.identifier == bad else TAKEN)

    async def main(clock: ManualClock) -> None:
        async with world(tmp_path / "o.db", clock, desk) as w:
            await w.dispatcher.tell(change())
            await w.dispatcher.tell(change(ChangeKind.ESCALATED, was=Level.ALARM, at_us=at(1)))
            await w.dispatcher.tell(change(seq=2))
            await asyncio.sleep(0.1)
            assert len(desk.seen) - desk.identifiers.count(bad) == 2, "the others pass at once"
            await asyncio.sleep(3000)
            assert desk.identifiers.count(bad) >= 3
            assert len(desk.seen) - desk.identifiers.count(bad) == 2
            desk.answer = lambda _: TAKEN
            await asyncio.sleep(900)
            assert w.outcomes().count("refused") == 1
            assert w.receipts[-1].identifier == bad
            assert w.troubles == [("dispatch-refused", True, "desk"), ("dispatch-refused", False, "desk")]

    run_clocked(main)


def test_what_lasts_is_renewed_and_nothing_expired_is_published(tmp_path: Path) -> None:
    desk = Desk()

    async def main(clock: ManualClock) -> None:
        async with world(tmp_path / "o.db", clock, desk) as w:
            await w.dispatcher.tell(change())
            desk.answer = lambda _: DOWN  # the receiver goes away for a day, the alarm lasts
            await asyncio.sleep(86_400)
            desk.seen.clear()
            desk.answer = lambda _: TAKEN
            await asyncio.sleep(120)
            taken = [m for m in desk.seen if m.expires_us > 0]
            assert taken, "the newest renewal is delivered"
            for message in taken:
                assert capcheck.faults(message.cap or b"", w.clock.wall_us() - 120_000_000) == ()
                assert of(message, "msgType") == "Update"
            assert w.outcomes().count("expired") >= 10
            assert {("dispatch-expired", True, "desk"), ("dispatch-expired", False, "desk")} <= set(w.troubles)
            await w.dispatcher.tell(change(ChangeKind.CLEARED, Level.NORMAL, at_us=w.clock.wall_us()))
            assert await w.dispatcher.settled(60)
            told = len(desk.seen)
            await asyncio.sleep(86_400)
            assert len(desk.seen) == told, "what is over is not renewed"

    run_clocked(main)


def test_a_summary_outlives_the_expiry(tmp_path: Path) -> None:
    desk = Desk(expires=False, summaries=True, answer=lambda _: DOWN)

    async def main(clock: ManualClock) -> None:
        async with world(tmp_path / "o.db", clock, desk) as w:
            await w.dispatcher.tell(change(level=Level.ALARM))
            await w.dispatcher.tell(change(ChangeKind.ACKNOWLEDGED, Level.ALARM, Level.ALARM, at_us=at(1), by="ana"))
            await w.dispatcher.tell(change(ChangeKind.CLEARED, Level.NORMAL, Level.ALARM, at_us=at(2)))
            clock.advance(3 * 86_400)
            await asyncio.sleep(60)
            desk.seen.clear()
            desk.answer = lambda _: TAKEN
            assert await w.dispatcher.settled(120)

    run_clocked(main)
    documents = [json.loads(m.summary) for m in desk.seen]
    assert [(d["kind"], d["cap"], d["by"]) for d in documents] == [
        ("raised", True, ""),
        ("acknowledged", False, "ana"),
        ("cleared", True, ""),
    ]
    assert documents[0]["texts"]["en"]["headline"] == "Old quay: Flood level reached (orange)"
    assert documents[0]["evidence"][0]["value"] == 4.256


def test_merged_alarms_share_one_chain(tmp_path: Path) -> None:
    desk = Desk()
    alias = AlarmId("quay", Hazard.FLOOD, EventKey("node-1", LEDGER, 2))

    async def main(clock: ManualClock) -> None:
        async with world(tmp_path / "o.db", clock, desk) as w:
            await w.dispatcher.tell(change(seq=2))
            merged = change(ChangeKind.ESCALATED, was=Level.ALARM, seq=1, at_us=at(1), aliases=(alias,))
            await w.dispatcher.tell(merged)
            assert await w.dispatcher.settled(10)

    run_clocked(main)
    assert of(desk.seen[1], "msgType") == "Update"
    assert identifier_of(change(seq=2)) in of(desk.seen[1], "references")


def test_modes_never_share_a_chain(tmp_path: Path) -> None:
    desk = Desk()

    async def main(clock: ManualClock) -> None:
        async with world(tmp_path / "o.db", clock, desk) as w:
            for mode in Mode:
                await w.dispatcher.tell(change(mode=mode))
            assert await w.dispatcher.settled(10)

    run_clocked(main)
    assert [of(m, "status") for m in desk.seen] == ["Actual", "Exercise", "Test"]
    assert [of(m, "references") for m in desk.seen] == ["", "", ""]


def test_a_full_queue_sheds_the_least_first_and_says_so(tmp_path: Path) -> None:
    desk = Desk(answer=lambda _: DOWN)

    async def main(clock: ManualClock) -> None:
        async with world(tmp_path / "o.db", clock, desk, parcels_max=4) as w:
            await w.dispatcher.tell(change(level=Level.ALARM))
            await w.dispatcher.tell(change(ChangeKind.LOWERED, Level.ATTENTION, Level.ALARM, at_us=at(1)))
            await w.dispatcher.tell(change(ChangeKind.ESCALATED, Level.DANGER, Level.ATTENTION, at_us=at(2)))
            for n in range(2, 6):
                await w.dispatcher.tell(change(seq=n))
            shed = [each.identifier for each in w.receipts if each.outcome is Outcome.SHED]
            assert shed == [
                identifier_of(change(ChangeKind.LOWERED, Level.ATTENTION, Level.ALARM, at_us=at(1))),
                identifier_of(change(level=Level.ALARM)),  # the escalation stands for it
                identifier_of(change(ChangeKind.ESCALATED, Level.DANGER, Level.ATTENTION, at_us=at(2))),  # the oldest
            ]
            assert ("dispatch-shed", True, "desk") in w.troubles
            assert (await w.dispatcher.pending())["desk"] == 4
            desk.answer = lambda _: TAKEN
            assert await w.dispatcher.settled(120)
            await w.dispatcher.tell(change(seq=9))
            assert ("dispatch-shed", False, "desk") in w.troubles

    run_clocked(main)


def test_a_message_against_the_rules_is_not_published_but_people_are_told(tmp_path: Path) -> None:
    cap, summary = Desk("cap-desk"), Desk("json-desk", expires=False, summaries=True)
    told = plan()
    off_the_earth = told.zones[0].model_copy(update={"polygon": ((95.0, 28.0), (45, 28), (45, 29), (95.0, 28.0))})
    author = Author(
        told.model_copy(update={"zones": (off_the_earth, *told.zones[1:])}), SETTINGS
    )  # no plan file gets so far

    async def main(clock: ManualClock) -> None:
        async with world(tmp_path / "o.db", clock, cap, summary, author=author) as w:
            await w.dispatcher.tell(change())
            assert await w.dispatcher.settled(10)
            assert w.troubles == [("dispatch-invalid", True, "cap")]
            (refused,) = (each for each in w.receipts if each.outcome is Outcome.REFUSED)
            assert refused.detail.startswith("polygon: ")

    run_clocked(main)
    assert cap.seen == []
    assert [json.loads(m.summary)["cap"] for m in summary.seen] == [False]


def test_a_channel_taken_from_the_configuration_is_given_up_aloud(tmp_path: Path) -> None:
    async def main(clock: ManualClock) -> None:
        async with world(tmp_path / "o.db", clock, Desk("old", answer=lambda _: DOWN)) as w:
            await w.dispatcher.tell(change())
        async with world(tmp_path / "o.db", clock, Desk("new")) as w:
            assert await w.dispatcher.settled(10)
            await asyncio.sleep(1)
            assert [(r.channel, r.outcome, r.detail) for r in w.receipts] == [("old", Outcome.SHED, "channel-removed")]

    run_clocked(main)


def test_delivered_bodies_leave_the_disk_and_old_chains_are_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    desk = Desk()

    async def main(clock: ManualClock) -> None:
        async with world(path, clock, desk) as w:
            await w.dispatcher.tell(change())
            await w.dispatcher.tell(change(ChangeKind.CLEARED, Level.NORMAL, at_us=at(1)))
            assert await w.dispatcher.settled(10)
            await asyncio.sleep(60)
            assert apsw.Connection(str(path)).execute("SELECT count(*), count(cap) FROM message").get == (2, 0)
            clock.advance(8 * 86_400)
            await asyncio.sleep(60)
            assert apsw.Connection(str(path)).execute("SELECT count(*) FROM message").get == 0

    run_clocked(main)


KINDS = st.sampled_from(
    [
        (ChangeKind.RAISED, Level.ALARM),
        (ChangeKind.ESCALATED, Level.DANGER),
        (ChangeKind.LOWERED, Level.ATTENTION),
        (ChangeKind.ACKNOWLEDGED, Level.ALARM),
        (ChangeKind.CLEARED, Level.NORMAL),
    ]
)


@settings(max_examples=40, deadline=None)
@given(
    lives=st.lists(st.tuples(st.integers(1, 4), KINDS), min_size=1, max_size=25),
    answers=st.lists(st.sampled_from([TAKEN, TAKEN, DOWN, NO]), max_size=40),
    kill=st.integers(0, 30),
)
def test_every_change_is_delivered_in_order_whatever_the_receiver_does(
    tmp_path_factory: pytest.TempPathFactory,
    lives: list[tuple[int, tuple[ChangeKind, Level]]],
    answers: list[Answer],
    kill: int,
) -> None:
    path = tmp_path_factory.mktemp("outbox") / "o.db"
    script = iter(answers)
    taken: list[Message] = []

    def answer(message: Message) -> Answer:
        each = next(script, TAKEN)
        if each.taken:
            taken.append(message)
        return each

    changes = [change(kind, level, seq=seq, at_us=at(n)) for n, (seq, (kind, level)) in enumerate(lives)]
    chance = random.Random(len(answers))
    desk = Desk(expires=False, summaries=True, answer=answer, takes_s=lambda: chance.uniform(0, 0.2))

    async def main(clock: ManualClock) -> None:
        async with world(path, clock, desk) as w:
            for n, told in enumerate(changes):
                if n == kill:
                    break
                await w.dispatcher.tell(told)
        async with world(path, clock, desk) as w:
            for told in changes:
                await w.dispatcher.tell(told)
            assert await w.dispatcher.settled(7 * 86_400)

    run_clocked(main)
    assert {m.identifier for m in taken} >= {identifier_of(each) for each in changes}
    if NO not in answers:
        for alarm in {m.alarm for m in taken}:
            first = list(dict.fromkeys(m.number for m in taken if m.alarm == alarm))
            assert first == sorted(first), "an alarm's messages go in order"


async def test_over_real_sockets_and_files_with_a_receiver_that_fails_in_every_way(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("whsec_" + "QUJD" * 8)
    secret.chmod(0o600)
    runner, disk = ThreadRunner("outbox"), ThreadRunner("files")
    told: list[AlarmChange] = [change(seq=n) for n in range(1, 41)]
    async with receiver() as server:
        configured = (
            WebhookSettings(kind="webhook", name="web", url=server.url, secret_file=secret, timeout_s=0.3),
            FilesSettings(kind="files", name="archive", folder=tmp_path / "cap"),
        )
        clock = SystemClock()
        dispatcher = Dispatcher(
            AUTHOR,
            channels_of(configured, clock=clock, runner=disk, data=tmp_path, sender=SETTINGS.sender),
            path=tmp_path / "o.db",
            clock=clock,
            runner=runner,
            entropy=random.Random(1),
            receipt=lambda _: asyncio.sleep(0),
            trouble=lambda *_: None,
        )
        task = asyncio.create_task(dispatcher.run())
        try:
            for mood in (Mood.HALF_OPEN, Mood.WELL, Mood.FAILING, Mood.DOWN, Mood.CUT):
                await server.become(mood, 500)
                for _ in range(8):
                    await dispatcher.tell(told[len(told) - 1])
                    told.insert(0, told.pop())
                if mood is Mood.WELL:
                    await server.until(1)
                elif mood is not Mood.DOWN:
                    await server.until_seen(len(server.seen) + 1)
            await server.become(Mood.WELL)
            assert await dispatcher.settled(60)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            runner.close()
            disk.close()
        assert set(server.identifiers) == {identifier_of(each) for each in told}
    written = sorted((tmp_path / "cap").iterdir())
    assert len(written) == 40
    assert all(path.suffix == ".xml" and capcheck.faults(path.read_bytes()) == () for path in written)


def test_two_channels_of_one_name_are_refused(tmp_path: Path) -> None:
    one = FilesSettings(kind="files", name="a", folder=tmp_path)
    with pytest.raises(ConfigError, match="its own name"):
        channels_of((one, one), clock=ManualClock(), runner=run_here, data=tmp_path, sender="a@b")


def test_the_renewals_of_a_storm_do_not_keep_a_new_alarm_waiting(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db", {"desk": lambda cap: cap})
    outbox.tell(AUTHOR, [change(seq=n, at_us=START_WALL_US + n) for n in range(1, 121)], START_WALL_US)
    later_us = START_WALL_US + round(SETTINGS.valid_s * 1e6)
    rounds = [outbox.renew(AUTHOR, later_us).identifiers for _ in range(4)]
    assert [len(each) for each in rounds] == [50, 50, 20, 0]
    assert len({name for each in rounds for name in each}) == 120
    outbox.close()


def test_what_another_centre_said_is_not_said_again_in_our_name(tmp_path: Path) -> None:
    """Its part of an alarm goes to the channels that carry JSON; CAP tells what our own points measure, and cancels that."""
    theirs = reading(9, 3.0, Level.DANGER, point="cap:iasi")
    ours = reading(1, 3.1, Level.ALARM)
    outbox = Outbox(tmp_path / "outbox.db", {"desk": lambda cap: cap, "json": lambda cap: True})
    story = [
        change(ChangeKind.RAISED, readings=(theirs,), own=Level.NORMAL),
        change(
            ChangeKind.ESCALATED,
            Level.DANGER,
            Level.DANGER,
            readings=(theirs, ours),
            own=Level.ALARM,
            at_us=START_WALL_US + 1,
        ),
        change(
            ChangeKind.LOWERED,
            Level.DANGER,
            Level.DANGER,
            readings=(theirs,),
            own=Level.NORMAL,
            at_us=START_WALL_US + 2,
        ),
        change(ChangeKind.CLEARED, Level.NORMAL, Level.DANGER, readings=(), at_us=START_WALL_US + 3),
    ]
    told = []
    for each in story:
        assert AlarmChange.unpack(each.pack()) == each
        assert outbox.tell(AUTHOR, [each], START_WALL_US).invalid == ()
        told.append([message.cap for message in outbox.due("desk", [], 9)])
        outbox.done("desk", [message.number for message in outbox.due("desk", [], 9)])
    assert [len(each) for each in told] == [0, 1, 1, 0]
    alert, cancel = (etree.fromstring(data[0] or b"") for data in told if data)
    assert alert.findtext("c:msgType", namespaces=NS) == "Alert"
    assert alert.findtext("c:info/c:severity", namespaces=NS) == "Severe"
    assert b"iasi" not in etree.tostring(alert)
    assert cancel.findtext("c:msgType", namespaces=NS) == "Cancel"
    assert len(outbox._rows("SELECT 1 FROM parcel WHERE channel = 'json'")) == 4
    first = json.loads(outbox.due("json", [], 1)[0].summary)
    assert "iasi" in first["texts"]["en"]["description"]
    outbox.close()
