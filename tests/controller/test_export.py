"""Rows as JSON Lines: every kind has its names, codes are words, and no time or number breaks a line."""

import json
from pathlib import Path

import pytest

from controller.record.records import GENESIS, Record, Row
from controller.replay.export import _ITEMS, line_of, rows_of, time_of
from cython_ext import WireError
from lanes import cbor
from tests.kit.nights import Night


def test_times_that_people_can_read() -> None:
    assert time_of(0) == "1970-01-01T00:00:00.000000Z"
    assert time_of(1_767_322_800_123_456) == "2026-01-02T03:00:00.123456Z"
    assert time_of(1 << 62) == f"{1 << 62} us"


def test_every_kind_of_row_has_names_for_its_items() -> None:
    assert set(_ITEMS) == set(Record)
    for names in _ITEMS.values():
        assert not {"seq", "time", "wall_us", "monotonic_ns", "kind", "hash"} & set(names), "would hide the row's own"


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_whole_night_becomes_json(tmp_path: Path, seed: int) -> None:
    night = Night(tmp_path / "j.db", seed)
    await night.live(40)
    lines = [json.loads(json.dumps(line_of(row))) for row in rows_of(tmp_path / "j.db", 0, 1 << 62, frozenset())]
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    assert not any(name.startswith("item_") for line in lines for name in line)


def test_bytes_that_are_no_envelope_are_shown_as_they_are() -> None:
    row = Row(3, Record.UNUSABLE, 0, 0, cbor.encode([b"junk", "no key", "", bytes(8), 0]), GENESIS, GENESIS)
    assert line_of(row)["signed"] == b"junk".hex()
    assert "envelope" not in line_of(row)


def test_what_is_not_there_is_empty_or_damaged(tmp_path: Path) -> None:
    (tmp_path / "j.db").write_bytes(b"no database")
    with pytest.raises((WireError, StopIteration)):
        next(rows_of(tmp_path / "j.db", 0, 1 << 62, frozenset()))
