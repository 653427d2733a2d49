"""`bucium alarm`: the alarm list, and what people say to it. An acknowledgement stops no siren."""

import asyncio
import signal
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from bucium import people
from bucium.figures import show_figures
from bucium.output import emit, moment, say, table, there
from bucium.sights import show_sights
from bucium.verbs.alarm_report import report
from cython_ext import ConfigError, Hazard, Level, SystemClock
from lanes.acts import Act, RemoveAlarm, ResetAlarm, ReturnAlarm, ShelveAlarm, UnshelveAlarm
from lanes.control import ask
from lanes.identity import AlarmId

SUMMARY_FROM: Final = 10  # more alarms than this are summarised by zone first
MUTED: Final = ("shelved", "suppressed", "out-of-service")
app: Final = typer.Typer(name="alarm", help="The alarm list.", no_args_is_help=True)

app.command("report")(report)

Socket = Annotated[Path, typer.Option(help="The controller's control socket.", envvar="BUCIUM_CONTROLLER")]
Key = Annotated[Path, typer.Option(help="Your signing key.")]
Alarm = Annotated[
    str, typer.Argument(metavar="ALARM", help="The alarm's id, or its zone/hazard, e.g. riverside/flood.")
]
Place = Annotated[str, typer.Argument(metavar="ZONE/HAZARD", help="A zone of the plan and what it is warned of.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")]


@app.command("list")
def list_(socket: Socket = people.SOCKET, as_json: Json = False) -> None:
    """Every open alarm, the worst first.

    Example: bucium alarm list
    """
    found = ask(socket, "alarm.list")
    if as_json:
        emit({"ok": True, "alarms": found})
        return
    now_us = SystemClock().wall_us()
    flood = ask(socket, "alarm.stats", days=1)["flood"]
    if flood["now"]:
        say(
            f"FLOOD OF ALARMS since {moment(flood['since_us'])}: {flood['count']} annunciations; the zones first",
            "bold red",
        )
    if flood["now"] or len(found) > SUMMARY_FROM:
        _by_zone(found)
    rows = [
        (
            f"{a['zone']}/{a['hazard']}",
            Level(a["level"]).name.lower(),
            Level(a["severity"]).name.lower(),
            a["state"],
            f"{(now_us - a['opened_us']) / 60e6:.0f} min",
            str(a["unseen"]),
            a["incident"],
            f"{a['decision']['move']}: {a['decision']['reason']}" if a["decision"] else "",
        )
        for a in found
    ]
    table("alarms", ("alarm", "level", "worst", "state", "since", "unseen", "incident", "decision"), rows, "none open")


@app.command()
def show(alarm: Alarm, socket: Socket = people.SOCKET, as_json: Json = False) -> None:
    """One alarm with its points, evidence and mutes, who was told of it when, and whom its escalation has called.

    Example: bucium alarm show riverside/flood
    """
    found = ask(socket, "alarm.show", alarm=people.alarm_id(socket, alarm))
    if as_json:
        emit({"ok": True, **found})
        return
    say(f"{found['zone']}/{found['hazard']}: {found['state']}, {Level(found['level']).name.lower()}", "bold")
    say(f"id {found['alarm']}, incident {found['incident']}")
    points = [
        (
            p["point"],
            Level(p["level"]).name.lower(),
            f"{p['value']:g}",
            p["reason"],
            "live" if p["live"] else "late",
            p["event"],
        )
        for p in found["points"]
    ]
    table("points", ("point", "level", "value", "reason", "", "event"), points)
    show_sights(found)
    table("evidence", ("event", "seen"), [(e["event"], "yes" if e["seen"] else "no") for e in found["evidence"]])
    _told(found)
    if found["mute"]:
        say(f"{found['state']}: {_mute(found['mute'])}", "yellow")


def _told(found: dict[str, Any]) -> None:
    """Who was told when, and how far the escalation has come."""
    rows = [(_clock(e["at_us"]), e["channel"], _outcome(e), str(e["attempts"])) for e in found["told"]]
    table("told", ("at", "channel", "outcome", "attempts"), rows, "nobody yet")
    escalation = found["escalation"]
    if escalation is None:
        return
    lines: list[tuple[str, ...]] = []
    for each in escalation["log"]:
        what = f"step {each['step']}" if each["what"] == "step" else each["what"]
        lines.append((_clock(each["at_us"]), f"{what}: {each['why']}", "", ""))
        lines += _calls(each["calls"])
    table(f"escalation {escalation['escalation']}", ("at", "", "who", "outcome"), lines)
    if escalation["stuck"]:
        say("NOBODY HAS ANSWERED: everybody has been called by everything", "bold red")


def _calls(calls: list[dict[str, Any]], instead: str = "") -> list[tuple[str, ...]]:
    lines: list[tuple[str, ...]] = []
    for call in calls:
        who = f"{call['person']} by {call['channel']}" if call["person"] else "every channel"
        at = f" {_clock(call['at_us'])}" if call["at_us"] else ""
        lines.append(("", instead, who, f"{call['outcome']}{at}"))
        lines += _calls(call["instead"], "  instead")
    return lines


def _outcome(each: dict[str, Any]) -> str:
    return each["outcome"] if each["outcome"] == "delivered" else f"{each['outcome']}: {each['detail']}"


def _clock(at_us: int) -> str:
    """By this machine's clock and time zone; with the day when that is not today."""
    at, now = (datetime.fromtimestamp(us / 1e6).astimezone() for us in (at_us, SystemClock().wall_us()))
    return at.strftime("%H:%M:%S" if at.date() == now.date() else "%d.%m. %H:%M:%S")


@app.command()
def ack(alarm: Alarm, key: Key, socket: Socket = people.SOCKET, as_json: Json = False) -> None:
    """I have seen every event of this alarm. It stops no siren.

    Example: bucium alarm ack riverside/flood --key maria.live.pem
    """
    _answer(people.Person(socket, key).acknowledge(people.alarm_id(socket, alarm)), as_json)


@app.command()
def reset(alarm: Alarm, key: Key, socket: Socket = people.SOCKET, as_json: Json = False) -> None:
    """The danger is over and has been looked at: release the latch.

    Example: bucium alarm reset mill/fire --key maria.live.pem
    """
    _do(ResetAlarm(_id(socket, alarm)), socket, key, as_json)


@app.command()
def shelve(
    alarm: Alarm,
    key: Key,
    reason: Annotated[str, typer.Option(help="Why; it stays on the permanent list.")],
    minutes: Annotated[float, typer.Option(help="For how long, at most 480.", min=1, max=480)] = 60,
    socket: Socket = people.SOCKET,
    as_json: Json = False,
) -> None:
    """Mute an alarm for a while. Life-safety alarms need two people: the second one's shelve makes it so.

    Example: bucium alarm shelve mill/fire --minutes 30 --reason "welding" --key maria.live.pem
    """
    until_us = SystemClock().wall_us() + round(minutes * 60e6)
    _do(ShelveAlarm(_id(socket, alarm), until_us, reason), socket, key, as_json)


@app.command()
def unshelve(alarm: Alarm, key: Key, socket: Socket = people.SOCKET, as_json: Json = False) -> None:
    """End a mute before its time.

    Example: bucium alarm unshelve mill/fire --key maria.live.pem
    """
    _do(UnshelveAlarm(_id(socket, alarm)), socket, key, as_json)


@app.command("out-of-service")
def out_of_service(
    place: Place,
    key: Key,
    permit: Annotated[str, typer.Option(help="The permit to work: its number, as your centre files it.")],
    reason: Annotated[str, typer.Option(help="Why; it stays on the permanent list.")],
    hours: Annotated[float, typer.Option(help="For how long, at most 720 (30 days).", min=0.1, max=720)] = 24,
    covers: Annotated[str, typer.Option(help="A higher Level than this ends it at once.")] = "alarm",
    socket: Socket = people.SOCKET,
    as_json: Json = False,
) -> None:
    """Take a zone's hazard out of service by permit, whether it is in alarm or not. Life-safety alarms need two people.

    Given again before its end, it renews the permit.

    Example: bucium alarm out-of-service mill/fire --permit W-118 --reason "new detectors" --hours 48 --key maria.live.pem
    """
    if covers.upper() not in ("ATTENTION", "ALARM", "DANGER"):
        raise ConfigError(f"{covers!r} is no Level; there are: attention, alarm, danger", source="--covers")
    until_us = SystemClock().wall_us() + round(hours * 3600e6)
    zone, hazard = _place(place)
    _do(RemoveAlarm(zone, hazard, until_us, Level[covers.upper()], permit, reason), socket, key, as_json)


@app.command("return")
def return_(place: Place, key: Key, socket: Socket = people.SOCKET, as_json: Json = False) -> None:
    """The works are over: into service again.

    Example: bucium alarm return mill/fire --key maria.live.pem
    """
    _do(ReturnAlarm(*_place(place)), socket, key, as_json)


@app.command()
def stats(
    days: Annotated[int, typer.Option(help="Over how many days back.", min=1, max=30)] = 30,
    socket: Socket = people.SOCKET,
    as_json: Json = False,
) -> None:
    """How many alarms people had to look at, floods of them, and what chatters: the figures of EEMUA 191 and ISA-18.2.

    Example: bucium alarm stats --days 7
    """
    found = ask(socket, "alarm.stats", days=days)
    if as_json:
        emit({"ok": True, **found})
        return
    show_figures(found)


@app.command()
def mutes(
    journal: Annotated[
        Path | None,
        typer.Option(help="Read the whole list from this journal, or a copy of it, instead of the controller."),
    ] = None,
    socket: Socket = people.SOCKET,
    as_json: Json = False,
) -> None:
    """The permanent list of mutes: those that stand, then those that are over, the newest first.

    Example: bucium alarm mutes --journal /var/lib/bucium/journal.db
    """
    if journal is None:
        found = ask(socket, "alarm.mutes")
    else:
        from controller.report.mutelist import mutes_of

        found = mutes_of(there(journal))
    if as_json:
        emit({"ok": True, "mutes": found})
        return
    rows = [
        (
            m["alarm"].rsplit("/", 1)[0] + ("" if m["mode"] == "live" else f" ({m['mode']})"),
            m["state"],
            ", ".join(m["people"]) or f"rule {m['rule']}",
            m["reason"] + (f" [{m['permit']}]" if m["permit"] else ""),
            Level(m["covers"]).name.lower(),
            moment(m["since_us"]),
            moment(m["until_us"]),
            f"{m['end']} {moment(m['ended_us'])} {m['by']}".rstrip() if m["end"] else "stands",
        )
        for m in found
    ]
    heads = ("alarm", "state", "who", "why", "up to", "since", "at the latest", "ended")
    table("mutes", heads, rows, "none, ever")


def _by_zone(found: list[dict[str, Any]]) -> None:
    """One line a zone, the worst first; the alarms themselves all stand below."""
    zones: dict[str, list[dict[str, Any]]] = {}
    for alarm in found:
        zones.setdefault(alarm["zone"], []).append(alarm)
    rows = [
        (
            zone,
            str(len(alarms)),
            Level(max(a["level"] for a in alarms)).name.lower(),
            Level(max(a["severity"] for a in alarms)).name.lower(),
            str(sum(bool(a["unseen"]) for a in alarms)),
            str(sum(a["state"] in MUTED for a in alarms)),
            moment(min(a["opened_us"] for a in alarms)),
        )
        for zone, alarms in sorted(zones.items(), key=lambda each: -max(a["severity"] for a in each[1]))
    ]
    table(
        f"{len(found)} alarms of {len(zones)} zones",
        ("zone", "alarms", "now", "worst", "unseen", "muted", "first"),
        rows,
    )


def _mute(mute: dict[str, Any]) -> str:
    who = ", ".join(mute["people"]) or f"rule {mute['rule']} of the plan"
    permit = f", permit {mute['permit']}" if mute["permit"] else ""
    return f"by {who}: {mute['reason']}{permit}; up to {Level(mute['covers']).name.lower()}, until {moment(mute['until_us'])}"


def _place(text: str) -> tuple[str, Hazard]:
    zone, _, hazard = text.partition("/")
    if hazard.upper() not in Hazard.__members__:
        raise ConfigError(f"{text!r} is no zone/hazard, e.g. mill/fire", source="ALARM")
    return zone, Hazard[hazard.upper()]


@app.command()
def lamps(config: Annotated[Path, typer.Option(help="Which relays, and what they show.")] = Path("desk.toml")) -> None:
    """Lamps, buzzers and contacts at the desk, until SIGTERM or Ctrl-C. A list that cannot be read lights them all.

    Example: bucium alarm lamps --config desk.toml
    """
    from firmware_bridge import desk

    found = desk.Lamps(desk.load(config), clock=SystemClock(), base=config.parent)

    async def until_stopped() -> None:
        running = asyncio.current_task()
        assert running is not None
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, running.cancel)
        with suppress(asyncio.CancelledError):
            await found.run()

    asyncio.run(until_stopped())


def _do(act: Act, socket: Path, key: Path, as_json: bool) -> None:
    _answer(people.Person(socket, key).do(act), as_json)


def _answer(answer: dict[str, Any], as_json: bool) -> None:
    if as_json:
        emit({"ok": True, **answer})
        return
    for each in answer.get("points", []):
        say(f"{each['point']} at {each['node']}: {each['why']}", "green" if each["reset"] else "yellow")
    waits = f"; waits for {answer['waits_for']}" if "waits_for" in answer else ""
    say(f"{answer['alarm']}: {answer['state']}{waits}")


def _id(socket: Path, text: str) -> AlarmId:
    found = people.alarm_id(socket, text)
    try:
        return AlarmId.parse(found)
    except (ValueError, KeyError):
        raise ConfigError(f"not an alarm id: {text!r}; see: bucium alarm list") from None
