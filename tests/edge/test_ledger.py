"""The ledger keeps what it promised: through power cuts, flipped bits, full disks and other nodes' files."""

import sqlite3
from hashlib import sha256
from pathlib import Path

import apsw
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edge.report.ledger import AckVerdict, DamagedError, Draft, Kept, Ledger
from edge.report.ledgers import BROKEN
from edge.report.remains import read_unacked
from lanes.orders import Ack
from lanes.store import StoreError
from tests.kit.nodes import NODE, entropy

JOURNAL = b"journal1"


def draft(urgent: bool = False, size: int = 200) -> Draft:
    return Draft(urgent, lambda ledger, seq: (ledger + b"%d" % seq).ljust(size, b"."))


def open_ledger(folder: Path, seed: int = 1) -> Ledger:
    return Ledger(folder / "ledger.db", NODE, entropy(seed))


def ack(ledger: Ledger, through: int, *ranges: tuple[int, int], journal: bytes = JOURNAL) -> Ack:
    last = {k.seq: k for k in ledger.latest(1 << 20)}
    return Ack(journal, ledger.id, through, ranges, sha256(last[through].data).digest() if through else bytes(32))


def seqs(ledger: Ledger, limit: int = 1000) -> list[int]:
    return [kept.seq for kept in ledger.pending(limit)]


def test_an_event_stands_after_reopening_and_seq_goes_on(tmp_path):
    ledger = open_ledger(tmp_path)
    first = ledger.append([draft(), draft()])
    identity = ledger.id
    ledger.close()
    again = open_ledger(tmp_path, seed=2)
    assert again.id == identity
    assert again.pending(10) == first
    assert [k.seq for k in again.append([draft()])] == [3]


def test_what_was_committed_is_on_disk_before_append_returns(tmp_path):
    """Read by another SQLite, from a copy of the files made the moment append returned."""
    ledger = open_ledger(tmp_path)
    ledger.append([draft()])
    for suffix in ("", "-wal"):
        (tmp_path / f"copy.db{suffix}").write_bytes((tmp_path / f"ledger.db{suffix}").read_bytes())
    with sqlite3.connect(tmp_path / "copy.db") as other:
        assert other.execute("SELECT seq FROM event").fetchall() == [(1,)]
    assert apsw.Connection(str(tmp_path / "copy.db")).pragma("journal_mode") == "wal"
    assert ledger._db.pragma("synchronous") == 2, "only FULL keeps what was acknowledged"


def test_urgent_events_come_first_and_the_newest_of_them_first(tmp_path):
    ledger = open_ledger(tmp_path)
    ledger.append([draft(), draft(urgent=True), draft(), draft(urgent=True)])
    assert seqs(ledger) == [4, 2, 1, 3]
    assert seqs(ledger, 2) == [4, 2]
    skip = frozenset({(ledger.id, 4), (ledger.id, 1)})
    assert [k.seq for k in ledger.pending(2, skip)] == [2, 3]


def test_acks_take_events_out_and_keep_them_on_disk(tmp_path):
    ledger = open_ledger(tmp_path)
    ledger.append([draft() for _ in range(6)])
    assert ledger.ack(ack(ledger, 2, (4, 5))) is AckVerdict.RESEND  # the journal was not known before
    assert seqs(ledger) == [3, 6]
    assert ledger.ack(ack(ledger, 3, (4, 5))) is AckVerdict.TAKEN
    assert seqs(ledger) == [6]
    assert [k.seq for k in ledger.latest(10)] == [6, 5, 4, 3, 2, 1]


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({"through": 7}, AckVerdict.ABOVE_HEAD),
        ({"ranges": ((5, 9),)}, AckVerdict.ABOVE_HEAD),
        ({"ledger": b"elsewher"}, AckVerdict.FOREIGN),
        ({"last": b"x" * 32}, AckVerdict.DIFFERS),
    ],
)
def test_an_ack_that_cannot_be_is_refused_and_changes_nothing(tmp_path, change, verdict):
    ledger = open_ledger(tmp_path)
    ledger.append([draft() for _ in range(6)])
    right = ack(ledger, 2)
    fields = {name: getattr(right, name) for name in ("journal", "ledger", "through", "ranges", "last")}
    assert ledger.ack(Ack(**(fields | change))) is verdict
    assert len(seqs(ledger)) == 6


def test_a_new_journal_or_an_older_head_is_sent_everything_again(tmp_path):
    ledger = open_ledger(tmp_path)
    ledger.append([draft() for _ in range(6)])
    ledger.ack(ack(ledger, 6))
    assert seqs(ledger) == []
    assert ledger.ack(ack(ledger, 4)) is AckVerdict.RESEND
    assert seqs(ledger) == [5, 6]
    assert ledger.ack(ack(ledger, 6)) is AckVerdict.TAKEN
    assert ledger.ack(ack(ledger, 0, journal=b"journal2")) is AckVerdict.RESEND
    assert seqs(ledger) == [1, 2, 3, 4, 5, 6]


def test_pruning_lets_only_acked_events_go_and_seq_is_never_used_again(tmp_path):
    ledger = open_ledger(tmp_path)
    ledger.append([draft() for _ in range(5)])
    ledger.ack(ack(ledger, 2, (5, 5)))
    assert ledger.prune()
    assert [k.seq for k in ledger.latest(10)] == [5, 4, 3]
    assert not ledger.prune()
    ledger.ack(ack(ledger, 5))
    assert ledger.prune()
    ledger.close()
    again = open_ledger(tmp_path)
    assert again.head == 5
    assert [k.seq for k in again.append([draft()])] == [6]


def test_shedding_takes_calm_events_before_urgent_ones(tmp_path):
    ledger = open_ledger(tmp_path)
    ledger.append([draft(), draft(urgent=True), draft(), draft()])
    assert ledger.shed() == (2, 1, 3)  # never the last: seq is counted from it
    assert seqs(ledger) == [2, 4]
    assert ledger.shed() == (1, 2, 2)
    assert ledger.shed() is None


def test_another_nodes_ledger_is_refused_by_name(tmp_path):
    Ledger(tmp_path / "ledger.db", "mill", entropy()).close()
    with pytest.raises(DamagedError, match="belongs to node 'mill'"):
        open_ledger(tmp_path)
    assert not [*read_unacked(tmp_path / "ledger.db", NODE)]


def test_a_database_that_is_not_ours_is_left_alone(tmp_path):
    with sqlite3.connect(tmp_path / "ledger.db") as other:
        other.execute("CREATE TABLE theirs(x)")
    before = (tmp_path / "ledger.db").read_bytes()
    with pytest.raises(StoreError, match="not ours"):
        open_ledger(tmp_path)
    assert (tmp_path / "ledger.db").read_bytes() == before


def test_every_flipped_bit_of_an_event_is_found(tmp_path):
    ledger = open_ledger(tmp_path)
    kept = ledger.append([draft(size=60)])
    ledger.checkpoint()
    ledger.close()
    path = tmp_path / "ledger.db"
    whole = path.read_bytes()
    at = whole.index(kept[0].data)
    for bit in range(at * 8, (at + 60) * 8, 7):
        broken = bytearray(whole)
        broken[bit // 8] ^= 1 << bit % 8
        path.write_bytes(broken)
        with pytest.raises((DamagedError, StoreError)):
            open_ledger(tmp_path)


def test_whatever_a_changed_byte_makes_of_a_row_is_damage_and_no_crash(tmp_path):
    """SQLite gives back what the row's header names: NULL, a number, a text that is none."""
    ledger = open_ledger(tmp_path)
    kept = ledger.append([draft(size=60), draft(size=60), draft(True, size=60)])
    ledger.salvage([Kept(b"ledger00", 5, False, b"salvaged".ljust(60, b"."))])
    ledger.checkpoint()
    ledger.close()
    path = tmp_path / "ledger.db"
    whole = path.read_bytes()
    places = [whole.index(part) for part in (kept[1].data, b"salvaged....", b"node" + NODE.encode())]
    found = 0
    for at in (at for place in places for at in range(place - 12, place + 12)):
        for value in (0x00, 0x01, 0x07, 0x15, 0xFF):
            path.write_bytes(whole[:at] + bytes((value,)) + whole[at + 1 :])
            for each in read_unacked(path, NODE):
                assert (type(each.ledger), type(each.seq), type(each.data)) == (bytes, int, bytes)
            try:
                open_ledger(tmp_path).close()
            except (StoreError, apsw.SQLError, *BROKEN):
                found += 1
    assert found > 100


def test_an_event_that_no_longer_waits_by_a_changed_bit_is_found(tmp_path):
    ledger = open_ledger(tmp_path)
    ledger.append([draft(), draft(), draft()])
    ledger.close()
    with sqlite3.connect(tmp_path / "ledger.db") as other:
        other.execute("UPDATE outbox SET seq = 7 WHERE seq = 2")
    with pytest.raises(DamagedError, match="outbox"):
        open_ledger(tmp_path)
    assert [kept.seq for kept in read_unacked(tmp_path / "ledger.db", NODE)] == [1, 2, 3]


def test_a_row_that_vanished_is_found(tmp_path):
    ledger = open_ledger(tmp_path)
    ledger.append([draft(), draft(), draft()])
    ledger.close()
    with sqlite3.connect(tmp_path / "ledger.db") as other:
        other.execute("DELETE FROM event WHERE seq = 2")
    with pytest.raises(DamagedError, match="1 events are gone"):
        open_ledger(tmp_path)


def test_the_counter_of_state_reports_never_repeats(tmp_path):
    ledger = open_ledger(tmp_path)
    first = ledger.reserve_counter()
    ledger.close()
    assert open_ledger(tmp_path).reserve_counter() == first + 1000


def test_a_hundred_thousand_events_fit_within_the_bound(tmp_path):
    """At the largest size an event may have; the file, its log and the ballast stay under 64 MiB."""
    ledger = open_ledger(tmp_path)
    for _ in range(100):
        ledger.append([draft(size=300) for _ in range(1000)])
        assert not ledger.crowded
    ledger.checkpoint()
    assert (tmp_path / "ledger.db").stat().st_size + (4 << 20) + (8 << 20) < 64 << 20
    assert len(seqs(ledger, 200_000)) == 100_000


class LedgerModel(RuleBasedStateMachine):
    """Against the plainest model: a set of unacked seqs. Reopened at any moment, it is the same."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.ledger = open_ledger(Path(self.folder.name))
        self.head = 0
        self.through = 0
        self.journal = b""
        self.owed: set[int] = set()
        self.kept: set[int] = set()

    def teardown(self) -> None:
        self.ledger.close()
        self.folder.cleanup()

    @rule(urgent=st.lists(st.booleans(), min_size=1, max_size=4))
    def append(self, urgent):
        self.ledger.append([draft(u, 30) for u in urgent])
        new = range(self.head + 1, self.head + len(urgent) + 1)
        self.head += len(urgent)
        self.owed.update(new)
        self.kept.update(new)

    @rule(data=st.data(), journal=st.sampled_from([b"journal1", b"journal2"]))
    def ack(self, data, journal):
        choices = sorted(self.kept | {0})
        through = data.draw(st.sampled_from(choices))
        first = data.draw(st.integers(0, self.head))
        last = data.draw(st.integers(first, self.head))
        self.ledger.ack(ack(self.ledger, through, (first, last), journal=journal))
        if journal != self.journal or through < self.through:
            self.owed |= {seq for seq in self.kept if seq > through}
        self.owed -= {*range(through + 1), *range(first, last + 1)}
        self.journal, self.through = journal, through

    @rule()
    def prune(self):
        self.ledger.prune()
        self.kept &= self.owed | {self.head}

    @rule()
    def reopen(self):
        identity = self.ledger.id
        self.ledger.close()
        self.ledger = open_ledger(Path(self.folder.name), seed=9)
        assert self.ledger.id == identity

    @precondition(lambda self: self.head)
    @rule()
    def crash(self):
        """As SIGKILL: the connection is not closed, another one opens what is on disk."""
        self.ledger = open_ledger(Path(self.folder.name))

    @invariant()
    def same(self):
        assert self.ledger.head == self.head
        assert set(seqs(self.ledger)) == self.owed
        assert {k.seq for k in self.ledger.latest(10_000)} == self.kept


LedgerModel.TestCase.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
TestLedgerModel = LedgerModel.TestCase
