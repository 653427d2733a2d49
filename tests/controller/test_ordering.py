"""Orders: resent until answered or over, renewed when they misquote, their end noted; proofs decide pass and fail."""

from pathlib import Path

import pytest

from controller.activation import Activation, Errand, Result
from controller.notices import NoticeKind, SirenNotice
from controller.ordering import FAILED, FOREIGN, REFUSED, SECURITY
from cython_ext import Level
from lanes.acts import StopSiren
from lanes.orders import Order, reference_of
from lanes.reports import ReceiptData, SirenState, SirenTrouble, Stage
from tests.kit.control_room import ControlRoom, FakeNode
from tests.kit.plans import PLAN, signed, with_keys


@pytest.fixture
def control(tmp_path: Path) -> ControlRoom:
    return ControlRoom(tmp_path / "journal.db")


def ordered(control: ControlRoom) -> tuple[FakeNode, Order, bytes]:
    node = control.node("n1")
    control.hear(node, node.state(sirens=(SirenState(0, Stage.DONE, 4, 0),)))
    control.hear(node, node.level("gauge", Level.NORMAL, Level.ALARM))
    [(order, data)] = control.starts()
    return node, order, data


def errand_of(control: ControlRoom) -> tuple[Activation, Errand]:
    activation = next(a for a in control.room.fold.activations if a.by == "policy")
    return activation, activation.errands["s1"]


def result(control: ControlRoom) -> tuple[Result, str]:
    _, errand = errand_of(control)
    return errand.result, errand.why


def notices(control: ControlRoom) -> list[SirenNotice]:
    return [each for each in control.room.untold.values() if isinstance(each, SirenNotice)]


def test_an_order_quotes_the_order_epoch_that_the_node_last_said(control: ControlRoom) -> None:
    _, order, _ = ordered(control)
    assert order.order_epoch == 4


def test_a_start_is_resent_until_its_not_after_and_then_failed(control: ControlRoom) -> None:
    _, _, data = ordered(control)
    control.wait(59)
    sent = control.orders()
    assert 3 <= len(sent) <= 8
    assert {each for _, each in sent} == {data}
    assert result(control) == (Result.PENDING, "")
    control.wait(2)
    assert result(control) == (Result.FAIL, "no-answer")
    assert (FAILED, "s1") in control.codes()
    control.wait(60)
    assert control.orders() == []


def test_a_node_that_comes_back_is_ordered_anew_while_the_danger_lasts(control: ControlRoom) -> None:
    node, first, _ = ordered(control)
    control.wait(62)
    control.orders()
    control.hear(node, node.state(("gauge", Level.ALARM, 1), sirens=(SirenState(0, Stage.DONE, 5, 0),)))
    [(again, _)] = control.starts()
    assert again.core.incident == first.core.incident
    assert again.core.not_after_us > first.core.not_after_us
    assert result(control) == (Result.PENDING, "")


def test_a_stop_is_resent_until_it_is_answered(control: ControlRoom) -> None:
    node, _, _ = ordered(control)
    control.act(StopSiren())
    [(_, data)] = control.orders()
    control.wait(600)
    sent = control.orders()
    assert len(sent) > 15
    assert {each for _, each in sent} == {data}
    control.hear(node, node.receipt(data, Stage.STOPPED))
    control.wait(60)
    assert control.orders() == []


def test_accepted_sounding_done_is_a_pass(control: ControlRoom) -> None:
    node, _, data = ordered(control)
    for stage, expected in ((Stage.ACCEPTED, Result.PENDING), (Stage.SOUNDING, Result.PASS), (Stage.DONE, Result.PASS)):
        control.hear(node, node.receipt(data, stage))
        assert result(control)[0] is expected
    assert control.room.fold.registry.sirens["s1"].stage is Stage.DONE
    assert control.codes() == set()


def test_a_repeat_that_the_node_refuses_is_no_failure(control: ControlRoom) -> None:
    node, _, data = ordered(control)
    control.hear(node, node.receipt(data, Stage.REFUSED, "counter"))
    assert result(control) == (Result.PENDING, "")
    assert control.codes() == set()
    control.hear(node, node.receipt(data, Stage.ACCEPTED))
    control.hear(node, node.receipt(data, Stage.SOUNDING))
    control.hear(node, node.receipt(data, Stage.REFUSED, "counter"))
    assert result(control) == (Result.PASS, "")


def test_already_is_a_pass(control: ControlRoom) -> None:
    node, _, data = ordered(control)
    control.hear(node, node.receipt(data, Stage.ALREADY, "reflex"))
    assert result(control) == (Result.PASS, "reflex")


def test_a_refusal_is_a_failure_that_people_see(control: ControlRoom) -> None:
    node, _, data = ordered(control)
    control.hear(node, node.receipt(data, Stage.REFUSED, "evidence-old"))
    assert result(control) == (Result.FAIL, "evidence-old")
    assert (FAILED, "s1") in control.codes()


def test_an_order_that_misquotes_is_renewed_with_what_the_node_says_three_times_at_most(control: ControlRoom) -> None:
    node, first, data = ordered(control)
    for epoch in (7, 8, 9):
        control.hear(node, node.receipt(data, Stage.REFUSED, "order-epoch", epoch=epoch))
        [(order, data)] = control.starts()
        assert order.order_epoch == epoch
        assert order.core == first.core
    control.hear(node, node.receipt(data, Stage.REFUSED, "order-epoch", epoch=10))
    assert control.starts() == []
    assert result(control) == (Result.FAIL, "order-epoch")


def test_accepted_and_then_silent_is_a_failure(control: ControlRoom) -> None:
    node, _, data = ordered(control)
    control.hear(node, node.receipt(data, Stage.ACCEPTED))
    control.wait(29)
    assert result(control)[0] is Result.PENDING
    control.wait(3)
    assert result(control) == (Result.FAIL, "silent")
    control.hear(node, node.receipt(data, Stage.SOUNDING))  # late, but it sounds
    assert result(control)[0] is Result.PASS
    assert (FAILED, "s1") not in control.codes()


def test_where_proof_is_asked_only_what_is_measured_counts(tmp_path: Path) -> None:
    text = with_keys(PLAN.replace('id = "s1"\nnode = "n1"', 'id = "s1"\nnode = "n1"\nproof = true'))
    for measured, expected in ((False, (Result.FAIL, "unproved")), (True, (Result.PASS, ""))):
        control = ControlRoom(tmp_path / f"{measured}.db", signed(text))
        node, _, data = ordered(control)
        control.hear(node, node.receipt(data, Stage.ACCEPTED))
        control.hear(node, node.receipt(data, Stage.SOUNDING, measured=measured))
        control.hear(node, node.receipt(data, Stage.DONE, measured=measured))
        assert result(control) == expected


def test_a_receipt_counts_only_from_the_sirens_own_node(control: ControlRoom) -> None:
    _, _, data = ordered(control)
    other = control.node("n2")
    control.hear(other, other.state())
    control.hear(other, other.receipt(data, Stage.SOUNDING))
    control.hear(other, other.event(ReceiptData("", reference_of(data), Stage.SOUNDING, "", bytes(8), 0)))
    assert result(control) == (Result.PENDING, "")


def test_a_siren_that_sounds_unordered_is_a_security_trouble(control: ControlRoom) -> None:
    node, _, _ = ordered(control)
    control.hear(node, node.event(ReceiptData("s1", bytes(8), Stage.UNORDERED, "", bytes(8), 0)))
    control.hear(node, node.event(ReceiptData("s1", bytes(8), Stage.UNORDERED, "stuck", bytes(8), 0)))
    assert (SECURITY, "s1") in control.codes()
    control.hear(node, node.event(ReceiptData("s1", bytes(8), Stage.DONE, "", bytes(8), 0)))
    assert (SECURITY, "s1") not in control.codes()
    control.hear(node, node.event(ReceiptData("s1", bytes(8), Stage.DONE, "", bytes(8), 0)))
    assert [(each.kind, each.siren, each.zones) for each in notices(control)] == [
        (NoticeKind.UNORDERED, "s1", ("ungheni",)),
        (NoticeKind.QUIET, "s1", ("ungheni",)),
    ], "dispatch hears of it, once"


def test_silence_that_only_a_state_tells_of_ends_the_security_trouble(control: ControlRoom) -> None:
    """A person has stopped it: its node tells of the stop, and of no DONE."""
    node, _, _ = ordered(control)
    control.hear(node, node.event(ReceiptData("s1", bytes(8), Stage.UNORDERED, "", bytes(8), 0)))
    control.hear(node, node.state(sirens=(SirenState(0, Stage.UNORDERED, 4, 0, int(SirenTrouble.UNORDERED)),)))
    assert (SECURITY, "s1") in control.codes()
    control.hear(node, node.event(ReceiptData("s1", bytes(8), Stage.STOPPED, "not-sounding", bytes(8), 0)))
    control.hear(node, node.state(sirens=(SirenState(0, Stage.STOPPED, 4, 600, 0),)))
    assert (SECURITY, "s1") not in control.codes()
    assert [each.kind for each in notices(control)] == [NoticeKind.UNORDERED, NoticeKind.QUIET]


def test_a_refusal_of_what_we_never_ordered_is_shown(control: ControlRoom) -> None:
    node, _, data = ordered(control)
    control.hear(node, node.receipt(data, Stage.SOUNDING))
    for reason in ("counter", "signature", "counter"):
        control.hear(node, node.event(ReceiptData("s1", b"stranger", Stage.REFUSED, reason, bytes(8), 0)))
    assert (REFUSED, "n1") in control.codes()
    shown = [(each["node"], each["siren"], each["reason"], each["count"]) for each in control.ordering.strays.shown()]
    assert shown == [("n1", "s1", "counter", 2), ("n1", "s1", "signature", 1)]
    assert control.room.fold.registry.sirens["s1"].stage is Stage.SOUNDING, "what it does is not what it refuses"
    assert notices(control) == []
    control.wait(25 * 3600)
    assert (REFUSED, "n1") not in control.codes()


def test_a_refusal_of_our_own_order_is_its_answer_and_no_more(control: ControlRoom) -> None:
    node, _, data = ordered(control)
    control.hear(node, node.receipt(data, Stage.REFUSED, "order-epoch"))
    control.hear(node, node.receipt(data, Stage.REFUSED, "counter"))  # of the order that was renewed
    assert not {REFUSED, FOREIGN} & {code for code, _ in control.codes()}
    assert control.ordering.strays.shown() == []


@pytest.mark.parametrize("reason", ["evidence", "people", "calendar"])
def test_an_order_that_was_obeyed_and_is_not_ours_is_a_security_alarm(control: ControlRoom, reason: str) -> None:
    node, _, _ = ordered(control)
    for stage, why in ((Stage.ACCEPTED, reason), (Stage.ARMED, ""), (Stage.SOUNDING, "measured")):
        control.hear(node, node.event(ReceiptData("s1", b"stranger", stage, why, b"incident", 0)))
    assert (FOREIGN, "s1") in control.codes()
    assert [(each.kind, each.siren, each.reason, each.incident) for each in notices(control)] == [
        (NoticeKind.UNORDERED, "s1", FOREIGN, b"incident")
    ]


def test_reflex_and_old_news_are_no_strangers_orders(control: ControlRoom) -> None:
    node, _, _ = ordered(control)
    control.hear(node, node.event(ReceiptData("s1", bytes(8), Stage.ACCEPTED, "reflex", b"incident", 0)))
    event = node.event(ReceiptData("s1", b"of a day", Stage.ACCEPTED, "people", b"incident", 0))
    control.wait(600)
    control.hear(node, event)  # told anew, after our journal was lost
    assert FOREIGN not in {code for code, _ in control.codes()}


async def test_what_became_of_an_order_comes_back_from_the_journal(control: ControlRoom) -> None:
    node, _, data = ordered(control)
    control.wait(62)
    await control.restart()
    assert result(control) == (Result.FAIL, "no-answer")
    control.hear(node, node.receipt(data, Stage.SOUNDING))
    assert result(control)[0] is Result.PASS
    await control.restart()
    assert result(control)[0] is Result.PASS
