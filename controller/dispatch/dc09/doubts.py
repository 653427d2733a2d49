"""What a dc09 channel leaves out of the plan, or has beyond it: told when a configuration is checked, and refused by nothing.

A plan changes while the controller runs, so a number too many or too few must never keep a controller from starting.
"""

from collections.abc import Iterator

from lanes.plan import Plan

from ..settings import Dc09Settings


def doubts(settings: Dc09Settings, plan: Plan) -> Iterator[str]:
    """One sentence for each, with what to do."""
    where = f"[[dispatch]] {settings.name!r}"
    zones, sirens = {zone.id for zone in plan.zones}, {siren.id for siren in plan.sirens}
    for zone in plan.zones:
        if zone.id not in settings.areas:
            yield f"{where}: zone {zone.id!r} has no area number: the centre is told area 0; give it one in areas"
    for name in settings.areas.keys() - zones:
        yield f"{where}: areas names zone {name!r}, which the plan has not"
    for name in settings.sirens.keys() - sirens:
        yield f"{where}: sirens names siren {name!r}, which the plan has not"
