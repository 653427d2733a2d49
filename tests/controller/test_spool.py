from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from influxdb_client import Point

from controller.history import line_protocol
from controller.history.spool import Batch, Kind, Spool

T, E = Kind.TELEMETRY, Kind.TRANSITION


def lines(word: str, count: int = 10) -> list[bytes]:
    return [f"{word},n={n} value={n} {n}".encode() for n in range(count)]


def drain(spool: Spool) -> list[Batch]:
    batches = []
    while batch := spool.newest():
        batches.append(batch)
        spool.taken(batch.number)
    return batches


def test_the_newest_goes_first_and_stays_until_it_is_taken(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s.db")
    spool.put([(T, lines("old"))])
    spool.put([(T, lines("new")), (E, lines("event"))])
    first = spool.newest()
    assert first is not None
    assert first == spool.newest(), "looking is not taking"
    assert [(b.kind, b.lines.split(b",")[0]) for b in drain(spool)] == [(E, b"event"), (T, b"new"), (T, b"old")]
    assert spool.size_bytes == 0


def test_it_survives_a_restart(tmp_path: Path) -> None:
    one = Spool(tmp_path / "s.db")
    one.put([(T, lines("a")), (E, [])])
    size = one.size_bytes
    one.close()
    two = Spool(tmp_path / "s.db")
    assert two.size_bytes == size > 0
    assert [b.lines for b in drain(two)] == [b"\n".join(lines("a"))]


def test_a_bad_line_keeps_no_other_back(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s.db")
    spool.put([(T, [*lines("a", 99), b"poison", *lines("b", 100)])])
    taken: list[bytes] = []
    while batch := spool.newest():
        if b"poison" in batch.lines:
            spool.refused(batch)
        else:
            taken += batch.lines.split(b"\n")
            spool.taken(batch.number)
    assert sorted(taken) == sorted([*lines("a", 99), *lines("b", 100)])
    spool.retry_refused()
    assert [b.lines for b in drain(spool)] == [b"poison"], "set aside, not thrown away"


@settings(max_examples=25, deadline=None)
@given(
    puts=st.lists(st.tuples(st.sampled_from(Kind), st.integers(1, 30)), min_size=1, max_size=30),
    room=st.integers(60, 1500),
)
def test_the_bound_is_kept_and_what_goes_is_counted(
    tmp_path_factory: pytest.TempPathFactory, puts: list[tuple[Kind, int]], room: int
) -> None:
    path = tmp_path_factory.mktemp("spool") / "s.db"
    spool = Spool(path, bytes_max=room)
    look = apsw.Connection(str(path))
    shed = 0
    for n, (kind, count) in enumerate(puts):
        before = spool.shed_lines()[E]
        shed += spool.put([(kind, lines(f"w{n}", count))])
        assert spool.size_bytes <= room
        if spool.shed_lines()[E] > before:
            left_over = look.execute("SELECT count(*) FROM batch WHERE kind = ?", (int(T),)).get
            assert left_over == 0, "a transition goes only when no telemetry is left"
    left = drain(spool)
    counted = spool.shed_lines()
    assert sum(counted.values()) == shed
    for kind in Kind:
        assert sum(b.count for b in left if b.kind is kind) + counted[kind] == sum(c for k, c in puts if k is kind)
    numbers = [b.number for b in left]
    assert numbers == sorted(numbers, reverse=True)


TEXT = st.text(st.characters(exclude_characters="\\", exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=20)
NUMBERS = st.one_of(st.integers(-(1 << 63), (1 << 63) - 1), st.floats())


@given(
    tags=st.dictionaries(st.sampled_from(["point", "node", "unit", "zone"]), TEXT),
    value=NUMBERS,
    at_us=st.integers(0, 1 << 60),
)
def test_lines_are_what_the_client_library_writes(tags: dict[str, str], value: float, at_us: int) -> None:
    point = Point("bucium_reading").field("value", value).field("status", 3).time(at_us)
    for key, text in tags.items():
        point.tag(key, text)
    ours = line_protocol.line(line_protocol.head("bucium_reading", tags), {"status": 3, "value": value}, at_us)
    theirs = point.to_line_protocol()
    # The library shortens 1.0 to 1; both are the same float.
    assert ours.decode().replace(".0 ", " ") == theirs.replace(".0 ", " ")


@given(st.text(max_size=30))
def test_no_tag_ends_its_line_or_its_place(text: str) -> None:
    head = line_protocol.head("m", {"point": text}).decode()
    assert len(head.splitlines()) == 1
    unescaped = head.replace(r"\,", "\0").replace(r"\=", "\1").replace(r"\ ", "\2")
    if text:
        name, _, value = unescaped.partition(",point=")
        assert name == "m"
        assert not set(value) & set(", =\\")
        assert value.translate({0: ",", 1: "=", 2: " "}) == line_protocol.clean(text)


def test_what_is_not_finite_is_left_out() -> None:
    head = line_protocol.head("m", {})
    assert line_protocol.line(head, {"value": float("nan"), "status": 1}, 5) == b"m status=1i 5"
    assert line_protocol.line(head, {"value": float("inf")}, 5) == b""


def test_a_damaged_file_is_set_aside_and_a_new_one_begun(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    one = Spool(path)
    one.put([(T, lines("a"))])
    one.close()
    whole = path.read_bytes()
    for spoilt in (b"shopping list\n" * 500, whole[:5000], bytes(100) + whole[100:]):
        path.write_bytes(spoilt)
        two = Spool(path)
        assert two.damaged
        two.put([(T, lines("b"))])
        assert len(drain(two)) == 1
        two.close()
        assert (tmp_path / "s.db.damaged").read_bytes() == spoilt


def test_a_batch_that_is_not_what_was_written_is_found_when_it_is_read(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s.db")
    spool.put([(T, lines("a"))])
    spool._db.execute("UPDATE batch SET lines = X'00'")
    with pytest.raises(apsw.CorruptError):
        spool.newest()
    spool.begin_anew()
    assert spool.newest() is None
