"""A small plan and changes of its alarms, for the tests of dispatch and history."""

from typing import Any

from controller.alarm.changes import AlarmChange, ChangeKind, Reading
from cython_ext import Hazard, Level, Reason, Trouble
from lanes.identity import AlarmId, EventKey
from lanes.keys import Mode
from lanes.plan import Plan
from lanes.planfile import DEMO
from tests.kit.clock import START_WALL_US

LEDGER = bytes.fromhex("0102030405060708")

QUAY: dict[str, Any] = {
    "id": "quay",
    "name": {"ro": "Cheiul vechi", "en": "Old quay", "ru": "Старая набережная", "uk": "Стара набережна"},
    "timezone": "Europe/Bucharest",
    "polygon": [[45.43, 28.01], [45.45, 28.01], [45.45, 28.05], [45.43, 28.01]],
    "circle": [45.44, 28.03, 1.5],
    "geocodes": {"EMMA_ID": "RO014", "NUTS3": "RO224"},
    "instructions": {"ro": "Urcați pe digul nou & așteptați.", "en": "Climb the new dyke & wait."},
}


def plan(root: str = "GALATI", **quay: Any) -> Plan:
    """Two zones: one with all that a zone can have, one bare."""
    level = {"attention": {"raise": 2.0, "clear": 1.8}, "danger": {"raise": 4.0, "clear": 3.8}}
    smoke = {"alarm": {"raise": 0.15, "clear": 0.1}}
    document = {
        "version": 7,
        "root": root,
        "group": "galati",
        "controller": "centre-a",
        "zone": [{**QUAY, **quay}, {"id": "market"}],
        "point": [
            {
                "id": "gauge-1",
                "node": "node-1",
                "zones": ["quay"],
                "hazard": "flood",
                "unit": "m",
                "name": {"ro": "Mira 1", "en": "Gauge 1"},
                **level,
            },
            {"id": "smoke-1", "node": "node-2", "zones": ["market"], "hazard": "fire", "unit": "dB/m", **smoke},
        ],
    }
    return Plan.model_validate(document)


def reading(seq: int = 1, value: float = 4.256, level: Level = Level.DANGER, **more: Any) -> Reading:
    facts = {"point": "gauge-1", "reason": Reason.THRESHOLD, "trouble": Trouble.NONE, "at_us": START_WALL_US - 700_000}
    facts |= more
    return Reading(key=EventKey("node-1", LEDGER, seq), value=value, level=level, **facts)


def change(
    kind: ChangeKind = ChangeKind.RAISED,
    level: Level = Level.DANGER,
    was: Level = Level.NORMAL,
    *,
    zone: str = "quay",
    hazard: Hazard = Hazard.FLOOD,
    seq: int = 1,
    mode: Mode = Mode.LIVE,
    at_us: int = START_WALL_US,
    **more: Any,
) -> AlarmChange:
    """A change of the alarm that event `seq` opened."""
    readings = more.pop("readings", (reading(seq, level=level),))
    alarm = AlarmId(zone, hazard, EventKey("node-1", LEDGER, seq))
    evidence = tuple(r.key for r in readings)
    return AlarmChange(alarm, kind, was, level, mode, START_WALL_US - 900_000, at_us, evidence, readings, **more)


__all__ = ["DEMO", "LEDGER", "QUAY", "change", "plan", "reading"]
