"""Signed plans: only the root's people make one valid, and every change of a byte unmakes it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cython_ext import ConfigError, Hazard, Level
from lanes import planfile
from lanes.plan import Plan
from lanes.settings import parse
from tests.kit import plans


def test_a_plan_signed_by_two_survives_its_file(tmp_path):
    signed = plans.signed()
    planfile.write(signed, tmp_path / "plan")
    read = planfile.load(tmp_path / "plan", plans.root())
    assert read == signed
    assert planfile.signers(read, plans.root()) == ("ana", "ion")


@pytest.mark.parametrize("people", [(), ("ana",)])
def test_fewer_than_the_threshold_are_not_enough(people):
    with pytest.raises(ConfigError, match="asks for 2"):
        planfile.check(plans.signed(people=people), plans.root())


def test_one_person_twice_is_one():
    signed = planfile.sign(plans.signed(people=("ana",)), "ana", plans.key("planner-ana"), 2)
    assert planfile.signers(signed, plans.root()) == ("ana",)


def test_a_signature_under_another_name_or_of_another_plan_does_not_count():
    other = plans.signed(plans.with_keys().replace("version = 1", "version = 2"))
    stolen = planfile.SignedPlan(plans.signed().plan, plans.signed().data, plans.signed().digest, other.signatures)
    assert planfile.signers(stolen, plans.root()) == ()
    assert planfile.signers(planfile.sign(stolen, "ion", plans.key("planner-ana"), 1), plans.root()) == ()


def test_another_root_refuses():
    with pytest.raises(ConfigError, match="root"):
        planfile.check(plans.signed(), plans.root("PRUT"))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_changed_byte_is_never_a_valid_plan(data):
    signed = plans.signed()
    raw = planfile.cbor.encode_document([planfile.MAGIC, planfile.FORMAT, signed.data, list(signed.signatures)])
    at = data.draw(st.integers(0, len(raw) - 1))
    broken = raw[:at] + bytes([raw[at] ^ data.draw(st.integers(1, 255))]) + raw[at + 1 :]
    with pytest.raises(ConfigError):
        planfile.check(planfile.parse(broken), plans.root())


@given(st.binary(max_size=80))
def test_any_bytes_are_refused_with_what_to_do(data):
    with pytest.raises(ConfigError, match="plan"):
        planfile.parse(data)


def test_the_plan_answers_what_both_ends_ask():
    plan = plans.signed().plan
    assert plan.judged_ids == ("gauge", "gauge2")
    assert plan.hazard_of("gauge") is Hazard.FLOOD
    assert plan.policy("ungheni", Hazard.FLOOD, Level.ATTENTION) is None
    policy = plan.policy("ungheni", Hazard.FLOOD, Level.DANGER)
    assert policy is not None
    assert policy.level == "alarm"
    assert plan.pattern("dezastre").length_s == 120  # type: ignore[union-attr]
    assert [p.id for p in plan.panel("n1").points] == ["gauge"]
    assert len(plan.roster) == 15


WRONG = [
    ("clear = 2.8", "clear = 3.1", "clear"),
    ("raise = 4.0, clear = 3.7", "raise = 2.5, clear = 2.4", "beyond"),
    ('zones = ["ungheni"]\nhazard', 'zones = ["iasi"]\nhazard', "iasi"),
    ('id = "gauge2"', 'id = "gauge"', "twice"),
    ('pattern = "dezastre"', 'pattern = "dezastru"', "dezastru"),
    ("reflex = true", 'reflex = true\nmode2 = "x"', "did you mean 'mode'"),
    ('mode = "automatic"', 'mode = "by-hand"', "reflex"),
    ("repeat = 5", "repeat = 60", "900"),
    ("on_s = 16, off_s = 10, repeat = 5", "on_s = 200, repeat = 2", "without a pause"),
    ("[47.21, 27.80, 5.0]", "[47.21, 27.80, -5.0]", "radius"),
    ('id = "s1"', f'id = "{"s" * 32}"\nname={{}}', None),
    ('id = "gauge2"\nnode = "n2"', f'id = "{"g" * 30}"\nnode = "{"n" * 20}"', "shorter ids"),
    ("raise = 2.0", "raise = nan", "finite"),
    ("period_s = 1.0", "period_s = 1.0\nsensor_span = [1.9, 9.0]", "never be passed"),
    ("Europe/Chisinau", "Europe/Balti", "IANA time zone"),
    ("Europe/Chisinau", "../etc/passwd", "IANA time zone"),
    ("[47.21, 27.80, 5.0]", "[97.21, 27.80, 5.0]", "latitude"),
    ("raise = 2.0", "rise = 2.0", "did you mean 'raise'"),
]


@pytest.mark.parametrize(("old", "new", "says"), WRONG)
def test_a_plan_that_makes_no_sense_is_refused_and_says_why(old, new, says):
    text = plans.with_keys()
    assert old in text
    if says is None:
        parse(text.replace(old, new, 1), Plan)
        return
    with pytest.raises(ConfigError, match=says):
        parse(text.replace(old, new, 1), Plan)
