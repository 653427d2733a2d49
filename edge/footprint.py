"""Memory that only the start needed, given back: a node shares a small board with whatever else runs there.

At the start: no huge pages, which would map two megabytes where four kilobytes are read; and one arena of the C library for
all threads, of which two sleep nearly always. Once it is over: two thirds of a megabyte of heap, and the pages of libraries
that were touched once, while they were linked and their tables built. They are clean file pages, in the page cache as before;
what is used again comes back at the cost of a soft fault.
"""

import ctypes
import gc
import re
from pathlib import Path
from typing import Final

SETTLED_S: Final = 5.0  # after the start: first samples are judged, both connections made
_MADV_DONTNEED: Final = 4  # linux/mman.h
_PR_SET_THP_DISABLE: Final = 41  # linux/prctl.h
_M_ARENA_MAX: Final = -8  # malloc.h of glibc
_MAPPING: Final = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \S+\s*(.*)")


def start_small() -> None:
    """Call first, before threads. Does nothing where the C library is not that of Linux."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):
        libc.prctl(_PR_SET_THP_DISABLE, 1, 0, 0, 0)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Call once, when the start is over. Does nothing where the C library or /proc are not those of Linux."""
    gc.collect()
    gc.freeze()  # what is left now stays: the collector need not walk it again
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
    try:
        text = Path("/proc/self/smaps").read_text()
    except OSError:
        return
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for first, last in clean_files(text):
        libc.madvise(first, last - first, _MADV_DONTNEED)


def clean_files(smaps: str) -> list[tuple[int, int]]:
    """Mappings of files that cannot be written and hold no page of our own: dropping them loses nothing."""
    found = []
    mapping: tuple[int, int] | None = None
    for line in smaps.splitlines():
        head = _MAPPING.fullmatch(line)
        if head:
            of_file = head[4].startswith("/") and "w" not in head[3]
            mapping = (int(head[1], 16), int(head[2], 16)) if of_file else None
        elif mapping is not None and line.startswith("Anonymous:") and line.split()[1] == "0":
            found.append(mapping)
    return found
