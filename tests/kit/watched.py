"""Holds that the relay monitor watches every test in which a siren is sounded in this process (issue 5, figures).

Each `start` of a siren driver is noted here; a test that made one, and neither made a monitor nor had one that saw a relay move,
fails.
Drivers' own tests sound sirens without any order, and the simulation has a witness of its own (tests/simulation/witness.py).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any, Final

from firmware_bridge.sirens.base import BaseSiren
from tests.kit.relay_monitor import RelayMonitor

OWN_WITNESS: Final = ("firmware_bridge", "simulation")  # folders of tests/
_started: list[str] = []
_seen = 0  # monitors made, and edges that they saw
_start, _edge, _init = BaseSiren.start, RelayMonitor.edge, RelayMonitor.__init__


async def _noted_start(siren: BaseSiren, *args: Any, **words: Any) -> Any:
    outcome = await _start(siren, *args, **words)
    if outcome.ok:
        _started.append(siren.id)
    return outcome


def _noted_edge(monitor: RelayMonitor, *args: Any, **words: Any) -> None:
    global _seen
    _seen += 1
    _edge(monitor, *args, **words)


def _noted_init(monitor: RelayMonitor, *args: Any, **words: Any) -> None:
    global _seen
    _seen += 1
    _init(monitor, *args, **words)


def begin() -> None:
    """From now on starts and edges are noted."""
    BaseSiren.start = _noted_start  # type: ignore[method-assign]
    RelayMonitor.edge = _noted_edge  # type: ignore[method-assign]
    RelayMonitor.__init__ = _noted_init  # type: ignore[method-assign]


@contextmanager
def watching(path: PurePath) -> Iterator[None]:
    """Around one test of this file; AssertionError when sirens sounded in it that no monitor saw."""
    if set(OWN_WITNESS) & set(path.parts):
        yield
        return
    _started.clear()
    before = _seen
    yield
    assert not _started or _seen > before, f"no relay monitor watched {', '.join(sorted(set(_started)))}"
