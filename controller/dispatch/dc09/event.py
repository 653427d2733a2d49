"""What an alarm receiving centre is told: a message of the outbox as SIA-DCS or Contact ID (docs/dc09.md has the table).

The facts come from the message's JSON summary, which the outbox keeps: what is told is settled when the change happens, and the
same at every retry and after a restart. So is the sequence number, which is made of the message's own.

Only what is live has a live code. An exercise or a test, whatever its kind, is RX or 601, a manual test, and says so in its text.
TS ("test start") is never sent: it would take the account out of service at the centre, and the next alarm with it.
"""

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from cython_ext import Level

from ... import texts
from .. import Message
from ..settings import Dc09Settings
from .frame import SEQUENCE_MAX, stamp
from .plain import field

TEXT_BYTES_MAX: Final = 200  # of xdata I: with everything else, and encrypted, a frame stays below READ_BYTES
PLACE_BYTES_MAX: Final = 80  # of xdata L
BLOCK_BYTES_MAX: Final = 60  # of a text block: a DC-03 block has at most 63 bytes
READ_BYTES: Final = 1000  # a receiver was seen to read no more of a frame
READINGS_SHOWN: Final = 2
LATE_S: Final = 300  # what is told so long after it happened says when that was
SIA: Final = "SIA-DCS"
CID: Final = "ADM-CID"


@dataclass(frozen=True, slots=True)
class Code:
    """One event in both languages: SIA's block (N new, O old) and two letters; Contact ID's qualifier and three digits."""

    block: str
    sia: str
    qualifier: int  # 1 new, 3 over, 6 still so
    cid: str


TEST: Final = Code("N", "RX", 1, "601")
STATUS: Final = Code("N", "YY", 1, "605")  # what has neither hazard nor siren
FRESH: Final = frozenset({"raised", "escalated", "released", "call-stuck"})  # an operator must act on it
LETTER: Final = {"flood": "W", "fire": "F"}  # SIA's first, and xdata T
FIRE_CID: Final = "110"
SIREN: Final = {
    "siren-failed": Code("N", "YA", 1, "320"),
    "siren-sounded": Code("N", "YH", 3, "320"),
    "siren-unordered": Code("N", "TA", 1, "137"),
    "siren-quiet": Code("N", "TR", 3, "137"),
}


@dataclass(frozen=True, slots=True)
class Event:
    """One message for the centre, before it has a form. `at_us` UTC microseconds; `position` latitude, longitude."""

    sequence: int
    code: Code
    area: int
    point: int
    text: str
    at_us: int
    language: str
    place: str = ""
    trigger: str = ""
    position: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Form:
    """One way to write an event: the frame's id, data and xdata."""

    protocol: str
    data: bytes
    extended: tuple[bytes, ...]
    how: str = ""  # "status", "text", "bare": in what it is less than whole


def sequence_of(number: int) -> int:
    """The sequence number of the outbox's message `number`: 1 to 9999, then 1 again."""
    return (number - 1) % SEQUENCE_MAX + 1


def read(message: Message, settings: Dc09Settings) -> Event:
    """The event of a message."""
    facts: dict[str, Any] = json.loads(message.summary)
    live = facts["status"] == "Actual"
    language, headline = _headline(facts, settings)
    zones = _zones(facts)
    area = next((number for zone in zones if (number := settings.areas.get(zone["id"]))), 0)
    point, trigger, code = area, "", STATUS
    alarm = facts["alarms"][0] if facts.get("alarms") else facts  # of a call, the worst comes first
    if facts["kind"] in SIREN:
        point = settings.sirens.get(facts["siren"]["id"], 0)
        code = SIREN[facts["kind"]]
    elif "hazard" in alarm:
        headline += _readings(facts, language)
        code, trigger = _alarm(alarm, facts, settings), LETTER[alarm["hazard"]]
    position = zones[0].get("position") if zones else None
    return Event(
        sequence_of(message.number),
        code if live else TEST,
        area,
        point,
        headline,
        _instant(facts["at"]),
        language,
        ", ".join(texts.local(zone.get("name") or {}, language, zone["id"]) for zone in zones),
        trigger if live else "",
        (position[0], position[1]) if position else None,
    )


def _zones(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Where it is: an alarm has one zone, an exercise several, a siren's notice only their ids, a call those of its alarms."""
    if "alarms" in facts:
        return list({each["zone"]["id"]: each["zone"] for each in facts["alarms"]}.values())
    places = [facts["zone"]] if "zone" in facts else facts.get("zones", [])
    return [each if isinstance(each, dict) else {"id": each} for each in places]


def _headline(facts: dict[str, Any], settings: Dc09Settings) -> tuple[str, str]:
    written: dict[str, dict[str, str]] = facts["texts"]
    language: str = settings.language if settings.language in written else next(iter(written))
    return language, written[language]["headline"]


def _readings(facts: dict[str, Any], language: str) -> str:
    """The first readings, as ` (gauge-1 426 cm)`: an operator sees how bad it is."""
    shown = [
        f"{each['point']} {texts.measure(language, each['value'], each['unit'])}"
        for each in facts.get("evidence", ())
        if each["value"] is not None and each["unit"] not in ("", "1")  # a contact says no more than the code
    ]
    return f" ({', '.join(shown[:READINGS_SHOWN])})" if shown else ""


def _alarm(alarm: dict[str, Any], facts: dict[str, Any], settings: Dc09Settings) -> Code:
    """A change of an alarm, or a call that nobody has answered.

    Attention is no alarm: SIA calls it supervisory; Contact ID has no such code, and its text says it.
    """
    letter = LETTER[alarm["hazard"]]
    cid = FIRE_CID if letter == "F" else settings.flood_cid
    level, was = Level(alarm["level"]), Level(alarm.get("was", 0))
    if level is Level.NORMAL:
        return Code("N" if facts["kind"] == "cleared" else "O", letter + "R", 3, cid)
    quiet = facts.get("renewed") or facts.get("muted") or alarm.get("over")
    fresh = facts["kind"] in FRESH and not quiet
    highest = max(level, was) if facts["kind"] == "lowered" else level
    return Code("N" if fresh else "O", letter + ("A" if highest > Level.ATTENTION else "S"), 1 if fresh else 6, cid)


def _instant(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * 1_000_000


def forms(event: Event, settings: Dc09Settings, now_us: int) -> tuple[Form, ...]:
    """The ways to say it, the best first; each further one is for a receiver that understood none before.

    SIA-DCS: whole; an old event, whose block not all know, as a status report; the text in a block instead of xdata; Contact ID.
    Contact ID: whole; with the text alone, since a receiver was seen to take one xdata only; with none; SIA-DCS.
    """
    text = event.text
    if now_us - event.at_us > LATE_S * 1_000_000:
        at = datetime.fromtimestamp(event.at_us / 1e6, UTC).strftime("%d.%m.%Y %H:%M UTC")
        text = texts.text(event.language, "headline.late", at=at, headline=text)
    extended = _extended(event, text, settings)
    told = tuple(each for each in extended if each[:1] == b"I")
    old = event.code.block == "O"
    known = replace(event, code=replace(event.code, block="N", sia="YY")) if old else event
    account = settings.account
    cid = data(event, CID, account)
    block = data(known, SIA, account, field(text, BLOCK_BYTES_MAX, settings.charset))
    if settings.protocol == CID:
        return (
            Form(CID, cid, extended),
            Form(CID, cid, told, "text"),
            Form(CID, cid, (), "bare"),
            Form(SIA, block, (), "bare"),
        )
    status = (Form(SIA, data(known, SIA, account), extended, "status"),) if old else ()
    return (
        Form(SIA, data(event, SIA, account), extended),
        *status,
        Form(SIA, block, (), "bare"),
        Form(CID, cid, (), "bare"),
    )


def data(event: Event, protocol: str, account: str, text: bytes = b"") -> bytes:
    """`#1234|Nri1/FA001`, with a text block where there is a text; or `#1234|1110 01 001`, which has no place for one."""
    code = event.code
    if protocol == CID:
        return f"#{account}|{code.qualifier}{code.cid} {event.area:02d} {event.point:03d}".encode("ascii")
    area = f"ri{event.area}/" if event.area else ""
    block = f"#{account}|{code.block}{area}{code.sia}{event.point:03d}".encode("ascii")
    return block + b"|A" + text if text else block


def _extended(event: Event, text: str, settings: Dc09Settings) -> tuple[bytes, ...]:
    """Time of occurrence, text, location, trigger, longitude and latitude, as far as there are any."""
    parts = [b"H" + stamp(event.at_us // 1_000_000), b"I" + field(text, TEXT_BYTES_MAX, settings.charset)]
    if event.place:
        parts.append(b"L" + field(event.place, PLACE_BYTES_MAX, settings.charset))
    if event.trigger:
        parts.append(b"T" + event.trigger.encode("ascii"))
    if event.position is not None:
        latitude, longitude = event.position
        parts.append(b"X" + degrees(longitude, "EW", 3))
        parts.append(b"Y" + degrees(latitude, "NS", 2))
    return tuple(parts)


def degrees(value: float, signs: str, digits: int) -> bytes:
    """`093W23.456`: degrees, the half of the world, minutes to a thousandth (two metres)."""
    thousandths = round(abs(value) * 60_000)
    whole, minutes = divmod(thousandths, 60_000)
    sign = signs[0] if value >= 0 else signs[1]
    return f"{whole:0{digits}d}{sign}{minutes // 1000:02d}.{minutes % 1000:03d}".encode("ascii")
