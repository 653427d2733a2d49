"""The file of where people live: read strictly, with the line that is wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cython_ext import ConfigError
from lanes.population import BYTES_MAX, CELLS_MAX, Cell, cells_of

GOOD = b"lat,lon,people\n47.293,27.551,120\n\n 47.294 , 27.552 , 0 \n"


def test_cells_are_read() -> None:
    assert cells_of(GOOD, "f") == (Cell(47.293, 27.551, 120), Cell(47.294, 27.552, 0))
    assert cells_of(b"\xef\xbb\xbf" + GOOD.replace(b"\n", b"\r\n"), "f") == cells_of(GOOD, "f")


@pytest.mark.parametrize(
    ("line", "number"),
    [
        *(("lat;lon;people", 1), ("47,27", 3), ("47,27,1,1", 3), ("a,27,1", 3), ("47,27,1.5", 3), ("47,27,-1", 3)),
        *(("91,27,1", 3), ("47,nan,1", 3), ("47,inf,1", 3), ("47,27,1e3", 3), ("47,27,999999999", 3)),
    ],
)
def test_a_wrong_line_is_named(line: str, number: int) -> None:
    text = line if number == 1 else f"lat,lon,people\n47,27,1\n{line}"
    with pytest.raises(ConfigError) as refused:
        cells_of(text.encode(), "grid.csv")
    assert refused.value.line == number


@given(st.binary(max_size=200))
def test_any_bytes_are_cells_or_a_refusal(data: bytes) -> None:
    for each in (data, b"lat,lon,people\n" + data):
        try:
            cells_of(each, "f")
        except ConfigError:
            continue


def test_it_is_bounded() -> None:
    with pytest.raises(ConfigError, match="cells"):
        cells_of(b"lat,lon,people\n" + b"1,1,1\n" * (CELLS_MAX + 1), "f")
    with pytest.raises(ConfigError, match="bytes"):
        cells_of(b" " * (BYTES_MAX + 1), "f")
