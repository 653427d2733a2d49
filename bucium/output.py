"""How verbs speak: a person's lines through rich, a program's JSON plainly, trouble on stderr in one clear line."""

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from cython_ext import ConfigError

PEOPLE: Final = Console(highlight=False, soft_wrap=True)
TROUBLE: Final = Console(stderr=True, highlight=False, soft_wrap=True)


def emit(value: Any) -> None:
    """One JSON document on one line, flushed: a program reads it as it comes."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def say(text: str, style: str = "") -> None:
    """A line for people."""
    PEOPLE.print(text, style=style, markup=False)


def plain(text: str) -> None:
    """Text that goes into a file or a pipe as it is."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


def warn(text: str) -> None:
    """A line on stderr that stops nothing."""
    TROUBLE.print(f"bucium: {text}", style="yellow", markup=False)


def complain(text: str) -> None:
    """Why it was not done."""
    TROUBLE.print(f"bucium: {text}", style="red", markup=False)


def moment(wall_us: int) -> str:
    """A time as people read it at a desk: UTC, to the second."""
    return f"{datetime.fromtimestamp(wall_us / 1e6, UTC):%Y-%m-%d %H:%M:%SZ}"


def there(path: Path) -> Path:
    """The file, which is there; ConfigError when it is not."""
    if not path.is_file():
        raise ConfigError("there is no such file", source=str(path))
    return path


GAP: Final = 2  # between columns


def table(title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]], empty: str = "none") -> None:
    """A table for people; `empty` stands where there are no rows."""
    if not rows:
        say(f"{title}: {empty}")
        return
    drawn = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=False)
    words = [
        max((len(word) for row in rows for word in row[place].split()), default=1) for place in range(len(columns))
    ]
    room = sum(words) + GAP * len(columns) <= PEOPLE.width  # then no word need be broken
    for column, longest in zip(columns, words, strict=True):
        drawn.add_column(column, overflow="fold", min_width=longest if room else None)
    for row in rows:
        drawn.add_row(*(_escape(cell) for cell in row))
    PEOPLE.print(drawn)


def _escape(cell: str) -> str:
    return cell.replace("[", "\\[")
