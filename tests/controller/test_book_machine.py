"""The whole alarm book against a plain model: any order of points, people, rules, permits, time and restarts."""

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from controller.alarm.book import PERMIT_MAX_US, SHELVE_MAX_US, Book, Unfit
from controller.alarm.changes import Reading
from controller.alarm.life import State
from controller.alarm.mutes import End, Mute
from cython_ext import Hazard, Level, Reason, Trouble
from lanes.acts import AckAlarm, ResetAlarm, ShelveAlarm, UnshelveAlarm
from lanes.identity import EventKey
from lanes.keys import Mode

Place = tuple[str, Hazard, Mode]
PLACES: tuple[Place, ...] = (
    ("quay", Hazard.FLOOD, Mode.LIVE),
    ("quay", Hazard.FIRE, Mode.LIVE),
    ("mill", Hazard.FLOOD, Mode.LIVE),
    ("quay", Hazard.FLOOD, Mode.EXERCISE),
)
places = st.sampled_from(PLACES)
HOUR_US = 3_600_000_000


@dataclass
class Plain:
    """An alarm in plain words."""

    parts: dict[str, Level] = field(default_factory=dict)
    events: list[EventKey] = field(default_factory=list)
    seen: set[EventKey] = field(default_factory=set)
    severity: Level = Level.NORMAL
    asks: bool = True  # somebody must look
    latches: bool = False
    mute: State | None = None
    covers: Level = Level.NORMAL
    until_us: int = 0

    @property
    def level(self) -> Level:
        return max(self.parts.values(), default=Level.NORMAL)

    @property
    def state(self) -> State:
        if self.mute:
            return self.mute
        if self.parts:
            return State.UNACKNOWLEDGED if self.asks else State.ACKNOWLEDGED
        if self.latches and self.events:
            return State.LATCHED_UNACKNOWLEDGED if self.asks else State.LATCHED_ACKNOWLEDGED
        return State.RETURNED if self.asks and self.events else State.NORMAL

    def unmute(self) -> None:
        """It ends where the condition is, and never acknowledged; without danger and latch it is over."""
        self.mute = None
        self.asks = bool(self.parts) or self.latches


class WholeBook(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.book = Book()
        self.plain: dict[Place, Plain] = {}
        self.now_us = 1
        self.seq = 0

    def key(self) -> EventKey:
        self.seq += 1
        self.now_us += 1
        return EventKey("n1", b"ledger01", self.seq)

    def settle(self, place: Place) -> None:
        alarm = self.plain.get(place)
        if alarm is not None and alarm.state is State.NORMAL:
            del self.plain[place]

    @rule(place=places, point=st.sampled_from("pqr"), level=st.sampled_from(Level))
    def say(self, place: Place, point: str, level: Level) -> None:
        key = self.key()
        said = Reading(key, point, 1.0, level, Reason.THRESHOLD, Trouble.NONE, self.now_us)
        moved = self.book.read(place[0], place[1], said, mode=place[2], live=True, now_us=self.now_us)
        alarm = self.plain.get(place)
        if level is Level.NORMAL:
            if alarm is None or point not in alarm.parts:
                assert moved is None
                return
            del alarm.parts[point]
        else:
            alarm = self.plain.setdefault(place, Plain(latches=place[1] is Hazard.FIRE))
            alarm.parts[point] = level
            alarm.events.append(key)
            alarm.asks = True
        if alarm.mute and alarm.level > alarm.covers:
            alarm.unmute()
            assert moved is not None
            assert moved.end is End.WORSE
        if alarm.state is State.ACKNOWLEDGED and alarm.parts:
            alarm.severity = alarm.level
        else:
            alarm.severity = max(alarm.severity, alarm.level)
        self.settle(place)

    @rule(place=places)
    def late_news(self, place: Place) -> None:
        key = self.key()
        said = Reading(key, "late", 1.0, Level.ATTENTION, Reason.THRESHOLD, Trouble.NONE, self.now_us)
        self.book.note(place[0], place[1], said, mode=place[2], now_us=self.now_us)
        alarm = self.plain.setdefault(place, Plain(latches=place[1] is Hazard.FIRE, severity=Level.ATTENTION))
        alarm.events.append(key)
        alarm.asks = True

    @rule(place=places, data=st.data())
    def acknowledge(self, place: Place, data: st.DataObject) -> None:
        alarm, held = self.plain.get(place), self.book.at(*place)
        if alarm is None or held is None:
            return
        if alarm.mute or not alarm.events:
            with pytest.raises(Unfit):
                self.book.acknowledge(AckAlarm(held.id, tuple(alarm.events[:1]) or (self.key(),)), "ana", self.now_us)
            return
        listed = data.draw(st.lists(st.sampled_from(alarm.events), min_size=1, unique=True))
        moved = self.book.acknowledge(AckAlarm(held.id, tuple(listed)), "ana", self.now_us)
        assert (moved.alarm.id.zone, moved.alarm.id.hazard, moved.alarm.mode) == place
        alarm.seen |= set(listed)
        if alarm.asks and alarm.seen >= set(alarm.events):
            alarm.asks = False
            alarm.severity = alarm.level or alarm.severity
        self.settle(place)

    @rule(place=places)
    def reset(self, place: Place) -> None:
        alarm, held = self.plain.get(place), self.book.at(*place)
        if alarm is None or held is None:
            return
        if alarm.state is State.LATCHED_ACKNOWLEDGED:
            self.book.reset(ResetAlarm(held.id), self.now_us)
            del self.plain[place]
        else:
            with pytest.raises(Unfit):
                self.book.reset(ResetAlarm(held.id), self.now_us)

    @rule(place=places)
    def order_sirens(self, place: Place) -> None:
        held = self.book.at(*place)
        if held is not None and held.level:
            self.book.latch(held, self.now_us)
            self.plain[place].latches = True

    # Mutes.

    @rule(place=places, hours=st.sampled_from([-1, 0, 1, 8, 9]), reason=st.sampled_from(["works", ""]))
    def shelve(self, place: Place, hours: int, reason: str) -> None:
        alarm, held = self.plain.get(place), self.book.at(*place)
        if alarm is None or held is None:
            return
        act = ShelveAlarm(held.id, self.now_us + hours * HOUR_US, reason)
        if alarm.mute or not reason or not 0 < hours <= SHELVE_MAX_US // HOUR_US:
            with pytest.raises(Unfit):
                self.book.shelve(act, ("ana", "ion"), self.now_us)
            return
        self.book.shelve(act, ("ana", "ion"), self.now_us)
        alarm.mute, alarm.covers, alarm.until_us = State.SHELVED, max(alarm.severity, alarm.level), act.until_us

    @rule(place=places)
    def unshelve(self, place: Place) -> None:
        alarm, held = self.plain.get(place), self.book.at(*place)
        if alarm is None or held is None:
            return
        if alarm.mute is not State.SHELVED:
            with pytest.raises(Unfit):
                self.book.unshelve(UnshelveAlarm(held.id), self.now_us, "ana")
            return
        self.book.unshelve(UnshelveAlarm(held.id), self.now_us, "ana")
        alarm.unmute()
        self.settle(place)

    @rule(
        place=places,
        days=st.sampled_from([-1, 1, 30, 31]),
        covers=st.sampled_from(list(Level)[1:]),
        permit=st.sampled_from(["W", ""]),
    )
    def remove(self, place: Place, days: int, covers: Level, permit: str) -> None:
        key = self.key()
        mute = Mute(("ana", "ion"), "works", self.now_us + days * 24 * HOUR_US, covers, self.now_us, permit=permit)
        alarm = self.plain.get(place)
        greater = alarm is not None and alarm.level > covers
        if not permit or not 0 < days <= PERMIT_MAX_US // (24 * HOUR_US) or greater:
            with pytest.raises(Unfit):
                self.book.remove(*place, mute, key)
            return
        moved = self.book.remove(*place, mute, key)
        assert moved.end is (End.RENEWED if alarm is not None and alarm.mute else End.NONE)
        if alarm is None:
            alarm = self.plain[place] = Plain(latches=place[1] is Hazard.FIRE)
        alarm.mute, alarm.covers, alarm.until_us = State.OUT_OF_SERVICE, covers, mute.until_us

    @rule(place=places)
    def give_back(self, place: Place) -> None:
        alarm, held = self.plain.get(place), self.book.at(*place)
        if alarm is None or held is None or alarm.mute is not State.OUT_OF_SERVICE:
            return
        self.book.release(held, End.PERSON, self.now_us, "ana")
        alarm.unmute()
        self.settle(place)

    @rule(place=places)
    def a_rule_of_the_plan(self, place: Place) -> None:
        alarm, held = self.plain.get(place), self.book.at(*place)
        if alarm is None or held is None or alarm.mute or alarm.latches or alarm.level is not Level.ATTENTION:
            return
        until_us = self.now_us + HOUR_US
        self.book.suppress(held, Mute((), "works", until_us, Level.ATTENTION, self.now_us, rule="r"))
        alarm.mute, alarm.covers, alarm.until_us = State.SUPPRESSED, Level.ATTENTION, until_us

    @rule(hours=st.sampled_from([0.5, 7, 24 * 30]))
    def time_passes(self, hours: float) -> None:
        self.now_us += round(hours * HOUR_US)
        over = {place for place, alarm in self.plain.items() if alarm.mute and alarm.until_us <= self.now_us}
        moved = self.book.expire(self.now_us)
        assert {(m.alarm.id.zone, m.alarm.id.hazard, m.alarm.mode) for m in moved} == over
        for place in over:
            self.plain[place].unmute()
            self.settle(place)

    @rule()
    def restart(self) -> None:
        packed, self.book = self.book.pack(), Book()
        self.book.restore(packed)

    @invariant()
    def the_book_says_what_the_model_says(self) -> None:
        assert {(a.id.zone, a.id.hazard, a.mode) for a in self.book} == set(self.plain)
        assert len(self.book) == len(self.plain)  # one alarm for each zone and hazard
        for place, alarm in self.plain.items():
            held = self.book.at(*place)
            assert held is not None
            assert (held.state, held.level, held.severity) == (alarm.state, alarm.level, alarm.severity)
            assert set(held.unseen) == set(alarm.events) - alarm.seen
            assert (held.mute is not None) == (alarm.mute is not None)


WholeBook.TestCase.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
TestWholeBook = WholeBook.TestCase
