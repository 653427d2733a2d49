"""What the journal holds: the kinds of rows, and the hash that chains them (docs/journal.md).

    hash = SHA-256( journal id (8) ‖ seq (8) ‖ kind (4) ‖ wall µs (8) ‖ monotonic ns (8) ‖ length of payload (8) ‖ payload ‖
                    hash of the row before (32) )           integers big-endian; the first row's "before" is 32 zero bytes

A payload is deterministic CBOR. `verify.py` has the same rule in its own words and shares no line with this file.
"""

import hashlib
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from lanes import cbor

HASH_BYTES: Final = 32
GENESIS: Final = bytes(HASH_BYTES)
_HEADS: Final = struct.Struct(">8sQIqqQ")


class Record(IntEnum):
    """Kinds of rows. In the journal for ever: never renumber."""

    BORN = 1  # [journal id]: the first row
    START = 2  # [ordinal, boot, plan digest, plan version, software]: the process has started
    TICK = 3  # [slow]: what follows came of time alone; slow: the once-a-second part too
    CLOCK = 4  # [boot, source, error ms, wall − monotonic µs]: what the wall times from here on are worth
    EVENT = 10  # [signed bytes, mode, live]: a node's event, accepted
    UNUSABLE = 11  # [signed bytes, why, node, ledger, seq]: authentic, but nothing could be made of it
    REFUSED = 12  # [why, count, detail of the last]: messages that were not ours
    STATE = 13  # [signed bytes, mode]: a state report, newer than the last
    WATCHDOG = 14  # [judged id, cause, was, level, value, reason, trouble, own]: the controller's Panel says so
    HEARD = 16  # [message, verdict, the CAP message deflated]: another centre's warning, verified
    PLAN = 15  # [signed act, once, not-after, outcome, plan digest, packed file]: a plan that a person applied
    ALARM = 20  # [change, alarm]: what others hear, and the alarm whole, after it
    DECISION = 21  # [decision, mode]: what the policy said, and why
    KEPT = 23  # [alarm]: an alarm whole, after a change that only its record shows
    MUTE = 24  # [alarm, mode, state, mute, end, ended, by]: a mute begins, or ends
    TRACE = 25  # [alarm, event, sight]: what was known around a raise
    TOLD = 22  # [seq]: the change in row `seq` is in dispatch's own outbox
    REQUEST = 30  # [request]: a person asks for a sound
    APPROVAL = 31  # [signed bytes, once, digest, person, centre, not-after]
    ACT = 32  # [signed bytes, once, not-after, outcome]: what a person did, and what came of it
    CLOSED = 33  # [digest, why]: a request that ended
    ORDER = 40  # [activation, siren, signed bytes, alarm, level, by]: durable before it is sent
    OUTCOME = 41  # [activation, siren, result, why]: how an order ended without a receipt
    FALL_BACK = 42  # [activation, siren, failure, why, step, sirens]: what was done about a siren that failed
    SILENT_TEST = 43  # [siren, due, activation, at, result, why, passed]: a siren's silent tests, after a change
    EXERCISE = 44  # [exercise, at, steps, activation, began]: an exercise's occasion, after a step
    NOTICE = 46  # [notice]: what dispatch hears of a siren, or of an exercise
    ESCALATION = 47  # [zone, hazard, mode, alarm, escalation, what, step, why, severity, elapsed ns, calls]
    CALL = 48  # [call, channels left, within ms, instead of]: whom an escalation calls
    DELIVERY = 45  # [channel, identifier, alarm, outcome, detail, attempts, at µs, took ms]: dispatch's receipt
    TROUBLE = 50  # [code, subject, source, on]
    HEAD = 60  # [seq, hash, wall µs, kid, signature]
    SNAPSHOT = 61  # [seq, SHA-256 of the snapshot]: the state after row `seq`
    INPUT = 62  # [number, bytes, SHA-256, first ns, last ns]: a file of the Panel's recorded input (recording.py)


ASIDE: Final = frozenset(  # no decision, and none follows from it: replay takes them as they are
    {
        Record.REFUSED,
        Record.TOLD,
        Record.DELIVERY,
        Record.ESCALATION,
        Record.CALL,
        Record.TROUBLE,
        Record.TRACE,
        Record.CLOCK,
        Record.HEAD,
        Record.SNAPSHOT,
        Record.INPUT,
    }
)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the journal. Times: UTC microseconds; monotonic nanoseconds of the process that wrote it."""

    seq: int
    kind: Record
    wall_us: int
    monotonic_ns: int
    payload: bytes
    previous: bytes
    hash: bytes

    @property
    def value(self) -> Any:
        return cbor.decode(self.payload)


def hash_row(
    journal: bytes, seq: int, kind: int, wall_us: int, monotonic_ns: int, payload: bytes, previous: bytes
) -> bytes:
    """The hash of a row."""
    heads = _HEADS.pack(journal, seq, kind, wall_us, monotonic_ns, len(payload))
    return hashlib.sha256(heads + payload + previous).digest()


def head_message(journal: bytes, seq: int, row_hash: bytes, wall_us: int) -> bytes:
    """What is signed as the head of a journal."""
    return b"bucium-head/1" + journal + seq.to_bytes(8, "big") + row_hash + wall_us.to_bytes(8, "big")
