"""A siren that fails to sound: retried, its neighbours ordered, dispatch told; never beyond what was approved."""

import json
from itertools import product
from pathlib import Path

import pytest

from controller.activation import Result
from controller.dispatch import siren as message
from controller.dispatch.cap import Author
from controller.dispatch.settings import CapSettings
from controller.fallback import TABLE, Failure, Step, classify
from controller.falling import RETRY_NS, distance_m, settings_of
from controller.notices import NoticeKind, SirenNotice
from cython_ext import NS_PER_S, Level
from edge.siren.moment import Moment
from edge.siren.orders import Accepted, OpenOrder, judge, open_order
from edge.siren.orderstore import OrderStore
from edge.siren.refusals import Refused, Why
from edge.siren.standing import Standing
from lanes.acts import RequestSiren, StopSiren
from lanes.keys import Mode
from lanes.orders import Order, reference_of
from lanes.reports import SirenState, SirenTrouble, Stage
from lanes.store import run_here
from tests.kit.control_room import ControlRoom, FakeNode
from tests.kit.plans import PLAN, signed, with_keys

EN = "en"
MORE = """
[[zone]]
id = "moara"

[[siren]]
id = "s2"
node = "n2"
zones = ["moara"]
reserve_zones = ["ungheni"]
latitude = 47.22
longitude = 27.81

[[siren]]
id = "s3"
node = "n3"
zones = ["moara"]
reserve_zones = ["ungheni"]
latitude = 47.30
longitude = 27.90

[[siren]]
id = "s4"
node = "n4"
zones = ["moara"]
"""
NODES = ("n1", "n2", "n3", "n4")


def town(fall_back: str = "", siren: str = "", policy: str = "") -> str:
    """s1 warns ungheni; s2 (near) and s3 (far) stand in there; s4 may not."""
    text = PLAN.replace('id = "s1"\n', f'id = "s1"\nlatitude = 47.21\nlongitude = 27.80\n{siren}')
    text = text.replace("reflex = true", f"{policy}\nfall_back = {{ {fall_back} }}" if fall_back else policy)
    return with_keys(text + MORE, NODES)


def room(tmp_path: Path, text: str) -> ControlRoom:
    return ControlRoom(tmp_path / "journal.db", signed(text))


def order(control: ControlRoom) -> tuple[FakeNode, Order, bytes]:
    """Every siren's node is heard; the flood orders s1."""
    nodes = {name: control.node(name) for name in NODES}
    for place, node in enumerate(nodes.values()):
        control.hear(node, node.state(sirens=(SirenState(place, Stage.DONE, 0, 0),)))
    control.hear(nodes["n1"], nodes["n1"].level("gauge", Level.NORMAL, Level.ALARM))
    [(ordered, data)] = control.starts()
    assert ordered.siren == "s1"
    return nodes["n1"], ordered, data


def notices(control: ControlRoom) -> list[SirenNotice]:
    return [each for each in control.room.untold.values() if isinstance(each, SirenNotice)]


def fall(control: ControlRoom, siren: str = "s1"):
    activation = next(a for a in control.room.fold.activations if siren in a.errands)
    return activation.falls.get(siren)


# The table.


def test_every_failure_is_decided_and_every_word_of_a_node_has_one() -> None:
    assert set(TABLE) == set(Failure)
    assert {classify(why) for why in Why} == {Failure.BUSY, Failure.UNFIT, Failure.BARRED}
    assert classify("") is Failure.UNFIT
    for failure, then in TABLE.items():
        by_evidence, by_people = then.retry
        assert by_evidence or not by_people, "what evidence cannot repeat, a single-use approval cannot"
        assert then.tell or failure is Failure.BARRED, "nobody is left without a word but by a person's own stop"


@pytest.mark.parametrize(
    ("why", "failure"),
    [
        ("no-answer", Failure.LOST),
        ("driver", Failure.BROKEN),
        ("no-sound", Failure.UNHEARD),
        ("unproved", Failure.UNHEARD),
        ("silent", Failure.UNHEARD),
        ("partial", Failure.PARTIAL),
        ("not-off", Failure.STUCK),
        ("stopped", Failure.BARRED),
        ("evidence-old", Failure.UNFIT),
    ],
)
def test_words_and_their_failures(why: str, failure: Failure) -> None:
    assert classify(why) is failure


# Each way to fail.


def test_a_node_that_says_nothing(tmp_path: Path) -> None:
    control = room(tmp_path, town())
    order(control)
    control.wait(9)
    assert {each.siren for each, _ in control.starts()} == {"s1"}  # resent
    control.wait(2)
    assert [each.siren for each, _ in control.starts() if each.siren != "s1"] == ["s2"], "the nearest that may"
    [notice] = notices(control)
    assert (notice.kind, notice.siren, notice.failure, notice.stand_ins) == (
        NoticeKind.FAILED,
        "s1",
        "late",
        ("s2",),
    )
    control.wait(60)
    assert {each.siren for each, _ in control.starts()} <= {"s1", "s2", "s3"}
    assert len([n for n in notices(control) if n.siren == "s1"]) == 1, "told once"


@pytest.mark.parametrize("why", ["evidence-old", "pattern", "unsupported"])
def test_a_node_that_refuses(tmp_path: Path, why: str) -> None:
    control = room(tmp_path, town())
    node, _, data = order(control)
    control.hear(node, node.receipt(data, Stage.REFUSED, why))
    assert [each.siren for each, _ in control.starts()] == ["s2"]
    assert notices(control)[0].reason == why


def test_a_driver_that_lies_accepted_and_never_heard(tmp_path: Path) -> None:
    control = room(tmp_path, town(siren="proof = true\n"))
    node, _, data = order(control)
    for stage, why in ((Stage.ACCEPTED, "evidence"), (Stage.ARMED, ""), (Stage.FAILED, "no-sound")):
        control.hear(node, node.receipt(data, stage, why))
    assert [each.siren for each, _ in control.starts()] == ["s2"]
    assert (notices(control)[0].failure, notices(control)[0].reason) == ("unheard", "no-sound")


def test_a_node_that_lies_sounding_and_done_unmeasured(tmp_path: Path) -> None:
    control = room(tmp_path, town(siren="proof = true\n"))
    node, _, data = order(control)
    for stage in (Stage.ACCEPTED, Stage.SOUNDING, Stage.DONE):
        control.hear(node, node.receipt(data, stage))
    assert [each.siren for each, _ in control.starts()] == ["s2"]
    assert notices(control)[0].reason == "unproved"


def test_a_sound_in_part(tmp_path: Path) -> None:
    control = room(tmp_path, town())
    node, _, data = order(control)
    control.hear(node, node.receipt(data, Stage.ACCEPTED))
    control.hear(node, node.receipt(data, Stage.SOUNDING))
    control.hear(node, node.receipt(data, Stage.FAILED, "partial"))
    assert [each.siren for each, _ in control.starts()] == ["s2"]
    assert notices(control)[0].failure == "partial"


def test_a_broken_siren_is_tried_again_before_its_neighbour(tmp_path: Path) -> None:
    control = room(tmp_path, town("retries = 2, neighbours = 1"))
    node, _, data = order(control)
    for _ in range(2):
        control.hear(node, node.receipt(data, Stage.FAILED, "driver"))
        assert control.starts() == []
        assert notices(control) == []
        control.wait(RETRY_NS / NS_PER_S + 0.5)
        [(again, data)] = control.starts()
        assert again.siren == "s1"
    control.hear(node, node.receipt(data, Stage.FAILED, "driver"))
    assert [each.siren for each, _ in control.starts()] == ["s2"]
    assert fall(control).retries == 2
    assert [n.reason for n in notices(control)] == ["driver"]


def test_a_retry_that_sounds_needs_nobody_else(tmp_path: Path) -> None:
    control = room(tmp_path, town())
    node, _, data = order(control)
    control.hear(node, node.receipt(data, Stage.REFUSED, "busy"))
    control.wait(4)
    [(_, again)] = control.starts()
    control.hear(node, node.receipt(again, Stage.SOUNDING, measured=True))
    control.wait(60)
    assert control.starts() == []
    assert notices(control) == []


def test_what_sounds_after_all_is_told(tmp_path: Path) -> None:
    control = room(tmp_path, town(siren="proof = true\n"))
    node, _, data = order(control)
    control.hear(node, node.receipt(data, Stage.FAILED, "no-sound"))
    control.hear(node, node.receipt(data, Stage.SOUNDING, measured=True))
    assert [each.kind for each in notices(control)] == [NoticeKind.FAILED, NoticeKind.SOUNDED]
    assert ("siren-failed", "s1") not in control.codes()


def test_a_stand_in_that_fails_has_its_own_neighbour(tmp_path: Path) -> None:
    control = room(tmp_path, town("retries = 0"))
    node, _, data = order(control)
    control.hear(node, node.receipt(data, Stage.FAILED, "driver"))
    [(_, second)] = control.starts()
    other = control.node("n2")
    control.hear(other, other.receipt(second, Stage.REFUSED, "unsupported"))
    assert [each.siren for each, _ in control.starts()] == ["s3"]
    activation = next(iter(control.room.fold.activations))
    assert (activation.stands_in_for("s2"), activation.stands_in_for("s3")) == ("s1", "s2")
    counts = [activation.count(each) for each in (Result.PENDING, Result.PASS, Result.FAIL)]
    assert counts == [1, 0, 2]


# What the policy says.


def test_a_policy_without_fall_back_only_says_so(tmp_path: Path) -> None:
    control = room(tmp_path, town("retries = 0, neighbours = 0"))
    node, _, data = order(control)
    control.hear(node, node.receipt(data, Stage.FAILED, "driver"))
    control.wait(30)
    assert control.starts() == []
    assert [each.kind for each in notices(control)] == [NoticeKind.FAILED]


def test_a_policy_that_tells_nobody_still_journals(tmp_path: Path) -> None:
    control = room(tmp_path, town("tell = false, neighbours = 2, retries = 0"))
    node, _, data = order(control)
    control.hear(node, node.receipt(data, Stage.FAILED, "driver"))
    assert [each.siren for each, _ in control.starts()] == ["s2", "s3"]
    assert notices(control) == []
    assert ("siren-failed", "s1") in control.codes()


def test_named_neighbours_go_before_near_ones(tmp_path: Path) -> None:
    control = room(tmp_path, town("retries = 0", siren='neighbours = ["s3"]\n'))
    node, _, data = order(control)
    control.hear(node, node.receipt(data, Stage.FAILED, "driver"))
    assert [each.siren for each, _ in control.starts()] == ["s3"]


def test_a_neighbour_in_trouble_comes_last(tmp_path: Path) -> None:
    control = room(tmp_path, town("retries = 0"))
    node, _, data = order(control)
    near = control.node("n2", counter=5)
    control.hear(near, near.state(sirens=(SirenState(1, Stage.FAILED, 0, 0, int(SirenTrouble.UNREACHABLE)),)))
    control.hear(node, node.receipt(data, Stage.FAILED, "driver"))
    assert [each.siren for each, _ in control.starts()] == ["s3"]


def test_nobody_else_is_said(tmp_path: Path) -> None:
    control = ControlRoom(tmp_path / "journal.db", signed(with_keys()))
    node = control.node("n1")
    control.hear(node, node.state(sirens=(SirenState(0, Stage.DONE, 0, 0),)))
    control.hear(node, node.level("gauge", Level.NORMAL, Level.ALARM))
    [(_, data)] = control.starts()
    control.hear(node, node.receipt(data, Stage.FAILED, "no-sound"))
    assert fall(control).stood
    assert fall(control).stand_ins == ()
    assert notices(control)[0].stand_ins == ()


# People.


def ask(control: ControlRoom) -> dict[str, object]:
    return control.act(RequestSiren(("ungheni",), "dezastre", Mode.LIVE, 0, "broken dyke"))


def test_the_stand_in_of_an_approved_order_has_the_very_core_that_was_approved(tmp_path: Path) -> None:
    control = room(tmp_path, town("retries = 3, neighbours = 2"))
    request = ask(control)
    control.approve(request, "ana")
    control.approve(request, "ion")
    [(first, data)] = control.starts()
    assert first.siren == "s1"
    node = control.node("n1")
    control.hear(node, node.receipt(data, Stage.ACCEPTED))
    control.hear(node, node.receipt(data, Stage.FAILED, "driver"))
    found = control.starts()
    assert [each.siren for each, _ in found] == ["s2", "s3"], "no retry: an approval is single-use at its siren"
    for each, _ in found:
        assert each.core == first.core
        assert each.approvals == first.approvals
        assert each.core.digest().hex() == request["digest"]


def test_a_people_s_order_is_tried_again_only_where_it_was_not_taken(tmp_path: Path) -> None:
    control = room(tmp_path, town())
    request = ask(control)
    control.approve(request, "ana")
    control.approve(request, "ion")
    [(_, data)] = control.starts()
    node = control.node("n1")
    control.hear(node, node.receipt(data, Stage.REFUSED, "store"))
    control.wait(4)
    assert [each.siren for each, _ in control.starts()] == ["s1"]


def test_when_the_approvals_are_over_only_dispatch_is_told(tmp_path: Path) -> None:
    control = room(tmp_path, town(siren="proof = true\n"))
    request = ask(control)
    control.approve(request, "ana")
    control.approve(request, "ion")
    [(_, data)] = control.starts()
    node = control.node("n1")
    control.hear(node, node.receipt(data, Stage.ACCEPTED))
    control.hear(node, node.receipt(data, Stage.SOUNDING, measured=True))
    control.wait(70)
    control.hear(node, node.receipt(data, Stage.FAILED, "no-sound"))
    assert control.starts() == []
    assert [each.kind for each in notices(control)] == [NoticeKind.FAILED]


def test_evidence_is_fresh_when_the_first_order_is_over(tmp_path: Path) -> None:
    control = room(tmp_path, town(siren="proof = true\n"))
    node, first, data = order(control)
    control.hear(node, node.receipt(data, Stage.SOUNDING, measured=True))
    control.wait(100)
    control.hear(node, node.level("gauge", Level.NORMAL, Level.ALARM))
    control.starts()
    control.hear(node, node.receipt(data, Stage.FAILED, "partial"))
    [(second, _)] = control.starts()
    assert second.siren == "s2"
    assert second.core.not_after_us > first.core.not_after_us
    assert (second.core.incident, second.core.zones) == (first.core.incident, first.core.zones)


# A person's stop.


@pytest.mark.parametrize("when", ["before", "between"])
def test_a_stop_ends_every_fall_back(tmp_path: Path, when: str) -> None:
    control = room(tmp_path, town("retries = 3"))
    node, _, data = order(control)
    if when == "before":
        control.act(StopSiren(zones=("ungheni",)))
        control.orders()
    control.hear(node, node.receipt(data, Stage.FAILED, "driver"))
    if when == "between":
        control.act(StopSiren(zones=("ungheni",)))
        control.orders()
    control.wait(30)
    assert control.starts() == []


def test_a_stop_of_a_zone_silences_its_stand_ins(tmp_path: Path) -> None:
    control = room(tmp_path, town("retries = 0"))
    node, _, data = order(control)
    control.hear(node, node.receipt(data, Stage.FAILED, "driver"))
    control.starts()
    assert control.act(StopSiren(zones=("ungheni",)))["sirens"] == ["s1", "s2"]


@pytest.mark.parametrize("why", ["held", "stopped"])
def test_what_a_person_has_stopped_has_no_neighbour(tmp_path: Path, why: str) -> None:
    control = room(tmp_path, town())
    node, _, data = order(control)
    control.hear(node, node.receipt(data, Stage.REFUSED, why))
    control.wait(30)
    assert control.starts() == []
    assert notices(control) == []


# The record.


async def test_a_fall_back_survives_a_restart_and_is_not_done_twice(tmp_path: Path) -> None:
    for clean, name in ((False, "a"), (True, "b")):
        (tmp_path / name).mkdir()
        control = room(tmp_path / name, town("retries = 0"))
        node, _, data = order(control)
        control.hear(node, node.receipt(data, Stage.FAILED, "driver"))
        assert [each.siren for each, _ in control.starts()] == ["s2"]
        await control.restart(clean=clean)
        found = fall(control)
        assert (found.failure, found.why, found.stand_ins, found.told) == ("broken", "driver", ("s2",), True)
        assert [n.siren for n in notices(control)] == ["s1"]
        control.wait(1)
        assert [each.siren for each, _ in control.starts() if each.siren != "s2"] == []


async def test_a_failure_that_nobody_has_answered_is_answered_after_a_restart(tmp_path: Path) -> None:
    control = room(tmp_path, town("retries = 1"))
    node, _, data = order(control)
    control.hear(node, node.receipt(data, Stage.REFUSED, "busy"))  # a retry is due in 3 s
    await control.restart()
    control.wait(4)
    assert [each.siren for each, _ in control.starts()] == ["s1"]


# The node's own word.


def judged(control: ControlRoom, folder: Path, node: str, data: bytes) -> object:
    """What the real node would make of this order."""
    boot = control.room.fold.registry.nodes[node].boot
    store = OrderStore(
        folder / f"{node}.db", anchor=folder / "anchor", clock=control.clock, runner=run_here, entropy=bytes
    )
    standing = Standing(control.plan, node, boot, store)
    opened = open_order(data, standing)
    assert isinstance(opened, OpenOrder), opened
    [verdict] = judge(opened, standing, Moment.of(control.clock))
    store.close()
    return verdict


def test_the_stand_in_s_node_accepts_it_by_name_only(tmp_path: Path) -> None:
    control = room(tmp_path, town("retries = 0"))
    node, _, data = order(control)
    control.hear(node, node.receipt(data, Stage.FAILED, "driver"))
    [(ordered, second)] = control.starts()
    verdict = judged(control, tmp_path, "n2", second)
    assert isinstance(verdict, Accepted), verdict
    control.ordering.send(
        1, ordered.action, "s4", ordered.core, heads=("", Level.ALARM, "policy"), evidence=ordered.evidence
    )
    [(_, third)] = control.starts()
    refused = judged(control, tmp_path, "n4", third)
    assert isinstance(refused, Refused)
    assert refused.why is Why.ZONE, "what the plan has not given it, no fall-back gives"


def test_the_stand_in_s_node_counts_the_same_people(tmp_path: Path) -> None:
    control = room(tmp_path, town("retries = 0"))
    for name in NODES:
        node = control.node(name)
        control.hear(node, node.state())
    request = ask(control)
    control.approve(request, "ana")
    control.approve(request, "ion")
    [(_, data)] = control.starts()
    node = control.node("n1", counter=5)
    control.hear(node, node.receipt(data, Stage.REFUSED, "unsupported"))
    [(_, second)] = control.starts()
    verdict = judged(control, tmp_path, "n2", second)
    assert isinstance(verdict, Accepted), verdict
    assert len(verdict.people) == 2


# What dispatch reads.


@pytest.mark.parametrize(("kind", "failure"), list(product(NoticeKind, ["", *Failure])))
def test_dispatch_reads_it_in_four_languages(kind: NoticeKind, failure: str) -> None:
    if failure in (Failure.BARRED,):
        return
    plan = signed(town()).plan
    author = Author.__new__(Author)
    author.plan, author.settings = plan, CapSettings()  # type: ignore[misc]
    heads = (kind, "s1", "n1", "no-sound", str(failure), Mode.LIVE, Level.ALARM, ("ungheni", "moara"))
    notice = SirenNotice(*heads, b"incident", "", 7, ("s2",), 1_767_322_800_000_000)
    assert SirenNotice.unpack(notice.pack()) == notice
    document = json.loads(message.tell_of(author, notice, 1_767_322_800_000_000))
    assert document["kind"] == str(kind)
    assert document["security"] == (kind in (NoticeKind.UNORDERED, NoticeKind.QUIET))
    for language in ("ro", "en", "ru", "uk"):
        found = message.words(author, notice, language)  # type: ignore[arg-type]
        assert "s1" in found["headline"]
        assert "{" not in found["headline"] + found["description"]
        if kind is NoticeKind.FAILED and failure:
            assert "no-sound" in found["description"]
            assert "s2" in found["description"]
    assert "TEST" in message.words(author, notice, "en")["headline"], "the DEMO root is never Actual"


def test_the_strictest_policy_speaks_for_people(tmp_path: Path) -> None:
    control = room(tmp_path, town("answer_s = 5, retries = 2, neighbours = 3, tell = false"))
    request = ask(control)
    control.approve(request, "ana")
    control.approve(request, "ion")
    activation = next(iter(control.room.fold.activations))
    found = settings_of(control.plan.plan, activation)
    assert (found.answer_s, found.retries, found.neighbours, found.tell) == (5, 2, 3, False)


def test_distances() -> None:
    plan = signed(town()).plan
    s1, s2, s4 = (plan.siren(each) for each in ("s1", "s2", "s4"))
    assert s1 is not None
    assert s2 is not None
    assert s4 is not None
    assert 1_300 < distance_m(s1, s2) < 1_400
    assert distance_m(s1, s4) == float("inf")


def test_an_order_s_reference_names_its_bytes(tmp_path: Path) -> None:
    control = room(tmp_path, town())
    _, _, data = order(control)
    activation = next(iter(control.room.fold.activations))
    assert activation.errands["s1"].reference == reference_of(data)


@pytest.mark.parametrize(
    ("siren", "says"),
    [
        ('neighbours = ["s9"]\n', "which the plan has not"),
        ('neighbours = ["s1"]\n', "its own neighbour"),
        ('neighbours = ["s4"]\n', "may warn none of its zones"),
        ('reserve_zones = ["nowhere"]\n', "which the plan has not"),
        ('reserve_zones = ["ungheni"]\n', "stands in zones and in reserve_zones"),
    ],
)
def test_a_plan_whose_neighbours_cannot_be_is_refused(siren: str, says: str) -> None:
    with pytest.raises(Exception, match=says):
        signed(town(siren=siren))


def test_every_step_is_a_word_of_the_journal() -> None:
    assert {str(each) for each in Step} == {"retry", "stand-in", "tell", "sounded"}
