"""`bucium keys`: identities. Signing keys enter and leave through the signed plan; certificates open the broker's door."""

from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

import typer

from bucium import admission, departure, siteca
from bucium.keyring import ROLES, Keyring
from bucium.output import emit, moment, plain, say, table
from bucium.verbs import keys_own
from cython_ext import ConfigError, SystemClock
from lanes.keys import kid_of

app: Final = typer.Typer(name="keys", help="Identities: signing keys and TLS certificates.", no_args_is_help=True)

Folder = Annotated[Path, typer.Option("--dir", help="The folder that keeps this site's identities.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")]
Zones = Annotated[str, typer.Option(help="Zones it may act for, by commas; needed for an operator.")]
Centre = Annotated[str, typer.Option(help="Dispatch centre of a person or controller.")]
Hosts = Annotated[list[str] | None, typer.Option("--host", help="broker: a name or address; once for each.")]
Overlap = Annotated[int, typer.Option(help="Hours for which the old keys count beside the new ones.")]


@app.command()
def init(
    root: Annotated[str, typer.Option(help="Name of the root, e.g. BALTI-2027.")],
    planner: Annotated[list[str], typer.Option(help="A person who signs plans; once for each.")],
    folder: Folder = Path("keys"),
    threshold: Annotated[int, typer.Option(help="How many of them must sign a plan.", min=1, max=8)] = 2,
    authority: Annotated[
        Path | None, typer.Option(help="Certificate of the site's own authority: it signs, and none is made here.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Begin a site: its root, its planners' keys, its certificate authority.

    Example: bucium keys init --root BALTI-2027 --planner ana --planner ion
    """
    made = Keyring(folder).init(root, tuple(planner), threshold, SystemClock().wall_us(), authority=authority)
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
    zones: Zones = "",
    centre: Centre = "",
    host: Hosts = None,
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
        made = ring.issue(name, role, now_us, zones=_names(zones), centre=centre, tls=tls and role != "operator")
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
    text = passkeys.entry(key, name, mode, _names(zones), centre, rp_id or urlsplit(origin).hostname or "", origin)
    Keyring(folder).add(text)
    if as_json:
        emit({"ok": True, "id": name, "kid": kid_of(key).hex(), "roster": text})
        return
    plain(text)
    say(f"added to {Keyring(folder).roster_file}; it counts with the next plan: bucium plan build", "bold")


@app.command()
def token(
    name: Annotated[str, typer.Argument(help="Id of the node, controller, person or broker that will enrol.")],
    role: Annotated[str, typer.Option(help="node, controller, operator or broker.")],
    folder: Folder = Path("keys"),
    hours: Annotated[int, typer.Option(help="For how long it is good.")] = 24,
    zones: Zones = "",
    centre: Centre = "",
    host: Hosts = None,
    as_json: Json = False,
) -> None:
    """A one-time token: who has it may enrol once, as this id, with keys of their own making. It is kept nowhere.

    Example: bucium keys token quay --role node
    Example: bucium keys token broker --role broker --host mqtt.balti.md --host 10.0.0.5
    """
    if role not in (*ROLES, "broker"):
        raise ConfigError(f"role {role!r} is not known: node, controller, operator or broker")
    text, ends_us = admission.token(
        Keyring(folder),
        name,
        role,
        SystemClock().wall_us(),
        hours=hours,
        zones=_names(zones),
        centre=centre,
        hosts=tuple(host or ()),
    )
    if as_json:
        emit({"ok": True, "id": name, "role": role, "token": text, "ends_us": ends_us})
        return
    plain(text)
    typer.echo(f"good until {moment(ends_us)}, once, for {role} {name}; there: bucium keys request", err=True)


@app.command()
def admit(
    request: Annotated[Path, typer.Argument(help="The file that `bucium keys request` has made.")],
    name: Annotated[str, typer.Option("--id", help="Whose it must be; another's is refused.")] = "",
    overlap_hours: Overlap = admission.OVERLAP_HOURS,
    folder: Folder = Path("keys"),
    as_json: Json = False,
) -> None:
    """Take a host's request in: a certificate for it, its keys into the roster. The same request again changes nothing.

    Example: bucium keys admit quay.request --id quay
    """
    done = admission.admit(
        Keyring(folder), request, SystemClock().wall_us(), expected=name, overlap_hours=overlap_hours
    )
    _tell(done, as_json, f"{done.id} is admitted" if done.changed else f"{done.id} was admitted before")


@app.command()
def take(
    file: Annotated[Path, typer.Argument(help="A certificate, or a list of revoked certificates, in PEM.")],
    folder: Folder = Path("keys"),
    as_json: Json = False,
) -> None:
    """Take what the site's own authority has signed: names, key, purpose, time and authority are checked.

    Example: bucium keys take quay-signed.crt
    """
    done = siteca.take(Keyring(folder), file, SystemClock().wall_us())
    _tell(done, as_json, f"taken: {done.id}" if done.changed else f"{done.id} was here already")


@app.command()
def rotate(
    name: Annotated[str, typer.Argument(help="Whose keys are kept in this folder, and get others in their place.")],
    overlap_hours: Overlap = admission.OVERLAP_HOURS,
    folder: Folder = Path("keys"),
    as_json: Json = False,
) -> None:
    """New keys and a new certificate beside those that count, as `ID.MODE.next.pem` and `ID.next.crt`; both count in the overlap.

    A host that made its own keys does this itself: bucium keys request --rotate.

    Example: bucium keys rotate maria
    """
    done = departure.rotate(Keyring(folder), name, SystemClock().wall_us(), overlap_hours=overlap_hours)
    _tell(done, as_json, f"{name} has new keys")


@app.command()
def retire(
    name: Annotated[str, typer.Argument(help="Whose old keys leave.")],
    early: Annotated[bool, typer.Option("--early", help="Before the overlap's end.")] = False,
    folder: Folder = Path("keys"),
    as_json: Json = False,
) -> None:
    """The keys that a rotation has left behind leave the roster; the next plan revokes them.

    Example: bucium keys retire quay
    """
    done = departure.retire(Keyring(folder), name, SystemClock().wall_us(), early=early)
    _tell(done, as_json, f"the old keys of {name} have left" if done.changed else f"{name} has no old keys")


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(help="Who is not to be believed any more.")],
    reason: Annotated[str, typer.Option(help="Why; it stays in the register.")],
    folder: Folder = Path("keys"),
    as_json: Json = False,
) -> None:
    """Nothing of this id counts any more: its certificates go onto the broker's list, its keys onto the next plan's.

    Example: bucium keys revoke quay --reason "stolen from the mast"
    """
    ring = Keyring(folder)
    done = departure.revoke(ring, name, reason, SystemClock().wall_us())
    _tell(done, as_json, f"{name} is revoked" if done.changed else f"{name} was revoked before")
    if not as_json:
        say(
            "The broker must have the list now: ansible-playbook playbooks/revoke.yml; nodes go by the next plan.",
            "bold",
        )


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _tell(done: admission.Done, as_json: bool, text: str) -> None:
    if as_json:
        emit(
            {
                "ok": True,
                "id": done.id,
                "changed": done.changed,
                "files": [str(path) for path in done.files],
                "kids": list(done.kids),
                "roster": done.roster,
            }
        )
        return
    say(text)
    for path in done.files:
        say(f"  {path}")
    if done.kids and done.changed:
        say("It counts with the next plan: bucium plan build", "bold")


@app.command("list")
def list_(folder: Folder = Path("keys"), as_json: Json = False) -> None:
    """Every identity of the folder: signing keys, certificates with their ends, open tokens, who is leaving and who was revoked.

    Example: bucium keys list --dir keys
    """
    ring = Keyring(folder)
    now_us = SystemClock().wall_us()
    keys = [
        (k.signer, k.role, k.mode, kid_of(bytes.fromhex(k.public)).hex(), k.zones, k.centre) for k in ring.signers()
    ]
    publics = [key.public for key in ring.signers()]
    book = ring.register.read()
    tokens = [each for each in book.tokens if each.ends_us > now_us]
    if as_json:
        known = {each[0] for each in keys} | {name for name, _ in ring.certificates()}
        emit(
            {
                "ok": True,
                "planners": [{"id": name, "kid": kid} for name, kid in ring.planners()],
                "keys": [
                    {"signer": s, "role": r, "mode": m, "kid": kid, "public": p, "zones": list(z), "centre": c}
                    for (s, r, m, kid, z, c), p in zip(keys, publics, strict=True)
                ],
                "certificates": [{"id": name, "end_us": end_us} for name, end_us in ring.certificates()],
                "tokens": [{"id": each.id, "role": each.role, "end_us": each.ends_us} for each in tokens],
                "leaving": [each.model_dump() for each in book.leaving],
                "revoked": [each.model_dump() | {"again": each.id in known} for each in book.revoked],
            }
        )
        return
    table("planners", ("id", "kid"), list(ring.planners()), "none; begin with: bucium keys init")
    table(
        "signing keys",
        ("signer", "role", "mode", "kid", "zones", "centre"),
        [(s, r, m, kid, " ".join(z), c) for s, r, m, kid, z, c in keys],
    )
    rows = [(name, f"{(end_us - now_us) / 86_400_000_000:.0f} days") for name, end_us in ring.certificates()]
    table("certificates", ("id", "still good for"), rows)
    if tokens:
        table("open tokens", ("id", "role", "until"), [(t.id, t.role, moment(t.ends_us)) for t in tokens])
    if book.leaving:
        leaving = [(each.id, each.kid or f"certificate {each.serial}", moment(each.from_us)) for each in book.leaving]
        table("leaving", ("id", "what", "from"), leaving)
    if book.revoked:
        revoked = [(r.id, moment(r.at_us), str(len(r.kids)), str(len(r.serials)), r.reason) for r in book.revoked]
        table("revoked", ("id", "at", "keys", "certificates", "why"), revoked)


keys_own.attach(app)
