"""One SMS of any message: Level, zone, what, time. It fits one part: 160 characters of GSM-7, or 70 of UCS-2 (3GPP TS 23.038).

Romanian goes without its diacritics, which GSM-7 has not; a zone's name is cut before anything else is.
"""

from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from cython_ext import Level

from .. import texts
from ..texts import Language

GSM_MAX: Final = 160
UCS2_MAX: Final = 70
# 3GPP TS 23.038 §6.2.1: the default alphabet, and what costs two septets.
_GSM: Final = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
_TWICE: Final = frozenset("^{}\\[~]|€\f")
_PLAIN: Final = str.maketrans("ăâîșțşţĂÂÎȘȚŞŢ–—„”“’…", "aaistst" + "AAISTST" + '--"""\'.')


def cost(text: str) -> tuple[int, int]:
    """What the text takes, and what one SMS holds: septets of GSM-7 where its alphabet suffices, else UTF-16 units."""
    if all(char in _GSM or char in _TWICE for char in text):
        return sum(2 if char in _TWICE else 1 for char in text), GSM_MAX
    return len(text.encode("utf-16-be")) // 2, UCS2_MAX


def fits(text: str) -> bool:
    taken, most = cost(text)
    return taken <= most


def short(document: dict[str, Any], language: Language) -> str:
    """The SMS of a summary in this language."""
    kind = str(document["kind"])
    first: dict[str, Any] = document["alarms"][0] if document.get("alarms") else document
    level = max(int(first.get("level") or 0), int(first.get("was") or 0) if kind == "cleared" else 0)
    hazard, place = first.get("hazard"), first.get("zone")
    if not hazard or not level or not isinstance(place, dict) or not texts.known(f"short.{kind}"):
        return _cut(str(words_of(document, language)["headline"]).translate(_PLAIN))
    zone = texts.local(place["name"], language, place["id"])
    at = _time_of_day(str(first.get("since") or document["at"]), place["timezone"])
    status = str(document["status"]).lower()
    head = f"{texts.text(language, f'mode.{status}')} " if status != "actual" else ""
    head += texts.text(language, f"short.{Level(level).name.lower()}")
    more = int(document.get("count") or 1) - 1
    tail = f": {texts.text(language, f'short.{hazard}')} {at}, {texts.text(language, f'short.{kind}')}"
    tail += f" ({texts.text(language, 'short.muted')})" if document.get("muted") and kind != "muted" else ""
    tail += f" {texts.text(language, 'short.more', count=more)}" if more else ""
    head, tail, zone = (each.translate(_PLAIN) for each in (head, tail, zone))
    while zone and not fits(f"{head} {zone}{tail}"):
        zone = zone[:-1].rstrip()
    return _cut(f"{head} {zone}{tail}")


def words_of(document: dict[str, Any], language: Language) -> dict[str, str]:
    """The words of a summary in this language, failing that in the first that it has."""
    spoken: dict[str, dict[str, str]] = document["texts"]
    return spoken.get(language) or next(iter(spoken.values()))


def _time_of_day(at: str, timezone: str) -> str:
    """Of an instant as CAP writes it, by the clocks of the zone."""
    return datetime.fromisoformat(at).astimezone(ZoneInfo(timezone)).strftime("%H:%M")


def _cut(text: str) -> str:
    while not fits(text):
        text = text[:-1].rstrip()
    return text
