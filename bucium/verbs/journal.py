"""`bucium journal`: the record, checked by a verifier that shares no code with the writer, read out, and replayed."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from bucium import FAILED
from bucium.output import complain, emit, say, warn
from cython_ext import ConfigError, WireError
from lanes import planfile

app: Final = typer.Typer(name="journal", help="The controller's record.", no_args_is_help=True)
EVER_US: Final = 1 << 62
Journal = Annotated[Path, typer.Argument(help="The journal file; it may be in use.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")]


@app.command()
def verify(
    journal: Journal,
    plan: Annotated[Path | None, typer.Option(help="The built plan: signed heads are checked with its keys.")] = None,
    head: Annotated[
        Path | None, typer.Option(help="A signed head kept elsewhere: finds rows cut off after it.")
    ] = None,
    emergency: Annotated[
        Path | None, typer.Option(help="The emergency journal, when it is not beside the journal.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Is the journal whole, unchanged and not cut? Exit code 1 and the first bad row when it is not.

    Example: bucium journal verify journal.db --plan plan.cbor
    """
    from controller.record.verify import verify_journal

    _there(journal)
    keys = {s.kid: s.public for s in planfile.read(plan).plan.roster} if plan else None
    verdict = verify_journal(journal, keys, head, emergency or journal.with_suffix(".emergency"))
    if as_json:
        emit(
            {
                "ok": verdict.whole,
                "rows": verdict.rows,
                "heads": verdict.heads,
                "heads_checked": verdict.checked,
                "in_emergency": verdict.emergency,
                "bad_row": verdict.bad_row,
                "why": verdict.why,
                "last_hash": verdict.last_hash,
            }
        )
    elif verdict.whole:
        beside = f", {verdict.emergency} of them in the emergency journal" if verdict.emergency else ""
        say(f"{journal}: whole; {verdict.rows} rows{beside}, {verdict.heads} signed heads", "green")
        if verdict.heads and not verdict.checked:
            warn("the heads' signatures were not checked; give the plan with --plan")
    else:
        complain(f"{journal}: row {verdict.bad_row}: {verdict.why}")
    if not verdict.whole:
        raise typer.Exit(FAILED)


@app.command()
def export(
    journal: Journal,
    since: Annotated[str, typer.Option(help="From this time on, ISO 8601; UTC unless it says otherwise.")] = "",
    until: Annotated[str, typer.Option(help="Up to, and without, this time.")] = "",
    kind: Annotated[list[str] | None, typer.Option(help="Only rows of this kind; may be given again.")] = None,
) -> None:
    """The journal as JSON Lines on stdout: a row a line, codes as words, times in UTC, signed bytes in hex beside what they say.

    Example: bucium journal export journal.db --since 2026-11-22T18:00 --kind order --kind decision
    """
    from controller.record.records import Record
    from controller.replay.export import line_of, rows_of

    _there(journal)
    kinds = set()
    for name in kind or ():
        if name.upper().replace("-", "_") not in Record.__members__:
            known = ", ".join(each.name.lower() for each in Record)
            raise ConfigError(f"no kind {name!r}; there are: {known}", source="--kind")
        kinds.add(Record[name.upper().replace("-", "_")])
    try:
        for row in rows_of(journal, _time(since, "--since", 0), _time(until, "--until", EVER_US), frozenset(kinds)):
            emit(line_of(row))
    except WireError as damage:
        complain(f"{damage}")
        raise typer.Exit(FAILED) from None


@app.command()
def replay(
    journal: Journal,
    plan: Annotated[list[Path], typer.Option(help="A built plan that it ran under; once for each.")],
    inputs: Annotated[
        Path | None, typer.Option(help="The folder of recorded input, when it is not beside the journal.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Every decision computed anew from what the journal holds: the same to the last byte, or the first difference and code 1.

    Reports and acts are verified once more, alarms, decisions and orders come from this program's own code.

    Example: bucium journal replay journal.db --plan plan.cbor
    """
    from controller.replay.engine import Replay

    _there(journal)
    plans = {signed.digest: signed for signed in map(planfile.read, plan)}
    verdict = Replay(journal, plans, inputs).run()
    if as_json:
        emit(
            {
                "ok": verdict.same,
                "rows": verdict.rows,
                "compared": verdict.compared,
                "starts": verdict.starts,
                "inputs": verdict.inputs,
                "inputs_dropped": verdict.dropped,
                "samples": verdict.samples,
                "kinds": dict(verdict.kinds),
                "bad_row": verdict.bad_row,
                "why": verdict.why,
            }
        )
    elif verdict.same:
        said = ", ".join(f"{verdict.kinds[name]} {name}s" for name in ("alarm", "decision", "order"))
        say(f"{journal}: the same; {verdict.rows} rows, {verdict.compared} computed anew ({said})", "green")
        if verdict.inputs or verdict.dropped:
            kept = f"{verdict.samples} samples in {verdict.inputs} files say the same again"
            say(f"the controller's own Panel: {kept}; {verdict.dropped} files are not kept any more")
    else:
        complain(f"{journal}: row {verdict.bad_row}: {verdict.why}")
    if not verdict.same:
        raise typer.Exit(FAILED)


def _there(journal: Path) -> None:
    if not journal.is_file():
        raise ConfigError("there is no such file", source=str(journal))


def _time(text: str, option: str, otherwise: int) -> int:
    """UTC microseconds."""
    if not text:
        return otherwise
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"{text!r} is no time; write 2026-11-22 or 2026-11-22T18:30:00+02:00", source=option
        ) from None
    return round((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1_000_000)
