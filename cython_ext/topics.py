"""The MQTT topic grammar of both lanes: build and parse, both ways, nothing else (design §2, `docs/wire.md`)."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from .errors import ConfigError, WireError

ID_PATTERN: Final = r"[a-z0-9][a-z0-9-]{0,31}"
_ID: Final = re.compile(ID_PATTERN)
SPARKPLUG: Final = "spBv1.0"
ALARM: Final = "bucium/1"


class Verb(StrEnum):
    """Sparkplug message types."""

    NBIRTH = "NBIRTH"
    NDEATH = "NDEATH"
    NDATA = "NDATA"
    NCMD = "NCMD"
    DBIRTH = "DBIRTH"
    DDEATH = "DDEATH"
    DDATA = "DDATA"
    DCMD = "DCMD"


class Lane(StrEnum):
    """Directions of the alarm lane; also bound into every signature."""

    REPORT = "report"  # node → controller
    ORDER = "order"  # controller → node
    BEAT = "beat"  # controller → group


@dataclass(frozen=True, slots=True)
class Telemetry:
    """A parsed Sparkplug topic; `device` is empty for node messages."""

    group: str
    verb: Verb
    node: str
    device: str = ""


@dataclass(frozen=True, slots=True)
class AlarmLane:
    """A parsed alarm-lane topic; `node` is empty for the beat."""

    group: str
    lane: Lane
    node: str = ""


def valid_id(text: str) -> bool:
    """Whether `text` may name a group, node, device, point, zone or siren."""
    return _ID.fullmatch(text) is not None


def require_id(text: str, what: str) -> str:
    """`text`, or ConfigError that says what an id may be."""
    if not valid_id(text):
        raise ConfigError(
            f"{what} id {text!r} is not valid: 1 to 32 of a-z, 0-9 and '-', beginning with a letter or digit"
        )
    return text


def telemetry(group: str, verb: Verb, node: str, device: str = "") -> str:
    return f"{SPARKPLUG}/{group}/{verb}/{node}" + (f"/{device}" if device else "")


def state(host: str) -> str:
    """The Sparkplug host state topic."""
    return f"{SPARKPLUG}/STATE/{host}"


def report(group: str, node: str) -> str:
    return f"{ALARM}/{group}/{node}/{Lane.REPORT}"


def order(group: str, node: str) -> str:
    return f"{ALARM}/{group}/{node}/{Lane.ORDER}"


def beat(group: str) -> str:
    return f"{ALARM}/{group}/{Lane.BEAT}"


def parse_telemetry(topic: str) -> Telemetry:
    """Raises WireError ('topic') when it is not a Sparkplug topic with ids of ours."""
    parts = topic.split("/")
    if len(parts) not in (4, 5) or parts[0] != SPARKPLUG:
        raise WireError("topic", "not a Sparkplug topic")
    try:
        verb = Verb(parts[2])
    except ValueError:
        raise WireError("topic", "unknown verb") from None
    of_device = verb.startswith("D")
    if of_device != (len(parts) == 5):
        raise WireError("topic", "wrong number of levels")
    ids = [parts[1], *parts[3:]]
    if not all(map(valid_id, ids)):
        raise WireError("topic", "an id is not valid")
    return Telemetry(parts[1], verb, parts[3], parts[4] if of_device else "")


def parse_alarm(topic: str) -> AlarmLane:
    """Raises WireError ('topic') when it is not a topic of the alarm lane."""
    if not topic.startswith(ALARM + "/"):
        raise WireError("topic", "not an alarm-lane topic")
    parts = topic[len(ALARM) + 1 :].split("/")
    if len(parts) == 2 and parts[1] == Lane.BEAT and valid_id(parts[0]):
        return AlarmLane(parts[0], Lane.BEAT)
    if len(parts) == 3 and parts[2] in (Lane.REPORT, Lane.ORDER) and valid_id(parts[0]) and valid_id(parts[1]):
        return AlarmLane(parts[0], Lane(parts[2]), parts[1])
    raise WireError("topic", "not an alarm-lane topic")


def alarm_client(identity: str) -> str:
    """The MQTT client id of a node's or controller's alarm lane. NATS refuses a dot in it; no id of ours has a low line."""
    return f"{identity}_alarm"
