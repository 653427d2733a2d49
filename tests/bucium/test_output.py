"""Tables for people: where there is room for every word, none is broken."""

import io

import pytest
from rich.console import Console

from bucium import output


def drawn(monkeypatch: pytest.MonkeyPatch, row: tuple[str, ...]) -> str:
    screen = io.StringIO()
    monkeypatch.setattr(output, "PEOPLE", Console(file=screen, width=60, highlight=False))
    output.table("alarms", ("alarm", "state", "why"), [row])
    return screen.getvalue()


def test_no_word_is_broken_where_all_have_room(monkeypatch: pytest.MonkeyPatch) -> None:
    said = drawn(monkeypatch, ("mill/fire", "latched-unacknowledged", "automatic: two of three points and a policy"))
    assert "latched-unacknowledged" in said
    assert all(word in said for word in ["automatic:", "two", "of", "three", "points", "and", "a", "policy"])


def test_nothing_is_cut_off_where_there_is_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    said = drawn(monkeypatch, ("X" * 30, "Y" * 30, "Z" * 30))
    assert [said.count(letter) for letter in "XYZ"] == [30, 30, 30]
