"""The desk channel: from the outbox to a relay and back, over the real socket of the real desk program."""

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controller.alarm.changes import ChangeKind
from controller.calls import CallKind
from controller.dispatch import Answer, Delivery, Message
from controller.dispatch.channels import channels_of
from controller.dispatch.desk import ASK_EVERY_S, SILENT, Desk
from controller.dispatch.dispatcher import Dispatcher
from controller.dispatch.outbox import MEMORY, Outbox, Tellable
from controller.dispatch.settings import DeskSettings
from cython_ext import Level, SystemClock
from firmware_bridge.desk import DeskConfig, Lamps
from lanes import control
from lanes.keys import Mode
from lanes.settings import parse
from lanes.store import run_here
from tests.controller.test_mail import CALL
from tests.controller.test_outbox import AUTHOR, SETTINGS, run_clocked
from tests.kit.clock import START_WALL_US, ManualClock
from tests.kit.telling import change

DESK = """
controller = "none.sock"
socket = "desk.sock"
[[bus]]
id = "pins"
type = "gpio"
chip = "simulated"
record = "edges.jsonl"
[[device]]
id = "relays"
bus = "pins"
output = [{ point = "bell", line = "GPIO17" }, { point = "siren", line = "GPIO27" }]
input = [{ channel = "aux", line = "GPIO22", debounce_s = 0 }]
[[lamp]]
device = "relays"
point = "bell"
shows = "message"
hold_s = 5
proof = "aux"
[[lamp]]
device = "relays"
point = "siren"
shows = "message"
least = "danger"
hold_s = 5
"""


class Quiet:
    """A controller whose list can be read and is empty: nothing is lit because nothing can be seen."""

    def __call__(self, verb: str) -> Any:
        return [] if verb == "alarm.list" else {"root": "GALATI", "troubles": []}


class Board:
    """The desk program, and the wiring of its auxiliary contact."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.lamps = Lamps(parse(DESK, DeskConfig), clock=self.clock, base=folder, ask=Quiet())
        self._board = self.lamps._bridge.buses["pins"].chip.board  # type: ignore[attr-defined]
        self.stuck = False
        self.closings = 0
        self._board.watch(self._follow)

    def _follow(self, edge: Any) -> None:
        if edge.line == "GPIO17" and not self.stuck:
            self.closings += edge.high
            self._board.drive("GPIO22", edge.high)

    @property
    def closed(self) -> tuple[bool, bool]:
        return self._board.levels["GPIO17"], self._board.levels["GPIO27"]


@asynccontextmanager
async def desk(folder: Path) -> AsyncIterator[Board]:
    board = Board(folder)
    task = asyncio.create_task(board.lamps.run())
    while not (folder / "desk.sock").exists():
        await asyncio.sleep(0)
    try:
        yield board
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def channel(folder: Path, **more: Any) -> Desk:
    return Desk(DeskSettings.model_validate({"kind": "desk", "socket": folder / "desk.sock", **more}))


def message(told: Tellable) -> Message:
    box = Outbox(MEMORY, {"sms": lambda _: True, "desk": lambda _: True})
    box.tell(AUTHOR, [told], START_WALL_US)
    return next(iter((*box.due("desk", (), 1), *box.due("sms", (), 1))))


async def test_a_danger_closes_every_contact_and_the_answer_says_so(tmp_path: Path) -> None:
    async with desk(tmp_path) as board:
        said = message(change(level=Level.DANGER))
        assert await channel(tmp_path).deliver(said) == Answer(True, "closed: 2")
        assert board.closed == (True, True)
        board.clock.advance(6)
        await board.lamps.look()
        assert board.closed == (False, False)
        assert await channel(tmp_path).deliver(said) == Answer(True, "closed already")
        assert (board.closed, board.closings) == ((False, False), 1), "told twice, closed once"
        assert await channel(tmp_path).deliver(message(change(level=Level.ALARM, seq=2))) == Answer(True, "closed: 1")
        assert board.closed == (True, False)


@pytest.mark.parametrize(
    ("told", "asks"),
    [
        (change(), True),
        (change(ChangeKind.ESCALATED, Level.DANGER, Level.ALARM), True),
        (change(ChangeKind.RELEASED, Level.DANGER, Level.DANGER), True),
        (change(mode=Mode.EXERCISE), True),
        (replace(CALL, kind=CallKind.STUCK, person="", channel=""), True),
        (change(mode=Mode.TEST), False),
        (change(muted="shelved"), False),
        (change(ChangeKind.ACKNOWLEDGED, Level.DANGER, Level.DANGER, by="ana"), False),
        (change(ChangeKind.LOWERED, Level.ALARM, Level.DANGER), False),
        (change(ChangeKind.CLEARED, Level.NORMAL, Level.DANGER), False),
    ],
)
async def test_only_what_asks_for_a_person_closes_one(tmp_path: Path, told: Tellable, asks: bool) -> None:
    async with desk(tmp_path) as board:
        answer = await channel(tmp_path).deliver(message(told))
        assert answer.taken
        assert (answer.detail != "nothing-to-show", any(board.closed)) == (asks, asks)


async def test_a_renewal_closes_nothing(tmp_path: Path) -> None:
    said = message(change())
    renewed = replace(said, summary=json.dumps({**json.loads(said.summary), "renewed": True}).encode())
    async with desk(tmp_path) as board:
        assert (await channel(tmp_path).deliver(renewed)).taken
        assert board.closed == (False, False)


async def test_a_contact_that_does_not_close_is_a_failure_and_is_closed_when_it_can(tmp_path: Path) -> None:
    async with desk(tmp_path) as board:
        board.stuck = True
        said = message(change())
        assert await channel(tmp_path).deliver(said) == Answer(False, "relay")
        board.stuck = False
        board.clock.advance(60)
        await board.lamps.look()
        assert await channel(tmp_path).deliver(said) == Answer(True, "closed: 2")


async def test_nobody_there_and_somebody_else_there_are_failures(tmp_path: Path) -> None:
    said = message(change())
    assert await channel(tmp_path).deliver(said) == Answer(False, "no-service")

    async def nonsense(_: dict[str, Any]) -> Any:
        return [1]

    async def never(_: dict[str, Any]) -> Any:
        await asyncio.sleep(3600)

    async with control.serve(tmp_path / "desk.sock", {"desk.tell": nonsense}):
        assert await channel(tmp_path).deliver(said) == Answer(False, "malformed")
    async with control.serve(tmp_path / "desk.sock", {"desk.tell": never}):
        assert await channel(tmp_path, timeout_s=0.05).deliver(said) == Answer(False, "no-answer")


async def test_from_the_outbox_over_a_desk_that_was_away(tmp_path: Path) -> None:
    receipts: list[Delivery] = []

    async def receipt(delivery: Delivery) -> None:
        receipts.append(delivery)

    settings = DeskSettings(kind="desk", socket=tmp_path / "desk.sock")
    dispatcher = Dispatcher(
        AUTHOR,
        channels_of([settings], clock=SystemClock(), runner=run_here, data=tmp_path, sender=SETTINGS.sender),
        path=tmp_path / "o.db",
        clock=ManualClock(),
        runner=run_here,
        entropy=random.Random(1),
        receipt=receipt,
        trouble=lambda *_: None,
    )
    running = asyncio.create_task(dispatcher.run())
    try:
        assert await dispatcher.tell(change())
        while not receipts:
            await asyncio.sleep(0.01)
        assert [(each.outcome, each.detail) for each in receipts] == [("failed", "no-service")]
        assert await dispatcher.pending() == {"desk": 1}
        async with desk(tmp_path) as board:
            assert await dispatcher.settled(30)
            assert board.closed == (True, True)
        assert [(each.outcome, each.detail) for each in receipts[1:]] == [("delivered", "closed: 2")]
        assert len({each.identifier for each in receipts}) == 1
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


def test_silence_is_seen_though_there_is_nothing_to_tell(tmp_path: Path) -> None:
    said: list[bool] = []
    well = True

    async def main(clock: ManualClock) -> None:
        nonlocal well
        one = channel(tmp_path)

        async def asked() -> bool:
            return well

        one._well = asked  # type: ignore[method-assign]
        task = asyncio.create_task(one.supervise(lambda code, on, subject: said.append(on)))
        await asyncio.sleep(ASK_EVERY_S * 2.5)
        assert said == [False]
        well = False
        await asyncio.sleep(ASK_EVERY_S)
        assert said == [False], "it may have begun again"
        await asyncio.sleep(ASK_EVERY_S)
        assert said == [False, True]
        well = True
        await asyncio.sleep(ASK_EVERY_S)
        assert said == [False, True, False]
        task.cancel()

    run_clocked(main)
    assert SILENT == "desk-silent"


async def test_a_relay_that_cannot_be_written_is_silence_too(tmp_path: Path) -> None:
    async with desk(tmp_path) as board:
        assert await channel(tmp_path)._well()
        board.lamps.broken = ("bell",)
        assert not await channel(tmp_path)._well()
    assert not await channel(tmp_path)._well()


def test_yesterday_s_alarm_closes_no_contact() -> None:
    assert channel(Path()).expires
