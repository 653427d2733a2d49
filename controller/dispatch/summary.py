"""An alarm's change as JSON, for receivers that do not speak CAP: the same facts and words (docs/cap.md has the fields)."""

import json
from math import isfinite
from typing import Any, Final

from lanes.plan import Zone

from ..alarm.changes import AlarmChange, Reading
from ..alarm.sight import Sight
from ..texts import Language
from .cap import Author, Place, time_of
from .words import Writing, status_of

VERSION: Final = 1  # of the summary; a field may be added within a version, none changes its meaning


def summarise(author: Author, change: AlarmChange, place: Place, words: dict[Language, Writing], *, cap: bool) -> bytes:
    """The summary of one message. `cap`: whether a CAP message of the same identifier exists."""
    zone = author.zone(change)
    sights = {sight.point: sight for sight in change.sights}
    document = {
        "version": VERSION,
        "identifier": place.identifier,
        "sender": author.settings.sender,
        "sent": time_of(place.sent_us),
        "status": status_of(change.mode, author.plan.root),
        "kind": str(change.kind),
        "renewed": place.renewed,
        "cap": cap,
        "references": list(place.references),
        "alarm": str(change.alarm_id),
        "aliases": [str(alias) for alias in change.aliases],
        "incident": change.alarm_id.incident.hex(),
        "zone": {
            "id": zone.id,
            "name": dict(zone.name),
            "timezone": zone.timezone,
            "geocodes": dict(zone.geocodes),
            "position": _position(zone),
        },
        "hazard": change.hazard.name.lower(),
        "level": int(change.level),
        "was": int(change.was),
        "opened": time_of(change.opened_us),
        "at": time_of(change.at_us),
        "by": change.by,
        "muted": change.muted,
        "plan": author.plan.version,
        "evidence": [_reading(author, reading, sights.get(reading.point)) for reading in change.readings],
        "instructions": dict(zone.instructions),
        "texts": {language: _words(written) for language, written in words.items()},
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _position(zone: Zone) -> list[float] | None:
    """Latitude and longitude of its middle: the circle's, or the mean of the polygon's corners."""
    if zone.circle is not None:
        return [zone.circle[0], zone.circle[1]]
    corners = zone.polygon[:-1]
    if not corners:
        return None
    return [round(sum(corner[axis] for corner in corners) / len(corners), 6) for axis in (0, 1)]


def _words(written: Writing) -> dict[str, str]:
    return {
        "event": written.event,
        "headline": written.headline,
        "description": written.description,
        "instruction": written.instruction,
    }


def _reading(author: Author, reading: Reading, sight: Sight | None) -> dict[str, Any]:
    return {
        "event": str(reading.key),
        "point": reading.point,
        "value": reading.value if isfinite(reading.value) else None,
        "unit": author.unit(reading.point),
        "level": int(reading.level),
        "reason": reading.reason.name.lower(),
        "trouble": [flag.name.lower() for flag in reading.trouble if flag.name],
        "at": time_of(reading.at_us),
        "sight": sight.shown() if sight else None,
    }
