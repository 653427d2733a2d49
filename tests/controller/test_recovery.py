"""A damaged journal is set aside and gone on from; one that is not ours is refused, and left as it is."""

import asyncio
import random
import shutil
from pathlib import Path

import apsw
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from controller.hearing import Heard
from controller.record.aside import KEPT_MAX, Remains, newest, set_aside
from controller.record.journal import Journal, Spare
from controller.record.verify import verify_journal
from controller.room import SNAPSHOT_ROWS
from cython_ext import Hazard, Level
from lanes.keys import Mode
from lanes.store import StoreError, run_here
from tests.kit.clock import ManualClock
from tests.kit.control_room import ControlRoom
from tests.kit.nights import Night
from tests.kit.plans import key
from tests.kit.startup import lived as lived_long

KEYS = {key("iasi").kid: key("iasi").public}
ZONE = ("ungheni", Hazard.FLOOD, Mode.LIVE)


async def lived(path: Path) -> ControlRoom:
    """A controller that has seen an alarm and ordered a siren, and has stopped."""
    control = ControlRoom(path)
    node = control.node("n1")
    control.hear(node, node.state())
    control.hear(node, node.level("gauge", Level.NORMAL, Level.ALARM))
    for on in (True, False, True):
        control.hear(node, node.trouble("disk", on))
    control.journal.sign_head()
    await control.commit()
    await control.journal.close()
    return control


def change_row(path: Path, statement: str, *values: object) -> None:
    store = apsw.Connection(str(path))
    store.execute("DROP TRIGGER entry_stays; DROP TRIGGER entry_remains")
    store.execute(statement, values)
    store.close()


async def test_it_goes_on_from_the_last_whole_row_and_asks_for_the_rest(tmp_path: Path) -> None:
    old = await lived(tmp_path / "journal.db")
    orders = len(list(old.room.fold.activations))
    seqs = [row.seq for row in Remains(old.path).rows() if row.kind == 10]
    change_row(old.path, "UPDATE entry SET payload = X'80' WHERE seq = ?", seqs[2])
    control = ControlRoom(old.path)
    assert control.aside == "journal-aside-001.db"
    assert control.journal.id != old.journal.id
    assert control.room.book.at(*ZONE) is not None  # what was whole is known
    assert len(list(control.room.fold.activations)) == orders
    node = control.node("n1", events=list(old.node("n1").events))
    sequence = control.room.fold.registry.nodes["n1"].sequences[node.ledger]
    assert sequence.through == 2  # the third event stood in the damaged row: the node sends on from here
    ack = sequence.ack(control.journal.id)
    assert (ack.journal, ack.through) == (control.journal.id, 2)
    assert control.journal.seq > seqs[2] - 1  # numbers go on
    await control.commit()
    await control.journal.close()
    assert verify_journal(control.path, KEYS, control.journal.head_path).whole
    assert verify_journal(tmp_path / control.aside).bad_row == seqs[2]


async def test_the_resent_events_are_taken_and_nothing_is_ordered_twice(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    control = ControlRoom(path)
    node = control.node("n1")
    control.hear(node, node.state())
    events = [node.level("gauge", Level.NORMAL, Level.ALARM), node.trouble("disk", True)]
    for event in events:
        control.hear(node, event)
    assert len(control.starts()) == 1
    await control.commit()
    await control.journal.close()
    change_row(path, "UPDATE entry SET wall_us = 1 WHERE seq = (SELECT max(seq) FROM entry WHERE kind = 10)")
    again = ControlRoom(path)
    again.clock = control.clock
    assert again.hear(node, events[0]) is Heard.AGAIN
    assert again.hear(node, events[1]) is Heard.TAKEN
    again.hear(node, node.state(("gauge", Level.ALARM, 1)))
    assert again.starts() == []


async def test_killed_between_setting_aside_and_beginning_anew(tmp_path: Path) -> None:
    old = await lived(tmp_path / "journal.db")
    set_aside(old.path, None)
    control = ControlRoom(old.path)
    assert control.aside == "journal-aside-001.db"
    assert control.room.book.at(*ZONE) is not None


async def test_a_journal_cut_behind_its_signed_head_is_damaged(tmp_path: Path) -> None:
    old = await lived(tmp_path / "journal.db")
    change_row(old.path, "DELETE FROM entry WHERE seq > 4")
    control = ControlRoom(old.path)
    assert control.aside
    assert control.journal.id != old.journal.id


@given(seed=st.integers(0, 10_000), how=st.sampled_from(["bits", "bytes", "page", "header", "cut", "empty"]))
@example(seed=68, how="bytes")  # a text that is none
@example(seed=188, how="bytes")  # another program's mark, almost
@example(seed=583, how="bytes")  # a seq that is no number
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
async def test_whatever_the_disk_did_to_it_the_controller_starts(
    damaged: Path, tmp_path: Path, seed: int, how: str
) -> None:
    folder = tmp_path / "copy"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(damaged, folder)
    path, rng = folder / "journal.db", random.Random(seed)
    data = bytearray(path.read_bytes())
    if how == "bits":
        for _ in range(20):
            data[rng.randrange(100, len(data))] ^= 1 << rng.randrange(8)
    elif how == "bytes":  # where something is written: a record's header may then name any type
        written = [at for at, byte in enumerate(data) if byte]
        for _ in range(rng.randint(1, 3)):
            data[rng.choice(written)] = rng.choice((0, 1, 6, 7, 9, 13, 15, 21, 255, rng.randrange(256)))
    elif how == "page":
        at = rng.randrange(len(data) // 4096) * 4096
        data[at : at + 4096] = rng.randbytes(4096)
    elif how == "header":
        data[:100] = bytes(100)
    else:
        del data[0 if how == "empty" else rng.randrange(1, len(data)) :]
    path.write_bytes(data)
    spare = Spare(folder / "journal.emergency", 1 << 16)
    for _ in range(2):  # a page that is only found to be damaged when it is written goes aside at the next start
        control = ControlRoom(path, spare=spare)
        node = control.node("n2", boot=random.Random(seed).randbytes(8))
        node.counter = control.room.fold.registry.nodes["n2"].state_counter
        assert control.hear(node, node.state()) is Heard.TAKEN
        await control.commit()
        emergency = control.journal.emergency
        control.journal.drop()
    assert not emergency
    if control.aside:
        assert verify_journal(path, KEYS).whole


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("journal")
    asyncio.run(lived(folder / "journal.db"))
    return folder


async def test_the_journal_of_another_controller_is_refused_and_left(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    other = Journal(
        path, clock=ManualClock(), runner=run_here, key=key("balti"), new_id=b"journal2", controller="balti"
    )
    await other.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="journal of controller 'balti', this is 'iasi'"):
        ControlRoom(path)
    assert path.read_bytes() == before
    assert newest(path) is None


async def test_a_name_that_has_changed_since_the_first_row_is_damage(tmp_path: Path) -> None:
    old = await lived(tmp_path / "journal.db")
    store = apsw.Connection(str(old.path))
    store.execute("UPDATE meta SET value = CAST('iase' AS BLOB) WHERE key = 'controller'")
    store.close()
    assert ControlRoom(old.path).aside == "journal-aside-001.db"


def test_what_is_no_journal_is_refused_and_left(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.write_text("shopping list\n" * 100)
    with pytest.raises(StoreError, match="not a journal"):
        ControlRoom(path)
    assert path.read_text().startswith("shopping")


def test_only_so_many_are_kept(tmp_path: Path) -> None:
    for _ in range(KEPT_MAX + 3):
        (tmp_path / "journal.db").write_bytes(b"x")
        (tmp_path / "journal.head").write_bytes(b"x")
        set_aside(tmp_path / "journal.db", None)
    names = sorted(path.name for path in tmp_path.glob("*.db"))
    assert len(names) == KEPT_MAX
    assert names[-1] == f"journal-aside-{KEPT_MAX + 3:03}.db"
    assert len(list(tmp_path.iterdir())) == 2 * KEPT_MAX


@pytest.mark.parametrize("seed", range(4))
async def test_a_night_comes_back_from_its_rows_as_it_was(tmp_path: Path, seed: int) -> None:
    night = Night(tmp_path / "journal.db", seed)
    for _ in range(40):
        night.rng.choice((night.state, night.level, night.level, night.wait, night.act, night.odd))()
    before = night.control.room.pack()
    await night.control.restart()
    after = night.control.recovered_state
    assert night.control.recovered > 20
    for name in ("book", "decided", "barred", "ordered", "untold", "requests", "activations", "points"):
        assert after[name] == before[name], name


def test_a_start_reads_no_more_than_what_came_since_the_last_snapshot(tmp_path: Path) -> None:
    """So it is soon over, however long the journal is (`python -m tests.kit.startup` measures it)."""
    rows = asyncio.run(lived_long(tmp_path / "journal.db", 3100))
    again = ControlRoom(tmp_path / "journal.db")
    assert rows > 2 * SNAPSHOT_ROWS
    assert again.recovered <= SNAPSHOT_ROWS + 10
