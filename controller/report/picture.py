"""One point's values as SVG: the events' values joined by a line, the samples kept around raises, the Levels."""

from typing import Final
from zoneinfo import ZoneInfo

from .. import texts
from ..backtest.axis import Tick, time_ticks, value_span, value_ticks
from ..backtest.svg import Svg
from .document import Chart

WIDTH: Final = 1000
HEIGHT: Final = 300
LEFT, RIGHT, TOP, BOTTOM = 84, 120, 16, 36
COLOURS: Final = {1: "#d9a400", 2: "#ee7700", 3: "#cc1122"}
SERIES, GRID, FAINT = "#1b4f8a", "#e4e7eb", "#52606d"


def draw(chart: Chart, timezone: str) -> str:
    """The picture, without a document's head, to stand in a page."""
    svg, scale = Svg(WIDTH, HEIGHT), 100.0 if chart.unit == "m" else 1.0  # people read centimetres (design §3)
    unit = "cm" if chart.unit == "m" else chart.unit
    marks = [(at_us, value * scale, level) for at_us, value, level in chart.series.marks]
    samples = [(at_us, value * scale) for at_us, value in chart.series.samples]
    levels = [(raise_at * scale, level, name) for raise_at, level, name in chart.levels]
    times = [at_us for at_us, _, _ in marks] + [at_us for at_us, _ in samples]
    first, last = min(times), max(times)
    margin = max((last - first) // 40, 500_000)
    first, last = first - margin, last + margin
    low, high = value_span([value for _, value, *_ in (*marks, *samples)] + [value for value, _, _ in levels])

    def x(at_us: float) -> float:
        return LEFT + (at_us - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM)

    svg.rectangle(0, 0, WIDTH, HEIGHT, "#ffffff")
    for tick in value_ticks(low, high, 5):
        svg.line(LEFT, y(tick.at), WIDTH - RIGHT, y(tick.at), GRID)
        svg.text(LEFT - 8, y(tick.at) + 4, f"{tick.label} {unit}", size=12, fill=FAINT, anchor="end")
    for tick in _times(first, last, ZoneInfo(timezone)):
        svg.line(x(tick.at), TOP, x(tick.at), HEIGHT - BOTTOM, GRID)
        svg.text(x(tick.at), HEIGHT - BOTTOM + 18, tick.label, size=12, fill=FAINT, anchor="middle")
    for value, level, name in levels:
        svg.line(LEFT, y(value), WIDTH - RIGHT, y(value), COLOURS[level], 1.5, "6 4")
        svg.text(WIDTH - RIGHT + 6, y(value) + 4, f"{name} {value:g}", size=12, fill=COLOURS[level])
    line = sorted([(at_us, value) for at_us, value, _ in marks] + samples)
    svg.curve([(x(at_us), y(value)) for at_us, value in line], SERIES, 2)
    for at_us, value in samples:
        svg.rectangle(x(at_us) - 1.5, y(value) - 1.5, 3, 3, SERIES)
    for at_us, value, level in marks:
        at, up = x(at_us), y(value)
        svg.shape([(at - 6, up), (at, up - 6), (at + 6, up), (at, up + 6)], COLOURS.get(level, "#ffffff"), SERIES)
    return svg.document().strip()


def _times(first: int, last: int, zone: ZoneInfo) -> list[Tick]:
    """Round times; of what lasted only seconds, times to the second."""
    found = time_ticks(first, last, zone, 6)
    if len(found) >= 2:
        return found
    places = [first + (last - first) * n // 4 for n in range(5)]
    return [Tick(at, texts.instant(at).astimezone(zone).strftime("%H:%M:%S")) for at in places]
