"""The devices' records as sounds, and the verdict that stands on them."""

import pytest

from bucium.demo import verdict
from bucium.demo.sounds import Blast, Sounds, Source
from lanes.plan import Pattern

S = 1_000_000_000
SOURCES = {"quay": Source("board", "line", "horn"), "mill": Source("informer", "sound")}
PATTERN = Pattern.model_validate(
    {
        "id": "p",
        "title": {"en": "p"},
        "source": "test",
        "verified": False,
        "segments": [{"mode": "wail", "on_s": 3, "off_s": 2, "repeat": 2}],
    }
)
GOOD = [Blast(11 * S, 14 * S, "bus"), Blast(16 * S, 19 * S, "bus")]


def test_edges_become_blasts() -> None:
    sounds = Sounds(SOURCES)
    heard: list[tuple[str, bool]] = []
    sounds.listeners.append(lambda siren, on, at_ns, by: heard.append((siren, on)))
    for at_ns, device, what, name, value in [
        (1, "board", "line", "heard", 1),  # the feedback, not the horn
        (2, "board", "line", "horn", 1),
        (3, "informer", "register", "tone", 1),  # a command is no sound
        (4, "informer", "sound", "wail", 1),
        (5, "informer", "sound", "steady", 1),  # another tone while it sounds
        (6, "board", "line", "horn", 0),
        (7, "board", "line", "horn", 0),
    ]:
        sounds.take(at_ns, device, what, name, value, "bus")
    assert sounds.blasts["quay"] == [Blast(2, 6, "bus")]
    assert sounds.blasts["mill"] == [Blast(4)]
    assert sounds.sounding == ("mill",)
    assert heard == [("quay", True), ("mill", True), ("quay", False)]
    assert sounds.since("quay", 3) == []


def test_the_pattern_in_time_is_good() -> None:
    found = verdict.sounded("quay", GOOD, PATTERN, 10 * S)
    assert found.ok
    assert "1000 ms" in found.detail


@pytest.mark.parametrize(
    ("blasts", "crossed_s", "says"),
    [
        ([], 10, "no sound"),
        ([Blast(11 * S)], 10, "still sounds"),
        (GOOD[:1], 10, "1 blasts"),
        ([*GOOD, Blast(30 * S, 33 * S)], 10, "3 blasts"),
        ([Blast(11 * S, 15 * S), GOOD[1]], 10, "blasts of"),
        ([GOOD[0], Blast(18 * S, 21 * S)], 10, "in all"),
        (GOOD, 5, "first sound 6.00 s"),
        (GOOD, 12, "first sound -1.00 s"),
        (GOOD, 0, "nothing had crossed"),
    ],
)
def test_anything_else_is_not(blasts: list[Blast], crossed_s: int, says: str) -> None:
    found = verdict.sounded("quay", blasts, PATTERN, crossed_s * S)
    assert not found.ok
    assert says in found.detail


def test_silence_is_looked_for_in_its_own_time() -> None:
    sounds = Sounds(SOURCES, {"quay": list(GOOD)})
    assert verdict.silent(sounds, "mill", 0, 99 * S, "").ok
    assert verdict.silent(sounds, "quay", 20 * S, 99 * S, "").ok
    assert verdict.silent(sounds, "quay", 0, 11 * S, "").ok
    assert not verdict.silent(sounds, "quay", 18 * S, 99 * S, "").ok
    assert not verdict.silent(sounds, "quay", 0, 12 * S, "").ok
    sounds.blasts["mill"] = [Blast(50 * S)]
    assert not verdict.all_off(sounds).ok
    assert not verdict.silent(sounds, "mill", 60 * S, 99 * S, "").ok
