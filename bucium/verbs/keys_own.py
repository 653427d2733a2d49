"""`bucium keys request|adopt|hold`: on the host itself. Its private keys are made here and never leave it."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import typer

from bucium import certcheck
from bucium.keyrequest import MODES
from bucium.output import emit, say
from bucium.ownkeys import OwnKeys
from cython_ext import ConfigError, SystemClock
from lanes import plankept, settings
from lanes.keys import Mode, kid_of
from lanes.plan import Plan
from lanes.planfile import Root

TOKEN_MAX: Final = 256
ROLES: Final = ("node", "controller", "operator", "broker")

Folder = Annotated[Path, typer.Option("--dir", help="The folder of this host's own identity.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")]
IDENTITY: Final = Path("/etc/bucium/identity")


def attach(app: typer.Typer) -> None:
    """The verbs, into the group."""
    app.command()(request)
    app.command()(adopt)
    app.command()(hold)


def request(
    name: Annotated[str, typer.Option("--id", help="As whom to enrol.")] = "",
    role: Annotated[str, typer.Option(help="node, controller, operator or broker.")] = "node",
    token: Annotated[
        Path | None, typer.Option(help="File with the token; - for standard input. Never on the command line itself.")
    ] = None,
    rotate: Annotated[bool, typer.Option("--rotate", help="New keys, vouched for by those that count now.")] = False,
    cap: Annotated[bool, typer.Option("--cap", help="controller: also a key that signs CAP messages.")] = False,
    host: Annotated[list[str] | None, typer.Option(help="broker: a name or address; once for each.")] = None,
    anew: Annotated[bool, typer.Option("--anew", help="The identity that this host has was revoked.")] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Also write the request there.")] = None,
    folder: Folder = IDENTITY,
    as_json: Json = False,
) -> None:
    """Make keys here, and the request that asks for them to count: public halves, each proven. Again: the same request.

    Example: bucium keys request --id quay --role node --token -
    Example: bucium keys request --rotate
    """
    own = OwnKeys(folder)
    if rotate == (token is not None) or (token is not None and not name):
        raise ConfigError("say --id and --token to enrol, or --rotate for new keys of this host")
    if rotate:
        made = own.rotate(cap=cap)
    else:
        if role not in ROLES:
            raise ConfigError(f"role {role!r} is not known: {', '.join(ROLES)}")
        assert token is not None
        made = own.enrol(name, role, _token(token), cap=cap, hosts=tuple(host or ()), anew=anew)
    about = own.about(own.next)
    if out is not None:
        out.write_bytes(own.request_file.read_bytes())
    if as_json:
        kids = own.kids(own.next)
        emit(
            {
                "ok": True,
                "id": about.id,
                "role": about.role,
                "changed": made,
                "file": str(own.request_file),
                "kids": kids,
            }
        )
        return
    say(f"{'made' if made else 'waits already:'} {own.request_file}, of {about.role} {about.id}")
    say("Bring it to the admin: bucium keys admit; then here: bucium keys adopt", "bold")


def adopt(
    certificate: Annotated[Path | None, typer.Argument(help="The certificate that the admin has made.")] = None,
    authority: Annotated[Path | None, typer.Option("--ca", help="ca.crt: the authority that this site trusts.")] = None,
    cap: Annotated[Path | None, typer.Option(help="A controller's certificate for CAP.")] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="node.toml or controller.toml: refused while the plan that it runs does not know the new keys."
        ),
    ] = None,
    back: Annotated[bool, typer.Option("--back", help="Go back to the keys before these.")] = False,
    folder: Folder = IDENTITY,
    as_json: Json = False,
) -> None:
    """Count as what was asked for, from now on: one link is switched. Services read their keys at their next start.

    Example: bucium keys adopt quay.crt --ca ca.crt
    Example: bucium keys adopt --back
    """
    own = OwnKeys(folder)
    if back:
        number = own.back()
        emit({"ok": True, "generation": number, "changed": True}) if as_json else say(f"back to generation {number}")
        return
    if authority is None:
        raise ConfigError("say which certificate, and with --ca whose: bucium keys adopt ID.crt --ca ca.crt")

    def known(publics: Mapping[str, bytes]) -> None:
        if config is not None:
            require_known(running(config), own.about(own.next).id, publics)

    changed = own.adopt(certificate, authority, SystemClock().wall_us(), cap=cap, known=known)
    about = own.about()
    if as_json:
        emit({"ok": True, "id": about.id, "role": about.role, "changed": changed, "kids": own.kids()})
        return
    say(f"{'counts from the next start on' if changed else 'counts already'}: {about.role} {about.id}")


def hold(
    name: Annotated[str, typer.Option("--id", help="Whose they are.")],
    role: Annotated[str, typer.Option(help="node, controller or broker.")],
    keys: Annotated[
        Path, typer.Option(help="Folder of live.pem, exercise.pem, test.pem, and perhaps cap.key and cap.crt.")
    ],
    tls: Annotated[Path, typer.Option(help="Folder of ID.crt, ID.key and ca.crt.")],
    folder: Folder = IDENTITY,
    as_json: Json = False,
) -> None:
    """Take keys in that were brought here by hand, so that this host can renew them itself. They stay the same.

    Example: bucium keys hold --id quay --role node --keys /etc/bucium/keys --tls /etc/bucium/tls
    """
    files = {f"{mode}.pem": keys / f"{mode}.pem" for mode in MODES} if role != "broker" else {}
    files |= {f"cap.{kind}": path for kind in ("key", "crt") if (path := keys / f"cap.{kind}").exists()}
    files |= {"tls.crt": tls / f"{name}.crt", "tls.key": tls / f"{name}.key", "ca.crt": tls / "ca.crt"}
    changed = OwnKeys(folder).take_in(name, role, files)
    if as_json:
        emit({"ok": True, "id": name, "changed": changed})
        return
    say("taken in" if changed else "there is an identity here already; nothing was changed")


def running(config: Path) -> Plan:
    """The plan that the service of this configuration would start with now."""
    text = certcheck.bounded(config).decode(errors="replace")
    if "[controller]" in text:
        from controller import config as controllers

        there = controllers.load(config)
        section = there.config.controller
        plan, data, root = there.at(section.plan), there.at(section.data), there.at(section.root)
    else:
        from edge import config as nodes

        here = nodes.load(config)
        node = here.config.node
        plan, data, root = here.at(node.plan), here.at(node.data), here.at(node.root)
    return plankept.choose(plan, data, settings.load(root, Root)).signed.plan


def require_known(plan: Plan, name: str, publics: Mapping[str, bytes]) -> None:
    """ConfigError while the plan does not know these keys as this id's: with them nobody would believe it."""
    for mode, public in publics.items():
        signer = plan.roster.find(kid_of(public))
        if signer is None or (signer.id, signer.mode) != (name, Mode[mode.upper()]):
            raise ConfigError(
                f"plan version {plan.version} does not know the new {mode} key {kid_of(public).hex()} of {name}: first build, "
                "sign and apply one that does"
            )


def _token(path: Path) -> str:
    if str(path) == "-":
        return sys.stdin.read(TOKEN_MAX)
    return certcheck.bounded(path, TOKEN_MAX).decode(errors="replace")
