"""`bucium release`: who stands for a release; which one each node runs; which nodes may restart now."""

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from bucium import people
from bucium import release as releases
from bucium.output import emit, say, table
from lanes.control import ask

app: Final = typer.Typer(
    name="release", help="Releases: sign and verify them, and how far they are.", no_args_is_help=True
)

Socket = Annotated[Path, typer.Option(help="The controller's control socket.", envvar="BUCIUM_CONTROLLER")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")]
Release = Annotated[Path, typer.Argument(metavar="FOLDER", help="What scripts/release made.")]


@app.command()
def key(
    name: Annotated[str, typer.Argument(help="Id of the person who stands for releases.")],
    folder: Annotated[Path, typer.Option("--dir", help="The folder that keeps this site's identities.")] = Path("keys"),
    as_json: Json = False,
) -> None:
    """Make a key that signs releases. Hosts take its public half, keys/release/ID.pub, with the next playbook.

    Example: bucium release key ana --dir keys
    """
    made = releases.make_key(folder, name)
    if as_json:
        emit({"ok": True, "id": name, "files": [str(path) for path in made]})
        return
    for path in made:
        say(f"made {path}")
    say("Keep the .pem off the machine that builds releases.", "bold")


@app.command()
def sign(
    folder: Release,
    key: Annotated[Path, typer.Option(help="Your release key.")],
    downgrade_from: Annotated[
        list[str] | None, typer.Option(help="A newer version that it may replace; once for each.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Stand for a release, after you have looked at it: release.json and its list of parts, sbom.cdx.json in release.tar.

    Example: bucium release sign release --key keys/release/ana.pem
    Example: bucium release sign release-0.1.0 --key keys/release/ana.pem --downgrade-from 0.2.0
    """
    manifest = releases.sign(folder, key, tuple(downgrade_from or ()))
    if as_json:
        emit({"ok": True, **manifest.model_dump(mode="json")})
        return
    back = f"; it may replace {', '.join(manifest.downgrade_from)}" if manifest.downgrade_from else ""
    say(f"signed: release {manifest.version} of {manifest.made}{back}", "bold")


@app.command()
def verify(
    folder: Release,
    keys: Annotated[Path, typer.Option(help="Folder of the public halves, ID.pub.")] = Path("keys/release"),
    as_json: Json = False,
) -> None:
    """Whether one of the site's release keys stands for it, and every byte is there. Exit code 1 when not.

    Example: bucium release verify release --keys keys/release
    """
    manifest, name = releases.check(folder, keys)
    if as_json:
        emit({"ok": True, "signed_by": name, **manifest.model_dump(mode="json")})
        return
    say(
        f"release {manifest.version}, Python {manifest.python}, {', '.join(manifest.architectures)}: signed by {name}",
        "bold",
    )


@app.command()
def nodes(socket: Socket = people.SOCKET, as_json: Json = False) -> None:
    """Which release each node runs, as the controller hears it from the node itself, and the troubles it told.

    Example: bucium release nodes
    """
    found = [_node(each) for each in ask(socket, "node.list")]
    standing, sirens = ask(socket, "status")["troubles"], ask(socket, "siren.list")
    for each in found:
        own = {each["node"], *(siren["siren"] for siren in sirens if siren["node"] == each["node"])}
        told = [t for t in standing if t["node"] == each["node"] or t["subject"] in own]
        each["troubles"] = sorted({f"{t['code']} {t['subject']}".strip() for t in told})
    if as_json:
        emit({"ok": True, "nodes": found})
        return
    rows = [
        (
            each["node"],
            each["software"] or "not heard yet",
            "never" if each["silent_s"] is None else f"{each['silent_s']:.0f} s ago",
            "yes" if each["stated"] else "no",
            ", ".join(each["troubles"]),
        )
        for each in found
    ]
    table("nodes", ("node", "runs", "heard", "reported since its start", "troubles"), rows)


def _node(said: dict[str, Any]) -> dict[str, Any]:
    heads = {key: said[key] for key in ("node", "software", "boot", "stated", "silent_s")}
    return heads | {"current": said["plan"]["current"]}


@app.command()
def spare(
    names: Annotated[list[str], typer.Argument(metavar="NODE …", help="Nodes that are to be restarted.")],
    socket: Socket = people.SOCKET,
    uncovered: Annotated[
        list[str] | None, typer.Option(help="A zone that may be without its sirens meanwhile; once for each.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Which of these nodes the network can spare for a minute now: no alarm in their zones, and enough sirens without them.

    Exit code 0 also when it can spare none.

    Example: bucium release spare bridge quay mill
    """
    found = ask(socket, "node.spare", nodes=names, uncovered=uncovered or [])
    if as_json:
        emit({"ok": True, **found})
        return
    rows = [(name, "may restart", "") for name in found["spared"]]
    rows += [(name, "NOT now", why) for name, why in found["refused"].items()]
    table("nodes", ("node", "", "why"), rows)
