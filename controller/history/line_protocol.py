"""InfluxDB line protocol: one point of one series as bytes. States are integers, since not every server keeps strings.

A backslash cannot be written so that every server reads it alike, and a control character would end the line: both become a
space or a slash. Everything else in a tag comes back as it went.
"""

import re
from collections.abc import Mapping
from math import isfinite
from typing import Final

_ESCAPES: Final = str.maketrans({",": r"\,", "=": r"\=", " ": r"\ ", "\\": "/"})
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def clean(text: str) -> str:
    """What a tag's value is, once it is in the database."""
    return _CONTROL.sub(" ", text).replace("\\", "/")


def head(measurement: str, tags: Mapping[str, str]) -> bytes:
    """The series: measurement and tags, sorted as servers like it. Empty tags are left out."""
    parts = [measurement, *(f"{key}={_escape(value)}" for key, value in sorted(tags.items()) if value)]
    return ",".join(parts).encode()


def fields(values: Mapping[str, float | int]) -> bytes:
    """The fields; integers marked as such, numbers that are not finite left out. Empty: there is nothing to write."""
    shown = (
        f"{key}={value}i" if isinstance(value, int) else f"{key}={value!r}"
        for key, value in values.items()
        if isinstance(value, int) or isfinite(value)
    )
    return ",".join(shown).encode()


def line(series: bytes, values: Mapping[str, float | int], at_us: int) -> bytes:
    """One line without its end; empty when no field is left. `at_us` in UTC microseconds."""
    shown = fields(values)
    return b"%b %b %d" % (series, shown, at_us) if shown else b""


def _escape(text: str) -> str:
    return _CONTROL.sub(" ", text).translate(_ESCAPES)
