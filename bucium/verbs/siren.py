"""`bucium siren`: orders and proofs. A request sounds nothing until its approvals are there; a stop needs one person."""

import time
from pathlib import Path
from typing import Annotated, Final

import typer

from bucium import people
from bucium.output import emit, say
from cython_ext import BuciumError, ConfigError, SystemClock
from lanes.acts import ALL, CheckSiren, RequestSiren, StopSiren, VetoSiren
from lanes.control import ask
from lanes.identity import INCIDENT_BYTES
from lanes.orders import ZONES_MAX, Action

from . import siren_show as show

app: Final = typer.Typer(name="siren", help="Sirens: what they do, requests, approvals, stop.", no_args_is_help=True)

Socket = Annotated[Path, typer.Option(help="The controller's control socket.", envvar="BUCIUM_CONTROLLER")]
Key = Annotated[Path, typer.Option(help="Your signing key; its mode (live, exercise, test) is the order's.")]
Reason = Annotated[str, typer.Option(help="Why; it stays in the journal.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")]
Node = Annotated[
    Path | None,
    typer.Option(help="A node's own control socket, at the pole: no controller is asked.", show_default=False),
]
ANSWER_S: Final = 4.0  # a stop is confirmed within 2 s; a node that cannot be reached is not waited for
LOOK_S: Final = 0.2
_TESTS: Final = {"silent": Action.SILENT_TEST, "growl": Action.GROWL_TEST, "arm": Action.ARM, "status": Action.STATUS}


@app.command("list")
def list_(socket: Socket = people.SOCKET, as_json: Json = False) -> None:
    """Every siren of the plan: where it is, what it does, and what hinders it.

    Example: bucium siren list
    """
    found, zones = ask(socket, "siren.list"), ask(socket, "siren.coverage")
    if as_json:
        emit({"ok": True, "sirens": found, "zones": zones})
        return
    show.sirens(found)
    show.coverage(zones)
    show.standing(ask(socket, "status")["troubles"])


@app.command()
def status(
    every: Annotated[bool, typer.Option("--all", help="Every activation that the controller still holds.")] = False,
    socket: Socket = people.SOCKET,
    as_json: Json = False,
) -> None:
    """Activations with their proofs, open requests, and veto times that run.

    Example: bucium siren status
    """
    found = ask(socket, "siren.status")
    if as_json:
        emit({"ok": True, **found})
        return
    now_us = SystemClock().wall_us()
    shown = found["activations"] if every else show.newest(found["activations"])
    show.activations(shown, now_us)
    show.exercises(found["exercises"])
    show.refused(found["refused"], now_us)
    for request in found["requests"]:
        show.request(request, now_us)
    show.veto_times(found["veto_times"])
    if len(shown) < len(found["activations"]):
        say(f"{len(found['activations']) - len(shown)} older activations: --all shows them", "dim")


@app.command()
def request(
    pattern: Annotated[str, typer.Option(help="The pattern's id in the plan.")],
    reason: Reason,
    key: Key,
    zone: Annotated[list[str] | None, typer.Option(help="Zones to warn; once for each.")] = None,
    siren: Annotated[list[str] | None, typer.Option(help="Only these sirens, of their zones; once for each.")] = None,
    everyone: Annotated[bool, typer.Option("--all", help="Every zone that you may act for.")] = False,
    max_s: Annotated[int, typer.Option(help="Seconds at most; 0: the pattern's own length.", min=0, max=900)] = 0,
    incident: Annotated[str, typer.Option(help="An open incident (hex); empty: one of its own.")] = "",
    socket: Socket = people.SOCKET,
    as_json: Json = False,
) -> None:
    """Ask for a sound. It sounds nothing: as many people as the policy asks for must approve it within two minutes.

    Example: bucium siren request --zone riverside --pattern disaster --reason "dyke broken" --key maria.live.pem
    """
    if everyone == bool(zone or siren):
        raise ConfigError("name zones by --zone, sirens by --siren, or say --all")
    person = people.Person(socket, key)
    zones = tuple(zone or ()) or (person.zones if everyone else _zones_of(socket, siren or [], person))
    if len(zones) > ZONES_MAX:
        raise ConfigError(f"{len(zones)} zones: one order has at most {ZONES_MAX}; ask for some of them at a time")
    act = RequestSiren(zones, pattern, person.mode, max_s, reason, _incident(incident), tuple(siren or ()))
    answer = person.do(act)
    if as_json:
        emit({"ok": True, **answer})
        return
    show.request(answer, SystemClock().wall_us())
    say(f"Nothing sounds yet. Each who agrees runs: bucium siren approve {answer['request']} --key THEIR-KEY", "bold")


def _zones_of(socket: Path, sirens: list[str], person: people.Person) -> tuple[str, ...]:
    """The zones of these sirens that the person may act for."""
    known = {each["siren"]: each["zones"] for each in ask(socket, "siren.list")}
    if strange := set(sirens) - set(known):
        raise BuciumError(f"the plan has no siren {min(strange)!r}; it has: {', '.join(known)}")
    named = list(dict.fromkeys(zone for siren in sirens for zone in known[siren]))
    return tuple(zone for zone in named if zone in person.zones) or tuple(named)


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
        show.request(found[0], SystemClock().wall_us())
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

    Says of each siren what its node answers within a few seconds; 1 when one has not confirmed its silence.

    Example: bucium siren stop --zone riverside --key maria.live.pem
    """
    answer = _person(socket, node, key).do(StopSiren(_incident(incident), tuple(zone or ()), tuple(sirens or ())))
    if as_json:
        emit({"ok": True, **answer})
    elif node:
        say(f"node {answer['node']} silences its sirens; see: bucium node status", "bold")
    elif not show.stopped(_settled(socket, answer["activation"])):
        raise typer.Exit(1)


def _settled(socket: Path, number: int) -> list[show.Document]:
    """What each siren of this activation has answered, when all have, or after ANSWER_S."""
    for _ in range(round(ANSWER_S / LOOK_S)):
        found = ask(socket, "siren.status")["activations"]
        mine: show.Document = next(each for each in found if each["activation"] == number)
        if not mine["pending"]:
            break
        time.sleep(LOOK_S)
    sirens: list[show.Document] = mine["sirens"]
    return sirens


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
    show.dry_run(found)


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
