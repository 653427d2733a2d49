"""An exercise's notice as CAP and as JSON: announced, begun, ended, suspended. Marked Exercise everywhere (docs/cap.md).

One occasion is one chain: the first announcement is an Alert, what follows are Updates, and a Cancel ends it. Nobody is asked to
do anything, so severity is Minor and the response is None; an exercise that gave way says so, and is a Cancel too: from then
on sirens are real.
"""

import json
from dataclasses import asdict
from typing import Any, Final

from lanes.exercises import Exercise
from lanes.keys import Mode
from lanes.plan import Zone

from .. import texts
from ..drillnotice import OVER, DrillKind, DrillNotice
from ..texts import Language
from .cap import Author, MessageType, Place, element, pair, time_of
from .capform import NAMESPACE
from .summary import VERSION
from .words import HEADLINE_MAX, Writing, cut, status_of

URGENCY: Final = {DrillKind.ANNOUNCED: "Future", DrillKind.BEGUN: "Immediate"}
US_PER_MIN: Final = 60_000_000
S_US: Final = 1_000_000


def type_of(notice: DrillNotice, *, chained: bool) -> MessageType | None:
    """What CAP calls it; None: there is nothing to cancel."""
    if notice.kind in OVER:
        return MessageType.CANCEL if chained else None
    return MessageType.UPDATE if chained else MessageType.ALERT


def expires_us(notice: DrillNotice, sent_us: int, valid_us: int) -> int:
    """A message lasts until its exercise is over, and a Cancel as long as any."""
    if notice.kind in OVER:
        return sent_us + valid_us
    return max(notice.at_us + notice.length_s * S_US, sent_us) + 10 * US_PER_MIN


def words_of(author: Author, notice: DrillNotice) -> dict[Language, Writing]:
    """Event, headline, description and instruction in each language of its zones."""
    zones = _zones(author, notice)
    spoken = texts.spoken([zone.name for zone in zones], author.settings.languages)
    return {language: _write(author, notice, zones, language) for language in spoken}


def _write(author: Author, notice: DrillNotice, zones: list[Zone], language: Language) -> Writing:
    exercise = _exercise(author, notice)
    name = texts.local(exercise.name, language, "") if exercise else ""
    event = name or texts.text(language, "event.exercise")
    where = ", ".join(texts.local(zone.name, language, zone.id) for zone in zones) or ", ".join(notice.zones)
    at = texts.moment(notice.at_us, zones[0].timezone if zones else "UTC")
    facts = {"event": event, "zone": where, "at": at, "passed": notice.passed, "total": notice.total}
    headline = texts.text(language, f"headline.{notice.kind}", **facts)
    status = status_of(Mode.EXERCISE, author.plan.root).lower()
    headline = f"{texts.text(language, f'mode.{status}')}: {headline}"
    description = texts.text(language, f"description.{notice.kind}", **facts)
    pattern = author.plan.pattern(notice.pattern)
    if notice.kind in (DrillKind.ANNOUNCED, DrillKind.BEGUN):
        signal = texts.local(pattern.title, language, notice.pattern) if pattern else notice.pattern
        description += " " + texts.text(language, "description.exercise-signal", signal=signal, seconds=notice.length_s)
    instruction = texts.text(language, f"note.{status}")
    return Writing(event, cut(headline, HEADLINE_MAX), description, instruction)


def compose(author: Author, notice: DrillNotice, place: Place, words: dict[Language, Writing]) -> bytes:
    """The CAP message in canonical form, unsigned. gate.py says whether it may be published."""
    status = status_of(Mode.EXERCISE, author.plan.root)
    first = next(iter(words))
    pieces = [
        f'<alert xmlns="{NAMESPACE}">',
        element("identifier", place.identifier),
        element("sender", author.settings.sender),
        element("sent", time_of(place.sent_us)),
        element("status", status),
        element("msgType", place.type),
        element("source", f"bucium {author.plan.controller}"),
        author.scope,
        element("note", texts.text(first, f"note.{status.lower()}")),
        element("references", " ".join(place.references)),
        element("incidents", notice.incident.hex()),
    ]
    pieces += [_info(author, notice, place, language, written) for language, written in words.items()]
    pieces.append("</alert>")
    return "".join(pieces).encode()


def _info(author: Author, notice: DrillNotice, place: Place, language: Language, words: Writing) -> str:
    over = notice.kind in OVER
    urgency = "Past" if over else URGENCY[notice.kind]
    certainty = "Likely" if notice.kind is DrillKind.ANNOUNCED else "Observed"
    return "".join(
        (
            f"<info><language>{language}</language><category>Safety</category>",
            element("event", words.event),
            f"<responseType>None</responseType><urgency>{urgency}</urgency><severity>Minor</severity>",
            f"<certainty>{certainty}</certainty><effective>{time_of(place.sent_us)}</effective>",
            f"<onset>{time_of(notice.at_us)}</onset><expires>{time_of(place.expires_us)}</expires>",
            element("senderName", author.settings.sender_name),
            element("headline", words.headline),
            element("description", words.description),
            element("instruction", words.instruction),
            author.contact,
            pair("parameter", "bucium_exercise", notice.exercise),
            pair("parameter", "bucium_plan", str(author.plan.version)),
            *(author.area(zone, language) for zone in notice.zones),
            "</info>",
        )
    )


def summarise(author: Author, notice: DrillNotice, place: Place, words: dict[Language, Writing], *, cap: bool) -> bytes:
    """The JSON message. `cap`: whether a CAP message of the same identifier exists."""
    document: dict[str, Any] = {
        "version": VERSION,
        "identifier": place.identifier,
        "sender": author.settings.sender,
        "sent": time_of(place.sent_us),
        "status": status_of(Mode.EXERCISE, author.plan.root),
        "kind": str(notice.kind),
        "cap": cap,
        "references": list(place.references),
        "exercise": notice.exercise,
        "incident": notice.incident.hex(),
        "zones": [
            {"id": zone.id, "name": dict(zone.name), "geocodes": dict(zone.geocodes)} for zone in _zones(author, notice)
        ],
        "pattern": notice.pattern,
        "begins": time_of(notice.at_us),
        "length_s": notice.length_s,
        "lead_s": notice.lead_s,
        "at": time_of(notice.told_us),
        "sirens": {"passed": notice.passed, "total": notice.total},
        "plan": author.plan.version,
        "texts": {language: asdict(written) for language, written in words.items()},
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _zones(author: Author, notice: DrillNotice) -> list[Zone]:
    return [zone for zone in author.plan.zones if zone.id in notice.zones]


def _exercise(author: Author, notice: DrillNotice) -> Exercise | None:
    return next((each for each in author.plan.exercises if each.id == notice.exercise), None)
