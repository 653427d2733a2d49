"""The table of a siren's life: total, and without a way to sound that is not an order."""

from itertools import product

import pytest

from cython_ext import Level
from edge.siren.activation import BUSY, IGNORED, RESTING, SHOWN, TABLE, Activation, Choice, Cue, Phase, arbitrate, step
from lanes.keys import Mode
from lanes.reports import Stage
from tests.kit.orders import siren_plan


def test_every_case_is_decided_once() -> None:
    assert set(TABLE) | IGNORED == set(product(Phase, Cue))
    assert not set(TABLE) & IGNORED


def test_every_phase_can_be_reached_and_shown() -> None:
    assert {after for after, _ in TABLE.values()} == set(Phase)
    assert set(SHOWN) == set(Phase)
    assert BUSY | RESTING | {Phase.TESTING} == set(Phase)


def test_only_an_order_makes_a_siren_busy() -> None:
    for (before, cue), (after, _) in TABLE.items():
        if after in BUSY and before not in BUSY:
            assert cue is Cue.ORDER


def test_every_busy_siren_can_be_stopped_and_told_so() -> None:
    for phase in BUSY | {Phase.TESTING}:
        assert step(phase, Cue.STOP) == (Phase.HELD, Stage.STOPPED)


def test_every_activation_is_told_to_its_end() -> None:
    """Whatever a busy siren leaves for, DONE, FAILED or STOPPED was told: then, or (unproven) before."""
    for (before, cue), (after, told) in TABLE.items():
        if before in BUSY and after not in BUSY:
            assert told in (Stage.DONE, Stage.FAILED, Stage.STOPPED) or before is Phase.UNPROVEN, (before, cue)
    assert TABLE[Phase.SOUNDING, Cue.SILENT] == (Phase.UNPROVEN, Stage.FAILED)


def test_an_ignored_cue_changes_nothing() -> None:
    assert step(Phase.IDLE, Cue.END) == (Phase.IDLE, None)


def activation(
    mode: Mode = Mode.LIVE, level: Level = Level.ALARM, *, incident: bytes = b"incident", people: bool = False
) -> Activation:
    pattern = siren_plan().plan.pattern("dezastre")
    assert pattern is not None
    return Activation("s1", bytes(8), incident, mode, level, pattern, 120.0, 0, people=people)


CASES = [
    ("nothing sounds", None, activation(), Choice.BEGIN),
    ("the same again", activation(), activation(), Choice.ALREADY),
    ("a lower Level of it", activation(level=Level.DANGER), activation(), Choice.ALREADY),
    ("a higher Level of it", activation(), activation(level=Level.DANGER), Choice.REPLACE),
    ("another incident", activation(), activation(incident=b"another."), Choice.BUSY),
    ("a higher one of another", activation(), activation(level=Level.DANGER, incident=b"another."), Choice.REPLACE),
    ("people", activation(level=Level.DANGER), activation(level=Level.NORMAL, people=True), Choice.REPLACE),
    ("danger over people", activation(people=True), activation(level=Level.DANGER), Choice.REPLACE),
    ("live over exercise", activation(Mode.EXERCISE, people=True), activation(), Choice.REPLACE),
    ("exercise over test", activation(Mode.TEST), activation(Mode.EXERCISE), Choice.REPLACE),
    ("exercise during live", activation(), activation(Mode.EXERCISE, Level.DANGER, people=True), Choice.BUSY),
]


@pytest.mark.parametrize(("now", "new", "choice"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_two_orders_at_once(now: Activation | None, new: Activation, choice: Choice) -> None:
    assert arbitrate(now, new) is choice
