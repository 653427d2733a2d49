"""`bucium alarm report`: an incident for an inquiry, from a journal or a copy of one."""

from pathlib import Path
from typing import Annotated

import typer

from bucium.output import say, there
from cython_ext import ConfigError
from lanes import planfile


def report(
    alarm: Annotated[
        str,
        typer.Argument(
            metavar="ALARM", help="The alarm's id, its zone/hazard (the newest one), or an incident (16 hex digits)."
        ),
    ],
    journal: Annotated[Path, typer.Option(help="The journal file, or a copy; it may be in use.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")],
    plan: Annotated[
        list[Path] | None,
        typer.Option(help="A built plan that ran then: names, units, and keys that verify; once for each."),
    ] = None,
    form: Annotated[str, typer.Option("--format", help="html, pdf or json; without it, as the file's name ends.")] = "",
    language: Annotated[str, typer.Option(help="ro, en, ru or uk.")] = "en",
) -> None:
    """What was seen, judged, ordered, sounded, told and answered, with the milliseconds between; the journal's chain verified.

    Example: bucium alarm report riverside/flood --journal journal.db --plan plan.cbor --language ro -o incident.pdf
    """
    from controller.report.make import FORMATS, make
    from controller.report.reading import read_case
    from controller.texts import LANGUAGES

    wanted = form or output.suffix.removeprefix(".")
    if wanted not in FORMATS:
        raise ConfigError(f"{wanted!r} is no format; there are: {', '.join(FORMATS)}", source="--format")
    spoken = next((each for each in LANGUAGES if each == language), None)
    if spoken is None:
        raise ConfigError(f"{language!r} is no language; there are: {', '.join(LANGUAGES)}", source="--language")
    case = read_case(there(journal), alarm, [planfile.read(path) for path in plan or ()])
    data = make(case, wanted, spoken)
    try:
        output.write_bytes(data)
    except OSError as error:
        raise ConfigError(f"cannot write: {error.strerror}", source=str(output)) from None
    verdict = case.verdict
    chain = "the chain is whole" if verdict.whole else f"THE CHAIN IS BROKEN at row {verdict.bad_row}: {verdict.why}"
    say(f"{output}: {len(case.entries)} entries of {case.subject}; {chain}", "green" if verdict.whole else "red")
