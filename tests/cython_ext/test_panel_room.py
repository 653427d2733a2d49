"""Nothing is allocated after configuration, and nothing lost for it: transitions are handed over in pieces of any size."""

import os

import pytest

from cython_ext.model import NS_PER_S, Dependency, GroupConfig, LevelConfig, PanelConfig, PointConfig, Transition
from cython_ext.panel import Panel, pack
from tests.kit import allocations, campaign
from tests.kit.oracle import Oracle

S = NS_PER_S
PIECES = (1, 2, 7, 1024, 1 << 20)
QUICK = (LevelConfig(1.0, 0.8), LevelConfig(2.0, 1.8), LevelConfig(3.0, 2.8))


def town(points: int) -> PanelConfig:
    """Every third point in a vote, all with deadlines of their own."""
    made = tuple(
        PointConfig(f"p{n}", levels=QUICK, stale_ns=3 * S, realarm_ns=2 * S, spike=1.0, rate_window_ns=11 * S)
        for n in range(points)
    )
    groups = tuple(GroupConfig(f"g{n}", (n, n + 1, n + 2), 2, 5 * S) for n in range(0, points - 2, 3))
    return PanelConfig(made, groups)


def star(rays: int) -> PanelConfig:
    """One point that shares a vote with each of the others, which have votes of their own: what one sample can tell at most."""
    made = tuple(PointConfig(f"p{n}", levels=QUICK, dependency=Dependency.B) for n in range(rays + 1))
    shared = tuple(GroupConfig(f"s{n}", (0, n), 1, S) for n in range(1, rays + 1))
    own = tuple(GroupConfig(f"o{n}-{k}", (n,), 1, S) for n in range(1, rays + 1) for k in range(3))
    return PanelConfig(made, shared + own)


def plain(told: list[Transition]) -> list[tuple[object, ...]]:
    return [campaign.plain(each) for each in told]


def storm(panel: Panel, points: int) -> list[tuple[object, ...]]:
    """Everything rises in one batch, falls silent, is restarted and runs another configuration."""
    told = panel.feed(pack([(n, S + n, 0.5, 0) for n in range(points)]), S + points)
    told += panel.feed(pack([(n, 2 * S + n, 3.5, 0) for n in range(points)]), 2 * S + points)
    told += panel.advance(60 * S)
    told += panel.feed(pack([(n, 90 * S + n, 0.1, 0) for n in range(points)]), 90 * S + points)
    kept = panel.snapshot(91 * S)
    told += panel.restore(kept, 91 * S)
    told += panel.reset(0, 100 * S)
    told += panel.reconfigure(PanelConfig(tuple(PointConfig(f"p{n}") for n in range(points))), 120 * S)
    return plain(told)


def test_a_storm_is_the_same_in_pieces_of_any_size() -> None:
    points, said, kept = 900, set(), set()
    for told_at_once in PIECES:
        panel = Panel(town(points), 0, told_at_once)
        told = storm(panel, points)
        assert len(told) > 6 * points
        said.add(tuple(told))
        kept.add((panel.snapshot(121 * S), tuple(panel.counters.items())))
    assert len(said) == len(kept) == 1


@pytest.mark.parametrize("told_at_once", PIECES)
def test_what_one_sample_can_tell_at_most_has_room(told_at_once: int) -> None:
    """The bound is the configuration's: a first signal that confirms hundreds of others, each with its votes."""
    config = star(300)
    panel, oracle = Panel(config, 0, told_at_once), Oracle(config, 0)
    for batch in ([(n, S + n, 3.5, 0) for n in range(1, 301)], [(0, 2 * S, 3.5, 0)]):
        told = panel.feed(pack(batch), 2 * S)
        assert plain(told) == plain(oracle.feed(batch, 2 * S))
    assert len(told) > 5 * 300


@pytest.mark.parametrize("wrong", [0, -1, (1 << 20) + 1])
def test_pieces_have_a_size(wrong: int) -> None:
    with pytest.raises(ValueError, match="told_at_once"):
        Panel(town(3), 0, wrong)


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, int]]:
    if os.environ.get("LD_PRELOAD"):
        pytest.skip("another library counts the heap already: make sanitize")
    return allocations.counted(allocations.build(tmp_path_factory.mktemp("allocations")))


def test_the_counter_sees_what_configuration_takes(counted: dict[str, dict[str, int]]) -> None:
    assert counted["configure"]["ours"] >= 2
    assert counted["birth"]["ours"] >= 2
    assert counted["told"]["most"] > 10 * 1024, "a storm that no earlier room would have held"


@pytest.mark.parametrize("what", ["quiet", "wire", "crowded payload", "decode", "storm", "silence", "storm by wire"])
def test_the_core_allocates_nothing_after_configuration(what: str, counted: dict[str, dict[str, int]]) -> None:
    assert counted[what]["ours"] == 0


@pytest.mark.parametrize("what", ["quiet", "crowded payload"])
def test_nor_does_python_for_a_sample(what: str, counted: dict[str, dict[str, int]]) -> None:
    assert counted[what]["all"] == 0
