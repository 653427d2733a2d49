"""`bucium journal`: the record, checked by a verifier that shares no code with the writer."""

from pathlib import Path
from typing import Annotated, Final

import typer

from bucium import FAILED
from bucium.output import complain, emit, say, warn
from cython_ext import ConfigError
from lanes import planfile

app: Final = typer.Typer(name="journal", help="The controller's record.", no_args_is_help=True)


@app.command()
def verify(
    journal: Annotated[Path, typer.Argument(help="The journal file; it may be in use.")],
    plan: Annotated[Path | None, typer.Option(help="The built plan: signed heads are checked with its keys.")] = None,
    head: Annotated[
        Path | None, typer.Option(help="A signed head kept elsewhere: finds rows cut off after it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")] = False,
) -> None:
    """Is the journal whole, unchanged and not cut? Exit code 1 and the first bad row when it is not.

    Example: bucium journal verify journal.db --plan plan.cbor
    """
    from controller.record.verify import verify_journal

    if not journal.is_file():
        raise ConfigError("there is no such file", source=str(journal))
    keys = {s.kid: s.public for s in planfile.read(plan).plan.roster} if plan else None
    verdict = verify_journal(journal, keys, head)
    if as_json:
        emit(
            {
                "ok": verdict.whole,
                "rows": verdict.rows,
                "heads": verdict.heads,
                "heads_checked": verdict.checked,
                "bad_row": verdict.bad_row,
                "why": verdict.why,
                "last_hash": verdict.last_hash,
            }
        )
    elif verdict.whole:
        say(f"{journal}: whole; {verdict.rows} rows, {verdict.heads} signed heads", "green")
        if verdict.heads and not verdict.checked:
            warn("the heads' signatures were not checked; give the plan with --plan")
    else:
        complain(f"{journal}: row {verdict.bad_row}: {verdict.why}")
    if not verdict.whole:
        raise typer.Exit(FAILED)
