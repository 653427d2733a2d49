"""`bucium plan`: thresholds, zones, policies and keys, as one signed file."""

import base64
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from bucium import people
from bucium.output import emit, say, table, warn
from bucium.register import Register
from cython_ext import ConfigError, SystemClock
from lanes import pieces, planfile
from lanes.acts import ApplyPlan
from lanes.control import ask
from lanes.keys import kid_of, read_key
from lanes.plan import Plan
from lanes.plan_doubts import doubts
from lanes.planfile import Root, SignedPlan
from lanes.population import cells_of, digest_of
from lanes.settings import load, parse

app: Final = typer.Typer(name="plan", help="Thresholds, zones, policies, keys: one signed file.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")]
PlanFile = Annotated[Path, typer.Argument(help="A built plan.")]
Socket = Annotated[Path, typer.Option(help="The controller's control socket.", envvar="BUCIUM_CONTROLLER")]
RootFile = Annotated[Path | None, typer.Option("--root", help="root.toml: check the signatures against it.")]


@app.command()
def build(
    source: Annotated[Path, typer.Argument(help="plan.toml.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the built plan goes.")] = Path("plan.cbor"),
    roster: Annotated[
        Path | None, typer.Option(help="roster.toml of `bucium keys`: its [[key]] tables are added.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check plan.toml and build it, unsigned.

    Example: bucium plan build plan.toml --roster keys/roster.toml -o plan.cbor
    """
    signed = planfile.build(read_source(source, roster))
    _require_people(signed.plan, source.parent)
    planfile.write(signed, out)
    if as_json:
        heads = {"ok": True, "file": str(out), "version": signed.plan.version, "sha256": signed.digest.hex()}
        emit(heads | {"doubts": list(doubts(signed.plan))})
        return
    for doubt in doubts(signed.plan):
        warn(doubt)
    say(f"built {out}: version {signed.plan.version}, {len(signed.data)} bytes, SHA-256 {signed.digest.hex()}")
    say(
        f"Sign it, by as many people as the root asks for: bucium plan sign {out} --key planners/ID.pem --by ID", "bold"
    )


def _require_people(plan: Plan, folder: Path) -> None:
    """ConfigError unless every file of where people live is there, right, and the one that the plan names."""
    for zone in plan.zones:
        if not zone.people_file:
            continue
        path = folder / zone.people_file
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ConfigError(
                f"cannot read this people_file of zone {zone.id}: {error.strerror}", source=str(path)
            ) from None
        cells_of(data, str(path))
        if digest_of(data) != zone.people_sha256:
            raise ConfigError(f"zone {zone.id}: of this file people_sha256 is {digest_of(data)}", source=str(path))


def read_source(source: Path, roster: Path | None = None) -> Plan:
    """plan.toml, with the roster's tables after it, and what was revoked there; ConfigError as `lanes.settings.load`."""
    if roster is None:
        return load(source, Plan)
    try:
        plan = parse(source.read_text() + "\n" + roster.read_text(), Plan, source=str(source))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the plan or the roster: {error}") from None
    gone = Register(roster.parent).revoked_kids()
    return plan.model_copy(update={"revoked": tuple(dict.fromkeys((*plan.revoked, *gone)))}) if gone else plan


@app.command()
def sign(
    plan: PlanFile,
    key: Annotated[Path, typer.Option(help="The planner's key file.")],
    by: Annotated[str, typer.Option(help="The planner's id in root.toml.")],
    root: RootFile = None,
    as_json: Json = False,
) -> None:
    """Add a planner's signature to a built plan.

    Example: bucium plan sign plan.cbor --key keys/planners/ana.pem --by ana --root keys/root.toml
    """
    secret = read_key(key)
    anchor = load(root, Root) if root else None
    if anchor and (secret.public.hex(), by) not in {(p.public, p.id) for p in anchor.planners}:
        raise ConfigError(
            f"this key is not {by}'s in root {anchor.name}; its id is {secret.kid.hex()}", source=str(key)
        )
    signed = planfile.sign(planfile.read(plan), by, secret, SystemClock().wall_us())
    planfile.write(signed, plan)
    standing = list(planfile.signers(signed, anchor)) if anchor else []
    if as_json:
        emit({"ok": True, "file": str(plan), "signatures": len(signed.signatures), "people": standing})
        return
    say(f"signed {plan} by {by}: {len(signed.signatures)} signatures")
    if anchor:
        missing = anchor.threshold - len(standing)
        say(
            f"good: {', '.join(standing)}"
            + (f"; {missing} more needed" if missing > 0 else "; ready to be put in place")
        )


@app.command("apply")
def apply_(
    plan: PlanFile,
    key: Annotated[Path, typer.Option(help="Your signing key: an operator's of the running plan, or a planner's.")],
    reason: Annotated[str, typer.Option(help="Why; it stays in the journal.")],
    socket: Socket = people.SOCKET,
    as_json: Json = False,
) -> None:
    """Have the controller run this plan from now on, and take it to the nodes. Nothing is restarted.

    Example: bucium plan apply plan.cbor --reason "gauge moved 0.4 m" --key planners/ana.pem
    """
    signed = planfile.read(plan)
    packed = pieces.pack(signed.digest, planfile.file_of(signed)).data
    act = ApplyPlan(signed.plan.version, signed.digest, reason)
    answer = people.Person(socket, key, planner=True).do(act, plan=base64.b64encode(packed).decode())
    if as_json:
        emit({"ok": True, **answer})
        return
    say(
        f"version {answer['version']} runs, applied by {answer['by']}; it goes to {answer['behind']} of {answer['nodes']} nodes"
    )
    say("Watch it: bucium plan show")


def _running(socket: Path, as_json: bool) -> None:
    """Which plan the controller runs, and each node."""
    plan, nodes = ask(socket, "plan.show"), ask(socket, "node.list")
    if as_json:
        emit(
            {
                "ok": True,
                "running": plan,
                "nodes": [{"node": n["node"], "silent_s": n["silent_s"], **n["plan"]} for n in nodes],
            }
        )
        return
    say(f"version {plan['version']} runs at {plan['controller']}, group {plan['group']}, root {plan['root']}", "bold")
    say(f"SHA-256 {plan['digest']}")
    table(
        "nodes", ("node", "version", "plan"), [(n["node"], str(n["plan"]["version"] or ""), _state(n)) for n in nodes]
    )


def _state(node: dict[str, Any]) -> str:
    """How a node stands to the plan."""
    plan = node["plan"]
    if plan["current"]:
        return "runs it"
    if plan["refused"]:
        return f"refused it: {plan['refused']}"
    if plan["sent"] is not None:
        return f"{plan['sent']:.0%} sent"
    return "not heard yet" if not plan["version"] else "runs another"


@app.command()
def show(
    plan: Annotated[Path | None, typer.Argument(help="A built plan; without it the one that runs, and where.")] = None,
    root: RootFile = None,
    socket: Socket = people.SOCKET,
    as_json: Json = False,
) -> None:
    """What a built plan says, and who stands for it. With --root, exit code 1 unless enough people signed.

    Without a file: which version the controller runs, and each node.

    Example: bucium plan show plan.cbor --root keys/root.toml
    """
    if plan is None:
        _running(socket, as_json)
        return
    signed = planfile.read(plan)
    anchor = load(root, Root) if root else None
    standing = planfile.signers(signed, anchor) if anchor else ()
    if as_json:
        document = signed.plan.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        emit({"ok": True, "sha256": signed.digest.hex(), "people": list(standing), "plan": document})
    else:
        _show(signed, standing, anchor)
    if anchor:
        planfile.check(signed, anchor)


def _show(signed: SignedPlan, standing: tuple[str, ...], anchor: Root | None) -> None:
    plan = signed.plan
    who = ", ".join(standing) or "nobody of this root"
    say(f"plan version {plan.version} of group {plan.group}, root {plan.root}, controller {plan.controller}", "bold")
    say(f"SHA-256 {signed.digest.hex()}, {len(signed.signatures)} signatures" + (f", good: {who}" if anchor else ""))
    points = [
        (p.id, p.node, p.hazard, *(_rule(p, n) for n in ("attention", "alarm", "danger")), p.unit, " ".join(p.zones))
        for p in plan.points
    ]
    table("points", ("id", "node", "hazard", "attention", "alarm", "danger", "unit", "zones"), points)
    if plan.groups:
        votes = [(g.id, f"{g.k} of {len(g.points)}", " ".join(g.points), f"{g.window_s:g} s") for g in plan.groups]
        table("votes", ("id", "k of n", "points", "window"), votes)
    table(
        "sirens",
        ("id", "node", "zones", "proof"),
        [(s.id, s.node, " ".join(s.zones), _yes(s.proof)) for s in plan.sirens],
    )
    rows = [(p.zone, p.hazard, p.level, p.mode, p.pattern, str(p.k), _yes(p.reflex)) for p in plan.policies]
    table("policies", ("zone", "hazard", "level", "mode", "pattern", "k", "reflex"), rows)
    patterns = [(p.id, f"{p.length_s:g} s", _yes(p.verified), p.source) for p in plan.patterns]
    table("patterns", ("id", "length", "verified", "source"), patterns)
    keys = [(k.signer, k.role, k.mode, kid_of(bytes.fromhex(k.public)).hex()) for k in plan.keys]
    table("keys", ("signer", "role", "mode", "kid"), keys)


def _rule(point: Any, name: str) -> str:
    rule = getattr(point, name)
    return f"{rule.raise_at:g}/{rule.clear_at:g}" if rule else "–"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


@app.command()
def diff(old: PlanFile, new: PlanFile, as_json: Json = False) -> None:
    """What changes from one built plan to another: one line a value.

    Example: bucium plan diff running.cbor plan.cbor
    """
    changes = differences(_document(old), _document(new))
    if as_json:
        emit({"ok": True, "changes": [{"path": p, "old": a, "new": b} for p, a, b in changes]})
        return
    for path, before, after in changes:
        if before is None:
            say(f"+ {path} = {after}", "green")
        elif after is None:
            say(f"- {path} = {before}", "red")
        else:
            say(f"~ {path}: {before} → {after}", "yellow")
    if not changes:
        say("the same")


def _document(path: Path) -> dict[str, Any]:
    return planfile.read(path).plan.model_dump(mode="json", by_alias=True)


def differences(old: Any, new: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """(path, old, new) of each value that differs; lists of things with ids are matched by id, None: not there."""
    if isinstance(old, list) and isinstance(new, list) and _named(old) and _named(new):
        old, new = ({_name(item): item for item in side} for side in (old, new))
    if isinstance(old, dict) and isinstance(new, dict):
        found: list[tuple[str, Any, Any]] = []
        for key in (*old, *(k for k in new if k not in old)):
            found += differences(old.get(key), new.get(key), f"{path}.{key}" if path else str(key))
        return found
    return [] if old == new else [(path, old, new)]


def _named(items: list[Any]) -> bool:
    return all(isinstance(item, dict) and _name(item) for item in items)


def _name(item: dict[str, Any]) -> str:
    """What a table of the plan is known by: its id, a policy's place, a key's bytes."""
    if "id" in item:
        return str(item["id"])
    if "level" in item:
        return "/".join(str(item[part]) for part in ("zone", "hazard", "level"))
    return str(item.get("public", ""))[:16]
