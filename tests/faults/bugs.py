"""Planted bugs for real processes: Python that runs in the program before its own, and nothing in the product.

Each is a promise broken on purpose; `slow` is no bug but a disk on which the first one shows.
"""

from typing import Final

SLOW: Final = """
import time
from controller.record import journal
_write = journal.Journal._write
def _slowly(self, *rest):
    time.sleep(0.4)
    return _write(self, *rest)
journal.Journal._write = _slowly
"""
ACK_BEFORE_COMMIT: Final = (
    SLOW
    + """
async def _at_once(self, seq=None):
    return
journal.Journal.durable = _at_once
"""
)
SYNCHRONOUS_NORMAL: Final = """
from lanes import store
_open = store.open_store
def _weakly(*rest, **named):
    connection = _open(*rest, **named)
    connection.pragma("synchronous", "normal")
    return connection
store.open_store = _weakly
"""
