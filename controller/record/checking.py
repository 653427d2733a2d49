"""The journal read through, in the background: once after each start, and once a day.

A start reads only what follows the last snapshot, and so sees no damage in front of it. What stands there has been judged, told
and acted on, and the state is whole; but the history is not, and people must hear of it while nodes still have the events.
"""

import asyncio
import logging
import re
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Final

from lanes.store import Runner, StoreError

from .database import Damaged, Database

log = logging.getLogger("bucium.controller")

CODE: Final = "journal-damaged"
FIRST_S: Final = 10.0  # after the start: nodes come back first
EVERY_S: Final = 86_400.0
ROWS: Final = 500  # at a time, some 5 ms
PAUSE_S: Final = 0.05


class Checking:
    """Runs until cancelled. `runner` is its own: a commit must not wait. `trouble(code, on, subject)` tells of the damage."""

    def __init__(
        self, path: Path, journal: Callable[[], bytes], runner: Runner, trouble: Callable[[str, bool, str], None]
    ) -> None:
        """`journal` gives the id of the journal at `path`."""
        self._path = path
        self._journal = journal
        self._runner = runner
        self._trouble = trouble

    async def run(self) -> None:
        wait_s = FIRST_S
        while True:
            await asyncio.sleep(wait_s)
            wait_s = EVERY_S
            try:
                damaged = await self.once()
            except StoreError as error:
                log.warning("journal.unchecked why=%s", error)  # it cannot be read now: another trouble says so
                continue
            if damaged:
                log.error("journal.damaged row=%s", damaged)
            self._trouble(CODE, bool(damaged), damaged)

    async def once(self) -> str:
        """Read it through; the number of the first row that is not whole, "" when all are. StoreError: it cannot be read."""
        last = 0
        while True:
            try:
                read = await self._runner(_some, self._path, self._journal(), last)
            except Damaged as damaged:
                return _row(damaged)
            if read is None:
                return ""
            last = read
            await asyncio.sleep(PAUSE_S)


def _some(path: Path, journal: bytes, after: int) -> int | None:
    """Check the next rows; the last one's number, or None when there are no more. Damaged, or StoreError."""
    database = Database(path, writable=False)
    try:
        numbers = [row.seq for row in islice(database.rows(journal, after), ROWS)]
    finally:
        database.close()
    return numbers[-1] if numbers else None


def _row(damaged: Damaged) -> str:
    found = re.search(r"\brow (\d+)", str(damaged))
    return found[1] if found else "?"
