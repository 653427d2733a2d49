"""Readiness, coverage, silent tests and exercises as JSON: what people and their tools see at the desk (docs/dispatcher.md)."""

from operator import attrgetter
from typing import Any, Final

from lanes.keys import Mode
from lanes.orders import Action
from lanes.readiness import Ready
from lanes.reports import CHARGE_UNKNOWN, Stage

from ..activation import Activation
from ..coverage import Covered, radius_of
from ..registry import SirenView
from ..room import Room
from .drills import Drills
from .silent import SilentTests, calendar_of
from .watching import Watching, left_of, readiness_of

WORKING: Final = frozenset({Stage.ACCEPTED, Stage.ARMED, Stage.SOUNDING})


class Picture:
    """Asked by the desk."""

    def __init__(self, room: Room, watching: Watching, tests: SilentTests, drills: Drills) -> None:
        self._room = room
        self._watching = watching
        self._tests = tests
        self._drills = drills

    def siren(self, view: SirenView) -> dict[str, Any]:
        """What is to be known of one siren beyond what it does."""
        room = self._room
        found = readiness_of(room, view)
        siren, state = room.plan.siren(view.id), view.state
        return {
            "ready": found.ready.word,
            "reasons": list(found.reasons),
            "parts": {each.name.lower(): seen.name.lower() for each, seen in view.inputs.items()},
            "battery_v": state.battery_mv / 1000 if state and state.battery_mv else None,
            "charge_percent": state.charge_percent if state and state.charge_percent != CHARGE_UNKNOWN else None,
            "activations_left": self._left(view),
            "silent_test": self._test(view),
            "radius_m": round(radius_of(siren, room.plan)) if siren else 0,
            "sounding_mode": self._mode(view),
        }

    def _left(self, view: SirenView) -> dict[str, Any] | None:
        """Full activations left on battery, with what that rests on."""
        siren = self._room.plan.siren(view.id)
        rest = left_of(view, siren) if siren else None
        if rest is None or siren is None or siren.battery is None:
            return None
        least = siren.battery.least
        return {
            "left": rest.activations,
            "of": rest.total,
            "least": least,
            "short": rest.short(least),
            "basis": str(rest.basis),
            "source": siren.battery.source,
        }

    def _test(self, view: SirenView) -> dict[str, Any]:
        room = self._room
        siren, known = room.plan.siren(view.id), room.schedule.tests.get(view.id)
        result = str(known.result) if known and known.result else ""
        return {
            "calendar": calendar_of(siren, room.plan)[0] if siren else "",
            "next_us": self._tests.next_us(siren, room.clock.wall_us()) if siren else 0,
            "last_us": known.at_us if known else 0,
            "result": result,
            "why": known.why if known else "",
            "passed_us": known.passed_us if known else 0,
        }

    def _mode(self, view: SirenView) -> str:
        """In which mode it is being sounded; empty: it is not, or not by us."""
        for activation in reversed(list(self._room.fold.activations)):
            errand = activation.errands.get(view.id)
            if activation.action is Action.START and errand is not None and errand.stage in WORKING:
                return Mode(activation.core.mode).name.lower()
        return ""

    def zones(self) -> list[dict[str, Any]]:
        """People within earshot of sirens that could sound now, for each zone."""
        room, covers = self._room, self._watching.covers()
        found = []
        for zone in room.plan.zones:
            views = [v for v in room.fold.registry.sirens.values() if _warns(room, v.id, zone.id)]
            able = [v for v in views if readiness_of(room, v).ready < Ready.CANNOT_SOUND]
            row: dict[str, Any] = {"zone": zone.id, "sirens": len(views), "sirens_able": len(able)}
            cover = covers.get(zone.id)
            now = self._watching.now(cover) if cover else None
            row |= people_of(now) | {"target_percent": zone.coverage_percent, "short": False, "unplaced": []}
            if cover and now:
                row |= {"short": now.percent < zone.coverage_percent, "unplaced": list(cover.unplaced)}
            found.append(row)
        return found

    def reached(self, activation: Activation) -> dict[str, Any]:
        """People within earshot of sirens that were measured to sound, by zone; empty for what is no start."""
        if activation.action is not Action.START:
            return {}
        return {
            zone: {"people": each.people, "people_total": each.total, "percent": round(each.percent, 1)}
            for zone, each in self._watching.reached(activation).items()
        }

    def exercises(self) -> list[dict[str, Any]]:
        """The plan's exercises: when each is next, and what became of the last."""
        room = self._room
        now_us = room.clock.wall_us()
        found = []
        for exercise in room.plan.exercises:
            past = [each for each in room.schedule.drills() if each.exercise == exercise.id and each.at_us <= now_us]
            last = max(past, key=attrgetter("at_us"), default=None)
            found.append(
                {
                    "exercise": exercise.id,
                    "zones": list(exercise.zones),
                    "calendar": exercise.calendar,
                    "pattern": exercise.pattern,
                    "mode": "exercise",
                    "next_us": self._drills.next_us(exercise, now_us),
                    "last_us": last.at_us if last else 0,
                    "last": last.steps[-1] if last and last.steps else "",
                    "activation": last.number if last else 0,
                }
            )
        return found


def people_of(covered: Covered | None) -> dict[str, Any]:
    """People who are covered now; nulls where nobody knows who lives there."""
    if covered is None:
        return {"people_covered_now": None, "people_total": None, "percent": None}
    return {
        "people_covered_now": covered.people,
        "people_total": covered.total,
        "percent": round(covered.percent, 1),
    }


def _warns(room: Room, siren: str, zone: str) -> bool:
    described = room.plan.siren(siren)
    return described is not None and zone in described.zones
