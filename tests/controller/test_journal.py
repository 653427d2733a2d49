"""The journal keeps what it promised, in order, and says when it was touched."""

import ast
import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.record import verify
from controller.record.journal import Journal
from controller.record.records import Record
from controller.record.verify import verify_journal
from lanes.keys import SigningKey
from lanes.store import StoreError, run_here
from tests.kit.clock import ManualClock

KEY = SigningKey.from_seed(bytes(32))
KEYS = {KEY.kid: KEY.public}


def open_journal(path: Path, **changes: object) -> Journal:
    options = {"clock": ManualClock(), "runner": run_here, "key": KEY, "new_id": b"journal1"} | changes
    return Journal(path, **options)  # type: ignore[arg-type]


async def written(path: Path, rows: int = 12) -> None:
    journal = open_journal(path)
    running = asyncio.create_task(journal.run())
    for number in range(rows):
        journal.append(Record.TROUBLE, ["test", str(number), True])
    journal.snapshot({"rows": rows})
    await journal.durable()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await journal.close()


async def test_rows_come_back_in_order_with_the_same_id(tmp_path: Path) -> None:
    await written(tmp_path / "j.db", 5)
    again = open_journal(tmp_path / "j.db", new_id=b"another1")
    assert again.id == b"journal1"
    rows = list(again.rows())
    assert [row.kind for row in rows] == [Record.BORN, *[Record.TROUBLE] * 5, Record.SNAPSHOT, Record.HEAD]
    assert rows[3].value == ["test", "2", True]
    assert again.last_snapshot() == (6, {"rows": 5})


async def test_many_appends_share_one_commit(tmp_path: Path) -> None:
    commits = 0

    async def counting(function: Callable[..., object], *args: object) -> object:
        nonlocal commits
        commits += 1
        await asyncio.sleep(0)
        return function(*args)

    journal = open_journal(tmp_path / "j.db", runner=counting)
    running = asyncio.create_task(journal.run())

    async def one(number: int) -> None:
        await journal.durable(journal.append(Record.TROUBLE, ["test", str(number), True]).seq)
        assert journal.read(journal.durable_seq) is not None

    await asyncio.gather(*(one(number) for number in range(100)))
    assert commits <= 3
    running.cancel()


async def test_nothing_is_durable_before_its_commit(tmp_path: Path) -> None:
    gate = asyncio.Event()

    async def gated(function: Callable[..., object], *args: object) -> object:
        await gate.wait()
        return function(*args)

    journal = open_journal(tmp_path / "j.db", runner=gated)
    running = asyncio.create_task(journal.run())
    row = journal.append(Record.TROUBLE, ["test", "", True])
    waiting = asyncio.create_task(journal.durable(row.seq))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not waiting.done()
    assert journal.durable_seq < row.seq
    gate.set()
    await waiting
    assert journal.read(row.seq) == row
    running.cancel()


async def test_a_failed_commit_ends_the_run_and_whoever_waits(tmp_path: Path) -> None:
    async def failing(function: Callable[..., object], *args: object) -> object:
        raise StoreError("cannot write: disk I/O error", tmp_path)

    journal = open_journal(tmp_path / "j.db", runner=failing)
    running = asyncio.create_task(journal.run())
    journal.append(Record.TROUBLE, ["test", "", True])
    with pytest.raises(asyncio.CancelledError):
        await journal.durable()
    with pytest.raises(StoreError):
        await running


def test_a_foreign_database_is_left_alone(tmp_path: Path) -> None:
    other = apsw.Connection(str(tmp_path / "j.db"))
    other.execute("CREATE TABLE theirs (x)")
    other.close()
    with pytest.raises(StoreError, match="not ours"):
        open_journal(tmp_path / "j.db")


async def test_rows_cannot_be_changed_through_sql(tmp_path: Path) -> None:
    await written(tmp_path / "j.db")
    store = apsw.Connection(str(tmp_path / "j.db"))
    for statement in ("UPDATE entry SET kind = 2 WHERE seq = 3", "DELETE FROM entry WHERE seq = 3"):
        with pytest.raises(apsw.ConstraintError):
            store.execute(statement)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("journal")
    asyncio.run(written(folder / "j.db"))
    return folder


def tampered(original: Path, folder: Path, statement: str, *values: object) -> Path:
    copy = folder / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(original, copy)
    store = apsw.Connection(str(copy / "j.db"))
    store.execute("DROP TRIGGER IF EXISTS entry_stays; DROP TRIGGER IF EXISTS entry_remains")
    store.execute(statement, values)
    store.close()
    return copy / "j.db"


def test_an_untouched_journal_is_whole(original: Path) -> None:
    verdict = verify_journal(original / "j.db", KEYS, original / "j.head")
    assert verdict.whole, verdict
    assert (verdict.rows, verdict.heads, verdict.checked) == (15, 1, 1)


@given(
    row=st.integers(1, 15),
    column=st.sampled_from(["kind", "wall_us", "monotonic_ns", "payload", "previous", "hash"]),
    bit=st.integers(0, 4096),
)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_every_changed_bit_is_found_at_its_row(original: Path, tmp_path: Path, row: int, column: str, bit: int) -> None:
    store = apsw.Connection(str(original / "j.db"), flags=apsw.SQLITE_OPEN_READONLY)
    value = store.execute(f"SELECT {column} FROM entry WHERE seq = ?", (row,)).get
    store.close()
    if isinstance(value, int):
        changed: object = value ^ (1 << (bit % 31))
    else:
        octets = bytearray(value)
        octets[bit // 8 % len(octets)] ^= 1 << (bit % 8)
        changed = bytes(octets)
    path = tampered(original, tmp_path, f"UPDATE entry SET {column} = ? WHERE seq = ?", changed, row)
    assert verify_journal(path).bad_row == row


@pytest.mark.parametrize("row", range(1, 16))
def test_every_missing_row_is_found(original: Path, tmp_path: Path, row: int) -> None:
    path = tampered(original, tmp_path, "DELETE FROM entry WHERE seq = ?", row)
    assert verify_journal(path, KEYS, original / "j.head").bad_row == row


def test_two_rows_exchanged_are_found(original: Path, tmp_path: Path) -> None:
    path = tampered(original, tmp_path, "UPDATE entry SET seq = 100 WHERE seq = 4")
    store = apsw.Connection(str(path))
    store.execute("UPDATE entry SET seq = 4 WHERE seq = 5; UPDATE entry SET seq = 5 WHERE seq = 100")
    store.close()
    assert verify_journal(path).bad_row == 4


def test_a_cut_tail_is_found_against_a_signed_head(original: Path, tmp_path: Path) -> None:
    path = tampered(original, tmp_path, "DELETE FROM entry WHERE seq > 9")
    assert verify_journal(path).why.startswith("its snapshot")
    verdict = verify_journal(path, KEYS, original / "j.head")
    assert not verdict.whole


def test_another_journal_and_another_signer_are_found(original: Path, tmp_path: Path) -> None:
    path = tampered(original, tmp_path, "UPDATE meta SET value = ?", b"journal2")
    assert verify_journal(path).bad_row == 1
    stranger = SigningKey.from_seed(bytes([1]) * 32)
    assert "does not name" in verify_journal(original / "j.db", {stranger.kid: stranger.public}).why
    assert "signature is wrong" in verify_journal(original / "j.db", {KEY.kid: stranger.public}).why


async def test_a_damaged_row_stops_the_start(original: Path, tmp_path: Path) -> None:
    path = tampered(original, tmp_path, "UPDATE entry SET wall_us = wall_us + 1 WHERE seq = 6")
    with pytest.raises(StoreError, match="row 6 is damaged"):
        list(open_journal(path).rows())


async def test_a_damaged_snapshot_is_passed_over(original: Path, tmp_path: Path) -> None:
    path = tampered(original, tmp_path, "UPDATE snapshot SET state = X'a0'")
    assert open_journal(path).last_snapshot() is None
    assert verify_journal(path).why.startswith("its snapshot")


def test_the_verifier_shares_no_code_with_the_writer() -> None:
    """Nor with anything else of ours: one mistake must not hide another."""
    tree = ast.parse(Path(verify.__file__).read_text())
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert not [node.module for node in imports if node.level]
    roots = {str(name).partition(".")[0] for name in (*imported, *(node.module for node in imports))}
    assert "apsw" in roots
    assert not roots & {"bucium", "controller", "cython_ext", "edge", "firmware_bridge", "lanes"}
