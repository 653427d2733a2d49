"""The alarm's life is a total table, and keeps the promises of ISA-18.2 that people rely on."""

from itertools import product

import pytest

from controller.alarm.life import IGNORED, MUTED, TABLE, UNSEEN, Cue, State, state_of, step


def test_every_case_is_decided() -> None:
    assert set(TABLE) | IGNORED == set(product(State, Cue))
    assert not set(TABLE) & IGNORED


def test_every_state_can_be_reached_and_left() -> None:
    reached = {State.NORMAL}
    while more := {TABLE[state, cue] for state, cue in TABLE if state in reached} - reached:
        reached |= more
    assert reached == set(State)
    assert {state for state, _ in TABLE} == set(State)


def test_nothing_unseen_becomes_normal_but_through_a_person_or_the_end_of_a_mute() -> None:
    for (state, cue), after in TABLE.items():
        if state in UNSEEN and after is State.NORMAL:
            assert cue is Cue.ACKNOWLEDGE
        if state in MUTED and after is State.NORMAL:
            assert cue is Cue.RELEASE_NORMAL


def test_a_latched_alarm_ends_only_by_a_reset() -> None:
    latched = (State.LATCHED_UNACKNOWLEDGED, State.LATCHED_ACKNOWLEDGED)
    ends = {(state, cue) for (state, cue), after in TABLE.items() if state in latched and after is State.NORMAL}
    assert ends == {(State.LATCHED_ACKNOWLEDGED, Cue.RESET)}


def test_a_mute_never_acknowledges() -> None:
    for state in MUTED:
        after = {state, State.NORMAL, State.UNACKNOWLEDGED, State.LATCHED_UNACKNOWLEDGED}
        assert {step(state, cue) for cue in Cue} == after


@pytest.mark.parametrize("active", [False, True])
@pytest.mark.parametrize("seen", [False, True])
@pytest.mark.parametrize("latches", [False, True])
def test_a_joined_view_stands_where_the_table_would_have_led(active: bool, seen: bool, latches: bool) -> None:
    cues = [Cue.TRIP]
    cues += [Cue.ACKNOWLEDGE] if seen else []
    cues += [] if active else [Cue.LATCH if latches else Cue.CLEAR]
    state = State.NORMAL
    for cue in cues:
        state = step(state, cue)
    assert state_of(active=active, seen=seen, latches=latches) is state
