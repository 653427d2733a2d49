"""The record: what the simulated devices saw and did. Ground truth, kept by them and by nobody else."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

MOST: Final = 200_000  # entries in memory; the file keeps all
Watcher = Callable[["Entry"], None]


@dataclass(frozen=True, slots=True)
class Entry:
    """Something became so. Times are this machine's monotonic clock, the same in every process.

    what: "coil" (a coil's edge), "register" (a write, changed or not), "line" (an edge of a GPIO line; `name` is the
    channel or point, `value` 1 while active), "sound" (a siren controller makes or ends a sound; `name` is the tone).
    by: "bus" (a master wrote), "timer" (the device's own timer), "world" (the simulation), "release" (a holder went).
    """

    at_ns: int
    device: str
    what: str
    name: str
    value: float
    by: str


class Record:
    """Append-only; also a file of JSON lines, if it is given one."""

    def __init__(self, path: Path | None = None) -> None:
        self._entries: list[Entry] = []
        self._dropped = 0
        self._watchers: list[Watcher] = []
        self._file = path.open("a", buffering=1) if path else None

    def add(self, entry: Entry) -> None:
        self._entries.append(entry)
        if len(self._entries) > MOST:
            self._dropped += len(self._entries) - MOST
            del self._entries[:-MOST]
        if self._file is not None:
            self._file.write(json.dumps(asdict(entry)) + "\n")
        for watcher in list(self._watchers):
            watcher(entry)

    def watch(self, watcher: Watcher) -> None:
        """Be told of every entry."""
        self._watchers.append(watcher)

    def since(self, number: int = 0) -> list[Entry]:
        """The entries from the `number`-th of all; those dropped from memory are missing."""
        return self._entries[max(0, number - self._dropped) :]

    def __len__(self) -> int:
        return self._dropped + len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
