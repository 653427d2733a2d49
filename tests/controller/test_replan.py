"""Another plan for a controller that runs: no alarm is lost, and everything goes by the new one."""

import base64

import pytest

from controller.acting import Acting
from controller.planning import Place, Planning
from controller.replan import Replan, settle
from cython_ext import BuciumError, Level
from lanes import acts, pieces, planfile, plankept
from lanes.keys import Mode
from lanes.reports import Stage
from lanes.store import run_here
from tests.kit import plans
from tests.kit.control_room import CONTROLLER, ControlRoom
from tests.kit.plans import key, signed, with_keys

OLD = signed()


def version(number, text=plans.PLAN, **keys):
    return signed(with_keys(text, **keys).replace("version = 1", f"version = {number}"))


def change(room, plan, others=()):
    """The controller goes by this plan from now on."""
    Replan(room.room, room.deciding, room.watchdog, room.spread, others)(plan)
    room.plan = plan


@pytest.fixture
def room(tmp_path):
    return ControlRoom(tmp_path / "journal.db")


def raised(room, point="gauge", node="n1"):
    """A node in alarm, heard live."""
    it = room.node(node)
    room.hear(it, it.state())
    room.hear(it, it.level(point, Level.NORMAL, Level.ALARM))
    return it


def test_an_open_alarm_and_its_order_go_on(room):
    node = raised(room)
    [before] = list(room.room.book)
    [(_order, data)] = room.starts()
    change(room, version(2))
    [after] = list(room.room.book)
    assert after == before
    assert room.starts() == [], "it has been ordered already"
    room.hear(node, node.receipt(data, Stage.SOUNDING))
    [activation] = list(room.room.fold.activations)
    assert activation.errands["s1"].stage is Stage.SOUNDING


async def test_what_a_restart_rebuilds_is_the_same_as_what_went_on(room):
    node = raised(room)
    change(room, version(2))
    room.hear(node, node.level("gauge", Level.ALARM, Level.NORMAL))
    live = room.room.pack()
    await room.restart()
    rebuilt = room.recovered_state
    assert rebuilt["book"] == live["book"]
    assert rebuilt["registry"] == live["registry"]
    assert rebuilt["points"] == live["points"]
    assert [row[:3] for row in rebuilt["troubles"]] == [row[:3] for row in live["troubles"]]


def test_a_point_that_the_plan_no_longer_names_is_over_with_the_reason(room):
    raised(room)
    gone = plans.PLAN.replace('id = "gauge"\n', 'id = "other"\n')
    change(room, version(2, gone))
    [alarm] = list(room.room.book)
    assert alarm.level is Level.NORMAL
    changes = list(room.room.untold.values())
    assert changes[-1].level is Level.NORMAL
    assert room.room.fold.points.get("gauge") is None


def test_a_point_that_now_endangers_another_zone_raises_it_and_leaves_the_old(room):
    raised(room)
    zone = plans.PLAN.split("[[point]]")[0].split("[[zone]]")[1].replace('id = "ungheni"', 'id = "sculeni"')
    text = plans.PLAN.replace("[[point]]", f"[[zone]]{zone}[[point]]", 1)
    text = text.replace('node = "n1"\nzones = ["ungheni"]\nhazard', 'node = "n1"\nzones = ["sculeni"]\nhazard')
    change(room, version(2, text))
    levels = {alarm.id.zone: alarm.level for alarm in room.room.book}
    assert levels["sculeni"] is Level.ALARM
    assert levels.get("ungheni", Level.NORMAL) is Level.NORMAL


def test_a_policy_that_becomes_automatic_orders_for_the_danger_that_stands(room):
    by_hand = plans.PLAN.replace('mode = "automatic"', 'mode = "by-hand"').replace("reflex = true", "reflex = false")
    room_by_hand = ControlRoom(room.path.with_name("other.db"), version(1, by_hand))
    raised(room_by_hand)
    assert room_by_hand.starts() == []
    change(room_by_hand, version(2))
    assert [order.siren for order, _ in room_by_hand.starts()] == ["s1"]


# A roll-out: some run the new plan, some the old one.


def test_events_judged_under_the_old_plan_are_taken_and_flagged_until_the_node_follows(room):
    node = raised(room)
    change(room, version(2))
    assert ("plan-differs", "n1") in room.codes()
    assert room.hear(node, node.level("gauge", Level.ALARM, Level.DANGER, 4.2)) == "taken"
    [alarm] = list(room.room.book)
    assert alarm.level is Level.DANGER
    assert ("plan-differs", "n1") in room.codes()
    node.plan = version(2)
    assert room.hear(node, node.level("gauge", Level.DANGER, Level.NORMAL, 1.0)) == "taken"
    assert ("plan-differs", "n1") not in room.codes()


def test_events_judged_under_a_newer_plan_are_taken_and_flagged(room):
    node = room.node("n1")
    node.plan = version(9)
    room.hear(node, node.state())
    assert room.hear(node, node.level("gauge", Level.NORMAL, Level.ALARM)) == "taken"
    assert ("plan-differs", "n1") in room.codes()
    [alarm] = list(room.room.book)
    assert alarm.level is Level.ALARM
    assert not list(room.spread.due(room.clock.monotonic_ns() + 10**10)), "nobody is given an older plan"


def test_a_state_report_under_the_old_plan_is_read_in_that_plans_order(room):
    """The new plan counts the points the other way round."""
    parts = plans.PLAN.split("[[point]]")
    tail = parts[2].split("[[siren]]")
    mixed = "[[point]]".join([parts[0], tail[0], parts[1]]) + "[[siren]]" + tail[1]
    node = raised(room)
    change(room, version(2, mixed))
    assert room.room.plan.judged_ids == ("gauge2", "gauge")
    room.clock.advance(60)
    node.plan = OLD
    room.hear(node, node.state(("gauge", Level.DANGER, 1)))
    assert room.room.fold.points.level("gauge") is Level.DANGER
    assert room.room.fold.points.level("gauge2") is Level.NORMAL


def test_an_order_names_the_plan_that_its_node_runs(room):
    """A node refuses an order made under another plan than its own, so it is given its own."""
    node = room.node("n1")
    room.hear(node, node.state())
    change(room, version(2))
    room.hear(node, node.level("gauge", Level.NORMAL, Level.ALARM))
    [(order, data)] = room.starts()
    assert order.core.plan == OLD.digest
    # It has changed over meanwhile: refused, and ordered again at once under the plan that its answer names.
    node.plan = version(2)
    room.hear(node, node.receipt(data, Stage.REFUSED, "plan"))
    [(order, _)] = room.starts()
    assert order.core.plan == version(2).digest


def test_people_sign_what_the_nodes_run(room):
    node = room.node("n1")
    room.hear(node, node.state())
    change(room, version(2))
    ask = acts.RequestSiren(("ungheni",), "dezastre", Mode.LIVE, 0, "test")
    assert room.act(ask)["plan"] == OLD.digest.hex()
    node.plan = version(2)
    room.hear(node, node.state())
    assert room.act(ask)["plan"] == version(2).digest.hex()


def test_the_evidence_of_a_danger_is_its_raise_too_where_a_state_report_came_later(room):
    """A node that runs another plan cannot read a state report's rows; the event names its point."""
    node = raised(room)
    room.starts()
    room.hear(node, node.state(("gauge", Level.ALARM, 1)))
    policy = room.room.plan.policies[0]
    evidence = room.room.fold.pool.choose(policy, room.clock.monotonic_ns())
    assert len(evidence) == 2
    assert node.events[0] in evidence


# Nodes come and go.


def test_nodes_that_both_plans_name_keep_what_is_known_and_the_others_go(room):
    one, two = raised(room), raised(room, "gauge2", "n2")
    room.hear(two, two.trouble("cut-off", True))
    assert ("cut-off", "") in room.codes()
    only = plans.PLAN.replace('node = "n2"', 'node = "n1"')
    change(room, version(2, only, nodes=("n1",)))
    nodes = room.room.fold.registry.nodes
    assert set(nodes) == {"n1"}
    assert nodes["n1"].ledger == one.ledger
    assert nodes["n1"].sequences[one.ledger].through == 1
    assert ("cut-off", "") not in room.codes()


# A person applies it.


class Desk:
    """Planning, on a folder."""

    def __init__(self, room, folder, root=None):
        self.room, self.folder = room, folder
        self.ran = []
        place = Place(folder, folder / "plan.cbor", lambda: root or plans.root())
        assert isinstance(room.acting, Acting)
        self.planning = Planning(room.room, room.acting, place, runner=run_here, run=self.ran.append)
        planfile.write(OLD, folder / "plan.cbor")
        plankept.keep(OLD, folder)

    async def apply(self, plan, *, person="ana", signer=None, act=None, mode=Mode.LIVE):
        act = act or acts.ApplyPlan(plan.plan.version, plan.digest, "the gauge was moved")
        data = acts.sign_act(
            act,
            person=person,
            service=CONTROLLER,
            key=signer or key(person, mode),
            now_us=self.room.clock.wall_us(),
            once=self.room._once(),
        )
        packed = pieces.pack(plan.digest, planfile.file_of(plan)).data
        return await self.planning.apply(data, packed)


@pytest.fixture
def desk(room, tmp_path):
    return Desk(room, tmp_path)


async def test_an_operator_applies_a_plan_and_it_is_kept_journaled_and_run(desk, tmp_path):
    plan = version(2)
    answer = await desk.apply(plan)
    assert (answer["version"], answer["by"]) == (2, "ana")
    assert desk.ran == [plan]
    assert planfile.read(tmp_path / plankept.NAME) == plan
    assert plankept.before(tmp_path) == OLD
    chosen = plankept.choose(tmp_path / "plan.cbor", tmp_path, plans.root())
    assert (chosen.signed, chosen.refused) == (plan, ""), "the delivered file is older, and has not been touched"
    await desk.room.commit()
    [row] = [row for row in desk.room.journal.rows(0) if row.kind.name == "PLAN"]
    data, _, _, outcome, digest, packed = row.value
    assert (outcome, digest) == ("done", plan.digest)
    assert (
        acts.open_act(data, OLD.plan.roster, service=CONTROLLER, now_us=row.wall_us).act.reason == "the gauge was moved"
    )
    assert planfile.parse(pieces.unpack(packed)) == plan


async def test_one_of_its_own_people_may_apply_it(desk):
    answer = await desk.apply(version(2), person="ion", signer=key("planner-ion"))
    assert answer["by"] == "ion"


async def test_an_older_file_that_is_delivered_afterwards_is_a_trouble_again(desk, tmp_path):
    await desk.apply(version(3))
    planfile.write(version(2), tmp_path / "plan.cbor")
    chosen = plankept.choose(tmp_path / "plan.cbor", tmp_path, plans.root())
    assert chosen.signed == version(3)
    assert "older than version 3" in chosen.refused


@pytest.mark.parametrize(
    ("plan", "code"),
    [
        (OLD, "older"),
        (signed(with_keys().replace("version = 1", "version = 2"), people=("ana",)), "signature"),
        (signed(with_keys().replace("version = 1", "version = 2").replace('root = "DEMO"', 'root = "X"')), "signature"),
        (
            signed(with_keys().replace("version = 1", "version = 2").replace('group = "prut"', 'group = "siret"')),
            "group",
        ),
        (version(2, controller="balti"), "keys"),
    ],
)
async def test_a_plan_that_must_not_run_is_refused_with_the_reason(desk, tmp_path, plan, code):
    with pytest.raises(BuciumError) as refused:
        await desk.apply(plan)
    assert refused.value.code == code
    assert desk.ran == []
    assert planfile.read(tmp_path / plankept.NAME) == OLD
    await desk.room.commit()
    rows = [row.value for row in desk.room.journal.rows(0) if row.kind.name == "PLAN"]
    assert [(row[3], row[5]) for row in rows] == [(code, b"")]


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ({"act": acts.ApplyPlan(2, bytes(32), "")}, "invalid"),
        ({"act": acts.ApplyPlan(3, version(2).digest, "")}, "invalid"),
        ({"act": acts.StopSiren()}, "verb"),
        ({"person": "n1"}, "role"),
        ({"signer": key("stranger")}, "unknown-key"),
        ({"mode": Mode.TEST}, "mode"),
    ],
)
async def test_an_act_that_does_not_make_this_person_apply_this_plan_now_is_refused(desk, how, code):
    with pytest.raises(Exception) as refused:  # noqa: PT011 - by its code
        await desk.apply(version(2), **how)
    assert refused.value.code == code
    assert desk.ran == []


async def test_an_act_counts_once(desk):
    data = desk.room.signed_act(acts.ApplyPlan(2, version(2).digest, ""))
    packed = pieces.pack(version(2).digest, planfile.file_of(version(2))).data
    await desk.planning.apply(data, packed)
    with pytest.raises(BuciumError, match="taken already"):
        await desk.planning.apply(data, packed)


async def test_a_disk_that_does_not_take_it_leaves_the_running_one(desk, tmp_path):
    (tmp_path / "plan.adopted").mkdir()
    with pytest.raises(BuciumError, match="cannot be kept"):
        await desk.apply(version(2))
    assert desk.ran == []
    assert planfile.read(tmp_path / plankept.NAME) == OLD


def test_base64_of_the_largest_plan_fits_one_line():
    from controller.desk import PLAN_BYTES_MAX
    from lanes.control import LINE_BYTES_MAX

    assert len(base64.b64encode(bytes(pieces.PACKED_BYTES_MAX))) <= PLAN_BYTES_MAX < LINE_BYTES_MAX - 2048


async def test_a_plan_delivered_while_we_were_off_is_settled_at_the_start(room):
    raised(room)
    room.plan = version(2, plans.PLAN.replace('id = "gauge"\n', 'id = "other"\n'))
    await room.restart()
    assert room.room.ran == OLD.digest
    settle(room.room, room.deciding)
    [alarm] = list(room.room.book)
    assert alarm.level is Level.NORMAL
