"""What can still be read of a ledger that is damaged: every event that is as it was written, whatever else is not.

Each event stands there signed, with its node, ledger and seq within, and a digest beside it. So where the file's own head (its
id, its node, what was acked) cannot be believed, the events say it themselves; what was acked already is sent once more.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import apsw

from lanes.envelope import peek

from .ledger import UNREADABLE, URGENT, Kept, is_whole

_EVENTS: Final = {order: f"SELECT * FROM event ORDER BY seq {order}" for order in ("ASC", "DESC")}  # noqa: S608 - our words


def read_unacked(path: Path, node: str, head: int | None = None) -> Iterator[Kept]:
    """What can still be read of a damaged ledger: its unacked events whose digest is right; none that another node speaks.

    Events above `head` were never promised to anyone (their commit failed) and are left out. Never raises for the damage.
    """
    with suppress(*UNREADABLE):
        db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            meta = _readable_meta(db)
            ledger, owner, acked = meta.get("id"), meta.get("node"), meta.get("through")
            if type(acked) is not int:
                acked = 0  # what the controller has already it takes no second time
            waits = set(_waiting(db))
            last = 0
            for order in _EVENTS:  # from both ends of the damage
                for kept in _right_rows(db, _EVENTS[order], ledger):
                    if order == "DESC" and kept.seq <= last:
                        break
                    promised = head is None or kept.seq <= head
                    if (
                        promised
                        and (kept.seq > acked or kept.seq in waits)
                        and (owner == node or _speaker(kept) == node)
                    ):
                        yield kept
                    last = kept.seq if order == "ASC" else last
            if owner != node:
                return
            with suppress(*UNREADABLE):
                for rank, old, seq, data in db.execute("SELECT * FROM salvaged"):
                    if type(old) is bytes and type(seq) is int and type(data) is bytes:
                        yield Kept(old, seq, rank == URGENT, data)
        finally:
            db.close()


class Debt:
    """What a ledger that was set aside still owes. `head`: the last seq that it had promised."""

    def __init__(self, path: Path, node: str, head: int | None) -> None:
        self.path = path
        self._node = node
        self._head = head
        self.left = self.all()  # not yet taken over

    def all(self) -> Iterator[Kept]:
        return read_unacked(self.path, self._node, self._head)


def _readable_meta(db: apsw.Connection) -> dict[str, Any]:
    """Its head, as far as it can be read: a name that is no text keeps none of the others from us."""
    found: dict[str, Any] = {}
    for name, kind in (("id", bytes), ("node", str), ("through", int)):
        with suppress(*UNREADABLE):
            value = db.execute("SELECT value FROM meta WHERE name = ?", (name,)).get
            if type(value) is kind:
                found[name] = value
    return found


def _waiting(db: apsw.Connection) -> Iterator[int]:
    with suppress(*UNREADABLE):
        for (seq,) in db.execute("SELECT seq FROM outbox WHERE typeof(seq) = 'integer'"):
            yield seq


def _speaker(kept: Kept) -> str:
    """Who an event says it is of: its signature is for the controller to judge."""
    envelope = peek(kept.data)
    return envelope.issuer if envelope is not None else ""


def _right_rows(db: apsw.Connection, query: str, ledger: bytes | None) -> Iterator[Kept]:
    """Events as far as the damage lets us read, less those that are not what was written. `ledger`: None asks each event."""
    with suppress(*UNREADABLE):
        for row in db.execute(query):
            if is_whole(*row) and (name := ledger or _ledger_of(row[2])):
                yield Kept(name, row[0], row[1] == URGENT, row[2])


def _ledger_of(data: bytes) -> bytes:
    """The ledger that an event says it is of; b"" when it cannot be read."""
    envelope = peek(data)
    body = envelope.body if envelope is not None else None
    return body[0] if isinstance(body, list) and body and type(body[0]) is bytes else b""
