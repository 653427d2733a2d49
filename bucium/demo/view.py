"""The terminal view: the river with its marks, alarms, sirens with their proof, milliseconds, messages. 80 × 24 and up."""

from typing import Final

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.rule import Rule
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

from bucium.demo.scene import AlarmScene, PointScene, Scene, SirenScene
from bucium.demo.timing import STEPS

LEVELS: Final = (("normal", "green"), ("CA attention", "yellow"), ("CI alarm", "dark_orange"), ("CP danger", "red"))
SHORT: Final = ("  ", "CA", "CI", "CP")
SPARKS: Final = "▁▂▃▄▅▆▇█"
TALLEST_M: Final = 8.0  # the end of a level's bar
SPARK_WIDTH: Final = 20
WIDE: Final = 100  # columns; on fewer what a siren says goes before what it is made of
READY: Final = {"ready": "green", "degraded": "yellow", "cannot-sound": "bold red"}
EXPECTED: Final = ("", "evidence", "measured", "end")  # reasons that say no more than the stage does
_EVENT_STYLES: Final = {
    "transition": "yellow",
    "order": "magenta",
    "receipt": "cyan",
    "sound": "bold bright_white",
    "readiness": "green",
    "alarm": "bold red",
    "cap": "blue",
    "webhook": "blue",
    "phase": "bold",
    "check": "green",
    "act": "magenta",
    "trouble": "red",
}


class View:
    """The whole picture, drawn for the height it is given."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height = options.height or console.height
        scene = self.scene
        top: list[RenderableType] = [
            _head(scene),
            Rule("river and smoke", align="left", style="dim"),
            *(_point(point, options.max_width) for point in scene.points.values()),
            Rule("alarms", align="left", style="dim"),
            *_alarms(list(scene.alarms.values())),
            Rule("sirens, by their own records", align="left", style="dim"),
            *(_siren(siren, scene.t_s, options.max_width) for siren in scene.sirens.values()),
            Rule("milliseconds of each step", align="left", style="dim"),
            _steps(scene),
            Rule(_counts(scene), align="left", style="dim"),
        ]
        lines = console.render_lines(Group(*top), options.update(height=None), pad=False)
        room = max(1, height - len(lines))
        shown = list(scene.messages)[-room:]
        lines += console.render_lines(Group(*(_message(*m) for m in shown)), options.update(height=None), pad=False)
        for line in lines[:height]:
            yield from line
            yield Segment.line()

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(options.max_width, options.max_width)


def _head(scene: Scene) -> RenderableType:
    left = Text.assemble(("bucium demo ", "bold"), ("· ", "dim"), (scene.phase, "bold cyan"))
    right = Text(f"{scene.t_s:5.1f} s", style="bold")
    if scene.river_h is not None:
        hours, minutes = divmod(int(scene.river_h * 60), 60)
        right = Text.assemble(
            (f"rain {scene.rain:.0f} mm/h  " if scene.rain else "", "blue"),
            (f"river {hours:02d}:{minutes:02d} h  ×{scene.speed:.0f}  ", "dim"),
            right,
        )
    return _ends(left, right)


def _ends(left: RenderableType, right: RenderableType) -> Table:
    grid = Table.grid(expand=True)
    grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    grid.add_column(justify="right", no_wrap=True)
    grid.add_row(left, right)
    return grid


def _point(point: PointScene, width: int) -> Text:
    word, style = LEVELS[point.level]
    value = f"{point.value:5.2f} {point.unit}" if point.unit != "1" else ("SMOKE  " if point.value else "clear  ")
    line = Text.assemble((f" {point.id:<13.13}", "bold"), (value, style), "  ", (f"{word:<13}", style))
    if point.unit != "1":
        line.append_text(_spark(point))
        line.append(" ")
        line.append_text(_bar(point, max(10, width - line.cell_len - 1)))
    return line


def _spark(point: PointScene) -> Text:
    """The level's past, newest at the right, coloured by the mark it had passed."""
    text = Text()
    step = max(1, len(point.history) // SPARK_WIDTH)
    values = list(point.history)[::-1][::step][:SPARK_WIDTH][::-1]
    text.append(" " * (SPARK_WIDTH - len(values)))
    for value in values:
        text.append(SPARKS[min(7, max(0, int(value / TALLEST_M * 8)))], style=_colour(point, value))
    return text


def _bar(point: PointScene, width: int) -> Text:
    """The level as a bar from 0 to 8 m with its marks."""
    text = Text()
    full = round(point.value / TALLEST_M * width)
    marks = {round(at / TALLEST_M * width): name for name, at in point.marks}
    column = 0
    while column < width:
        name = marks.get(column)
        style = _colour(point, column / width * TALLEST_M)
        if name and column + 2 <= width:
            text.append(name, style=Style.parse(f"{style} reverse" if column < full else style))
            column += 2
            continue
        text.append("█" if column < full else "·", style=style if column < full else "dim")
        column += 1
    return text


def _colour(point: PointScene, value: float) -> str:
    passed = [name for name, at in point.marks if value >= at]
    return LEVELS[SHORT.index(passed[-1])][1] if passed else LEVELS[0][1]


def _alarms(alarms: list[AlarmScene]) -> list[RenderableType]:
    if not alarms:
        return [Text(" none", style="dim")]
    lines: list[RenderableType] = []
    for alarm in alarms[-2:]:
        word, style = LEVELS[alarm.level]
        lines.append(
            Text.assemble(
                (f" {f'{alarm.hazard} {alarm.zone}':<20}", "bold"),
                (f"{word:<13}", style),
                f"{alarm.state:<13}",
                (f"evidence {alarm.evidence}  ", "dim"),
                (f"CAP {alarm.cap}  webhook {alarm.posts}", "blue" if alarm.posts else "dim"),
                no_wrap=True,
                overflow="ellipsis",
            )
        )
    return lines


def _siren(siren: SirenScene, now_s: float, width: int) -> Text:
    total_s = siren.total_s + (now_s - siren.since_s if siren.sounding else 0)
    state = ("♪ SOUNDING", "bold black on bright_yellow") if siren.sounding else ("  silent  ", "dim")
    why = "" if siren.reason in EXPECTED else f" ({siren.reason})"
    said = f"{siren.stage}{', measured' if siren.measured else ''}{why}" if siren.stage else "no order"
    ready = f"{siren.ready.replace('-', ' ')}{': ' if siren.why else ''}{siren.why}"
    return Text.assemble(
        (f" {siren.id:<8}", "bold"),
        (f"{siren.driver:<21}" if width >= WIDE else "", "dim"),
        state,
        (f"  {ready:<15}", READY.get(siren.ready, "dim")),
        (f"  sounded {siren.sounds}×, {total_s:4.1f} s   ", "" if siren.sounds else "dim"),
        (said, "cyan" if siren.stage else "dim"),
        no_wrap=True,
        overflow="ellipsis",
    )


def _steps(scene: Scene) -> RenderableType:
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(no_wrap=True, style="bold", min_width=6)
    for _ in STEPS:
        grid.add_column(justify="right", no_wrap=True)
    grid.add_row("", *(Text(step.short, style="dim") for step in STEPS))
    rows = list(scene.steps.items())[-2:] or [("–", {})]
    for name, took_ms in rows:
        cells = [f"{took_ms[step.name]:.0f}" if step.name in took_ms else "·" for step in STEPS]
        grid.add_row(f" {name}", *cells)
    return grid


def _counts(scene: Scene) -> str:
    counts = scene.counts
    return (
        f"messages: {counts['reports']} reports, {counts['orders']} orders and acks, {counts['beats']} beats, "
        f"{counts['telemetry']} telemetry"
    )


def _message(t_s: float, event: str, text: str) -> Text:
    style = _EVENT_STYLES.get(event, "")
    return Text.assemble((f" {t_s:6.2f}  ", "dim"), (f"{event:<11}", style), text, no_wrap=True, overflow="ellipsis")
