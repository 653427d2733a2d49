"""The outbox in use: on disk; and in memory while the disk takes nothing (reliability.md F14, F15, F18).

An alarm fails open: a full disk must not keep it from people. So when a write is refused the whole outbox goes on in memory, and
deliveries with it. What was told only there is not durable: the journal goes on counting it as untold, so that after a crash it
is told again, under the same identifier. Once the disk takes it the memory is written back, whole and synced, and all is durable.

A damaged outbox keeps nobody from starting either: it is set aside as `outbox.db.damaged`, and a new one is begun. What it had
still to tell stands in the journal (retelling.py); until that is told again the file's name says so.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

import apsw

from cython_ext import WireError
from lanes.store import DAMAGE, StoreError, is_damaged, set_aside

from . import Message
from .cap import Author
from .outbox import APPLICATION, PARCELS_MAX, Lost, Outbox, Tellable, Told

UNWRITTEN: Final = (apsw.FullError, apsw.IOError, apsw.BusyError, apsw.ReadOnlyError, apsw.CantOpenError)
R = TypeVar("R")


class Keeping:
    """Used as an Outbox is. Blocking; one caller at a time (a Runner). A foreign file raises StoreError.

    `anew`: it was damaged, and its successor does not yet know what was to be told: until `retold`.
    """

    def __init__(
        self,
        path: Path,
        wants: dict[str, Callable[[bool], bool]],
        *,
        standby: frozenset[str] = frozenset(),
        parcels_max: int = PARCELS_MAX,
    ) -> None:
        self._path, self._wants, self._standby, self._parcels_max = path, wants, standby, parcels_max
        self._disk = self._whole()
        self._memory: Outbox | None = None
        self.why = ""  # why it is in memory; empty: it is on disk
        self.anew = self._damaged.exists()

    @property
    def _damaged(self) -> Path:
        return self._path.with_name(self._path.name + ".damaged")

    def retold(self) -> None:
        """All that the damaged one had to tell is in this one."""
        self.anew = False
        with suppress(OSError):  # told once more at the next start
            self._damaged.replace(self._path.with_name(self._path.name + ".aside"))

    def _whole(self) -> Outbox:
        """The outbox, if it is as it was written; else a new one."""
        try:
            outbox = self._open()
        except StoreError as error:
            if not is_damaged(error, self._path, APPLICATION):
                raise
        else:
            try:
                outbox.inspect()
            except (*DAMAGE, ValueError, WireError):
                outbox.close()
            else:
                return outbox
        set_aside(self._path)
        return self._open()

    def _open(self) -> Outbox:
        return Outbox(self._path, self._wants, standby=self._standby, parcels_max=self._parcels_max)

    def close(self) -> None:
        """What fails while closing was not promised."""
        for outbox in (self._memory, self._disk):
            if outbox is not None:
                with suppress(apsw.Error):
                    outbox.close()

    def back(self) -> bool:
        """Write back what is in memory, if the disk takes it; whether all is on disk now."""
        if self._memory is None:
            return True
        with suppress(apsw.Error):
            self._disk.close()  # opened anew: what a failed sync has left in a connection nobody knows
        try:
            self._disk = self._open()
            self._disk.become(self._memory)
        except UNWRITTEN as error:
            self.why = str(error)[:48]
            return False
        except StoreError as error:
            if not isinstance(error.__cause__, UNWRITTEN):
                raise
            self.why = str(error.__cause__)[:48]
            return False
        self._memory.close()
        self._memory, self.why = None, ""
        return True

    def _do(self, act: Callable[[Outbox], R]) -> R:
        if self._memory is not None:
            return act(self._memory)
        try:
            return act(self._disk)
        except UNWRITTEN as error:
            self.why = str(error)[:48]
            self._memory = self._disk.copy()
            return act(self._memory)

    # As Outbox has it.

    def tell(self, author: Author, changes: Sequence[Tellable], now_us: int) -> Told:
        return self._do(lambda outbox: outbox.tell(author, changes, now_us))

    def renew(self, author: Author, now_us: int) -> Told:
        return self._do(lambda outbox: outbox.renew(author, now_us))

    def due(self, channel: str, held: Iterable[int], limit: int) -> list[Message]:
        return (self._memory or self._disk).due(channel, held, limit)

    def done(self, channel: str, numbers: Sequence[int]) -> None:
        self._do(lambda outbox: outbox.done(channel, numbers))

    def newest(self) -> int:
        return (self._memory or self._disk).newest()

    def stand_in(self, channel: str, by: str, through: int) -> list[Lost]:
        return self._do(lambda outbox: outbox.stand_in(channel, by, through))

    def pending(self) -> dict[str, int]:
        return (self._memory or self._disk).pending()

    def orphans(self) -> tuple[Lost, ...]:
        return self._do(lambda outbox: outbox.orphans())
