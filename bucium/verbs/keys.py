"""`bucium keys`: identities. Signing keys enter and leave through the signed plan; certificates open the broker's door."""

from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

import typer

from bucium.keyring import ROLES, Keyring
from bucium.output import emit, plain, say, table
from cython_ext import ConfigError, SystemClock
from lanes.keys import kid_of

app: Final = typer.Typer(name="keys", help="Identities: signing keys and TLS certificates.", no_args_is_help=True)

Folder = Annotated[Path, typer.Option("--dir", help="The folder that keeps this site's identities.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")]


@app.command()
def init(
    root: Annotated[str, typer.Option(help="Name of the root, e.g. BALTI-2027.")],
    planner: Annotated[list[str], typer.Option(help="A person who signs plans; once for each.")],
    folder: Folder = Path("keys"),
    threshold: Annotated[int, typer.Option(help="How many of them must sign a plan.", min=1, max=8)] = 2,
    as_json: Json = False,
) -> None:
    """Begin a site: its root, its planners' keys, its certificate authority.

    Example: bucium keys init --root BALTI-2027 --planner ana --planner ion
    """
    made = Keyring(folder).init(root, tuple(planner), threshold, SystemClock().wall_us())
    if as_json:
        emit({"ok": True, "root": root, "threshold": threshold, "files": [str(path) for path in made]})
        return
    for path in made:
        say(f"made {path}")
    say(f"Give each planner their own file, and put {folder / 'root.toml'} on every machine.", "bold")


@app.command()
def issue(
    name: Annotated[str, typer.Argument(help="Id of the node, controller, person or broker.")],
    role: Annotated[str, typer.Option(help="node, controller, operator, broker or cap.")],
    folder: Folder = Path("keys"),
    zones: Annotated[str, typer.Option(help="Zones it may act for, by commas; needed for an operator.")] = "",
    centre: Annotated[str, typer.Option(help="Dispatch centre of a person or controller.")] = "",
    host: Annotated[list[str] | None, typer.Option(help="broker: a name or address; once for each.")] = None,
    tls: Annotated[bool, typer.Option(help="Also a TLS certificate.")] = True,
    as_json: Json = False,
) -> None:
    """Issue keys: one each for live, exercise and test, and a TLS certificate. Prints the [[key]] tables for the plan.

    Example: bucium keys issue prut-quay --role node
    Example: bucium keys issue maria --role operator --zones riverside --centre balti
    Example: bucium keys issue broker --role broker --host mqtt.balti.md --host 10.0.0.5
    Example: bucium keys issue centre-1 --role cap
    """
    ring = Keyring(folder)
    now_us = SystemClock().wall_us()
    if role == "broker":
        made = ring.issue_server(name, tuple(host or ()), now_us)
    elif role == "cap":
        made = ring.issue_cap(name, now_us)
    elif role in ROLES:
        wanted = tuple(zone.strip() for zone in zones.split(",") if zone.strip())
        made = ring.issue(name, role, now_us, zones=wanted, centre=centre, tls=tls and role != "operator")
    else:
        raise ConfigError(f"role {role!r} is not known: node, controller, operator, broker or cap")
    if as_json:
        emit({"ok": True, "id": made.id, "files": [str(path) for path in made.files], "roster": made.roster})
        return
    for path in made.files:
        typer.echo(f"made {path}", err=True)
    if made.roster:
        typer.echo(f"added to {ring.roster_file}; for the plan:\n", err=True)
        plain(made.roster)


@app.command()
def passkey(
    name: Annotated[str, typer.Argument(help="Id of the person.")],
    public: Annotated[str, typer.Option(help="The public key that the browser gave, in base64.")],
    zones: Annotated[str, typer.Option(help="Zones it may approve for, by commas.")],
    origin: Annotated[str, typer.Option(help="The console's address: https://HOST or https://HOST:PORT.")],
    mode: Annotated[str, typer.Option(help="live, exercise or test: one passkey for each.")] = "live",
    rp_id: Annotated[str, typer.Option(help="The relying party; empty: the origin's host.")] = "",
    centre: Annotated[str, typer.Option(help="Dispatch centre of the person.")] = "",
    folder: Folder = Path("keys"),
    as_json: Json = False,
) -> None:
    """Take a person's passkey into the roster: the private half never leaves their authenticator. It approves sounds only.

    Example: bucium keys passkey maria --public MFkw… --zones riverside --origin https://alarms.town.example
    """
    from bucium import passkeys

    key = passkeys.public_of(public)
    wanted = tuple(zone.strip() for zone in zones.split(",") if zone.strip())
    text = passkeys.entry(key, name, mode, wanted, centre, rp_id or urlsplit(origin).hostname or "", origin)
    Keyring(folder).add(text)
    if as_json:
        emit({"ok": True, "id": name, "kid": kid_of(key).hex(), "roster": text})
        return
    plain(text)
    say(f"added to {Keyring(folder).roster_file}; it counts with the next plan: bucium plan build", "bold")


@app.command("list")
def list_(folder: Folder = Path("keys"), as_json: Json = False) -> None:
    """Every identity of the folder: signing keys with their ids, certificates with their ends.

    Example: bucium keys list --dir keys
    """
    ring = Keyring(folder)
    keys = [
        (k.signer, k.role, k.mode, kid_of(bytes.fromhex(k.public)).hex(), k.zones, k.centre) for k in ring.signers()
    ]
    if as_json:
        emit(
            {
                "ok": True,
                "planners": [{"id": name, "kid": kid} for name, kid in ring.planners()],
                "keys": [
                    {"signer": s, "role": r, "mode": m, "kid": kid, "zones": list(z), "centre": c}
                    for s, r, m, kid, z, c in keys
                ],
                "certificates": [{"id": name, "end_us": end_us} for name, end_us in ring.certificates()],
            }
        )
        return
    table("planners", ("id", "kid"), list(ring.planners()), "none; begin with: bucium keys init")
    table(
        "signing keys",
        ("signer", "role", "mode", "kid", "zones", "centre"),
        [(s, r, m, kid, " ".join(z), c) for s, r, m, kid, z, c in keys],
    )
    now_us = SystemClock().wall_us()
    rows = [(name, f"{(end_us - now_us) / 86_400_000_000:.0f} days") for name, end_us in ring.certificates()]
    table("certificates", ("id", "still good for"), rows)
