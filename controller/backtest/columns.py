"""The column map: which column of a CSV is the time, which one feeds which point, and in what unit.

Wide: a column a point (`[[column]]`, or a header that is the point's id). Long: a row a sample, one column names the point.
"""

import re
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from cython_ext import ConfigError
from lanes.plan_types import Finite, Id
from lanes.settings import Settings

from .instants import TimeFormat

TIMES: Final = ("time", "time_utc", "timestamp", "datetime", "date_time", "_time", "at", "ts", "instant")
MISSING: Final = ("", "nan", "na", "n/a", "null", "none", "-", "--")  # compared in lower case
_RULE: Final = re.compile(
    r"^(?P<point>[a-z0-9][a-z0-9-]*)=(?P<column>.+?)(?:\*(?P<scale>[^*+]+))?(?:\+(?P<offset>[^*+]+))?$"
)


class Column(Settings):
    """value of the point = cell × scale + offset, e.g. feet to metres: scale 0.3048."""

    point: Id
    column: str = Field(min_length=1)
    scale: Finite = 1.0
    offset: Finite = 0.0


class Long(Settings):
    """A row a sample."""

    point: str = Field("point", description="the column that holds the point's id")
    value: str = "value"
    status: str = Field("", description="column with the status bits, as our history has them")


class Columns(Settings):
    """How to read one CSV: `columns.toml`, or options of the command."""

    time: str = Field("", description=f"the time's column; empty: the first that is called {', '.join(TIMES[:4])}, …")
    time_format: TimeFormat = Field("auto", description="auto: as the first row has it")
    naive_is_utc: bool = Field(False, description="times without a zone are UTC; else they are refused")
    delimiter: Literal["", ",", ";", "\t"] = Field("", description="empty: as the header has it")
    decimal: Literal[".", ","] = "."
    missing: tuple[str, ...] = Field((), description="more texts that mean: no value (besides empty, NaN, NA, null)")
    columns: Annotated[tuple[Column, ...], Field(alias="column")] = ()
    long: Long | None = None

    @model_validator(mode="after")
    def _sense(self) -> Self:
        if self.long and self.columns:
            raise ValueError("give [[column]] for a column a point, or [long] for a row a sample, not both")
        points = [column.point for column in self.columns]
        if twice := sorted({point for point in points if points.count(point) > 1}):
            raise ValueError(f"point {twice[0]!r} has two columns")
        return self


def column(rule: str) -> Column:
    """`POINT=COLUMN`, `POINT=COLUMN*SCALE`, `POINT=COLUMN*SCALE+OFFSET`; ConfigError says how it should be."""
    found = _RULE.match(rule)
    try:
        if found is None:
            raise ValueError
        scale, offset = float(found["scale"] or 1.0), float(found["offset"] or 0.0)
        return Column(point=found["point"], column=found["column"], scale=scale, offset=offset)
    except ValueError:
        raise ConfigError(
            f"--map {rule!r} is not POINT=COLUMN*SCALE+OFFSET, e.g. gauge=gage_height_ft*0.3048 or gauge=stage+-1.5"
        ) from None
