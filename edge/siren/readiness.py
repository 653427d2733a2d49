"""Could this node's sirens sound now? The common table (lanes/readiness.py), read for what the node itself knows."""

from collections.abc import Iterable
from typing import Any

from lanes.plan import Plan
from lanes.readiness import Readiness, judge, unpack
from lanes.reports import CHARGE_UNKNOWN, SirenState, SirenTrouble


def readiness_of(state: SirenState) -> Readiness:
    """The answer for one row of a state report."""
    return judge(unpack(state.inputs), SirenTrouble(state.trouble))


def readiness_line(plan: Plan, states: Iterable[SirenState]) -> str:
    """All of them as one line, for the telemetry lane."""
    found = ((plan.sirens[state.siren].id, readiness_of(state)) for state in states)
    return "; ".join(" ".join((name, each.ready.word, *each.reasons)) for name, each in found)


def shown(state: SirenState) -> dict[str, Any]:
    """For the node's own status: the answer, its reasons, each part, and what was measured."""
    found = readiness_of(state)
    return {
        "ready": found.ready.word,
        "reasons": list(found.reasons),
        "parts": {each.name.lower(): seen.name.lower() for each, seen in unpack(state.inputs).items()},
        "battery_v": state.battery_mv / 1000 if state.battery_mv else None,
        "charge_percent": None if state.charge_percent == CHARGE_UNKNOWN else state.charge_percent,
    }
