"""`bucium demo`: a town on a river, on this machine."""

from pathlib import Path
from typing import Annotated

import typer


def attach(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("demo")(demo)


def demo(
    seconds: Annotated[
        float | None,
        typer.Option(help="How long it plays; the story (60 s) is repeated or hastened to fit.", min=15, max=864_000),
    ] = None,
    speed: Annotated[
        float, typer.Option(help="Play the story faster or slower; sirens keep their own pace.", min=0.1, max=4)
    ] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="One event a line as JSON (docs/demo.md).")] = False,
    out: Annotated[
        Path | None, typer.Option(help="An empty folder that keeps CAP files, journal, ledgers, logs, configs.")
    ] = None,
    headless: Annotated[
        bool, typer.Option("--headless", help="No picture: only phases, checks and the verdict.")
    ] = False,
    broker: Annotated[
        str, typer.Option(help="HOST:PORT of an MQTT broker of yours, instead of the embedded one.")
    ] = "",
    record: Annotated[Path | None, typer.Option(help="Save the fullest picture as SVG.")] = None,
) -> None:
    """Play a flood and a fire through the real programs: from Modbus registers to sounding sirens and CAP messages.

    Broker, devices, controller and three nodes run as processes on this machine, with keys that are thrown away.
    Exit code 0 only when the devices' own records show that the right sirens sounded and stopped.

    Example: bucium demo
    Example: bucium demo --seconds 30 --headless --out demo-out
    """
    from bucium.demo.run import Options, main

    raise typer.Exit(main(Options(seconds or 0.0, speed, as_json, out, headless, broker, record)))
