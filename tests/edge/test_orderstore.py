"""What a node remembers of orders: across reboots, crashes, restored and damaged disks."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random

import apsw
import pytest

from cython_ext import ClockQuality, ClockSource, Hazard, Level
from edge.siren.anchor import Anchor, read_anchor, write_anchor
from edge.siren.orders import open_order
from edge.siren.orderstore import OrderStore
from edge.siren.refusals import Refused, Why
from edge.siren.standing import Spent, Standing
from lanes.identity import AlarmId
from lanes.keys import Mode
from lanes.store import StoreError, run_here
from tests.kit.clock import ManualClock
from tests.kit.disk import faulty_disk
from tests.kit.order_node import NO_NONCE, Node
from tests.kit.orders import BOOT, NODE, key_of, siren_plan


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    yield node
    node.store.close()


def test_a_replay_after_a_reboot_is_refused(node: Node) -> None:
    start, stop = node.order(), node.make.stop()
    assert node.take(start) is None
    assert node.take(stop) is None
    node.reboot()
    assert node.take(start) is Why.COUNTER
    assert node.take(stop) is Why.COUNTER
    assert node.take(node.order(nonce=NO_NONCE)) is None, "no doubt: clock and counters are sound"


def test_a_used_approval_is_used_after_a_reboot(node: Node) -> None:
    first = node.make.by_people("ana", "ion")
    assert node.take(first) is None
    envelope = open_order(first, Standing(siren_plan(), NODE, BOOT, node.store))
    assert not isinstance(envelope, Refused)
    node.reboot()
    say = envelope.order
    again = node.make.by_people("ana", "ion", issued_us=envelope.envelope.issued_us, nonce=node.boot)
    assert say.approvals
    assert node.take(again) is Why.APPROVAL_USED
    node.clock.advance(200)
    asyncio.run(node.store.tend())
    assert not node.store.used("s2", b"", b"")
    assert node.take(node.make.by_people("ana", "ion", nonce=node.boot)) is None


@pytest.mark.parametrize("what", ["restored", "missing", "anchor-missing", "replaced", "damaged"])
def test_a_disk_that_forgets_is_in_doubt(node: Node, what: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    image = tmp_path_factory.mktemp("image")
    assert node.take(node.order()) is None
    node.reboot()
    node.store.close()
    shutil.copy(node.folder / "orders.db", image)
    node.open()
    recorded, stop = node.order(incident=b"recorded"), node.make.stop(nonce=node.boot)
    assert node.take(recorded) is None
    assert node.take(stop) is None
    node.store.close()
    database = node.folder / "orders.db"
    if what == "restored":
        shutil.copy(image / "orders.db", database)
    elif what == "missing":
        database.unlink()
    elif what == "anchor-missing":
        (node.folder / "orders.anchor").unlink()
    elif what == "replaced":
        write_anchor(node.folder / "orders.anchor", Anchor(b"another.", 1))
    else:
        database.write_bytes(b"SQLite format 3\0" + bytes(5000))
    node.boots += 1
    node.open()
    assert node.store.forgetful == ("replaced" if what == "missing" else what)
    assert node.take(recorded) is Why.NONCE
    assert node.take(stop) is Why.NONCE
    fresh = node.order(incident=b"fresh...")
    assert node.take(fresh) is None, "who quotes our boot nonce speaks to us now"
    assert node.take(recorded) is Why.COUNTER
    if what == "damaged":
        assert (node.folder / "orders.db.damaged").exists(), "kept for somebody to look at"


def test_whatever_changed_bytes_make_of_it_the_node_starts(node: Node) -> None:
    assert node.take(node.order()) is None
    assert node.take(node.make.stop()) is None
    node.store.veto(b"incident", Level.ALARM)
    node.store.open_alarm("ungheni", Hazard.FLOOD, key_of(1))
    node.reboot()
    node.store.close()
    path = node.folder / "orders.db"
    whole, rng, doubted = path.read_bytes(), Random(1), 0
    written = [at for at, byte in enumerate(whole) if byte]
    for _ in range(150):
        spoilt = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            spoilt[rng.choice(written)] = rng.choice((0, 1, 7, 9, 13, 21, 255, rng.randrange(256)))
        path.write_bytes(spoilt)
        node.open()
        doubted += node.store.forgetful == "damaged"
        asyncio.run(node.store.tend())
        assert node.take(node.make.stop(nonce=node.boot)) in (None, Why.COUNTER)
        node.store.close()
    assert doubted > 20
    path.write_bytes(whole)
    node.open()


def test_doubt_outlives_a_reboot_until_a_nonce_was_quoted(node: Node) -> None:
    assert node.take(node.order()) is None
    node.store.doubt("restored")
    node.commit()
    node.reboot()
    assert node.store.forgetful == ""
    assert node.take(node.order(nonce=NO_NONCE)) is Why.NONCE
    assert node.take(node.order()) is None
    assert node.take(node.order(nonce=NO_NONCE, incident=b"another.")) is None


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "orders.db"
    other = apsw.Connection(str(path))
    other.execute("CREATE TABLE theirs(x); PRAGMA application_id = 77")
    other.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="not ours"):
        OrderStore(path, anchor=tmp_path / "anchor", clock=ManualClock(), runner=run_here, entropy=bytes)
    assert path.read_bytes() == before


def test_what_was_sounding_is_known_after_a_crash(node: Node) -> None:
    node.store.begin(node.activation())
    node.commit()
    node.reboot()
    (cut,) = node.store.interrupted
    assert (cut.siren, cut.reference, cut.incident) == ("s1", b"order..1", b"incident")
    assert node.store.sounded("s1", b"incident", Mode.LIVE) is None, "it did not sound to its end: it may sound again"
    node.store.forget_interrupted()
    node.commit()
    node.reboot()
    assert not node.store.interrupted


def test_what_has_sounded_is_remembered_with_its_events(node: Node) -> None:
    activation = node.activation()
    node.store.begin(activation)
    assert node.store.sounded("s1", b"incident", Mode.LIVE) is Level.ALARM
    assert node.store.spent("s1", key_of(1, "n2")) == Spent(Level.ALARM, False)
    node.store.finish(activation, sounded=True)
    node.commit()
    node.reboot()
    assert not node.store.interrupted
    assert node.store.sounded("s1", b"incident", Mode.LIVE) is Level.ALARM
    assert node.store.sounded("s1", b"incident", Mode.EXERCISE) is None
    assert node.store.spent("s1", key_of(1, "n2")) == Spent(Level.ALARM, False)


def test_what_a_stop_holds_is_known_by_its_events_after_a_reboot(node: Node) -> None:
    node.store.begin(node.activation())
    assert node.take(node.make.stop()) is None
    node.reboot()
    now_ns, event = node.clock.monotonic_ns(), key_of(1, "n2")
    hold = node.store.hold("s1", b"another.", Mode.LIVE, now_ns, [event])
    assert hold is not None
    assert hold.level is Level.ALARM
    assert node.store.hold("s1", b"another.", Mode.LIVE, now_ns, [event, key_of(2, "n2")]) is None, "something is new"
    assert node.store.hold("s2", b"another.", Mode.LIVE, now_ns, [event]) is None
    assert node.store.hold("s1", b"another.", Mode.LIVE, now_ns) is None


def test_a_store_of_an_earlier_version_asks_for_the_nonce_and_counts_by_keys_from_then_on(node: Node) -> None:
    node.store.close()
    store = apsw.Connection(str(node.folder / "orders.db"))
    store.execute("INSERT INTO counter VALUES ('iasi', 1, 's1', 5000, 0); DROP TABLE lease; DROP TABLE behind")
    store.close()
    node.open()
    assert node.take(node.order(nonce=NO_NONCE)) is Why.NONCE
    assert node.take(node.order()) is None
    assert node.store.forgetful == ""
    assert node.take(node.order(nonce=NO_NONCE, incident=b"another.")) is None


def test_a_hold_runs_by_the_wall_clock_while_we_are_away(node: Node) -> None:
    assert node.take(node.make.stop(incident=b"incident")) is None
    assert node.left_s() == 600
    node.reboot(away_s=100)
    assert node.left_s() == pytest.approx(500, abs=1)
    node.reboot(away_s=10_000)
    assert node.left_s() == 0


def test_a_hold_waits_where_no_clock_says_how_long_we_were_away(node: Node) -> None:
    assert node.take(node.make.stop(incident=b"incident")) is None
    node.clock.advance(60)
    asyncio.run(node.store.tend())
    node.clock.trust(ClockQuality(ClockSource.NONE))
    node.reboot(away_s=10_000)
    assert node.left_s() == pytest.approx(540, abs=1)


def test_a_stop_of_all_holds_what_the_node_knows(node: Node) -> None:
    alarm = node.store.open_alarm("ungheni", Hazard.FLOOD, key_of(3))
    alarm.level = Level.ALARM
    node.store.begin(node.activation(Level.DANGER))
    assert node.take(node.make.stop()) is None
    now_ns = node.clock.monotonic_ns()
    own = AlarmId("ungheni", Hazard.FLOOD, key_of(3)).incident
    held = {i: node.store.hold("s1", i, Mode.LIVE, now_ns) for i in (b"incident", own, b"new one.")}
    assert [h.level if h else None for h in held.values()] == [Level.DANGER, Level.ALARM, None]
    assert node.store.hold("s1", b"incident", Mode.EXERCISE, now_ns), "a live stop holds exercises too"


def test_an_exercise_stop_holds_no_live_order(node: Node) -> None:
    assert node.take(node.make.stop(mode=Mode.EXERCISE, incident=b"incident")) is None
    now_ns = node.clock.monotonic_ns()
    assert node.store.hold("s1", b"incident", Mode.LIVE, now_ns) is None
    assert node.store.hold("s1", b"incident", Mode.EXERCISE, now_ns)
    assert node.take(node.order(order_epoch=0)) is None, "nor does it make live starts late"


def test_a_hold_of_unknown_level_learns_it(node: Node) -> None:
    assert node.take(node.make.stop(incident=b"incident")) is None
    assert node.take(node.order()) is Why.HELD
    node.store.learn("s1", b"incident", Mode.LIVE, Level.ALARM)
    node.commit()
    node.reboot()
    hold = node.store.hold("s1", b"incident", Mode.LIVE, node.clock.monotonic_ns())
    assert hold is not None
    assert hold.level is Level.ALARM
    assert node.take(node.order()) is Why.HELD
    evidence = tuple(node.make.event(n, p, Level.DANGER) for n, p in (("n2", "gauge2"), ("n3", "gauge3")))
    assert node.take(node.order(pattern="danger", max_s=240, evidence=evidence)) is None, "a higher Level"
    assert node.take(node.order(incident=b"new one.")) is None
    people = {"siren": "s1", "zones": ("ungheni",), "incident": b"incident", "nonce": node.boot, "order_epoch": 1}
    assert node.take(node.make.by_people("ana", "ion", **people)) is None


def test_people_who_approved_before_the_stop_must_approve_again(node: Node) -> None:
    make = node.make
    say = {"siren": "s1", "zones": ("ungheni",), "incident": b"incident", "order_epoch": 1}
    before = make.by_people("ana", "ion", **say)
    node.clock.advance(10)
    assert node.take(make.stop(incident=b"incident")) is None
    assert node.take(before) is Why.HELD
    assert node.take(make.by_people("ana", "ion", **say)) is None


def test_a_floor_under_time_survives(node: Node) -> None:
    assert node.take(node.order()) is None
    wall_us = node.clock.wall_us()
    node.clock.trust(ClockQuality(ClockSource.NONE))
    node.reboot()
    node.clock.advance(5)
    assert node.store.floor_us(node.clock.monotonic_ns()) == wall_us + 5_000_000
    node.store.heard(wall_us + 60_000_000, node.clock.monotonic_ns())
    node.store.heard(wall_us, node.clock.monotonic_ns())
    node.clock.advance(1)
    assert node.store.floor_us(node.clock.monotonic_ns()) == wall_us + 61_000_000


def test_own_alarms_and_vetoes_survive(node: Node) -> None:
    node.store.open_alarm("ungheni", Hazard.FLOOD, key_of(3))
    node.store.open_alarm("ungheni", Hazard.FIRE, key_of(4))
    node.store.close_alarm("ungheni", Hazard.FIRE)
    node.store.veto(b"incident", Level.ALARM)
    node.store.veto(b"incident", Level.ATTENTION)
    node.commit()
    node.reboot()
    assert {where: alarm.key for where, alarm in node.store.opened.items()} == {("ungheni", Hazard.FLOOD): key_of(3)}
    assert node.store.vetoed(b"incident") is Level.ALARM


def test_a_failing_disk_is_said_and_tried_again(tmp_path: Path) -> None:
    with faulty_disk(tmp_path) as disk:
        node = Node(tmp_path)
        order = node.order()
        disk.sync_fails = disk.write_fails = True
        with pytest.raises(StoreError, match="cannot write"):
            node.take(order)
        assert node.store.failed
        disk.sync_fails = disk.write_fails = False
        node.commit()
        assert not node.store.failed
        node.reboot()
        assert node.take(order) is Why.COUNTER
        node.store.close()


def test_a_full_disk_takes_orders_all_the_same(tmp_path: Path) -> None:
    """Its room was taken at the start: nothing grows, however many orders come."""
    with faulty_disk(tmp_path) as disk:
        node = Node(tmp_path)
        for start in (1, 1001):  # also after a start on the full disk, which lacks only the log that the end removed
            disk.room = disk.used()
            for number in range(start, start + 60):
                assert node.take(node.order(incident=number.to_bytes(8, "big"))) is None
                node.clock.advance(1)
            disk.room = None
            node.reboot()
        node.store.close()


def test_a_start_on_a_full_disk_is_a_start(tmp_path: Path) -> None:
    with faulty_disk(tmp_path) as disk:
        node = Node(tmp_path)
        order = node.order()
        assert node.take(order) is None
        node.store.close()
        disk.room = disk.used()
        node.open()
        assert node.take(order) is Why.COUNTER
        node.store.close()


def test_what_is_kept_is_bounded(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.siren.orderstore.KEPT_MAX", 3)
    monkeypatch.setattr("edge.siren.orderstore.VETOED_MAX", 2)
    for number in range(6):
        incident = number.to_bytes(8, "big")
        node.store.finish(node.activation(incident=incident), sounded=True)
        node.store.veto(incident, Level.ALARM)
    asyncio.run(node.store.tend())
    node.reboot()
    kept = [n for n in range(6) if node.store.sounded("s1", n.to_bytes(8, "big"), Mode.LIVE) is not None]
    assert kept == [3, 4, 5]
    assert [n for n in range(6) if node.store.vetoed(n.to_bytes(8, "big")) is not None] == [4, 5]


def test_an_anchor_that_is_no_anchor_is_none(tmp_path: Path) -> None:
    path = tmp_path / "anchor"
    assert read_anchor(path) is None
    write_anchor(path, Anchor(b"store-id", 12))
    assert read_anchor(path) == Anchor(b"store-id", 12)
    for text in ("", "abc", "0011 5", "73746f72652d6964 -1", "73746f72652d6964 x", "zz 1"):
        path.write_text(text)
        assert read_anchor(path) is None
