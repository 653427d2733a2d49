"""What a world borrows from this machine: a folder in memory, and control sockets that are none."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

from edge.report.ballast import BALLAST_BYTES
from lanes import control, envelope


@contextlib.contextmanager
def desks_of(desks: dict[str, dict[str, Any]]) -> Iterator[None]:
    """Control sockets as a dictionary: no socket within virtual time."""

    @contextlib.asynccontextmanager
    async def serve(path: Path, verbs: dict[str, Any]) -> AsyncIterator[None]:
        name = path.parent.parent.parent.name
        desks[name] = verbs
        try:
            yield
        finally:
            if desks.get(name) is verbs:
                del desks[name]

    # One signature is verified once, however many nodes ask: the same bytes give the same answer.
    verify = lru_cache(maxsize=4096)(envelope.verify)
    with patch.object(control, "serve", serve), patch.object(envelope, "verify", verify):
        yield


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder in memory, where the machine has one."""
    shared = Path("/dev/shm")
    base = Path(tempfile.mkdtemp(prefix="bucium-sim-", dir=shared if os.access(shared, os.W_OK) else None))
    try:
        with (base / "ballast").open("wb") as file:
            file.truncate(BALLAST_BYTES)
        yield base
    finally:
        shutil.rmtree(base, ignore_errors=True)
