"""`bucium siren`: orders and proofs. A request sounds nothing until its approvals are there; a stop needs one person."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from bucium import people
from bucium.output import emit, say, table
from cython_ext import BuciumError, ConfigError
from lanes.acts import ALL, CheckSiren, RequestSiren, StopSiren, VetoSiren
from lanes.control import ask
from lanes.identity import INCIDENT_BYTES
from lanes.orders import Action
from lanes.reports import SirenTrouble

app: Final = typer.Typer(name="siren", help="Sirens: what they do, requests, approvals, stop.", no_args_is_help=True)

Socket = Annotated[Path, typer.Option(help="The controller's control socket.", envvar="BUCIUM_CONTROLLER")]
Key = Annotated[Path, typer.Option(help="Your signing key; its mode (live, exercise, test) is the order's.")]
Reason = Annotated[str, typer.Option(help="Why; it stays in the journal.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")]
Node = Annotated[
    Path | None,
    typer.Option(help="A node's own control socket, at the pole: no controller is asked.", show_default=False),
]
_TESTS: Final = {"silent": Action.SILENT_TEST, "growl": Action.GROWL_TEST, "arm": Action.ARM, "status": Action.STATUS}


_FAILED: Final = {  # domain.md's three ways; docs/dispatcher.md
    "audio": "nothing proves that it was heard",
    "other": "its node tells of another sound than the last one ordered",
    "time": "order and sound lie more than 90 minutes apart",
}


@app.command("list")
def list_(socket: Socket = people.SOCKET, as_json: Json = False) -> None:
    """Every siren of the plan: where it is, what it does, and what hinders it.

    Example: bucium siren list
    """
    found, zones = ask(socket, "siren.list"), ask(socket, "siren.coverage")
    if as_json:
        emit({"ok": True, "sirens": found, "zones": zones})
        return
    rows = [
        (
            s["siren"],
            s["node"],
            " ".join(s["zones"]),
            readiness(s),
            _left(s),
            _tested(s),
            f"{s['stage']} {s['sounding_mode']}".rstrip(),
            _hold(s),
            last_sound(s),
            _trouble(s),
        )
        for s in found
    ]
    heads = ("siren", "node", "zones", "readiness", "battery", "silent test")
    table("sirens", (*heads, "stage", "held by a stop", "last sound", "trouble"), rows)
    table(
        "people within earshot of sirens that could sound now",
        ("zone", "sirens", "people", "percent", "asked"),
        [_coverage(zone) for zone in zones],
    )


def _left(siren: dict[str, Any]) -> str:
    """Full activations left, and what that rests on."""
    rest = siren["activations_left"]
    if rest is None:
        return ""
    left = "unknown" if rest["left"] is None else f"{rest['left']} of {rest['of']:g}"
    return f"{left} ({rest['basis'].replace('-', ' ')}){', TOO FEW' if rest['short'] else ''}"


def _tested(siren: dict[str, Any]) -> str:
    test = siren["silent_test"]
    if not test["result"]:
        return "not yet" if test["calendar"] else ""
    return f"FAILED: {test['why']}" if test["result"] == "fail" else str(test["result"])


def _coverage(zone: dict[str, Any]) -> tuple[str, ...]:
    sirens = f"{zone['sirens_able']} of {zone['sirens']}"
    if zone["people_total"] is None:
        return zone["zone"], sirens, "not known", "", ""
    people_now = f"{zone['people_covered_now']} of {zone['people_total']}"
    asked = f"{zone['target_percent']:g} %" if zone["target_percent"] else ""
    return zone["zone"], sirens, people_now, f"{zone['percent']:g} %{' TOO FEW' if zone['short'] else ''}", asked


def _trouble(siren: dict[str, Any]) -> str:
    words = troubles(siren["trouble"])
    return ", ".join(filter(None, ("node silent" if siren["node_silent"] else "", words)))


def readiness(siren: dict[str, Any]) -> str:
    """Whether it could sound, and why not."""
    why = ", ".join(siren["reasons"])
    return str(siren["ready"]).replace("-", " ") + (f": {why}" if why else "")


def troubles(bits: int) -> str:
    """A siren's trouble bits in words."""
    return ", ".join(one.name.lower().replace("_", " ") for one in SirenTrouble if one & bits and one.name)


def last_sound(siren: dict[str, Any]) -> str:
    """How the last sound went that was ordered here."""
    last, failed = siren["last"], siren["failed_to_sound"]
    if last is None:
        return ""
    if failed:
        return f"FAILED TO SOUND: {_FAILED[failed]}"
    return f"{last['result']}, measured" if last["measured"] else f"{last['result']} {last['why']}".rstrip()


def _hold(siren: dict[str, Any]) -> str:
    return f"{siren['hold_s']} s" if siren["hold_s"] else ""


def _when(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M") if at_us else ""


_COUNTS: Final = ("pending", "pass", "fail", "total")


@app.command()
def status(socket: Socket = people.SOCKET, as_json: Json = False) -> None:
    """Activations with their proofs, open requests, and veto times that run.

    Example: bucium siren status
    """
    found = ask(socket, "siren.status")
    if as_json:
        emit({"ok": True, **found})
        return
    activations = [
        (str(a["activation"]), a["action"], a["mode"], a["by"], " ".join(a["zones"]), *(str(a[n]) for n in _COUNTS))
        for a in found["activations"]
    ]
    table("activations", ("number", "action", "mode", "by", "zones", *_COUNTS), activations)
    rows = [
        (
            str(a["activation"]),
            each["siren"],
            each["stage"],
            each["result"],
            "yes" if each["measured"] else "",
            each["why"],
            each["stands_in_for"],
        )
        for a in found["activations"]
        for each in a["sirens"]
    ]
    table("sirens", ("number", "siren", "stage", "result", "measured", "why", "in place of"), rows)
    falls = [
        (
            str(a["activation"]),
            fall["siren"],
            fall["failure"],
            fall["why"],
            str(fall["retries"] or ""),
            " ".join(fall["stand_ins"]),
            "told" if fall["told"] else "",
        )
        for a in found["activations"]
        for fall in a["fall_backs"]
    ]
    if falls:
        table("failures", ("number", "siren", "failure", "why", "retries", "in its place", "dispatch"), falls)
    reached = [
        (str(a["activation"]), zone, f"{each['people']} of {each['people_total']}", f"{each['percent']:g} %")
        for a in found["activations"]
        for zone, each in a["people"].items()
    ]
    if reached:
        table("people within earshot of proven sound", ("number", "zone", "people", "percent"), reached)
    if found["exercises"]:
        exercises = [
            (e["exercise"], " ".join(e["zones"]), e["pattern"], _when(e["next_us"]), e["last"], _when(e["last_us"]))
            for e in found["exercises"]
        ]
        table("exercises", ("exercise", "zones", "pattern", "next, UTC", "last", "its time, UTC"), exercises)
    for request in found["requests"]:
        _show(request)
    table("veto times", ("incident", "left"), [(v["incident"], f"{v['left_s']:.0f} s") for v in found["veto_times"]])


@app.command()
def request(
    zone: Annotated[list[str], typer.Option(help="Zones to warn; once for each.")],
    pattern: Annotated[str, typer.Option(help="The pattern's id in the plan.")],
    reason: Reason,
    key: Key,
    max_s: Annotated[int, typer.Option(help="Seconds at most; 0: the pattern's own length.", min=0, max=900)] = 0,
    incident: Annotated[str, typer.Option(help="An open incident (hex); empty: one of its own.")] = "",
    socket: Socket = people.SOCKET,
    as_json: Json = False,
) -> None:
    """Ask for a sound. It sounds nothing: as many people as the policy asks for must approve it within two minutes.

    Example: bucium siren request --zone riverside --pattern disaster --reason "dyke broken" --key maria.live.pem
    """
    person = people.Person(socket, key)
    act = RequestSiren(tuple(zone), pattern, person.mode, max_s, reason, _incident(incident))
    answer = person.do(act)
    if as_json:
        emit({"ok": True, **answer})
        return
    _show(answer)
    say(f"Nothing sounds yet. Each who agrees runs: bucium siren approve {answer['request']} --key THEIR-KEY", "bold")


@app.command()
def approve(
    request_id: Annotated[str, typer.Argument(metavar="REQUEST", help="The request's id, from `siren status`.")],
    key: Key,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask again.")] = False,
    socket: Socket = people.SOCKET,
    as_json: Json = False,
) -> None:
    """Say yes to a request, as it is shown. The last approval that was missing lets it sound.

    Example: bucium siren approve 1f0c55ab --key ion.live.pem
    """
    open_requests = ask(socket, "siren.status")["requests"]
    found = [one for one in open_requests if one["request"] == request_id or one["digest"] == request_id]
    if not found:
        known = ", ".join(one["request"] for one in open_requests) or "none"
        raise BuciumError(f"no open request {request_id!r}; open: {known}")
    person = people.Person(socket, key)
    if not as_json:
        _show(found[0])
    if not yes and not as_json:
        typer.confirm(f"{person.id}: sound this, {person.mode.name.lower()}?", abort=True)
    answer = person.approve(found[0])
    if as_json:
        emit({"ok": True, **answer})
    elif answer["missing"]:
        say(f"approved by {', '.join(answer['approved_by'])}; still missing: {answer['missing']}")
    else:
        say(f"approved by {', '.join(answer['approved_by'])}: ordered, see: bucium siren status", "bold")


@app.command()
def veto(
    incident: Annotated[str, typer.Argument(help="The incident (hex), from `alarm list` or `siren status`.")],
    reason: Reason,
    key: Key,
    socket: Socket = people.SOCKET,
    node: Node = None,
    as_json: Json = False,
) -> None:
    """No sound for this incident: ends a veto time, and requests that wait. It stops nothing that sounds.

    Example: bucium siren veto 5a0d736df869d683 --reason "gauge under repair" --key maria.live.pem
    """
    answer = _person(socket, node, key).do(VetoSiren(_incident(incident), reason))
    if as_json:
        emit({"ok": True, **answer})
    elif node:
        say(f"vetoed at node {answer['node']}: it does not sound for this incident by itself")
    else:
        say(f"vetoed: {answer['alarms']} alarms, {answer['requests']} requests")


@app.command()
def stop(
    key: Key,
    sirens: Annotated[
        list[str] | None, typer.Argument(help="Sirens; with neither sirens nor zones: all of yours.")
    ] = None,
    zone: Annotated[list[str] | None, typer.Option(help="All sirens of a zone; once for each.")] = None,
    incident: Annotated[str, typer.Option(help="Only this incident (hex); empty: whatever sounds.")] = "",
    socket: Socket = people.SOCKET,
    node: Node = None,
    as_json: Json = False,
) -> None:
    """Silence, now. One person is enough. Automatic sounding is held off for the plan's stop_hold_s.

    Example: bucium siren stop --zone riverside --key maria.live.pem
    """
    answer = _person(socket, node, key).do(StopSiren(_incident(incident), tuple(zone or ()), tuple(sirens or ())))
    if as_json:
        emit({"ok": True, **answer})
    elif node:
        say(f"node {answer['node']} silences its sirens; see: bucium node status", "bold")
    else:
        say(f"stop ordered: {', '.join(answer['sirens'])}; see: bucium siren status", "bold")


@app.command("test")
def check(
    key: Key,
    sirens: Annotated[list[str] | None, typer.Argument(help="Sirens, by their ids.")] = None,
    zone: Annotated[list[str] | None, typer.Option(help="All sirens of a zone; once for each.")] = None,
    everyone: Annotated[bool, typer.Option("--all", help="Every siren that you may act for.")] = False,
    kind: Annotated[str, typer.Option(help="silent, growl, arm or status.")] = "silent",
    socket: Socket = people.SOCKET,
    as_json: Json = False,
) -> None:
    """Test sirens without waking the town: some, those of a zone, or all. Silent and growl tests need your test key.

    Example: bucium siren test quay --kind silent --key maria.test.pem
    """
    if kind not in _TESTS:
        raise ConfigError(f"--kind {kind!r}: one of {', '.join(_TESTS)}")
    if everyone == bool(sirens or zone):
        raise ConfigError("name sirens, or zones by --zone, or say --all")
    answer = people.Person(socket, key).do(CheckSiren(_TESTS[kind], tuple(zone or ()), tuple(sirens or ())))
    if as_json:
        emit({"ok": True, **answer})
    else:
        say(f"{kind} test of {', '.join(answer['sirens'])} ordered; see: bucium siren status")


@app.command("dry-run")
def dry_run(
    alarm: Annotated[str, typer.Argument(help="An open alarm, from `alarm list`; empty: give a zone.")] = "",
    zone: Annotated[str, typer.Option(help="A zone of the plan.")] = "",
    hazard: Annotated[str, typer.Option(help="flood or fire.")] = "flood",
    level: Annotated[str, typer.Option(help="attention, alarm or danger.")] = "danger",
    socket: Socket = people.SOCKET,
    as_json: Json = False,
) -> None:
    """What an alarm would sound, by the signed plan that runs, and which of its sirens could not. It sounds nothing.

    Example: bucium siren dry-run --zone riverside --hazard flood --level danger
    """
    if bool(alarm) == bool(zone):
        raise ConfigError("give an alarm, or a zone by --zone")
    where = {"alarm": people.alarm_id(socket, alarm)} if alarm else {"zone": zone, "hazard": hazard, "level": level}
    found = ask(socket, "policy.dry-run", **where)
    if as_json:
        emit({"ok": True, **found})
        return
    say(f"by plan version {found['plan_version']} ({found['plan'][:16]})", "dim")
    if "decision" in found:
        decision = found["decision"]
        say(f"now: {decision['move']}, because: {decision['reason']}", "bold")
    policy = found["policy"]
    if policy is None:
        say("the plan has no policy here: only people can sound it")
        return
    _policy(policy)
    for name, why in found["hindered"].items():
        silent = "its node is silent" if why["node_silent"] else "" if why["heard"] else "never heard"
        say(f"  {name} could not be relied on: {', '.join(filter(None, (silent, troubles(why['trouble']))))}", "yellow")


def _policy(policy: dict[str, Any]) -> None:
    """A policy in words."""
    say(f"{policy['zone']}, {policy['hazard']} from {policy['level']}: {policy['mode']}", "bold")
    wait = f" after {policy['veto_s']:g} s without a veto" if policy["mode"] == "unless-vetoed" else ""
    say(
        f"  {policy['pattern'] or 'nothing'} for at most {policy['max_s']} s{wait} on {', '.join(policy['sirens']) or 'no siren'}"
    )
    say(f"  by evidence of {policy['k']} nodes; by hand {policy['approvals']} people of {policy['centres']} centres")
    fall = policy["fall_back"]
    told = "dispatch is told" if fall["tell"] else "nobody is told"
    say(f"  a siren that fails: {fall['retries']} retries, {fall['neighbours']} neighbours, {told}")


def _person(socket: Path, node: Path | None, key: Path) -> people.Person:
    return people.Person(node, key, node=True) if node else people.Person(socket, key)


def _incident(text: str) -> bytes:
    if not text:
        return ALL
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != INCIDENT_BYTES:
        raise ConfigError(f"incident {text!r}: it has {2 * INCIDENT_BYTES} hex digits; see: bucium alarm list")
    return found


def _show(request: dict[str, Any]) -> None:
    say(f"request {request['request']} by {request['by']}: {request['reason']}", "bold")
    say(
        f"  {request['pattern']} for at most {request['max_s']} s in {', '.join(request['zones'])}, {request['mode'].upper()}"
    )
    say(f"  sirens {', '.join(request['sirens'])}; incident {request['incident']}")
    approved = ", ".join(request["approved_by"]) or "nobody yet"
    say(f"  approved by {approved}" + (f"; missing: {request['missing']}" if request["missing"] else ""))
