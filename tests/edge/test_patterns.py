"""The pattern library: each signal as its law has it, playable, and marked where no text was seen (domain.md §1)."""

from pathlib import Path
from typing import Final

import pytest
from pydantic import Field

from edge.siren.sequencer import blasts
from lanes.orders import SOUND_MAX_S
from lanes.plan import Pattern, Plan
from lanes.settings import Settings, load

FOLDER: Final = Path(__file__).parents[2] / "examples" / "patterns"

# id → each segment as domain.md §1 tells it: how many times, the sound, the pause after it (both in seconds), the mode.
LAW: Final = {
    "ro-aeriana": [(15, 4, 4, "steady")],
    "ro-aeriana-aer": [(15, 2, 2, "steady")],
    "ro-dezastre": [(5, 16, 10, "steady")],
    "ro-dezastre-aer": [(5, 8, 5, "steady")],
    "ro-prealarma": [(3, 32, 12, "steady")],
    "ro-prealarma-aer": [(3, 16, 6, "steady")],
    "ro-incetare": [(1, 120, 0, "steady")],
    "ro-incetare-aer": [(1, 60, 0, "steady")],
    "md-atentie": [(1, 180, 0, "wail")],
    "ua-uvaha": [(1, 7, 0, "steady")],
    "ua-tryvoha": [(3, 60, 30, "wail")],
    "de-warnung": [(6, 5, 5, "wail")],
    "de-entwarnung": [(1, 60, 0, "steady")],
    "de-feueralarm": [(3, 12, 12, "steady")],
    "de-probe": [(1, 12, 0, "steady")],
    "at-warnung": [(1, 180, 0, "steady")],
    "at-alarm": [(1, 60, 0, "wail")],
    "at-entwarnung": [(1, 60, 0, "steady")],
    "at-feuerwehr": [(3, 15, 7, "steady")],
    "at-probe": [(1, 15, 0, "steady")],
    "cz-vystraha": [(3, 140, 180, "wail")],
    "cz-zkouska": [(1, 140, 0, "steady")],
    "cz-pozarni": [(2, 25, 10, "steady")],
    "us-alert": [(1, 180, 0, "steady")],
    "us-attack": [(1, 180, 0, "wail")],
    "us-test": [(1, 60, 60, "steady"), (1, 60, 0, "wail")],
    "us-or-tsunami-test": [(1, 60, 0, "steady")],
}
# What the sources give as the whole of a signal; less the last pause, where they count it.
WHOLE_S: Final = {
    "ro-aeriana": 120 - 4,
    "ro-aeriana-aer": 60 - 2,
    "ro-dezastre": 120,
    "ro-dezastre-aer": 60,
    "ro-prealarma": 120,
    "ro-prealarma-aer": 60,
    "ro-incetare": 120,
    "ro-incetare-aer": 60,
    "de-warnung": 60 - 5,
    "cz-pozarni": 60,
}
UNVERIFIED: Final = {"md-atentie", "ua-uvaha", "ua-tryvoha", "us-attack", "us-test", "us-or-tsunami-test"}


class Library(Settings):
    """One country's file."""

    patterns: tuple[Pattern, ...] = Field(alias="pattern", min_length=1)


LIBRARY: Final = {p.id: p for path in sorted(FOLDER.glob("*.toml")) for p in load(path, Library).patterns}


def test_every_signal_is_here_once() -> None:
    assert set(LIBRARY) == set(LAW)
    assert sum(len(load(path, Library).patterns) for path in FOLDER.glob("*.toml")) == len(LAW)


@pytest.mark.parametrize("name", LAW)
def test_each_sounds_as_its_law_says(name: str) -> None:
    pattern = LIBRARY[name]
    assert [(s.repeat, s.on_s, s.off_s, s.mode) for s in pattern.segments] == LAW[name]
    assert pattern.length_s == WHOLE_S.get(name, pattern.length_s)
    expected, now_s = [], 0.0
    for repeat, on_s, off_s, mode in LAW[name]:
        for _ in range(repeat):
            expected.append((now_s, now_s + on_s, mode))
            now_s += on_s + off_s
    assert [(b.at_s, b.until_s, b.mode.value) for b in blasts(pattern, SOUND_MAX_S)] == expected


def test_the_example_plan_sounds_what_the_library_has() -> None:
    """A copy must not drift from its source."""
    plan = load(FOLDER.parent / "plan.toml", Plan)
    assert {p.id: p.segments for p in plan.patterns} == {
        "disaster": LIBRARY["ro-dezastre"].segments,
        "all-clear": LIBRARY["ro-incetare"].segments,
    }


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
