"""Topics: what is built parses to itself, and nothing else parses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cython_ext import ConfigError, WireError, topics
from cython_ext.topics import AlarmLane, Lane, Telemetry, Verb

ids = st.from_regex(topics.ID_PATTERN, fullmatch=True)


@given(ids, st.sampled_from(Verb), ids, ids)
def test_telemetry_round_trip(group, verb, node, device):
    device = device if verb.startswith("D") else ""
    assert topics.parse_telemetry(topics.telemetry(group, verb, node, device)) == Telemetry(group, verb, node, device)


@given(ids, ids)
def test_alarm_lane_round_trip(group, node):
    assert topics.parse_alarm(topics.report(group, node)) == AlarmLane(group, Lane.REPORT, node)
    assert topics.parse_alarm(topics.order(group, node)) == AlarmLane(group, Lane.ORDER, node)
    assert topics.parse_alarm(topics.beat(group)) == AlarmLane(group, Lane.BEAT)


@given(
    st.text(max_size=60)
    | st.lists(st.sampled_from(["spBv1.0", "bucium", "1", "g", "NDATA", "DDATA", "report", "", "+", "#", "A b"])).map(
        "/".join
    )
)
def test_any_text_parses_to_itself_or_is_refused(text):
    for parse, build in (
        (topics.parse_telemetry, lambda t: topics.telemetry(t.group, t.verb, t.node, t.device)),
        (topics.parse_alarm, lambda t: f"bucium/1/{t.group}/" + (f"{t.node}/" if t.node else "") + t.lane),
    ):
        try:
            assert build(parse(text)) == text
        except WireError as error:
            assert error.code == "topic"


@pytest.mark.parametrize("text", ["", "A", "-a", "a" * 33, "a b", "a/b", "ă", "a\n"])
def test_what_is_no_id_is_refused_and_says_what_one_is(text):
    assert not topics.valid_id(text)
    with pytest.raises(ConfigError, match="1 to 32"):
        topics.require_id(text, "node")
