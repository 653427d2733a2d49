"""A damaged outbox keeps nobody from starting, and what it had to tell is told again."""

import random
from dataclasses import astuple
from pathlib import Path

import pytest

from controller.alarm.changes import ChangeKind
from controller.dispatch import Delivery, Outcome
from controller.dispatch.cap import Author, identifier_of
from controller.dispatch.keeping import Keeping
from controller.dispatch.settings import CapSettings
from controller.record.records import Record
from controller.retelling import owed
from cython_ext import Level
from lanes.store import StoreError
from tests.kit.capkeys import signer
from tests.kit.clock import START_WALL_US
from tests.kit.control_room import ControlRoom
from tests.kit.telling import change, plan

AUTHOR = Author(plan(), CapSettings(sender="alarms@galati.example"), signer())
WANTS = {"desk": lambda cap: cap}


def keeping(folder: Path) -> Keeping:
    return Keeping(folder / "outbox.db", WANTS)


def test_a_damaged_outbox_is_set_aside_until_it_is_retold(tmp_path: Path) -> None:
    one = keeping(tmp_path)
    one.tell(AUTHOR, [change(seq=n) for n in range(1, 4)], START_WALL_US)
    one.close()
    path, rng = tmp_path / "outbox.db", random.Random(1)
    whole, anew = path.read_bytes(), 0
    written = [at for at, byte in enumerate(whole) if byte]
    for _ in range(30):
        spoilt = bytearray(whole)
        for _ in range(3):
            spoilt[rng.choice(written)] = rng.choice((0, 1, 7, 9, 13, 21, 255))
        path.write_bytes(spoilt)
        two = keeping(tmp_path)
        two.tell(AUTHOR, [change(seq=9)], START_WALL_US)
        assert two.due("desk", (), 10)
        two.close()
        if two.anew:
            anew += 1
            assert keeping(tmp_path).anew, "until it is retold"
            two.retold()
        assert not keeping(tmp_path).anew
    assert anew >= 3


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    one = keeping(tmp_path)
    one._disk._db.pragma("application_id", 0x0BADCAFE)
    one.close()
    with pytest.raises(StoreError, match="not ours"):
        keeping(tmp_path)


async def test_what_no_channel_has_answered_for_is_owed_and_the_last_of_what_lasts(tmp_path: Path) -> None:
    control = ControlRoom(tmp_path / "journal.db")
    journal = control.journal
    over = [change(seq=1), change(ChangeKind.CLEARED, Level.NORMAL, Level.ALARM, seq=1, at_us=START_WALL_US + 5)]
    lasts = [change(seq=2, at_us=START_WALL_US + 6), change(seq=2, at_us=START_WALL_US + 7)]
    away = change(ChangeKind.CLEARED, Level.NORMAL, Level.ALARM, seq=3, at_us=START_WALL_US + 8)
    old = change(ChangeKind.CLEARED, Level.NORMAL, Level.ALARM, seq=4, at_us=START_WALL_US - 1)
    rows = {journal.append(Record.ALARM, [each.pack(), b""]).seq: each for each in (*over, *lasts, away, old)}
    for each in (*over, *lasts):
        receipt = Delivery("desk", identifier_of(each), "", Outcome.DELIVERED, "204", 1, START_WALL_US, 0.0)
        journal.append(Record.DELIVERY, list(astuple(receipt)))
    refused = Delivery("desk", identifier_of(away), "", Outcome.REFUSED, "401", 1, START_WALL_US, 0.0)
    journal.append(Record.DELIVERY, list(astuple(refused)))
    await control.commit()
    found = owed(control.path, journal.id, ["desk"], START_WALL_US)
    assert [rows[seq].at_us for seq in found] == [lasts[1].at_us, away.at_us]
