"""When the database takes no rows: the emergency journal takes them, once, whatever dies in between; damage is set aside."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.record.database import Damaged, Unwritten
from controller.record.emergency import FRAME, HEAD_BYTES, Emergency, Torn
from controller.record.journal import RETRY_S, Journal, Spare
from controller.record.records import GENESIS, Record, Row, hash_row
from controller.record.verify import verify_journal
from lanes import cbor
from lanes.keys import SigningKey
from lanes.store import StoreError, run_here
from tests.kit.clock import ManualClock
from tests.kit.disk import Disk, faulty_disk

KEY = SigningKey.from_seed(bytes(32))
KEYS = {KEY.kid: KEY.public}
SIZE = 1 << 16
ID = b"journal1"


class Desk:
    """A journal on a disk that fails on cue; its emergency journal stands on another one."""

    def __init__(self, folder: Path, *, spare: bool = True, size: int = SIZE) -> None:
        self.folder, self.spare = folder, folder.parent / "spare" / "journal.emergency"
        self.clock = ManualClock()
        self.told: list[tuple[str, str, bool]] = []
        self.journal = Journal(
            folder / "journal.db",
            clock=self.clock,
            runner=run_here,
            key=KEY,
            new_id=ID,
            controller="iasi",
            spare=Spare(self.spare, size) if spare else None,
        )
        self.journal.notice = lambda *what: self.told.append(what)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.journal.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def add(self, count: int = 1) -> None:
        for number in range(count):
            self.journal.append(Record.TROUBLE, ["test", str(number), "", True])
        await asyncio.wait_for(self.journal.durable(), 60)

    def subjects(self) -> list[str]:
        return [row.value[1] for row in self.journal.rows() if row.kind is Record.TROUBLE]

    def die(self) -> None:
        """As by SIGKILL: nothing is tidied up."""
        self.journal.drop()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def full(disk: Disk) -> None:
    disk.room = disk.used()


def unsynced(disk: Disk) -> None:
    disk.sync_fails = True


def unwritable(disk: Disk) -> None:
    disk.write_fails = True


@pytest.mark.parametrize(("fault", "why"), [(full, "full"), (unsynced, "disk"), (unwritable, "disk")])
async def test_a_failing_disk_hands_over_and_takes_back(folder: Path, fault: Callable[[Disk], None], why: str) -> None:
    with faulty_disk(folder) as disk:
        desk = Desk(folder)
        async with desk.running():
            await desk.add(3)
            fault(disk)
            await desk.add(40)  # more than what fits into the pages that are there already
            await desk.add(2)
            assert desk.journal.emergency == why
            await asyncio.sleep(0)
            assert ("journal-emergency", why, True) in desk.told
            disk.room, disk.sync_fails, disk.write_fails = None, False, False
            desk.clock.advance(RETRY_S)
            await desk.add(1)
            await desk.add(1)
            assert desk.journal.emergency == ""
            assert desk.told[-1] == ("journal-emergency", why, False)
        await desk.journal.close()
    verdict = verify_journal(folder / "journal.db", KEYS, folder / "journal.head")
    assert verdict.whole, verdict
    assert verdict.rows == 1 + 3 + 40 + 2 + 1 + 1 + 1  # born, those, the head
    assert Emergency(desk.spare, ID, verdict.rows).empty


@pytest.mark.parametrize("rows", [500, 1_000, 5_000])
async def test_a_storm_that_shares_one_commit_fits_into_the_emergency_journal(folder: Path, rows: int) -> None:
    with faulty_disk(folder) as disk:
        desk = Desk(folder, size=8 << 20)
        async with desk.running():
            await desk.add(1)
            full(disk)
            await desk.add(rows)
            assert desk.journal.emergency == "full"
            assert desk.spare.read_bytes().count(b"BucE") == rows
        desk.die()
        disk.room = None
        assert Desk(folder).subjects() == ["0", *map(str, range(rows))]


async def test_a_disk_that_is_full_again_in_the_midst_of_a_merge_is_waited_for(folder: Path) -> None:
    """Hours of an emergency do not fit into SQLite's cache: it writes before the commit, and rolls back by itself."""
    with faulty_disk(folder) as disk:
        desk = Desk(folder, size=8 << 20)
        async with desk.running():
            await desk.add(1)
            full(disk)
            await desk.add(20_000)
            assert desk.journal.emergency == "full"
            disk.room = disk.used() + (3 << 20)
            for _ in range(2):
                desk.clock.advance(RETRY_S)
                await desk.add(1)
                assert desk.journal.emergency == "full"
            desk.die()
            desk = Desk(folder, size=8 << 20)
        async with desk.running():
            assert desk.journal.emergency == "full"
            disk.room = None
            desk.clock.advance(RETRY_S)
            await desk.add(1)
            await desk.add(1)
            assert desk.journal.emergency == ""
        await desk.journal.close()
    verdict = verify_journal(folder / "journal.db", KEYS, folder / "journal.head")
    assert verdict.whole, verdict
    assert verdict.rows == 1 + 1 + 20_000 + 2 + 2 + 1


async def test_a_locked_database_is_merged_when_the_lock_is_gone(folder: Path) -> None:
    desk = Desk(folder)
    desk.journal._db._store.set_busy_timeout(1)
    holder = apsw.Connection(str(folder / "journal.db"))
    async with desk.running():
        await desk.add(2)
        holder.execute("BEGIN IMMEDIATE")
        await desk.add(2)
        assert desk.journal.emergency == "locked"
        desk.clock.advance(RETRY_S)
        await desk.add(2)  # looks again, and waits on
        assert desk.journal.emergency == "locked"
        holder.execute("COMMIT")
        holder.close()
        desk.clock.advance(RETRY_S)
        await desk.add(1)
        await desk.add(1)
        assert desk.journal.emergency == ""
    await desk.journal.close()
    assert verify_journal(folder / "journal.db", KEYS, folder / "journal.head").whole


async def test_a_quiet_controller_looks_by_itself_whether_the_disk_is_back(folder: Path, monkeypatch) -> None:
    monkeypatch.setattr("controller.record.journal.RETRY_S", 0.0)
    with faulty_disk(folder) as disk:
        desk = Desk(folder)
        async with desk.running():
            unwritable(disk)
            await desk.add()
            disk.write_fails = False
            for _ in range(200):
                await asyncio.sleep(0.005)
                if not desk.journal.emergency:
                    break
            assert desk.journal.emergency == ""
        await desk.journal.close()


@given(dies=st.integers(0, 3), heals=st.booleans(), lives=st.integers(1, 3), rows=st.integers(1, 30))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_dies_when_rows_are_there_once_and_the_chain_goes_on(
    tmp_path: Path, dies: int, heals: bool, lives: int, rows: int
) -> None:
    """Killed in an emergency, after the merge before the wipe, and again; every row that was durable is there once."""
    base = tmp_path / "run"
    shutil.rmtree(base, ignore_errors=True)
    (base / "data").mkdir(parents=True)
    asyncio.run(_lives(base / "data", dies, heals, lives, rows))


async def _lives(folder: Path, dies: int, heals: bool, lives: int, rows: int) -> None:
    expected = 0
    with faulty_disk(folder) as disk:
        for life in range(lives):
            desk = Desk(folder)
            async with desk.running():
                await desk.add(2)
                unwritable(disk)
                await desk.add(rows)
                expected += 2 + rows
                if dies == life:
                    with contextlib.suppress(StoreError):
                        _merged_but_not_wiped(desk, disk)
            if heals or dies == life:
                disk.write_fails = False
            desk.die()
            disk.write_fails = False
        last = Desk(folder)
        assert last.journal.emergency == ""
        assert len(last.subjects()) == expected
        async with last.running():
            await last.add(1)
        await last.journal.close()
    verdict = verify_journal(folder / "journal.db", KEYS, folder / "journal.head")
    assert verdict.whole, verdict


def _merged_but_not_wiped(desk: Desk, disk: Disk) -> None:
    """As if the program died right behind the commit of the merge."""
    disk.write_fails = False
    emergency = desk.journal._emergency
    assert emergency is not None
    emergency.wipe = lambda _after: None  # type: ignore[method-assign]
    desk.journal._merge_now()


async def test_a_start_on_a_full_disk_goes_on_in_the_emergency_journal(folder: Path) -> None:
    with faulty_disk(folder) as disk:
        desk = Desk(folder)
        async with desk.running():
            await desk.add(2)
            unwritable(disk)
            await desk.add(3)
        desk.die()
        again = Desk(folder)
        assert again.journal.emergency == "disk"
        assert len(again.subjects()) == 5
        async with again.running():
            await again.add(1)
            disk.write_fails = False
            again.clock.advance(RETRY_S)
            await again.add(1)
            await again.add(1)
            assert again.journal.emergency == ""
        await again.journal.close()
    assert verify_journal(folder / "journal.db", KEYS, folder / "journal.head").whole


async def test_neither_disk_takes_rows_the_run_ends(folder: Path) -> None:
    with faulty_disk(folder) as disk:
        desk = Desk(folder, spare=False)
        task = asyncio.create_task(desk.journal.run())
        unwritable(disk)
        desk.journal.append(Record.TROUBLE, ["test", "", "", True])
        with pytest.raises(Unwritten):
            await task


async def test_a_full_emergency_journal_says_so(folder: Path) -> None:
    with faulty_disk(folder) as disk:
        desk = Desk(folder)
        task = asyncio.create_task(desk.journal.run())
        unwritable(disk)
        for _ in range(SIZE // FRAME.size):
            desk.journal.append(Record.TROUBLE, ["test", "x" * 40, "", True])
        with pytest.raises(StoreError, match="full"):
            await task


async def test_a_failed_sync_of_the_emergency_journal_is_never_repeated(folder: Path) -> None:
    emergency = Emergency(folder / "e", ID, 0, SIZE)
    with faulty_disk(folder) as disk:
        emergency = Emergency(folder / "e", ID, 0, SIZE)
        disk.sync_fails = True
        with pytest.raises(StoreError, match="sync failed"):
            emergency.write(chain(1))
        disk.sync_fails = False
        with pytest.raises(StoreError, match="has failed"):
            emergency.write(chain(1))


async def test_a_head_that_cannot_be_written_is_trouble_and_no_more(folder: Path) -> None:
    desk = Desk(folder)
    (folder / "journal.head.new").mkdir()  # stands in the way
    async with desk.running():
        desk.journal.sign_head()
        await desk.add()
        await desk.add()
        assert any(code == "head-unwritten" and on for code, _, on in desk.told)
        (folder / "journal.head.new").rmdir()
        desk.journal.sign_head()
        await desk.add()
        await desk.add()
        assert desk.told[-1][0::2] == ("head-unwritten", False)
    await desk.journal.close()
    assert verify_journal(folder / "journal.db", KEYS, folder / "journal.head").whole


# The file itself.


def chain(count: int, first: int = 1, before: bytes = GENESIS) -> list[Row]:
    rows = []
    for seq in range(first, first + count):
        payload = cbor.encode(["test", seq])
        digest = hash_row(ID, seq, Record.TROUBLE, seq, seq, payload, before)
        rows.append(Row(seq, Record.TROUBLE, seq, seq, payload, before, digest))
        before = digest
    return rows


def filled(path: Path, *batches: int) -> list[Row]:
    path.unlink(missing_ok=True)
    emergency = Emergency(path, ID, 0, SIZE)
    rows: list[Row] = []
    for count in batches:
        more = chain(count, len(rows) + 1, rows[-1].hash if rows else GENESIS)
        emergency.write(more)
        rows += more
    emergency.close()
    return rows


def test_rows_come_back_and_an_earlier_use_does_not_link(folder: Path) -> None:
    rows = filled(folder / "e", 3, 5, 1)
    emergency = Emergency(folder / "e", ID, 0)
    assert list(emergency.rows()) == rows
    emergency.wipe(9)
    assert list(emergency.rows()) == []
    more = chain(2, 10, rows[-1].hash)
    emergency.write(more)
    emergency.close()
    assert list(Emergency(folder / "e", ID, 9).rows()) == more


@given(batches=st.lists(st.integers(1, 4), min_size=1, max_size=4), bit=st.integers(0, 1 << 14))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_one_changed_bit_is_damage_unless_it_hit_the_last_write(tmp_path: Path, batches: list[int], bit: int) -> None:
    rows = filled(tmp_path / "e", *batches)
    data = bytearray((tmp_path / "e").read_bytes())
    ends = [HEAD_BYTES]
    for row in rows:
        ends.append(ends[-1] + FRAME.size + len(row.payload))
    at = HEAD_BYTES + bit % (8 * (ends[-1] - HEAD_BYTES)) // 8
    data[at] ^= 1 << (bit % 8)
    (tmp_path / "e").write_bytes(data)
    last_write = ends[len(rows) - batches[-1]]
    if at < last_write:
        with pytest.raises(Torn):
            Emergency(tmp_path / "e", ID, 0)
    else:
        found = list(Emergency(tmp_path / "e", ID, 0).rows())
        assert found == rows[: len(found)]
        assert len(rows) - batches[-1] <= len(found) < len(rows)


def test_rows_of_another_journal_and_another_file_are_left_alone(folder: Path) -> None:
    filled(folder / "e", 2)
    with pytest.raises(StoreError, match="another journal"):
        Emergency(folder / "e", b"journal2", 0)
    (folder / "f").write_bytes(bytes(SIZE))
    with pytest.raises(StoreError, match="no emergency journal"):
        Emergency(folder / "f", ID, 0)


async def test_an_emergency_journal_that_does_not_go_on_from_its_database_is_damage(folder: Path) -> None:
    desk = Desk(folder)
    async with desk.running():
        await desk.add(2)
    desk.die()
    emergency = Emergency(desk.spare, ID, 3)
    emergency.write(chain(2, 4, bytes(31) + b"x"))
    emergency.close()
    with pytest.raises(Damaged, match="does not follow"):
        Desk(folder)
