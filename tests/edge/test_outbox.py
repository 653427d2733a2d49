"""Timers of unacked events: each its own, the urgent first, bounded, and quiet while nobody listens."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from edge.report.ledger import Kept
from edge.report.outbox import HELD_MAX, INFLIGHT_MAX, PAGE_EVENTS, PROBES, Outbox

S = 1_000_000_000
LEDGER = b"ledger01"


def kept(seq: int, urgent: bool = False) -> Kept:
    return Kept(LEDGER, seq, urgent, b"event")


def outbox(*events: Kept, fresh: bool = True) -> Outbox:
    box = Outbox(Random(1).random)
    for event in events:
        box.add(event, 0, fresh=fresh)
    return box


def fly(box: Outbox, now_ns: int, took_ns: int = S // 10, heard: bool = True) -> list[int]:
    flights = box.take(now_ns, heard=heard)
    for flight in flights:
        box.landed(flight, now_ns + took_ns, took_ns)
    return [flight.kept.seq for flight in flights]


def test_urgent_and_newest_first_then_fresh_then_backlog():
    box = outbox(kept(1), kept(2, True), kept(3, True), kept(4))
    box.add(kept(0), 0, fresh=False)
    sent = [fly(box, n) for n in range(5)]
    assert [seq for some in sent for seq in some] == [3, 2, 1, 4, 0]


def test_each_is_sent_again_between_two_and_thirty_seconds():
    box = outbox(kept(1, True))
    now, gaps = 0, []
    for _ in range(20):
        assert fly(box, now) == [1]
        due = box.next_ns(now, heard=True)
        gaps.append((due - now) / S)
        now = due
    assert all(2.0 <= gap <= 30.2 for gap in gaps)
    assert max(gaps[:10]) <= 3.1, "in time where a third of all messages is lost"
    assert max(gaps) > 10, "it backs off"


def test_on_a_full_link_it_backs_off_at_once():
    box = outbox(*(kept(n, True) for n in range(1, 11)))
    flights = box.take(0, heard=True)
    assert len(flights) == 10
    for place, flight in enumerate(flights):  # what stands in a queue takes the longer the more is before it
        box.landed(flight, 0, (place + 1) * S)
    assert all(flight.due_ns >= 2 * S for flight in flights)
    assert max(flight.due_ns for flight in flights) > 3 * S


def test_a_few_events_are_sent_again_soon_however_long_their_way():
    box = outbox(kept(1), kept(2, True))
    now = 0
    for _ in range(8):
        for flight in box.take(now, heard=True):
            box.landed(flight, now + 5 * S, 5 * S)
        now += 8 * S
        assert all(flight.due_ns <= now for flight in box._flights.values())


def test_none_waits_behind_those_that_came_after_it():
    box = outbox(kept(1))
    now, sent = 0, []
    for n in range(2, 40):  # one more each second, on a way of five seconds
        sent += [flight.kept.seq for flight in box.take(now, heard=True)]
        now += S
        box.add(kept(n), now, fresh=True)
    assert sent.count(1) >= 3, "lost once, it goes again though others are waiting"
    assert sent.index(2) < 5


def test_on_a_long_way_a_copy_follows_before_the_puback_as_the_window_allows():
    box = outbox(kept(1, True))
    [flight] = box.take(0, heard=True)
    assert box.take(S, heard=True) == [], "not at once"
    assert [again.kept.seq for again in box.take(3 * S, heard=True)] == [1], "the link has emptied meanwhile"
    assert flight.in_air == 2
    box.add(kept(2, True), 3 * S, fresh=True)
    assert [new.kept.seq for new in box.take(3 * S, heard=True)] == [2], "a new alarm waits for nothing"
    assert box.take(4 * S, heard=True) == []
    box.landed(flight, 5 * S, 5 * S)
    assert flight.in_air == 1
    assert box.acked(LEDGER, [(1, 1)]) == 1


def test_a_link_that_is_slow_and_not_full_has_room_for_more():
    box = outbox(*(kept(n) for n in range(1, 200)))
    widths = [len(fly(box, n * S, took_ns=4 * S)) for n in range(12)]
    assert widths[-1] > 4


def test_a_publish_that_failed_is_due_at_once():
    box = outbox(kept(1))
    [flight] = box.take(0, heard=True)
    assert box.take(0, heard=True) == []
    box.landed(flight, S, None)
    assert fly(box, S) == [1]


def test_the_pace_of_what_is_not_urgent_follows_the_link():
    box = outbox(*(kept(n) for n in range(1, 200)))
    widths = [len(fly(box, n * S, took_ns=S // 100)) for n in range(12)]
    assert widths[0] == 1
    assert max(widths) <= INFLIGHT_MAX - 4
    assert widths[-1] > 4
    fly(box, 20 * S, took_ns=5 * S)
    assert len(box.take(30 * S, heard=True)) < 4


def test_an_alarm_always_finds_a_place_in_the_air():
    box = outbox(*(kept(n) for n in range(1, 200)))
    for n in range(30):
        fly(box, n, took_ns=1)
    assert len(box.take(10 * S, heard=True)) == INFLIGHT_MAX - 4
    box.add(kept(500, True), 10 * S, fresh=True)
    assert [flight.kept.seq for flight in box.take(10 * S, heard=True)] == [500]


def test_while_the_controller_is_silent_only_a_few_probe_and_new_ones_still_go():
    box = outbox(*(kept(n, True) for n in range(1, 50)))
    while fly(box, 0):
        pass
    assert sorted(fly(box, 100 * S, heard=False)) == [46, 47, 48, 49]
    assert len(fly(box, 200 * S, heard=False)) == PROBES
    box.add(kept(99, True), 200 * S, fresh=True)
    assert 99 in fly(box, 200 * S, heard=False)
    box.all_due(201 * S)
    assert len({seq for _ in range(20) for seq in fly(box, 201 * S)}) == 50, "heard again: all of it goes"


def test_after_a_cut_the_newest_alarm_goes_alone_and_the_others_as_the_link_bears():
    box = outbox(*(kept(n, True) for n in range(1, 9)))
    box.all_due(S)
    [newest] = box.take(S, heard=True)
    assert newest.kept.seq == 8
    assert box.take(S, heard=True) == [], "what follows at once would come out of a slow line together with it"
    assert box.unsaid
    box.add(kept(9, True), 2 * S, fresh=True)
    box.add(kept(10, True), 2 * S, fresh=True)
    new = box.take(2 * S, heard=True)
    assert [flight.kept.seq for flight in new] == [10, 9], "a new alarm waits for nothing"
    for flight in (newest, *new):
        box.landed(flight, 2 * S, S // 10)
    quick = [fly(box, 2 * S + n, took_ns=S // 10) for n in range(12)]
    assert [seq for some in quick for seq in some] == [7, 6, 5, 4, 3, 2, 1]


def test_what_was_never_sent_goes_before_what_is_sent_again():
    box = outbox(kept(1), kept(2))
    assert fly(box, 0) == [1]
    box.add(kept(3), 0, fresh=True)
    assert [seq for n in (1, 2, 3) for seq in fly(box, 4 * n * S, took_ns=S // 2)][:3] == [2, 3, 1]


def test_acks_take_them_out_by_ledger_and_range():
    box = outbox(*(kept(n) for n in range(1, 11)))
    assert box.acked(LEDGER, [(0, 100)]) == 0, "what was never handed over nobody can have"
    while len(box.handed(LEDGER)) < 10:
        fly(box, 0)
    assert box.acked(b"another1", [(0, 100)]) == 0
    assert box.acked(LEDGER, [(0, 3), (5, 6)]) == 5
    assert {seq for _, seq in box.keys} == {4, 7, 8, 9, 10}


def test_memory_is_bounded():
    box = Outbox(Random(1).random)
    taken = sum(box.add(kept(n), 0, fresh=True) for n in range(1, 5000))
    assert taken == len(box) == HELD_MAX
    assert Outbox(Random(1).random).hungry
    full = outbox(*(kept(n) for n in range(PAGE_EVENTS)), fresh=False)
    assert not full.hungry


def test_age_counts_from_when_an_event_of_now_came_and_the_backlog_has_none():
    box = outbox(kept(1), fresh=False)
    assert box.oldest_ns() is None
    box.add(kept(5), 7, fresh=True)
    box.add(kept(6, True), 9, fresh=True)
    assert box.oldest_ns() == 7


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 40)), max_size=60), st.randoms())
def test_nothing_is_ever_forgotten_but_by_an_ack(events, dice):
    box = Outbox(dice.random)
    owed = set()
    now = 0
    for urgent, acked, seq in events:
        now += S
        box.add(kept(seq, urgent), now, fresh=True)
        owed.add(seq)
        for flight in box.take(now, heard=dice.random() < 0.5):
            box.landed(flight, now, dice.choice([None, 1, S]))
        if acked:
            box.acked(LEDGER, [(seq, seq)])
            owed.discard(seq)
    assert {seq for _, seq in box.keys} >= owed  # an ack of what this life never handed over frees nothing
    for _ in range(60):
        now += 31 * S
        fly(box, now)
    assert all(flight.attempts for flight in box._flights.values())
