"""How many activations are left on battery, and what each estimate rests on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lanes.battery import Basis, Battery, left
from lanes.readiness import Input, Seen
from lanes.reports import DRAWN_UNKNOWN, SirenState, Stage

MAKER = Battery(activations=10, full_v=26.0, empty_v=22.0, least=4)
PLATE = Battery(capacity_ah=60, usable=0.8, draw_a=72, activation_s=120, standby_a=0.5)  # 48 Ah / 2.4 Ah = 20
ON = {Input.MAINS: Seen.GOOD, Input.CHARGER: Seen.GOOD}
AWAY = {Input.MAINS: Seen.BAD, Input.BATTERY: Seen.GOOD}


def state(**power: int) -> SirenState:
    return SirenState(0, Stage.DONE, 0, 0, **power)


@pytest.mark.parametrize(
    ("battery", "power", "inputs", "count", "basis"),
    [
        (MAKER, {"charge_percent": 35, "battery_mv": 26_000}, ON, 3, Basis.CHARGE),
        (MAKER, {"battery_mv": 24_000}, ON, 5, Basis.VOLTAGE),
        (MAKER, {"battery_mv": 21_000}, AWAY, 0, Basis.VOLTAGE),
        (PLATE, {}, ON, 20, Basis.MAINS),
        (PLATE, {}, {Input.MAINS: Seen.GOOD}, 20, Basis.MAINS),
        (PLATE, {}, {Input.MAINS: Seen.GOOD, Input.CHARGER: Seen.BAD}, None, Basis.UNKNOWN),
        (PLATE, {"drawn_s": 240, "on_battery_s": 60}, AWAY, 17, Basis.COUNTED),
        (PLATE, {"on_battery_s": 96 * 3600}, AWAY, 0, Basis.COUNTED),  # 48 Ah of standby
        (PLATE, {"drawn_s": DRAWN_UNKNOWN}, AWAY, None, Basis.UNKNOWN),
        (PLATE, {}, {}, None, Basis.UNKNOWN),
    ],
)
def test_the_first_thing_that_tells_counts(battery, power, inputs, count, basis) -> None:
    found = left(battery, state(**power), inputs)
    assert (found.activations, found.basis) == (count, basis)
    assert found.total == battery.total


def test_too_few_or_unknown_is_short() -> None:
    assert left(MAKER, state(charge_percent=35), ON).short(4)
    assert not left(MAKER, state(charge_percent=40), ON).short(4)
    assert left(MAKER, state(), {}).short(4), "it cannot be told"
    assert not left(MAKER, state(), {}).short(0), "nobody asks"


@given(st.integers(0, 100), st.integers(0, 100))
def test_more_charge_is_never_fewer_activations(a: int, b: int) -> None:
    low, high = (left(PLATE, state(charge_percent=each), AWAY).activations for each in sorted((a, b)))
    assert low is not None
    assert high is not None
    assert 0 <= low <= high <= PLATE.total


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"capacity_ah": 60},
        {"activations": 5, "full_v": 26},
        {"activations": 5, "full_v": 20, "empty_v": 22},
        {"activations": 5, "least": 6},
    ],
)
def test_a_battery_that_makes_no_sense_is_refused(wrong) -> None:
    with pytest.raises(ValidationError):
        Battery.model_validate(wrong)
