"""The pattern library: each signal as its law has it, playable, and marked where no text was seen (domain.md §1)."""

from pathlib import Path
from typing import Final

import pytest
from pydantic import Field

from edge.siren.sequencer import blasts
from lanes.orders import SOUND_MAX_S
from lanes.plan import Pattern
from lanes.settings import Settings, load

FOLDER: Final = Path(__file__).parents[2] / "examples" / "patterns"

# id → length from the first sound to the end of the last, number of sounds, mode of the first, as domain.md §1 tells them.
LAW: Final = {
    "ro-aeriana": (116, 15, "steady"),
    "ro-aeriana-aer": (58, 15, "steady"),
    "ro-dezastre": (120, 5, "steady"),
    "ro-dezastre-aer": (60, 5, "steady"),
    "ro-prealarma": (120, 3, "steady"),
    "ro-prealarma-aer": (60, 3, "steady"),
    "ro-incetare": (120, 1, "steady"),
    "ro-incetare-aer": (60, 1, "steady"),
    "md-atentie": (180, 1, "wail"),
    "ua-uvaha": (7, 1, "steady"),
    "ua-tryvoha": (240, 3, "wail"),
    "de-warnung": (55, 6, "wail"),
    "de-entwarnung": (60, 1, "steady"),
    "de-feueralarm": (60, 3, "steady"),
    "de-probe": (12, 1, "steady"),
    "at-warnung": (180, 1, "steady"),
    "at-alarm": (60, 1, "wail"),
    "at-entwarnung": (60, 1, "steady"),
    "at-feuerwehr": (59, 3, "steady"),
    "at-probe": (15, 1, "steady"),
    "cz-vystraha": (780, 3, "wail"),
    "cz-zkouska": (140, 1, "steady"),
    "cz-pozarni": (60, 2, "steady"),
    "us-alert": (180, 1, "steady"),
    "us-attack": (180, 1, "wail"),
    "us-test": (180, 2, "steady"),
}
UNVERIFIED: Final = {"md-atentie", "ua-uvaha", "ua-tryvoha", "us-attack", "us-test"}


class Library(Settings):
    """One country's file."""

    patterns: tuple[Pattern, ...] = Field(alias="pattern", min_length=1)


LIBRARY: Final = {p.id: p for path in sorted(FOLDER.glob("*.toml")) for p in load(path, Library).patterns}


def test_every_signal_is_here_once() -> None:
    assert set(LIBRARY) == set(LAW)
    assert sum(len(load(path, Library).patterns) for path in FOLDER.glob("*.toml")) == len(LAW)


@pytest.mark.parametrize("name", LAW)
def test_each_is_as_long_as_its_law_says(name: str) -> None:
    pattern, (length_s, sounds, mode) = LIBRARY[name], LAW[name]
    assert pattern.length_s == length_s
    played = blasts(pattern, SOUND_MAX_S)
    assert (len(played), played[0].mode.value, played[-1].until_s) == (sounds, mode, length_s)


def test_what_no_text_was_seen_for_says_so() -> None:
    assert {name for name, pattern in LIBRARY.items() if not pattern.verified} == UNVERIFIED
    assert all(pattern.source for pattern in LIBRARY.values())


def test_only_what_calls_the_fire_crews_is_not_for_the_public() -> None:
    assert {name for name, pattern in LIBRARY.items() if not pattern.public} == {"at-feuerwehr", "cz-pozarni"}


def test_romanian_signals_come_in_two_timings() -> None:
    signals: dict[str, dict[str, Pattern]] = {}
    for pattern in LIBRARY.values():
        if pattern.signal:
            signals.setdefault(pattern.signal, {})[pattern.family] = pattern
    assert len(signals) == 4
    for families in signals.values():
        assert families["electric"].length_s == 2 * families["compressed-air"].length_s
