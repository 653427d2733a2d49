"""The generated parts of docs/: tables of configuration keys, of the alarm's life and of Levels, drawn from the code itself.

A part stands between `<!-- made by make docs: NAME -->` and `<!-- end -->`. `python -m tests.kit.docpages` brings all of them up
to date; tests/repo/test_docs.py fails when one is not.
"""

import re
from collections.abc import Callable, Iterable
from math import inf
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from bucium.documents import of_kind
from controller.alarm.life import MUTED, TABLE, Cue, State
from controller.dispatch.cap import MEANING
from cython_ext import Level
from lanes.settings import Settings

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs"
PART: Final = re.compile(r"(<!-- made by make docs: ([a-z-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
UNITS: Final = {  # the last words of a key's name
    "per_min": "units/min",
    "per_s": "units/s",
    "per_h": "units/h",
    "hours": "h",
    "mib": "MiB",
    "baud": "bit/s",
    "latitude": "°",
    "longitude": "°",
    "m": "m",
    "s": "s",
}
COTE: Final = {  # domain.md §2.1: the Romanian cote, and the codes that both countries use
    Level.NORMAL: ("–", "green, *verde*"),
    Level.ATTENTION: ("CA, *cota de atenție*", "yellow, *galben*"),
    Level.ALARM: ("CI, *cota de inundație*", "orange, *portocaliu*"),
    Level.DANGER: ("CP, *cota de pericol*", "red, *roșu*"),
}


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = list(heads)
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


# Configuration.


def models_in(annotation: Any) -> list[type[Settings]]:
    """The tables that a field can hold."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return [annotation]
    return [model for part in get_args(annotation) for model in models_in(part)]


def shape(annotation: Any) -> Any:
    """What is left without `Annotated` and `| None`."""
    while get_origin(annotation) in (Annotated, Union, UnionType):
        parts = [part for part in get_args(annotation) if part is not type(None) and not isinstance(part, FieldInfo)]
        annotation = parts[0]
    return annotation


def bounds(field: FieldInfo) -> str:
    """The range of a number, from the schema's own marks."""
    marks = list(field.metadata)
    for part in get_args(field.annotation):
        for mark in getattr(part, "__metadata__", ()):
            marks += getattr(mark, "metadata", [])
    low = high = ""
    for mark in marks:
        for name, words in (("ge", "{:g}"), ("gt", "over {:g}")):
            if (value := getattr(mark, name, None)) is not None:
                low = words.format(value)
        if (value := getattr(mark, "le", None)) is not None:
            high = f"{value:,}" if isinstance(value, int) else f"{value:,g}"
        if (value := getattr(mark, "lt", None)) is not None:
            high = f"{value - 1:,}"
    if low and high:
        return f"{low} to {high}"
    return f"at least {low}".replace("at least over", "over") if low else f"at most {high}" if high else ""


def literals(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    if get_origin(annotation) in (Annotated, Union, UnionType):
        return [value for part in get_args(annotation) for value in literals(part)]
    return []


def kind(key: str, field: FieldInfo) -> str:
    """Unit and range, or the words that can stand there."""
    inner = shape(field.annotation)
    words = [f"`{value}`" for value in literals(field.annotation) if value != ""]
    if words:
        return " ".join(words)
    unit = next((unit for end, unit in UNITS.items() if key == end or key.endswith("_" + end)), "")
    if inner is bool:
        return "`true` `false`"
    if inner in (int, float):
        return ", ".join(filter(None, (unit or "number", bounds(field))))
    if get_origin(inner) is tuple:
        return "list"
    if get_origin(inner) is dict:
        return "table"
    return "path" if inner is Path else "text"


def default(field: FieldInfo) -> str:
    if field.is_required():
        return "**needed**"
    value = field.default_factory() if field.default_factory else field.default  # type: ignore[call-arg]
    if value in (None, "", (), {}, PydanticUndefined) and value is not False and value != 0:
        return "–"
    if isinstance(value, tuple) and inf in value:
        return "no bounds"
    if isinstance(value, tuple):
        return " ".join(f"`{each}`" for each in value)
    return f"`{str(value).lower() if isinstance(value, bool) else f'{value:g}' if isinstance(value, float) else value}`"


def sections(model: type[Settings], path: str = "") -> list[tuple[str, type[Settings]]]:
    """(heading, model) of a file's tables, in the file's own order."""
    found = [("", model)]
    below: dict[type[Settings], tuple[list[str], bool]] = {}
    for name, field in model.model_fields.items():
        key = field.alias or name
        for each in models_in(field.annotation):
            is_many = get_origin(shape(field.annotation)) is tuple
            whole = f"{path}.{key}" if path else key
            if get_origin(shape(field.annotation)) is dict:
                whole += ".NAME"
            below.setdefault(each, ([], is_many))[0].append(whole)
    for each, (paths, is_many) in below.items():
        first, *others = sections(each, paths[0])
        heads = [f"[[{p}]]" if is_many else f"[{p}]" for p in paths]
        tags = [
            (n, v[0]) for n, f in each.model_fields.items() if f.is_required() and len(v := literals(f.annotation)) == 1
        ]
        tag = "".join(f' {name} = "{value}"' for name, value in tags)
        found.append((", ".join(f"`{head}{tag}`" for head in heads), first[1]))
        found += others
    return found


def configuration(name: str) -> str:
    """Every key of one kind of file."""
    parts = []
    for heading, model in sections(of_kind(name).model()):
        rows = []
        for field_name, field in model.model_fields.items():
            if models_in(field.annotation):
                continue
            key = field.alias or field_name
            rows.append((f"`{key}`", kind(key, field), default(field), field.description or ""))
        if rows:
            parts.append(f"### {heading}\n\n" if heading else "At the top of the file:\n\n")
            parts.append(table(("key", "value", "default", "means"), rows) + "\n")
    return "".join(parts)


# The alarm's life.


def alarm_table() -> str:
    cues = list(Cue)
    rows = [
        (f"**{state}**", *(str(TABLE.get((state, cue), "·")) for cue in cues)) for state in State if state not in MUTED
    ]
    muted = [cue for cue in cues if any((state, cue) in TABLE for state in MUTED)]
    rows += [(f"**{state}**", *(str(TABLE[state, c]) if c in muted else "·" for c in cues)) for state in MUTED_ORDER]
    return table(("state", *cues), rows)


MUTED_ORDER: Final = tuple(state for state in State if state in MUTED)


def alarm_diagram() -> str:
    """Mutes are left out: they can begin anywhere."""
    edges: dict[tuple[State, State], list[str]] = {}
    for (state, cue), after in TABLE.items():
        if state not in MUTED and after not in MUTED:
            edges.setdefault((state, after), []).append(cue)
    name = {state: str(state).replace("-", "_") for state in State}
    lines = [f"    {name[a]} --> {name[b]}: {', '.join(cues)}" for (a, b), cues in edges.items()]
    return "\n".join(["```mermaid", "stateDiagram-v2", f"    [*] --> {name[State.NORMAL]}", *lines, "```"]) + "\n"


# Levels.


def levels() -> str:
    rows = []
    for level, meaning in MEANING.items():
        cota, colour = COTE[level]
        cells = (str(int(level)), level.name.lower(), cota, colour, meaning.severity, meaning.urgency)
        rows.append((*cells, f"`{meaning.awareness}`"))
    return table(
        ("Level", "word", "cota (flood)", "code", "CAP severity", "CAP urgency", "MeteoAlarm `awareness_level`"), rows
    )


PARTS: Final[dict[str, Callable[[], str]]] = {
    "node": lambda: configuration("node"),
    "controller": lambda: configuration("controller"),
    "duty": lambda: configuration("duty"),
    "desk": lambda: configuration("desk"),
    "plan": lambda: configuration("plan"),
    "root": lambda: configuration("root"),
    "alarm-table": alarm_table,
    "alarm-diagram": alarm_diagram,
    "levels": levels,
}


def current(text: str) -> str:
    """The page with its generated parts as they should be."""
    return PART.sub(lambda found: found[1] + PARTS[found[2]]() + found[4], text)


def main() -> None:
    for page in sorted(DOCS.glob("*.md")):
        text = page.read_text()
        if current(text) != text:
            page.write_text(current(text))
            print(f"wrote {page.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
