"""The alarm book: merge is a join, and whatever points and people do, the book keeps its promises."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from controller.alarm.book import Book, Unfit
from controller.alarm.changes import AlarmChange, ChangeKind, Reading
from controller.alarm.life import MUTED, State, state_of
from controller.alarm.merge import merge
from controller.alarm.record import Alarm, Part, Seen
from cython_ext import Hazard, Level, Reason, Trouble
from lanes.acts import AckAlarm, ResetAlarm, ShelveAlarm, UnshelveAlarm
from lanes.identity import AlarmId, EventKey
from lanes.keys import Mode

ZONE, HAZARD = "quay", Hazard.FLOOD
NODES = ("n1", "n2", "n3")
keys = st.builds(EventKey, st.sampled_from(NODES), st.just(b"ledger01"), st.integers(1, 6))


def reading(key: EventKey, point: str, level: Level, at_us: int = 0) -> Reading:
    return Reading(key, point, 3.0, level, Reason.THRESHOLD, Trouble.NONE, at_us)


@st.composite
def views(draw: st.DrawFn) -> Alarm:
    """One view of the zone's alarm, as a node's reflex or a centre may have it."""
    events = draw(st.lists(keys, min_size=1, max_size=5, unique=True))
    opened = events[0]
    # What an event says is fixed by its key: two views cannot disagree about it.
    parts = {
        key.node: Part(reading(key, f"p-{key.node}", Level(1 + key.seq % 3), key.seq), key.seq % 2 == 0)
        for key in sorted(events, key=lambda k: k.seq)
        if draw(st.booleans())
    }
    evidence = tuple(Seen(key, draw(st.booleans())) for key in sorted(events, key=lambda k: k.octets))
    latches = draw(st.booleans())
    ordered = tuple(sorted(parts.values(), key=lambda part: part.place))
    return Alarm(
        AlarmId(ZONE, HAZARD, opened),
        Mode.LIVE,
        state_of(active=bool(ordered), seen=all(each.seen for each in evidence), latches=latches),
        opened,
        draw(st.sampled_from([Level.ATTENTION, Level.ALARM, Level.DANGER])),
        draw(st.integers(0, 9)),
        draw(st.integers(10, 19)),
        ordered,
        evidence,
        ours=draw(st.booleans()),
        latches=latches,
    )


def facts(alarm: Alarm) -> Alarm:
    """The view without what is only of its moment: which episode stands is the canonical view's to say."""
    return replace(alarm, episode=alarm.id.key)


@given(views(), views(), views())
def test_merging_is_a_join(a: Alarm, b: Alarm, c: Alarm) -> None:
    assert facts(merge(a, b)) == facts(merge(b, a))
    assert facts(merge(a, merge(b, c))) == facts(merge(merge(a, b), c))
    assert facts(merge(merge(a, b), b)) == facts(merge(a, b))


@given(views(), views())
def test_a_merge_loses_nothing(a: Alarm, b: Alarm) -> None:
    both = merge(a, b)
    assert {each.key for each in both.evidence} == {each.key for each in (*a.evidence, *b.evidence)}
    assert {both.id, *both.aliases} == {a.id, b.id}
    assert both.severity == max(a.severity, b.severity)
    assert both.level == max((p.reading.level for p in both.parts), default=Level.NORMAL)
    assert both.names(a.id)
    assert both.names(b.id)
    ours = [each for each in (a, b) if each.ours] or [a, b]
    assert both.id.key.octets == min(each.id.key.octets for each in ours)
    assert set(both.unseen) == {k for k in {e.key for e in both.evidence} if not _seen(a, k) and not _seen(b, k)}


def _seen(alarm: Alarm, key: EventKey) -> bool:
    return any(each.key == key and each.seen for each in alarm.evidence)


@given(views())
def test_an_alarm_comes_back_from_its_bytes(alarm: Alarm) -> None:
    assert Alarm.unpack(alarm.pack()) == alarm


class BookMachine(RuleBasedStateMachine):
    """Points rise and fall, people act, in any order; a model keeps what is true of the zone."""

    def __init__(self) -> None:
        super().__init__()
        self.book = Book()
        self.now = 0
        self.seq = 0
        self.levels: dict[str, Level] = {}
        self.raised: set[EventKey] = set()  # since the alarm opened
        self.seen: set[EventKey] = set()
        self.shown = Level.NORMAL  # what others have been told

    @property
    def alarm(self) -> Alarm | None:
        return self.book.at(ZONE, HAZARD)

    def hear(self, moved: object) -> None:
        change: AlarmChange | None = getattr(moved, "change", None)
        if change is not None:
            assert change.was == self.shown
            self.shown = change.level
        if self.alarm is None:
            self.raised, self.seen = set(), set()

    @rule(point=st.sampled_from(["p1", "p2", "p3"]), level=st.sampled_from(Level), live=st.booleans())
    def say(self, point: str, level: Level, live: bool) -> None:
        self.now += 1
        self.seq += 1
        key = EventKey("n1", b"ledger01", self.seq)
        if level > Level.NORMAL:
            self.levels[point] = level
            self.raised.add(key)
        else:
            self.levels.pop(point, None)
        self.hear(
            self.book.read(
                ZONE, HAZARD, reading(key, point, level, self.now), mode=Mode.LIVE, live=live, now_us=self.now
            )
        )

    @precondition(lambda self: self.alarm is not None and self.alarm.state not in MUTED)
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        alarm = self.alarm
        assert alarm is not None
        listed = data.draw(st.lists(st.sampled_from([e.key for e in alarm.evidence]), min_size=1, unique=True))
        self.now += 1
        self.seen |= set(listed)
        self.hear(self.book.acknowledge(AckAlarm(alarm.id, tuple(listed)), "ana", self.now))

    @precondition(lambda self: self.alarm is not None)
    @rule()
    def reset(self) -> None:
        alarm = self.alarm
        assert alarm is not None
        self.now += 1
        if alarm.state is State.LATCHED_ACKNOWLEDGED:
            self.hear(self.book.reset(ResetAlarm(alarm.id), self.now))
            assert self.alarm is None
        else:
            with pytest.raises(Unfit):
                self.book.reset(ResetAlarm(alarm.id), self.now)

    @precondition(lambda self: self.alarm is not None)
    @rule()
    def latch(self) -> None:
        alarm = self.alarm
        assert alarm is not None
        self.hear(self.book.latch(alarm, self.now))

    @precondition(lambda self: self.alarm is not None and self.alarm.state not in MUTED)
    @rule()
    def shelve(self) -> None:
        alarm = self.alarm
        assert alarm is not None
        act = ShelveAlarm(alarm.id, self.now + 1_000_000, "works on the quay")
        self.hear(self.book.shelve(act, ("ana", "ion"), self.now))

    @precondition(lambda self: self.alarm is not None and self.alarm.state is State.SHELVED)
    @rule()
    def unshelve(self) -> None:
        alarm = self.alarm
        assert alarm is not None
        self.hear(self.book.unshelve(UnshelveAlarm(alarm.id), self.now))

    @precondition(lambda self: self.alarm is not None)
    @rule(seq=st.integers(1, 40))
    def late_news(self, seq: int) -> None:
        key = EventKey("n2", b"ledger09", seq)
        self.raised.add(key)
        for moved in self.book.note(ZONE, HAZARD, reading(key, "p3", Level.DANGER), mode=Mode.LIVE, now_us=self.now):
            self.hear(moved)

    @invariant()
    def the_level_is_that_of_its_points(self) -> None:
        alarm = self.alarm
        worst = max(self.levels.values(), default=Level.NORMAL)
        assert (alarm.level if alarm else Level.NORMAL) == worst

    @invariant()
    def a_danger_is_never_without_an_alarm_nor_cleared_early(self) -> None:
        if self.levels:
            alarm = self.alarm
            assert alarm is not None
            assert alarm.state in {State.UNACKNOWLEDGED, State.ACKNOWLEDGED} | MUTED
            assert alarm.severity >= alarm.level

    @invariant()
    def nothing_unseen_is_forgotten(self) -> None:
        alarm = self.alarm
        if alarm is None or alarm.state in MUTED:
            return
        assert {each.key for each in alarm.evidence} == self.raised
        assert set(alarm.unseen) == self.raised - self.seen
        if alarm.state in (State.ACKNOWLEDGED, State.LATCHED_ACKNOWLEDGED):
            assert not alarm.unseen

    @invariant()
    def the_record_is_whole(self) -> None:
        again = Book()
        again.restore(self.book.pack())
        assert list(again) == list(self.book)

    @invariant()
    def others_have_heard_what_is(self) -> None:
        alarm = self.alarm
        assert self.shown == (alarm.severity if alarm and alarm.level > Level.NORMAL else Level.NORMAL)


BookMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestBook = BookMachine.TestCase


def test_severity_only_rises_until_acknowledged() -> None:
    book = Book()
    kinds = []

    def say(seq: int, level: Level) -> None:
        key = EventKey("n1", b"ledger01", seq)
        moved = book.read(ZONE, HAZARD, reading(key, "p", level, seq), mode=Mode.LIVE, live=True, now_us=seq)
        kinds.append(moved.change.kind if moved and moved.change else None)

    say(1, Level.ALARM)
    say(2, Level.DANGER)
    say(3, Level.ATTENTION)
    alarm = book.at(ZONE, HAZARD)
    assert alarm is not None
    assert (alarm.severity, alarm.level) == (Level.DANGER, Level.ATTENTION)
    acked = book.acknowledge(AckAlarm(alarm.id, tuple(e.key for e in alarm.evidence)), "ana", 4)
    assert (acked.alarm.severity, acked.change and acked.change.by) == (Level.ATTENTION, "ana")
    say(5, Level.NORMAL)
    assert kinds == [ChangeKind.RAISED, ChangeKind.ESCALATED, None, ChangeKind.CLEARED]
    assert len(book) == 0


def test_a_watchdogs_raise_folds_into_the_nodes_event_and_never_clears_it() -> None:
    book = Book()
    ours = reading(EventKey("iasi", b"journal1", 9), "p", Level.ALARM)
    theirs = reading(EventKey("n1", b"ledger01", 1), "p", Level.ALARM)

    def say(what: Reading, *, watched: bool) -> Alarm:
        book.read(ZONE, HAZARD, what, mode=Mode.LIVE, live=True, now_us=1, watched=watched)
        alarm = book.at(ZONE, HAZARD)
        assert alarm is not None
        return alarm

    opened = say(ours, watched=True)
    folded = say(theirs, watched=False)
    assert folded.id == opened.id
    assert [(part.reading.key, part.watched) for part in folded.parts] == [(theirs.key, False)]
    assert {each.key for each in folded.evidence} == {ours.key, theirs.key}
    after = say(replace(ours, level=Level.NORMAL), watched=True)
    assert after.level is Level.ALARM


def test_a_mute_ends_by_itself_and_breaks_for_a_greater_danger() -> None:
    book = Book()

    def say(seq: int, level: Level) -> None:
        key = EventKey("n1", b"ledger01", seq)
        book.read(ZONE, HAZARD, reading(key, "p", level, seq), mode=Mode.LIVE, live=True, now_us=seq)

    def state() -> State:
        alarm = book.at(ZONE, HAZARD)
        return alarm.state if alarm else State.NORMAL

    say(1, Level.ALARM)
    alarm = next(iter(book))
    for wrong in (ShelveAlarm(alarm.id, 10, ""), ShelveAlarm(alarm.id, 9 * 3_600_000_000, "x")):
        with pytest.raises(Unfit):
            book.shelve(wrong, ("ana", "ion"), 1)
    book.shelve(ShelveAlarm(alarm.id, 100, "works"), ("ana", "ion"), 1)
    say(2, Level.ALARM)
    assert state() is State.SHELVED
    assert book.expire(99) == []
    book.expire(100)
    assert state() is State.UNACKNOWLEDGED
    book.shelve(ShelveAlarm(alarm.id, 200, "works"), ("ana", "ion"), 101)
    say(3, Level.DANGER)
    assert state() is State.UNACKNOWLEDGED


def test_what_a_node_restates_asks_nobody_anew_but_what_is_worse_or_elsewhere_does() -> None:
    """A state report may tell of a point before its event does, and says only that the node holds it (Reason.RESTART)."""
    book = Book()

    def say(seq: int, point: str, level: Level, reason: Reason = Reason.RESTART) -> State:
        said = replace(reading(EventKey("n1", b"ledger01", seq), point, level, seq), reason=reason)
        book.read(ZONE, HAZARD, said, mode=Mode.LIVE, live=True, now_us=seq)
        alarm = book.at(ZONE, HAZARD)
        assert alarm is not None
        return alarm.state

    def acknowledged() -> None:
        alarm = next(iter(book))
        book.acknowledge(AckAlarm(alarm.id, tuple(each.key for each in alarm.evidence)), "ana", 9)
        assert next(iter(book)).state is State.ACKNOWLEDGED

    say(1, "p", Level.ATTENTION, Reason.THRESHOLD)
    acknowledged()
    assert say(2, "p", Level.ATTENTION) is State.ACKNOWLEDGED
    assert say(3, "p", Level.DANGER) is State.UNACKNOWLEDGED, "worse"
    acknowledged()
    assert say(4, "q", Level.ATTENTION) is State.UNACKNOWLEDGED, "elsewhere"
