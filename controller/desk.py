"""The desk: what people and their tools ask of the controller at its control socket (design §5).

Reading needs no signature, the socket's mode keeps strangers out. Every act is an ACT or APPROVAL envelope in base64
(lanes/acts.py), and its answer is given when what it did is durable.
"""

import base64
import binascii
from collections.abc import Awaitable, Callable
from typing import Any, Final

from cython_ext import NS_PER_S, Hazard, Level
from lanes.acts import APPROVE, ApplyPlan, ResetAlarm
from lanes.control import ControlError, Handler
from lanes.identity import AlarmId
from lanes.pieces import PACKED_BYTES_MAX
from lanes.readiness import Ready

from .acting import Acting
from .alarm.figurebook import read_out
from .alarm.figures import KEEP_DAYS
from .alarm.life import State
from .alarm.record import Alarm
from .deciding import Deciding
from .lane import Lane
from .lastsound import last_sound
from .planning import Planning
from .refusals import Refusals
from .resets import Errand
from .room import Room
from .seeing import Seeing
from .shown import activation_of, calls_of, decision_of, last_of, listed_of, mute_of, policy_of, stage_of
from .siren.picture import Picture
from .siren.sparing import Sparing
from .siren.watching import readiness_of
from .spread import Spread
from .strays import Strays

ACTS: Final = (
    "alarm.ack",
    "alarm.reset",
    "alarm.shelve",
    "alarm.unshelve",
    "alarm.remove",
    "alarm.return",
    "siren.request",
    "siren.veto",
    "siren.stop",
    "siren.test",
)
ACT_BYTES_MAX: Final = 4096  # of base64
PLAN_BYTES_MAX: Final = PACKED_BYTES_MAX * 4 // 3 + 4  # of base64


RESET_WAIT_S: Final = 8.0  # for nodes' answers; the command line waits for ours 15 s


class Desk:
    """The verbs. `pending` says how many messages each dispatch channel still has to take."""

    def __init__(
        self,
        room: Room,
        *,
        acting: Acting,
        deciding: Deciding,
        lane: Lane,
        refusals: Refusals,
        planning: Planning,
        spread: Spread,
        pending: Callable[[], Awaitable[dict[str, int]]],
        picture: Picture,
        sparing: Sparing,
        seeing: Seeing,
        strays: Strays,
    ) -> None:
        self._room = room
        self._acting = acting
        self._deciding = deciding
        self._lane = lane
        self._refusals = refusals
        self._planning = planning
        self._spread = spread
        self._pending = pending
        self._picture = picture
        self._sparing = sparing
        self._seeing = seeing
        self._strays = strays

    @property
    def verbs(self) -> dict[str, Handler]:
        reading: dict[str, Handler] = {
            "status": self._status,
            "alarm.list": self._alarms,
            "alarm.show": self._alarm,
            "alarm.mutes": self._mutes,
            "alarm.stats": self._stats,
            "siren.list": self._sirens,
            "siren.status": self._activations,
            "siren.coverage": self._coverage,
            "node.list": self._nodes,
            "node.spare": self._spare,
            "journal.head": self._head,
            "plan.show": self._plan,
            "plan.signer": self._signer,
            "policy.dry-run": self._dry_run,
            APPROVE: self._approve,
            ApplyPlan.VERB: self._apply_plan,
        }
        return reading | {verb: self._act(verb) for verb in ACTS} | {ResetAlarm.VERB: self._reset}

    # Acts.

    def _act(self, verb: str) -> Handler:
        async def handle(args: dict[str, Any]) -> dict[str, Any]:
            try:
                return self._acting.act(_envelope(args, "act"), verb)
            finally:
                await self._room.journal.durable()

        return handle

    async def _reset(self, args: dict[str, Any]) -> dict[str, Any]:
        """The latched points' nodes answer for themselves: what they say within a few seconds is told at once."""
        answer: dict[str, Any] = await self._act(ResetAlarm.VERB)(args)
        asked: list[Errand] = answer.pop("asked", [])
        if asked:
            await self._deciding.resets.wait(asked, RESET_WAIT_S)
            alarm = self._room.book.find(asked[0].act.alarm)
            answer |= {"state": str(alarm.state if alarm else State.NORMAL), "points": [each.shown() for each in asked]}
        return answer

    async def _approve(self, args: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._acting.approve(_envelope(args, "approval"))
        finally:
            await self._room.journal.durable()

    async def _apply_plan(self, args: dict[str, Any]) -> dict[str, Any]:
        try:
            act = _envelope(args, "act")
            answer = await self._planning.apply(act, _envelope(args, "plan", PLAN_BYTES_MAX))
        finally:
            await self._room.journal.durable()
        nodes = self._room.fold.registry.nodes.values()
        return answer | {"nodes": len(nodes), "behind": sum(node.plan != self._room.signed.digest for node in nodes)}

    # Reading.

    async def _status(self, _: dict[str, Any]) -> dict[str, Any]:
        room = self._room
        return {
            "controller": room.plan.controller,
            "plan_version": room.plan.version,
            "plan": room.signed.digest.hex(),
            "root": room.plan.root,
            "journal": {"id": room.journal.id.hex(), "seq": room.journal.seq, "durable": room.journal.durable_seq},
            "alarm_lane": {"connected": self._lane.connected, **self._lane.counts},
            "refused": dict(self._refusals.total),
            "alarms": len(room.book),
            "troubles": [
                {"code": t.code, "subject": t.subject, "node": t.source, "since_us": t.since_us} for t in room.troubles
            ],
            "dispatch_pending": await self._pending(),
        }

    async def _alarms(self, _: dict[str, Any]) -> list[dict[str, Any]]:
        book = sorted(self._room.book, key=lambda alarm: (-alarm.severity, -alarm.opened_us))
        return [self._summary(alarm) for alarm in book]

    def _summary(self, alarm: Alarm) -> dict[str, Any]:
        place = (alarm.id.zone, alarm.id.hazard, alarm.mode)
        decision = self._room.decided.get(place)
        return {
            "alarm": str(alarm.id),
            "zone": alarm.id.zone,
            "hazard": alarm.id.hazard.name.lower(),
            "mode": alarm.mode.name.lower(),
            "state": str(alarm.state),
            "level": int(alarm.level),
            "live_level": int(alarm.live_level),
            "severity": int(alarm.severity),
            "opened_us": alarm.opened_us,
            "changed_us": alarm.changed_us,
            "incident": alarm.incident.hex(),
            "unseen": len(alarm.unseen),
            "decision": decision_of(decision) if decision else None,
        }

    async def _alarm(self, args: dict[str, Any]) -> dict[str, Any]:
        alarm = self._find(args)
        return self._summary(alarm) | {
            "aliases": [str(alias) for alias in alarm.aliases],
            "evidence": [{"event": str(each.key), "seen": each.seen} for each in alarm.evidence],
            "points": [
                {
                    "point": part.reading.point,
                    "level": int(part.reading.level),
                    "value": part.reading.value,
                    "reason": part.reading.reason.name.lower(),
                    "event": str(part.reading.key),
                    "at_us": part.reading.at_us,
                    "live": part.live,
                    "watchdog": part.watched,
                    "sight": None if part.reading.outside else self._seeing.look(part.reading.point).shown(),
                }
                for part in alarm.parts
            ],
            "mute": mute_of(alarm.mute) if alarm.mute else None,
            "instructions": next((dict(z.instructions) for z in self._room.plan.zones if z.id == alarm.id.zone), {}),
            **calls_of(self._room.escalations, alarm),
        }

    async def _mutes(self, _: dict[str, Any]) -> list[dict[str, Any]]:
        return [listed_of(line) for line in self._room.mutes]

    async def _stats(self, args: dict[str, Any]) -> dict[str, Any]:
        days = args.get("days", KEEP_DAYS)
        if not isinstance(days, int) or not 1 <= days <= KEEP_DAYS:
            raise ControlError("malformed", f"days is 1 to {KEEP_DAYS}")
        return read_out(self._room.figures, self._room.book, self._room.clock.wall_us(), days)

    def _find(self, args: dict[str, Any]) -> Alarm:
        text = str(args.get("alarm", ""))
        try:
            alarm = self._room.book.find(AlarmId.parse(text))
        except (ValueError, KeyError):
            raise ControlError("malformed", f"not an alarm id: {text[:80]!r}") from None
        if alarm is None:
            raise ControlError("no-alarm", f"no open alarm {text}; see: bucium alarm list")
        return alarm

    async def _sirens(self, _: dict[str, Any]) -> list[dict[str, Any]]:
        room = self._room
        found = []
        for view in room.fold.registry.sirens.values():
            described = room.plan.siren(view.id)
            found.append(
                {
                    "siren": view.id,
                    "node": view.node,
                    "zones": list(described.zones) if described else [],
                    "stage": stage_of(view.stage) if view.heard_us else "unknown",
                    "order_epoch": view.order_epoch,
                    "hold_s": view.held_s(room.clock.wall_us()),
                    "trouble": view.trouble,
                    "heard_us": view.heard_us,
                    **self._picture.siren(view),
                    **last_of(last_sound(room.fold.activations, view.id)),
                    "node_silent": room.troubles.on("node-silent", view.node)
                    or room.troubles.on("node-never-seen", view.node),
                }
            )
        return found

    async def _coverage(self, _: dict[str, Any]) -> list[dict[str, Any]]:
        return self._picture.zones()

    async def _activations(self, _: dict[str, Any]) -> dict[str, Any]:
        room = self._room
        now_ns = room.clock.monotonic_ns()
        return {
            "activations": [
                activation_of(each) | {"people": self._picture.reached(each)} for each in room.fold.activations
            ],
            "exercises": self._picture.exercises(),
            "refused": self._strays.shown(),
            "requests": [self._acting.describe(request) for request in room.requests],
            "veto_times": [
                {"incident": incident.hex(), "level": int(level), "left_s": max(0.0, (end_ns - now_ns) / NS_PER_S)}
                for (incident, level), end_ns in self._deciding.vetoes_pending().items()
            ],
        }

    async def _nodes(self, _: dict[str, Any]) -> list[dict[str, Any]]:
        room = self._room
        now_ns = room.clock.monotonic_ns()
        return [
            {
                "node": node.id,
                "boot": node.boot.hex(),
                "software": node.software,
                "stated": node.stated,
                "ledger": node.ledger.hex(),
                "head": node.head,
                "acked": node.sequences[node.ledger].through if node.ledger in node.sequences else 0,
                "heard_us": node.heard_us,
                "silent_s": None if node.heard_ns is None else (now_ns - node.heard_ns) / NS_PER_S,
                "plan": self._spread.progress(node),
            }
            for node in room.fold.registry.nodes.values()
        ]

    async def _spare(self, args: dict[str, Any]) -> dict[str, Any]:
        """Which of these nodes may be restarted together now."""
        asked = [args.get("nodes"), args.get("uncovered", [])]
        if not all(isinstance(each, list) and all(isinstance(name, str) for name in each) for each in asked):
            raise ControlError("malformed", "nodes and uncovered are lists of ids")
        return self._sparing.ask(*asked)

    async def _head(self, _: dict[str, Any]) -> dict[str, Any]:
        """A signed head of the journal as it stands now."""
        self._room.journal.sign_head()
        await self._room.journal.durable()
        head = self._room.journal.head
        assert head is not None
        return head.as_json()

    async def _plan(self, _: dict[str, Any]) -> dict[str, Any]:
        plan = self._room.plan
        return {
            "version": plan.version,
            "digest": self._room.signed.digest.hex(),
            "root": plan.root,
            "controller": plan.controller,
            "group": plan.group,
            "zones": [zone.id for zone in plan.zones],
            "points": [point.id for point in plan.points],
            "sirens": [siren.id for siren in plan.sirens],
            "patterns": [pattern.id for pattern in plan.patterns],
            "policies": [policy_of(plan, policy) for policy in plan.policies],
        }

    async def _signer(self, args: dict[str, Any]) -> dict[str, Any]:
        """Whose key this is: for tools that sign."""
        try:
            signer = self._planning.find(bytes.fromhex(str(args.get("kid", ""))))
        except ValueError:
            raise ControlError("malformed", "kid is 8 bytes in hex") from None
        if signer is None:
            raise ControlError("unknown-key", "the plan's roster has no such key")
        return signer.shown()

    async def _dry_run(self, args: dict[str, Any]) -> dict[str, Any]:
        """What an open alarm would sound now; or what the policy of a zone would at a Level, were the evidence there."""
        plan = self._room.plan
        heads = {"plan_version": plan.version, "plan": self._room.signed.digest.hex()}
        if "alarm" in args:
            alarm = self._find(args)
            decision = self._deciding.look(alarm)
            policy = plan.policy(alarm.id.zone, alarm.id.hazard, decision.level)
            would = {"decision": decision_of(decision), "incident": alarm.incident.hex()}
            return (
                heads | would | {"policy": policy_of(plan, policy) if policy else None} | self._ready(decision.sirens)
            )
        try:
            zone, hazard = str(args["zone"]), Hazard[str(args["hazard"]).upper()]
            level = Level[str(args["level"]).upper()]
        except KeyError:
            raise ControlError(
                "malformed", "give zone, hazard (flood, fire) and level (attention, alarm, danger)"
            ) from None
        if zone not in {each.id for each in plan.zones}:
            raise ControlError("zone", f"the plan has no zone {zone!r}; it has: {', '.join(z.id for z in plan.zones)}")
        policy = plan.policy(zone, hazard, level)
        shown = policy_of(plan, policy) if policy else None
        return heads | {"policy": shown} | self._ready(tuple(shown["sirens"]) if shown else ())

    def _ready(self, sirens: tuple[str, ...]) -> dict[str, Any]:
        """Which of these sirens could not sound now, or not as they should, and why: as `siren.list` says it."""
        found = {name: readiness_of(self._room, self._room.fold.registry.sirens[name]) for name in sirens}
        hindered = {name: each for name, each in found.items() if each.ready is not Ready.READY}
        return {
            "hindered": {
                name: {"ready": each.ready.word, "reasons": list(each.reasons)} for name, each in hindered.items()
            }
        }


def _envelope(args: dict[str, Any], name: str, most: int = ACT_BYTES_MAX) -> bytes:
    text = args.get(name)
    if not isinstance(text, str) or len(text) > most:
        raise ControlError("malformed", f"{name!r} is a signed envelope in base64")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ControlError("malformed", f"{name!r} is not base64") from None
