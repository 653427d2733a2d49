"""What stands of other centres' warnings: replaced, cancelled, void, expired; the same in whatever order the messages come."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from controller.inbound import warnings
from controller.inbound.reading import Claim, Told
from controller.inbound.warnings import Verdict, Warnings
from cython_ext import Hazard, Level
from lanes import cbor
from lanes.keys import Mode
from tests.kit.clock import START_WALL_US

HOUR_US = 3_600_000_000
PLACE = ("quay", Hazard.FLOOD, Mode.LIVE)


def told(
    n: int,
    kind: str = "Alert",
    level: Level = Level.DANGER,
    ends: tuple[int, ...] = (),
    sender: str = "a",
    **more: object,
) -> Told:
    claims = (Claim("quay", Hazard.FLOOD, level),) if level else ()
    sent_us = START_WALL_US + n * 1_000_000
    references = tuple(("a", f"m{each}", START_WALL_US + each * 1_000_000) for each in ends)
    facts = {"source": "iasi", "mode": Mode.LIVE, "expires_us": START_WALL_US + HOUR_US, "claims": claims, **more}
    return Told(sender=sender, identifier=f"m{n}", sent_us=sent_us, type=kind, references=references, **facts)  # type: ignore[arg-type]


def put(state: Warnings, *messages: Told) -> list[Verdict]:
    verdicts = []
    for seq, each in enumerate(messages):
        verdicts.append(state.judge(each))
        state.put(each, seq)
    return verdicts


def level(state: Warnings) -> Level:
    return max((warnings.level_at(each.told, PLACE) for each in state.at(PLACE).values()), default=Level.NORMAL)


def test_a_chain_of_messages() -> None:
    state = Warnings()
    assert put(state, told(1, level=Level.ALARM)) == [Verdict.RAISED]
    assert level(state) is Level.ALARM
    assert put(state, told(2, "Update", ends=(1,))) == [Verdict.UPDATED]
    assert level(state) is Level.DANGER
    assert len(state) == 1
    assert put(state, told(3, "Cancel", Level.NORMAL, ends=(1, 2))) == [Verdict.CANCELLED]
    assert level(state) is Level.NORMAL
    assert state.known(told(2).triple)


def test_a_message_that_comes_after_what_ended_it_is_void() -> None:
    for later in (told(2, "Update", ends=(1,)), told(2, "Cancel", Level.NORMAL, ends=(1,))):
        state = Warnings()
        put(state, later)
        assert put(state, told(1)) == [Verdict.VOID]
        assert level(state) is (Level.DANGER if later.type == "Update" else Level.NORMAL)


def test_nobody_ends_the_warning_of_another_sender() -> None:
    state = Warnings()
    assert put(state, told(1), told(2, "Cancel", Level.NORMAL, ends=(1,), sender="b")) == [
        Verdict.RAISED,
        Verdict.NOTHING,
    ]
    assert level(state) is Level.DANGER


def test_references_to_nothing_are_seen() -> None:
    state = Warnings()
    assert state.loose(told(2, "Update", ends=(1,))) == (told(1).triple,)
    put(state, told(1))
    assert state.loose(told(3, "Update", ends=(1, 2))) == ()
    assert put(state, told(9, "Cancel", Level.NORMAL, ends=(8,))) == [Verdict.NOTHING]
    assert put(state, told(7, "Update", ends=(6,))) == [Verdict.RAISED], "a warning is a warning, whatever it refers to"


def test_what_expires_ends() -> None:
    state = Warnings()
    put(state, told(1))
    assert state.expire(START_WALL_US + HOUR_US - 1) == frozenset()
    assert state.expire(START_WALL_US + HOUR_US) == {PLACE}
    assert level(state) is Level.NORMAL


def test_acks_errors_and_other_modes_change_nothing() -> None:
    state = Warnings()
    put(state, told(1))
    assert put(state, told(2, "Ack", ends=(1,)), told(3, "Error", ends=(1,))) == [Verdict.NOTHING] * 2
    put(state, told(4, level=Level.DANGER, mode=Mode.TEST))
    assert level(state) is Level.DANGER
    assert len(state.at(("quay", Hazard.FLOOD, Mode.TEST))) == 1


def test_only_sources_that_may_ask_ask() -> None:
    state = Warnings()
    put(state, told(1))
    assert state.asking(PLACE) is Level.NORMAL
    put(state, told(2, level=Level.ALARM, by_hand=True))
    assert state.asking(PLACE) is Level.ALARM


def test_memory_is_bounded(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(warnings, "KNOWN_MAX", 10)
    monkeypatch.setattr(warnings, "STANDING_MAX", 3)
    state = Warnings()
    for n in range(50):
        assert state.full(told(n)) is (len(state) >= 3)
        if not state.full(told(n)):
            put(state, told(n))
        put(state, told(n + 100, level=Level.NORMAL))
    assert (len(state), len(state._known)) == (3, 10)


CHAINS = st.lists(
    st.tuples(
        st.sampled_from(["Alert", "Update", "Cancel"]),
        st.sampled_from(list(Level)),
        st.sets(st.integers(0, 7), max_size=4),
    ),
    max_size=8,
)


@given(CHAINS, st.randoms(use_true_random=False))
def test_the_order_in_which_messages_travel_does_not_matter(
    chain: list[tuple[str, Level, set[int]]], random: Random
) -> None:
    """Each message names earlier ones only, as senders do."""
    messages = [
        told(n, kind, level, ends=tuple(sorted(each for each in ends if each < n)) if kind != "Alert" else ())
        for n, (kind, level, ends) in enumerate(chain)
    ]
    one, two = Warnings(), Warnings()
    put(one, *messages)
    shuffled = list(messages)
    random.shuffle(shuffled)
    put(two, *shuffled)
    assert {each.told.triple for each in one} == {each.told.triple for each in two}
    again = Warnings()
    again.restore(cbor.decode_document(cbor.encode_document(two.pack())))
    assert again.pack() == two.pack()
    assert level(again) is level(one)
