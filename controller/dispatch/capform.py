"""The form of a CAP 1.2 message: OASIS's schema as one table (see capcheck.py for why it is ours)."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

NAMESPACE: Final = "urn:oasis:names:tc:emergency:cap:1.2"
_MANY: Final = 1 << 30
_DATETIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[-+]\d\d:\d\d", re.ASCII)
_DECIMAL: Final = re.compile(r"\s*[-+]?(\d+(\.\d*)?|\.\d+)\s*", re.ASCII)
_LANGUAGE: Final = re.compile(r"[a-zA-Z]{1,8}(-[a-zA-Z0-9]{1,8})*")
PREFIX: Final = f"{{{NAMESPACE}}}"


def _words(allowed: str) -> Callable[[str], bool]:
    return frozenset(allowed.split()).__contains__


def _text(_: str) -> bool:
    return True


def _filled(text: str) -> bool:
    return bool(text.strip())


def decimal(text: str) -> bool:
    return _DECIMAL.fullmatch(text) is not None


def _natural(text: str) -> bool:
    return re.fullmatch(r"\s*\+?\d+\s*", text, re.ASCII) is not None


@lru_cache(maxsize=64)
def _uri(text: str) -> bool:
    parts = urlsplit(text.strip()) if text.isprintable() else None
    return parts is not None and bool(parts.scheme)


def _instant(text: str) -> bool:
    return instant(text) is not None


@lru_cache(maxsize=256)  # one message says the same few instants in each language
def instant(text: str) -> datetime | None:
    """The instant that a CAP time names; None when it is none (a 'Z' and fractions are not allowed)."""
    if _DATETIME.fullmatch(text) is None:
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


# (element, least, most, what its text may be); the order is the order in the message
Row = tuple[str, int, int, Callable[[str], bool] | str]  # a str names the table of an element with children

_FORM: Final[dict[str, tuple[Row, ...]]] = {
    "alert": (
        ("identifier", 1, 1, _filled),
        ("sender", 1, 1, _filled),
        ("sent", 1, 1, _instant),
        ("status", 1, 1, _words("Actual Exercise System Test Draft")),
        ("msgType", 1, 1, _words("Alert Update Cancel Ack Error")),
        ("source", 0, 1, _text),
        ("scope", 1, 1, _words("Public Restricted Private")),
        ("restriction", 0, 1, _text),
        ("addresses", 0, 1, _text),
        ("code", 0, _MANY, _text),
        ("note", 0, 1, _text),
        ("references", 0, 1, _text),
        ("incidents", 0, 1, _text),
        ("info", 0, _MANY, "info"),
    ),
    "info": (
        ("language", 0, 1, lambda text: _LANGUAGE.fullmatch(text) is not None),
        (
            "category",
            1,
            _MANY,
            _words("Geo Met Safety Security Rescue Fire Health Env Transport Infra CBRNE Other"),
        ),
        ("event", 1, 1, _filled),
        (
            "responseType",
            0,
            _MANY,
            _words("Shelter Evacuate Prepare Execute Avoid Monitor Assess AllClear None"),
        ),
        ("urgency", 1, 1, _words("Immediate Expected Future Past Unknown")),
        ("severity", 1, 1, _words("Extreme Severe Moderate Minor Unknown")),
        ("certainty", 1, 1, _words("Observed Likely Possible Unlikely Unknown")),
        ("audience", 0, 1, _text),
        ("eventCode", 0, _MANY, "pair"),
        ("effective", 0, 1, _instant),
        ("onset", 0, 1, _instant),
        ("expires", 0, 1, _instant),
        ("senderName", 0, 1, _text),
        ("headline", 0, 1, _text),
        ("description", 0, 1, _text),
        ("instruction", 0, 1, _text),
        ("web", 0, 1, _uri),
        ("contact", 0, 1, _text),
        ("parameter", 0, _MANY, "pair"),
        ("resource", 0, _MANY, "resource"),
        ("area", 0, _MANY, "area"),
    ),
    "pair": (("valueName", 1, 1, _text), ("value", 1, 1, _text)),
    "resource": (
        ("resourceDesc", 1, 1, _filled),
        ("mimeType", 1, 1, _filled),
        ("size", 0, 1, _natural),
        ("uri", 0, 1, _uri),
        ("derefUri", 0, 1, _text),
        ("digest", 0, 1, _text),
    ),
    "area": (
        ("areaDesc", 1, 1, _filled),
        ("polygon", 0, _MANY, _text),
        ("circle", 0, _MANY, _text),
        ("geocode", 0, _MANY, "pair"),
        ("altitude", 0, 1, decimal),
        ("ceiling", 0, 1, decimal),
    ),
}


@dataclass(frozen=True, slots=True)
class Table:
    """One element's rows, ready to be looked up by tag."""

    name: str
    rows: tuple[Row, ...]
    place: dict[str, tuple[int, Callable[[str], bool] | str]]


TABLES: Final = {
    name: Table(name, rows, {PREFIX + row[0]: (at, row[3]) for at, row in enumerate(rows)})
    for name, rows in _FORM.items()
}
ALERT: Final = TABLES["alert"]
