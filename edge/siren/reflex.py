"""Reflex: the node sounds its own sirens for its own points when it is cut off (design §2.4).

Only where the plan says so: a policy with `reflex = true` that is automatic, or automatic unless vetoed, whose Level the node's
own points have reached in a zone that the siren warns. Never by hand, never for other nodes' points, and only while the lane
says that we are cut off. Unless vetoed: `veto_s` after the Level was reached, by our own monotonic clock; a signed veto names
the incident, so an old one can do no harm and needs no date. The incident is that of the alarm which our own event opened, as
the controller derives it too; orders and reflex of one incident sound once.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final

from cython_ext import NS_PER_S, Cause, Clock, Hazard, Level, WireError
from lanes.acts import VetoSiren
from lanes.envelope import Kind, Refusal, open_envelope
from lanes.identity import AlarmId, EventKey
from lanes.keys import Mode, Role
from lanes.plan import Point, Policy, Siren
from lanes.planfile import SignedPlan
from lanes.reports import TransitionData

from .evidence import RANK, owns
from .orders import AUTOMATIC
from .orderstore import OrderStore
from .refusals import UNOPENED, Why
from .sirens import Sirens

AGAIN_S: Final = 5.0  # what was busy or held is looked at again
TRIES_MAX: Final = 3  # soundings of one siren for one incident and Level, when they fail
EVENTS_MAX: Final = 6  # raises that one sounding names


@dataclass(slots=True)
class _Danger:
    """Our own points' view of one zone and hazard."""

    level: Level = Level.NORMAL
    since_ns: dict[Level, int] = field(default_factory=dict)  # when each Level was reached, the lower ones too


class Reflex:
    """Fed with this node's transitions after their commit; `run` sounds what is due."""

    def __init__(self, *, signed: SignedPlan, node: str, sirens: Sirens, store: OrderStore, clock: Clock) -> None:
        self._node = node
        self._sirens = sirens
        self._store = store
        self._clock = clock
        self._take_plan(signed)
        self._points: dict[str, tuple[Level, EventKey]] = {}  # not normal: Level, and the event of its raise
        self._now: dict[str, Level] = {}  # the same as the Panel has it, though its event may still wait for the disk
        self._dangers: dict[tuple[str, Hazard], _Danger] = {}
        self._tries: dict[tuple[str, bytes, Level], int] = {}
        self._cut_off = False
        self._wake = asyncio.Event()

    def _take_plan(self, signed: SignedPlan) -> None:
        self._plan = signed.plan
        self._own: tuple[Siren, ...] = tuple(s for s in signed.plan.sirens if s.node == self._node)

    def replan(self, signed: SignedPlan) -> None:
        """Another plan: our points may endanger other zones, which is as if they had reached their Levels now."""
        self._take_plan(signed)
        self._points = {point: held for point, held in self._points.items() if owns(self._node, point, self._plan)}
        places = set(self._dangers)
        for point in self._points:
            places |= {(zone, self._plan.hazard_of(point)) for zone in self._plan.zones_of(point)}
        for zone, hazard in sorted(places):
            speaking = self._speaking(zone, hazard, Level.ATTENTION)
            self._weigh(zone, hazard, self._points[speaking[0]][1] if speaking else None)
        self._wake.set()

    def transition(self, data: TransitionData, key: EventKey) -> None:
        """One of our own points (or votes) changed."""
        if not owns(self._node, data.point, self._plan):
            return
        if data.level is Level.NORMAL:
            self._points.pop(data.point, None)
        elif data.cause in (Cause.RAISED, Cause.RESTATED) or data.point not in self._points:
            self._points[data.point] = (data.level, key)
        else:
            self._points[data.point] = (data.level, self._points[data.point][1])
        item = self._plan.judged(data.point)
        if not isinstance(item, Point) or item.alone:
            for zone in self._plan.zones_of(data.point):
                fresh = data.cause is Cause.RAISED and data.was is Level.NORMAL
                self._weigh(zone, self._plan.hazard_of(data.point), key, fresh=fresh)
        self._wake.set()

    def turned(self, judged: str, level: Level) -> None:
        """The Panel has this point at `level` from now on; the event comes after its commit. For a danger that is over nothing
        sounds, however long the disk takes to say so.
        """
        self._now[judged] = level

    def cut_off(self, since_ns: int | None) -> None:
        """Since when no controller hears us; None: we are connected."""
        self._cut_off = since_ns is not None
        self._wake.set()

    def veto(self, data: bytes) -> str:
        """A person's signed veto. "" when it counts, else why not."""
        opened = open_envelope(data, self._plan.roster)
        if isinstance(opened, Refusal):
            return UNOPENED[opened.why]
        envelope, signer = opened.envelope, opened.signer
        if envelope.kind is not Kind.ACT:
            return Why.KIND
        if signer.role is not Role.OPERATOR:
            return Why.ROLE
        if signer.mode is not Mode.LIVE:
            return Why.MODE
        if envelope.addressee not in (self._node, self._plan.controller):
            return Why.ADDRESSEE
        try:
            match envelope.body:
                case [VetoSiren.VERB, *args]:
                    incident = VetoSiren.unpack(args).incident
                case _:
                    return Why.KIND
        except WireError:
            return Why.MALFORMED
        for (zone, hazard), alarm in self._store.opened.items():
            if AlarmId(zone, hazard, alarm.key).incident == incident:
                if not signer.covers([zone]):
                    return Why.ZONE
                self._store.veto(incident, alarm.level)
                return ""
        return "unknown-incident"

    def shown(self) -> list[dict[str, Any]]:
        """This node's own alarms, for the technician: the incident is what a veto names."""
        found = []
        for (zone, hazard), alarm in self._store.opened.items():
            incident = AlarmId(zone, hazard, alarm.key).incident
            vetoed = self._store.vetoed(incident)
            heads = {"zone": zone, "hazard": hazard.name.lower(), "level": int(alarm.level)}
            found.append(heads | {"incident": incident.hex(), "vetoed": vetoed is not None and vetoed >= alarm.level})
        return found

    async def run(self) -> None:
        """Sound what is due, until cancelled."""
        while True:
            self._wake.clear()
            next_ns = self._act()
            if next_ns is None:
                await self._wake.wait()
                continue
            try:
                async with asyncio.timeout(max(0.0, (next_ns - self._clock.monotonic_ns()) / NS_PER_S)):
                    await self._wake.wait()
            except TimeoutError:
                continue

    # What our own points say.

    def _weigh(self, zone: str, hazard: Hazard, key: EventKey | None, *, fresh: bool = False) -> None:
        """Bring the alarm of this zone and hazard up to date. `fresh`: the event `key` raised a point from normal."""
        danger = self._dangers.setdefault((zone, hazard), _Danger())
        level = max((self._points[p][0] for p in self._speaking(zone, hazard, Level.ATTENTION)), default=Level.NORMAL)
        now_ns = self._clock.monotonic_ns()
        for each in Level:
            if Level.NORMAL < each <= level:
                danger.since_ns.setdefault(each, now_ns)
            else:
                danger.since_ns.pop(each, None)
        opened = self._store.opened.get((zone, hazard))
        if level is Level.NORMAL:
            self._store.close_alarm(zone, hazard)
            if opened is not None:
                incident = AlarmId(zone, hazard, opened.key).incident
                self._tries = {key: count for key, count in self._tries.items() if key[1] != incident}
        elif key is not None and (opened is None or (danger.level is Level.NORMAL and fresh)):
            # A raise from normal opens a new alarm, also where a former one was left open by a restart.
            opened = self._store.open_alarm(zone, hazard, key)
        if level > Level.NORMAL:
            self._sirens.danger(zone)
        danger.level = level
        if opened is not None:
            opened.level = level

    def _speaking(self, zone: str, hazard: Hazard, floor: Level) -> list[str]:
        """Our points and votes at or above `floor`, by their events, that raise this zone's alarm by themselves."""
        plan = self._plan
        found = []
        for judged, (level, _) in self._points.items():
            item = plan.judged(judged)
            alone = not isinstance(item, Point) or item.alone
            if level >= floor and alone and zone in plan.zones_of(judged) and plan.hazard_of(judged) is hazard:
                found.append(judged)
        return found

    def _still(self, zone: str, hazard: Hazard, floor: Level) -> list[str]:
        """Those of them that stand so high even now."""
        return [point for point in self._speaking(zone, hazard, floor) if self._now.get(point, floor) >= floor]

    # What follows from it.

    def _act(self) -> int | None:
        """Sound what is due now; when to look again, None: at the next change."""
        if not self._cut_off:
            return None
        later: list[int] = []
        for (zone, hazard), danger in self._dangers.items():
            opened = self._store.opened.get((zone, hazard))
            if opened is None or danger.level is Level.NORMAL:
                continue
            incident = AlarmId(zone, hazard, opened.key).incident
            policy, next_ns = self._due(zone, hazard, danger, incident)
            if next_ns is not None:
                later.append(next_ns)
            if policy is not None and self._sound(policy, hazard, incident):
                later.append(self._clock.monotonic_ns() + round(AGAIN_S * NS_PER_S))
        return min(later, default=None)

    def _due(self, zone: str, hazard: Hazard, danger: _Danger, incident: bytes) -> tuple[Policy | None, int | None]:
        """The highest policy that lets us sound now, and when a higher one will."""
        name = hazard.name.lower()
        policies = [
            p
            for p in self._plan.policies
            if p.reflex and p.mode in AUTOMATIC and (p.zone, p.hazard) == (zone, name) and RANK[p.level] <= danger.level
            if self._still(zone, hazard, RANK[p.level])
        ]
        next_ns: int | None = None
        for policy in sorted(policies, key=lambda p: RANK[p.level], reverse=True):
            if policy.mode == "automatic":
                return policy, next_ns
            vetoed = self._store.vetoed(incident)
            if vetoed is not None and RANK[policy.level] <= vetoed:
                continue
            due_ns = danger.since_ns[RANK[policy.level]] + round(policy.veto_s * NS_PER_S)
            if due_ns <= self._clock.monotonic_ns():
                return policy, next_ns
            next_ns = due_ns if next_ns is None else min(next_ns, due_ns)
        return None, next_ns

    def _sound(self, policy: Policy, hazard: Hazard, incident: bytes) -> bool:
        """Sound our sirens of the policy's zone; whether one of them is to be tried again."""
        again = False
        level = RANK[policy.level]
        speaking = self._still(policy.zone, hazard, level)
        events = tuple(self._points[p][1] for p in speaking)[:EVENTS_MAX]
        for siren in self._own:
            pattern = self._plan.timing(policy.pattern, siren.family)
            if policy.zone not in siren.zones or pattern is None:
                continue
            key = (siren.id, incident, level)
            if self._tries.get(key, 0) >= TRIES_MAX:
                continue
            why = self._sirens.reflex(siren.id, pattern, policy.max_s, incident, level, events)
            if not why:
                self._tries[key] = self._tries.get(key, 0) + 1
            again = again or why in ("", "busy", Why.HELD, "already")
        return again
