"""The ledger in use, and what is done when it cannot take an event (reliability.md F14–F18).

    disk full       ballast overboard; then what was kept for inquiry and acked events go, and at last the oldest unacked ones,
                    the calm first, before the disk is so full that not even that could be written
    file full       (its bound) the same, but for ballast and what stands beside it
    damaged, an I/O error, locked
                    set aside as `ledger-owing-…`, a new ledger with a new id; once the new one holds what the old one owed,
                    its name becomes `ledger-aside-…`, kept for inquiry
    rolled back     an old copy of the disk was put back: the controller has other events under seqs that we use again. A new
                    ledger tells all that it may lack anew, under its own id; the old one is kept as `ledger-aside-…`
    no disk at all  a ledger in memory: the alarm still goes out, and says that it is not durable; back to disk when there is one

Never retry-and-believe: after an I/O error the file is not written again. Each step is a trouble that the new ledger tells.
"""

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from heapq import nsmallest
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

import apsw

from lanes.orders import Ack
from lanes.store import StoreError

from .ballast import Ballast
from .ledger import MEMORY, AckVerdict, DamagedError, Draft, Kept, Ledger
from .remains import Debt, read_unacked

ASIDES: Final = "ledger-aside-*.db"
ASIDE_MAX: Final = 2  # settled ledgers kept for inquiry: 128 MiB
OWING_MAX: Final = 8  # ledgers whose debts could not yet be settled
CARRIED_MAX: Final = 10_000  # events carried into memory: 3 MB; the rest stays owed on the disk
MAKE_ROOM_MAX: Final = 8  # rounds of making room for one commit
RESERVE_BYTES: Final = 3 << 20  # below it nothing grows: room for the log of pruning and of single commits
SETTLED_EVENTS: Final = (
    5_000  # taken over at once: 1.5 MB, half a second; so that a new ledger is there within 10 s (issue 4)
)
SETTLED_PAGES: Final = (
    3_072  # 12 MiB: what is owed waits in its own file rather than take the last room from what comes
)
ANEW_EVENTS: Final = 64  # of one commit
SPARE_PAGES: Final = 64  # free pages within the file that a commit may count on: 256 KiB

# What a disk, and not our code, can bring about.
BROKEN: Final = (
    apsw.IOError,
    apsw.CorruptError,
    apsw.NotADBError,
    apsw.ReadOnlyError,
    apsw.CantOpenError,
    apsw.BusyError,
    apsw.LockedError,
    apsw.ProtocolError,
    apsw.PermissionsError,
    apsw.AuthError,
    apsw.NoLFSError,
    apsw.SchemaChangeError,
    OSError,
)


class Finding(NamedTuple):
    """A trouble of the ledger: code and subject as in docs/troubles.md."""

    code: str
    on: bool
    subject: str = ""


def free_bytes(folder: Path) -> int:
    """What an ordinary user may still write here."""
    room = os.statvfs(folder)
    return room.f_bavail * room.f_frsize


class Ledgers:
    """The ledger in use. Blocking: call through one Runner. `findings` are for the caller to take and report."""

    def __init__(
        self,
        folder: Path,
        node: str,
        entropy: Callable[[int], bytes],
        free: Callable[[Path], int] = free_bytes,
    ) -> None:
        self._folder = folder
        self._node = node
        self._entropy = entropy
        self._free = free
        self._ballast = Ballast(folder / "ballast", free)
        self._debts: list[Debt] = []  # ledgers set aside
        self._full = False  # in memory for want of room: the file on disk is whole
        self._lost_ballast = False
        self.findings: list[Finding] = []
        self.current = self._open()
        self._lost_ballast = not self._ballast.load()
        if self._lost_ballast:
            self.findings.append(Finding("ballast-missing", True))

    @property
    def path(self) -> Path:
        return self._folder / "ledger.db"

    @property
    def _next(self) -> Path:
        """A ledger that is being made to take the place of one that was rolled back."""
        return self._folder / "ledger-next.db"

    def _open(self) -> Ledger:
        with suppress(OSError):
            if self.path.exists():
                _delete(self._next)  # not finished, or not put in its place
            else:
                _rename(self._next, self.path)
        try:
            ledger = Ledger(self.path, self._node, self._entropy)
            self._settle(ledger)
        except DamagedError as error:
            why = "foreign" if "belongs to node" in str(error) else "damaged"
        except StoreError as error:
            why = "not-ours" if "not ours" in str(error) else "unreadable"
        except (*BROKEN, apsw.FullError, apsw.SQLError):  # a bit changed in the schema is an SQL error
            why = "unreadable"
        else:
            return ledger
        return self._renew(why, None)

    # What the reporter and the lane ask.

    def append(self, drafts: Sequence[Draft]) -> list[Kept]:
        """Sign and store; durable on return (or in memory, with the trouble said). Never fails for the disk."""
        room = 0
        while True:
            try:
                if self.current.crowded:
                    self._make_room(disk=False)
                elif self._low():
                    self._make_room()
                return self.current.append(drafts)
            except apsw.FullError:
                room += 1
                self._after_full(try_again=room <= MAKE_ROOM_MAX)
            except BROKEN as error:
                self._replace(type(error).__name__.lower())

    def ack(self, ack: Ack, handed: Collection[int] | None = None) -> AckVerdict:
        """As Ledger.ack. When the disk fails, only the note that it was acked is lost: the event is sent once more."""
        try:
            return self.current.ack(ack, handed)
        except apsw.FullError:
            self._after_full()
        except BROKEN as error:
            self._replace(type(error).__name__.lower())
        return AckVerdict.RESEND

    def pending(self, limit: int, skip: frozenset[tuple[bytes, int]]) -> list[Kept]:
        try:
            return self.current.pending(limit, skip)
        except BROKEN as error:
            self._replace(type(error).__name__.lower())
            return self.current.pending(limit, skip)

    def reserve_counter(self) -> int:
        while True:
            try:
                return self.current.reserve_counter()
            except apsw.FullError:
                self._after_full()
            except BROKEN as error:
                self._replace(type(error).__name__.lower())

    def unacked(self) -> int:
        return self.current.unacked()

    def latest(self, limit: int) -> list[Kept]:
        return self.current.latest(limit)

    def tend(self) -> None:
        """Now and then: from memory back to the disk, and ballast aboard again when there is room."""
        if not self.current.durable:
            self._return_to_disk()
        elif self._debts:
            try:
                self._settle_more(self.current)
            except apsw.FullError:
                self._after_full()
            except BROKEN as error:
                self._replace(type(error).__name__.lower())
        if self._lost_ballast and self._ballast.load():
            self._lost_ballast = False
            self.findings += [Finding("disk-full", False), Finding("ballast-missing", False)]

    @property
    def owes(self) -> bool:
        """Whether `tend` has still to take over events of a ledger set aside."""
        return bool(self._debts)

    def close(self) -> None:
        self._debts.clear()
        with suppress(apsw.Error):
            self.current.close()

    # Room.

    def _low(self) -> bool:
        """Whether the file must not grow any more, and has no room left within."""
        if not self._lost_ballast or not self.current.durable or self.current.spare_pages >= SPARE_PAGES:
            return False
        try:
            return self._free(self._folder) < RESERVE_BYTES
        except OSError:
            return False

    def _after_full(self, *, try_again: bool = True) -> None:
        """The disk took no more: make room, or leave this file."""
        why = "full"
        try:
            if try_again and self._make_room():
                return
        except apsw.FullError:
            pass
        except BROKEN as error:
            why = type(error).__name__.lower()
        self._replace(why)

    def _make_room(self, *, disk: bool = True) -> bool:
        """One step of making room; False when nothing is left to give. `disk`: it is that which is full, and not our file."""
        if disk and self.current.durable and self._ballast.drop():
            self._lost_ballast = True
            self.findings.append(Finding("disk-full", True))
            return True
        if disk and self.current.durable and _keep_newest(self._folder, ASIDES, 0):
            return True
        self.current.checkpoint()
        if self.current.prune():
            return True
        shed = self.current.shed()
        if shed:
            self.findings.append(Finding("events-lost", True, "{}: {}-{}".format(*shed)))
        return shed is not None

    # Replacement.

    def begin_anew(self, through: int, remint: Callable[[Kept], Draft | None]) -> bool:
        """A new ledger for one that was rolled back; durable on return. `remint` makes an event anew (None: it cannot be read).

        False: the disk does not let us now. The old ledger goes on, and the next ack brings us here again.
        """
        old = self.current
        if not old.durable:
            return False
        try:
            _delete(self._next)
            ledger = Ledger(self._next, self._node, self._entropy)
            try:
                ledger.salvage(old.salvaged())
                drafts: list[Draft] = []
                for kept in old.doubted(through):
                    if (draft := remint(kept)) is not None:
                        drafts.append(draft)
                    if len(drafts) == ANEW_EVENTS:
                        ledger.append(drafts)
                        drafts = []
                ledger.append(drafts)
            finally:
                ledger.close()
        except (StoreError, apsw.FullError, *BROKEN):
            return False
        self.close()
        with suppress(OSError):
            number = 1 + max((_number(path) for path in self._folder.glob("ledger-*.db")), default=0)
            _rename(self.path, self._folder / f"ledger-aside-{number:06}.db")
            _rename(self._next, self.path)
            _keep_newest(self._folder, ASIDES, ASIDE_MAX)
        self.current = self._open()
        self.findings.append(Finding("ledger-replaced", True, "rolled-back"))
        return True

    def _replace(self, why: str) -> None:
        if not self.current.durable:
            raise StoreError(f"the ledger in memory failed ({why})", self.path)
        head = self.current.head
        self.close()
        self.current = self._renew(why, head)

    def _renew(self, why: str, head: int | None) -> Ledger:
        """A new ledger, with what the old one still owes. `head`: the last seq that the old one had promised."""
        self.findings.append(Finding("ledger-replaced", True, why))
        self._full = why == "full"
        if not self._full and self._set_aside(head):
            self._lost_ballast = self._ballast.drop() or self._lost_ballast  # the new file needs room
            ledger = self._make()
            if ledger is not None:
                return ledger
        ledger = Ledger(MEMORY, self._node, self._entropy)
        owed = (kept for path, top in self._owing(head) for kept in read_unacked(path, self._node, top))
        ledger.salvage(nsmallest(CARRIED_MAX, owed, key=lambda kept: (not kept.urgent, -kept.seq)))
        self.findings.append(Finding("ledger-in-memory", True, why))
        return ledger

    def _make(self) -> Ledger | None:
        """A ledger on the disk that holds all debts, or None when this disk takes none."""
        try:
            ledger = Ledger(self.path, self._node, self._entropy)
        except (StoreError, apsw.FullError, *BROKEN):
            return None
        try:
            self._settle(ledger)
        except (apsw.FullError, *BROKEN):
            with suppress(apsw.Error):
                ledger.close()
            return None
        return ledger

    def _return_to_disk(self) -> None:
        memory = self.current
        if not self._full and self.path.exists() and not self._set_aside(None):
            return
        ledger = self._make()
        if ledger is None:
            return
        try:
            ledger.salvage(memory.pending(1 << 30))
        except (apsw.FullError, *BROKEN):
            ledger.close()
            return
        memory.close()
        self.current = ledger
        self.findings.append(Finding("ledger-in-memory", False))

    def _set_aside(self, head: int | None) -> bool:
        """Rename the broken file and its log; False when the folder does not let us."""
        number = 1 + max((_number(path) for path in self._folder.glob("ledger-*.db")), default=0)
        top = "all" if head is None else str(head)
        owing = self._folder / f"ledger-owing-{number:06}-{top}.db"
        try:
            _rename(self.path, owing)
            _keep_newest(self._folder, "ledger-owing-*.db", OWING_MAX)
        except OSError:
            return False
        return True

    def _owing(self, head: int | None) -> Iterator[tuple[Path, int | None]]:
        """Files that hold debts, with the last seq each had promised."""
        for path in sorted(self._folder.glob("ledger-owing-*.db")):
            top = path.stem.rpartition("-")[2]
            yield path, None if top == "all" else int(top)
        if self.path.exists():
            yield self.path, head

    def _settle(self, ledger: Ledger) -> None:
        """Take over what ledgers set aside still owe: alarms now, of the rest as much as takes no time, more in `tend`."""
        self._debts.clear()
        for path, head in [*self._owing(None)]:
            if path != self.path:
                debt = Debt(path, self._node, head)
                if _has_room(ledger):
                    ledger.salvage(islice((kept for kept in debt.all() if kept.urgent), SETTLED_EVENTS))
                self._debts.append(debt)
        self._settle_more(ledger)

    def _settle_more(self, ledger: Ledger) -> None:
        """The next events that are owed; a file that owes no more is kept for inquiry. A new start begins anew: same events."""
        room = SETTLED_EVENTS
        while self._debts and room and _has_room(ledger):
            debt = self._debts[0]
            page = list(islice(debt.left, room))
            try:
                ledger.salvage(page)
            except BaseException:
                debt.left = debt.all()  # nothing of the page is stored; the rest no second time
                raise
            room -= len(page)
            if room:
                del self._debts[0]
                _rename(debt.path, self._folder / f"ledger-aside-{_number(debt.path):06}.db")
                _keep_newest(self._folder, ASIDES, ASIDE_MAX)


def _has_room(ledger: Ledger) -> bool:
    """Whether it may take over more; acked events give way to it."""
    with suppress(apsw.FullError):
        while ledger.room_pages < SETTLED_PAGES and ledger.durable:
            if not ledger.prune():
                return False
        return True
    return False


def _number(path: Path) -> int:
    parts = path.stem.split("-")
    return int(parts[2]) if len(parts) > 2 and parts[2].isdigit() else 0


def _delete(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _rename(path: Path, to: Path) -> None:
    for suffix in ("-wal", "-shm", ""):
        here = path.with_name(path.name + suffix)
        if here.exists():
            here.rename(to.with_name(to.name + suffix))


def _keep_newest(folder: Path, pattern: str, most: int) -> int:
    """Delete all but so many; how many went."""
    found = sorted(folder.glob(pattern), key=_number)
    gone = found[: max(0, len(found) - most)]
    for old in gone:
        _delete(old)
    return len(gone)
