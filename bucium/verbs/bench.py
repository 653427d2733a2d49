"""`bucium bench`: the measured promise, beside what others would use for it. Each part is a module of `bucium.bench`."""

from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, Any, Final

import typer

from bucium.output import emit, plain
from cython_ext import BuciumError

app: Final = typer.Typer(name="bench", help="The measured promise, side by side with others.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")]


@app.command()
def core(as_json: Json = False) -> None:
    """The verdict: nanoseconds a sample, beside numpy, numba and the plain oracle.

    Example: bucium bench core --json
    """
    _run("core", as_json)


@app.command()
def wire(as_json: Json = False) -> None:
    """The wire: the bytes of a DDATA to a judged sample, beside protobuf and JSON.

    Example: bucium bench wire --json
    """
    _run("wire", as_json)


@app.command()
def ingest(as_json: Json = False) -> None:
    """A controller with 5,000 nodes: events a second, how soon they are acked, and its memory. Takes a minute or two.

    Example: bucium bench ingest --json
    """
    _run("ingest", as_json)


@app.command()
def storm(
    alarms: Annotated[int, typer.Option(help="How many, each of a zone of its own.", min=10, max=10_000)] = 5_000,
    as_json: Json = False,
) -> None:
    """5,000 alarms in one second: durable, told, sirens first. A minute or two.

    Example: bucium bench storm --alarms 1000
    """
    _run("storm", as_json, alarms=alarms)


@app.command()
def latency(as_json: Json = False) -> None:
    """Order to relay, stop to off, smoke to siren, the pattern's own precision: real programs, a real broker. Some two minutes.

    Example: bucium bench latency --json
    """
    _run("latency", as_json)


@app.command()
def edge(as_json: Json = False) -> None:
    """A node's memory, share of a core and samples a second, of the demo's three, by the kernel's count. Half a minute.

    Example: bucium bench edge --json
    """
    _run("node", as_json)


def _run(name: str, as_json: bool, **options: Any) -> None:
    if find_spec(f"bucium.bench.{name}") is None:
        raise BuciumError(f"this installation has no bench {name!r}")
    try:
        module: Any = import_module(f"bucium.bench.{name}")
        if hasattr(module, "run"):
            module.run(json=as_json)  # it prints as it goes: a long one
            return
        found = module.measure(**options)
    except ImportError as error:
        raise BuciumError(f"the comparison needs {error.name}; get it with: pip install --group test") from None
    if as_json:
        emit({"ok": True, **found})
        return
    for line in module.lines(found):
        plain(line)
