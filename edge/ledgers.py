"""The ledger in use, and what is done when it cannot take an event (reliability.md F14–F18).

    disk full       ballast overboard, acked events pruned, the log emptied, once more; at last unacked calm events are shed
    damaged, or an I/O error, or locked   set aside under another name, a new ledger with a new id, unacked events carried over
    no disk at all  a ledger in memory: the alarm still goes out, and says that it is not durable; back to disk when there is one

Never retry-and-believe: after an I/O error the file is not written again. Each step is a trouble that the new ledger tells.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import apsw

from lanes.orders import Ack
from lanes.store import StoreError

from .ballast import Ballast
from .ledger import MEMORY, AckVerdict, DamagedError, Draft, Kept, Ledger, read_unacked

ASIDE_MAX: Final = 2  # ledgers kept for inquiry: 128 MiB
MAKE_ROOM_MAX: Final = 8  # rounds of making room for one commit

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


class Ledgers:
    """The ledger in use. Blocking: call through one Runner. `findings` are for the caller to take and report."""

    def __init__(self, folder: Path, node: str, entropy: Callable[[int], bytes]) -> None:
        self._folder = folder
        self._node = node
        self._entropy = entropy
        self._ballast = Ballast(folder / "ballast")
        self.findings: list[Finding] = []
        self.current = self._open()
        if not self._ballast.load():
            self.findings.append(Finding("ballast-missing", True))

    @property
    def path(self) -> Path:
        return self._folder / "ledger.db"

    def _open(self) -> Ledger:
        why = ""
        try:
            return Ledger(self.path, self._node, self._entropy)
        except DamagedError as error:
            why = "foreign" if "belongs to node" in str(error) else "damaged"
        except StoreError as error:
            why = "not-ours" if "not ours" in str(error) else "unreadable"
        except (*BROKEN, apsw.FullError):
            why = "unreadable"
        return self._renew(why)

    def _renew(self, why: str, head: int | None = None) -> Ledger:
        """A new ledger, with what the old one still owes. `head`: the last seq that the old one had promised."""
        aside = self._set_aside()
        owed = read_unacked(aside or self.path, self._node, head)
        self.findings.append(Finding("ledger-replaced", True, why))
        if aside is not None:  # else the broken file still stands there, and is not to be believed
            self._ballast.drop()  # a new file needs room, and the disk may be the reason
            ledger = self._make(self.path, owed)
            if ledger is not None:
                return ledger
        ledger = self._make(MEMORY, owed)
        if ledger is None:
            raise StoreError("not even a ledger in memory can be made", self.path)
        self.findings.append(Finding("ledger-in-memory", True, why))
        return ledger

    def _make(self, path: Path, owed: Sequence[Kept]) -> Ledger | None:
        try:
            ledger = Ledger(path, self._node, self._entropy)
        except (StoreError, apsw.FullError, *BROKEN):
            return None
        try:
            ledger.salvage(owed)
        except (apsw.FullError, *BROKEN):
            with suppress(apsw.Error):
                ledger.close()
            return None
        return ledger

    def _set_aside(self) -> Path | None:
        """Rename the file and its log; None when there is nothing to keep or the folder does not let us."""
        taken = sorted(self._folder.glob("ledger-aside-*.db"))
        number = int(taken[-1].stem.rpartition("-")[2]) + 1 if taken else 1
        aside = self._folder / f"ledger-aside-{number:06}.db"
        try:
            for old in taken[: max(0, len(taken) - ASIDE_MAX + 1)]:
                for suffix in ("", "-wal", "-shm"):
                    old.with_name(old.name + suffix).unlink(missing_ok=True)
            for suffix in ("-wal", "-shm", ""):
                here = self.path.with_name(self.path.name + suffix)
                if here.exists():
                    here.rename(aside.with_name(aside.name + suffix))
        except OSError:
            return None
        return aside if aside.exists() else None

    # What the reporter and the lane ask.

    def append(self, drafts: Sequence[Draft]) -> list[Kept]:
        """Sign and store; durable on return (or in memory, with the trouble said). Never fails for the disk."""
        room = 0
        while True:
            try:
                if self.current.crowded:
                    self._make_room()
                return self.current.append(drafts)
            except apsw.FullError:
                room += 1
                if room > MAKE_ROOM_MAX or not self._make_room():
                    self._replace("full")
            except BROKEN as error:
                self._replace(type(error).__name__.lower())

    def ack(self, ack: Ack) -> AckVerdict:
        """As Ledger.ack; a full disk loses only the note that it was acked: the event is sent once more."""
        try:
            return self.current.ack(ack)
        except apsw.FullError:
            self._make_room()
            return AckVerdict.RESEND
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
                if not self._make_room():
                    self._replace("full")
            except BROKEN as error:
                self._replace(type(error).__name__.lower())

    def unacked(self) -> int:
        return self.current.unacked()

    def latest(self, limit: int) -> list[Kept]:
        return self.current.latest(limit)

    def tend(self) -> None:
        """Now and then: ballast aboard again when there is room, and from memory back to the disk."""
        if not self.current.durable:
            self._return_to_disk()
        had = self._ballast.aboard
        if not had and self._ballast.load():
            self.findings += [Finding("disk-full", False), Finding("ballast-missing", False)]

    def close(self) -> None:
        with suppress(apsw.Error):
            self.current.close()

    def _make_room(self) -> bool:
        """One step of making room; False when nothing is left to give."""
        dropped = self._ballast.drop()
        if dropped:
            self.findings.append(Finding("disk-full", True))
        try:
            self.current.checkpoint()
            if self.current.prune():
                return True
            if dropped:
                return True
            shed = self.current.shed()
        except (apsw.FullError, *BROKEN):
            return dropped
        if shed:
            self.findings.append(Finding("events-lost", True, "{}: {}-{}".format(*shed)))
        return shed is not None

    def _replace(self, why: str) -> None:
        if not self.current.durable:
            raise StoreError(f"the ledger in memory failed ({why})", self.path)
        self.close()
        self.current = self._renew(why, self.current.head)

    def _return_to_disk(self) -> None:
        memory = self.current
        self._set_aside()
        if self.path.exists():
            return
        ledger = self._make(self.path, memory.pending(1 << 30))
        if ledger is None:
            return
        memory.close()
        self.current = ledger
        self.findings.append(Finding("ledger-in-memory", False))
