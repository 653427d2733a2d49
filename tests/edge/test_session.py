"""The session's rules, without sockets: sequences, births, the primary host, commands."""

from itertools import product

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cython_ext import BuciumError, Status
from cython_ext.payload import DataType, Metric, Payload
from cython_ext.wire import decode, encode
from edge.telemetry.births import BirthTable, Late, Moment, PointMetric, Reading
from edge.telemetry.session import PENDING_MAX, Identity, Session
from edge.telemetry.states import IGNORED, TABLE, Cue, State
from lanes.sparkplug import HostState, encode_state

S = 1_000_000_000
POINTS = (PointMetric("level", "gauge"), PointMetric("smoke", "bank", DataType.BOOLEAN))
NCMD = "spBv1.0/g/NCMD/n"
STATE = "spBv1.0/STATE/host"


def session(primary: str = "", jitter_ns: int = 0) -> Session:
    made = Session(Identity("g", "n", primary), BirthTable(POINTS), jitter_ns=lambda: jitter_ns)
    made.device_online("gauge")
    return made


def drain(s: Session, now_ns: int = 0) -> list[tuple[str, Payload]]:
    """All that is to be sent now."""
    s.tick(now_ns)
    found = []
    while (packet := s.pop(Moment(now_ns, 1_000_000 + now_ns // 1_000_000))) is not None:
        found.append((packet.topic.split("/", 2)[2], decode(packet.payload)))
    return found


def command(*metrics: Metric) -> bytes:
    return encode(Payload(1, metrics))


REBIRTH = command(Metric(name="Node Control/Rebirth", datatype=DataType.BOOLEAN, value=True))


def state(online: bool, timestamp: int) -> bytes:
    return encode_state(HostState(online, timestamp))


def level(value: float, at_ns: int = 0) -> list[Reading]:
    return [Reading(0, at_ns, value, Status.OK)]


def test_every_case_is_decided():
    assert set(TABLE) | IGNORED == set(product(State, Cue))
    assert not set(TABLE) & IGNORED


def test_births_come_first_and_seq_counts_over_all_of_them():
    s = session()
    will = s.will(3, 5)
    assert (will.topic, will.qos, will.retain) == ("spBv1.0/g/NDEATH/n", 1, False)
    assert [(m.name, m.value) for m in decode(will.payload).metrics] == [("bdSeq", 3)]
    assert decode(will.payload).seq is None
    s.readings(level(1.0))
    assert drain(s) == []
    s.linked(0)
    s.device_online("bank")
    sent = drain(s)
    assert [(topic, payload.seq) for topic, payload in sent] == [
        ("NBIRTH/n", 0),
        ("DBIRTH/n/gauge", 1),
        ("DBIRTH/n/bank", 2),
    ]
    assert next(m.value for m in sent[0][1].metrics if m.name == "bdSeq") == 3
    assert sent[1][1].metrics[0].value == 1.0
    s.readings(level(2.0))
    ((topic, data),) = drain(s)
    assert (topic, data.seq, data.metrics[0].value, data.metrics[0].name) == ("DDATA/n/gauge", 3, 2.0, None)


def test_seq_wraps_after_255():
    s = session()
    s.linked(0)
    drain(s)
    seqs = []
    for n in range(300):
        s.readings(level(float(n)))
        seqs += [payload.seq for _, payload in drain(s)]
    assert seqs == [(2 + n) % 256 for n in range(300)]


def test_it_subscribes_to_commands_and_its_host():
    assert session().filters() == (("spBv1.0/g/NCMD/n", 1), ("spBv1.0/g/DCMD/n/+", 1))
    assert session("host").filters()[-1] == ("spBv1.0/STATE/host", 1)


def test_nothing_is_published_before_the_primary_host_is_online():
    s = session("host")
    s.linked(0)
    s.readings(level(1.0))
    for payload in (b"ONLINE", b"", state(False, 5)):
        s.received(STATE, payload, True, 0)
        assert drain(s) == []
    s.received("spBv1.0/STATE/other", state(True, 9), True, 0)
    s.received(STATE, state(True, 4), True, 0)  # older than the offline one
    assert drain(s) == []
    assert s.counts["state_old"] == 1
    s.received(STATE, state(True, 5), True, 0)
    assert drain(s)[0][0] == "NBIRTH/n"


def test_births_after_a_live_state_wait_their_jitter():
    s = session("host", jitter_ns=S)
    s.linked(0)
    s.received(STATE, state(True, 5), False, 0)
    assert drain(s, S - 1) == []
    assert s.due_ns() == S
    assert [topic for topic, _ in drain(s, S)] == ["NBIRTH/n", "DBIRTH/n/gauge"]


def test_births_give_way_to_an_alarm_and_not_for_long():
    s = session()
    s.linked(0)
    s.tick(0, hold=True)
    assert drain(s, S // 100) == [], "looked again soon, not at once"
    s.tick(4 * S, hold=True)
    assert drain(s, 4 * S) == []
    s.tick(5 * S, hold=True)
    assert drain(s, 5 * S)[0][0].endswith("NBIRTH/n")


def test_when_the_host_goes_offline_it_says_its_death_and_ends():
    s = session("host")
    s.will(9, 1)
    s.linked(0)
    s.received(STATE, state(True, 5), True, 0)
    drain(s)
    s.received(STATE, state(False, 4), False, 0)  # older: ignored
    assert not s.ended
    s.readings(level(1.0))
    s.received(STATE, state(False, 5), False, 0)
    assert not s.ended
    ((topic, death),) = drain(s)
    assert (topic, death.seq, death.metrics[0].value) == ("NDEATH/n", None, 9)
    assert s.ended
    s.lost()
    s.linked(0)
    assert drain(s) == []  # waits again
    s.received(STATE, state(True, 5), True, 0)
    assert drain(s)[0][0] == "NBIRTH/n"


def test_the_same_state_again_causes_no_birth_and_a_new_one_does():
    s = session("host")
    s.linked(0)
    s.received(STATE, state(True, 5), True, 0)
    drain(s)
    s.received(STATE, state(True, 5), False, 2 * S)
    assert drain(s, 2 * S) == []
    s.received(STATE, state(True, 6), False, 3 * S)  # the host began anew
    assert [topic for topic, _ in drain(s, 3 * S)] == ["NBIRTH/n", "DBIRTH/n/gauge"]


def test_a_rebirth_stops_data_and_says_all_again_with_the_same_bdseq():
    s = session()
    s.will(4, 1)
    s.linked(0)
    drain(s)
    s.readings(level(1.0))
    s.received(NCMD, REBIRTH, False, S // 2)
    s.readings(level(2.0))
    assert drain(s, S - 1) == []  # once a second, and no DATA meanwhile
    sent = drain(s, S)
    assert [(topic, payload.seq) for topic, payload in sent] == [("NBIRTH/n", 0), ("DBIRTH/n/gauge", 1)]
    assert sent[0][1].metrics[0].value == 4
    assert sent[1][1].metrics[0].value == 2.0


def test_a_flood_of_rebirths_is_one_birth_a_second():
    s = session()
    s.linked(0)
    births = 0
    for n in range(1000):
        s.received(NCMD, REBIRTH, False, n * S // 100)
        births += sum(topic == "NBIRTH/n" for topic, _ in drain(s, n * S // 100))
    assert births == 10


@pytest.mark.parametrize(
    ("word", "payload", "retain"),
    [
        ("malformed.truncated", b"\x12\x05", False),
        ("malformed.size", bytes(65537), False),
        ("refused", command(Metric(name="Node Control/Reboot", datatype=DataType.BOOLEAN, value=True)), False),
        ("refused", command(Metric(alias=1, datatype=DataType.INT64, value=1)), False),
        ("refused", command(Metric(name="Node Control/Rebirth", datatype=DataType.INT32, value=1)), False),
        ("refused", command(Metric(name="Node Control/Rebirth", datatype=DataType.BOOLEAN, is_null=True)), False),
        (
            "refused",
            command(Metric(name="Node Control/Rebirth", datatype=DataType.BOOLEAN, value=True, is_historical=True)),
            False,
        ),
        ("retained", REBIRTH, True),
    ],
)
def test_other_commands_are_counted_and_change_nothing(word, payload, retain):
    s = session()
    s.linked(0)
    drain(s)
    s.received(NCMD, payload, retain, 5 * S // 2)
    assert s.counts == {word: 1}
    assert s.state is State.LIVE
    assert drain(s, 5 * S // 2) == []


def test_a_rebirth_without_datatype_or_with_false_is_understood():
    s = session()
    s.linked(0)
    drain(s)
    metric = Metric(name="Node Control/Rebirth", datatype=DataType.BOOLEAN, value=False)
    s.received(NCMD, encode(Payload(1, (metric,)), datatypes=False), False, 2 * S)
    assert drain(s, 2 * S) == []
    metric = Metric(name="Node Control/Rebirth", datatype=DataType.BOOLEAN, value=True)
    s.received(NCMD, encode(Payload(1, (metric,)), datatypes=False), False, 2 * S)
    assert drain(s, 2 * S)[0][0] == "NBIRTH/n"


def test_device_commands_and_strange_topics_are_counted():
    s = session()
    s.received("spBv1.0/g/DCMD/n/gauge", REBIRTH, False, 0)
    s.received("spBv1.0/g/DCMD/n/gauge", b"\xff", False, 0)
    s.received("elsewhere", b"", False, 0)
    assert s.counts == {"refused": 1, "malformed.truncated": 1, "topic": 1}


def test_devices_die_and_come_back():
    s = session()
    s.linked(0)
    drain(s)
    s.device_lost("gauge")
    s.readings(level(3.0))
    assert [(topic, p.seq, p.metrics) for topic, p in drain(s)] == [("DDEATH/n/gauge", 2, ())]
    s.device_online("gauge")
    ((topic, birth),) = drain(s)
    assert (topic, birth.seq, birth.metrics[0].value) == ("DBIRTH/n/gauge", 3, 3.0)
    s.device_online("gauge")
    s.device_lost("bank")
    s.device_online("stranger")
    assert drain(s) == []


def test_a_device_that_is_lost_before_its_birth_was_sent_has_no_death():
    s = session()
    s.linked(0)
    drain(s)
    s.device_online("bank")
    s.device_lost("bank")
    assert drain(s) == []
    s.received(NCMD, REBIRTH, False, 2 * S)
    s.tick(2 * S)
    assert s.pop(Moment(2 * S, 1_002_000)) is not None  # NBIRTH; the gauge's birth waits
    s.device_lost("gauge")
    assert drain(s, 2 * S) == []


def test_a_device_that_flaps_faster_than_the_link_leaves_one_message():
    s = session()
    s.linked(0)
    drain(s)
    for _ in range(10):
        s.readings(level(3.0))
        s.device_lost("gauge")
        s.device_online("gauge")
    assert [topic for topic, _ in drain(s)] == ["DBIRTH/n/gauge"]


def test_the_heartbeat_goes_out_every_five_seconds():
    s = session()
    s.linked(0)
    drain(s)
    assert s.due_ns() == 5 * S
    beats = [drain(s, n * S) for n in (4, 5, 9, 10)]
    assert [[(topic, p.metrics[0].alias, p.metrics[0].value) for topic, p in b] for b in beats] == [
        [],
        [("NDATA/n", 1, 1)],
        [],
        [("NDATA/n", 1, 2)],
    ]


def test_what_cannot_leave_is_shed_oldest_first_and_counted():
    s = session()
    s.linked(0)
    drain(s)
    for n in range(PENDING_MAX + 10):
        s.readings(level(float(n)))
    sent = drain(s)
    assert len(sent) == PENDING_MAX
    assert sent[0][1].metrics[0].value == 10.0
    assert [p.seq for _, p in sent] == [(2 + n) % 256 for n in range(PENDING_MAX)]  # and no hole
    assert s.counts == {"shed": 10}


def test_late_readings_follow_the_live_ones():
    s = session()
    done: list[bool] = []
    late = [Late(500, Reading(0, 0, 0.5, Status.OK))]
    assert not s.offer_late(late, done.append)  # not born
    s.linked(0)
    drain(s)
    assert s.offer_late(late, done.append)
    s.readings(level(1.0))
    live, old = drain(s)
    assert (live[1].metrics[0].is_historical, old[1].metrics[0].is_historical) == (False, True)
    assert old[1].metrics[0].timestamp == 500
    assert s.offer_late(late, done.append)
    s.lost()
    assert done == [False]
    two = [Late(1, Reading(0, 0, 0.5, Status.OK)), Late(1, Reading(1, 0, 0.5, Status.OK))]
    with pytest.raises(BuciumError, match="one device"):
        s.offer_late(two, done.append)
    with pytest.raises(BuciumError, match="500"):
        s.offer_late(late * 501, done.append)


def test_datatypes_are_in_data_only_when_asked_for():
    s = Session(Identity("g", "n"), BirthTable(POINTS), jitter_ns=lambda: 0, datatype_in_data=True)
    s.device_online("gauge")
    s.linked(0)
    drain(s)
    s.readings(level(1.0))
    assert drain(s)[0][1].metrics[0].datatype is DataType.DOUBLE


class SessionMachine(RuleBasedStateMachine):
    """Anything may happen in any order; what a host sees stays in order."""

    def __init__(self) -> None:
        super().__init__()
        self.s = session("host")
        self.now = 0
        self.linked = False
        self.born: set[str] | None = None
        self.seq = 0
        self.asked = False  # for a rebirth: no DATA until births

    @rule()
    def connect(self):
        if not self.linked:
            self.s.will(self.now % 256, 1)
            self.s.linked(self.now)
            self.linked = True

    @rule()
    def lose(self):
        self.s.lost()
        self.linked, self.born, self.asked = False, None, False

    @rule(online=st.booleans(), timestamp=st.integers(0, 5), retain=st.booleans())
    def host(self, online, timestamp, retain):
        if self.linked:
            self.s.received(STATE, state(online, timestamp), retain, self.now)

    @rule()
    def rebirth(self):
        if self.linked:
            self.s.received(NCMD, REBIRTH, False, self.now)
            self.asked = True

    @rule(device=st.sampled_from(["gauge", "bank"]), alive=st.booleans())
    def device(self, device, alive):
        (self.s.device_online if alive else self.s.device_lost)(device)

    @rule(point=st.integers(0, 1), value=st.floats())
    def measure(self, point, value):
        self.s.readings([Reading(point, self.now, value, Status.OK)])

    @rule(point=st.integers(0, 1))
    def remember(self, point):
        self.s.offer_late([Late(1, Reading(point, self.now, 1.0, Status.OK))], lambda _: None)

    @rule()
    def leave(self):
        self.s.leave()

    @rule(seconds=st.floats(0, 6))
    def wait(self, seconds):
        self.now += round(seconds * S)

    @rule()
    def stop(self):
        self.s.stop()

    @rule()
    def send(self):
        for topic, payload in drain(self.s, self.now):
            assert self.linked
            self.check(*topic.split("/"), payload=payload)
        if self.s.ended:
            self.lose()

    def check(self, verb, node, device="", *, payload):
        if verb == "NDEATH":
            assert payload.seq is None
            self.born = None
            return
        if verb == "NBIRTH":
            self.seq, self.born, self.asked = 0, set(), False
        assert self.born is not None
        assert payload.seq == self.seq
        self.seq = (self.seq + 1) % 256
        if verb in ("DDATA", "NDATA"):
            assert not self.asked
        if verb == "DBIRTH":
            self.born.add(device)
        elif device:
            assert device in self.born
            if verb == "DDEATH":
                self.born.discard(device)

    @invariant()
    def bounded(self):
        assert len(self.s._pending) <= PENDING_MAX


SessionMachine.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestAnyOrder = SessionMachine.TestCase
