"""The journal: append-only, hash-chained, durable. The controller's source of truth; its state is rebuilt from here.

A row is chained the moment it is appended, and on disk when `durable` returns: many rows share one fsync (group commit). What
goes out (acks, orders, dispatch) goes out after that, so nothing outside ever knows more than the disk.

Where a row is kept:

    database             always, when it can be written (database.py)
    emergency journal    while it cannot: locked, read-only, full, an I/O error (emergency.py). Every few seconds the database is
                         opened anew; once it takes what was kept aside, the rows go in once, as they are, and the chain goes on
    nowhere              neither takes rows: the program ends, start-up is recovery, and nodes act alone meanwhile

Snapshots only shorten start-up. The chain vouches for them: a SNAPSHOT row holds the digest of one.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cython_ext import NS_PER_S, Clock
from lanes import cbor
from lanes.identity import STORE_ID_BYTES
from lanes.keys import SigningKey
from lanes.store import Runner, StoreError

from .database import Damaged, Database, Unwritten
from .emergency import BYTES, Emergency, Torn
from .head import Head, read_head, write_head
from .records import ASIDE, GENESIS, Record, Row, hash_row, head_message

PENDING_MAX: Final = 100_000  # rows appended and not yet on disk: 30 MB; beyond it the disk has failed us
RETRY_S: Final = 5.0  # between looks whether the database works again; each may cost the others 0.1 s
EMERGENCY: Final = "journal-emergency"
NO_EMERGENCY: Final = "emergency-missing"
NO_HEAD: Final = "head-unwritten"


@dataclass(frozen=True, slots=True)
class Spare:
    """Where the emergency journal stands, and its size in bytes."""

    path: Path
    size: int = BYTES


@dataclass(frozen=True, slots=True)
class Former:
    """The journal that this one goes on from, because it was damaged: its last whole row, its name now, the state there."""

    id: bytes
    seq: int
    hash: bytes
    name: str
    state: Any


class Journal:
    """One journal, one writer. `head_path` is beside it: the last signed head, for the verifier and for others."""

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock,
        runner: Runner,
        key: SigningKey,
        new_id: bytes,
        controller: str = "",
        spare: Spare | None = None,
        former: Former | None = None,
    ) -> None:
        """Open or create. `new_id`: 8 random bytes, used only when the file is new.

        Damaged: ours, and not whole (aside.py). StoreError: not ours, another controller's, or not to be read or made at all.
        """
        assert len(new_id) == STORE_ID_BYTES
        self.path = path
        self.head_path = path.with_suffix(".head")
        self.notice: Callable[[str, str, bool], None] = lambda _code, _subject, _on: None
        self.cause: tuple[Record, Any] | None = None  # stands before the next row that is no aside
        self._clock = clock
        self._runner = runner
        self._key = key
        self._controller = controller
        self._pending: list[Row] = []
        self._blobs: list[tuple[int, bytes]] = []
        self._wake = asyncio.Event()
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self.id = new_id
        self._seq, self._hash = 0, GENESIS
        self._head: Head | None = None
        self._committing: asyncio.Future[None] | None = None
        self._failed = False  # a commit has failed: what comes after it would not be chained to what is on disk
        self._why = ""  # why rows go to the emergency journal; empty: they do not
        self._no_spare = self._no_head = ""  # why there is no emergency journal, and no head beside the journal
        self._told: dict[str, str] = {}
        self._retry_ns = 0
        self._emergency: Emergency | None = None
        self._db = self._database(spare)
        try:
            self._open(spare, former)
        except StoreError:
            self._db.close()
            if self._emergency is not None:
                self._emergency.close()
            raise
        self.durable_seq = self._seq

    # Opening.

    def _database(self, spare: Spare | None) -> Database:
        """The database; only to be read, when it takes no rows now and there is somewhere else to put them."""
        try:
            return Database(self.path)
        except Unwritten as error:
            if spare is None or not spare.path.exists() or not self.path.exists():
                raise
            self._why = error.why
            return Database(self.path, writable=False)

    def _open(self, spare: Spare | None, former: Former | None) -> None:
        found = self._db.identity()
        if found is None:
            if read_head(self.head_path) is not None:
                raise Damaged("it is empty, and the signed head beside it says that it was not", self.path)
            self._begin(former)
        else:
            self.id, controller = found
            if controller and self._controller and controller != self._controller:
                raise StoreError(
                    f"this is the journal of controller {controller!r}, this is {self._controller!r}; "
                    "put its own journal here, or move this one away",
                    self.path,
                )
            self._seq, self._hash = self._db.last()
        if spare is not None:
            self._open_spare(spare)
        head = read_head(self.head_path)
        if head is not None and head.get("journal") == self.id.hex() and int(head["seq"]) > self._seq:
            raise Damaged(f"cut: its signed head names row {head['seq']}, the last is {self._seq}", self.path)

    def _begin(self, former: Former | None) -> None:
        names: list[Any] = [self.id, self._controller]
        if former is not None:
            self._seq = former.seq  # numbers go on: orders and what is untold are known by them
            names.append([former.id, former.seq, former.hash, former.name])
        self.append(Record.BORN, names)
        if former is not None:
            self.snapshot(former.state)
        rows, self._pending = self._pending, []
        blobs, self._blobs = self._blobs, []
        self._db.begin(self.id, self._controller, rows, blobs)

    def _open_spare(self, spare: Spare) -> None:
        """What the emergency journal still holds goes on from the database, or it is damaged."""
        try:
            emergency = Emergency(spare.path, self.id, self._seq, spare.size)
        except Torn as torn:
            raise Damaged(str(torn), self.path) from None
        except StoreError as error:
            self._no_spare = str(error)[-48:]
            if self._why:
                raise
            return
        self._emergency = emergency
        if emergency.empty:
            return
        last: Row | None = None
        for row in emergency.rows():
            if last is None and not self._continues(row):
                raise Damaged(f"row {row.seq} of the emergency journal does not follow its own", self.path)
            last = row
        assert last is not None
        if last.seq > self._seq:
            self._seq, self._hash = last.seq, last.hash
        if not self._why:
            why = self._merge_now()
            if why == "damaged":
                raise Damaged("damaged: it takes no more rows", self.path)
            if why:  # what stands there is still to be read
                self._db.close()
                self._db = Database(self.path, writable=False)

    def _continues(self, row: Row) -> bool:
        if row.seq == self._seq + 1:
            return row.previous == self._hash
        have = self._db.read(row.seq)
        return have is not None and have.hash == row.hash

    # Appending.

    @property
    def seq(self) -> int:
        """The seq of the last row appended (perhaps not yet durable)."""
        return self._seq

    @property
    def head(self) -> Head | None:
        """The last signed head of this process."""
        return self._head

    @property
    def emergency(self) -> str:
        """Why rows go to the emergency journal now; empty: they do not."""
        return self._why

    def append(self, kind: Record, value: Any) -> Row:
        """Chain one more row. It is on disk once `durable(row.seq)` has returned."""
        if len(self._pending) >= PENDING_MAX:
            raise StoreError(f"{PENDING_MAX} rows wait for the disk", self.path)
        if self.cause is not None and kind not in ASIDE:
            self.mark()
        payload = cbor.encode(value)
        seq, wall_us, monotonic_ns = self._seq + 1, self._clock.wall_us(), self._clock.monotonic_ns()
        digest = hash_row(self.id, seq, kind, wall_us, monotonic_ns, payload, self._hash)
        row = Row(seq, kind, wall_us, monotonic_ns, payload, self._hash, digest)
        self._seq, self._hash = seq, digest
        self._pending.append(row)
        self._wake.set()
        return row

    def keep_time(self, clock: Clock) -> None:
        """Rows take their times from here: the room's clock, which stands still while an input is handled."""
        self._clock = clock

    def mark(self) -> None:
        """Journal what is going on, once, though perhaps nothing else comes of it: replay must know of it."""
        if self.cause is not None:
            (kind, value), self.cause = self.cause, None
            self.append(kind, value)

    def snapshot(self, state: Any) -> None:
        """Keep `state` as that after the last row. The emergency journal has no room for it: it waits."""
        if self._why:
            return
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

    # Committing.

    async def run(self) -> None:
        """Commit what is appended, until cancelled. A row that no disk takes ends the program: start-up is recovery."""
        try:
            while True:
                await self._work()
                self._wake.clear()
                # Shielded: a commit that has begun is finished even when we are being stopped; else its rows would be a gap.
                self._committing = asyncio.ensure_future(self._commit())
                await asyncio.shield(self._committing)
        finally:
            for _, waiter in self._waiters:
                waiter.cancel()

    async def _work(self) -> None:
        """Wait for rows; in an emergency not longer than until the next look at the database."""
        self._tell()
        if not self._why:
            await self._wake.wait()
            return
        left_s = (self._retry_ns - self._clock.monotonic_ns()) / NS_PER_S
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, left_s)):
                await self._wake.wait()

    async def _commit(self) -> None:
        rows, self._pending = self._pending, []
        blobs, self._blobs = self._blobs, []
        try:
            if rows:
                await self._runner(self._write, rows, blobs, self._head)
                self.durable_seq = rows[-1].seq
            self._release()
            if self._why and self._clock.monotonic_ns() >= self._retry_ns:
                await self._runner(self._merge_now)
                self._retry_ns = self._clock.monotonic_ns() + round(RETRY_S * NS_PER_S)
        except StoreError:
            self._failed = True
            raise

    def _release(self) -> None:
        kept = []
        for wanted, waiter in self._waiters:
            if wanted > self.durable_seq:
                kept.append((wanted, waiter))
            elif not waiter.done():
                waiter.set_result(None)
        self._waiters = kept

    def _tell(self) -> None:
        """What the disk's thread has found, to whoever raises Trouble; that appends rows, and so wakes us again."""
        self._say(EMERGENCY, self._why)
        self._say(NO_EMERGENCY, self._no_spare)
        self._say(NO_HEAD, self._no_head)

    def _say(self, code: str, why: str) -> None:
        was = self._told.get(code, "")
        if why == was:
            return
        self._told[code] = why
        if was:
            self.notice(code, was, False)
        if why:
            self.notice(code, why, True)

    async def close(self) -> None:
        """Write what is left, with a signed head; nothing after a commit that failed. The run loop must have ended."""
        try:
            if self._committing is not None:
                await asyncio.wait([self._committing])
            if not self._failed:
                self.sign_head()
                self._retry_ns = 0
                await self._commit()
        finally:
            await self._runner(self.drop)

    # On the disk's thread.

    def _write(self, rows: list[Row], blobs: list[tuple[int, bytes]], head: Head | None) -> None:
        if not self._why:
            try:
                self._db.write(rows, blobs)
            except Unwritten as error:
                if self._emergency is None:
                    raise
                self._why = error.why
                self._db.close()  # never again through this connection: nobody knows what it believes
                self._retry_ns = self._clock.monotonic_ns() + round(RETRY_S * NS_PER_S)
        if self._why:
            assert self._emergency is not None
            self._emergency.write(rows)
        if head is not None and any(row.kind is Record.HEAD for row in rows):
            self._no_head = write_head(self.head_path, head)

    def _merge_now(self) -> str:
        """Bring the emergency journal into the database, if that works again; else why not, and things stay as they are."""
        emergency = self._emergency
        assert emergency is not None
        self._db.close()
        try:
            self._db = Database(self.path)
            last = self._db.merge(emergency.rows())
        except (Unwritten, Damaged) as error:
            self._why = error.why if isinstance(error, Unwritten) else "damaged"
            return self._why
        try:
            emergency.wipe(last)
        except StoreError as error:
            self._no_spare = str(error)[-48:]
        self._why = ""
        return ""

    def drop(self) -> None:
        """Close the files as they are."""
        self._db.close()
        if self._emergency is not None:
            self._emergency.close()

    # Reading, at start.

    def last_snapshot(self) -> tuple[int, Any] | None:
        """(seq, state) of the newest snapshot that the chain vouches for; None: rebuild from the first row."""
        return self._db.last_snapshot()

    def rows(self, after: int = 0) -> Iterator[Row]:
        """Rows beyond `after`, each checked against the chain. Damaged names the first that is not whole."""
        last = after
        for row in self._db.rows(self.id, after):
            yield row
            last = row.seq
        if self._emergency is not None and not self._emergency.empty:
            yield from (row for row in self._emergency.rows() if row.seq > last)

    def read(self, seq: int) -> Row | None:
        """One row that is in the database."""
        return self._db.read(seq)
