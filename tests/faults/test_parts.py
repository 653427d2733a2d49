"""The breaking machine's own parts: what a disk forgets, what a line does, when a campaign is red."""

import asyncio
import sqlite3
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from tests.kit.powercut import Inode, Platter
from tests.kit.tap import Packet

from .breaking import KINDS, spoil
from .campaign import Outcome
from .checker import Verdict
from .episode import Danger, Run
from .pipe import HEADER_BYTES, Pipe
from .records import records
from .seen import NS
from .table import BEGIN, END, write


def cut(platter: Platter, seed: int) -> None:
    platter.cut(Random(seed))


def a_file(platter: Platter, path: str = "/a") -> Inode:
    inode = Inode(0o100644)
    platter.change("make", path, inode)
    return inode


@pytest.mark.parametrize("seed", range(30))
def test_what_was_synced_is_there_and_what_was_not_may_not_be(seed: int) -> None:
    platter = Platter()
    inode = a_file(platter)
    inode.put(0, b"kept")
    platter.sync(inode)
    inode.put(4, b"x" * 5000)
    platter.change("make", "/b", Inode(0o100644))
    cut(platter, seed)
    assert platter.names["/a"].seen.startswith(b"kept")
    assert set(platter.names) <= {"/", "/a", "/b"}
    assert not inode.pending


def test_over_many_cuts_something_is_lost_something_torn_and_something_kept() -> None:
    lengths = set()
    for seed in range(60):
        platter = Platter()
        inode = a_file(platter)
        platter.sync(inode)
        for turn in range(4):
            inode.put(turn * 4096, b"x" * 4096)
        cut(platter, seed)
        lengths.add(len(platter.names["/a"].seen))
    assert 0 in lengths
    assert any(length % 4096 for length in lengths)
    assert 4 * 4096 in lengths


def test_names_are_lost_from_the_last_on() -> None:
    seen = set()
    for seed in range(40):
        platter = Platter()
        for name in "abc":
            a_file(platter, f"/{name}")
        cut(platter, seed)
        seen.add("".join(sorted(name[1:] for name in platter.names)))
    assert seen == {"", "a", "ab", "abc"}


def test_a_sync_that_failed_promised_nothing() -> None:
    platter = Platter()
    inode = a_file(platter)
    platter.sync(inode)
    inode.put(0, b"gone")
    platter.sync_fails = True
    with pytest.raises(OSError, match="fsync"):
        platter.sync(inode)
    platter.sync_fails = False
    platter.sync(inode)  # retried, and believed: the kernel has nothing left to write
    assert bytes(inode.seen) == b"gone"
    cut(platter, 1)
    assert bytes(platter.names["/a"].seen) == bytes(4)


def test_a_move_replaces_and_survives_only_once_synced() -> None:
    platter = Platter()
    old, new = a_file(platter, "/file"), a_file(platter, "/file.new")
    for inode, data in ((old, b"old"), (new, b"new")):
        inode.put(0, data)
        platter.sync(inode)
    platter.change("move", "/file.new", "/file")
    platter.sync(None)
    cut(platter, 1)
    assert bytes(platter.names["/file"].seen) == b"new"
    assert "/file.new" not in platter.names


async def echo() -> asyncio.Server:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            writer.write(data)
        writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


async def test_a_line_carries_hears_holds_back_and_goes_on() -> None:
    server = await echo()
    heard: list[Packet] = []
    pipe = Pipe(server.sockets[0].getsockname()[1], heard.append)
    await pipe.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", pipe.port)
    publish = b"\x30\x07\x00\x03a/bhi"
    writer.write(publish[:4])
    writer.write(publish[4:])
    assert await reader.readexactly(len(publish)) == publish
    assert [(packet.kind, packet.topic, packet.payload, packet.up) for packet in heard] == [
        ("PUBLISH", "a/b", b"hi", True),
        ("PUBLISH", "a/b", b"hi", False),
    ]
    pipe.cut()
    writer.write(publish)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.readexactly(1), 0.3)
    pipe.mend()
    assert await reader.readexactly(len(publish)) == publish
    writer.close()
    await pipe.stop()
    server.close()


async def test_a_slow_line_is_as_slow_as_it_says() -> None:
    server = await echo()
    pipe = Pipe(server.sockets[0].getsockname()[1], lambda packet: None)
    pipe.bits_per_s = 80_000
    await pipe.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", pipe.port)
    began = time.monotonic()
    writer.write(bytes(2000))
    await reader.readexactly(2000)
    assert (
        time.monotonic() - began >= (2000 + HEADER_BYTES) * 8 / pipe.bits_per_s
    )  # never quicker, whatever the machine does
    writer.close()
    await pipe.stop()
    server.close()


def run(kind: str, late_s: float = 1.0, *, happened: bool = True, failure: str = "") -> Run:
    danger = Danger("bridge", 1, NS, NS + round(late_s * NS))
    return Run("w", kind, "bridge", "after", 1, happened, True, 2.0, 0.0, [danger], failure)


def outcome(*runs: Run, promised: dict[str, int] | None = None) -> Outcome:
    counts = Counter(promised) if promised is not None else Counter(one.kind for one in runs)
    return Outcome(1, [*runs], {"w": Verdict()}, Counter(), counts)


def test_a_campaign_in_which_all_held_is_green_and_says_so() -> None:
    made = outcome(run("kill node"), run("stop node", 3.0))
    assert made.judge() == []
    assert made.line == "runs 2, lost 0, invented 0, late_max_s 3.0"


def test_a_campaign_is_red_for_each_reason() -> None:
    assert "promised 2" in outcome(run("kill node"), promised={"kill node": 2}).judge()[0]
    assert "promised 1" in outcome(run("kill node", happened=False)).judge()[0]
    assert "31.0 s late" in outcome(run("kill node", 31.0)).judge()[0]
    assert "on average" in outcome(run("kill node", 11.0)).judge()[0]
    assert "did not" in outcome(run("kill node", failure="it did not")).judge()[0]
    lost = outcome(run("kill node"))
    lost.verdicts["w"].find("I1 lost: an event", lost=1)
    assert lost.judge() == ["w: I1 lost: an event"]
    assert "lost 1" in lost.line
    slow = outcome(run("kill controller"))
    slow.runs[0].serving_s = 5.1
    assert "serving again after 5.1 s" in slow.judge()[0]
    large = outcome(run("kill node"))
    large.peaks_mib = {"node": 64.6, "controller": 200.0}
    assert large.judge() == ["I6 a node held 65 MiB, at most 64 MiB"]


def test_a_whole_campaign_must_have_seen_every_moment() -> None:
    made = outcome(*(run(kind) for kind in KINDS))
    assert [found for found in made.judge() if found.startswith("it never came to: moment")]


def test_a_dead_journal_is_read_as_far_as_it_can_be_and_left_as_it_is(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "journal.db")) as db:
        db.execute("CREATE TABLE meta (key TEXT, value BLOB)")
        db.execute("INSERT INTO meta VALUES ('journal', x'0102030405060708')")
        db.execute("CREATE TABLE entry (seq INTEGER PRIMARY KEY, kind, wall_us, monotonic_ns, payload, previous, hash)")
        rows = [(seq, 12, 0, 0, b"\x80" + bytes(300), bytes(32), bytes(32)) for seq in range(1, 200)]
        db.executemany("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        db.commit()
    before = (tmp_path / "journal.db").read_bytes()
    [record] = records(tmp_path, tmp_path / "spare")
    assert record.broken
    assert (tmp_path / "journal.db").read_bytes() == before
    assert spoil(tmp_path / "journal.db", Random(1))
    assert records(tmp_path, tmp_path / "spare")[0].name == "journal.db"


def test_the_table_replaces_itself(tmp_path: Path) -> None:
    page = tmp_path / "faults.md"
    page.write_text(f"before\n{BEGIN}\nformer\n{END}\nafter\n")
    for _ in range(2):
        write(page, outcome(run("kill node")), 60.0)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert text.count("| kill node | 1 | 0 | 1.0 | 1.0 | 2.0 | 2.0 | 10 |") == 1
    assert "former" not in text
