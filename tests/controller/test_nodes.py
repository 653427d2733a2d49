"""A node as its host sees it: births, deaths, order, and what is refused."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.telemetry.nodes import HELD_MAX, Node
from controller.telemetry.presence import IGNORED, TABLE, Cue, Data, EventKind, NodeEvent, Presence
from cython_ext.payload import DataType, Metric, Payload, Property
from cython_ext.topics import Verb
from cython_ext.wire import encode
from cython_ext.wire_data import decode_data
from edge.telemetry.births import unpack
from tests.kit.sparkplug_strategies import damaged

POINTS = {("gauge", "level"): 0, ("gauge", "rain"): 1, ("bank", "smoke"): 2}


class Recorder:
    """A listener that reads the data as an intake would."""

    def __init__(self) -> None:
        self.events: list[NodeEvent] = []
        self.samples: list[tuple[int, float]] = []

    def data(self, data: Data) -> None:
        batch = decode_data(data.payload, data.table, data.received_ns)
        self.samples += [(r.point, r.value) for r in unpack(batch)]

    def event(self, event: NodeEvent) -> None:
        self.events.append(event)

    def kinds(self) -> list[EventKind]:
        taken, self.events = [e.kind for e in self.events], []
        return taken


class World:
    """One node and a hand that sends its messages."""

    def __init__(self) -> None:
        self.seen = Recorder()
        self.asked = 0
        self.now_ns = 0
        self.wall_ms = 1_000_000
        self.node = Node(
            "g", "n", listener=self.seen, resolve=lambda g, n, d, m: POINTS.get((d, m)), want_rebirth=self._ask
        )

    def _ask(self) -> None:
        self.asked += 1

    def send(self, verb: Verb, payload: bytes, device: str = "") -> None:
        self.node.receive(verb, device, payload, self.now_ns, self.wall_ms)

    def birth(self, bdseq: int = 0, seq: int = 0, *extra: Metric) -> None:
        self.send(Verb.NBIRTH, nbirth(bdseq, seq, *extra))

    def device(self, seq: int, name: str = "gauge", first: int = 10) -> None:
        self.send(Verb.DBIRTH, dbirth(seq, name, first), name)

    def data(self, seq: int, value: float, alias: int = 10, device: str = "gauge") -> None:
        self.send(Verb.DDATA, ddata(seq, value, alias), device)


def nbirth(bdseq: int, seq: int, *extra: Metric) -> bytes:
    return encode(
        Payload(
            1,
            (
                Metric(name="bdSeq", timestamp=1, datatype=DataType.INT64, value=bdseq),
                Metric(name="Node Control/Rebirth", timestamp=1, datatype=DataType.BOOLEAN, value=False),
                Metric(name="Ledger/Head", alias=1, timestamp=1, datatype=DataType.INT64, value=5),
                *extra,
            ),
            seq,
        )
    )


def dbirth(seq: int, name: str, first: int) -> bytes:
    members = [metric for device, metric in POINTS if device == name]
    return encode(
        Payload(
            1,
            tuple(
                Metric(
                    name=metric,
                    alias=first + i,
                    timestamp=1,
                    datatype=DataType.DOUBLE,
                    value=0.5,
                    properties=(Property("engUnit", DataType.STRING, "m"),),
                )
                for i, metric in enumerate(members)
            ),
            seq,
        )
    )


def ddata(seq: int | None, value: float, alias: int = 10) -> bytes:
    metric = Metric(alias=alias, timestamp=1, datatype=DataType.DOUBLE, value=value)
    return encode(Payload(1, (metric,), seq), datatypes=False)


def death(bdseq: int) -> bytes:
    return encode(Payload(1, (Metric(name="bdSeq", datatype=DataType.INT64, value=bdseq),)))


def born() -> World:
    world = World()
    world.birth()
    world.device(1)
    world.seen.kinds()
    world.seen.samples.clear()
    return world


def test_every_case_is_decided():
    assert set(TABLE) | IGNORED == set(product(Presence, Cue))
    assert not set(TABLE) & IGNORED


def test_births_say_what_there_is_and_are_judged_too():
    world = World()
    world.birth(bdseq=3, seq=7)
    world.device(8)
    assert world.seen.kinds() == [EventKind.NODE_BORN, EventKind.DEVICE_BORN]
    assert world.seen.samples == [(0, 0.5), (1, 0.5)]
    assert (world.node.bdseq, world.node.facts) == (3, {"Ledger/Head": 5})
    level = world.node.devices["gauge"].metrics[0]
    assert (level.name, level.alias, level.unit, level.point) == ("level", 10, "m", 0)
    assert not world.node.stale("gauge")
    assert world.asked == 0


def test_data_in_order_is_judged():
    world = born()
    for n in range(300):
        world.data((2 + n) % 256, float(n))
    assert world.seen.samples == [(0, float(n)) for n in range(300)]
    assert not world.node.counts
    assert world.asked == 0


def test_under_another_plan_what_was_born_feeds_the_points_that_it_says():
    """It counts the points the other way round, and has one less: nothing is born again for that."""
    world = World()
    world.birth()
    world.device(1)
    world.seen.samples.clear()
    world.node.replan(lambda g, n, d, m: {("gauge", "level"): 1}.get((d, m)))
    world.data(2, 2.5, alias=10)
    world.data(3, 9.9, alias=11)
    assert world.seen.samples == [(1, 2.5)]
    world.device(4)
    assert world.seen.samples[1:] == [(1, 0.5)]
    assert world.asked == 0


def test_a_gap_filled_in_time_is_put_in_order():
    world = born()
    for seq in (3, 5, 4, 2, 6):
        world.data(seq, float(seq))
    assert [v for _, v in world.seen.samples] == [2.0, 3.0, 4.0, 5.0, 6.0]
    assert world.node.gap_since_ns is None
    assert world.asked == 0


def test_a_gap_not_filled_uses_what_came_and_asks_for_births():
    world = born()
    world.data(3, 3.0)
    world.data(4, 4.0)
    assert world.seen.samples == []
    assert world.node.gap_since_ns == 0
    world.node.close_gap(5, 1)
    assert [v for _, v in world.seen.samples] == [3.0, 4.0]
    assert world.seen.kinds() == [EventKind.GAP]
    assert world.asked == 1
    world.data(5, 5.0)
    assert world.seen.samples[-1] == (0, 5.0)
    assert world.node.gap_since_ns is None


def test_what_is_held_is_bounded():
    world = born()
    for seq in range(3, 3 + HELD_MAX + 1):
        world.data(seq, float(seq))
    assert len(world.seen.samples) == HELD_MAX + 1
    assert world.seen.kinds() == [EventKind.GAP]


def test_a_message_that_came_twice_is_used_once():
    world = born()
    world.data(2, 2.0)
    world.data(2, 9.0)
    world.data(4, 4.0)
    world.data(4, 9.0)
    world.data(3, 3.0)
    assert [v for _, v in world.seen.samples] == [2.0, 3.0, 4.0]
    assert world.node.counts == {"duplicate": 2}


def test_a_node_that_is_behind_for_long_is_a_gap():
    world = born()
    for _ in range(20):
        world.data(1, 1.0)
    assert world.node.gap_since_ns is not None


def test_only_the_sessions_own_death_ends_it():
    world = World()
    world.birth(bdseq=4)
    world.device(1)
    world.seen.kinds()
    world.send(Verb.NDEATH, death(3))
    assert world.node.presence is Presence.ONLINE
    assert world.node.counts == {"stale_death": 1}
    world.wall_ms = 7_000
    world.send(Verb.NDEATH, death(4))
    assert world.seen.kinds() == [EventKind.NODE_OFFLINE]
    assert world.node.presence is Presence.OFFLINE
    assert world.node.stale()
    assert world.node.stale("gauge")
    assert not world.node.devices["gauge"].online
    assert (world.node.since_ms, world.node.devices["gauge"].since_ms) == (7_000, 7_000)  # the host's time
    world.send(Verb.NDEATH, death(4))  # the will after the published one
    assert world.seen.kinds() == []


def test_a_device_dies_at_its_payloads_time_and_comes_back():
    world = born()
    world.send(Verb.DDEATH, encode(Payload(4_321, (), 2)), "gauge")
    assert world.node.stale("gauge")
    assert not world.node.stale()
    assert world.node.devices["gauge"].since_ms == 4_321
    assert [(e.kind, e.wall_ms) for e in world.seen.events] == [(EventKind.DEVICE_OFFLINE, 4_321)]
    world.data(3, 9.0)
    assert world.seen.samples == []
    assert world.asked == 1
    world.device(4)
    world.data(5, 5.0)
    assert world.seen.samples[-1] == (0, 5.0)


@pytest.mark.parametrize("verb", [Verb.DDATA, Verb.DBIRTH, Verb.DDEATH, Verb.NDATA])
def test_nothing_is_used_before_the_birth(verb):
    world = World()
    world.send(verb, ddata(0, 1.0), "gauge" if verb.startswith("D") else "")
    assert world.seen.samples == []
    assert world.node.counts == {"before_birth": 1}
    assert world.asked == 1
    assert world.node.presence is Presence.UNBORN


def test_data_of_a_device_before_its_birth_asks_for_it():
    world = born()
    world.data(2, 1.0, device="bank")
    assert world.node.counts == {"before_birth": 1}
    assert world.asked == 1


def test_an_alias_of_another_device_is_not_read():
    world = born()
    world.device(2, "bank", first=20)
    world.seen.samples.clear()
    world.data(3, 1.0, alias=20)
    assert world.seen.samples == []
    assert world.node.counts == {"alias": 1}


@pytest.mark.parametrize(
    ("code", "payload"),
    [
        ("truncated", b"\x12\x09"),
        ("bdseq", encode(Payload(1, (), 0))),
        ("seq", encode(Payload(1, (Metric(name="bdSeq", datatype=DataType.INT64, value=1),)))),
        ("timestamp", encode(Payload(None, (Metric(name="bdSeq", datatype=DataType.INT64, value=1),), 0))),
        ("repeated", nbirth(1, 0, Metric(name="x", alias=1, datatype=DataType.INT32, value=1))),
        ("repeated", nbirth(1, 0, Metric(name="bdSeq", datatype=DataType.INT64, value=1))),
        ("name", nbirth(1, 0, Metric(alias=2, datatype=DataType.INT32, value=1))),
    ],
)
def test_a_birth_that_cannot_be_read_ends_what_was_known(code, payload):
    world = born()
    world.send(Verb.NBIRTH, payload)
    assert world.node.counts == {code: 1}
    assert world.node.presence is Presence.UNBORN
    assert world.seen.kinds() == [EventKind.NODE_OFFLINE, EventKind.REFUSED]
    world.data(2, 3.5)  # with the aliases of a session that is over
    assert world.seen.samples == []
    assert world.asked == 2
    world.birth(bdseq=2)
    assert world.node.presence is Presence.ONLINE


@pytest.mark.parametrize(
    ("code", "metric"),
    [
        ("repeated", Metric(name="level", alias=1, datatype=DataType.DOUBLE, value=1.0)),  # the node's own alias
        ("datatype", Metric(name="level", alias=10, datatype=DataType.STRING, value="1.0")),
    ],
)
def test_a_device_birth_that_cannot_be_read_ends_the_device(code, metric):
    world = born()
    world.send(Verb.DBIRTH, encode(Payload(1, (metric,), 2)), "gauge")
    assert world.node.counts == {code: 1}
    assert world.node.stale("gauge")
    assert not world.node.stale()
    assert world.asked == 1


def test_aliases_of_another_device_are_refused_and_its_own_may_come_again():
    world = born()
    world.device(2, "bank", first=10)
    assert world.node.counts == {"repeated": 1}
    world.device(3)
    assert world.node.counts == {"repeated": 1}


def test_a_refusal_is_told_once_a_session_and_counted_always():
    world = born()
    for n in range(5):
        world.data(2 + n, 1.0, alias=99)
    assert world.seen.kinds() == [EventKind.REFUSED]
    assert world.node.counts == {"alias": 5}
    assert world.asked == 5


def test_node_data_updates_what_is_known_of_the_node():
    world = born()
    world.send(
        Verb.NDATA,
        encode(Payload(1, (Metric(alias=1, datatype=DataType.INT64, value=-6),), 2), datatypes=False),
    )
    assert world.node.facts == {"Ledger/Head": -6}
    world.send(Verb.NDATA, encode(Payload(1, (Metric(alias=9, datatype=DataType.INT64, value=6),), 3)))
    assert world.node.counts == {"alias": 1}


def test_silence_makes_it_suspect_and_a_word_makes_it_present():
    world = born()
    world.node.silent(5, 5)
    world.node.silent(6, 6)
    assert world.seen.kinds() == [EventKind.NODE_SUSPECT]
    assert world.node.stale("gauge")
    world.data(2, 1.0)
    assert world.seen.kinds() == [EventKind.NODE_HEARD]
    assert world.seen.samples == [(0, 1.0)]


def test_when_we_cannot_hear_nothing_is_known():
    world = born()
    world.node.our_link_lost(5, 6)
    assert world.seen.kinds() == [EventKind.NODE_STALE]
    assert world.node.stale("gauge")
    world.data(2, 1.0)
    assert world.seen.samples == []
    assert world.asked == 1


MESSAGES = st.sampled_from(
    [
        (Verb.NBIRTH, "", nbirth(1, 0)),
        (Verb.NBIRTH, "", nbirth(2, 0)),
        (Verb.DBIRTH, "gauge", dbirth(1, "gauge", 10)),
        (Verb.DBIRTH, "bank", dbirth(2, "bank", 20)),
        (Verb.NDEATH, "", death(1)),
        (Verb.DDEATH, "gauge", encode(Payload(1, (), 3))),
        (Verb.NDATA, "", encode(Payload(1, (Metric(alias=1, datatype=DataType.INT64, value=1),), 2))),
        *((Verb.DDATA, "gauge", ddata(seq, 1.0)) for seq in range(1, 6)),
    ]
)


@st.composite
def hostile(draw: st.DrawFn) -> tuple[Verb, str, bytes]:
    verb, device, payload = draw(MESSAGES)
    return verb, device, draw(damaged(st.just(payload)) | st.just(payload))


@given(st.lists(hostile(), max_size=30))
@settings(max_examples=200)
def test_no_message_breaks_a_node(messages):
    world = World()
    for verb, device, payload in messages:
        world.send(verb, payload, device)
    assert all(point in POINTS.values() for point, _ in world.seen.samples)
    world.birth(bdseq=9)  # and it lives on
    world.device(1)
    world.seen.samples.clear()
    world.data(2, 4.0)
    assert world.seen.samples == [(0, 4.0)]
