"""Sirens, orders and policies as JSON: what people and their tools see at the desk (docs/dispatcher.md has the columns)."""

from math import ceil
from typing import Any

from lanes.envelope import peek
from lanes.keys import Mode
from lanes.plan import Plan, Policy
from lanes.reports import Stage

from .activation import Activation, Result
from .alarm.mutes import Listed, Mute
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


def stage_of(stage: Stage) -> str:
    return stage.name.lower()
