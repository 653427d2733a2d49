"""Messages of the outbox for the tests of DC-09: changes of alarms, notices of sirens, steps of exercises."""

from pathlib import Path
from typing import Any

from controller.alarm.changes import AlarmChange
from controller.calls import About, Call, CallKind
from controller.dispatch import Message
from controller.dispatch.cap import Author
from controller.dispatch.outbox import MEMORY, Outbox
from controller.dispatch.settings import CapSettings, Dc09Settings
from controller.drillnotice import DrillKind, DrillNotice
from controller.notices import NoticeKind, SirenNotice
from cython_ext import Hazard, Level
from lanes.keys import Mode
from lanes.plan import Plan
from tests.kit import telling
from tests.kit.clock import START_WALL_US

CAP = CapSettings(sender="alarms@galati.example")


def plan(root: str = "GALATI") -> Plan:
    """The plan of `telling` with a siren, a pattern and an exercise."""
    document = telling.plan(root).model_dump(mode="json", by_alias=True, exclude_defaults=True)
    document["siren"] = [{"id": "s1", "node": "node-1", "zones": ["quay"], "name": {"en": "School"}}]
    segment = {"mode": "steady", "on_s": 16, "off_s": 10, "repeat": 5}
    document["pattern"] = [{"id": "disaster", "source": "law", "verified": True, "segments": [segment]}]
    document["exercise"] = [
        {"id": "drill", "zones": ["quay"], "calendar": "10:00 first wednesday", "pattern": "disaster"}
    ]
    return Plan.model_validate(document)


def notice(kind: NoticeKind, mode: Mode = Mode.LIVE) -> SirenNotice:
    at_us = START_WALL_US + 5_000_000
    return SirenNotice(
        kind, "s1", "node-1", "no-feedback", "late", mode, Level.DANGER, ("quay",), b"incident", "", 1, (), at_us
    )


def drill(kind: DrillKind) -> DrillNotice:
    day_us = 86_400_000_000
    return DrillNotice(kind, "drill", ("quay",), "disaster", b"incident", START_WALL_US + day_us, START_WALL_US, 120)


def stuck(level: Level = Level.DANGER, *, mode: Mode = Mode.LIVE, over: bool = False) -> Call:
    """Nobody has answered for an alarm in each of two zones."""
    since_us = START_WALL_US - 600_000_000
    about = tuple(
        About(str(telling.change(zone=zone).alarm_id), zone, Hazard.FLOOD, level, since_us, over)
        for zone in ("quay", "market")
    )
    return Call(CallKind.STUCK, "", "", 3, "due", mode, about, 2, START_WALL_US)


def messages(
    *told: AlarmChange | SirenNotice | DrillNotice | Call,
    root: str = "GALATI",
    path: Path = MEMORY,
    now_us: int = START_WALL_US,
) -> list[Message]:
    """What the outbox holds for a channel after `told`, in order. No CAP: DC-09 does not look at it."""
    outbox = Outbox(path, {"arc": lambda _: True})
    found: list[Message] = []
    for each in told:
        outbox.tell(Author(plan(root), CAP), [each], now_us)
        due = outbox.due("arc", [message.number for message in found], 99)
        found += due
    outbox.close()
    return sorted(found, key=lambda message: message.number)


def settings(**more: Any) -> Dc09Settings:
    facts = {"kind": "dc09", "name": "arc", "host": "127.0.0.1", "port": 1, "account": "1234"}
    return Dc09Settings.model_validate({**facts, "areas": {"quay": 7}, "sirens": {"s1": 301}, **more})
