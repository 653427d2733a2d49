"""A damaged journal: set aside for an inquiry, and what can still be read of it.

The new journal goes on from the old one's last whole row: it names that row in its own first one, and holds the state as it was
there. It has an id of its own, so that every node sends again what it still has beyond that row (design §2.2).
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import apsw
import cbor2

from cython_ext import Clock
from lanes.durable import sync_folder
from lanes.identity import STORE_ID_BYTES
from lanes.store import StoreError

from .database import Damaged, Database
from .emergency import Emergency
from .records import GENESIS, Row

KEPT_MAX: Final = 8  # journals set aside: more come only from a dying disk; the newest stay
_FILES: Final = (".db", ".db-wal", ".db-shm", ".head", ".emergency")


def newest(path: Path) -> Path | None:
    """The journal that was set aside last, or None."""
    found = sorted(path.parent.glob(f"{path.stem}-aside-*.db"))
    return found[-1] if found else None


def set_aside(path: Path, emergency: Path | None) -> Path:
    """Rename the journal and what belongs to it; its name now. StoreError when the folder does not allow it."""
    last = newest(path)
    number = 1 + (int(last.stem.rpartition("-")[2]) if last else 0)
    there = path.with_name(f"{path.stem}-aside-{number:03}.db")
    try:
        if emergency is not None and emergency.exists():
            _move(emergency, there.with_suffix(".emergency"))
        for end in _FILES[1:4]:
            if (beside := path.with_suffix(end)).exists():
                _move(beside, there.with_suffix(end))
        _move(path, there)  # last: while the journal has its name, this has not happened
        sync_folder(path.parent)
    except OSError as error:
        raise StoreError(f"damaged, and cannot be set aside: {error.strerror}", path) from None
    for old in sorted(path.parent.glob(f"{path.stem}-aside-*.db"))[:-KEPT_MAX]:
        for end in _FILES:
            old.with_suffix(end).unlink(missing_ok=True)
    return there


def _move(here: Path, there: Path) -> None:
    """Rename; across folders by a copy, since the emergency journal may stand on another disk."""
    try:
        here.replace(there)
    except OSError:
        data = here.read_bytes()
        with there.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        here.unlink()


class Remains:
    """A damaged journal, read as far as its chain is whole. It looks like a journal to whoever rebuilds state from it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.id = bytes(STORE_ID_BYTES)
        self.seq, self.hash = 0, GENESIS
        self.damage = ""  # why it ends before its end
        self._emergency: Emergency | None = None
        self._db: Database | None = None
        with contextlib.suppress(StoreError):
            self._db = Database(path, writable=False)
            self.id = self._identity(self._db)
            self._survey()

    def _identity(self, database: Database) -> bytes:
        with contextlib.suppress(Damaged):
            if found := database.identity():
                return found[0]
        with contextlib.suppress(apsw.Error, cbor2.CBORDecodeError, ValueError, TypeError, IndexError):
            first = database.read(1)
            return bytes(first.value[0]) if first is not None else self.id
        return self.id

    def _survey(self) -> None:
        """How far it is whole, the emergency journal included."""
        for row in self.rows():
            self.seq, self.hash = row.seq, row.hash
        beside = self.path.with_suffix(".emergency")
        if not beside.exists():
            return
        with contextlib.suppress(StoreError):
            self._emergency = Emergency(beside, self.id, 1 << 62)
            for row in self.rows():
                self.seq, self.hash = row.seq, row.hash

    def first_snapshot(self) -> Any | None:
        """The state that a journal began with, because it goes on from another; None when it has been dropped."""
        return self._db.first_snapshot() if self._db is not None else None

    def last_snapshot(self) -> tuple[int, Any] | None:
        """The newest vouched snapshot, if the rows up to it are whole."""
        found = self._db.last_snapshot() if self._db is not None else None
        return found if found is not None and found[0] <= self.seq else None

    def rows(self, after: int = 0) -> Iterator[Row]:
        """The whole rows beyond `after`."""
        last, before = after, b""
        try:
            for row in self._db.rows(self.id, after) if self._db is not None else ():
                yield row
                last, before = row.seq, row.hash
        except StoreError as error:
            self.damage = str(error)
        with contextlib.suppress(StoreError):
            for row in self._emergency.rows() if self._emergency is not None else ():
                if row.seq == last + 1 and before in (b"", row.previous):
                    yield row
                    last, before = row.seq, row.hash

    def keep_time(self, _clock: Clock) -> None:
        """Nothing is written here."""

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
        if self._emergency is not None:
            self._emergency.close()
