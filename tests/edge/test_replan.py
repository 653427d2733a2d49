"""Another plan comes over the alarm lane to a node that runs: nothing of its state is lost; what does not fit changes nothing.

Through the whole node; what is judged here: `edge.plan.follow`.
"""

import asyncio

import pytest

from cython_ext import Level, Reason, SystemClock, topics
from lanes import control, planfile, plankept
from lanes.envelope import Envelope, Kind, seal
from lanes.keys import Mode
from lanes.orders import Action, Order, OrderCore, reference_of
from lanes.reports import BootData, ReceiptData, Stage, TroubleData
from tests.kit.nodes import CONTROLLER, GROUP, KEYS, NODE, document
from tests.kit.site import signed_plan
from tests.kit.whole_node import site


def points(**changes):
    """The plan's points, with the gauge of this node changed."""
    return [point | changes if point["id"] == "level" else point for point in document()["point"]]


def higher(**changes):
    """Version 8: the gauge raises half a metre later."""
    raised = {
        "attention": {"raise": 2.5, "clear": 2.3},
        "alarm": {"raise": 3.5, "clear": 3.3},
        "danger": {"raise": 4.5, "clear": 4.3},
    }
    return signed_plan(version=8, point=points(**raised), **changes)


async def status(it):
    return await asyncio.to_thread(control.ask, it.folder / "run" / "node.sock", "node.status")


def refusals(it):
    found = [e.data for e in it.far.events if isinstance(e.data, TroubleData) and e.data.code == "plan-refused"]
    return [data.subject for data in found if data.on]


async def test_a_new_threshold_holds_at_once_and_its_events_name_the_new_plan(tmp_path):
    async with site(tmp_path) as it:
        it.start()
        it.permit(900)
        it.devices.set("gauge", "level", 3.2)
        await it.until(lambda: it.raised("level"))
        assert it.far.events[-1].plan == signed_plan().digest
        plan = higher()
        await it.far.offer(plan)
        await it.until(lambda: it.far.states and it.far.states[-1].plan == plan.digest)
        # 3.2 m was an alarm; now it is attention. Held until a sample says so, then left.
        await it.until(lambda: it.transitions("level")[-1].level is Level.ATTENTION)
        lowered = next(e for e in it.far.events if e.data == it.transitions("level")[-1])
        assert lowered.plan == plan.digest
        assert not [e for e in it.far.events if isinstance(e.data, BootData)][1:], "it did not start again"
        assert (await status(it))["plan"] | {"root": ""} == {
            "version": 8,
            "root": "",
            "sha256": plan.digest.hex(),
            "refused": "",
        }
        await it.end()

        # The delivered file is now the older one, and that is no trouble: nobody has touched it since.
        before = len(it.far.events)
        it.start()
        await it.until(lambda: len(it.far.events) > before + 1)
        assert (await status(it))["plan"]["version"] == 8
        assert not refusals(it)
        await it.end()


async def test_a_siren_that_sounds_goes_on_to_its_end(tmp_path):
    """The water stands above the danger mark, the controller is away: the reflex sounds for 3 s; meanwhile comes the plan."""
    pattern = {"id": "flood", "source": "test", "verified": False, "segments": [{"mode": "steady", "on_s": 4}]}
    longer = pattern | {"segments": [{"mode": "steady", "on_s": 30}]}
    async with site(tmp_path, pattern=[pattern]) as it:
        it.start()
        it.far.acking = False
        it.permit(4)
        it.devices.set("gauge", "level", 4.2)
        await it.until(lambda: it.relay and it.relay[-1] == 1)
        await it.far.offer(higher(pattern=[longer]))
        await it.until(lambda: it.far.states and it.far.states[-1].plan == higher(pattern=[longer]).digest)
        assert it.relay == [0, 1] or it.relay == [1], "it still sounds"
        await it.until(lambda: it.relay[-1] == 0)
        stages = lambda: [e.data.stage for e in it.far.events if isinstance(e.data, ReceiptData)]  # noqa: E731
        await it.until(lambda: Stage.DONE in stages())
        assert Stage.STOPPED not in stages()
        assert Stage.FAILED not in stages()
        await it.end()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"version": 7, "stop_hold_s": 5.0}, "older"),
        ({"version": 8, "point": [p for p in document()["point"] if p["id"] != "smoke"]}, "bindings"),
        ({"version": 8, "point": points(unit="mm")}, "bindings"),
        (
            {"version": 8, "key": [k for k in document()["key"] if k["public"] != KEYS[NODE, "live"].public.hex()]},
            "keys",
        ),
        ({"version": 8, "group": "siret"}, "group"),
        ({"version": 8, "root": "OTHER"}, "signature"),
    ],
)
async def test_a_plan_that_does_not_fit_leaves_the_running_one_and_is_answered(tmp_path, changes, why):
    async with site(tmp_path) as it:
        it.start()
        await it.until(lambda: it.far.events)
        await it.far.offer(signed_plan(**changes))
        await it.until(lambda: it.far.wants and it.far.wants[-1].why == why)
        if why != "older":  # that is the sender's trouble, not ours
            await it.until(lambda: refusals(it) == [why])
        assert (await status(it))["plan"]["version"] == 7
        assert planfile.read(tmp_path / "data" / plankept.NAME) == signed_plan()
        it.permit(900)
        it.devices.set("gauge", "level", 3.4)
        await it.until(lambda: it.raised("level"))
        await it.end()


async def test_a_plan_without_its_people_does_not_run_and_a_good_one_ends_the_trouble(tmp_path):
    async with site(tmp_path) as it:
        it.start()
        await it.until(lambda: it.far.events)
        bare = planfile.build(higher().plan)
        await it.far.offer(bare)
        await it.until(lambda: refusals(it) == ["signature"])
        await it.far.offer(higher())
        await it.until(lambda: it.far.states and it.far.states[-1].plan == higher().digest)
        await it.until(lambda: [e.data.on for e in it.far.events if isinstance(e.data, TroubleData)][-1] is False)
        assert (await status(it))["plan"]["refused"] == ""
        await it.end()


async def test_a_held_level_that_no_longer_exists_is_left_by_the_plan(tmp_path):
    async with site(tmp_path) as it:
        it.start()
        it.permit(900)
        it.devices.set("gauge", "level", 4.2)
        await it.until(lambda: it.raised("level"))
        lower = [{k: v for k, v in p.items() if p["id"] != "level" or k != "danger"} for p in document()["point"]]
        await it.far.offer(signed_plan(version=8, point=lower))
        await it.until(lambda: it.transitions("level")[-1].level is Level.ALARM)
        assert it.transitions("level")[-1].reason is Reason.PLAN
        await it.end()


async def test_points_in_another_order_are_born_again_and_judged_as_themselves(tmp_path):
    async with site(tmp_path) as it:
        it.start()
        it.devices.set("gauge", "level", 1.3)
        await it.until(lambda: it.far.events)
        mixed = list(reversed(document()["point"]))
        plan = signed_plan(version=8, point=mixed)
        await it.far.offer(plan)
        await it.until(lambda: it.far.states and it.far.states[-1].plan == plan.digest)
        it.permit(900)
        it.devices.set("gauge", "level", 3.4)
        await it.until(lambda: it.raised("level"))
        # The contact of this world is closed, so the smoke point stands in alarm by its own value.
        assert {t.value for t in it.transitions("smoke")} == {1.0}
        assert all(t.value > 3 for t in it.transitions("level"))
        rows = lambda: {(row.point, row.level) for state in it.far.states for row in state.points}  # noqa: E731
        it.broker.stop()  # a state report comes on connecting
        it.broker.start()
        await it.until(lambda: (1, Level.ALARM) in rows())
        await it.end()


async def test_orders_are_judged_by_the_new_plan(tmp_path):
    async with site(tmp_path) as it:
        it.start()
        await it.until(lambda: it.far.events)
        boot = bytes.fromhex((await status(it))["boot"])
        await it.far.offer(higher())
        await it.until(lambda: it.far.states and it.far.states[-1].plan == higher().digest)

        async def order(plan):
            """A status check of the siren, made under this plan; its answer."""
            now_us = SystemClock().wall_us()
            core = OrderCore(bytes(8), ("town",), "", Mode.LIVE, 0, now_us + 30_000_000, plan.digest)
            body = Order(Action.STATUS, "school", core, 0, boot).pack()
            it.far.counter += 1
            heads = (Kind.ORDER, CONTROLLER, NODE, it.far.boot, it.far.counter, now_us, plan.plan.version, 0, body)
            data = seal(Envelope(*heads, now_us + 30_000_000), it.far.key)
            await it.far.link.publish(topics.order(GROUP, NODE), data, qos=1)
            found = lambda: [  # noqa: E731
                e.data for e in it.far.events if isinstance(e.data, ReceiptData) and e.data.order == reference_of(data)
            ]
            await it.until(lambda: any(each.stage is not Stage.ACCEPTED for each in found()))
            return found()[-1]

        refused = await order(signed_plan())
        assert (refused.stage, refused.reason) == (Stage.REFUSED, "plan")
        assert (await order(higher())).reason != "plan"
        await it.end()


async def test_a_policy_that_becomes_automatic_lets_the_node_act_alone(tmp_path):
    """Cut off, in danger, and by hand: nothing sounds, until the plan says otherwise."""
    by_hand = document()["policy"][0] | {"mode": "by-hand", "reflex": False}
    async with site(tmp_path, policy=[by_hand]) as it:
        it.start()
        it.far.acking = False
        it.devices.set("gauge", "level", 4.2)
        await it.until(lambda: ("cut-off", True) in told(it))
        assert 1 not in it.relay
        it.permit(11.0)
        await it.far.offer(higher())
        await it.until(lambda: it.relay and it.relay[-1] == 1)
        await it.end()


def told(it):
    return [(e.data.code, e.data.on) for e in it.far.events if isinstance(e.data, TroubleData)]
