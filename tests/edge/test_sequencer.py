"""Patterns in time: on and off at their instants, whatever the driver costs, and never beyond the limits."""

import asyncio
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cython_ext import ConfigError
from edge.siren.sequencer import Blast, Player, blasts
from firmware_bridge.driver import Outcome
from firmware_bridge.sirens.mode import Mode
from lanes.plan import Pattern
from lanes.sounding import Segment
from tests.kit.clock import run_virtual
from tests.kit.siren_rig import clock_of

STEADY = Mode.STEADY


def pattern(*segments: dict[str, Any]) -> Pattern:
    return Pattern.model_validate({"id": "p", "source": "test", "verified": False, "segments": segments})


def tone(on_s: float, off_s: float = 0.0, repeat: int = 1, mode: str = "steady") -> dict[str, Any]:
    return {"mode": mode, "on_s": on_s, "off_s": off_s, "repeat": repeat}


@dataclass
class Recorder:
    """A driver that takes `cost_s` for each act, and fails the first `fails` starts."""

    cost_s: float = 0.0
    fails: int = 0
    modes: frozenset[Mode] = frozenset({Mode.STEADY, Mode.WAIL})
    acts: list[tuple[float, str, float]] = field(default_factory=list)
    began: float = field(default_factory=lambda: asyncio.get_running_loop().time())

    async def start(self, mode: Mode, hold_s: float, *, voice: int = 0) -> Outcome:
        at = asyncio.get_running_loop().time() - self.began
        self.acts.append((round(at, 3), mode.value, round(hold_s, 3)))
        await asyncio.sleep(self.cost_s)
        self.fails -= 1
        return Outcome(self.fails < 0, "no answer")

    async def off(self) -> Outcome:
        self.acts.append((round(asyncio.get_running_loop().time() - self.began, 3), "off", 0.0))
        await asyncio.sleep(self.cost_s)
        return Outcome(True)


def play(wanted: Pattern, limit_s: float = 900.0, **driver: Any) -> tuple[Recorder, Player]:
    async def main() -> tuple[Recorder, Player]:
        recorder = Recorder(**driver)
        player = Player(recorder, clock_of())  # type: ignore[arg-type]
        await player.play(blasts(wanted, limit_s), clock_of().monotonic_ns())
        return recorder, player

    return run_virtual(main())


def test_the_romanian_signal_is_cut_into_its_blasts() -> None:
    signal = pattern(tone(16, 10, 5))
    assert [(b.at_s, b.until_s) for b in blasts(signal, 121)] == [(0, 16), (26, 42), (52, 68), (78, 94), (104, 120)]


def test_what_is_not_apart_is_one_blast() -> None:
    assert blasts(pattern(tone(60, repeat=3)), 900) == (Blast(0, 180, STEADY),)
    two = blasts(pattern(tone(60), tone(60, mode="wail")), 900)
    assert two == (Blast(0, 60, STEADY), Blast(60, 120, Mode.WAIL))


def test_a_limit_cuts() -> None:
    assert blasts(pattern(tone(16, 10, 5)), 30) == (Blast(0, 16, STEADY), Blast(26, 30, STEADY))


def test_limits_hold_even_for_a_pattern_that_no_plan_would_have() -> None:
    segment = Segment.model_construct(mode="steady", on_s=301.0, off_s=0.0, repeat=1)
    with pytest.raises(ConfigError, match="300"):
        blasts(pattern(tone(1)).model_copy(update={"segments": (segment,)}), 900)
    modes = [Segment.model_construct(mode=m, on_s=151.0, off_s=0.0, repeat=1) for m in ("steady", "wail")]
    with pytest.raises(ConfigError, match="300"):
        blasts(pattern(tone(1)).model_copy(update={"segments": tuple(modes)}), 900)
    long = Segment.model_construct(mode="steady", on_s=100.0, off_s=100.0, repeat=5)
    assert blasts(pattern(tone(1)).model_copy(update={"segments": (long,)}), 900)
    longer = Segment.model_construct(mode="steady", on_s=100.0, off_s=101.0, repeat=5)
    with pytest.raises(ConfigError, match="900"):
        blasts(pattern(tone(1)).model_copy(update={"segments": (longer,)}), 900)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.5, 20), st.floats(0, 20), st.integers(1, 5)), min_size=1, max_size=4),
    st.floats(0, 0.04),
)
def test_what_a_switch_costs_does_not_shift_the_next(segments: list[tuple[float, float, int]], cost_s: float) -> None:
    wanted = pattern(*(tone(on, off, times) for on, off, times in segments))
    recorder, player = play(wanted, cost_s=cost_s)
    expected = blasts(wanted, 900)
    starts = [at for at, what, _ in recorder.acts if what == "steady"]
    assert starts == pytest.approx([b.at_s for b in expected], abs=0.05)
    ends = [at for at, what, _ in recorder.acts if what == "off"]
    pauses = [a.until_s for a, b in pairwise(expected) if b.at_s > a.until_s]
    assert ends == pytest.approx([*pauses, expected[-1].until_s], abs=0.05)
    assert player.sounded_ns() / 1e9 == pytest.approx(sum(b.until_s - b.at_s for b in expected), abs=0.2)


def test_each_start_carries_a_dead_mans_time() -> None:
    recorder, _ = play(pattern(tone(16, 10, 2)))
    assert recorder.acts == [(0, "steady", 16.5), (16, "off", 0), (26, "steady", 16.5), (42, "off", 0)]
    longest, _ = play(pattern(tone(300)))
    assert longest.acts[0] == (0, "steady", 300)


def test_a_start_that_fails_is_tried_again() -> None:
    recorder, player = play(pattern(tone(5)), fails=3, cost_s=0.1)
    assert [at for at, what, _ in recorder.acts] == [0, 0.35, 0.7, 1.05, 5]
    assert (player.started, player.failing, player.missed) == (True, "", 0)


def test_a_dead_driver_is_known_at_the_end() -> None:
    recorder, player = play(pattern(tone(1, 1, 2)), fails=1000)
    assert (player.started, player.failing, player.missed) == (False, "no answer", 2)
    assert recorder.acts[-1][1] == "off"


def test_voice_is_left_out_where_there_is_none() -> None:
    recorder, _ = play(pattern(tone(5, 1), tone(10, mode="voice"), tone(5)))
    assert [(at, what) for at, what, _ in recorder.acts] == [(0, "steady"), (5, "off"), (16, "steady"), (21, "off")]
