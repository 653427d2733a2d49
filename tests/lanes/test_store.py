"""Stores: our pragmas, our files only, and a newer program's file left alone."""

import apsw
import pytest

from lanes.store import StoreError, ThreadRunner, open_store, run_here, transaction

SCHEMA = "CREATE TABLE t (n INTEGER PRIMARY KEY)"


def make(path, version=1, application=77):
    return open_store(path, application=application, schema=SCHEMA, version=version)


def test_a_new_store_is_durable_and_ours(tmp_path):
    store = make(tmp_path / "a.db")
    assert store.pragma("synchronous") == 2
    assert store.pragma("journal_mode") == "wal"
    assert store.pragma("application_id") == 77
    store.execute("INSERT INTO t VALUES (1)")
    store.close()
    assert make(tmp_path / "a.db").execute("SELECT n FROM t").get == 1


def test_somebody_elses_database_is_left_as_it_is(tmp_path):
    other = apsw.Connection(str(tmp_path / "b.db"))
    other.execute("CREATE TABLE theirs (x)")
    other.close()
    before = (tmp_path / "b.db").read_bytes()
    with pytest.raises(StoreError, match="not ours"):
        make(tmp_path / "b.db")
    make(tmp_path / "c.db").close()
    with pytest.raises(StoreError, match="not ours"):
        make(tmp_path / "c.db", application=78)
    assert (tmp_path / "b.db").read_bytes() == before


def test_what_is_no_database_and_what_is_newer(tmp_path):
    (tmp_path / "d.db").write_bytes(b"x" * 5000)
    with pytest.raises(StoreError, match="cannot open"):
        make(tmp_path / "d.db")
    make(tmp_path / "e.db", version=2).close()
    with pytest.raises(StoreError, match="newer"):
        make(tmp_path / "e.db", version=1)


async def test_runners_keep_order():
    done = []
    runner = ThreadRunner("test")
    for n in range(5):
        await runner(done.append, n)
    await run_here(done.append, 5)
    runner.close()
    assert done == list(range(6))


def test_a_transaction_that_the_disk_breaks_in_the_midst_says_so_and_leaves_nothing(tmp_path):
    """SQLite rolls back by itself then, and apsw alone would say that there is nothing to roll back."""
    store = make(tmp_path / "f.db")
    store.execute("CREATE TABLE long (data)")
    store.pragma("max_page_count", 300)
    for _ in range(2):
        with pytest.raises(apsw.FullError), transaction(store):
            for _ in range(10):
                store.execute("INSERT INTO long VALUES (zeroblob(200000))")
    with transaction(store):
        store.execute("INSERT INTO t VALUES (1)")
    assert store.execute("SELECT (SELECT count(*) FROM long), (SELECT count(*) FROM t)").fetchone() == (0, 1)
    with pytest.raises(apsw.SQLError, match="no such table"), transaction(store):
        store.execute("INSERT INTO nowhere VALUES (1)")
    with pytest.raises(ZeroDivisionError), transaction(store):
        store.execute(f"INSERT INTO t VALUES ({1 // 0})")
