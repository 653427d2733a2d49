"""The journal: append-only, hash-chained, durable. The controller's source of truth; its state is rebuilt from here.

A row is chained the moment it is appended, and on disk when `durable` returns: many rows share one fsync (group commit). What
goes out (acks, orders, dispatch) goes out after that, so nothing outside ever knows more than the disk. Since rows are chained
before they are stored, another store may hold them for a while and hand them over once, unchanged (the emergency journal).

Snapshots only shorten start-up. The chain vouches for them: a SNAPSHOT row holds the digest of one.
"""

import asyncio
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import apsw

from cython_ext import Clock
from lanes import cbor
from lanes.identity import STORE_ID_BYTES
from lanes.keys import SigningKey
from lanes.store import Runner, StoreError, open_store

from .records import GENESIS, Record, Row, hash_row, head_message

APPLICATION: Final = int.from_bytes(b"BucJ", "big")
SCHEMA_VERSION: Final = 1
PENDING_MAX: Final = 100_000  # rows appended and not yet on disk: 30 MB; beyond it the disk has failed us
SNAPSHOTS_KEPT: Final = 2  # the last, and the one before should its bytes be damaged
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


@dataclass(frozen=True, slots=True)
class Head:
    """A signed head: whoever keeps a copy can prove a later cut or fork."""

    journal: bytes
    seq: int
    hash: bytes
    wall_us: int
    kid: bytes
    signature: bytes

    def as_json(self) -> dict[str, Any]:
        return {
            "journal": self.journal.hex(),
            "seq": self.seq,
            "hash": self.hash.hex(),
            "wall_us": self.wall_us,
            "kid": self.kid.hex(),
            "signature": self.signature.hex(),
        }


class Journal:
    """One journal file, one writer. `head_path` is beside it: the last signed head, for the verifier and for others."""

    def __init__(self, path: Path, *, clock: Clock, runner: Runner, key: SigningKey, new_id: bytes) -> None:
        """Open or create. `new_id`: 8 random bytes, used only when the file is new. StoreError when it is not usable."""
        assert len(new_id) == STORE_ID_BYTES
        self.path = path
        self.head_path = path.with_suffix(".head")
        self._clock = clock
        self._runner = runner
        self._key = key
        self._store = open_store(path, application=APPLICATION, schema=_SCHEMA, version=SCHEMA_VERSION)
        self._pending: list[Row] = []
        self._blobs: list[tuple[int, bytes]] = []
        self._wake = asyncio.Event()
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self.id = new_id
        self._seq, self._hash = 0, GENESIS
        self._head: Head | None = None
        self._committing: asyncio.Future[None] | None = None
        self._failed = False  # a commit has failed: what comes after it would not be chained to what is on disk
        self._open()
        self.durable_seq = self._seq

    def _open(self) -> None:
        found = self._store.execute("SELECT value FROM meta WHERE key = 'journal'").get
        last = self._store.execute("SELECT seq, hash FROM entry ORDER BY seq DESC LIMIT 1").fetchone()
        if found is None and last is None:
            self.append(Record.BORN, [self.id])
            with self._store:
                self._store.execute("INSERT INTO meta VALUES ('journal', ?)", (self.id,))
                self._insert(self._pending)
            self._pending = []
            return
        if found is None or last is None or len(found) != STORE_ID_BYTES:
            raise StoreError("the journal's id or its rows are gone; run: bucium journal verify", self.path)
        self.id = found
        self._seq, self._hash = last

    @property
    def seq(self) -> int:
        """The seq of the last row appended (perhaps not yet durable)."""
        return self._seq

    @property
    def head(self) -> Head | None:
        """The last signed head of this process."""
        return self._head

    def append(self, kind: Record, value: Any) -> Row:
        """Chain one more row. It is on disk once `durable(row.seq)` has returned."""
        if len(self._pending) >= PENDING_MAX:
            raise StoreError(f"{PENDING_MAX} rows wait for the disk", self.path)
        payload = cbor.encode(value)
        seq, wall_us, monotonic_ns = self._seq + 1, self._clock.wall_us(), self._clock.monotonic_ns()
        digest = hash_row(self.id, seq, kind, wall_us, monotonic_ns, payload, self._hash)
        row = Row(seq, kind, wall_us, monotonic_ns, payload, self._hash, digest)
        self._seq, self._hash = seq, digest
        self._pending.append(row)
        self._wake.set()
        return row

    def snapshot(self, state: Any) -> None:
        """Keep `state` as that after the last row."""
        data = cbor.encode_document(state)
        seq = self._seq
        self._blobs.append((seq, data))
        self.append(Record.SNAPSHOT, [seq, hashlib.sha256(data).digest()])

    def sign_head(self) -> None:
        """Sign the last row's hash; in the chain, and in the file beside it."""
        wall_us = self._clock.wall_us()
        signature = self._key.sign(head_message(self.id, self._seq, self._hash, wall_us))
        self._head = Head(self.id, self._seq, self._hash, wall_us, self._key.kid, signature)
        self.append(Record.HEAD, [self._seq, self._hash, wall_us, self._key.kid, signature])

    async def durable(self, seq: int | None = None) -> None:
        """Return when every row up to `seq` (None: all so far) is on disk."""
        wanted = self._seq if seq is None else seq
        if wanted <= self.durable_seq:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((wanted, waiter))
        self._wake.set()
        await waiter

    async def run(self) -> None:
        """Commit what is appended, until cancelled. A commit that fails ends the program: start-up is recovery."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                # Shielded: a commit that has begun is finished even when we are being stopped; else its rows would be a gap.
                self._committing = asyncio.ensure_future(self._commit())
                await asyncio.shield(self._committing)
        finally:
            for _, waiter in self._waiters:
                waiter.cancel()

    async def _commit(self) -> None:
        rows, self._pending = self._pending, []
        blobs, self._blobs = self._blobs, []
        if rows:
            try:
                await self._runner(self._write, rows, blobs, self._head)
            except StoreError:
                self._failed = True
                raise
            self.durable_seq = rows[-1].seq
        kept = []
        for wanted, waiter in self._waiters:
            if wanted > self.durable_seq:
                kept.append((wanted, waiter))
            elif not waiter.done():
                waiter.set_result(None)
        self._waiters = kept

    async def close(self) -> None:
        """Write what is left, with a signed head; nothing after a commit that failed. The run loop must have ended."""
        try:
            if self._committing is not None:
                await asyncio.wait([self._committing])
            if not self._failed:
                self.sign_head()
                await self._commit()
        finally:
            await self._runner(self._store.close)

    def _write(self, rows: list[Row], blobs: list[tuple[int, bytes]], head: Head | None) -> None:
        try:
            with self._store:
                self._insert(rows)
                for seq, data in blobs:
                    self._store.execute("INSERT INTO snapshot VALUES (?, ?)", (seq, data))
                    self._store.execute(
                        "DELETE FROM snapshot WHERE seq NOT IN (SELECT seq FROM snapshot ORDER BY seq DESC LIMIT ?)",
                        (SNAPSHOTS_KEPT,),
                    )
        except apsw.Error as error:
            raise StoreError(f"cannot write: {error}", self.path) from None
        if head is not None and any(row.kind is Record.HEAD for row in rows):
            self._write_head(head)

    def _insert(self, rows: list[Row]) -> None:
        self._store.executemany(
            "INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(r.seq, int(r.kind), r.wall_us, r.monotonic_ns, r.payload, r.previous, r.hash) for r in rows],
        )

    def _write_head(self, head: Head) -> None:
        beside = self.head_path.with_suffix(".head.new")
        with beside.open("w") as file:
            json.dump(head.as_json(), file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.head_path)

    # Reading, at start.

    def last_snapshot(self) -> tuple[int, Any] | None:
        """(seq, state) of the newest snapshot that the chain vouches for; None: rebuild from the first row."""
        for seq, data in self._store.execute("SELECT seq, state FROM snapshot ORDER BY seq DESC"):
            vouched = self._store.execute("SELECT payload FROM entry WHERE seq = ?", (seq + 1,)).get
            if vouched == cbor.encode([seq, hashlib.sha256(data).digest()]):
                return seq, cbor.decode_document(data)
        return None

    def rows(self, after: int = 0) -> Iterator[Row]:
        """Rows beyond `after`, each checked against the chain. StoreError names the first that is damaged."""
        previous = GENESIS
        if after:
            previous = self._store.execute("SELECT hash FROM entry WHERE seq = ?", (after,)).get or GENESIS
        expected = after + 1
        for found in self._store.execute("SELECT * FROM entry WHERE seq > ? ORDER BY seq", (after,)):
            row = Row(found[0], Record(found[1]), *found[2:])
            digest = hash_row(self.id, row.seq, row.kind, row.wall_us, row.monotonic_ns, row.payload, previous)
            if row.seq != expected or row.previous != previous or row.hash != digest:
                raise StoreError(f"row {expected} is damaged; run: bucium journal verify", self.path)
            yield row
            previous, expected = digest, expected + 1

    def read(self, seq: int) -> Row | None:
        """One row that is on disk."""
        found = self._store.execute("SELECT * FROM entry WHERE seq = ?", (seq,)).fetchone()
        return Row(found[0], Record(found[1]), *found[2:]) if found else None
