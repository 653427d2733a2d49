"""All texts for people, from one catalogue (`texts.toml`). Journals and the wire hold codes; this turns a code into words."""

import tomllib
from collections.abc import Iterable
from datetime import UTC, datetime, tzinfo
from enum import IntEnum
from functools import cache, lru_cache
from importlib.resources import files
from types import MappingProxyType
from typing import Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cython_ext import Trouble

Language = Literal["ro", "en", "ru", "uk"]
LANGUAGES: Final[tuple[Language, ...]] = ("ro", "en", "ru", "uk")
LATEST_US: Final = 4_102_444_800_000_000  # 2100-01-01
_DECIMAL_COMMA: Final = frozenset({"ro", "ru", "uk"})


@cache
def catalogue() -> MappingProxyType[str, MappingProxyType[str, str]]:
    """Every key with its text in each language, read once."""
    document = tomllib.loads(files("controller").joinpath("texts.toml").read_text("utf-8"))
    return MappingProxyType({key: MappingProxyType(texts) for key, texts in document.items()})


def text(language: str, key: str, **values: object) -> str:
    """The text of `key`. An unknown key is a bug (KeyError): the tests hold every code to the catalogue."""
    return catalogue()[key][language].format_map(values)


def known(key: str) -> bool:
    """Whether the catalogue has `key`: for codes that other programs send."""
    return key in catalogue()


def code(group: str, member: IntEnum) -> str:
    """The key of an enumeration's member: `level.danger`, `reason.rate`."""
    return f"{group}.{member.name.lower()}"


def troubles(language: str, trouble: Trouble) -> str:
    """The troubles of a point, joined by commas; empty when there is none."""
    return ", ".join(text(language, f"trouble.{flag.name.lower()}") for flag in trouble if flag.name)


def local(names: dict[Language, str], language: str, otherwise: str) -> str:
    """A name of the plan in `language`, failing that in the first language it has, failing that `otherwise`."""
    if language in LANGUAGES and language in names:
        return names[language]
    return next((names[other] for other in LANGUAGES if other in names), otherwise)


def number(language: str, value: float, digits: int = 2) -> str:
    """A value as people write it: at most `digits` decimals, with the language's decimal sign."""
    shown = f"{value:.{digits}f}"
    if "." in shown:
        shown = shown.rstrip("0").rstrip(".")
    if shown == "-0":
        shown = "0"
    return shown.replace(".", ",") if language in _DECIMAL_COMMA else shown


def measure(language: str, value: float, unit: str) -> str:
    """A value with its unit. Water levels are metres in the plan and centimetres for people (design §3)."""
    if unit == "m":
        return f"{number(language, value * 100, 0)} cm"
    return f"{number(language, value)} {unit}".rstrip()


def instant(at_us: int) -> datetime:
    """UTC. A time before 1970 or after 2100 comes from a broken clock and is shown at that bound: it must not stop a message."""
    return datetime.fromtimestamp(min(max(at_us, 0), LATEST_US) / 1e6, UTC)


@lru_cache(maxsize=256)  # one message says the same few instants in each language
def moment(at_us: int, timezone: str) -> str:
    """An instant as the zone's people write it: 02.01.2026 05:04:00 +0200, with the offset, since a night may have it twice."""
    try:
        place: tzinfo = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError):
        place = UTC
    return instant(at_us).astimezone(place).strftime("%d.%m.%Y %H:%M:%S %z")


def spoken(names: Iterable[dict[Language, str]], wanted: Iterable[Language]) -> tuple[Language, ...]:
    """The wanted languages that any of `names` has; all the wanted when none has any."""
    have = {language for each in names for language in each}
    asked = tuple(wanted)
    return tuple(language for language in asked if language in have) or asked
