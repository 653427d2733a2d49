"""What one message says in words, in each language: CAP, the summary and the other channels say the same."""

import re
from dataclasses import dataclass
from typing import Final

from cython_ext import Level
from lanes.keys import Mode
from lanes.plan import Plan, Zone
from lanes.planfile import DEMO

from .. import texts
from ..alarm.changes import OUTSIDE, AlarmChange, ChangeKind
from ..texts import Language
from .settings import CapSettings

HEADLINE_MAX: Final = 160  # characters: what a cell broadcast or a board shows (domain.md §5.4)
TEXT_MAX: Final = 4000  # characters of one instruction: keeps four languages within the size that is published
READINGS_SHOWN: Final = 8  # in the description; the parameters carry all that the change has
_CONTROL: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # what XML 1.0 cannot hold


def status_of(mode: Mode, root: str) -> str:
    """CAP's status. Nothing under the DEMO root is ever Actual."""
    if root == DEMO or mode is Mode.TEST:
        return "Test"
    return "Exercise" if mode is Mode.EXERCISE else "Actual"


def clean(text: str) -> str:
    """The text without what XML 1.0 cannot hold."""
    return text if text.isprintable() else _CONTROL.sub("\ufffd", text)


@dataclass(frozen=True, slots=True)
class Writing:
    """The words of one message in one language; CAP and the JSON summary say the same."""

    event: str
    headline: str
    description: str
    instruction: str


class Wording:
    """The words of one plan and one sender. Immutable: a new plan brings new words."""

    def __init__(self, plan: Plan, settings: CapSettings) -> None:
        self.plan = plan
        self.settings = settings
        self._zones = {zone.id: zone for zone in plan.zones}
        self._points = {point.id: point for point in plan.points}  # votes have no name or unit of their own

    def zone(self, change: AlarmChange) -> Zone:
        """The zone of the alarm; one that the plan no longer has is told under its id, without an area."""
        return self.zone_of(change.zone)

    def zone_of(self, zone: str) -> Zone:
        """The plan's zone of this id, or one that has only the id."""
        return self._zones.get(zone) or Zone.model_validate({"id": zone})

    def plan_has(self, zone: str) -> bool:
        """Whether the zone is one of the plan's."""
        return zone in self._zones

    def languages(self, change: AlarmChange) -> tuple[Language, ...]:
        """One info block each: the wanted languages that the zone has names or instructions in."""
        zone = self.zone(change)
        return texts.spoken((zone.name, zone.instructions), self.settings.languages)

    def write(self, change: AlarmChange) -> dict[Language, Writing]:
        """The words of `change` in each language that its zone has."""
        return {language: self._write(change, language) for language in self.languages(change)}

    def _write(self, change: AlarmChange, language: Language) -> Writing:
        zone = self.zone(change)
        hazard = texts.text(language, texts.code("hazard", change.hazard))
        name = texts.local(zone.name, language, zone.id)
        over = change.level is Level.NORMAL
        answered = over and change.kind is not ChangeKind.CLEARED  # acknowledged when the danger had passed
        level = change.was if over else change.level
        what = f"{change.hazard.name.lower()}.{max(level, Level.ATTENTION).name.lower()}"
        event = hazard if answered else texts.text(language, f"event.{what}")
        kind = "answered" if answered else change.kind
        headline = texts.text(language, f"headline.{kind}", zone=name, event=event, hazard=hazard)
        if change.muted:  # who reads no further must not send anybody for it
            headline = f"[{texts.text(language, f'state.{change.muted}')}] {headline}"
        status = status_of(change.mode, self.plan.root)
        if status != "Actual":
            headline = f"{texts.text(language, f'mode.{status.lower()}')}: {headline}"
        own = texts.local(zone.instructions, language, "") if language in zone.instructions else ""
        instruction = texts.text(language, f"instruction.{'cleared' if over else what}")
        if own and not over:
            instruction = own
        if status != "Actual":
            instruction = f"{texts.text(language, f'note.{status.lower()}')} {instruction}"
        description = self._describe(change, language, name, hazard, event)
        return Writing(event, cut(headline, HEADLINE_MAX), description, cut(instruction, TEXT_MAX))

    def _describe(self, change: AlarmChange, language: Language, zone: str, hazard: str, event: str) -> str:
        timezone = self.zone(change).timezone
        opened, at = texts.moment(change.opened_us, timezone), texts.moment(change.at_us, timezone)
        if change.kind is ChangeKind.CLEARED:
            lines = [texts.text(language, "description.cleared", hazard=hazard, zone=zone, opened=opened, at=at)]
        else:
            level = texts.text(language, texts.code("level", change.level))
            lines = [texts.text(language, "description.area", event=event, zone=zone, level=level, opened=opened)]
        for reading in change.readings[:READINGS_SHOWN]:
            if reading.outside:
                level = texts.text(language, texts.code("level", reading.level))
                source = reading.point.removeprefix(OUTSIDE)
                lines.append(texts.text(language, "description.outside", source=source, level=level))
                continue
            lines.append(
                texts.text(
                    language,
                    "description.reading",
                    point=self.point_name(reading.point, language),
                    value=texts.measure(language, reading.value, self.unit(reading.point)),
                    at=texts.moment(reading.at_us, timezone),
                    reason=texts.text(language, texts.code("reason", reading.reason)),
                )
            )
            lines += self._next(change, reading.point, language)
            if reading.trouble:
                lines.append(f"({texts.troubles(language, reading.trouble)})")
        if len(change.readings) > READINGS_SHOWN:
            more = len(change.readings) - READINGS_SHOWN
            lines.append(texts.text(language, "description.more", count=more))
        if change.muted:
            lines.append(texts.text(language, "description.muted", state=texts.text(language, f"state.{change.muted}")))
        return cut(" ".join(lines), TEXT_MAX)

    def _next(self, change: AlarmChange, point: str, language: Language) -> list[str]:
        """How soon the next Level comes, where the rate is known."""
        sight = next((each for each in change.sights if each.point == point), None)
        if sight is None or sight.next_s is None or sight.rate_per_s is None or sight.next_level is None:
            return []
        rate = texts.measure(language, sight.rate_per_s * 3600, self.unit(point))
        level, minutes = texts.text(language, texts.code("level", sight.next_level)), max(1, round(sight.next_s / 60))
        return [texts.text(language, "description.next", rate=rate, level=level, minutes=minutes)]

    def point_name(self, point_id: str, language: Language) -> str:
        item = self._points.get(point_id)
        return texts.local(item.name, language, point_id) if item else point_id

    def unit(self, point_id: str) -> str:
        item = self._points.get(point_id)
        return item.unit if item else ""


def cut(text: str, most: int) -> str:
    """At most so many characters."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"
