"""The picture: each point's series with its Levels, what was raised and lowered, and beneath it when we could not see.

title
┌──────────────┐ danger 1.60 m    a row a point: axes, Levels (the other plan's dashed), the series, marks
└──────────────┘
this plan  ▄▄▄▄  Level reached    strips: a plan each, then troubles
other plan ▄▄▄
troubles   ▄
"""

from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from typing import Final
from zoneinfo import ZoneInfo

from cython_ext import Level, LevelConfig, Trouble

from .axis import time_ticks, value_span, value_ticks
from .instants import moment
from .report import troubles, unit_of, word
from .run import Outcome
from .svg import Svg
from .trace import Trace
from .trial import Trial
from .verdict import Verdict

WIDTH: Final = 1200
HEIGHT: Final = 600  # of one row; more rows are lower
ROW: Final = 420
ROWS_MAX: Final = 12  # a picture of more is read by nobody; name points with --point
LEFT, RIGHT, TOP, BOTTOM = 92, 150, 58, 40
STRIP, SPACE = 14, 5
COLOURS: Final = {Level.ATTENTION: "#d9a400", Level.ALARM: "#ee7700", Level.DANGER: "#cc1122"}
SERIES, GRID, TEXT, FAINT, TROUBLE = "#1b4f8a", "#e4e7eb", "#222222", "#6b7280", "#7c3aed"
MARKS_MAX: Final = 2000  # of one row: beyond it marks only hide each other


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where a row's values and times lie, in pixels."""

    left: float
    top: float
    width: float
    height: float
    from_us: int
    to_us: int
    low: float
    high: float

    def x(self, at_us: float) -> float:
        return self.left + (at_us - self.from_us) / (self.to_us - self.from_us) * self.width

    def y(self, value: float) -> float:
        inside = min(max(value, self.low), self.high)
        return self.top + (self.high - inside) / (self.high - self.low) * self.height


def draw(outcome: Outcome, zone: ZoneInfo) -> str:
    """The whole as one SVG document."""
    points = list(outcome.traces)[:ROWS_MAX]
    height = HEIGHT if len(points) == 1 else TOP + BOTTOM + ROW * len(points)
    svg = Svg(WIDTH, height)
    svg.rectangle(0, 0, WIDTH, height, "#ffffff")
    each = (height - TOP - BOTTOM) / max(len(points), 1)
    for n, point in enumerate(points):
        _row(svg, outcome, point, zone, TOP + n * each, each)
    _heading(svg, outcome, zone)
    return svg.document()


def _heading(svg: Svg, outcome: Outcome, zone: ZoneInfo) -> None:
    names = outcome.this.name + (f"  against  {outcome.other.name} (dashed)" if outcome.other else "")
    svg.text(LEFT, 24, f"Backtest of {names}", size=16, bold=True)
    first, last = moment(outcome.from_us, zone), moment(outcome.to_us, zone)
    right = WIDTH - RIGHT
    svg.shape([(right - 138, 44), (right - 126, 44), (right - 132, 32)], COLOURS[Level.ALARM], "#ffffff")
    svg.text(right - 122, 43, "raised", fill=FAINT)
    svg.shape([(right - 62, 35), (right - 54, 35), (right - 58, 43)], "#ffffff", COLOURS[Level.ALARM])
    svg.text(right - 50, 43, "lowered", fill=FAINT)
    svg.text(
        LEFT,
        43,
        f"{outcome.recording.name.rsplit('/', 1)[-1]}, {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M}, local time {zone.key}",
        fill=FAINT,
    )


def _row(svg: Svg, outcome: Outcome, point: str, zone: ZoneInfo, top: float, height: float) -> None:
    strips = len(outcome.trials) + 1
    bottom = 30 + strips * (STRIP + SPACE) + 6
    trials = [trial for trial in outcome.trials if point in trial.tallies]
    levels = [rule.raise_at for trial in trials for rule in _levels(trial, point).values()]
    cover = outcome.coverage[point]
    low, high = value_span([*levels, cover.lowest, cover.highest])
    to_us = max(outcome.to_us, outcome.from_us + 1_000_000)
    frame = _Frame(LEFT, top + 22, WIDTH - LEFT - RIGHT, height - 22 - bottom, outcome.from_us, to_us, low, high)
    _grid(svg, frame, zone, unit_of(trials[0], point) if trials else "")
    svg.text(LEFT, top + 14, _name(outcome, point), size=13, bold=True)
    _thresholds(svg, frame, outcome, point)
    _series(svg, frame, outcome.traces[point])
    if outcome.this in trials:
        _marks(svg, frame, [v for v in outcome.this.verdicts if v.judged == point and v.of_level])
    at = frame.top + frame.height + 30
    for trial in outcome.trials:
        name = "this plan" if trial is outcome.this else "other plan"
        _level_strip(svg, frame, at, name if outcome.other else "Level", trial, point)
        at += STRIP + SPACE
    _trouble_strip(svg, frame, at, outcome.this, point)


def _name(outcome: Outcome, point: str) -> str:
    item = next((trial.plan.judged(point) for trial in outcome.trials if trial.plan.judged(point)), None)
    names = getattr(item, "name", {})
    name = names.get("en") or next(iter(names.values()), "")
    return f"{name} ({point})" if name else point


def _levels(trial: Trial, point: str) -> dict[Level, LevelConfig]:
    """The Levels that a point has."""
    rules = next((paced.config.levels for paced in trial.paced if paced.config.id == point), ())
    return {Level(n + 1): rule for n, rule in enumerate(rules) if isfinite(rule.raise_at)}


def _grid(svg: Svg, frame: _Frame, zone: ZoneInfo, unit: str) -> None:
    right, bottom = frame.left + frame.width, frame.top + frame.height
    for tick in value_ticks(frame.low, frame.high, max(3, int(frame.height / 55))):
        y = frame.y(tick.at)
        svg.line(frame.left, y, right, y, GRID)
        svg.text(frame.left - 8, y + 4, tick.label, anchor="end", fill=FAINT)
    for tick in time_ticks(frame.from_us, frame.to_us, zone, 12):
        x = frame.x(tick.at)
        svg.line(x, frame.top, x, bottom, GRID)
        svg.line(x, bottom, x, bottom + 5, FAINT)
        svg.text(x, bottom + 18, tick.label, anchor="middle", fill=FAINT)
    svg.line(frame.left, bottom, right, bottom, FAINT)
    svg.line(frame.left, frame.top, frame.left, bottom, FAINT)
    svg.text(frame.left - 8, frame.top - 8, unit, anchor="end", fill=FAINT)


def _thresholds(svg: Svg, frame: _Frame, outcome: Outcome, point: str) -> None:
    """Each Level where it is entered, its label at the right; labels that would touch are moved apart."""
    right = frame.left + frame.width
    labels: list[tuple[float, str, str, bool]] = []
    mine = _levels(outcome.this, point)
    for trial in reversed(outcome.trials):
        ours = trial is outcome.this
        for level, rule in _levels(trial, point).items():
            y = frame.y(rule.raise_at)
            same = not ours and level in mine and mine[level].raise_at == rule.raise_at
            if same:
                continue
            svg.line(frame.left, y, right, y, COLOURS[level], 1.6, "" if ours else "7 5")
            words = f"{word(level.name)} {rule.raise_at:g}"
            labels.append((y, words if ours else f"{words} (other)", COLOURS[level], ours))
    for y, words, colour, ours in _apart(sorted(labels)):
        svg.text(right + 8, y + 4, words, fill=colour, bold=ours)


def _apart(labels: list[tuple[float, str, str, bool]]) -> list[tuple[float, str, str, bool]]:
    """The same labels, at least 14 pixels from each other."""
    placed: list[tuple[float, str, str, bool]] = []
    for y, words, colour, ours in labels:
        placed.append((max(y, placed[-1][0] + 14) if placed else y, words, colour, ours))
    return placed


def _series(svg: Svg, frame: _Frame, trace: Trace) -> None:
    """The lowest and the highest value of each pixel column, so that no peak is lost; a gap stays one."""
    for run in trace.runs():
        columns: dict[int, list[float]] = {}
        for bucket in run:
            column = columns.setdefault(round(frame.x(bucket.first_us) * 2), [bucket.low, bucket.high])
            column[0], column[1] = min(column[0], bucket.low), max(column[1], bucket.high)
        path: list[tuple[float, float]] = []
        for column_x, (low, high) in columns.items():
            x = column_x / 2
            path += [(x, frame.y(low))] if low == high else _upright(x, frame.y(low), frame.y(high), path)
        if len(path) == 1:
            path.append((path[0][0] + 1, path[0][1]))
        svg.curve(path, SERIES, 1.6)


def _upright(x: float, low: float, high: float, path: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Both ends of a column, the nearer one first."""
    near_high = bool(path) and abs(path[-1][1] - high) < abs(path[-1][1] - low)
    return [(x, high), (x, low)] if near_high else [(x, low), (x, high)]


def _marks(svg: Svg, frame: _Frame, verdicts: list[Verdict]) -> None:
    """A triangle up in the new Level's colour where it was raised, a small one down where it was lowered."""
    for verdict in verdicts[:MARKS_MAX]:
        if verdict.level is verdict.was:
            continue
        x = frame.x(verdict.at_us)
        y = frame.y(verdict.value) if isfinite(verdict.value) else frame.top
        title = f"{word(verdict.was.name)} to {word(verdict.level.name)}"
        if verdict.level > verdict.was:
            svg.shape([(x - 6, y + 5), (x + 6, y + 5), (x, y - 7)], COLOURS[verdict.level], "#ffffff", title)
        else:
            colour = COLOURS.get(verdict.level, FAINT)
            svg.shape([(x - 4, y - 4), (x + 4, y - 4), (x, y + 4)], "#ffffff", colour, title)


def _level_strip(svg: Svg, frame: _Frame, y: float, name: str, trial: Trial, point: str) -> None:
    _strip(svg, frame, y, name)
    changes = [(v.at_us, v.level) for v in trial.verdicts if v.judged == point and v.of_level]
    for (from_us, level), (to_us, _) in pairwise([*changes, (frame.to_us, Level.NORMAL)]):
        if level is not Level.NORMAL:
            _band(svg, frame, y, from_us, to_us, COLOURS[level])
    if point not in trial.tallies:
        svg.text(frame.left + 6, y + STRIP - 3, "not judged", size=10, fill=FAINT)


def _trouble_strip(svg: Svg, frame: _Frame, y: float, trial: Trial, point: str) -> None:
    _strip(svg, frame, y, "troubles")
    changes = [(v.at_us, v.trouble) for v in trial.verdicts if v.judged == point]
    seen: Trouble = Trouble.NONE
    for (from_us, trouble), (to_us, _) in pairwise([*changes, (frame.to_us, Trouble.NONE)]):
        if trouble:
            _band(svg, frame, y, from_us, to_us, TROUBLE)
            seen |= trouble
    names = ", ".join(word(name) for name in troubles(seen))
    if names:
        svg.text(frame.left + frame.width + 8, y + STRIP - 3, names[:22], size=10, fill=TROUBLE)


def _strip(svg: Svg, frame: _Frame, y: float, name: str) -> None:
    svg.rectangle(frame.left, y, frame.width, STRIP, "#f3f4f6")
    svg.text(frame.left - 8, y + STRIP - 3, name, size=11, anchor="end", fill=FAINT)


def _band(svg: Svg, frame: _Frame, y: float, from_us: int, to_us: int, colour: str) -> None:
    x = frame.x(from_us)
    svg.rectangle(x, y, max(frame.x(to_us) - x, 1.0), STRIP, colour)
