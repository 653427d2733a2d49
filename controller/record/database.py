"""The journal's database: rows and snapshots in SQLite, and what its failures mean.

somebody else's        another application's database, or no database at all     left alone, the start is refused
damaged                ours by its mark or by the signed head beside it           set aside, a new journal begins (recovery.py)
unwritten              locked, read-only, full, an I/O error                      the emergency journal takes over (journal.py)
"""

import contextlib
import hashlib
import json
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import apsw

from cython_ext import WireError
from lanes import cbor
from lanes.identity import STORE_ID_BYTES
from lanes.store import StoreError, open_store, transaction, was_ours

from .records import GENESIS, Record, Row, hash_row

APPLICATION: Final = int.from_bytes(b"BucJ", "big")
SCHEMA_VERSION: Final = 1
SNAPSHOTS_KEPT: Final = 2  # the last, and the one before should its bytes be damaged
BUSY_MS: Final = 100  # when we only look whether it works again: the emergency journal waits meanwhile
_SCHEMA: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TABLE entry (
    seq INTEGER PRIMARY KEY, kind INTEGER NOT NULL, wall_us INTEGER NOT NULL, monotonic_ns INTEGER NOT NULL,
    payload BLOB NOT NULL, previous BLOB NOT NULL, hash BLOB NOT NULL
) STRICT;
CREATE INDEX entry_kind ON entry (kind, seq);
CREATE TABLE snapshot (seq INTEGER PRIMARY KEY, state BLOB NOT NULL) STRICT;
CREATE TRIGGER entry_stays BEFORE UPDATE ON entry BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER entry_remains BEFORE DELETE ON entry BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
"""
_WORDS: Final[tuple[tuple[type[apsw.Error], str], ...]] = (
    (apsw.BusyError, "locked"),
    (apsw.LockedError, "locked"),
    (apsw.ReadOnlyError, "read-only"),
    (apsw.FullError, "full"),
    (apsw.IOError, "disk"),
    (apsw.CantOpenError, "disk"),
    (apsw.CorruptError, "damaged"),
    (apsw.NotADBError, "damaged"),
)


class Damaged(StoreError):
    """Our journal, and not whole."""


class Unwritten(StoreError):
    """The database does not take rows now; `why` is a word of docs/troubles.md."""

    def __init__(self, why: str, message: str, path: Path) -> None:
        self.why = why
        super().__init__(message, path)


class Database:
    """One open journal database. Blocking; one caller at a time."""

    def __init__(self, path: Path, *, writable: bool = True) -> None:
        """Open; made when there is none. Unwritten, Damaged, or StoreError when it is not ours."""
        self.path = path
        try:
            self._store = _open(path) if writable else _read_only(path)
        except StoreError as error:
            raise _meaning(error, path) from None
        except apsw.Error as error:
            raise _meaning_of(error, path) from None

    # Writing.

    def begin(self, journal: bytes, controller: str, rows: Sequence[Row], blobs: Sequence[tuple[int, bytes]]) -> None:
        """A new journal's first rows, all at once."""
        with self._writing(), transaction(self._store):
            self._store.execute("INSERT INTO meta VALUES ('journal', ?)", (journal,))
            self._store.execute("INSERT INTO meta VALUES ('controller', ?)", (controller.encode(),))
            self._insert(rows)
            for seq, data in blobs:
                self._store.execute("INSERT INTO snapshot VALUES (?, ?)", (seq, data))

    def write(self, rows: Sequence[Row], blobs: Sequence[tuple[int, bytes]] = ()) -> None:
        """All of it is on disk when it returns, or Unwritten. What a failed call left behind nobody knows."""
        with self._writing(), transaction(self._store):
            self._insert(rows)
            for seq, data in blobs:
                self._store.execute("INSERT INTO snapshot VALUES (?, ?)", (seq, data))
            if blobs:
                self._store.execute(
                    "DELETE FROM snapshot WHERE seq NOT IN (SELECT seq FROM snapshot ORDER BY seq DESC LIMIT ?)",
                    (SNAPSHOTS_KEPT,),
                )

    def merge(self, rows: Iterator[Row]) -> int:
        """Take over the rows that it has not, in one commit, and bring everything into the main file; the last seq.

        The checkpoint rewrites and syncs what an earlier commit, whose sync failed, may have left only in the page cache.
        """
        self._store.set_busy_timeout(BUSY_MS)
        with self._writing():
            with transaction(self._store):
                for row in rows:
                    have = self._store.execute("SELECT hash FROM entry WHERE seq = ?", (row.seq,)).get
                    if have is None:
                        self._insert([row])
                    elif have != row.hash:
                        raise Damaged(f"row {row.seq} of the emergency journal is another one here", self.path)
            busy: Any = self._store.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy[0]:
            raise Unwritten("locked", "a reader holds the log", self.path)
        return self.last()[0]

    def _insert(self, rows: Sequence[Row]) -> None:
        self._store.executemany(
            "INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(r.seq, int(r.kind), r.wall_us, r.monotonic_ns, r.payload, r.previous, r.hash) for r in rows],
        )

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except apsw.Error as error:
            raise _meaning_of(error, self.path) from None

    # Reading.

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """Whatever cannot be read for another reason than a lock or the disk is damaged."""
        try:
            yield
        except apsw.Error as error:
            if isinstance(error, (apsw.BusyError, apsw.LockedError, apsw.IOError, apsw.CantOpenError)):
                raise _meaning_of(error, self.path) from None
            raise Damaged(f"damaged: {error}; run: bucium journal verify", self.path) from None
        except (
            UnicodeDecodeError,
            TypeError,
            ValueError,
            IndexError,
            WireError,
        ):  # a damaged row gives any type, NULL too
            raise Damaged("damaged: it holds what nobody wrote; run: bucium journal verify", self.path) from None

    def identity(self) -> tuple[bytes, str] | None:
        """The journal's id and its controller (empty: not said); None when it is new. Damaged when only one half is there."""
        with self._reading():
            rows: list[Any] = self._store.execute("SELECT key, value FROM meta").fetchall()
            meta: dict[str, bytes] = dict(rows)
            found, controller = meta.get("journal"), meta.get("controller", b"").decode()
            born = self._born()
        if found is None and born is None:
            return None
        if found is None or born is None or len(found) != STORE_ID_BYTES:
            raise Damaged("the journal's id or its rows are gone", self.path)
        if born != (found, controller):
            raise Damaged("its id or its controller's name is not that of its first row", self.path)
        return found, controller

    def _born(self) -> tuple[bytes, str] | None:
        """The journal's id and its controller as its first row has them; None when there is none."""
        payload = self._store.execute("SELECT payload FROM entry ORDER BY seq LIMIT 1").get
        if payload is None:
            return None
        value: Any = cbor.decode(payload)
        return value[0], value[1]

    def last(self) -> tuple[int, bytes]:
        """Seq and hash of the last row; (0, zeros): none."""
        with self._reading():
            found: Any = self._store.execute("SELECT seq, hash FROM entry ORDER BY seq DESC LIMIT 1").fetchone()
            seq, digest = found or (0, GENESIS)
            if type(digest) is not bytes or len(digest) != len(GENESIS):
                raise ValueError
        return seq, digest

    def last_snapshot(self) -> tuple[int, Any] | None:
        """(seq, state) of the newest snapshot that the chain vouches for."""
        with contextlib.suppress(apsw.Error, TypeError):  # damaged pages or rows: rebuilt from the rows instead
            for seq, data in self._store.execute("SELECT seq, state FROM snapshot ORDER BY seq DESC"):
                vouched = self._store.execute("SELECT payload FROM entry WHERE seq = ?", (seq + 1,)).get
                if vouched == cbor.encode([seq, hashlib.sha256(data).digest()]):
                    return seq, cbor.decode_document(data)
        return None

    def first_snapshot(self) -> Any | None:
        """The state beside the first row, if it is still kept."""
        with contextlib.suppress(apsw.Error):
            found = self._store.execute("SELECT state FROM snapshot WHERE seq = (SELECT min(seq) FROM entry)").get
            return None if found is None else cbor.decode_document(found)
        return None

    def rows(self, journal: bytes, after: int = 0) -> Iterator[Row]:
        """Rows beyond `after`, each checked against the chain. Damaged names the first that is not whole."""
        previous, expected = GENESIS, after + 1
        try:
            if not after:
                expected = self._first()
            else:
                previous = self._store.execute("SELECT hash FROM entry WHERE seq = ?", (after,)).get or GENESIS
            for found in self._store.execute("SELECT * FROM entry WHERE seq > ? ORDER BY seq", (after,)):
                seq, kind, wall_us, monotonic_ns, payload, before, digest = found
                whole = seq == expected and before == previous
                if not whole or _hash(journal, seq, kind, wall_us, monotonic_ns, payload, before) != digest:
                    raise Damaged(f"row {expected} is damaged; run: bucium journal verify", self.path)
                yield Row(seq, Record(kind), wall_us, monotonic_ns, payload, before, digest)
                previous, expected = digest, expected + 1
        except (apsw.Error, UnicodeDecodeError) as error:
            raise Damaged(f"row {expected} cannot be read ({error}); run: bucium journal verify", self.path) from None

    def _first(self) -> int:
        """The first row's number: 1, or what follows the last of the journal that it says it goes on from."""
        row = self._store.execute("SELECT seq, payload FROM entry ORDER BY seq LIMIT 1").fetchone()
        if row is not None and row[0] != 1:
            with contextlib.suppress(WireError, TypeError, IndexError):
                if cbor.decode(row[1])[2][1] == row[0] - 1:
                    return int(row[0])
        return 1

    def read(self, seq: int) -> Row | None:
        """One row."""
        found = self._store.execute("SELECT * FROM entry WHERE seq = ?", (seq,)).fetchone()
        return Row(found[0], Record(found[1]), *found[2:]) if found else None

    def close(self) -> None:
        """What fails while closing was not promised."""
        with contextlib.suppress(apsw.Error):
            self._store.close()


def _hash(*row: Any) -> bytes | None:
    """The hash of a row; None when damage has made its parts what cannot be hashed."""
    try:
        return hash_row(*row)
    except (TypeError, ValueError, struct.error):
        return None


def _open(path: Path) -> apsw.Connection:
    return open_store(path, application=APPLICATION, schema=_SCHEMA, version=SCHEMA_VERSION)


def _read_only(path: Path) -> apsw.Connection:
    """For a start on a disk that takes nothing: what stands there can still be read."""
    store = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    if store.pragma("application_id") != APPLICATION:
        store.close()
        raise StoreError("this database is not ours; it is left as it is", path)
    return store


def _meaning_of(error: apsw.Error, path: Path) -> StoreError:
    """The trouble that an error of SQLite stands for; what else it says is a bug of ours and is raised as it is."""
    why = next((word for kind, word in _WORDS if isinstance(error, kind)), "")
    if not why:
        raise error
    return Unwritten(why, f"cannot write: {error}", path)


def _meaning(error: StoreError, path: Path) -> StoreError:
    """What a failed opening means."""
    cause = error.__cause__
    if not isinstance(cause, apsw.Error):
        if was_ours(path, APPLICATION):
            return Damaged("damaged: its mark has changed", path)
        return error  # somebody else's, or a newer program's
    if not isinstance(cause, (apsw.CorruptError, apsw.NotADBError, apsw.SQLError)):
        return _meaning_of(cause, path)
    if _was_ours(path):
        return Damaged(f"damaged: {cause}", path)
    return StoreError(
        "this is not a journal; it is left as it is. Move it away, or give another [controller] data", path
    )


def _was_ours(path: Path) -> bool:
    """Whether a file that SQLite cannot read was a journal of ours: by its mark, or by the signed head beside it."""
    try:
        with path.open("rb") as file:
            head = file.read(100)
        if head.startswith(b"SQLite format 3\0") and head[68:72] == APPLICATION.to_bytes(4, "big"):
            return True
        return "signature" in json.loads(path.with_suffix(".head").read_bytes())
    except (OSError, ValueError):
        return False
