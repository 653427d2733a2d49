"""A latched point is reset only by a person whom the plan names for its zone, now, once; and only when its danger is over."""

import pytest

from cython_ext import ClockQuality, ClockSource, Hazard, Level, Reason, Status
from cython_ext.panel import pack
from edge.sense.judge import Judge
from edge.sense.resetting import REFUSALS_MAX, Resetting
from edge.troubles import Troubles
from lanes import acts
from lanes.envelope import Envelope, Kind, Opened, open_envelope, seal
from lanes.identity import AlarmId, EventKey
from lanes.keys import Mode, Role
from lanes.orders import reference_of
from lanes.pulse import Pulse
from lanes.reports import ResetData
from lanes.resets import PointReset
from lanes.store import run_here
from tests.kit import plans
from tests.kit.clock import ManualClock
from tests.kit.plans import key, key_entry, signed, with_keys

LATCHED = plans.PLAN.replace('id = "gauge"\n', 'id = "gauge"\nlatch = true\n')
OTHER = '\n[[zone]]\nid = "sculeni"\ncircle = [47.3, 27.6, 5.0]\n'
ELSEWHERE = key_entry("eva", Role.OPERATOR, Mode.LIVE, ("sculeni",))
PLAN = signed(with_keys(LATCHED.replace("\n[[point]]", OTHER + "\n[[point]]", 1)) + ELSEWHERE)
BOOT = b"boot0001"


class Node:
    """The judge of a node with a latched gauge, and what resets it."""

    def __init__(self, folder):
        self.clock = ManualClock()
        self.told = []
        self.answers = []

        async def record(data):
            self.told.append(data)
            return EventKey("n1", b"ledger01", len(self.told))

        self.judge = Judge(
            signed=PLAN,
            node="n1",
            clock=self.clock,
            record=record,
            reflex=lambda data, key: None,
            turned=lambda judged, level: None,
            snapshot=folder / "panel",
            runner=run_here,
            troubles=Troubles(lambda data: None),
            pulse=Pulse(self.clock),
        )
        self.resetting = Resetting(
            lambda: PLAN.plan, "n1", boot=BOOT, judge=self.judge, clock=self.clock, post=self.answers.append
        )
        self.counter = 0

    def value(self, metres, status=Status.OK):
        self.clock.advance(1)
        self.judge.take(pack([(0, self.clock.monotonic_ns(), metres, int(status))]))

    async def levels(self):
        await self.judge.drain()
        return [(data.level, data.reason) for data in self.told if data.level is not data.was]

    def act(
        self, *, person="ana", zone="ungheni", hazard=Hazard.FLOOD, mode=Mode.LIVE, act=None, service="iasi", **how
    ):
        self.counter += 1
        where = AlarmId(zone, hazard, EventKey("n1", b"ledger01", 1))
        return acts.sign_act(
            act or acts.ResetAlarm(where),
            person=person,
            service=service,
            key=how.get("key") or key(person, mode),
            now_us=self.clock.wall_us() + how.get("ahead_us", 0),
            once=how.get("once") or self.counter.to_bytes(8, "big"),
        )

    def message(self, act, *, point="gauge", nonce=BOOT, body=None, until_us=60_000_000):
        self.counter += 1
        body = body if body is not None else PointReset(point, act, nonce).pack()
        now_us = self.clock.wall_us()
        envelope = Envelope(Kind.RESET, "iasi", "n1", b"control1", self.counter, now_us, 1, 0, body, now_us + until_us)
        opened = open_envelope(seal(envelope, key("iasi")), PLAN.plan.roster)
        assert isinstance(opened, Opened)
        return opened

    def reset(self, act, **how):
        opened = self.message(act, **how)
        assert self.resetting.take(opened) == ""
        return self.answers[-1] if self.answers else None


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path)


def held(node):
    """It was in alarm, and the water has gone: latched."""
    node.value(3.4)
    node.value(1.0)
    node.value(1.0)
    assert node.judge.endangered()


async def test_a_latched_level_whose_danger_is_over_is_left_and_answered(node):
    held(node)
    opened = node.message(node.act())
    assert node.resetting.take(opened) == ""
    assert node.answers == [ResetData("gauge", reference_of(opened.data), True, "reset")]
    assert not node.judge.endangered()
    assert (await node.levels())[-1] == (Level.NORMAL, Reason.RESET)


async def test_what_still_stands_above_stays_and_the_answer_says_so(node):
    node.value(3.4)
    assert node.reset(node.act()) == ResetData("gauge", node.answers[-1].order, False, "above")
    assert node.judge.endangered()
    node.value(1.0)
    node.value(1.0)
    assert node.reset(node.act()).done


def test_a_sensor_that_is_not_seen_resets_nothing(node):
    node.value(3.4)
    for _ in range(5):
        node.value(0.0, Status.MISSING)
    answer = node.reset(node.act())
    assert (answer.done, answer.why) == (False, "unseen")
    assert node.judge.endangered()


def test_there_may_be_nothing_to_reset(node):
    node.value(1.0)
    answer = node.reset(node.act())
    assert (answer.done, answer.why) == (False, "normal")


def test_an_act_resets_a_point_once_however_often_it_comes(node):
    node.value(3.4)
    act = node.act()
    node.reset(act)
    node.value(1.0)
    node.value(1.0)
    before = list(node.answers)
    node.reset(act)
    assert node.answers == before, "the first answer is on its way"
    assert node.judge.endangered(), "an old act does not reset a later danger"


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"person": "n1", "key": key("n1")}, "role"),
        ({"person": "iasi", "key": key("iasi")}, "role"),
        ({"key": key("stranger")}, "unknown-key"),
        ({"person": "ion", "key": key("ana")}, "issuer"),
        ({"mode": Mode.TEST}, "mode"),
        ({"zone": "sculeni"}, "zone"),  # the person is not named for it
        ({"zone": "sculeni", "person": "eva"}, "zone"),  # the point does not endanger it
        ({"person": "eva"}, "zone"),
        ({"hazard": Hazard.FIRE}, "zone"),
        ({"service": "n1"}, "addressee"),
        ({"act": acts.StopSiren()}, "kind"),
        ({"ahead_us": -61_000_000}, "expired"),
        ({"ahead_us": 10_000_000}, "future"),
    ],
)
def test_an_act_without_the_authority_resets_nothing_and_is_answered(node, how, why):
    held(node)
    answer = node.reset(node.act(**how))
    assert (answer.done, answer.why) == (False, why)
    assert node.judge.endangered()


@pytest.mark.parametrize(("point", "why"), [("gauge2", "point"), ("s1", "point"), ("nowhere", "point")])
def test_a_point_that_is_not_ours_is_refused(node, point, why):
    held(node)
    assert node.reset(node.act(), point=point).why == why
    assert node.judge.endangered()


def test_a_forged_or_broken_act_resets_nothing(node):
    held(node)
    act = node.act()
    for place in range(0, len(act), 7):
        broken = bytearray(act)
        broken[place] ^= 1
        assert not node.reset(bytes(broken)).done
    assert node.judge.endangered()
    assert node.resetting.take(node.message(b"", body=["?"])) == "malformed-reset"


def test_a_message_kept_back_has_expired(node):
    held(node)
    opened = node.message(node.act())
    node.clock.advance(61)
    node.resetting.take(opened)
    assert node.answers[-1].why == "expired"


def test_where_the_clock_is_in_doubt_the_boot_nonce_decides(node):
    held(node)
    node.clock.trust(ClockQuality(ClockSource.NONE, 0))
    assert node.reset(node.act(), nonce=b"former01").why == "nonce"
    assert node.reset(node.act(ahead_us=-10_000_000_000)).why == "reset"


def test_a_flood_of_bad_resets_does_not_fill_the_ledger(node):
    held(node)
    for _ in range(5 * REFUSALS_MAX):
        node.reset(node.act(zone="sculeni"))
    assert len(node.answers) == REFUSALS_MAX
    assert node.reset(node.act()).done
