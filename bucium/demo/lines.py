"""The demo without a picture: plain lines for a log, or one JSON object a line for a program."""

import sys
from typing import Final

from bucium.demo.happening import Happening
from bucium.output import emit

_QUIET: Final = frozenset({"river", "counts", "steps"})  # too often for a log; JSON has them


def as_json(happening: Happening) -> None:
    """One JSON object on one line."""
    emit(happening.document)


def as_text(happening: Happening) -> None:
    """One line for people."""
    if happening.event not in _QUIET:
        sys.stdout.write(f"{happening.t_s:7.2f} s  {happening.event:<11} {happening.text}\n")
        sys.stdout.flush()


def headless(happening: Happening) -> None:
    """Only how it goes, and how it ended."""
    if happening.event in ("begin", "phase", "check", "verdict"):
        as_text(happening)
