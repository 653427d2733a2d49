"""Requests approved by passkey: what the desk shows is what the authenticator signs, and each yes counts once."""

from pathlib import Path
from typing import Any

import pytest

from controller.approvals import Request, Yes
from cython_ext import WireError
from lanes.acts import RequestSiren
from lanes.control import ControlError
from lanes.keys import Mode, Role
from lanes.orders import Order, OrderCore
from lanes.plan import Plan
from lanes.settings import parse
from tests.kit.control_room import ControlRoom
from tests.kit.passkeys import authenticator, passkey_entry
from tests.kit.plans import PLAN, key_entry, signed, with_keys


def plan_text(policy: str = "") -> str:
    text = with_keys(PLAN.replace("reflex = true", f"reflex = true\n{policy}"))
    for mode in (Mode.LIVE, Mode.EXERCISE):
        for person, centre in (("ana", "iasi"), ("ion", "balti"), ("dan", "iasi"), ("eva", "balti")):
            text += passkey_entry(person, mode, ("ungheni",), centre)
    return text


@pytest.fixture
def control(tmp_path: Path) -> ControlRoom:
    return ControlRoom(tmp_path / "journal.db", signed(plan_text()))


def ask(control: ControlRoom) -> dict[str, Any]:
    return control.act(RequestSiren(("ungheni",), "dezastre", Mode.LIVE, 0, "broken dyke"))


def yes(control: ControlRoom, request: dict[str, Any], person: str, mode: Mode = Mode.LIVE, **changes: Any):
    nonces = tuple(bytes.fromhex(nonce) for nonce in request["nonces"])
    data = authenticator(person, mode).approve(bytes.fromhex(request["digest"]), nonces, **changes)
    return control.acting.approve(data)


def starts(control: ControlRoom) -> list[Order]:
    return [order for order, _ in control.starts()]


def test_two_people_sound_it_with_their_passkeys(control: ControlRoom) -> None:
    request = ask(control)
    assert yes(control, request, "ana")["missing"] == "1 more of 2 people"
    assert starts(control) == []
    assert yes(control, request, "ion")["missing"] == ""
    [order] = starts(control)
    assert len(order.approvals) == 2
    assert order.core.digest().hex() == request["digest"]


def test_what_the_desk_shows_is_what_is_signed(control: ControlRoom) -> None:
    request = ask(control)
    data = authenticator("ana").approve(
        bytes.fromhex(request["digest"]), tuple(bytes.fromhex(nonce) for nonce in request["nonces"])
    )
    challenge = bytes.fromhex(request["challenge"])
    assert len(challenge) == 32
    from lanes.passkeys import open_assertion

    assert open_assertion(data, control.plan.plan.roster).challenge == challenge


def test_a_key_and_a_passkey_together_are_two_people(control: ControlRoom) -> None:
    request = ask(control)
    control.approve(request, "ana")
    assert yes(control, request, "ana")["missing"] == "1 more of 2 people", "one person, whatever they sign with"
    assert yes(control, request, "ion")["missing"] == ""


def test_each_yes_counts_once_and_for_its_request(control: ControlRoom) -> None:
    request = ask(control)
    data = authenticator("ana").approve(
        bytes.fromhex(request["digest"]), tuple(bytes.fromhex(nonce) for nonce in request["nonces"])
    )
    control.acting.approve(data)
    with pytest.raises(ControlError, match="taken already"):
        control.acting.approve(data)
    with pytest.raises(ControlError, match="no open request has this challenge"):
        yes(control, {**request, "digest": "00" * 32}, "ion")
    with pytest.raises(ControlError, match="sign it with your live key"):
        yes(control, request, "ion", Mode.EXERCISE)
    with pytest.raises(WireError, match="not on https"):
        yes(control, request, "ion", origin="https://evil.example")
    with pytest.raises(WireError, match="no passkey"):
        yes(control, request, "mallory")
    assert starts(control) == []


async def test_a_yes_by_passkey_survives_a_restart(control: ControlRoom) -> None:
    request = ask(control)
    yes(control, request, "ana")
    await control.restart()
    assert yes(control, request, "ion")["missing"] == ""


def test_it_lasts_as_long_as_the_request_and_no_longer(control: ControlRoom) -> None:
    request = ask(control)
    yes(control, request, "ana")
    control.wait(100)
    assert yes(control, request, "ion")["missing"] == ""
    [order] = starts(control)
    assert order.core.not_after_us == request["not_after_us"]
    late = ask(control)
    control.wait(125)
    with pytest.raises(ControlError, match="no open request"):
        yes(control, late, "ana")


def test_the_largest_order_still_fits(tmp_path: Path) -> None:
    """Four people of two centres, each with the longest assertion that is let through."""
    control = ControlRoom(tmp_path / "j.db", signed(plan_text("approvals = 4\ncentres = 2")))
    request = ask(control)
    for person in ("ana", "ion", "dan", "eva"):
        yes(control, request, person, more={"other_keys_can_be_added_here": "x" * 100})
    [(order, data)] = control.starts()
    assert len(order.approvals) == 4
    assert 1600 < len(data) <= 2048


def test_no_more_approvals_go_with_an_order_than_it_needs() -> None:
    core = OrderCore(b"incident", ("ungheni",), "dezastre", Mode.LIVE, 60, 10**15, bytes(32))
    request = Request(core, core.digest(), "ana", "", 3, 2)
    request.yes = [Yes(p, c, 10**15, b"") for p, c in zip("abcdef", ("x", "x", "x", "x", "y", ""), strict=True)]
    chosen = [each.person for each in request.chosen(0)]
    assert chosen == ["a", "e", "b"]
    assert {each.centre for each in request.chosen(0)} == {"x", "y"}


# The plan's roster.


ENTRY = passkey_entry("eva", Mode.LIVE, ("ungheni",))


@pytest.mark.parametrize(
    ("was", "now", "says"),
    [
        ('role = "operator"', 'role = "controller"', "only a person has a passkey"),
        ("https://alarms.town.example", "http://alarms.town.example", "is not https"),
        ("https://alarms.town.example", "https://alarms.town.example/page", "is not https"),
        ("https://alarms.town.example", "https://me@alarms.town.example", "is not https"),
        ("https://alarms.town.example", "https://evil.example", "is not within rp_id"),
        ("https://alarms.town.example", "https://eviltown.example", "is not within rp_id"),
        (authenticator("eva").public.hex(), "02" + "ff" * 32, "not a point of P-256"),
        (authenticator("eva").public.hex(), "02" + "ff" * 33, "a public key is 32 bytes"),
    ],
)
def test_a_passkey_that_cannot_be_is_refused(was: str, now: str, says: str) -> None:
    assert was in ENTRY
    parse(with_keys() + ENTRY, Plan)
    with pytest.raises(Exception, match=says):
        parse(with_keys() + ENTRY.replace(was, now), Plan)


def test_a_p256_key_without_its_page_is_refused() -> None:
    lines = [line for line in ENTRY.splitlines() if not line.startswith("passkey")]
    with pytest.raises(Exception, match="33 bytes are a passkey's"):
        parse(with_keys() + "\n".join(lines), Plan)


def test_one_key_cannot_be_of_two_modes() -> None:
    twice = key_entry("ana", Role.OPERATOR, Mode.LIVE, ("ungheni",)).replace('"live"', '"test"')
    with pytest.raises(Exception, match="stands twice"):
        parse(with_keys() + twice, Plan)
