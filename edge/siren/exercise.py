"""An exercise order that nobody has approved: the node asks its own plan, signed by two people (design §2.4; issue 5, item 8).

It is obeyed only when all of this holds: it is signed with an exercise key and says exercise; the plan has an exercise with this
pattern for these zones; by our own trusted clock its instant is at most five minutes away; the incident is that of this exercise
and this instant, so that each siren sounds for it once; and no point of ours has an alarm open in these zones. Whoever steals
the controller's exercise key can do no more than begin the drill that everybody expects, at the time at which they expect it.
"""

from math import ceil

from lanes.exercises import Exercise, occasion_near
from lanes.keys import Mode
from lanes.orders import OrderCore

from .moment import Moment
from .standing import Standing


def why_not(core: OrderCore, standing: Standing, moment: Moment) -> str:
    """Why the plan's calendar does not stand for this order; empty when it does."""
    plan = standing.plan
    if core.mode is not Mode.EXERCISE:
        return "only an exercise may rest on the plan's calendar"
    if not moment.trusted:
        return "our clock is not trusted"
    named = [each for each in plan.exercises if each.pattern == core.pattern and set(core.zones) <= set(each.zones)]
    if not named:
        return "the plan has no such exercise in these zones"
    if standing.view.endangered(core.zones):
        return "an alarm of our own is open in these zones"
    doubts = [_doubt(each, core, standing, moment) for each in named]
    return "" if "" in doubts else doubts[0]


def _doubt(exercise: Exercise, core: OrderCore, standing: Standing, moment: Moment) -> str:
    occasion = occasion_near(exercise, standing.plan.timezone_of(exercise.zones[0]), moment.wall_us)
    if occasion is None:
        return f"{exercise.id} is not now"
    if core.incident != occasion.incident:
        return f"not the incident of {exercise.id} at this time"
    pattern = standing.plan.pattern(exercise.pattern)
    assert pattern is not None, "the plan's own check"
    most_s = exercise.max_s or ceil(pattern.length_s)
    return "" if core.max_s <= most_s else f"{core.max_s} s, {exercise.id} lasts {most_s} s"
