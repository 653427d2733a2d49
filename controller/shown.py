"""Sirens, orders and policies as JSON: what people and their tools see at the desk (docs/dispatcher.md has the columns)."""

from math import ceil
from typing import Any

from lanes.envelope import peek
from lanes.keys import Mode
from lanes.plan import Plan, Policy
from lanes.reports import Stage

from .activation import Activation, Result
from .alarm.mutes import Listed, Mute
from .alarm.record import Alarm
from .escalations import Escalations
from .lastsound import LastSound
from .policy import Decision, sirens_of


def decision_of(decision: Decision) -> dict[str, Any]:
    return {
        "move": str(decision.move),
        "reason": decision.reason,
        "level": int(decision.level),
        "pattern": decision.pattern,
        "sirens": list(decision.sirens),
    }


def policy_of(plan: Plan, policy: Policy) -> dict[str, Any]:
    pattern = plan.pattern(policy.pattern)
    return {
        "zone": policy.zone,
        "hazard": policy.hazard,
        "level": policy.level,
        "mode": policy.mode,
        "pattern": policy.pattern,
        "veto_s": policy.veto_s,
        "k": policy.k,
        "max_s": policy.max_s or (ceil(pattern.length_s) if pattern else 0),
        "approvals": policy.approvals,
        "centres": policy.centres,
        "reflex": policy.reflex,
        "fall_back": policy.fall_back.model_dump(),
        "sirens": [siren.id for siren in sirens_of(plan, (policy.zone,), pattern)] if pattern else [],
    }


def activation_of(activation: Activation) -> dict[str, Any]:
    core = activation.core
    return {
        "activation": activation.number,
        "ordered_us": _ordered_us(activation),
        "action": activation.action.name.lower(),
        "incident": core.incident.hex(),
        "alarm": activation.alarm,
        "by": activation.by,
        "zones": list(dict.fromkeys(zone for e in activation.errands.values() for zone in e.order.core.zones)),
        "pattern": core.pattern,
        "mode": Mode(core.mode).name.lower(),
        "pending": activation.count(Result.PENDING),
        "pass": activation.count(Result.PASS),
        "fail": activation.count(Result.FAIL),
        "total": len(activation.errands),
        "sirens": [
            {
                "siren": errand.siren,
                "stage": stage_of(errand.stage) if errand.stage is not None else "sent",
                "result": str(errand.result),
                "why": errand.why,
                "measured": errand.measured,
                "stands_in_for": activation.stands_in_for(errand.siren),
            }
            for errand in activation.errands.values()
        ],
        "fall_backs": [
            {
                "siren": siren,
                "failure": fall.failure,
                "why": fall.why,
                "retries": fall.retries,
                "stand_ins": list(fall.stand_ins),
                "told": fall.told,
            }
            for siren, fall in activation.falls.items()
        ],
    }


def mute_of(mute: Mute) -> dict[str, Any]:
    return {
        "people": list(mute.people),
        "rule": mute.rule,
        "reason": mute.reason,
        "permit": mute.permit,
        "covers": int(mute.severity),
        "since_us": mute.since_us,
        "until_us": mute.until_us,
    }


def listed_of(line: Listed) -> dict[str, Any]:
    """A line of the permanent list of mutes."""
    heads = {"alarm": str(line.alarm), "mode": line.mode.name.lower(), "state": str(line.state)}
    return heads | mute_of(line.mute) | {"end": str(line.end), "ended_us": line.ended_us, "by": line.by}


def _ordered_us(activation: Activation) -> int:
    """When its first order was signed; 0: it has none."""
    envelopes = [peek(errand.data) for errand in activation.errands.values()]
    return min((each.issued_us for each in envelopes if each is not None), default=0)


def last_of(last: LastSound | None) -> dict[str, Any]:
    """The last sound that was ordered, and whether it failed to sound."""
    if last is None:
        return {"last": None, "failed_to_sound": ""}
    shown = {
        "activation": last.activation,
        "ordered_us": last.ordered_us,
        "sounded_us": last.sounded_us,
        "result": str(last.result),
        "why": last.why,
        "measured": last.measured,
    }
    return {"last": shown, "failed_to_sound": last.failed}


def calls_of(escalations: Escalations, alarm: Alarm) -> dict[str, Any]:
    """Who was told of the alarm, by what, when, and what came of it: its messages, its escalation and each call."""
    run = escalations.at((alarm.id.zone, alarm.id.hazard, alarm.mode))
    mode = int(alarm.mode)
    told = [
        {"channel": each.channel, "message": each.identifier, "outcome": each.outcome}
        | {"detail": each.detail, "attempts": each.attempts, "at_us": each.at_us}
        for name in (alarm.id, *alarm.aliases)
        for each in escalations.tellings.get(f"{mode}:{name}", {}).values()
    ]
    told.sort(key=lambda each: int(str(each["at_us"])))
    if run is None:
        return {"told": told, "escalation": None}
    steps = [
        {"what": str(entry.what), "step": entry.step, "why": entry.why, "at_us": entry.at_us}
        | {"calls": [_call_of(escalations, each) for each in entry.calls]}
        for entry in run.log
    ]
    shown = {"escalation": run.escalation, "step": run.step, "stuck": run.stuck, "log": steps}
    return {"told": told, "escalation": shown}


def _call_of(escalations: Escalations, identifier: str) -> dict[str, Any]:
    calling = escalations.calls.get(identifier)
    if calling is None:
        return {"message": identifier, "person": "", "channel": "", "outcome": "", "at_us": 0, "instead": []}
    call = calling.call
    return {
        "message": identifier,
        "person": call.person,
        "channel": call.channel,
        "called_us": call.at_us,
        "outcome": calling.outcome or "under way",
        "at_us": calling.answered_us,
        "attempts": calling.attempts,
        "instead": [_call_of(escalations, each) for each in escalations.instead_of(identifier)],
    }


def stage_of(stage: Stage) -> str:
    return stage.name.lower()
