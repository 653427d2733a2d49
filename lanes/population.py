"""Where a zone's people live: points or the cells of a small grid, in the plan or in a file that the plan names by its hash.

    lat,lon,people            a first line with these three words; then one point or cell centre a line
    47.29350,27.55140,120

People are whole numbers; latitude and longitude degrees (WGS 84).
"""

import hashlib
from dataclasses import dataclass
from math import isfinite
from typing import Final

from cython_ext import ConfigError

CELLS_MAX: Final = 50_000  # of one zone: a town of 700 km² in cells of 120 m, read in a second
BYTES_MAX: Final = 4 << 20
PEOPLE_MAX: Final = 100_000_000
HEADS: Final = ["lat", "lon", "people"]


@dataclass(frozen=True, slots=True)
class Cell:
    """A point, or a cell's centre, and how many people live there."""

    latitude: float
    longitude: float
    people: int


def cells_of(data: bytes, source: str) -> tuple[Cell, ...]:
    """The cells of a file. ConfigError names the line."""
    if len(data) > BYTES_MAX:
        raise ConfigError(f"larger than {BYTES_MAX} bytes", source=source)
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ConfigError("not UTF-8 text", source=source) from None
    found: list[Cell] = []
    for number, line in enumerate(lines, 1):
        words = [word.strip() for word in line.split(",")]
        if number == 1:
            if words != HEADS:
                raise ConfigError(f"the first line must be {','.join(HEADS)}", source=source, line=1)
        elif words != [""]:
            found.append(_cell(words, source, number))
        if len(found) > CELLS_MAX:
            raise ConfigError(f"more than {CELLS_MAX} cells: make them larger", source=source, line=number)
    return tuple(found)


def _cell(words: list[str], source: str, line: int) -> Cell:
    try:
        latitude, longitude, people = float(words[0]), float(words[1]), int(words[2])
        right = len(words) == len(HEADS) and -90 <= latitude <= 90 and -180 <= longitude <= 180
        right = right and isfinite(latitude + longitude) and 0 <= people <= PEOPLE_MAX
    except (ValueError, IndexError):
        right = False
    if not right:
        raise ConfigError(f"{','.join(words)[:60]!r} is not latitude,longitude,people", source=source, line=line)
    return Cell(latitude, longitude, people)


def digest_of(data: bytes) -> str:
    """The hash that the plan names."""
    return hashlib.sha256(data).hexdigest()
