"""What a verified CAP message says to us: which zones, which hazard, which Level, until when; or why it says nothing.

    hazard   flood: MeteoAlarm's awareness_type 12 or 13, or an event of the source's flood_events; fire: category Fire,
             awareness_type 8 (forest fire), or one of fire_events; anything else is not ours to raise
    Level    severity Moderate, Severe, Extreme: attention, alarm, danger; Minor and Unknown: nothing. Over: urgency Past,
             responseType AllClear; certainty Unlikely: nothing
    zones    every zone that an area's codes, polygons or circles reach (area.py)

A message in several languages says the same in each info; the worst of them counts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from cython_ext import Hazard, Level
from lanes import fields
from lanes.keys import Mode

from ..dispatch import capcheck
from ..dispatch.capcheck import Fault, Node
from ..dispatch.capform import PREFIX, instant
from .area import POSITIONS_MAX, Ground, Position, Shape, circle
from .settings import SourceSettings

FUTURE_US: Final = 300_000_000  # their clock may be ahead of ours by so much
VALID_US: Final = 86_400_000_000  # for a message that does not say when it expires
VALID_MAX_US: Final = 7 * 86_400_000_000  # whatever it says
REFERENCES_MAX: Final = 400  # twice what we send ourselves
CLAIMS_MAX: Final = 256  # zones of one message
HEADLINE_MAX: Final = 200  # characters that are kept
MODES: Final = {"Actual": Mode.LIVE, "Exercise": Mode.EXERCISE, "Test": Mode.TEST}
LEVELS: Final = {"Moderate": Level.ATTENTION, "Severe": Level.ALARM, "Extreme": Level.DANGER}
FLOODS: Final = frozenset({"12", "13"})  # domain.md §5.6: flooding, rain-flood
FIRES: Final = frozenset({"8"})  # forest-fire

Triple = tuple[str, str, int]  # sender, identifier, sent (UTC microseconds): what CAP calls a message by


@dataclass(frozen=True, slots=True)
class Claim:
    """A danger that the message speaks of, in a zone of ours."""

    zone: str
    hazard: Hazard
    level: Level

    def pack(self) -> list[Any]:
        return [self.zone, int(self.hazard), int(self.level)]

    @classmethod
    def unpack(cls, value: Any) -> "Claim":
        zone, hazard, level = fields.row(value, 3, "claim")
        return cls(
            fields.name(zone, "zone"), fields.one_of(Hazard, hazard, "hazard"), fields.one_of(Level, level, "level")
        )


@dataclass(frozen=True, slots=True)
class Told:
    """One message as far as it concerns us. `references`: the earlier ones that it replaces or ends. Times in UTC µs."""

    source: str
    sender: str
    identifier: str
    sent_us: int
    type: str  # Alert, Update, Cancel; Ack and Error change nothing
    mode: Mode
    expires_us: int
    claims: tuple[Claim, ...]
    references: tuple[Triple, ...] = ()
    headline: str = ""
    by_hand: bool = False  # people may be asked about sirens for it
    why: str = field(default="")  # it raises nothing: "no-zone", "no-hazard", "minor"

    @property
    def triple(self) -> Triple:
        return self.sender, self.identifier, self.sent_us

    def pack(self) -> list[Any]:
        heads = [self.source, self.sender, self.identifier, self.sent_us, self.type, int(self.mode), self.expires_us]
        claims = [claim.pack() for claim in self.claims]
        return [*heads, claims, [list(each) for each in self.references], self.headline, self.by_hand, self.why]

    @classmethod
    def unpack(cls, value: Any) -> "Told":
        source, sender, identifier, sent_us, kind, mode, expires_us, claims, references, headline, by_hand, why = (
            fields.row(value, 12, "message")
        )
        return cls(
            source,
            sender,
            identifier,
            sent_us,
            kind,
            Mode(mode),
            expires_us,
            tuple(Claim.unpack(claim) for claim in claims),
            tuple((one, two, three) for one, two, three in references),
            headline,
            by_hand,
            why,
        )


def read(root: Node, source: SourceSettings, grounds: Sequence[Ground], now_us: int) -> Told | Fault:
    """The verified message, held to form, rules and time. A Fault: it is refused."""
    found = capcheck.examine(root)
    if found:
        return found[0]
    facts = {child.tag.removeprefix(PREFIX): (child.text or "").strip() for child in root if isinstance(child.tag, str)}
    if facts["sender"] not in source.senders:
        return Fault("sender", f"{facts['sender'][:60]!r} is none of this source's senders")
    mode = MODES.get(facts["status"])
    if mode is None:
        return Fault("status", f"{facts['status']} is not for receivers")
    sent_us = _us(facts["sent"])
    if sent_us > now_us + FUTURE_US:
        return Fault("future", f"sent at {facts['sent']}")
    references = tuple(_references(facts.get("references", "")))
    if len(references) > REFERENCES_MAX:
        return Fault("references", f"{len(references)}, at most {REFERENCES_MAX}")
    kind = facts["msgType"]
    infos = [child for child in root if child.tag == PREFIX + "info"]
    if sum(len((each.text or "").split()) for info in infos for each in _deep(info, "polygon")) > POSITIONS_MAX:
        return Fault("area", f"more than {POSITIONS_MAX} positions")
    sums = [_sum(info, source, grounds) for info in infos]
    ends = [_us(expires) for each in sums if (expires := each.expires)]
    expires_us = min(max(ends, default=sent_us + VALID_US), now_us + VALID_MAX_US)
    if kind in ("Alert", "Update") and expires_us <= now_us:
        return Fault("expired", f"at {max((each.expires for each in sums), default='')}")
    claims: dict[tuple[str, Hazard], Level] = {}
    for each in sums:
        for zone in each.zones if each.hazard is not None and each.level else ():
            assert each.hazard is not None
            place = zone, each.hazard
            claims[place] = max(claims.get(place, Level.NORMAL), each.level)
    if len(claims) > CLAIMS_MAX:
        return Fault("area", f"{len(claims)} of our zones in one message")
    kept = tuple(Claim(zone, hazard, level) for (zone, hazard), level in sorted(claims.items()))
    headline = next((each.headline for each in sums if each.headline), "")[:HEADLINE_MAX]
    why = "" if kept else _why(sums)
    sender, identifier = facts["sender"], facts["identifier"]
    by_hand = source.sirens == "by-hand"
    return Told(
        source.name, sender, identifier, sent_us, kind, mode, expires_us, kept, references, headline, by_hand, why
    )


@dataclass(frozen=True, slots=True)
class _Sum:
    """One info, summed up."""

    hazard: Hazard | None
    level: Level
    zones: tuple[str, ...]
    expires: str
    headline: str


def _sum(info: Node, source: SourceSettings, grounds: Sequence[Ground]) -> _Sum:
    facts: dict[str, list[str]] = {}
    for child in info:
        if isinstance(child.tag, str) and not len(child):
            facts.setdefault(child.tag.removeprefix(PREFIX), []).append((child.text or "").strip())
    level = LEVELS.get(facts["severity"][0], Level.NORMAL)
    over = facts["urgency"][0] == "Past" or "AllClear" in facts.get("responseType", ())
    if over or facts["certainty"][0] == "Unlikely":
        level = Level.NORMAL
    headline = facts.get("headline", [""])[0] or facts["event"][0]
    return _Sum(
        _hazard(info, facts, source), level, tuple(_zones(info, grounds)), facts.get("expires", [""])[0], headline
    )


def _hazard(info: Node, facts: dict[str, list[str]], source: SourceSettings) -> Hazard | None:
    pairs = list(_pairs(info, "parameter"))
    awareness = {value.split(";")[0].strip() for name, value in pairs if name == "awareness_type"}
    words = {facts["event"][0].casefold(), *(value.casefold() for _, value in _pairs(info, "eventCode"))}
    if awareness & FLOODS or words & {each.casefold() for each in source.flood_events}:
        return Hazard.FLOOD
    if "Fire" in facts["category"] or awareness & FIRES or words & {each.casefold() for each in source.fire_events}:
        return Hazard.FIRE
    return None


def _zones(info: Node, grounds: Sequence[Ground]) -> Iterator[str]:
    shapes: list[Shape] = []
    codes: list[tuple[str, str]] = []
    for area in (child for child in info if child.tag == PREFIX + "area"):
        for each in area:
            if each.tag == PREFIX + "polygon":
                shapes.append(Shape.of([_position(point) for point in each.text.split()]))
            elif each.tag == PREFIX + "circle":
                centre, radius_km = each.text.split()
                shapes.append(circle(*_position(centre), float(radius_km)))
        codes += _pairs(area, "geocode")
    for ground in grounds:
        if ground.touches(shapes, codes):
            yield ground.zone


def _position(text: str) -> Position:
    latitude, longitude = text.split(",")
    return float(latitude), float(longitude)


def _pairs(parent: Node, name: str) -> Iterator[tuple[str, str]]:
    for pair in (child for child in parent if child.tag == PREFIX + name):
        facts = {child.tag: (child.text or "").strip() for child in pair if isinstance(child.tag, str)}
        yield facts[PREFIX + "valueName"], facts[PREFIX + "value"]


def _deep(info: Node, name: str) -> Iterator[Node]:
    for area in (child for child in info if child.tag == PREFIX + "area"):
        yield from (child for child in area if child.tag == PREFIX + name)


def _references(text: str) -> Iterator[Triple]:
    for each in text.split():
        sender, identifier, sent = each.split(",")
        yield sender, identifier, _us(sent)


def _us(text: str) -> int:
    at = instant(text)
    assert at is not None, "the form has been examined"
    return round(at.timestamp() * 1e6)


def _why(sums: Sequence[_Sum]) -> str:
    if not any(each.hazard is not None for each in sums):
        return "no-hazard"
    return "minor" if not any(each.level for each in sums if each.hazard is not None) else "no-zone"
