"""An alarm's change as a CAP 1.2 message (OASIS, July 2010; the MeteoAlarm parameters of domain.md §5.6).

Theory. An alarm is told as one chain of messages: an Alert, Updates as it changes or lasts, a Cancel when it is over. Each
has an identifier of its own and refers to every earlier one, so that a receiver that missed some still knows what is void.
The identifier is derived from the change and not drawn: the same change told twice, after a crash or to several channels, is
the same message, and a receiver drops the second. Times are UTC, written -00:00, whole seconds.

Signing (XML-DSig) will append the Signature as the last child of the finished `alert`: `build` returns the element for it,
`write` the bytes.
"""

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

from lxml import etree

from cython_ext import Hazard, Level
from lanes.keys import Mode
from lanes.plan import Plan, Zone
from lanes.planfile import DEMO

from .. import texts
from ..alarm.changes import AlarmChange, ChangeKind, Reading
from ..texts import Language
from .capcheck import NAMESPACE
from .settings import CapSettings

HEADLINE_MAX: Final = 160  # characters: what a cell broadcast or a board shows (domain.md §5.4)
TEXT_MAX: Final = 4000  # characters of one instruction: keeps four languages within the size that is published
READINGS_SHOWN: Final = 8  # in the description; the parameters carry all that the change has
_CONTROL: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # what XML 1.0 cannot hold


class MessageType(StrEnum):
    """CAP's msgType, as far as we send it."""

    ALERT = "Alert"
    UPDATE = "Update"
    CANCEL = "Cancel"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a Level means in CAP (domain.md §2.1, §5.6)."""

    severity: str
    urgency: str
    awareness: str


MEANING: Final = {
    Level.NORMAL: Meaning("Minor", "Past", "1; green; Minor"),
    Level.ATTENTION: Meaning("Moderate", "Expected", "2; yellow; Moderate"),
    Level.ALARM: Meaning("Severe", "Immediate", "3; orange; Severe"),
    Level.DANGER: Meaning("Extreme", "Immediate", "4; red; Extreme"),
}
CATEGORY: Final = {Hazard.FLOOD: "Met", Hazard.FIRE: "Fire"}  # CAP 1.2 §3.2.2: Met includes flood
AWARENESS_TYPE: Final = {Hazard.FLOOD: "12; flooding"}  # MeteoAlarm has none for a fire in a town
RESPONSE: Final = {
    (Hazard.FLOOD, Level.ATTENTION): "Monitor",
    (Hazard.FLOOD, Level.ALARM): "Prepare",
    (Hazard.FLOOD, Level.DANGER): "Execute",  # the zone's instruction says what
    (Hazard.FIRE, Level.ATTENTION): "Monitor",
    (Hazard.FIRE, Level.ALARM): "Evacuate",
    (Hazard.FIRE, Level.DANGER): "Evacuate",
}


@dataclass(frozen=True, slots=True)
class Place:
    """A message's place in its alarm's chain. `references` are the earlier ones, oldest first; times in UTC microseconds."""

    identifier: str
    type: MessageType
    references: tuple[str, ...]
    sent_us: int
    expires_us: int
    renewed: bool = False


def identifier_of(change: AlarmChange, renewal: int = 0) -> str:
    """The identifier of the message about `change`: the same change has the same, for ever. `renewal` counts its repetitions."""
    facts = f"{change.alarm_id}|{change.kind}|{int(change.level)}|{int(change.mode)}|{change.at_us}|{renewal}"
    digest = hashlib.sha256(facts.encode()).hexdigest()[:16]
    return f"bucium-{change.zone}-{change.hazard.name.lower()}-{change.alarm_id.incident.hex()}-{digest}"


def status_of(mode: Mode, root: str) -> str:
    """CAP's status. Nothing under the DEMO root is ever Actual."""
    if root == DEMO or mode is Mode.TEST:
        return "Test"
    return "Exercise" if mode is Mode.EXERCISE else "Actual"


@lru_cache(maxsize=256)  # one message says the same few instants in each language
def time_of(at_us: int) -> str:
    """An instant as CAP writes it: whole seconds, UTC as -00:00."""
    return texts.instant(at_us // 1_000_000 * 1_000_000).strftime("%Y-%m-%dT%H:%M:%S-00:00")


def reference_of(sender: str, identifier: str, sent_us: int) -> str:
    """How a later message names this one."""
    return f"{sender},{identifier},{time_of(sent_us)}"


_PREFIX: Final = f"{{{NAMESPACE}}}"


@dataclass(frozen=True, slots=True)
class Writing:
    """The words of one message in one language; CAP and the JSON summary say the same."""

    event: str
    headline: str
    description: str
    instruction: str


class Author:
    """Writes messages for one plan and one sender. Immutable: a new plan brings a new author."""

    def __init__(self, plan: Plan, settings: CapSettings) -> None:
        self.plan = plan
        self.settings = settings
        self._zones = {zone.id: zone for zone in plan.zones}
        self._points = {point.id: point for point in plan.points}  # votes have no name or unit of their own

    def zone(self, change: AlarmChange) -> Zone:
        """The zone of the alarm; one that the plan no longer has is told under its id, without an area."""
        return self._zones.get(change.zone) or Zone.model_validate({"id": change.zone})

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
        over = change.kind is ChangeKind.CLEARED
        level = change.was if over else change.level
        what = f"{change.hazard.name.lower()}.{max(level, Level.ATTENTION).name.lower()}"
        event = texts.text(language, f"event.{what}")
        headline = texts.text(language, f"headline.{change.kind}", zone=name, event=event, hazard=hazard)
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
        return Writing(event, _cut(headline, HEADLINE_MAX), description, _cut(instruction, TEXT_MAX))

    def _describe(self, change: AlarmChange, language: Language, zone: str, hazard: str, event: str) -> str:
        timezone = self.zone(change).timezone
        opened, at = texts.moment(change.opened_us, timezone), texts.moment(change.at_us, timezone)
        if change.kind is ChangeKind.CLEARED:
            lines = [texts.text(language, "description.cleared", hazard=hazard, zone=zone, opened=opened, at=at)]
        else:
            level = texts.text(language, texts.code("level", change.level))
            lines = [texts.text(language, "description.area", event=event, zone=zone, level=level, opened=opened)]
        for reading in change.readings[:READINGS_SHOWN]:
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
            if reading.trouble:
                lines.append(f"({texts.troubles(language, reading.trouble)})")
        if len(change.readings) > READINGS_SHOWN:
            more = len(change.readings) - READINGS_SHOWN
            lines.append(texts.text(language, "description.more", count=more))
        return _cut(" ".join(lines), TEXT_MAX)

    def point_name(self, point_id: str, language: Language) -> str:
        item = self._points.get(point_id)
        return texts.local(item.name, language, point_id) if item else point_id

    def unit(self, point_id: str) -> str:
        item = self._points.get(point_id)
        return item.unit if item else ""

    def build(self, change: AlarmChange, place: Place, words: dict[Language, Writing]) -> etree._Element:
        """The message, unsigned. `capcheck` says whether it may be published."""
        settings = self.settings
        status = status_of(change.mode, self.plan.root)
        alert = etree.Element(_PREFIX + "alert", nsmap={None: NAMESPACE})
        _add(alert, "identifier", place.identifier)
        _add(alert, "sender", settings.sender)
        _add(alert, "sent", time_of(place.sent_us))
        _add(alert, "status", status)
        _add(alert, "msgType", place.type)
        _add(alert, "source", f"bucium {self.plan.controller}")
        _add(alert, "scope", settings.scope)
        if settings.restriction:
            _add(alert, "restriction", settings.restriction)
        if settings.addresses:
            _add(alert, "addresses", settings.addresses)
        if note := self._note(change, place, status):
            _add(alert, "note", note)
        if place.references:
            _add(alert, "references", " ".join(place.references))
        _add(alert, "incidents", change.alarm_id.incident.hex())
        for language, written in words.items():
            self._info(alert, change, place, language, written)
        return alert

    def _note(self, change: AlarmChange, place: Place, status: str) -> str:
        first = self.languages(change)[0]
        keys = [] if status == "Actual" else [f"note.{status.lower()}"]
        if place.type is MessageType.CANCEL:
            keys.append("note.cleared")
        elif place.renewed:
            keys.append("note.renewed")
        return " ".join(texts.text(first, key) for key in keys)

    def _info(
        self, alert: etree._Element, change: AlarmChange, place: Place, language: Language, words: Writing
    ) -> None:
        over = place.type is MessageType.CANCEL
        level = Level.NORMAL if over else change.level
        meaning = MEANING[level]
        info = etree.SubElement(alert, _PREFIX + "info")
        _add(info, "language", language)
        _add(info, "category", CATEGORY[change.hazard])
        _add(info, "event", words.event)
        _add(info, "responseType", "AllClear" if over else RESPONSE.get((change.hazard, level), "Monitor"))
        _add(info, "urgency", meaning.urgency)
        _add(info, "severity", meaning.severity)
        _add(info, "certainty", "Observed")
        _add(info, "effective", time_of(place.sent_us))
        _add(info, "onset", time_of(change.opened_us))
        _add(info, "expires", time_of(place.expires_us))
        if self.settings.sender_name:
            _add(info, "senderName", self.settings.sender_name)
        _add(info, "headline", words.headline)
        _add(info, "description", words.description)
        _add(info, "instruction", words.instruction)
        if self.settings.web:
            _add(info, "web", self.settings.web)
        if self.settings.contact:
            _add(info, "contact", self.settings.contact)
        _pair(info, "parameter", "awareness_level", meaning.awareness)
        if kind := AWARENESS_TYPE.get(change.hazard):
            _pair(info, "parameter", "awareness_type", kind)
        _pair(info, "parameter", "bucium_alarm", str(change.alarm_id))
        _pair(info, "parameter", "bucium_plan", str(self.plan.version))
        for reading in change.readings:
            _pair(info, "parameter", "bucium_evidence", self.evidence(reading))
        self._area(info, change, language)

    def evidence(self, reading: Reading) -> str:
        """One line for a machine or an inquiry: event key, point, value and unit, Level, reason, instant."""
        value = f"{reading.value:.6g} {self.unit(reading.point)}".rstrip()
        level, reason = reading.level.name.lower(), reading.reason.name.lower()
        return f"{reading.key}; {reading.point}; {value}; {level}; {reason}; {time_of(reading.at_us)}"

    def _area(self, info: etree._Element, change: AlarmChange, language: Language) -> None:
        zone = self.zone(change)
        area = etree.SubElement(info, _PREFIX + "area")
        _add(area, "areaDesc", texts.local(zone.name, language, zone.id))
        if zone.polygon:
            _add(area, "polygon", " ".join(f"{_plain(lat)},{_plain(lon)}" for lat, lon in zone.polygon))
        if zone.circle:
            latitude, longitude, radius_km = zone.circle
            _add(area, "circle", f"{_plain(latitude)},{_plain(longitude)} {_plain(radius_km)}")
        for name, value in sorted(zone.geocodes.items()):
            _pair(area, "geocode", name, value)


def write(alert: etree._Element) -> bytes:
    """The message as it is sent."""
    return etree.tostring(alert, xml_declaration=True, encoding="UTF-8")


def _add(parent: etree._Element, name: str, text: str) -> None:
    etree.SubElement(parent, _PREFIX + name).text = text if text.isprintable() else _CONTROL.sub("\ufffd", text)


def _pair(parent: etree._Element, element: str, name: str, value: str) -> None:
    pair = etree.SubElement(parent, _PREFIX + element)
    _add(pair, "valueName", name)
    _add(pair, "value", value)


def _plain(number: float) -> str:
    """Degrees or kilometres without an exponent, six decimals at most (a tenth of a metre)."""
    return f"{number:.6f}".rstrip("0").rstrip(".")


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"
