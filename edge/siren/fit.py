"""Whether a siren can sound a signal, and would end it though this node, its bus and all else were dead (issue 5, item 4).

A siren that starts a sound and is never told how long it lasts sounds on when its node dies. So each sound needs something that
outlives the node: the relay's own timer, the relay keeper, or a length that is programmed into the siren. Where a blast has none
that ends within a second, the order is refused (`unsupported`), the state report says so, and `bucium config check` before both.
"""

from collections.abc import Iterator, Mapping

from firmware_bridge.sirens.driver import Siren as Driver
from firmware_bridge.sirens.mode import Mode
from lanes.plan import Pattern, Plan, Siren

from .sequencer import blasts


def why_not(driver: Driver, pattern: Pattern, limit_s: float) -> str:
    """Why it cannot sound this, cut at `limit_s`; "" when it can. Voice may be missing: the tones warn without it."""
    for blast in blasts(pattern, limit_s):
        if blast.mode not in driver.modes:
            if blast.mode is Mode.VOICE:
                continue
            return f"it has no {blast.mode}"
        sound_s = blast.until_s - blast.at_s
        if not driver.can_sound(blast.mode, sound_s):
            return f"nothing would end its {blast.mode} of {sound_s:g} s if this node died"
    return ""


def asked(plan: Plan, siren: Siren) -> Iterator[tuple[str, Pattern, float]]:
    """What policies and exercises want of it: who asks, the pattern for its family, and the limit in seconds."""
    for policy in plan.policies:
        if policy.zone in siren.all_zones and policy.mode != "none":
            pattern = plan.timing(policy.pattern, siren.family)
            if pattern is not None:
                yield f"policy {policy.zone}/{policy.hazard}/{policy.level}", pattern, policy.max_s or pattern.length_s
    for exercise in plan.exercises:
        if set(exercise.zones) & set(siren.zones):
            pattern = plan.timing(exercise.pattern, siren.family)
            if pattern is not None:
                yield f"exercise {exercise.id}", pattern, exercise.max_s or pattern.length_s


def unfit(plan: Plan, siren: Siren, driver: Driver) -> Iterator[tuple[str, str, str]]:
    """Who asks, for which pattern, and why this siren cannot sound it."""
    for who, pattern, limit_s in asked(plan, siren):
        if why := why_not(driver, pattern, limit_s):
            yield who, pattern.id, why


def beyond(plan: Plan, siren: Siren, driver: Driver) -> bool:
    """Whether a policy asks for what it cannot sound: it must not be counted on."""
    return any(who.startswith("policy") for who, _, _ in unfit(plan, siren, driver))


def doubts(plan: Plan, node: str, drivers: Mapping[str, Driver]) -> Iterator[str]:
    """What a node's sirens could not do of what the plan asks of them, for people: one sentence each, with what to do."""
    for siren in plan.sirens:
        if siren.node != node:
            continue
        driver = drivers.get(siren.id)
        if driver is None:
            yield f"the plan gives this node siren {siren.id!r}, and nothing drives it: add its [[siren]]"
            continue
        if siren.proof and not driver.can_prove:
            yield f"the plan asks siren {siren.id!r} for proof, and it has nothing to prove with: bind its feedback"
        for who, pattern, why in unfit(plan, siren, driver):
            yield f"siren {siren.id!r} will refuse {pattern!r} ({who}): {why}; see docs/devices.md, What ends a sound"
