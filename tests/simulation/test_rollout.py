"""Plans applied while everything fails: clean without a bug, red with one, and the same twice."""

from unittest.mock import patch

import pytest

from lanes import plankept
from tests.simulation.rollout import run
from tests.simulation.seeds import twice

MINUTES = 2.0


@pytest.mark.parametrize("seed", [2, 5, 9])
def test_a_rollout_among_faults_loses_nothing_and_arrives(seed: int) -> None:
    result = run(seed, MINUTES)
    assert result.findings == []
    assert result.seen["plan applied"] > 0


def test_a_plan_that_is_not_kept_is_found() -> None:
    with patch.object(plankept, "adopt", lambda *_: None):
        result = run(2, MINUTES)
    assert any("runs version" in finding for finding in result.findings), result.findings


def test_a_rollout_gives_the_same_trace_twice() -> None:
    assert twice(5, MINUTES, run) == ""
