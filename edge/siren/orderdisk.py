"""The order store's file and its anchor. What the rows mean stands in `orderstore.py`.

An order that cannot be remembered is not obeyed, so a full disk must take orders all the same: room for them is taken at
start-up, as free pages within the file and as a log that is written over from its beginning. No ordinary commit makes either
grow. (A file system that copies on write, btrfs for one, promises no such thing.)
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import apsw

from lanes.identity import STORE_ID_BYTES
from lanes.store import HEADER, MARK_AT, StoreError, open_store, set_aside, transaction, was_ours

from .anchor import Anchor, read_anchor, write_anchor

APPLICATION: Final = 0x4275_4F72  # "BuOr"
SCHEMA_VERSION: Final = 1
SCHEMA: Final = """
CREATE TABLE meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE counter(issuer, line, siren, value, doubtful, PRIMARY KEY (issuer, line, siren)) WITHOUT ROWID;
CREATE TABLE stopped(siren, mode, epoch, PRIMARY KEY (siren, mode)) WITHOUT ROWID;
CREATE TABLE hold(siren, incident, mode, level, left_s, until_us, stopped_us, PRIMARY KEY (siren, incident, mode));
CREATE TABLE used(siren, kid, digest, not_after_us, PRIMARY KEY (siren, kid, digest)) WITHOUT ROWID;
CREATE TABLE active(siren PRIMARY KEY, reference, incident, mode, level) WITHOUT ROWID;
CREATE TABLE sounded(siren, incident, mode, level, UNIQUE (siren, incident, mode));
CREATE TABLE spent(siren, node, ledger, seq, level, reflex, UNIQUE (siren, node, ledger, seq));
CREATE TABLE opened(zone, hazard, node, ledger, seq, PRIMARY KEY (zone, hazard)) WITHOUT ROWID;
CREATE TABLE vetoed(incident PRIMARY KEY, level);
"""
LATER: Final = """
CREATE TABLE IF NOT EXISTS passkey(kid PRIMARY KEY, count, digest) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lease(kid PRIMARY KEY, epoch) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS behind(siren, node, ledger, seq, incident, UNIQUE (siren, node, ledger, seq));
CREATE TABLE IF NOT EXISTS filler(bytes);
"""  # what stores of an earlier version get when they are opened
TYPES: Final[dict[str, tuple[type, ...]]] = {
    "counter": (bytes, int, str, int, int),
    "stopped": (str, int, int),
    "hold": (str, bytes, int, int, float, int, int),
    "used": (str, bytes, bytes, int),
    "active": (str, bytes, bytes, int, int),
    "sounded": (str, bytes, int, int),
    "spent": (str, str, bytes, int, int, int),
    "opened": (str, int, str, bytes, int),
    "vetoed": (bytes, int),
    "passkey": (bytes, int, bytes),
    "lease": (bytes, int),
    "behind": (str, str, bytes, int, bytes),
}
KEYED: Final = frozenset(
    {"counter", "stopped", "used", "active", "opened", "passkey", "lease"}
)  # without a rowid, and in no order
META: Final = {"id": bytes, "generation": int, "epoch": int, "order_epoch": int, "floor_us": int}

PAGE_BYTES: Final = 4096
LOG_PAGES: Final = 64  # checkpoint at 256 KiB of log: it is short enough to be taken whole at start-up
FREE_PAGES: Final = (
    128  # 512 KiB in the file, as much in the log: all that KEPT_MAX rows can need, and a log that never grows
)

Change = tuple[str, tuple[Any, ...]]  # a statement and its values


class OrderDisk:
    """Open from construction. All methods block. `forgetful`: why counters may be too low, "" when they are not."""

    def __init__(self, path: Path, anchor: Path, entropy: Callable[[int], bytes]) -> None:
        self.path = path
        self._anchor_path = anchor
        self.forgetful = ""
        self._entropy = entropy
        self._db = self._open()
        self._begin()

    def _begin(self) -> None:
        self._take_room()
        self._id: bytes = self.meta["id"]
        self._generation: int = self.meta["generation"]
        self.forgetful = self.forgetful or self._compare(read_anchor(self._anchor_path))

    def renew(self) -> None:
        """What it holds is not what was written: set it aside, and begin a new one in doubt."""
        self._db.close()
        self._set_aside()
        self._db = self._try_open()
        self._begin()

    def _open(self) -> apsw.Connection:
        """The database; one that cannot be read is set aside, for somebody to look at, and a new one begun in doubt."""
        try:
            return self._try_open()
        except StoreError:
            if _somebody_elses(self.path):
                raise
            self._set_aside()
            return self._try_open()

    def _set_aside(self) -> None:
        set_aside(self.path)
        self.forgetful = "damaged"

    def _try_open(self) -> apsw.Connection:
        db = open_store(self.path, application=APPLICATION, schema=SCHEMA, version=SCHEMA_VERSION)
        try:
            said = db.pragma("quick_check")
            db.execute(LATER)
            if db.execute("SELECT count(*) FROM meta").get == 0:
                start = {
                    "id": self._entropy(STORE_ID_BYTES),
                    "generation": 0,
                    "epoch": 0,
                    "order_epoch": 0,
                    "floor_us": 0,
                }
                with db:
                    db.executemany("INSERT INTO meta VALUES (?, ?)", list(start.items()))
            self.meta: dict[str, Any] = dict(db.execute("SELECT name, value FROM meta"))
            if {name: type(value) for name, value in self.meta.items()} != META:
                said = "its head is not what was written"
        except (apsw.Error, UnicodeDecodeError) as error:
            said = str(error)
        if said != "ok":
            db.close()
            raise StoreError(f"damaged: {str(said)[:80]}", self.path)
        return db

    def _take_room(self) -> None:
        """Have free pages in the file and a log of its whole length on the disk. A disk that is full gives what it can."""
        self._db.pragma("wal_autocheckpoint", LOG_PAGES)
        with suppress(apsw.Error):  # the first commit will say it
            self._db.execute("DELETE FROM filler")  # of a start that was cut short
            self._db.execute("INSERT INTO filler VALUES (zeroblob(?))", (FREE_PAGES * PAGE_BYTES,))
        with suppress(apsw.Error):  # the first commit will say it
            self._db.execute("DELETE FROM filler")
            self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)

    def _compare(self, anchor: Anchor | None) -> str:
        """Why the anchor and the store do not tell one story; "" when they do."""
        if anchor is None:
            return "anchor-missing" if self._generation else ""
        if anchor.store != self._id:
            return "replaced"
        return "restored" if anchor.generation > self._generation else ""

    def close(self) -> None:
        self._db.close()

    def rows(self, table: str, where: str = "TRUE") -> list[Any]:
        """All rows of a table, oldest first where they have an order. ValueError when one cannot have been written."""
        order = "" if table in KEYED else " ORDER BY rowid"
        found = self._db.execute(f"SELECT * FROM {table} WHERE {where}{order}").fetchall()  # noqa: S608 - words of ours
        for row in found:
            if tuple(map(type, row)) != TYPES[table]:
                raise ValueError(f"a row of {table!r} is not what was written")
        return found

    def write(self, changes: Sequence[Change]) -> None:
        """All of them in one transaction. apsw.Error when the disk fails: then none."""
        with transaction(self._db):
            for statement, values in changes:
                self._db.execute(statement, values)
            self._db.execute("INSERT OR REPLACE INTO meta VALUES ('generation', ?)", (self._generation + 1,))
        self._generation += 1

    def keep_anchor(self) -> None:
        """Bring the anchor up to the last commit. OSError on trouble."""
        write_anchor(self._anchor_path, Anchor(self._id, self._generation))


def _somebody_elses(path: Path) -> bool:
    """Whether the file is a sound SQLite database of another program: it is never touched. A mark like ours is ours, damaged."""
    with path.open("rb") as file:
        header = file.read(100)
    mark = header[MARK_AT : MARK_AT + 4]
    ours = mark in (bytes(4), APPLICATION.to_bytes(4, "big")) or was_ours(path, APPLICATION)
    return header.startswith(HEADER) and not ours
