"""Telemetry that could not be sent, kept until it can: a window of what was sent lately, a buffer, and segments on the disk.

    window   what was handed to the socket within the last `window_s`. That is no delivery: when the session ends or begins anew
             before the window is over, all of it goes to the buffer (it may then arrive twice, with the same times)
    buffer   at most FLUSH_S of what is to be kept: the samples that a power cut may cost
    segments on the disk, bounded, thinned from their oldest when full (thinning.py)

Nothing here may cost an alarm anything: the disk belongs to the ledger first. Below DISK_SPARE_BYTES of free room the backlog is
given up from its oldest, and nothing is kept until there is room again. All that is thinned or lost is counted and told.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Final

from cython_ext import NS_PER_S, Clock, Status
from lanes.store import Runner

from ..troubles import Troubles
from .births import RECORD
from .dating import Dating
from .segments import BATCH_BYTES, LEVELS, Batch, Content, Names, Segment, Segments
from .thinning import INTERVALS_S, thin

log = logging.getLogger("bucium.edge")

FLUSH_S: Final = 30.0  # one append and one sync in so long: 3,000 a day while cut off, nothing while connected
FLUSH_BYTES: Final = 64 << 10  # or when so much waits
BUFFER_BYTES_MAX: Final = 1 << 20  # while the disk takes nothing; beyond it the oldest are lost
SEALED_MAX: Final = 4  # buffers of former plans, while the disk takes nothing
WINDOW_BYTES_MAX: Final = 1 << 20
DISK_SPARE_BYTES: Final = 48 << 20  # the ledger's ballast needs 40 MiB to come aboard again: never compete with it
TEND_S: Final = 10.0
SHED_QUIET_S: Final = 600.0  # so long without loss ends the trouble
_ALIGNED: Final = BATCH_BYTES - BATCH_BYTES % RECORD.size


class Keep:
    """Takes samples without waiting. `run` writes them; all else that touches the disk goes through the same runner."""

    def __init__(
        self,
        folder: Path,
        names: Names,
        *,
        boot: bytes,
        dating: Dating,
        clock: Clock,
        runner: Runner,
        troubles: Troubles,
        bytes_max: int,
        window_s: float,
        free: Callable[[Path], int],
    ) -> None:
        """`boot`: this run's id, whose monotonic clock the samples have. `free(folder)`: bytes that may still be written."""
        self.names = names
        self.boot = boot
        self.thinned = 0  # samples given up for their interval's lowest, highest and last
        self.lost = 0  # samples given up without trace
        self.arrived = asyncio.Event()  # there is something more to send
        self._folder = folder
        self._dating = dating
        self._clock = clock
        self._runner = runner
        self._troubles = troubles
        self._bytes_max = bytes_max
        self._window_ns = round(window_s * NS_PER_S)
        self._free = free
        self._window: deque[tuple[int, bytes]] = deque()
        self._window_bytes = 0
        self._buffer = bytearray()
        self._sealed: list[tuple[Names, bytes]] = []  # buffers of plans before this one
        self._missing = bytearray(len(names))  # whether a point's last kept sample had no value
        self._wake = asyncio.Event()
        self._damage: list[tuple[str, int]] = []
        self._segments: Segments | None = None
        self._lost_ns = 0

    # In: from the sampler's path; never waits.

    def sent(self, records: bytes) -> None:
        """Samples that were handed over live."""
        now_ns = self._clock.monotonic_ns()
        self._window.append((now_ns, records))
        self._window_bytes += len(records)
        while self._window_bytes > WINDOW_BYTES_MAX or self._window[0][0] < now_ns - self._window_ns:
            self._window_bytes -= len(self._window.popleft()[1])

    def parted(self) -> None:
        """The session is over or begins anew: nobody knows whether what was sent lately has arrived."""
        now_ns = self._clock.monotonic_ns()
        for at_ns, records in self._window:
            if at_ns >= now_ns - self._window_ns:
                self.add(records)
        self._window.clear()
        self._window_bytes = 0

    def add(self, records: bytes) -> None:
        """Samples to keep. Of a point without value only the first in a row: the rest say no more."""
        for row in RECORD.iter_unpack(records):
            gone = bool(row[3] & Status.MISSING)
            if not (gone and self._missing[row[2]]):
                self._buffer += RECORD.pack(*row)
            self._missing[row[2]] = gone
        self._bound()
        if len(self._buffer) >= FLUSH_BYTES:
            self._wake.set()

    def _bound(self) -> None:
        over = len(self._buffer) - BUFFER_BYTES_MAX
        if over > 0:
            over += -over % RECORD.size
            self._lose(over // RECORD.size)
            del self._buffer[:over]

    def replan(self, names: Names) -> None:
        """Other points from now on; what is here is of the points before."""
        self.parted()
        if self._buffer:
            self._sealed.append((self.names, bytes(self._buffer)))
            self._buffer.clear()
        self.names = names
        self._missing = bytearray(len(names))
        self._wake.set()

    # Its life.

    async def run(self) -> None:
        """Write what comes, and look after the room, until cancelled. `flush` afterwards writes the rest."""
        await self._open()
        flushed_ns = self._clock.monotonic_ns()
        while True:
            self._wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(TEND_S):
                    await self._wake.wait()
            now_ns = self._clock.monotonic_ns()
            if len(self._buffer) >= FLUSH_BYTES or self._sealed or now_ns - flushed_ns >= FLUSH_S * NS_PER_S:
                await self.flush()
                flushed_ns = now_ns
            else:
                await self._tend()

    async def _open(self) -> Segments:
        if self._segments is None:
            self._segments = await self._runner(Segments, self._folder, self._damaged)
            self._tell_damage()
            if self._segments.sizes:
                self.arrived.set()
        return self._segments

    async def flush(self) -> None:
        """What is in the buffer goes to the disk."""
        segments = await self._open()
        await self._tend()
        if self._buffer:
            self._sealed.append((self.names, bytes(self._buffer)))
            self._buffer.clear()
        while self._sealed:
            names, data = self._sealed.pop(0)
            if self._low():
                self._lose(len(data) // RECORD.size)
                continue
            try:
                await self._runner(self._write, segments, data, names, (self._dating.offset_ms, self._dating.trusted))
            except (OSError, asyncio.CancelledError) as error:
                self._put_back(names, data)  # what was written of it is written once more: the same samples and times
                if not isinstance(error, OSError):
                    raise
                log.warning("backlog.not-kept error=%s", error.strerror)
                self._troubles.set("backlog-not-kept", True)
                return
            self._troubles.set("backlog-not-kept", False)
            self.arrived.set()
        if segments.total > self._bytes_max:
            await self._tend()

    def _put_back(self, names: Names, data: bytes) -> None:
        if names == self.names and not self._sealed:
            self._buffer[:0] = data
            self._bound()
            return
        self._sealed.insert(0, (names, data))
        while len(self._sealed) > SEALED_MAX:
            self._lose(len(self._sealed.pop(0)[1]) // RECORD.size)

    def _write(self, segments: Segments, data: bytes, names: Names, mapping: tuple[int, bool]) -> None:
        for at in range(0, len(data), _ALIGNED):
            segments.append(Batch(self.boot, *mapping, data[at : at + _ALIGNED]), names)

    # Room.

    async def _tend(self) -> None:
        """Keep within the bound and the disk's spare room."""
        segments = await self._open()
        thinned = self.thinned
        while segments.total > self._bytes_max:
            await self._runner(self._make_room, segments)
        if self._low() and not await self._runner(segments.drop_asides):
            while self._low() and (oldest := segments.oldest()) is not None:
                self._lose(await self._runner(_give_up, segments, oldest))
        self._tell_damage()
        if self.thinned > thinned:
            self._troubles.set("backlog-thinned", True)
        if not segments.sizes:
            self._troubles.set("backlog-thinned", False)
            self._troubles.set("backlog-damaged", False)
        if self._clock.monotonic_ns() - self._lost_ns >= SHED_QUIET_S * NS_PER_S and not self._low():
            self._troubles.set("backlog-shed", False)

    def _low(self) -> bool:
        try:
            return self._free(self._folder.parent) < DISK_SPARE_BYTES
        except OSError:
            return False

    def _make_room(self, segments: Segments) -> None:
        """One step: the oldest segment of the level that takes most room is thinned; of the last level, given up."""
        level = max(range(LEVELS), key=segments.level_bytes)
        segment = segments.oldest(level)
        if segment is None:
            return
        content = segments.read(segment)
        samples = sum(len(batch.records) for batch in content.batches) // RECORD.size
        if level < len(INTERVALS_S):
            try:
                samples -= _thin_into(segments, level + 1, content)
                self.thinned += samples
            except OSError:
                self._lose(samples)
        else:
            self._lose(samples)
        segments.drop(segment, content)

    def _lose(self, samples: int) -> None:
        self.lost += samples
        self._lost_ns = self._clock.monotonic_ns()
        self._troubles.set("backlog-shed", True)

    def _damaged(self, name: str, size: int) -> None:
        self._damage.append((name, size))

    def _tell_damage(self) -> None:
        damage, self._damage = self._damage, []
        for name, size in damage:
            self.lost += size // RECORD.size
            log.warning("backlog.damaged segment=%s bytes=%d", name, size)
            self._troubles.set("backlog-damaged", True)

    # Out: for the backlog's sender.

    async def next(self, but: Collection[Segment]) -> tuple[Segment, Content] | None:
        """The oldest segment that is not in `but`, with all that can be read of it."""
        segments = await self._open()
        segment = segments.oldest(but=but)
        if segment is None:
            self.arrived.clear()
            return None
        return segment, await self._runner(segments.read, segment)

    async def done(self, segment: Segment, content: Content) -> bool:
        """All of `content` has arrived: give it up. False: more has come to it."""
        segments = await self._open()
        dropped = await self._runner(segments.drop, segment, content)
        self._tell_damage()
        return dropped

    def status(self) -> dict[str, int]:
        """For people: what waits (about), and what was thinned or lost since the start."""
        segments = self._segments
        held = len(self._buffer) + sum(len(data) for _, data in self._sealed)
        waiting = held // RECORD.size + (segments.samples if segments is not None else 0)
        size = segments.total if segments is not None else 0
        return {"samples": waiting, "bytes": size, "thinned": self.thinned, "lost": self.lost}


def _give_up(segments: Segments, segment: Segment) -> int:
    """Returns how many samples are gone with it."""
    content = segments.read(segment)
    segments.drop(segment)
    return sum(len(batch.records) for batch in content.batches) // RECORD.size


def _thin_into(segments: Segments, level: int, content: Content) -> int:
    """Append what stands for `content` to `level`; how many samples that is. Runs of one boot and mapping are thinned as one."""
    written = 0
    at = 0
    while at < len(content.batches):
        first = content.batches[at]
        same = [first.records]
        at += 1
        while at < len(content.batches) and _alike(first, content.batches[at]):
            same.append(content.batches[at].records)
            at += 1
        records = thin(b"".join(same), INTERVALS_S[level - 1])
        for start in range(0, len(records), _ALIGNED):
            batch = Batch(first.boot, first.offset_ms, first.trusted, records[start : start + _ALIGNED])
            segments.append(batch, content.names, level)
        written += len(records) // RECORD.size
    return written


def _alike(one: Batch, other: Batch) -> bool:
    return (one.boot, one.offset_ms, one.trusted) == (other.boot, other.offset_ms, other.trusted)
