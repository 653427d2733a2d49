"""An alarm's change as a CAP 1.2 message (OASIS, July 2010; the MeteoAlarm parameters of domain.md §5.6).

Theory. An alarm is told as one chain of messages: an Alert, Updates as it changes or lasts, a Cancel when it is over. Each
has an identifier of its own and refers to every earlier one, so that a receiver that missed some still knows what is void.
The identifier is derived from the change and not drawn: the same change told twice, after a crash or to several channels, is
the same message, and a receiver drops the second. Times are UTC, written -00:00, whole seconds.

`compose` writes the message in its exclusive canonical form (no declaration, no attributes but the one namespace, no empty
element tags, five escapes), since that is what XML-DSig signs: nothing has to be parsed and serialised again. It is written as
text, which is ten times quicker than a tree; gate.py then reads the very bytes and holds them to every rule.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from cython_ext import Hazard, Level
from lanes.plan import Plan

from .. import texts
from ..alarm.changes import AlarmChange, Reading
from ..alarm.sight import Sight
from ..texts import Language
from .capform import NAMESPACE
from .settings import CapSettings
from .words import Wording, Writing, clean, status_of

if TYPE_CHECKING:
    from .capsign import Signer


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


@lru_cache(maxsize=256)  # one message says the same few instants in each language
def time_of(at_us: int) -> str:
    """An instant as CAP writes it: whole seconds, UTC as -00:00."""
    return texts.instant(at_us // 1_000_000 * 1_000_000).strftime("%Y-%m-%dT%H:%M:%S-00:00")


def reference_of(sender: str, identifier: str, sent_us: int) -> str:
    """How a later message names this one."""
    return f"{sender},{identifier},{time_of(sent_us)}"


class Author(Wording):
    """Writes the messages of one plan and one sender. Immutable: a new plan brings a new author."""

    def __init__(self, plan: Plan, settings: CapSettings, signer: "Signer | None" = None) -> None:
        """Without a `signer` nothing can be published as CAP."""
        super().__init__(plan, settings)
        self.signer = signer
        self._areas: dict[tuple[str, Language], str] = {}
        self.contact = element("web", settings.web) + element("contact", settings.contact)
        self._sender_name = element("senderName", settings.sender_name)
        self.scope = (
            element("scope", settings.scope)
            + element("restriction", settings.restriction)
            + element("addresses", settings.addresses)
        )

    def compose(self, change: AlarmChange, place: Place, words: dict[Language, Writing]) -> bytes:
        """The message in canonical form, unsigned. gate.py says whether it may be published."""
        status = status_of(change.mode, self.plan.root)
        pieces = [
            f'<alert xmlns="{NAMESPACE}">',
            element("identifier", place.identifier),
            element("sender", self.settings.sender),
            element("sent", time_of(place.sent_us)),
            element("status", status),
            element("msgType", place.type),
            element("source", f"bucium {self.plan.controller}"),
            self.scope,
            element("note", self._note(change, place, status)),
            element("references", " ".join(place.references)),
            element("incidents", change.alarm_id.incident.hex()),
        ]
        evidence = "".join(pair("parameter", "bucium_evidence", self.evidence(each)) for each in change.readings)
        evidence += "".join(pair("parameter", "bucium_sight", self.sight(each)) for each in change.sights)
        for language, written in words.items():
            pieces.append(self._info(change, place, language, written, evidence))
        pieces.append("</alert>")
        return "".join(pieces).encode()

    def _note(self, change: AlarmChange, place: Place, status: str) -> str:
        first = self.languages(change)[0]
        keys = [] if status == "Actual" else [f"note.{status.lower()}"]
        if place.type is MessageType.CANCEL:
            keys.append("note.cleared")
        elif place.renewed:
            keys.append("note.renewed")
        return " ".join(texts.text(first, key) for key in keys)

    def _info(self, change: AlarmChange, place: Place, language: Language, words: Writing, evidence: str) -> str:
        over = place.type is MessageType.CANCEL
        level = Level.NORMAL if over else change.level
        meaning = MEANING[level]
        kind = AWARENESS_TYPE.get(change.hazard, "")
        sent = time_of(place.sent_us)
        return "".join(
            (
                f"<info><language>{language}</language><category>{CATEGORY[change.hazard]}</category>",
                element("event", words.event),
                element("responseType", "AllClear" if over else RESPONSE.get((change.hazard, level), "Monitor")),
                f"<urgency>{meaning.urgency}</urgency><severity>{meaning.severity}</severity>",
                f"<certainty>Observed</certainty><effective>{sent}</effective>",
                f"<onset>{time_of(change.opened_us)}</onset><expires>{time_of(place.expires_us)}</expires>",
                self._sender_name,
                element("headline", words.headline),
                element("description", words.description),
                element("instruction", words.instruction),
                self.contact,
                pair("parameter", "awareness_level", meaning.awareness),
                pair("parameter", "awareness_type", kind) if kind else "",
                pair("parameter", "bucium_alarm", str(change.alarm_id)),
                pair("parameter", "bucium_plan", str(self.plan.version)),
                pair("parameter", "bucium_muted", change.muted) if change.muted else "",
                evidence,
                self.area(change.zone, language),
                "</info>",
            )
        )

    def evidence(self, reading: Reading) -> str:
        """One line for a machine or an inquiry: event key, point, value and unit, Level, reason, instant."""
        value = f"{reading.value:.6g} {self.unit(reading.point)}".rstrip()
        level, reason = reading.level.name.lower(), reading.reason.name.lower()
        return f"{reading.key}; {reading.point}; {value}; {level}; {reason}; {time_of(reading.at_us)}"

    def sight(self, sight: Sight) -> str:
        """One line more: point; position; rate; time to the next Level; quality; clock of its node. `-`: not known."""
        place = f"{_plain(sight.place[0])},{_plain(sight.place[1])}" if sight.place else "-"
        rate = f"{sight.rate_per_s * 3600:.4g} {self.unit(sight.point)}/h" if sight.rate_per_s is not None else "-"
        level = sight.next_level.name.lower() if sight.next_level is not None else ""
        following = f"{level} in {sight.next_s:.0f} s" if sight.next_s is not None else "-"
        clock = f"{sight.clock.source.name.lower()} {sight.clock.error_ms} ms" if sight.clock else "-"
        votes = ", ".join(f"{vote.point} {vote.level.name.lower()}" for vote in sight.votes)
        heads = f"{sight.point}; {place}; {rate}; {following}; {sight.qc.name.lower()}; {clock}"
        return f"{heads}; {sight.needed} of {votes}" if votes else heads

    def area(self, zone_id: str, language: Language) -> str:
        """The zone's area. A zone of the plan is written once in each language."""
        known = self._areas.get((zone_id, language))
        if known is not None:
            return known
        zone = self.zone_of(zone_id)
        written = element("areaDesc", texts.local(zone.name, language, zone.id).strip() or zone.id)
        if zone.polygon:
            written += element("polygon", " ".join(f"{_plain(lat)},{_plain(lon)}" for lat, lon in zone.polygon))
        if zone.circle:
            latitude, longitude, radius_km = zone.circle
            written += element("circle", f"{_plain(latitude)},{_plain(longitude)} {_plain(radius_km)}")
        for name, value in sorted(zone.geocodes.items()):
            written += pair("geocode", name, value)
        area = f"<area>{written}</area>"
        if self.plan_has(zone_id):
            self._areas[zone_id, language] = area
        return area


def element(name: str, text: str) -> str:
    """An element with its text, as exclusive canonical XML writes it; nothing for an empty text."""
    return f"<{name}>{_escape(clean(text))}</{name}>" if text else ""


def pair(tag: str, name: str, value: str) -> str:
    """A valueName with its value, both of which a message must have even when they are empty."""
    return f"<{tag}><valueName>{_escape(clean(name))}</valueName><value>{_escape(clean(value))}</value></{tag}>"


def _escape(text: str) -> str:
    """Text as canonical XML escapes it (Canonical XML 1.0 §2.3, text nodes)."""
    if "&" in text or "<" in text or ">" in text or "\r" in text:
        text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#xD;")
    return text


def _plain(number: float) -> str:
    """Degrees or kilometres without an exponent, six decimals at most (a tenth of a metre)."""
    return f"{number:.6f}".rstrip("0").rstrip(".")
