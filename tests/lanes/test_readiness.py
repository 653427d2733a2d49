"""The table from what is supervised to whether a siren could sound: total, monotone, and right where people would look."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanes import readiness
from lanes.readiness import POWER, SIGHT, TROUBLE, Input, Ready, Seen, Sight, judge, together
from lanes.reports import SirenTrouble

states = st.dictionaries(st.sampled_from(Input), st.sampled_from(Seen))
troubles = st.integers(0, (1 << len(SirenTrouble) - 1) - 1).map(SirenTrouble)


def test_no_combination_is_left_out() -> None:
    assert set(POWER) == set(product(Seen, Seen))
    assert set(TROUBLE) == {flag for flag in SirenTrouble if flag}
    assert set(SIGHT) == set(Sight)
    for each, seen in product(readiness.ALONE, Seen):
        readiness.of_input(each, seen)


@given(states, troubles, st.sampled_from(Sight))
def test_every_state_has_an_answer_with_its_reasons(inputs, trouble, sight) -> None:
    found = judge(inputs, trouble, sight)
    assert bool(found.reasons) == (found.ready is not Ready.READY)
    assert set(found.reasons) <= set(readiness.reasons())
    if sight is not Sight.HEARD or trouble & SirenTrouble.UNREACHABLE:
        assert found.ready is Ready.CANNOT_SOUND


@given(states, troubles, st.sampled_from(Input))
def test_what_is_seen_to_be_good_never_makes_it_worse(inputs, trouble, each) -> None:
    for seen in (Seen.UNSEEN, Seen.WEAK, Seen.BAD):
        worse = judge({**inputs, each: seen}, trouble)
        assert judge({**inputs, each: Seen.GOOD}, trouble).ready <= worse.ready


@pytest.mark.parametrize(
    ("inputs", "trouble", "ready", "reasons"),
    [
        ({}, SirenTrouble.NONE, Ready.READY, ()),
        ({Input.MAINS: Seen.BAD, Input.BATTERY: Seen.GOOD}, SirenTrouble.NONE, Ready.DEGRADED, ("mains",)),
        ({Input.MAINS: Seen.BAD, Input.BATTERY: Seen.BAD}, SirenTrouble.NONE, Ready.CANNOT_SOUND, ("no-power",)),
        ({Input.MAINS: Seen.BAD}, SirenTrouble.NONE, Ready.CANNOT_SOUND, ("no-power",)),
        ({Input.MAINS: Seen.GOOD, Input.BATTERY: Seen.BAD}, SirenTrouble.NONE, Ready.DEGRADED, ("battery",)),
        ({Input.DOOR: Seen.BAD}, SirenTrouble.SUPERVISION, Ready.DEGRADED, ("door",)),
        ({Input.AMPLIFIER: Seen.WEAK}, SirenTrouble.NONE, Ready.DEGRADED, ("amplifier",)),
        ({Input.AMPLIFIER: Seen.BAD}, SirenTrouble.NONE, Ready.CANNOT_SOUND, ("amplifier",)),
        ({Input.ROTATION: Seen.BAD}, SirenTrouble.NONE, Ready.CANNOT_SOUND, ("rotation",)),
        ({Input.CHARGER: Seen.UNSEEN}, SirenTrouble.NOT_SEEN, Ready.DEGRADED, ("not-seen", "charger-unseen")),
        ({Input.DOOR: Seen.BAD}, SirenTrouble.FAILED, Ready.CANNOT_SOUND, ("failed", "door")),
        ({}, SirenTrouble.DOUBT, Ready.READY, ()),
    ],
)
def test_what_people_would_expect(inputs, trouble, ready, reasons) -> None:
    assert judge(inputs, trouble) == readiness.Readiness(ready, reasons)


@given(states)
def test_inputs_survive_the_wire(inputs) -> None:
    said = {each: seen for each, seen in inputs.items() if seen}
    number = readiness.pack(said)
    assert 0 <= number <= readiness.INPUTS_MAX
    assert readiness.unpack(number) == said


@given(st.integers(0, readiness.INPUTS_MAX))
def test_a_number_of_a_later_program_is_not_taken_for_good(number) -> None:
    for each in Input:
        if number >> 3 * each & 7 > max(Seen):
            assert readiness.unpack(number)[each] is Seen.UNSEEN


def test_several_of_a_kind() -> None:
    good, bad, weak, unseen = Seen.GOOD, Seen.BAD, Seen.WEAK, Seen.UNSEEN
    assert together(Input.AMPLIFIER, [good, good]) is good
    assert together(Input.AMPLIFIER, [good, bad]) is weak
    assert together(Input.AMPLIFIER, [bad, unseen]) is bad
    assert together(Input.AMPLIFIER, [good, unseen]) is unseen
    assert together(Input.AMPLIFIER, []) is Seen.ABSENT
    assert together(Input.BATTERY, [good, bad]) is bad, "voltage and charge are one battery"
    assert [readiness.input_of(name) for name in ("mains", "amplifier-2", "charge", "strobe")] == [
        Input.MAINS,
        Input.AMPLIFIER,
        Input.BATTERY,
        Input.OTHER,
    ]
