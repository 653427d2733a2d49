"""`bucium alarm`: the alarm list, and what people say to it. An acknowledgement stops no siren."""

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from bucium import people
from bucium.output import emit, say, table
from cython_ext import ConfigError, Level, SystemClock
from lanes.acts import Act, ResetAlarm, ShelveAlarm, UnshelveAlarm
from lanes.control import ask
from lanes.identity import AlarmId

app: Final = typer.Typer(name="alarm", help="The alarm list.", no_args_is_help=True)

Socket = Annotated[Path, typer.Option(help="The controller's control socket.", envvar="BUCIUM_CONTROLLER")]
Key = Annotated[Path, typer.Option(help="Your signing key.")]
Alarm = Annotated[
    str, typer.Argument(metavar="ALARM", help="The alarm's id, or its zone/hazard, e.g. riverside/flood.")
]
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
    """One alarm with its points, evidence and mutes.

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
    table("evidence", ("event", "seen"), [(e["event"], "yes" if e["seen"] else "no") for e in found["evidence"]])
    if found["shelf"]:
        say(f"shelved by {', '.join(found['shelf']['people'])}: {found['shelf']['reason']}", "yellow")


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
