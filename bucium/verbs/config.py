"""`bucium config`: refuse or explain a configuration before it runs."""

from pathlib import Path
from typing import Annotated, Final

import typer

from bucium import FAILED, documents
from bucium.output import complain, emit, plain, say, warn
from cython_ext import ConfigError

app: Final = typer.Typer(name="config", help="Check and explain configuration files.", no_args_is_help=True)

Kind = Annotated[str, typer.Option(help="node, controller, plan or root, where the name does not say it.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document a file instead of text.")]


@app.command()
def check(
    files: Annotated[
        list[Path], typer.Argument(help="node.toml, controller.toml, duty.toml, desk.toml, plan.toml, root.toml.")
    ],
    kind: Kind = "",
    as_json: Json = False,
) -> None:
    """Check files. Exit code 1 when any is refused, with the line, what is wrong, and the nearest known key.

    Where a service's plan is in its place, its signatures, the keys and the bindings are checked too, as a start would.

    Example: bucium config check node.toml controller.toml
    """
    refused = 0
    for path in files:
        try:
            document, settings = documents.check(path, kind)
            whole = documents.check_in_place(path, document)
            doubts = documents.doubts(path, document, settings, whole=whole)
        except ConfigError as error:
            refused += 1
            if as_json:
                emit({"ok": False, "file": str(path), "line": error.line, "error": str(error)})
            else:
                complain(str(error))
            continue
        if as_json:
            emit({"ok": True, "file": str(path), "kind": document.kind, "with_plan": whole, "doubts": doubts})
        else:
            beyond = (
                "; with its plan and keys"
                if whole
                else "; no plan in place, so only the file"
                if document.service
                else ""
            )
            say(f"{path}: good ({document.what}{beyond})", "green")
            for doubt in doubts:
                warn(f"{path}: {doubt}")
    if refused:
        raise typer.Exit(FAILED)


@app.command()
def show(
    file: Annotated[Path, typer.Argument(help="The file to explain.")],
    kind: Kind = "",
    as_json: Json = False,
) -> None:
    """What a file says once every default is filled in. Secrets are file names here, never their content.

    Example: bucium config show node.toml
    """
    document, settings = documents.check(file, kind)
    values = settings.model_dump(mode="json", by_alias=True)
    if as_json:
        emit({"ok": True, "kind": document.kind, "values": values})
        return
    say(f"# {file}: {document.what}, with every default", "dim")
    for line in _flat(values):
        plain(line)


def _flat(value: object, path: str = "") -> list[str]:
    """`path = value` lines: what a person can search."""
    if isinstance(value, dict) and value:
        return [line for key, item in value.items() for line in _flat(item, f"{path}.{key}" if path else str(key))]
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [line for at, item in enumerate(value) for line in _flat(item, f"{path}[{at}]")]
    return [f"{path} = {value!r}" if not isinstance(value, str) else f'{path} = "{value}"']


@app.command()
def schema(
    kind: Annotated[str, typer.Argument(help="node, controller, plan or root.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A file instead of standard output.")] = None,
) -> None:
    """The JSON Schema of a kind of file, for editors (Even Better TOML: `#:schema node.schema.json` as the first line).

    Example: bucium config schema node -o node.schema.json
    """
    import json

    text = json.dumps(documents.of_kind(kind).model().model_json_schema(by_alias=True), indent=2, ensure_ascii=False)
    if out is None:
        plain(text)
        return
    try:
        out.write_text(text + "\n")
    except OSError as error:
        raise ConfigError(f"cannot write: {error.strerror}", source=str(out)) from None
