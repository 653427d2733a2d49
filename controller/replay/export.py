"""The journal as JSON Lines, for an inquiry: a row a line, codes as words, times that people can read.

Signed bytes stay as they are (hex), so that another program can verify them, and stand beside what they say.
"""

from collections.abc import Iterator
from dataclasses import fields as fields_of
from dataclasses import is_dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any, Final

from cython_ext import WireError
from lanes.envelope import Kind, peek
from lanes.orders import Order
from lanes.reports import Event, State

from ..alarm.changes import AlarmChange
from ..alarm.mutes import Mute
from ..alarm.record import Alarm
from ..alarm.sight import Sight
from ..policy import Decision
from ..record.aside import Remains
from ..record.records import Record, Row
from ..room import tellable

_ITEMS: Final[dict[Record, tuple[str, ...]]] = {
    Record.BORN: ("journal", "controller", "goes_on_from"),
    Record.START: ("ordinal", "boot", "plan", "plan_version", "software"),
    Record.TICK: ("slow",),
    Record.CLOCK: ("boot", "source", "error_ms", "wall_less_monotonic_us"),
    Record.EVENT: ("signed", "mode", "live"),
    Record.UNUSABLE: ("signed", "why", "node", "ledger", "ledger_seq"),
    Record.REFUSED: ("why", "count", "detail"),
    Record.STATE: ("signed", "mode"),
    Record.WATCHDOG: ("judged", "cause", "was", "level", "value", "reason", "trouble", "own"),
    Record.PLAN: ("signed", "once", "not_after_us", "outcome", "plan", "packed"),
    Record.HEARD: ("message", "verdict", "cap_deflated"),
    Record.ALARM: ("change", "alarm"),
    Record.DECISION: ("decision", "mode"),
    Record.KEPT: ("alarm",),
    Record.MUTE: ("alarm_id", "mode", "state", "mute", "end", "ended_us", "by"),
    Record.TRACE: ("alarm_id", "event", "sight"),
    Record.TOLD: ("row",),
    Record.REQUEST: ("core", "person", "reason", "people", "centres", "sirens"),
    Record.APPROVAL: ("signed", "once", "digest", "person", "centre", "not_after_us"),
    Record.ACT: ("signed", "once", "not_after_us", "outcome"),
    Record.CLOSED: ("digest", "why"),
    Record.ORDER: ("activation", "siren", "signed", "alarm", "level", "by"),
    Record.OUTCOME: ("activation", "siren", "result", "why"),
    Record.FALL_BACK: ("activation", "siren", "failure", "why", "step", "sirens"),
    Record.SILENT_TEST: ("siren", "due_us", "activation", "at_us", "result", "why", "passed_us"),
    Record.EXERCISE: ("exercise", "at_us", "steps", "activation", "began_us"),
    Record.DELIVERY: ("channel", "identifier", "alarm", "outcome", "detail", "attempts", "at_us", "took_ms"),
    Record.NOTICE: ("notice",),
    Record.ESCALATION: (
        *("zone", "hazard", "mode", "alarm", "escalation", "what", "step", "why", "severity", "elapsed_ns"),
        "calls",
    ),
    Record.CALL: ("call", "channels_left", "within_ms", "instead_of"),
    Record.TROUBLE: ("code", "subject", "source", "on"),
    Record.HEAD: ("of_row", "of_hash", "signed_us", "kid", "signature"),
    Record.SNAPSHOT: ("of_row", "sha256"),
    Record.INPUT: ("number", "bytes", "sha256", "first_ns", "last_ns"),
}
_UNPACK: Final[dict[str, Any]] = {
    "change": AlarmChange.unpack,
    "alarm": Alarm.unpack,
    "decision": Decision.unpack,
    "notice": tellable,
}
_BODIES: Final[dict[Kind, Any]] = {Kind.EVENT: Event.unpack, Kind.STATE: State.unpack, Kind.ORDER: Order.unpack}


def rows_of(path: Path, since_us: int, until_us: int, kinds: frozenset[Record]) -> Iterator[Row]:
    """The rows in this time (UTC microseconds, the controller's wall clock), of these kinds (none: all), in order.

    Read beside a running controller; what the emergency journal beside it holds is not among them. Ends with StoreError where
    the chain is broken.
    """
    remains = Remains(path)
    try:
        for row in remains.rows():
            if since_us <= row.wall_us < until_us and (not kinds or row.kind in kinds):
                yield row
        if remains.damage:
            raise WireError("damaged", remains.damage)
    finally:
        remains.close()


def line_of(row: Row) -> dict[str, Any]:
    """One row, ready for JSON."""
    found: dict[str, Any] = {
        "seq": row.seq,
        "time": time_of(row.wall_us),
        "wall_us": row.wall_us,
        "monotonic_ns": row.monotonic_ns,
        "kind": row.kind.name.lower(),
        "hash": row.hash.hex(),
    }
    value = row.value
    names = _ITEMS.get(row.kind, ())
    for place, item in enumerate(value):
        name = names[place] if place < len(names) else f"item_{place + 1}"
        if name == "signed":
            found["signed"] = item.hex()
            found |= _said(item)
        elif name in _UNPACK and isinstance(item, bytes):
            found[name] = _plain(_UNPACK[name](item))
        elif name == "sight":
            found[name] = Sight.unpack(item).shown()
        elif name == "mute":
            found[name] = _plain(Mute.unpack(item))
        elif name == "decision":
            found[name] = _plain(Decision.unpack(item))
        else:
            found[name] = _plain(item)
    return found


def _said(data: bytes) -> dict[str, Any]:
    """What signed bytes say, as far as they can be read."""
    envelope = peek(data)
    if envelope is None:
        return {}
    said = {
        "from": envelope.issuer,
        "to": envelope.addressee,
        "boot": envelope.boot.hex(),
        "counter": envelope.counter,
        "issued": time_of(envelope.issued_us),
    }
    unpack = _BODIES.get(envelope.kind)
    try:
        body = unpack(envelope.body) if unpack else envelope.body
    except WireError:
        body = envelope.body
    return {"envelope": said, "body": _plain(body)}


def time_of(wall_us: int) -> str:
    """ISO 8601, UTC, to the microsecond; a time that no calendar has is given as it is."""
    try:
        return (
            datetime.fromtimestamp(wall_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            + f".{wall_us % 1_000_000:06}Z"
        )
    except (OverflowError, ValueError, OSError):
        return f"{wall_us} us"


def _plain(value: Any) -> Any:
    """Codes as words, bytes as hex, the rest as JSON has it."""
    if isinstance(value, Enum):
        return value.value if isinstance(value, str) else (value.name or str(int(value.value))).lower()
    if is_dataclass(value) and not isinstance(value, type):
        if type(value).__str__ is not object.__str__:  # an id has a text of its own
            return str(value)
        return {each.name: _plain(getattr(value, each.name)) for each in fields_of(value)}
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value != value:
        return "nan"
    return value
