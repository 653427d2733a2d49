"""What the view shows: the latest of everything, gathered from happenings. No terminal here."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from bucium.demo.happening import Happening
from lanes.plan import Plan

HISTORY: Final = 120  # samples of a level that the river's line may show
MESSAGES: Final = 60


@dataclass(slots=True)
class PointScene:
    """A point: what the device holds, and how the network judges it."""

    id: str
    unit: str
    marks: tuple[tuple[str, float], ...]  # (CA, 3.0) …
    value: float = 0.0
    level: int = 0
    history: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))


@dataclass(slots=True)
class SirenScene:
    """A siren: what its own device does, and what the node says of it."""

    id: str
    driver: str
    sounding: bool = False  # by the device's record
    sounds: int = 0
    total_s: float = 0.0
    since_s: float = 0.0
    stage: str = ""
    reason: str = ""
    measured: bool = False
    ready: str = ""  # could it sound: the node's word
    why: str = ""


@dataclass(slots=True)
class AlarmScene:
    """An alarm, as the controller's journal has it, and what the outside was told of it."""

    id: str
    zone: str
    hazard: str
    level: int
    state: str
    since_s: float
    evidence: int = 0
    cap: int = 0  # CAP messages that are valid
    posts: int = 0  # webhook deliveries


DRIVERS: Final = {"bridge": "Waveshare coil, RTU", "quay": "GPIO relay", "mill": "Informer, TCP"}


class Scene:
    """Gathers happenings; the view reads it."""

    def __init__(self, plan: Plan) -> None:
        self.phase = "starting"
        self.t_s = 0.0
        self.river_h: float | None = None
        self.rain = 0.0
        self.speed = 0.0
        self.points = {p.id: PointScene(p.id, p.unit, _marks(p)) for p in plan.points}
        self.sirens = {s.id: SirenScene(s.id, DRIVERS.get(s.id, "")) for s in plan.sirens}
        self.alarms: dict[str, AlarmScene] = {}
        self.steps: dict[str, dict[str, float]] = {}
        self.messages: deque[tuple[float, str, str]] = deque(maxlen=MESSAGES)
        self.counts = {"reports": 0, "orders": 0, "beats": 0, "telemetry": 0}

    def take(self, happening: Happening) -> None:
        """One more thing was seen."""
        self.t_s = max(self.t_s, happening.t_s)
        handler = getattr(self, f"_on_{happening.event.replace('-', '_')}", None)
        if handler is not None:
            handler(happening)
        if happening.event not in ("river", "counts", "steps"):
            self.messages.append((happening.t_s, happening.event, happening.text))

    def _on_phase(self, h: Happening) -> None:
        self.phase = h.facts["phase"]

    def _on_river(self, h: Happening) -> None:
        self.river_h, self.rain, self.speed = h.facts["river_h"], h.facts["rain_mm_h"], h.facts["speed"]
        for point_id, value in h.facts["values"].items():
            point = self.points[point_id]
            point.value = value
            point.history.append(value)

    def _on_transition(self, h: Happening) -> None:
        if h.facts["point"] in self.points and h.facts["cause"] in ("raised", "lowered", "restated"):
            self.points[h.facts["point"]].level = h.facts["level"]

    def _on_receipt(self, h: Happening) -> None:
        siren = self.sirens.get(h.facts["siren"])
        if siren:
            siren.stage, siren.reason, siren.measured = h.facts["stage"], h.facts["reason"], h.facts["measured"]

    def _on_readiness(self, h: Happening) -> None:
        siren = self.sirens.get(h.facts["siren"])
        if siren:
            siren.ready, siren.why = h.facts["ready"], ", ".join(h.facts["reasons"])

    def _on_sound(self, h: Happening) -> None:
        siren = self.sirens[h.facts["siren"]]
        if h.facts["on"]:
            siren.sounding, siren.since_s, siren.sounds = True, h.t_s, siren.sounds + 1
        elif siren.sounding:
            siren.sounding = False
            siren.total_s += h.t_s - siren.since_s

    def _on_alarm(self, h: Happening) -> None:
        facts = h.facts
        alarm = self.alarms.setdefault(
            facts["alarm"], AlarmScene(facts["alarm"], facts["zone"], facts["hazard"], 0, "", h.t_s)
        )
        alarm.level, alarm.state, alarm.evidence = facts["level"], facts["kind"], facts["evidence"]

    def _on_cap(self, h: Happening) -> None:
        for alarm in self._of(h):
            alarm.cap += 1

    def _on_webhook(self, h: Happening) -> None:
        for alarm in self._of(h):
            alarm.posts += 1

    def _of(self, h: Happening) -> list[AlarmScene]:
        found = [a for a in self.alarms.values() if (a.zone, a.hazard) == (h.facts.get("zone"), h.facts.get("hazard"))]
        return found[-1:]

    def _on_steps(self, h: Happening) -> None:
        self.steps[h.facts["name"]] = h.facts["took_ms"]

    def _on_counts(self, h: Happening) -> None:
        self.counts.update({name: h.facts[name] for name in self.counts})


def _marks(point: object) -> tuple[tuple[str, float], ...]:
    rules = (("CA", "attention"), ("CI", "alarm"), ("CP", "danger"))
    return tuple((mark, rule.raise_at) for mark, name in rules if (rule := getattr(point, name)) is not None)
