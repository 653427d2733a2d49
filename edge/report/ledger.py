"""The ledger: this node's events, durable before anyone hears of them (design §2.2).

One SQLite file: WAL, `synchronous=FULL` (reliability.md §0.6). Its identity is made once with the file; seq is contiguous for
the ledger's life and never used again. A digest stands in each row, since `integrity_check` alone sees one bit-flip in six
(reliability.md §0.7). Here is only the store; what is done when it is full or broken stands in `ledgers.py`.

    event     every event, signed once; acked ones stay until their room is needed
    outbox    those the home controller has not acked, the urgent first
    salvaged  unacked events of a ledger that had to be set aside; they keep their old ledger's id and seq
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import apsw

from lanes.identity import DIGEST_BYTES, STORE_ID_BYTES
from lanes.orders import Ack
from lanes.store import StoreError, open_store, transaction

APPLICATION: Final = 0x42754C64  # "BuLd"
SCHEMA_VERSION: Final = 1
SCHEMA: Final = """
CREATE TABLE meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE event(seq INTEGER PRIMARY KEY, rank INTEGER NOT NULL, data BLOB NOT NULL, digest BLOB NOT NULL);
CREATE TABLE outbox(rank INTEGER, seq INTEGER, PRIMARY KEY (rank, seq)) WITHOUT ROWID;
CREATE TABLE salvaged(rank INTEGER, ledger BLOB, seq INTEGER, data BLOB NOT NULL,
                      PRIMARY KEY (rank, ledger, seq)) WITHOUT ROWID;
"""
PAGES_MAX: Final = (
    12_288  # 48 MiB, at least 130,000 events of 300 bytes; with WAL and ballast the whole stays under 64 MiB
)
MEMORY_PAGES_MAX: Final = 2_048  # 8 MiB, 20,000 events: the ledger of last resort must not starve the node
PAGES_MARGIN: Final = 128  # acked events go when so few are left
WAL_PAGES: Final = 256  # checkpoint at 1 MiB of log: small enough for the reserve of a full disk
WAL_BYTES_MAX: Final = 4 << 20
PRUNE_EVENTS: Final = 2_000  # how many go at a time: 0.6 MB, some 20 ms on an SD card
COUNTER_BLOCK: Final = 1_000  # state reports take their counter from blocks, so that each costs no commit
MEMORY: Final = Path(":memory:")
UNREADABLE: Final = (apsw.Error, UnicodeDecodeError)  # what a damaged file may answer
URGENT: Final = 0  # ranks: a raised Level goes before all else
CALM: Final = 1


_NEWEST_FIRST: Final = """
SELECT seq, data FROM outbox JOIN event USING (seq) WHERE outbox.rank = ? ORDER BY outbox.seq DESC LIMIT ?
"""
_OLDEST_FIRST: Final = _NEWEST_FIRST.replace("DESC", "ASC")
_ASTRAY: Final = """
SELECT count(*) FROM outbox WHERE NOT EXISTS (SELECT 1 FROM event WHERE event.seq = outbox.seq AND event.rank = outbox.rank)
"""  # what waits for an ack and is no event: a bit of the outbox has changed, and another event no longer waits
_STRANGE: Final = """
SELECT count(*) FROM salvaged WHERE typeof(rank) != 'integer' OR typeof(seq) != 'integer' OR typeof(ledger) != 'blob'
OR typeof(data) != 'blob'
"""
META: Final = {"id": bytes, "node": str, "through": int, "journal": bytes, "pruned": int, "counter": int}


@dataclass(frozen=True, slots=True)
class Kept:
    """An event as it lies in the ledger: its key but for the node, and its signed bytes."""

    ledger: bytes
    seq: int
    urgent: bool
    data: bytes

    @property
    def key(self) -> tuple[bytes, int]:
        return self.ledger, self.seq


@dataclass(frozen=True, slots=True)
class Draft:
    """An event to be: `seal(ledger, seq)` gives its signed bytes."""

    urgent: bool
    seal: Callable[[bytes, int], bytes]


class AckVerdict(StrEnum):
    """What became of an ack."""

    TAKEN = "taken"
    RESEND = "resend"  # taken; the journal is new, or its head is older than we knew: more is to be sent again
    FOREIGN = "foreign-ledger"
    ABOVE_HEAD = "above-head"
    DIFFERS = "other-event"  # the controller has another event under that key: one of us was restored from an old copy


class DamagedError(StoreError):
    """The ledger opens, but what it holds is not what was written, or is another node's."""


class Ledger:
    """An open ledger. All methods block for the disk; apsw's errors pass through to `Ledgers`."""

    def __init__(self, path: Path, node: str, entropy: Callable[[int], bytes]) -> None:
        self.path = path
        self._db = open_store(path, application=APPLICATION, schema=SCHEMA, version=SCHEMA_VERSION)
        try:
            self._pages = PAGES_MAX if self.durable else MEMORY_PAGES_MAX
            self._db.pragma("max_page_count", self._pages)
            self._db.pragma("wal_autocheckpoint", WAL_PAGES)
            self._db.pragma("journal_size_limit", WAL_BYTES_MAX)
            if self._meta("id") is None and not self._last():
                with transaction(self._db):
                    self._set(id=entropy(STORE_ID_BYTES), node=node, through=0, journal=b"", pruned=0, counter=0)
            self._inspect(node)
        except UnicodeDecodeError:
            self._db.close()
            raise DamagedError("a text is not what was written", self.path) from None
        except BaseException:
            with suppress(apsw.Error):
                self._db.close()
            raise

    def _inspect(self, node: str) -> None:
        """Raise DamagedError unless every row is as it was written."""
        if (said := self._db.pragma("quick_check")) != "ok":
            raise DamagedError(f"quick_check: {str(said)[:80]}", self.path)
        for name, kind in META.items():
            if type(self._meta(name)) is not kind:
                raise DamagedError(f"its {name!r} is not what was written", self.path)
        if (owner := self._meta("node")) != node:
            raise DamagedError(f"it belongs to node {owner!r}, this is {node!r}", self.path)
        self.id: bytes = self._meta("id")
        self.head = self._last()
        self.through: int = self._meta("through")
        self.journal: bytes = self._meta("journal")
        self._opened = self.through
        rows = 0
        for row in self._db.execute("SELECT seq, rank, data, digest FROM event"):
            rows += 1
            if not is_whole(*row):
                raise DamagedError(f"event {row[0]} is not what was written", self.path)
        if rows != self.head - self._meta("pruned"):
            raise DamagedError(f"{self.head - self._meta('pruned') - rows} events are gone", self.path)
        for query, what in ((_ASTRAY, "outbox"), (_STRANGE, "salvaged")):
            if count := self._db.execute(query).get:
                raise DamagedError(f"{count} rows of {what!r} are not what was written", self.path)

    @property
    def durable(self) -> bool:
        """False for the ledger of last resort, which is in memory."""
        return self.path != MEMORY

    def close(self) -> None:
        self._db.close()

    # Writing.

    def append(self, drafts: Iterable[Draft]) -> list[Kept]:
        """Sign and store; durable on return, all or none."""
        kept = [Kept(self.id, seq, d.urgent, d.seal(self.id, seq)) for seq, d in enumerate(drafts, self.head + 1)]
        try:
            with transaction(self._db):
                for each in kept:
                    rank = URGENT if each.urgent else CALM
                    row = (each.seq, rank, each.data, digest_of(each.seq, rank, each.data))
                    self._db.execute("INSERT INTO event VALUES (?, ?, ?, ?)", row)
                    self._db.execute("INSERT INTO outbox VALUES (?, ?)", (rank, each.seq))
        except apsw.FullError:
            if self._last() == self.head:
                raise
            # The commit stands; it was the checkpoint after it that found no room.
        self.head += len(kept)
        return kept

    def salvage(self, events: Iterable[Kept]) -> None:
        """Take over the unacked events of other ledgers; our own stand in our outbox, where their acks find them."""
        with transaction(self._db):
            self._db.executemany(
                "INSERT OR IGNORE INTO salvaged VALUES (?, ?, ?, ?)",
                ((URGENT if e.urgent else CALM, e.ledger, e.seq, e.data) for e in events if e.ledger != self.id),
            )

    def ack(self, ack: Ack, handed: Collection[int] | None = None) -> AckVerdict:
        """Believe the home controller, within reason; the caller has checked who signed.

        Of what it acks only the events in `handed` (None: all) leave the outbox: one that was never handed over cannot be with
        it, unless this ledger is an old copy, and the ack is of another event under its seq.
        """
        if ack.ledger != self.id:
            return self._ack_salvaged(ack)
        verdict = self._doubt(ack)
        if verdict is not None:
            return verdict
        anew = ack.journal != self.journal or ack.through < self.through
        with transaction(self._db):
            if anew:
                self._db.execute(
                    "INSERT OR IGNORE INTO outbox SELECT rank, seq FROM event WHERE seq > ?", (ack.through,)
                )
            for first, last in ((0, ack.through), *ack.ranges):
                spans = [(first, last)] if handed is None else [(s, s) for s in handed if first <= s <= last]
                gone = ((rank, *span) for span in spans for rank in (URGENT, CALM))
                self._db.executemany("DELETE FROM outbox WHERE rank = ? AND seq BETWEEN ? AND ?", gone)
            if anew or ack.through != self.through:
                self._set(through=ack.through, journal=ack.journal)
        self.through, self.journal = ack.through, ack.journal
        return AckVerdict.RESEND if anew else AckVerdict.TAKEN

    def _doubt(self, ack: Ack) -> AckVerdict | None:
        if max(ack.through, *(last for _, last in ack.ranges), 0) > self.head:
            return AckVerdict.ABOVE_HEAD
        if ack.through:
            mine = self._db.execute("SELECT data FROM event WHERE seq = ?", (ack.through,)).get
            if mine is not None and sha256(mine).digest() != ack.last:
                return AckVerdict.DIFFERS
        return None

    def _ack_salvaged(self, ack: Ack) -> AckVerdict:
        spans = [
            (rank, ack.ledger, first, last)
            for first, last in ((0, ack.through), *ack.ranges)
            for rank in (URGENT, CALM)
        ]
        if not any(
            self._db.execute("SELECT count(*) FROM salvaged WHERE rank = ? AND ledger = ?", (rank, ack.ledger)).get
            for rank in (URGENT, CALM)
        ):
            return AckVerdict.FOREIGN
        with transaction(self._db):
            self._db.executemany(
                "DELETE FROM salvaged WHERE rank = ? AND ledger = ? AND seq BETWEEN ? AND ?",
                spans,
            )
        return AckVerdict.TAKEN

    def reserve_counter(self) -> int:
        """The first of COUNTER_BLOCK numbers that this ledger's state reports have never used."""
        first: int = self._meta("counter") + 1
        with transaction(self._db):
            self._set(counter=first + COUNTER_BLOCK - 1)
        return first

    # Room.

    @property
    def spare_pages(self) -> int:
        """Free pages within the file: events that come now make it no longer."""
        return int(self._db.pragma("freelist_count"))

    @property
    def room_pages(self) -> int:
        """Pages that may still be filled before the file is as large as it may be."""
        return self._pages - int(self._db.pragma("page_count")) + self.spare_pages

    @property
    def crowded(self) -> bool:
        """Whether room must be made before more is stored."""
        return self.room_pages < PAGES_MARGIN

    def prune(self) -> bool:
        """Let the oldest acked events go; False when there are none. The last event stays: seq is counted from it."""
        # Acked means: in no outbox. From the front, so that the cost is what goes, not what stays.
        found = self._db.execute(
            "SELECT seq FROM event WHERE seq < ? AND NOT EXISTS"
            " (SELECT 1 FROM outbox WHERE outbox.rank = event.rank AND outbox.seq = event.seq)"
            " ORDER BY seq LIMIT ?",
            (self.head, PRUNE_EVENTS),
        )
        return self._drop([seq for (seq,) in found])

    def shed(self) -> tuple[int, int, int] | None:
        """The last resort: drop unacked events, the oldest of the calm first. Returns (how many, first, last)."""
        for rank in (CALM, URGENT):
            old: list[Any] = self._db.execute(
                "SELECT rank, ledger, seq FROM salvaged WHERE rank = ? ORDER BY ledger, seq LIMIT ?",
                (rank, PRUNE_EVENTS),
            ).fetchall()
            if old:
                with transaction(self._db):
                    self._db.executemany("DELETE FROM salvaged WHERE rank = ? AND ledger = ? AND seq = ?", old)
                return len(old), old[0][2], old[-1][2]
            found = self._db.execute(
                "SELECT seq FROM outbox WHERE rank = ? AND seq < ? ORDER BY seq LIMIT ?",
                (rank, self.head, PRUNE_EVENTS),
            )
            if seqs := [seq for (seq,) in found]:
                self._drop(seqs)
                return len(seqs), seqs[0], seqs[-1]
        return None

    def _drop(self, seqs: list[int]) -> bool:
        if not seqs:
            return False
        with transaction(self._db):
            for rank in (URGENT, CALM):
                self._db.executemany("DELETE FROM outbox WHERE rank = ? AND seq = ?", ((rank, s) for s in seqs))
            self._db.executemany("DELETE FROM event WHERE seq = ?", ((s,) for s in seqs))
            self._set(pruned=self._meta("pruned") + len(seqs))
        return True

    def checkpoint(self) -> None:
        """Empty the log into the database, and give its room back."""
        with suppress(apsw.BusyError):
            self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)

    # Reading.

    def pending(self, limit: int, skip: Collection[tuple[bytes, int]] = ()) -> list[Kept]:
        """At most `limit` unacked events that are not in `skip`: urgent and newest first, then the rest in order."""
        most = limit + len(skip)
        found: list[Kept] = []
        for rank, query in ((URGENT, _NEWEST_FIRST), (CALM, _OLDEST_FIRST)):
            rows = self._db.execute(query, (rank, most))
            found += (Kept(self.id, seq, rank == URGENT, data) for seq, data in rows)
            old = self._db.execute(
                "SELECT ledger, seq, data FROM salvaged WHERE rank = ? ORDER BY ledger, seq LIMIT ?", (rank, most)
            )
            found += (Kept(ledger, seq, rank == URGENT, data) for ledger, seq, data in old)
        return [each for each in found if each.key not in skip][:limit]

    def doubted(self, through: int) -> Iterator[Kept]:
        """What the controller may lack of an old copy that was put back, oldest first: `through` is of the ack that showed it.

        All since this ledger was opened, acked or not, since the acks may have meant other events; and what waits.
        """
        rows = self._db.execute(
            "SELECT seq, rank, data FROM event WHERE seq > ? OR seq IN (SELECT seq FROM outbox) ORDER BY seq",
            (min(self._opened, through - 1),),
        )
        return (Kept(self.id, seq, rank == URGENT, data) for seq, rank, data in rows)

    def salvaged(self) -> Iterator[Kept]:
        """What was taken over from other ledgers, and is not acked."""
        rows = self._db.execute("SELECT rank, ledger, seq, data FROM salvaged")
        return (Kept(ledger, seq, rank == URGENT, data) for rank, ledger, seq, data in rows)

    def unacked(self) -> int:
        """How many events wait for their ack."""
        return int(self._db.execute("SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM salvaged)").get)

    def latest(self, limit: int) -> list[Kept]:
        """The newest events, newest first: for people who look."""
        rows = self._db.execute("SELECT seq, rank, data FROM event ORDER BY seq DESC LIMIT ?", (limit,))
        return [Kept(self.id, seq, rank == URGENT, data) for seq, rank, data in rows]

    def _last(self) -> int:
        return int(self._db.execute("SELECT coalesce(max(seq), 0) FROM event").get)

    def _meta(self, name: str) -> Any:
        return self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).get

    def _set(self, **values: Any) -> None:
        self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values.items())


def digest_of(seq: int, rank: int, data: bytes) -> bytes:
    """What stands beside each event, to see a changed bit."""
    return sha256(seq.to_bytes(8, "big") + bytes((rank,)) + data).digest()[: DIGEST_BYTES // 2]


def is_whole(seq: object, rank: object, data: object, digest: object) -> bool:
    """Whether a row is as it was written. SQLite gives whatever type a damaged row's header names, NULL too."""
    if (
        type(seq) is not int
        or seq <= 0
        or rank not in (URGENT, CALM)
        or type(rank) is not int
        or type(data) is not bytes
    ):
        return False
    return digest == digest_of(seq, rank, data)
