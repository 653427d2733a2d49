"""The second channel within 60 s when the first fails; at most one more of each; the first again when it is back (F32)."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from controller.calls import Call
from controller.dispatch import Answer, Delivery
from controller.dispatch.cap import identifier_of
from controller.dispatch.dispatcher import Dispatcher
from controller.dispatch.outbox import Outbox
from lanes.store import run_here
from tests.controller.test_mail import CALL
from tests.controller.test_outbox import AUTHOR, DOWN, NO, TAKEN, Desk, at, run_clocked
from tests.kit.clock import START_WALL_US, ManualClock
from tests.kit.telling import change


@asynccontextmanager
async def world(
    path: Path, clock: ManualClock, first: Desk, second: Desk
) -> AsyncIterator[tuple[Dispatcher, list[Delivery]]]:
    receipts: list[Delivery] = []

    async def receipt(delivery: Delivery) -> None:
        receipts.append(delivery)

    dispatcher = Dispatcher(
        AUTHOR,
        (first, second),
        path=path,
        clock=clock,
        runner=run_here,
        entropy=random.Random(1),
        receipt=receipt,
        trouble=lambda *_: None,
        fallbacks={first.name: second.name},
        standby=frozenset({second.name}),
    )
    task = asyncio.create_task(dispatcher.run())
    try:
        yield dispatcher, receipts
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(desk: Desk, count: int, clock: ManualClock) -> float:
    """The seconds until it has seen so many."""
    began_ns = clock.monotonic_ns()
    while len(desk.seen) < count:
        await asyncio.sleep(0.5)
    return (clock.monotonic_ns() - began_ns) / 1e9


@pytest.mark.parametrize("answer", [DOWN, NO, Answer(False, "500"), Answer(False, "timeout")])
@pytest.mark.parametrize("takes_s", [0.0, 60.0])
def test_the_second_has_it_within_a_minute_and_each_gets_it_once(
    tmp_path: Path, answer: Answer, takes_s: float
) -> None:
    first, second = Desk("first", answer=lambda _: answer, takes_s=lambda: takes_s), Desk("second")

    async def main(clock: ManualClock) -> None:
        async with world(tmp_path / "o.db", clock, first, second) as (dispatcher, receipts):
            await asyncio.sleep(3)
            await dispatcher.tell(change())
            assert await until(second, 1, clock) <= 60
            await asyncio.sleep(600)
            first.answer, first.takes_s = (lambda _: TAKEN), (lambda: 0.0)
            first.seen.clear()
            await asyncio.sleep(1000)
            assert first.identifiers == second.identifiers == [identifier_of(change())]
            assert [str(each.outcome) for each in receipts].count("stand-in") == 1
            await dispatcher.tell(change(seq=2))
            await asyncio.sleep(300)
            assert first.identifiers[1:] == [identifier_of(change(seq=2))], "it is the first again"
            assert len(second.seen) == 1

    run_clocked(main)


def test_a_channel_that_is_well_needs_no_stand_in(tmp_path: Path) -> None:
    first, second = Desk("first"), Desk("second")

    async def main(clock: ManualClock) -> None:
        async with world(tmp_path / "o.db", clock, first, second) as (dispatcher, _):
            for n in range(1, 30):
                await dispatcher.tell(change(seq=n))
                await asyncio.sleep(10)
            assert len(first.seen) == 29
            assert second.seen == []

    run_clocked(main)


def test_while_the_first_is_down_nothing_new_waits_for_it_and_a_crash_doubles_nothing(tmp_path: Path) -> None:
    first, second = Desk("first", answer=lambda _: DOWN), Desk("second")

    async def main(clock: ManualClock) -> None:
        async with world(tmp_path / "o.db", clock, first, second) as (dispatcher, _):
            await dispatcher.tell(change())
            await until(second, 1, clock)
            await dispatcher.tell(change(seq=2))
            assert await until(second, 2, clock) <= 10
        async with world(tmp_path / "o.db", clock, first, second) as (dispatcher, _):
            await asyncio.sleep(200)
            assert len(second.seen) == 2
            await dispatcher.tell(change(seq=3, at_us=at(1)))
            await until(second, 3, clock)
        assert len(set(second.identifiers)) == len(second.seen) == 3

    run_clocked(main)


def test_people_overtake_a_storm_and_have_no_stand_in(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "o.db", {"mail": lambda _: True, "other": lambda _: True}, standby=frozenset({"other"}))
    box.tell(AUTHOR, [change(seq=n) for n in range(1, 30)], START_WALL_US)
    box.tell(AUTHOR, [CALL], START_WALL_US)
    assert box.due("mail", (), 5)[0].identifier == CALL.identifier
    assert len(box.due("mail", (), 5)) == 5
    assert len(box.due("mail", (), 64)) == 30
    assert len(box.stand_in("mail", "other", box.newest())) == 29
    assert box.stand_in("mail", "other", box.newest()) == []
    assert CALL.identifier not in {each.identifier for each in box.due("other", (), 64)}
    box.close()


def test_a_call_goes_to_its_own_channel_and_one_to_everybody_to_all_that_carry_more_than_cap(tmp_path: Path) -> None:
    wants = {"mail": lambda _: False, "cap": lambda cap: cap, "json": lambda _: True, "standby": lambda _: True}
    box = Outbox(tmp_path / "o.db", wants, standby=frozenset({"standby"}))
    facts = {name: getattr(CALL, name) for name in Call.__slots__}
    box.tell(
        AUTHOR,
        [CALL, Call(**facts | {"person": "", "channel": ""}), Call(**facts | {"channel": "gone"})],
        START_WALL_US,
    )
    assert box.pending() == {"mail": 1, "cap": 0, "json": 1, "standby": 0}
    box.close()


def test_a_call_that_nobody_can_get_is_given_up_after_a_day(tmp_path: Path) -> None:
    first, second = Desk("mail", expires=False, answer=lambda _: NO), Desk("second")

    async def main(clock: ManualClock) -> None:
        async with world(tmp_path / "o.db", clock, first, second) as (dispatcher, receipts):
            await dispatcher.tell(CALL)
            await asyncio.sleep(86_000)
            assert (await dispatcher.pending())["mail"] == 1
            await asyncio.sleep(2_000)
            assert (await dispatcher.pending())["mail"] == 0
            assert str(receipts[-1].outcome) == "expired"

    run_clocked(main)


def test_an_outbox_of_the_version_before_is_taken_on(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    box = Outbox(path, {"a": lambda _: True})
    box.tell(AUTHOR, [change()], START_WALL_US)
    box._db.execute("DROP TABLE fallback; PRAGMA user_version = 1")
    box.close()
    box = Outbox(path, {"a": lambda _: True, "b": lambda _: True})
    assert [each.identifier for each in box.due("a", (), 9)] == [identifier_of(change())]
    assert len(box.stand_in("a", "b", box.newest())) == 1
    box.close()
