"""Verification of orders: every reason to refuse one, and what is left to obey."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cython_ext import Cause, ClockQuality, ClockSource, Level
from edge.siren.activation import Activation
from edge.siren.moment import Moment
from edge.siren.orders import Accepted, Already, Verdict, judge, open_order
from edge.siren.orderstore import OrderStore
from edge.siren.refusals import Refused, Why
from edge.siren.standing import Standing
from lanes.envelope import Kind
from lanes.keys import Mode
from lanes.orders import TESTS, Action
from lanes.store import run_here
from tests.kit.clock import ManualClock
from tests.kit.hostile_orders import HOSTILE, NOW, high, valea_fire
from tests.kit.orders import ALL, BOOT, NODE, ROTATED, Maker, Say, siren_plan

S = 1_000_000
UNTRUSTED = ClockQuality(ClockSource.NONE, 0)


class Bench:
    """A node that judges and does nothing."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.make = Maker(self.clock)
        self.store = OrderStore(
            folder / "orders.db", anchor=folder / "anchor", clock=self.clock, runner=run_here, entropy=bytes
        )
        self.standing = Standing(siren_plan(), NODE, BOOT, self.store)

    def judge(self, data: bytes) -> list[Verdict]:
        opened = open_order(data, self.standing)
        if isinstance(opened, Refused):
            return [opened]
        return judge(opened, self.standing, Moment.of(self.clock))

    def one(self, data: bytes) -> Verdict:
        (verdict,) = self.judge(data)
        return verdict

    def take(self, data: bytes) -> Accepted:
        """Judge it, and remember it as the node would."""
        verdict = self.one(data)
        assert isinstance(verdict, Accepted), verdict
        self.store.accept([verdict], Moment.of(self.clock))
        return verdict


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.store.close()


def why(verdict: Verdict) -> Why:
    assert isinstance(verdict, Refused), verdict
    return verdict.why


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_not_right_is_refused_with_its_reason(bench: Bench, name: str) -> None:
    expected, make = HOSTILE[name]
    assert why(bench.one(make(bench.make))) is expected


def test_every_way_to_refuse_a_message_is_tried_here() -> None:
    """What the table leaves out is tried below, or needs a node at work (test_sirens)."""
    tried = {expected for expected, _ in HOSTILE.values()}
    elsewhere = {Why.VERSION, Why.SIGNATURE, Why.COUNTER, Why.EPOCH, Why.APPROVAL_USED, Why.APPROVAL_COUNT, Why.HELD}
    at_work = {Why.BUSY, Why.RATE, Why.STORE, Why.FLOOD, Why.UNSUPPORTED}
    assert tried | elsewhere | at_work == set(Why)


# What is right is obeyed.


def test_evidence_of_one_node_sounds_an_automatic_zone(bench: Bench) -> None:
    verdict = bench.take(bench.make.order())
    assert (verdict.siren.id, verdict.level, verdict.limit_s) == ("s1", Level.ALARM, 120.0)
    assert verdict.pattern is not None
    assert verdict.pattern.id == "dezastre"
    assert [event.node for event in verdict.events] == ["n2"]


def test_a_state_report_is_evidence(bench: Bench) -> None:
    bench.take(bench.make.order(evidence=(bench.make.state("n2", {"gauge2": Level.DANGER}),)))


def test_a_restated_level_is_evidence(bench: Bench) -> None:
    bench.take(bench.make.order(evidence=(bench.make.event(cause=Cause.RESTATED),)))


def test_two_nodes_carry_a_policy_that_asks_two(bench: Bench) -> None:
    make = bench.make
    evidence = (high(make, "n2", "gauge2"), high(make, "n3", "gauge3"))
    assert bench.take(make.order(pattern="danger", max_s=240, evidence=evidence)).level is Level.DANGER


def test_a_high_level_carries_a_lower_policy_too(bench: Bench) -> None:
    assert bench.take(bench.make.order(evidence=(high(bench.make, "n2", "gauge2"),))).level is Level.ALARM


def test_votes_speak_together(bench: Bench) -> None:
    make = bench.make
    bench.take(valea_fire(make, make.event("n2", "vote-a"), make.event("n3", "vote-b")))


def test_two_people_of_two_centres_sound_a_zone_by_hand(bench: Bench) -> None:
    verdict = bench.take(bench.make.by_people("ana", "ion"))
    assert {yes.signer.id for yes in verdict.people} == {"ana", "ion"}
    assert verdict.pattern is not None
    assert (verdict.pattern.id, verdict.limit_s) == ("dezastre-aer", 61.0)  # this siren's own timing of the signal


def test_passkeys_are_as_good_as_keys(bench: Bench) -> None:
    verdict = bench.take(bench.make.by_passkeys("ana", "ion"))
    assert {(yes.signer.id, yes.count) for yes in verdict.people} == {("ana", 1), ("ion", 1)}
    make = bench.make
    say = Say(siren="s2", zones=("valea",), issued_us=make.clock.wall_us(), incident=b"mixed...")
    digest = make.core(say).digest()
    bench.take(make.seal(replace(say, approvals=(make.approval(digest, "dan"), make.assertion(digest, "eva")))))


def test_a_person_with_a_key_and_a_passkey_is_one_person(bench: Bench) -> None:
    make = bench.make
    say = Say(siren="s2", zones=("valea",), issued_us=make.clock.wall_us())
    digest = make.core(say).digest()
    both = make.seal(replace(say, approvals=(make.approval(digest, "ion"), make.assertion(digest, "ion"))))
    assert why(bench.one(both)) is Why.APPROVALS


def test_across_the_border_one_of_each_centre(bench: Bench) -> None:
    """The zone's policy asks for two centres; the node counts them itself, whoever the controller lets through."""
    make = bench.make
    assert why(bench.one(make.by_people("ana", "dan"))) is Why.CENTRES
    assert why(bench.one(make.by_passkeys("ion", "eva"))) is Why.CENTRES
    bench.take(make.by_people("ana", "dan", "ion"))


def test_a_passkey_that_counts_back_is_a_copy(bench: Bench) -> None:
    make = bench.make

    def order(incident: bytes, count: int) -> bytes:
        say = Say(siren="s2", zones=("valea",), issued_us=make.clock.wall_us(), incident=incident)
        digest = make.core(say).digest()
        return make.seal(
            replace(say, approvals=(make.approval(digest, "ion"), make.assertion(digest, "ana", count=count)))
        )

    bench.take(order(b"first...", 7))
    assert why(bench.one(order(b"second..", 7))) is Why.APPROVAL_COUNT
    assert why(bench.one(order(b"third...", 6))) is Why.APPROVAL_COUNT
    assert why(bench.one(order(b"fourth..", 0))) is Why.APPROVAL_COUNT, "it has counted, so it must count"
    bench.take(order(b"fifth...", 8))


def test_one_assertion_serves_both_sirens_of_a_node(bench: Bench) -> None:
    make = bench.make
    say = Say(siren="s2", zones=("valea", "ungheni"), issued_us=make.clock.wall_us(), incident=b"both....")
    digest = make.core(say).digest()
    approvals = (make.assertion(digest, "ana"), make.assertion(digest, "ion"))
    bench.take(make.seal(replace(say, approvals=approvals)))
    bench.take(make.seal(replace(say, siren="s1", approvals=approvals)))
    assert why(bench.one(make.seal(replace(say, approvals=approvals)))) is Why.APPROVAL_USED


def test_an_authenticator_that_does_not_count_is_believed(bench: Bench) -> None:
    for incident in (b"first...", b"second.."):
        say = Say(siren="s2", zones=("valea",), issued_us=bench.make.clock.wall_us(), incident=incident)
        digest = bench.make.core(say).digest()
        approvals = tuple(bench.make.assertion(digest, p, count=0) for p in ("ana", "ion"))
        bench.take(bench.make.seal(replace(say, approvals=approvals)))


def test_people_may_sound_what_no_policy_names(bench: Bench) -> None:
    """An all-clear; the zone's strictest policy says how many people."""
    make = bench.make
    bench.take(make.by_people("ana", "dan", siren="s1", zones=("ungheni",), pattern="incetare"))
    both = {"siren": "s1", "zones": ("ungheni", "valea"), "pattern": "incetare"}
    assert why(bench.one(make.by_people("ana", "dan", **both))) is Why.CENTRES
    bench.take(make.by_people("ana", "ion", **both))


@pytest.mark.parametrize("mode", [Mode.EXERCISE, Mode.TEST])
def test_an_exercise_has_its_own_keys_throughout(bench: Bench, mode: Mode) -> None:
    make = bench.make
    bench.take(make.order(mode=mode, evidence=(make.event(mode=mode),)))
    bench.take(make.by_people("ana", "ion", mode=mode))
    assert why(bench.one(make.order(mode=mode, evidence=(make.event(),)))) is Why.EVIDENCE_MODE


def test_an_order_for_all_sirens_is_judged_for_each(bench: Bench) -> None:
    verdicts = bench.judge(bench.make.order(siren="", zones=("ungheni", "valea")))
    assert isinstance(verdicts[0], Accepted)
    assert why(verdicts[1]) is Why.POLICY


def test_one_bad_approval_among_enough_does_no_harm(bench: Bench) -> None:
    make = bench.make
    say = Say(siren="s2", zones=("valea",), issued_us=make.clock.wall_us())
    digest = make.core(say).digest()
    approvals = (make.approval(digest, "ana", Mode.TEST), make.approval(digest, "ana"), make.approval(digest, "ion"))
    bench.take(make.seal(replace(say, approvals=approvals)))


def test_evidence_stands_in_for_bad_approvals(bench: Bench) -> None:
    make = bench.make
    bench.take(make.order(evidence=(make.event(),), approvals=(make.approval(bytes(32), "ana"),)))


@pytest.mark.parametrize("action", [Action.ARM, Action.SILENT_TEST, Action.GROWL_TEST, Action.STATUS])
def test_checks_need_the_controller_only(bench: Bench, action: Action) -> None:
    bench.take(bench.make.seal(Say(action, pattern="", max_s=0, mode=Mode.TEST)))
    assert why(bench.one(bench.make.seal(Say(action, issuer="ana")))) is Why.ROLE


@pytest.mark.parametrize("mode", [Mode.LIVE, Mode.EXERCISE])
@pytest.mark.parametrize("action", sorted(TESTS))
def test_a_test_is_signed_with_a_test_key(bench: Bench, action: Action, mode: Mode) -> None:
    assert why(bench.one(bench.make.seal(Say(action, pattern="", max_s=0, mode=mode)))) is Why.MODE


# Once only.


def test_a_counter_counts_once(bench: Bench) -> None:
    order = bench.make.order()
    bench.take(order)
    assert why(bench.one(order)) is Why.COUNTER
    assert why(bench.one(bench.make.order(counter=1))) is Why.COUNTER


def test_starts_stops_and_checks_count_apart_and_so_do_sirens(bench: Bench) -> None:
    make = bench.make
    bench.take(make.order(counter=5000))
    bench.take(make.stop(counter=10))
    bench.take(make.seal(Say(Action.ARM, counter=11)))
    bench.take(make.by_people("ana", "ion", counter=12, order_epoch=0))


def test_an_approval_sounds_a_siren_once(bench: Bench) -> None:
    make = bench.make
    say = Say(siren="s2", zones=("valea",), issued_us=make.clock.wall_us())
    digest = make.core(say).digest()
    approvals = (make.approval(digest, "ana"), make.approval(digest, "ion"))
    bench.take(make.seal(replace(say, approvals=approvals)))
    again = make.seal(replace(say, approvals=approvals))
    assert why(bench.one(again)) is Why.APPROVAL_USED
    more = (make.approval(digest, "ana"), make.approval(digest, "ion"))
    assert why(bench.one(make.seal(replace(say, approvals=more)))) is Why.APPROVAL_USED, (
        "signed again, but of the same core"
    )


def test_a_lease_never_goes_back(bench: Bench) -> None:
    bench.take(bench.make.order(epoch=3))
    assert why(bench.one(bench.make.order(epoch=2))) is Why.EPOCH
    bench.take(bench.make.order(epoch=3, incident=b"another."))


# Stops.


def test_with_new_keys_a_controller_counts_anew_whatever_a_thief_did_with_the_old(bench: Bench) -> None:
    most = (1 << 63) - 1
    for action in (Action.STATUS, Action.STOP):
        bench.take(bench.make.seal(Say(action, pattern="", max_s=0, incident=ALL, counter=most, epoch=most)))
    bench.take(bench.make.order(counter=most, epoch=most))
    assert why(bench.one(bench.make.order(incident=b"another."))) is Why.EPOCH
    make, old = Maker(bench.clock, siren_plan(rotated=True)), bench.make
    bench.standing = Standing(make.plan, NODE, BOOT, bench.store)
    assert why(bench.one(old.order(plan=make.plan.digest))) is Why.UNKNOWN_KEY
    assert why(bench.one(make.order(signer=ROTATED, nonce=bytes(8)))) is Why.NONCE, "a new key is in doubt at first"
    event = make.event("n3", "gauge3", seq=77)
    bench.take(make.order(signer=ROTATED, evidence=(event,), incident=b"real....", epoch=1))
    bench.take(make.stop(signer=ROTATED))
    for mode in (Mode.LIVE, Mode.EXERCISE):  # one lease holds for all of its keys
        again = make.order(signer=ROTATED, mode=mode, evidence=(make.event(mode=mode),), incident=b"again...")
        assert why(bench.one(again)) is Why.EPOCH


def test_a_stop_needs_no_time_no_plan_and_no_lease(bench: Bench) -> None:
    bench.take(bench.make.order(epoch=3))
    bench.take(bench.make.stop())
    bench.take(bench.make.stop(issued_us=1, plan=bytes(32), epoch=0, nonce=bytes(8)))


def test_a_person_may_stop_their_zones(bench: Bench) -> None:
    bench.take(bench.make.stop(issuer="ana"))
    assert why(bench.one(bench.make.stop(issuer="eva"))) is Why.ZONE
    assert why(bench.one(bench.make.stop(issuer="n2"))) is Why.ROLE


def test_a_recorded_stop_is_refused(bench: Bench) -> None:
    stop = bench.make.stop()
    bench.take(stop)
    assert why(bench.one(stop)) is Why.COUNTER


def test_a_start_must_know_of_the_last_stop(bench: Bench) -> None:
    make = bench.make
    bench.take(make.stop())
    bench.store.stop(["s1"], ALL, Mode.LIVE, Moment.of(bench.clock), 600)
    assert why(bench.one(make.order())) is Why.ORDER_EPOCH
    assert isinstance(bench.one(make.order(order_epoch=1)), Accepted)
    assert isinstance(bench.one(make.by_people("ana", "ion", order_epoch=0)), Accepted), "s2 was not stopped"


# Doubt.


def test_without_a_trusted_clock_the_nonce_stands_for_time(bench: Bench) -> None:
    make = bench.make
    bench.take(make.order())
    bench.take(make.order(nonce=bytes(8), incident=b"no doubt"))
    bench.clock.trust(UNTRUSTED)
    assert why(bench.one(make.order(nonce=bytes(8)))) is Why.NONCE
    year = 365 * 86400 * S
    evidence = (make.event(issued_us=NOW + year),)
    bench.take(make.order(issued_us=NOW + year, evidence=evidence, incident=b"clock is"))
    old = (make.event(issued_us=NOW + year - 301 * S),)
    assert why(bench.one(make.order(issued_us=NOW + year, evidence=old))) is Why.EVIDENCE_OLD


def test_in_doubt_what_has_surely_passed_still_counts(bench: Bench) -> None:
    make = bench.make
    bench.take(make.order())
    bench.clock.trust(UNTRUSTED)
    before = NOW - 61 * S
    order = make.order(issued_us=before, evidence=(make.event(issued_us=before),))
    assert why(bench.one(order)) is Why.EXPIRED
    bench.store.heard(NOW + 3600 * S, bench.clock.monotonic_ns())
    assert why(bench.one(make.order())) is Why.EXPIRED


def test_in_doubt_approvals_quote_the_nonce_too(bench: Bench) -> None:
    bench.take(bench.make.by_people("ana", "ion"))
    bench.take(_no_nonce(bench.make, b"trusted."))
    bench.clock.trust(UNTRUSTED)
    assert why(bench.one(_no_nonce(bench.make, b"in doubt"))) is Why.APPROVAL_NONCE


def _no_nonce(make: Maker, incident: bytes) -> bytes:
    say = Say(siren="s2", zones=("valea",), issued_us=make.clock.wall_us(), incident=incident)
    digest = make.core(say).digest()
    return make.seal(replace(say, approvals=tuple(make.approval(digest, p, nonces=()) for p in ("ana", "ion"))))


def test_own_events_are_dated_by_the_monotonic_clock(bench: Bench) -> None:
    make = bench.make
    bench.clock.trust(UNTRUSTED)
    bench.clock.advance(400)
    now_ns = bench.clock.monotonic_ns()
    fresh = make.event("n1", "gauge", boot=BOOT, issued_us=5, monotonic_ns=now_ns - 299 * 10**9)
    bench.take(make.order(evidence=(fresh,)))
    old = make.event("n1", "gauge", boot=BOOT, monotonic_ns=now_ns - 301 * 10**9)
    assert why(bench.one(make.order(evidence=(old,)))) is Why.EVIDENCE_OLD
    ahead = make.event("n1", "gauge", boot=BOOT, monotonic_ns=now_ns + 1)
    assert why(bench.one(make.order(evidence=(ahead,)))) is Why.EVIDENCE_OLD


def test_a_forgetful_store_asks_for_the_nonce_once_for_each_line(bench: Bench) -> None:
    make = bench.make
    assert why(bench.one(make.stop(nonce=bytes(8)))) is Why.NONCE
    bench.take(make.stop())
    bench.take(make.stop(nonce=bytes(8)))
    bench.store.doubt("restored")
    assert why(bench.one(make.stop(nonce=bytes(8)))) is Why.NONCE


# Any field, any value.

_bytes8 = st.binary(min_size=8, max_size=8)
_changes = st.fixed_dictionaries(
    {},
    optional={
        "action": st.sampled_from(Action),
        "siren": st.sampled_from(["", "s1", "s2", "s3", "x"]),
        "zones": st.lists(st.sampled_from(["ungheni", "valea", "nowhere"]), max_size=3).map(tuple),
        "pattern": st.sampled_from(["", "dezastre", "dezastre-aer", "danger", "fire", "incetare", "x"]),
        "mode": st.sampled_from(Mode),
        "signed_mode": st.sampled_from(Mode),
        "max_s": st.integers(0, 901),
        "plan": st.binary(min_size=32, max_size=32),
        "order_epoch": st.integers(0, 3),
        "nonce": _bytes8 | st.just(BOOT),
        "issuer": st.sampled_from(["iasi", "chisinau", "ana", "n2"]),
        "signer": st.sampled_from(["iasi", "mallory", "ana"]),
        "addressee": st.sampled_from(["n1", "n2", ""]),
        "epoch": st.integers(0, 2),
        "counter": st.integers(1, 2000),
        "issued_us": st.integers(NOW - 100 * S, NOW + 100 * S),
        "life_us": st.integers(0, 70 * S),
        "core_not_after_us": st.integers(NOW, NOW + 70 * S),
        "kind": st.just(Kind.ACT),
    },
)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A node that has obeyed nothing; judging changes nothing, so that all examples may share it."""
    bench = Bench(tmp_path_factory.mktemp("fresh"))
    yield bench
    bench.store.close()


@settings(max_examples=400, deadline=None)
@given(_changes)
def test_only_a_whole_order_sounds(fresh: Bench, changes: dict[str, object]) -> None:
    """Whatever an order says, a start is accepted only if an independent reading of design §2.4 allows it."""
    say = replace(Say(), **changes)  # type: ignore[arg-type]
    say = replace(say, evidence=(fresh.make.event(),))
    accepted = [v for v in fresh.judge(fresh.make.seal(say)) if isinstance(v, Accepted) and v.pattern]
    issued = say.issued_us or NOW
    lawful = (
        say.kind is Kind.ORDER
        and say.action is Action.START
        and (say.issuer, say.signer or say.issuer, say.addressee) == ("iasi", "iasi", "n1")
        and (say.signed_mode or say.mode) is say.mode is Mode.LIVE
        and say.siren in ("", "s1")
        and "ungheni" in say.zones
        and (not say.plan or say.plan == siren_plan().digest)
        and say.pattern == "dezastre"
        and 1 <= say.max_s <= 121
        and say.order_epoch == 0
        and say.nonce in (b"", BOOT)
        and 0 < say.life_us <= 60 * S
        and NOW <= issued + say.life_us <= NOW + 65 * S
        and (not say.core_not_after_us or issued + say.life_us <= say.core_not_after_us)
    )
    assert [v.siren.id for v in accepted] == (["s1"] if lawful else [])


def test_already_is_answered_for_an_incident_that_has_sounded(bench: Bench) -> None:
    make = bench.make
    first = bench.take(make.order())
    assert first.pattern is not None
    activation = Activation(
        "s1", bytes(8), b"incident", Mode.LIVE, Level.ALARM, first.pattern, 120.0, 0, events=first.events
    )
    bench.store.finish(activation, sounded=True)
    assert bench.one(make.order()) == Already("s1", "incident")
    spent = make.event(seq=first.events[0].seq)
    assert bench.one(make.order(incident=b"merged..", evidence=(spent,))) == Already("s1", "evidence")
    fresh = make.event("n3", "gauge3")
    assert isinstance(bench.one(make.order(incident=b"merged..", evidence=(spent, fresh))), Accepted)
    assert isinstance(bench.one(make.by_people("ana", "ion", siren="s1", zones=("ungheni",))), Accepted)
    both = (high(make, "n2", "gauge2"), high(make, "n3", "gauge3"))
    assert isinstance(bench.one(make.order(pattern="danger", max_s=240, evidence=both)), Accepted)


def test_zeros_name_no_incident_of_a_start(bench: Bench) -> None:
    """All incidents is what a stop may say; a start has one of its own."""
    assert why(bench.one(bench.make.order(incident=ALL))) is Why.MALFORMED
