"""TOML into a pydantic model: an unknown key is a refusal, with its line and the nearest known key (design §5)."""

import difflib
import re
import tomllib
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from cython_ext import ConfigError

FILE_BYTES_MAX: Final = 4 << 20  # a plan of 5,000 points is 2 MiB


class Settings(BaseModel):
    """The base of every configured thing: frozen, and strict about keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


M = TypeVar("M", bound=Settings)


def load(path: Path, model: type[M]) -> M:
    """The file as `model`; ConfigError names file, line, what is wrong and what to do."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read: {error.strerror}", source=str(path)) from None
    if len(data) > FILE_BYTES_MAX:
        raise ConfigError(f"larger than {FILE_BYTES_MAX} bytes", source=str(path))
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise ConfigError("not UTF-8 text", source=str(path)) from None
    return parse(text, model, source=str(path))


def parse(text: str, model: type[M], *, source: str = "") -> M:
    """`text` as `model`; ConfigError as `load`."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\(at line (\d+)", str(error))
        line = int(found[1]) if found else max(len(text.splitlines()), 1)
        raise ConfigError(f"not TOML: {error}", source=source, line=line) from None
    try:
        return model.model_validate(document)
    except ValidationError as error:
        lines = [_say(detail, model, text, document) for detail in error.errors()[:10]]
        first, line = lines[0]
        rest = "".join(f"\n  also line {at}: {message}" if at else f"\n  also: {message}" for message, at in lines[1:])
        raise ConfigError(first + rest, source=source, line=line) from None


def _say(detail: ErrorDetails, model: type[BaseModel], text: str, document: Any) -> tuple[str, int]:
    path = detail["loc"]
    where = _dotted(path)
    line = line_of(text, path)
    if detail["type"] == "extra_forbidden":
        key = str(path[-1])
        known = _keys_at(model, path[:-1])
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(sorted(known))}"
        return f"unknown key {where!r}; {hint}", line
    if detail["type"] == "missing":
        return f"{where!r} is missing", line
    message = detail["msg"].removeprefix("Value error, ")
    given = detail.get("input")
    shown = f" (given: {given!r})" if isinstance(given, (str, int, float, bool)) else ""
    return f"{where}: {message}{shown}" if where else message + shown, line


def _dotted(path: tuple[int | str, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def _keys_at(model: Any, path: tuple[int | str, ...]) -> list[str]:
    """The keys that the model knows at `path`."""
    models = [model]
    for part in path:
        found: list[Any] = []
        for each in models:
            if isinstance(part, int):
                found.append(each)
                continue
            for name, field in each.model_fields.items():
                if part in (name, field.alias):
                    found.extend(_models_in(field.annotation))
            if each.__name__ == part or _tagged(each, part):
                found.append(each)  # pydantic puts the tag of a union member into the path
        models = found or models
    return [field.alias or name for each in models for name, field in each.model_fields.items()]


def _tagged(model: type[BaseModel], tag: str) -> bool:
    """Whether `tag` is what tells this member of a union from the others."""
    kinds = (field.annotation for field in model.model_fields.values())
    return any(get_origin(kind) is Literal and tag in get_args(kind) for kind in kinds)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, UnionType, Annotated, tuple, list, dict):
        return [model for part in get_args(annotation) for model in _models_in(part)]
    return []


def line_of(text: str, path: tuple[int | str, ...]) -> int:
    """The line of `path` in the TOML text, found as a reader would: the n-th header, then the key below it; 0: unknown."""
    lines = text.splitlines()
    at = 0
    table = ""
    for position, part in enumerate(path):
        if isinstance(part, int):
            continue
        nth = path[position + 1] if position + 1 < len(path) and isinstance(path[position + 1], int) else 0
        name = f"{table}.{part}" if table else str(part)
        header = re.compile(rf"^\s*\[+\s*{re.escape(name)}\s*\]+")
        heads = [n for n, line in enumerate(lines) if n >= at and header.match(line)]
        if heads:
            at = heads[min(int(nth), len(heads) - 1)]
            table = name
            continue
        key = re.compile(rf"(^|[\s{{,])\"?{re.escape(str(part))}\"?\s*=")
        for number in range(at, len(lines)):
            if number > at and lines[number].lstrip().startswith("[") and key.search(lines[number]) is None and table:
                break
            if key.search(lines[number]):
                at = number
                break
    return at + 1 if path else 0
