"""Snapshots and other configurations: cython_ext/README.md §12. The campaign also restores at random."""

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cython_ext.errors import WireError
from cython_ext.model import NS_PER_S, Cause, GroupConfig, Level, LevelConfig, PanelConfig, PointConfig, Reason
from cython_ext.panel import Panel, pack
from tests.kit.drive import THREE, words

S = NS_PER_S
DELAYED = (LevelConfig(1.0, 0.8), LevelConfig(2.0, 1.8, on_delay_ns=60 * S), LevelConfig())
POINTS = tuple(PointConfig(name, levels=DELAYED, stale_ns=600 * S, rate_window_ns=60 * S) for name in "abc")
CONFIG = PanelConfig(POINTS, (GroupConfig("g", (0, 1, 2), 2, 30 * S),))


def running() -> Panel:
    panel = Panel(CONFIG, 1000 * S)
    panel.feed(pack([(k, (1010 + n) * S, 0.5 + n * 0.3, 0) for n in range(10) for k in range(2)]), 1020 * S)
    return panel


def test_what_was_running_goes_on_across_a_reboot() -> None:
    before = running()
    kept = before.snapshot(1030 * S)
    after = Panel(CONFIG, 5 * S)  # a new boot: the monotonic clock began again
    told = after.restore(kept, 5 * S)
    assert [(each.point, each.cause, each.reason, each.level) for each in told] == [
        (0, Cause.RESTATED, Reason.RESTART, Level.ATTENTION),
        (1, Cause.RESTATED, Reason.RESTART, Level.ATTENTION),
        (3, Cause.RESTATED, Reason.RESTART, Level.ATTENTION),
    ]
    first = before.next_deadline_ns()
    assert first is not None
    assert after.next_deadline_ns() == first - 1025 * S
    assert after.snapshot(5 * S) == kept
    assert words(after.advance(2000 * S)) == words(before.advance(3025 * S))


def test_levels_survive_another_order_of_points_and_unknown_ones() -> None:
    kept = running().snapshot(1030 * S)
    other = PanelConfig((replace(POINTS[2], id="new"), POINTS[1], POINTS[0]), (GroupConfig("g", (1, 2), 2, 30 * S),))
    after = Panel(other, 0)
    assert words(after.restore(kept, S)) == [
        "1 RESTATED ATTENTION>ATTENTION RESTART",
        "2 RESTATED ATTENTION>ATTENTION RESTART",
        "3 RESTATED ATTENTION>ATTENTION RESTART",
    ]
    assert after.level(0) is Level.NORMAL


def test_another_configuration_keeps_state_and_leaves_what_is_gone() -> None:
    panel = Panel(PanelConfig(tuple(PointConfig(name, levels=THREE) for name in "ab")))
    panel.feed(pack([(0, S, 3.5, 0), (1, S, 1.5, 0)]), S)
    fewer = (LevelConfig(1.0, 0.8), LevelConfig(), LevelConfig())
    told = panel.reconfigure(PanelConfig((PointConfig("b", levels=THREE), PointConfig("a", levels=fewer))), 2 * S)
    assert words(told) == ["1 LOWERED DANGER>ATTENTION PLAN"]
    assert (panel.level(0), panel.value(0)) == (Level.ATTENTION, 1.5)
    assert words(panel.feed(pack([(0, 3 * S, 0.5, 0)]), 3 * S)) == ["0 LOWERED ATTENTION>NORMAL THRESHOLD"]
    assert panel.counters["samples"] == 3


def test_the_same_configuration_again_changes_nothing() -> None:
    panel = running()
    kept = panel.snapshot(1020 * S)
    assert panel.reconfigure(CONFIG, 1020 * S) == []
    assert panel.snapshot(1020 * S) == kept


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=400))
def test_garbage_is_refused_and_changes_nothing(data: bytes) -> None:
    panel = running()
    kept = panel.snapshot(1030 * S)
    with pytest.raises(WireError, match="snapshot"):
        panel.restore(data, 1030 * S)
    assert panel.snapshot(1030 * S) == kept


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_a_forged_snapshot_with_a_good_checksum_cannot_break_the_panel(data: st.DataObject) -> None:
    body = bytearray(running().snapshot(1030 * S)[:-32])
    for _ in range(data.draw(st.integers(1, 6))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del body[data.draw(st.integers(0, len(body))) :]
    forged = bytes(body) + hashlib.sha256(body).digest()
    panel = Panel(CONFIG)
    try:
        panel.restore(forged, 1030 * S)
    except WireError:
        assert panel.snapshot(0) == Panel(CONFIG).snapshot(0)
    panel.feed(pack([(k, (1031 + n) * S, n * 0.1, 0) for n in range(40) for k in range(3)]), 1100 * S)
    panel.advance(1 << 60)
    for index in range(3):
        panel.rate_per_s(index)
        panel.explain(index, 1 << 60)
    panel.next_deadline_ns()


def test_every_damaged_byte_is_seen() -> None:
    kept = running().snapshot(1030 * S)
    for at in range(len(kept)):
        damaged = bytearray(kept)
        damaged[at] ^= 1 << (at % 8)
        with pytest.raises(WireError):
            Panel(CONFIG).restore(damaged, S)
    for end in range(len(kept)):
        with pytest.raises(WireError):
            Panel(CONFIG).restore(kept[:end], S)
