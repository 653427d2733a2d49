"""What a plan may say and its author hardly means: told when it is built or checked, and refused by nothing."""

from collections.abc import Iterator

from .plan import Plan
from .sounding import Policy


def doubts(plan: Plan) -> Iterator[str]:
    """One sentence for each, with what to do."""
    for policy in plan.policies:
        if policy.mode != "none":
            yield from _policy(plan, policy)
    for zone in plan.zones:
        if not any(zone.id in siren.zones for siren in plan.sirens):
            yield f"zone {zone.id!r} has no siren: what endangers it is told to dispatch only"
    if plan.keys:  # else it is still without its roster
        yield from _unbelieved(plan)


def _unbelieved(plan: Plan) -> Iterator[str]:
    signers = {(key.role, key.signer) for key in plan.keys if key.mode == "live"}
    nodes = sorted({point.node for point in plan.points} | {siren.node for siren in plan.sirens})
    for role, names in (("node", nodes), ("controller", [plan.controller])):
        for name in names:
            if (role, name) not in signers:
                yield f"{role} {name!r} has no live key, so nobody believes it; make one: bucium keys issue {name} --role {role}"


def _policy(plan: Plan, policy: Policy) -> Iterator[str]:
    where = f"policy {policy.zone}/{policy.hazard}/{policy.level}"
    pattern = plan.pattern(policy.pattern)
    assert pattern is not None, "the plan's own check"
    here = [siren for siren in plan.sirens if policy.zone in siren.zones]
    deaf = [siren.id for siren in here if plan.timing(pattern.id, siren.family) is None]
    if here and len(deaf) == len(here):
        yield f"{where}: no siren of the zone can sound {pattern.id!r}; give it a timing for their family"
    elif deaf:
        yield f"{where}: {', '.join(deaf)} cannot sound {pattern.id!r}; give it a timing for their family"
    if policy.max_s and policy.max_s < pattern.length_s:
        yield (
            f"{where}: max_s {policy.max_s} cuts {pattern.id!r}, which lasts {pattern.length_s:g} s; a cut signal is "
            "another signal"
        )
    if not pattern.verified:
        yield f"{where}: {pattern.id!r} is marked unverified ({pattern.source})"
