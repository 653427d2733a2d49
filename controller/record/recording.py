"""The recorded input of the controller's own Panel: what it was fed, when time alone was judged, and what it said (design §2.3).

Files of up to an hour, `inputs/000001-quiet.rec`: each begins with the Panel as it was, so each can be replayed alone, and is
hashed into the journal when it is closed (INPUT). Together they are bounded: when room is needed, those in which the Panel said
nothing go first, the oldest first; then the oldest of the others. What an inquiry asks for is the hours around a verdict.

    file    "BUCIUM-INPUT/1" and zeros up to 16, then one zlib stream of records; a crash cuts its end off, the rest is readable
    record  type (1) · journal seq before it (8) · now, ns (8) · length (4) · payload
            H  [boot, plan's SHA-256, Panel snapshot]     F  packed samples     A  nothing: time alone     S  what the Panel said

Telemetry may be lost, and so may this: no decision waits for it. A disk that does not take it is Trouble.
"""

import asyncio
import hashlib
import os
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cython_ext import NS_PER_S, Clock, Transition
from cython_ext.panel import Panel
from lanes import cbor
from lanes.store import Runner

MAGIC: Final = b"BUCIUM-INPUT/1\0\0"
RECORD: Final = struct.Struct(">cQQI")
PART_BYTES: Final = 4 << 20  # of a file, compressed: some 1,000,000 samples
PART_NS: Final = 3600 * NS_PER_S
FLUSH_NS: Final = 10 * NS_PER_S
PENDING_MAX: Final = 8 << 20  # in memory, when the disk hangs; beyond it the part ends there
DISK: Final = "recording-disk"
SAID: Final = "-said.rec"  # the Panel said something in it
QUIET: Final = "-quiet.rec"
OPEN: Final = ".part"


def pack_said(said: Sequence[Transition]) -> bytes:
    """What the Panel said, comparable bit for bit."""
    return cbor.encode_document([_packed(transition) for transition in said])


def _packed(t: Transition) -> list[Any]:
    bits = struct.pack(">d", t.value)
    numbers = [t.point, int(t.cause), int(t.was), int(t.level), t.at_ns, bits, int(t.reason), int(t.trouble)]
    return [*numbers, list(t.evidence)]


@dataclass(slots=True)
class _Part:
    """The file that is being written."""

    number: int
    path: Path
    began_ns: int
    last_ns: int
    stream: "zlib._Compress" = field(default_factory=lambda: zlib.compressobj(1))
    pending: list[bytes] = field(default_factory=list)
    held: int = 0
    size: int = 0
    said: bool = False


class Recorder:
    """`closed` takes what an INPUT row holds; `trouble` is (code, subject, on)."""

    def __init__(
        self,
        folder: Path,
        *,
        bytes_max: int,
        boot: bytes,
        runner: Runner,
        seq: Callable[[], int],
        closed: Callable[[list[int | bytes]], object],
        trouble: Callable[[str, str, bool], None],
    ) -> None:
        self._folder = folder
        self._bytes_max = bytes_max
        self._boot = boot
        self._runner = runner
        self._seq = seq
        self._closed = closed
        self._trouble = trouble
        self._panel: Panel | None = None
        self._plan = b""
        self._part: _Part | None = None
        self._ended: list[_Part] = []
        self._number = 0
        self._why = ""

    # On the loop, beside the Panel: nothing here waits.

    def begin(self, panel: Panel, plan: bytes, now_ns: int) -> None:
        """From here on this Panel, under this plan."""
        self._panel, self._plan = panel, plan
        self._turn(now_ns)

    def fed(self, batch: bytes, now_ns: int, said: Sequence[Transition]) -> None:
        self._add(b"F", now_ns, batch, said)

    def advanced(self, now_ns: int, said: Sequence[Transition]) -> None:
        self._add(b"A", now_ns, b"", said)

    def _add(self, kind: bytes, now_ns: int, payload: bytes, said: Sequence[Transition]) -> None:
        part = self._part
        if part is None:
            return
        self._put(part, kind, now_ns, payload)
        if said:
            part.said = True
            self._put(part, b"S", now_ns, pack_said(said))
        if part.size + part.held // 4 >= PART_BYTES or now_ns - part.began_ns >= PART_NS or part.held >= PENDING_MAX:
            self._turn(now_ns)

    def _put(self, part: _Part, kind: bytes, now_ns: int, payload: bytes) -> None:
        part.pending.append(RECORD.pack(kind, self._seq(), now_ns, len(payload)) + payload)
        part.held += len(payload) + RECORD.size
        part.last_ns = now_ns

    def _turn(self, now_ns: int) -> None:
        """Another file, from the Panel as it is now."""
        assert self._panel is not None
        if self._part is not None:
            self._ended.append(self._part)
        self._number += 1
        path = self._folder / f"{self._number:06}{OPEN}"
        self._part = _Part(self._number, path, now_ns, now_ns)
        head = cbor.encode_document([self._boot, self._plan, self._panel.snapshot(now_ns)])
        self._put(self._part, b"H", now_ns, head)

    # With the disk.

    async def open(self) -> None:
        """Before `begin`: what an earlier life left open is closed, and numbers go on."""
        try:
            found, self._number = await self._runner(self._left)
        except OSError as error:
            self._say(error.strerror or "disk")
            return
        for row in found:
            self._closed(row)

    async def run(self, clock: Clock) -> None:
        """Write what there is, until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_NS / NS_PER_S)
            await self.flush(clock.monotonic_ns())

    async def flush(self, now_ns: int, *, last: bool = False) -> None:
        """What there is goes to the disk; `last`: the program ends, and so does the file."""
        if last and self._part is not None:
            self._ended.append(self._part)
            self._part = None
        ended, self._ended = self._ended, []
        try:
            for part in ended:
                row = await self._runner(self._close, part, self._take(part, last=True))
                self._closed(row)
            if self._part is not None:
                data = self._take(self._part, last=False)
                self._part.size += await self._runner(self._append, self._part, data)
        except OSError as error:
            self._say(error.strerror or "disk")
            if self._part is not None and self._panel is not None:
                self._part = None  # a file with a hole replays nothing
                self._turn(now_ns)
                self._ended.clear()
            return
        self._say("")

    def _say(self, why: str) -> None:
        if self._why and why != self._why:
            self._trouble(DISK, self._why, False)
        if why:
            self._trouble(DISK, why, True)
        self._why = why

    def _take(self, part: _Part, *, last: bool) -> bytes:
        data = b"".join(part.pending)
        part.pending, part.held = [], 0
        return part.stream.compress(data) + part.stream.flush(zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH)

    def _append(self, part: _Part, data: bytes) -> int:
        self._folder.mkdir(exist_ok=True, mode=0o750)
        with part.path.open("ab") as file:
            size = len(data)
            if file.tell() == 0:
                size += file.write(MAGIC)
            file.write(data)
        return size

    def _close(self, part: _Part, data: bytes) -> list[int | bytes]:
        self._append(part, data)
        row = self._seal(part.path, part.number, said=part.said)
        self._shed()
        return [*row, part.began_ns, part.last_ns]

    def _seal(self, path: Path, number: int, *, said: bool) -> list[int | bytes]:
        content = path.read_bytes()
        with path.open("rb") as file:
            os.fsync(file.fileno())
        path.replace(self._folder / f"{number:06}{SAID if said else QUIET}")
        return [number, len(content), hashlib.sha256(content).digest()]

    def _left(self) -> tuple[list[list[int | bytes]], int]:
        rows: list[list[int | bytes]] = []
        for path in sorted(self._folder.glob(f"*{OPEN}")):
            number = int(path.name[:6])
            rows.append([*self._seal(path, number, said=True), 0, 0])
        return rows, max((int(path.name[:6]) for path in self._folder.glob("*.rec")), default=0)

    def _shed(self) -> None:
        """Within the bound: what is quiet goes first, the oldest first."""
        sizes = {path: path.stat().st_size for path in self._folder.glob("*.rec")}
        over = sum(sizes.values()) - self._bytes_max
        for path in sorted(sizes, key=lambda p: (p.name.endswith(SAID), p.name)):
            if over <= 0:
                return
            over -= sizes[path]
            path.unlink()
