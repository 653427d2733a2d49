"""A call as JSON: what a person is told of alarms that nobody has acknowledged (docs/cap.md has the fields).

It is for those who dispatch, so no CAP message is made of it, and it names no address: the channel looks that up (duty.toml).
"""

import json
from typing import Any, Final

from cython_ext import Level

from .. import texts
from ..calls import About, Call, CallKind
from ..texts import Language
from .cap import Author, time_of
from .summary import VERSION
from .words import HEADLINE_MAX, TEXT_MAX, cut, status_of

PREFIX: Final = "call/"  # of the outbox's key; no alarm's can begin so
UNREACHED: Final = {"not-delivered": "unreached"}  # to everybody this reason says more than to the next person


def tell_of(author: Author, call: Call, sent_us: int) -> bytes:
    """The message's bytes."""
    plan = author.plan
    spoken = texts.LANGUAGES if call.person else author.settings.languages  # a person has a language of their own
    document: dict[str, Any] = {
        "version": VERSION,
        "identifier": call.identifier,
        "sender": author.settings.sender,
        "sent": time_of(sent_us),
        "status": status_of(call.mode, plan.root),
        "kind": str(call.kind),
        "cap": False,
        "person": call.person,
        "step": call.step,
        "reason": call.reason,
        "level": int(call.level),
        "count": call.count,
        "alarms": [_alarm(author, each) for each in call.about],
        "at": time_of(call.at_us),
        "plan": plan.version,
        "texts": {language: words(author, call, language) for language in spoken},
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _alarm(author: Author, about: About) -> dict[str, Any]:
    zone = author.zone_of(about.zone)
    return {
        "alarm": about.alarm,
        "zone": {"id": zone.id, "name": dict(zone.name), "timezone": zone.timezone},
        "hazard": about.hazard.name.lower(),
        "level": int(about.level),
        "since": time_of(about.since_us),
        "over": about.over,
    }


def words(author: Author, call: Call, language: Language) -> dict[str, str]:
    """Headline, description and instruction in one language: a person's own, whatever the zone speaks."""
    worst = call.about[0]
    facts = {"zone": _zone(author, worst, language), "event": _event(worst, language), "count": call.count}
    several = "s" if call.count > 1 else ""
    headline = texts.text(language, f"headline.{call.kind}{several}", **facts)
    status = status_of(call.mode, author.plan.root)
    marked = f"{texts.text(language, f'mode.{status.lower()}')}: " if status != "Actual" else ""
    lines = [_line(author, each, language) for each in call.about]
    if call.count > len(call.about):
        lines.append(texts.text(language, "description.calls-more", count=call.count - len(call.about)))
    reason = UNREACHED.get(call.reason, call.reason) if call.kind is CallKind.STUCK else call.reason
    lines.append(texts.text(language, f"escalation.{reason}", step=call.step))
    return {
        "headline": cut(marked + headline, HEADLINE_MAX),
        "description": cut(" ".join(lines), TEXT_MAX),
        "instruction": texts.text(language, "instruction.call"),
    }


def _line(author: Author, about: About, language: Language) -> str:
    since = texts.moment(about.since_us, author.zone_of(about.zone).timezone)
    key = "description.call-over" if about.over else "description.call-alarm"
    return texts.text(language, key, zone=_zone(author, about, language), event=_event(about, language), since=since)


def _zone(author: Author, about: About, language: Language) -> str:
    return texts.local(author.zone_of(about.zone).name, language, about.zone)


def _event(about: About, language: Language) -> str:
    level = max(about.level, Level.ATTENTION)
    return texts.text(language, f"event.{about.hazard.name.lower()}.{level.name.lower()}")


def queue_of(call: Call) -> str:
    """The outbox's key: it keeps the calls to one person in order, and apart from all alarms."""
    return f"{PREFIX}{call.person or '*'}"
