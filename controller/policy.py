"""What the signed plan says to do about an alarm: a pure function, with its reason (design §2.4). It sounds nothing itself."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from math import ceil
from typing import Any, Final

from cython_ext import Level
from lanes.identity import AlarmId
from lanes.keys import Mode
from lanes.plan import Pattern, Plan, Policy, Siren

from .alarm.life import MUTED
from .alarm.record import Alarm

PEOPLE_MIN: Final = 2


class Move(StrEnum):
    """What follows. Words of the journal: never rename."""

    AUTOMATIC = "automatic"
    UNLESS_VETOED = "unless-vetoed"
    BY_HAND = "by-hand"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, and why. `level` is the Level whose policy spoke; `reason` a code of docs/decisions.md."""

    alarm: AlarmId
    incident: bytes
    level: Level
    move: Move
    reason: str
    pattern: str = ""
    max_s: int = 0
    veto_s: float = 0.0
    k: int = 1
    sirens: tuple[str, ...] = ()

    def pack(self) -> list[Any]:
        heads = [str(self.alarm), self.incident, int(self.level), str(self.move), self.reason, self.pattern]
        return [*heads, self.max_s, self.veto_s, self.k, list(self.sirens)]

    @classmethod
    def unpack(cls, value: list[Any]) -> "Decision":
        alarm, incident, level, move, reason, pattern, max_s, veto_s, k, sirens = value
        decided = Move(move)
        where = AlarmId.parse(alarm)
        return cls(where, incident, Level(level), decided, reason, pattern, max_s, veto_s, k, tuple(sirens))


def decide(alarm: Alarm, plan: Plan, *, proven: Callable[[Policy], bool], others: Level = Level.NORMAL) -> Decision:
    """What the plan says about this alarm now. `proven`: whether we hold the signed reports that the policy asks for.

    `others`: how bad it is by centres whose warnings may be put before our people. It never sounds anything by itself, and never
    stands in the way of what our own points say.
    """
    where, incident = alarm.id, alarm.incident
    level = alarm.measured_level
    policy = plan.policy(where.zone, where.hazard, level)
    theirs = others > level and (policy is None or policy.mode == "none")
    if theirs:
        level = others
        policy = plan.policy(where.zone, where.hazard, level)

    def nothing(reason: str) -> Decision:
        return Decision(where, incident, level, Move.NONE, reason)

    if alarm.level is Level.NORMAL:
        return nothing("over")
    if alarm.mode is not Mode.LIVE:
        return nothing("not-live")
    if alarm.state in MUTED:
        return nothing(str(alarm.state))
    if level is Level.NORMAL:
        # a historical event never sounds a siren, nor does a warning of others that is only to be shown
        return nothing("late" if alarm.live_level is Level.NORMAL else "others-shown")
    if policy is None:
        return nothing("no-policy")
    level = Level[policy.level.upper()]
    if policy.mode == "none":
        return nothing("policy-none")
    pattern = plan.pattern(policy.pattern)
    assert pattern is not None, "the plan's own check"
    sirens = tuple(siren.id for siren in sirens_of(plan, (where.zone,), pattern))
    if not sirens:
        return nothing("no-siren")
    if theirs:
        move, reason = Move.BY_HAND, "others"
    elif policy.mode == "by-hand":
        move, reason = Move.BY_HAND, "people"
    elif not proven(policy):
        move, reason = Move.BY_HAND, "evidence"
    elif policy.mode == "unless-vetoed":
        move, reason = Move.UNLESS_VETOED, "veto-time"
    else:
        move, reason = Move.AUTOMATIC, "policy"
    max_s = policy.max_s or ceil(pattern.length_s)
    return Decision(where, incident, level, move, reason, pattern.id, max_s, policy.veto_s, policy.k, sirens)


def sirens_of(plan: Plan, zones: tuple[str, ...], pattern: Pattern) -> tuple[Siren, ...]:
    """The zones' sirens that can sound the pattern, in their own family's timing."""
    return tuple(siren for siren in plan.sirens_in(zones) if plan.timing(pattern.id, siren.family))


def asked_of_people(plan: Plan, zones: tuple[str, ...], pattern: str) -> tuple[int, int]:
    """(people, centres) that an order by hand needs: for each zone the strictest policy that names the pattern, failing that
    the strictest of all. The node asks the same (edge/siren/approvals.py); two people where a zone has no policy.
    """
    people, centres = PEOPLE_MIN, 1
    for zone in zones:
        here = [policy for policy in plan.policies if policy.zone == zone]
        asked = [policy for policy in here if policy.pattern == pattern] or here
        people = max([people, *(policy.approvals for policy in asked)])
        centres = max([centres, *(policy.centres for policy in asked)])
    return people, centres
