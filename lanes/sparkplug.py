"""What both ends of the telemetry lane say: the names of a node's metrics, the host's state, and what each keeps on disk.

Sparkplug B 3.0; the bytes are `cython_ext.wire`'s, the topics `cython_ext.topics`'.
"""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from cython_ext import WireError
from cython_ext.payload import DataType

BDSEQ: Final = "bdSeq"
REBIRTH: Final = "Node Control/Rebirth"
BDSEQ_COUNT: Final = 256
SEQ_COUNT: Final = 256
THINNED: Final = "Thinned s"  # property of a late value: others within so many seconds of it are gone
HEARTBEAT_S: Final = 5.0  # bounds the silent loss of a last message, and finds half-open links (reference §6.7)
STATE_BYTES_MAX: Final = 256
TIMESTAMP_MAX: Final = 2**63 - 1


class NodeMetric(StrEnum):
    """What a node says of itself. Names are on the wire."""

    HEARTBEAT = "Node/Heartbeat"  # counts up, one for each beat since the program's start
    BOOT_ID = "Node/Boot Id"
    LEDGER_ID = "Ledger/Id"  # a replaced card is seen by it
    LEDGER_HEAD = "Ledger/Head"  # the last event's seq
    LEDGER_ACKED = "Ledger/Acked"  # all up to it are safe with the controller
    CLOCK_SOURCE = "Clock/Source"  # ClockSource
    CLOCK_ERROR = "Clock/Error ms"
    PLAN_VERSION = "Plan/Version"
    PLAN_SHA256 = "Plan/SHA-256"
    SIRENS = "Sirens/Readiness"  # "quay ready; school degraded mains door": each siren's id, answer and reasons
    BACKLOG_SAMPLES = "Backlog/Samples"  # kept and not yet sent, about
    BACKLOG_THINNED = "Backlog/Thinned"  # given up since the start for their interval's lowest, highest and last
    BACKLOG_LOST = "Backlog/Lost"  # given up since the start without trace


NODE_METRICS: Final = {
    NodeMetric.HEARTBEAT: DataType.INT64,
    NodeMetric.BOOT_ID: DataType.STRING,
    NodeMetric.LEDGER_ID: DataType.STRING,
    NodeMetric.LEDGER_HEAD: DataType.INT64,
    NodeMetric.LEDGER_ACKED: DataType.INT64,
    NodeMetric.CLOCK_SOURCE: DataType.INT32,
    NodeMetric.CLOCK_ERROR: DataType.INT64,
    NodeMetric.PLAN_VERSION: DataType.INT64,
    NodeMetric.PLAN_SHA256: DataType.STRING,
    NodeMetric.SIRENS: DataType.STRING,
    NodeMetric.BACKLOG_SAMPLES: DataType.INT64,
    NodeMetric.BACKLOG_THINNED: DataType.INT64,
    NodeMetric.BACKLOG_LOST: DataType.INT64,
}
"""Their order is their aliases', from 1: append only."""


@dataclass(frozen=True, slots=True)
class HostState:
    """A host's STATE message. `timestamp_ms` is the host's wall clock, rising with each of its sessions."""

    online: bool
    timestamp_ms: int


def encode_state(state: HostState) -> bytes:
    return json.dumps({"online": state.online, "timestamp": state.timestamp_ms}, separators=(",", ":")).encode()


def decode_state(payload: bytes) -> HostState:
    """Raises WireError ('state') for anything but `{"online": bool, "timestamp": ms}`."""
    if len(payload) > STATE_BYTES_MAX:
        raise WireError("state", f"more than {STATE_BYTES_MAX} bytes")
    try:
        said = json.loads(payload)
    except ValueError:
        raise WireError("state", "not JSON") from None
    if not isinstance(said, dict):
        raise WireError("state", "not an object")
    online, timestamp = said.get("online"), said.get("timestamp")
    if not isinstance(online, bool):
        raise WireError("state", "online is not a boolean")
    if isinstance(timestamp, bool) or not isinstance(timestamp, int) or not 0 <= timestamp <= TIMESTAMP_MAX:
        raise WireError("state", "timestamp is not a number of milliseconds")
    return HostState(online, timestamp)


class BdSeqStore(Protocol):
    """The node's birth and death sequence, kept on disk."""

    async def advance(self) -> int:
        """The bdSeq of the next CONNECT: one more than the last, modulo 256; durable before it is returned."""


class StateTimeStore(Protocol):
    """The host's last STATE timestamp, kept on disk, so that a clock that stepped back strands no node."""

    async def advance(self, now_ms: int) -> int:
        """max(now, last + 1), durable before it is returned."""
