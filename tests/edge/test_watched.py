"""The relay monitor watches every test (issue 5, figures): each rig ends by its word, and a test without one fails."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.kit import siren_rig, watched
from tests.kit.clock import run_virtual
from tests.kit.line_rig import SIREN, LineRig, line_rig
from tests.kit.relay_monitor import NS, RelayMonitor
from tests.kit.siren_rig import Rig, rig


def nothing(*_: object) -> None:
    """What a monitor that is none does."""


HERE = Path("tests/edge/test_watched.py")


def at_a_board(folder: Path, test: Callable[[Rig], Awaitable[None]]) -> None:
    async def main() -> None:
        async with rig(folder) as r:
            await test(r)

    run_virtual(main())


def test_a_relay_that_closes_without_a_permit_ends_the_rig(tmp_path: Path) -> None:
    async def test(r: Rig) -> None:
        await r.sirens.order(r.make.order(max_s=5))  # valid, and the monitor does not know of it
        await asyncio.sleep(1)

    with pytest.raises(AssertionError, match="closed without a valid order"):
        at_a_board(tmp_path, test)


def test_a_relay_that_is_closed_after_its_maximum_ends_the_rig(tmp_path: Path) -> None:
    async def test(r: Rig) -> None:
        await r.give(r.make.order(max_s=16), "R1", 10)  # the monitor was told of a shorter one
        await asyncio.sleep(20)

    with pytest.raises(AssertionError, match="after its maximum"):
        at_a_board(tmp_path, test)


@pytest.mark.parametrize("kind", SIREN)
def test_a_siren_on_a_line_that_sounds_without_a_permit_ends_the_rig(tmp_path: Path, kind: str) -> None:
    async def test(r: LineRig) -> None:
        await r.sirens.order(r.make.order(max_s=5))
        await asyncio.sleep(8)

    async def main() -> None:
        async with line_rig(tmp_path, kind) as r:
            await test(r)

    with pytest.raises(AssertionError, match="closed without a valid order"):
        run_virtual(main())


def test_a_test_that_sounds_a_siren_unwatched_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(r: Rig) -> None:
        await r.give(r.make.order(max_s=5), "R1", 5)
        await asyncio.sleep(8)

    for name in ("seen", "unseen"):
        (tmp_path / name).mkdir()
    with watched.watching(HERE):
        at_a_board(tmp_path / "seen", test)
    monkeypatch.setattr(
        siren_rig, "RelayMonitor", lambda _lines: SimpleNamespace(permit=nothing, check=nothing, findings=[])
    )
    monkeypatch.setattr(Rig, "_edge", nothing)
    with pytest.raises(AssertionError, match="no relay monitor watched s1"), watched.watching(HERE):
        at_a_board(tmp_path / "unseen", test)


@pytest.mark.parametrize(
    ("at_s", "on", "stop_s", "says"),
    [
        ((1, 302.5), (True, False), None, "closed for 301.50 s without a pause"),
        ((1, 4.5), (True, False), 2, "closed 2.50 s after a stop"),
        ((1, 3.9), (True, False), 2, ""),
        ((61, 62), (True, False), None, "closed without a valid order"),  # the permit has run out
    ],
)
def test_the_monitor_s_own_limits(
    at_s: tuple[float, ...], on: tuple[bool, ...], stop_s: float | None, says: str
) -> None:
    monitor = RelayMonitor({"R": "s"})
    monitor.permit("R", 0, 900)
    for second, high in zip(at_s, on, strict=True):
        if stop_s is not None and not high:
            monitor.stop("R", round(stop_s * NS))
        monitor.edge("R", high, round(second * NS))
    assert len(monitor.findings) == bool(says), monitor.findings
    assert says in "".join(monitor.findings)
