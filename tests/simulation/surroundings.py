"""What a world borrows from this machine: a folder in memory, control sockets that are none, signatures verified once."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from edge.report.ballast import BALLAST_BYTES
from lanes import control, envelope
from lanes.keys import SigningKey


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

    with patch.object(control, "serve", serve):
        yield


class Signatures:
    """What has been signed here by Ed25519 need not be verified by it: the same bytes, key and signature. All else is."""

    def __init__(self) -> None:
        self.genuine: set[tuple[bytes, bytes, bytes]] = set()

    def sign(self, key: SigningKey, data: bytes) -> bytes:
        signature = key.private.sign(data)
        self.genuine.add((key.public, signature, data))
        return signature

    @contextlib.contextmanager
    def remembered(self) -> Iterator[None]:
        verify, genuine = envelope.verify, self.genuine

        def known(public: bytes, signature: bytes, data: bytes) -> bool:
            return (public, signature, data) in genuine or verify(public, signature, data)

        with (
            patch.object(SigningKey, "sign", lambda key, data: self.sign(key, data)),
            patch.object(envelope, "verify", known),
        ):
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
