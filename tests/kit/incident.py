"""A flood in a control room, from the first attention to the reset: journals that reports are made of."""

from pathlib import Path

from controller.record.records import Record
from cython_ext import Level
from lanes.acts import AckAlarm, RemoveAlarm, ResetAlarm, ReturnAlarm, ShelveAlarm, StopSiren, UnshelveAlarm
from lanes.planfile import SignedPlan
from lanes.reports import Stage
from tests.kit.control_room import ControlRoom
from tests.kit.plans import PLAN, signed, with_keys

NAMES = (
    'name = { ro = "Mira de la pod", en = "Gauge at the bridge", ru = "Водомер у моста", uk = "Водомір біля мосту" }'
)
ZONE = 'name = { ro = "Ungheni", en = "Ungheni" }'
PLACE = """latitude = 47.2043
longitude = 27.7981
"""
CIRCLE = "circle = [47.21, 27.80, 5.0]\n"
TOLD = """
[zone.instructions]
ro = "Urcați la școală."
en = "Go up to the school."
ru = "Поднимитесь к школе."
uk = "Підніміться до школи."
"""
DETAILED = (
    PLAN.replace("period_s = 1.0\n", f"period_s = 1.0\n{PLACE}{NAMES}\n")
    .replace(CIRCLE, CIRCLE + TOLD)
    .replace(ZONE, ZONE.replace(" }", ', ru = "Унгены", uk = "Унгени" }'))
)


def plan() -> SignedPlan:
    return signed(with_keys(DETAILED))


async def flood(path: Path, *, orders: bool = True) -> ControlRoom:
    """The room after it; its journal is on disk."""
    control = ControlRoom(path, plan())
    clock, node = control.clock, control.node("n1")
    control.hear(node, node.state())
    clock.advance(30)
    control.hear(node, node.level("gauge", Level.NORMAL, Level.ATTENTION, 2.04))
    clock.advance(95.25)
    control.hear(node, node.level("gauge", Level.ATTENTION, Level.ALARM, 3.02))
    alarm = next(iter(control.room.book))
    clock.advance(0.061)
    for order, data in control.starts() if orders else []:
        for stage, measured, wait in (
            (Stage.ACCEPTED, False, 0.012),
            (Stage.ARMED, False, 0.2),
            (Stage.SOUNDING, True, 1.3),
        ):
            clock.advance(wait)
            control.hear(node, node.receipt(data, stage, measured=measured))
        assert order.siren == "s1"
    at_us = clock.wall_us()
    row = [
        "centre-iasi",
        f"bucium-ungheni-flood-{alarm.incident.hex()}-0123456789abcdef",
        f"1:{alarm.id}",
        "delivered",
        "204",
        1,
    ]
    control.journal.append(Record.DELIVERY, [*row, at_us, 38.2])
    clock.advance(2)
    control.journal.append(
        Record.DELIVERY, ["mail", row[1], f"1:{alarm.id}", "failed", "timeout", 1, clock.wall_us(), 10_000.0]
    )
    clock.advance(41)
    control.act(AckAlarm(alarm.id, alarm.unseen), "ana")
    clock.advance(60)
    control.act(StopSiren(zones=("ungheni",)), "ion")
    control.orders()
    for person in ("ana", "ion"):
        clock.advance(5)
        control.act(ShelveAlarm(alarm.id, clock.wall_us() + 1_800_000_000, "pumps are being <moved> & tested"), person)
    clock.advance(600)
    control.act(UnshelveAlarm(alarm.id), "ana")
    clock.advance(1200)
    control.hear(node, node.level("gauge", Level.ALARM, Level.NORMAL, 1.7))
    alarm = next(iter(control.room.book))
    clock.advance(20)
    control.act(AckAlarm(alarm.id, alarm.unseen or (alarm.evidence[-1].key,)), "ana")
    clock.advance(5)
    control.act(ResetAlarm(alarm.id), "ana")
    until_us = clock.wall_us() + 3_600_000_000
    for person in ("ana", "ion"):
        clock.advance(5)
        control.act(RemoveAlarm("ungheni", alarm.id.hazard, until_us, Level.ALARM, "W-7", "works"), person)
    clock.advance(5)
    control.act(ReturnAlarm("ungheni", alarm.id.hazard), "ana")
    control.journal.sign_head()
    await control.commit()
    return control
