"""`bucium node`: a node, seen from itself, over its control socket."""

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from bucium.output import emit, say, table
from bucium.verbs.siren_show import readiness, troubles
from lanes.control import ask

app: Final = typer.Typer(name="node", help="A node, seen from itself.", no_args_is_help=True)

SOCKET: Final = Path("/run/bucium/node.sock")
Socket = Annotated[
    Path, typer.Option(help="The node's control socket (node.socket of node.toml).", envvar="BUCIUM_NODE")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")]


@app.command()
def status(socket: Socket = SOCKET, as_json: Json = False) -> None:
    """Plan, clock, ledger, lanes, points, sirens and troubles of the node on this machine.

    Example: bucium node status --socket /run/bucium/node.sock
    """
    found = ask(socket, "node.status")
    points = ask(socket, "node.points")
    if as_json:
        emit({"ok": True, "status": found, "points": points})
        return
    plan, ledger, lane, clock = (found[part] for part in ("plan", "ledger", "lane", "clock"))
    say(
        f"node {found['node']}, up {found['up_s']:.0f} s, plan version {plan['version']} of root {plan['root']}", "bold"
    )
    cut_s = lane["cut_off_s"]
    say(
        f"alarm lane  {'connected' if lane['connected'] else 'NOT connected'}"
        + (f", cut off for {cut_s:.0f} s" if cut_s else "")
    )
    say(f"telemetry   {found['telemetry']}{_backlog(found['backlog'])}")
    say(f"clock       {clock['source']}, error {clock['error_ms']} ms")
    say(f"ledger      {ledger['id']}, {ledger['head']} events, {ledger['unacked']} not acknowledged")
    table("points", ("id", "level", "value", "unit", "trouble"), [_point(row) for row in points])
    sirens = [
        (s["id"], readiness(s), s["stage"], f"{s['hold_s']} s" if s["hold_s"] else "", troubles(s["trouble"]))
        for s in found["sirens"]
    ]
    table("sirens", ("id", "readiness", "stage", "held by a stop", "trouble"), sirens)
    table("troubles", ("code", "subject"), [(t["code"], t["subject"]) for t in found["troubles"]])


def _backlog(kept: dict[str, int]) -> str:
    said = [f"{kept['samples']} samples wait to be sent"] if kept.get("samples") else []
    said += [f"{kept[word]} were {word}" for word in ("thinned", "lost") if kept.get(word)]
    return "; " + ", ".join(said) if said else ""


def _point(row: dict[str, Any]) -> tuple[str, ...]:
    trouble = row.get("trouble", [])
    words = ", ".join(trouble) if isinstance(trouble, list) else str(trouble)
    value = row.get("value", "")
    shown = f"{value:.7g}" if isinstance(value, float) else str(value)  # a single-precision value has no more digits
    return (str(row.get("id", "")), str(row.get("level", "")), shown, str(row.get("unit", "")), words)


@app.command()
def events(
    socket: Socket = SOCKET,
    limit: Annotated[int, typer.Option(help="How many, newest last.", min=1, max=500)] = 20,
    as_json: Json = False,
) -> None:
    """The last events of the node's ledger.

    Example: bucium node events --limit 50
    """
    found = ask(socket, "node.events", limit=limit)
    if as_json:
        emit({"ok": True, "events": found})
        return
    rows = [
        (str(row["seq"]), row.get("kind", ""), " ".join(map(str, row.get("data", [row.get("error", "")]))))
        for row in found
    ]
    table("events", ("seq", "kind", "data"), rows)
