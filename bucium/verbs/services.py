"""`bucium edge run`, `bucium controller run`: here only their help; `__main__` starts them without this file."""

from typing import Annotated, Final

import typer

_CONFIG: Final = typer.Option(help="The service's TOML file.")
_LOG: Final = typer.Option(help="What is logged: debug, info, warning or error.")


def attach(app: typer.Typer) -> None:
    """Add both groups to the command."""
    edge = typer.Typer(name="edge", help="The node's agent.", no_args_is_help=True)
    controller = typer.Typer(name="controller", help="The control room.", no_args_is_help=True)
    edge.command("run")(edge_run)
    controller.command("run")(controller_run)
    app.add_typer(edge)
    app.add_typer(controller)


def edge_run(config: Annotated[str, _CONFIG] = "node.toml", log: Annotated[str, _LOG] = "info") -> None:
    """Run a node until SIGTERM or SIGINT. Exit code 1 when its configuration or plan is refused.

    Example: bucium edge run --config /etc/bucium/node.toml
    """
    from edge.__main__ import main

    raise typer.Exit(main(["--config", config, "--log", log]))


def controller_run(config: Annotated[str, _CONFIG] = "controller.toml", log: Annotated[str, _LOG] = "info") -> None:
    """Run a controller until SIGTERM or SIGINT. Exit code 1 when its configuration or plan is refused.

    Example: bucium controller run --config /etc/bucium/controller.toml
    """
    from controller.__main__ import main

    raise typer.Exit(main(["--config", config, "--log", log]))
