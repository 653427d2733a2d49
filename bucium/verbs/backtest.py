"""`bucium backtest`: thresholds against recorded data, before they go live."""

from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from bucium.output import emit, say, warn
from controller.backtest import columns as maps
from controller.backtest import report
from controller.backtest.columns import Columns
from controller.backtest.csvfile import CsvFile
from controller.backtest.history import history_file, is_history
from controller.backtest.instants import instant, local
from controller.backtest.recording import Recording, Span
from controller.backtest.run import Outcome, run
from controller.backtest.trial import Manner
from cython_ext import ConfigError
from lanes import planfile
from lanes.plan import Plan
from lanes.settings import load


def attach(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("backtest")(backtest)


def backtest(
    plan: Annotated[Path, typer.Argument(help="plan.toml, or a built plan.")],
    recording: Annotated[
        Path | None, typer.Argument(help="CSV (may be .gz), our line protocol, or a controller's spool.db.")
    ] = None,
    server: Annotated[
        Path | None, typer.Option("--server", help="controller.toml: read from its [history] server instead of a file.")
    ] = None,
    against: Annotated[Path | None, typer.Option(help="Another plan, to be compared.")] = None,
    rule: Annotated[
        list[str] | None,
        typer.Option("--map", help="POINT=COLUMN*SCALE+OFFSET; columns called like a point need none."),
    ] = None,
    columns: Annotated[Path | None, typer.Option(help="columns.toml, for more than --map can say.")] = None,
    time: Annotated[str, typer.Option(help="The column that is the time.")] = "",
    utc: Annotated[bool, typer.Option("--utc", help="Times without a zone are UTC.")] = False,
    point: Annotated[list[str] | None, typer.Option(help="Judge only these points.")] = None,
    begin: Annotated[str, typer.Option("--from", help="From this instant, ISO-8601 with zone.")] = "",
    end: Annotated[str, typer.Option("--to", help="Up to this instant.")] = "",
    period: Annotated[
        str,
        typer.Option(help="auto: the recording's pace where it is coarser than the plan's; plan; or seconds."),
    ] = "auto",
    latch: Annotated[
        bool, typer.Option("--latch/--no-latch", help="Off: no point latches; nobody is here to reset it.")
    ] = True,
    plot: Annotated[list[Path] | None, typer.Option(help="Draw it: FILE.svg or FILE.png.")] = None,
    timezone: Annotated[str, typer.Option(help="IANA zone of what is shown; else the plan's first zone's.")] = "",
    brief: Annotated[bool, typer.Option("--brief", help="No transitions, only what came of them.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document instead of text (docs/backtest.md).")
    ] = False,
) -> None:
    """Run a plan's points and thresholds over recorded data: every transition with its reason, and what was missing.

    Example: bucium backtest plan.toml stage.csv --map gauge=gage_height_ft*0.3048 --plot flood.png
    Example: bucium backtest plan.toml stage.csv --against lower.toml --json
    """
    plans = [(path.name, _plan(path)) for path in (plan, against) if path]
    zone = _zone(timezone or plans[0][1].zones[0].timezone)
    span = _span(begin, end)
    known = _points([p for _, p in plans], point or [])
    if (recording is None) == (server is None):
        raise typer.BadParameter("give either a RECORDING or --server controller.toml")
    source = (
        _server(server, known, span)
        if server
        else _file(recording, _columns(columns, rule or [], time, utc), known, span)  # type: ignore[arg-type]
    )
    for picture in plot or []:
        _drawable(picture)
    outcome = run(source, plans, Manner(_period(period), latch), traced=bool(plot))
    if plot:
        _draw(outcome, zone, plot)
    if as_json:
        emit({"ok": True, **report.document(outcome), "pictures": [str(path) for path in plot or []]})
        return
    _tell(outcome, zone, brief)
    for picture in plot or []:
        say(f"drawn: {picture}")


def _plan(path: Path) -> Plan:
    """A built plan by its first bytes, else TOML; its signatures do not matter here."""
    try:
        with path.open("rb") as file:
            built = planfile.MAGIC.encode() in file.read(32)
    except OSError as error:
        raise ConfigError(f"cannot read this plan: {error.strerror}", source=str(path)) from None
    return planfile.read(path).plan if built else load(path, Plan)


def _points(plans: list[Plan], asked: list[str]) -> list[str]:
    """Ids of the points to be judged, in the plans' order."""
    known = list(dict.fromkeys(point.id for plan in plans for point in plan.points))
    for one in asked:
        if one not in known:
            raise ConfigError(f"no plan has a point {one!r}; there are {', '.join(known[:20])}")
    if not known:
        raise ConfigError("the plan has no points, so there is nothing to judge")
    return [one for one in known if not asked or one in asked]


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise ConfigError(f"time zone {name!r} is not known; give an IANA name, e.g. Europe/Chisinau") from None


def _span(begin: str, end: str) -> Span:
    whole = Span()
    span = Span(instant(begin) if begin else whole.from_us, instant(end) if end else whole.to_us)
    if span.from_us >= span.to_us:
        raise ConfigError("--from must be earlier than --to")
    return span


def _period(text: str) -> float | None:
    if text in ("auto", "plan"):
        return None if text == "auto" else 0.0
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 86_400:
        raise ConfigError(f"--period {text!r} is neither auto, nor plan, nor seconds up to a day")
    return seconds


def _columns(path: Path | None, rules: list[str], time: str, utc: bool) -> Columns:
    base = load(path, Columns) if path else Columns.model_validate({})
    if rules and (base.columns or base.long):
        raise ConfigError("columns are mapped by the file or by --map, not by both", source=str(path))
    changes: dict[str, object] = {"column": [maps.column(rule).model_dump() for rule in rules]} if rules else {}
    changes |= {"time": time} if time else {}
    changes |= {"naive_is_utc": True} if utc else {}
    if not changes:
        return base
    try:
        return Columns.model_validate({**base.model_dump(by_alias=True), **changes})
    except ValueError:
        raise ConfigError("--map names a point twice") from None


def _file(path: Path, columns: Columns, known: list[str], span: Span) -> Recording:
    if is_history(path):
        return history_file(path, known, span)
    return CsvFile(path, columns, known, span)


def _server(path: Path, known: list[str], span: Span) -> Recording:
    from controller import config
    from controller.backtest.server import Server

    settings = config.load(path).config.history
    if settings is None:
        raise ConfigError("it has no [history], so no server to read from", source=str(path))
    return Server(settings, known, span)


def _drawable(path: Path) -> None:
    """Refuse before the long run, not after it."""
    from controller.backtest import raster

    raster.check(path)


def _draw(outcome: Outcome, zone: ZoneInfo, paths: list[Path]) -> None:
    from controller.backtest import picture, raster

    drawn = picture.draw(outcome, zone)
    for path in paths:
        raster.save(drawn, path)


def _tell(outcome: Outcome, zone: ZoneInfo, brief: bool) -> None:
    """For people: transitions, what came of each point, the comparison, and what to know before trusting it."""
    defects = outcome.recording.defects
    for trial in outcome.trials:
        say(f"{trial.name}, version {trial.plan.version}", "bold")
        for verdict in () if brief else trial.verdicts:
            say(report.line(verdict, report.unit_of(trial, verdict.judged), zone))
        for judged in trial.tallies:
            for text in report.summary(trial, judged, outcome.coverage.get(judged), zone):
                say(text)
        counters = trial.panel.counters
        say("samples: " + ", ".join(f"{report.word(name)} {counters[name]}" for name in report.COUNTED))
    if outcome.other:
        _compare(outcome, zone)
    say(
        f"{outcome.recording.name}: {outcome.samples} samples of {outcome.recording.rows} rows, "
        f"{local(outcome.from_us, zone)} to {local(outcome.to_us, zone)}, {defects.count} bad"
    )
    for line, why in defects.named:
        warn(f"line {line}: {why}" if line else why)
    if defects.count > len(defects.named):
        warn(f"and {defects.count - len(defects.named)} more")
    for note in outcome.notes:
        warn(note)


def _compare(outcome: Outcome, zone: ZoneInfo) -> None:
    assert outcome.other is not None
    this, other = outcome.this.name, outcome.other.name
    found = outcome.happenings()
    count = {seen: sum(h.seen == seen for h in found) for seen in ("both", "this", "other")}
    say(
        f"{this} against {other}: {count['both']} by both, {count['this']} only by {this}, {count['other']} only by {other}",
        "bold",
    )
    for happening in found:
        say(report.happening_line(happening, this, other, zone))
