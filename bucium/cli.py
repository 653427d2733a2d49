"""The command line: verbs in groups, one file a group under `verbs/`, and the one place where trouble becomes an exit code."""

from typing import Annotated, Final

import typer

from bucium import DONE, FAILED, version
from bucium.output import complain, emit, say
from cython_ext import BuciumError

app: Final = typer.Typer(
    name="bucium",
    help="A network of sensors and sirens that warns people of floods and fires.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        say(f"bucium {version()}")
        raise typer.Exit(DONE)


@app.callback()
def _root(
    _shown: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version and end.")
    ] = False,
) -> None:
    pass


def _attach() -> None:
    """Each group's file is imported here; what is heavy (pymodbus, lxml, the controller) only inside its verbs."""
    from bucium.verbs import (
        alarm,
        backtest,
        bench,
        bus,
        config,
        demo,
        journal,
        keys,
        node,
        plan,
        release,
        services,
        siren,
    )

    groups = (config, keys, plan, journal, siren, alarm, bus, node, release, bench)
    for group in groups:
        app.add_typer(group.app)
    services.attach(app)
    demo.attach(app)
    backtest.attach(app)


def run(argv: list[str]) -> int:
    """The verb's exit code. Bad input ends in one clear line; only a bug shows a traceback."""
    if not app.registered_groups:
        _attach()
    try:
        app(argv, prog_name="bucium", standalone_mode=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else DONE if end.code is None else FAILED
    except BuciumError as error:
        if "--json" in argv:
            emit({"ok": False, "code": getattr(error, "code", "refused"), "error": str(error)})
        else:
            complain(str(error))
        return FAILED
    except BrokenPipeError:
        return FAILED
    except KeyboardInterrupt:
        complain("interrupted")
        return FAILED
    return DONE
