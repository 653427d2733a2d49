"""A siren's notice as JSON for dispatch: that it failed to sound and why, or that it sounds unordered (docs/cap.md).

It goes to the channels that carry JSON. It is for those who dispatch, so no CAP message is made of it.
"""

import json
from typing import Any, Final

from cython_ext import Level

from .. import texts
from ..notices import NoticeKind, SirenNotice
from ..texts import Language
from .cap import Author, time_of
from .summary import VERSION
from .words import status_of

SECURITY: Final = (NoticeKind.UNORDERED, NoticeKind.QUIET)


def tell_of(author: Author, notice: SirenNotice, sent_us: int) -> bytes:
    """The message's bytes."""
    plan = author.plan
    siren = plan.siren(notice.siren)
    names = dict(siren.name) if siren else {}
    document: dict[str, Any] = {
        "version": VERSION,
        "identifier": notice.identifier,
        "sender": author.settings.sender,
        "sent": time_of(sent_us),
        "status": status_of(notice.mode, plan.root),
        "kind": str(notice.kind),
        "security": notice.kind in SECURITY,
        "cap": False,
        "alarm": notice.alarm,
        "incident": notice.incident.hex(),
        "activation": notice.activation,
        "siren": {"id": notice.siren, "name": names, "node": notice.node},
        "zones": list(notice.zones),
        "level": int(notice.level),
        "failure": notice.failure,
        "reason": notice.reason,
        "stand_ins": list(notice.stand_ins),
        "at": time_of(notice.at_us),
        "plan": plan.version,
        "texts": {language: words(author, notice, language) for language in _languages(author, notice)},
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _languages(author: Author, notice: SirenNotice) -> tuple[Language, ...]:
    named = [zone.name for zone in author.plan.zones if zone.id in notice.zones]
    return texts.spoken(named, author.settings.languages)


def words(author: Author, notice: SirenNotice, language: Language) -> dict[str, str]:
    """Headline and description in one language."""
    plan = author.plan
    zones = [zone for zone in plan.zones if zone.id in notice.zones]
    siren = plan.siren(notice.siren)
    name = texts.local(siren.name, language, notice.siren) if siren else notice.siren or notice.node
    where = ", ".join(texts.local(zone.name, language, zone.id) for zone in zones) or "–"
    headline = texts.text(language, f"headline.{notice.kind}", siren=name, zone=where)
    status = status_of(notice.mode, plan.root)
    if status != "Actual":
        headline = f"{texts.text(language, f'mode.{status.lower()}')}: {headline}"
    at = texts.moment(notice.at_us, zones[0].timezone if zones else "UTC")
    parts = [texts.text(language, f"description.{notice.kind}", siren=name, zone=where, at=at)]
    if notice.failure and notice.kind is NoticeKind.FAILED:
        why = texts.text(language, f"failure.{notice.failure}")
        parts.append(texts.text(language, "description.siren-reason", reason=why, code=notice.reason))
        parts.append(_stand_ins(author, notice, language))
    if notice.level > Level.NORMAL:
        parts.append(
            texts.text(
                language, "description.siren-level", level=texts.text(language, texts.code("level", notice.level))
            )
        )
    return {"headline": headline, "description": " ".join(parts)}


def _stand_ins(author: Author, notice: SirenNotice, language: Language) -> str:
    if not notice.stand_ins:
        return texts.text(language, "description.siren-alone")
    found = [author.plan.siren(each) for each in notice.stand_ins]
    names = ", ".join(
        texts.local(siren.name, language, siren.id) if siren else each
        for each, siren in zip(notice.stand_ins, found, strict=True)
    )
    return texts.text(language, "description.siren-stand-ins", sirens=names)
