"""The journal read through in the background: what a start does not look at is found, and said."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from controller.record.checking import FIRST_S, ROWS, Checking
from controller.record.journal import Journal
from controller.record.records import Record
from lanes.store import run_here
from tests.controller.test_outbox import run_clocked
from tests.kit.clock import ManualClock
from tests.kit.plans import key

MANY = 2 * ROWS + 10


async def filled(path: Path, clock: ManualClock) -> bytes:
    journal = Journal(path, clock=clock, runner=run_here, key=key("iasi"), new_id=b"journal1")
    task = asyncio.create_task(journal.run())
    for number in range(MANY):
        journal.append(Record.REFUSED, ["why", number, ""])
    await journal.durable()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await journal.close()
    return journal.id


@pytest.mark.parametrize("seq", [2, ROWS + 1, MANY])
def test_a_changed_row_is_found_wherever_it_stands(tmp_path: Path, seq: int) -> None:
    path = tmp_path / "journal.db"

    async def main(clock: ManualClock) -> None:
        made = await filled(path, clock)
        told: list[tuple[str, bool, str]] = []
        checking = Checking(path, lambda: made, run_here, lambda *what: told.append(what))
        assert await checking.once() == ""
        with closing(sqlite3.connect(path)) as db:
            db.execute("DROP TRIGGER entry_stays")
            db.execute("UPDATE entry SET wall_us = wall_us + 1 WHERE seq = ?", (seq,))
            db.commit()
        task = asyncio.create_task(checking.run())
        await asyncio.sleep(FIRST_S + 60)
        task.cancel()
        assert told == [("journal-damaged", True, str(seq))]

    run_clocked(main)


def test_what_cannot_be_read_now_is_not_called_damaged(tmp_path: Path) -> None:
    async def main(clock: ManualClock) -> None:
        del clock
        told: list[tuple[str, bool, str]] = []
        checking = Checking(tmp_path / "absent.db", lambda: b"journal1", run_here, lambda *what: told.append(what))
        task = asyncio.create_task(checking.run())
        await asyncio.sleep(FIRST_S + 60)
        task.cancel()
        assert told == []

    run_clocked(main)
