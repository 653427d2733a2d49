"""Start-up is recovery: the last snapshot, and each row after it, folded into the room (design §2.2).

A row says what was found, so nothing is judged, verified or decided again: a key revoked since then changes no history.

A journal that is damaged does not keep us from starting: it is set aside, and a new one goes on from its last whole row.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import cbor2

from cython_ext import Level
from lanes.envelope import peek
from lanes.keys import Mode
from lanes.reports import Event, ReceiptData, State

from .activation import Result
from .alarm.changes import AlarmChange
from .alarm.life import State as Life
from .alarm.mutes import Listed
from .alarm.record import Alarm
from .approvals import Yes, unpack_request
from .fallback import Step
from .inbound.reading import Told
from .policy import Decision
from .record.aside import Remains, newest, set_aside
from .record.database import Damaged
from .record.journal import Former, Journal
from .record.records import Record, Row
from .room import Room, tellable
from .schedule import Drill, SilentTest


@dataclass(frozen=True, slots=True)
class Recovered:
    """A room as its journal left it; `rows` were read. `aside`: the name of a damaged journal, "" when it was whole."""

    room: Room
    rows: int
    aside: str = ""


def open_room(
    path: Path, emergency: Path | None, journal: Callable[[Former | None], Journal], room: Callable[[Journal], Room]
) -> Recovered:
    """The room of the journal at `path`, whatever state that is in. StoreError when it is not ours or cannot be set aside.

    `journal` opens it (or makes one that goes on from a former one), `room` makes an empty room on it. Blocks for the disk.
    """
    there = None if path.exists() else newest(path)  # we died between setting it aside and beginning anew
    opened: Journal | None = None
    if there is None:
        try:
            opened = journal(None)
            made = room(opened)
            return Recovered(made, recover(made))
        except Damaged:
            if opened is not None:
                opened.drop()
            there = set_aside(path, emergency)
    remains = Remains(there)
    try:
        empty = room(cast(Journal, remains))
        recover(empty)
        former = Former(remains.id, remains.seq, remains.hash, there.name, empty.pack())
    finally:
        remains.close()
    made = room(journal(former))
    return Recovered(made, recover(made), there.name)


def recover(room: Room) -> int:
    """Rebuild the room from its journal; the number of rows that were read. Damaged names the first that is not whole."""
    after, count = 0, 0
    snapshot = room.journal.last_snapshot()
    if snapshot is not None:
        after = snapshot[0]
        room.restore(snapshot[1])
    latest = _Latest(room)
    for row in room.journal.rows(after):
        _fold(room, row, latest)
        count += 1
    latest.settle()
    return count


class _Latest:
    """Alarms and what is to be told of them, read only as far as they still count: each row holds an alarm whole."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._open: dict[tuple[str, int], bytes] = {}
        self._untold: dict[int, bytes] = {}

    def alarm(self, packed: bytes) -> None:
        alarm_id, mode, state, _, severity, times, parts, *_ = cbor2.loads(packed)  # the chain vouches for it
        zone, hazard, _ = alarm_id.split("/", 2)
        if mode == Mode.LIVE:
            worst = max((reading[3] for reading, *_ in parts), default=0)
            self._room.figures.saw(f"{zone}/{hazard}", Life(state), Level(worst), Level(severity), times[1])
        place = f"{zone}/{hazard}", mode
        if state != Life.NORMAL:
            self._open[place] = packed
            return
        self._open.pop(place, None)
        over = Alarm.unpack(packed)
        self._room.book.put(over)
        self._room.forget(over)

    def told(self, seq: int) -> None:
        if self._untold.pop(seq, None) is None:
            self._room.untold.pop(seq, None)

    def changed(self, seq: int, packed: bytes) -> None:
        self._untold[seq] = packed

    def settle(self) -> None:
        room = self._room
        for packed in self._open.values():
            room.book.put(Alarm.unpack(packed))
        changes = {seq: AlarmChange.unpack(packed) for seq, packed in self._untold.items()}
        room.untold = dict(sorted({**room.untold, **changes}.items()))


def _fold(room: Room, row: Row, latest: _Latest) -> None:
    """Fold one row in."""
    value: Any = row.value
    match row.kind:
        case Record.START:
            room.ordinal, room.ran = value[0], value[2]
            room.figures.begin(row.wall_us)
        case Record.EVENT:
            _event(room, row, *value)
        case Record.STATE:
            _state(room, row, *value)
        case Record.UNUSABLE:
            _unusable(room, *value)
        case Record.ALARM:
            latest.changed(row.seq, value[0])
            latest.alarm(value[1])
        case Record.KEPT:
            latest.alarm(value[0])
        case Record.MUTE:
            room.mutes.put(Listed.unpack(value))
        case Record.DECISION:
            decision = Decision.unpack(value[0])
            room.stand((decision.alarm.zone, decision.alarm.hazard, Mode(value[1])), decision)
        case Record.HEARD:
            room.warnings.put(Told.unpack(value[0]), row.seq)
        case Record.NOTICE:
            room.untold[row.seq] = tellable(value[0])
        case Record.SILENT_TEST:
            room.schedule.put_test(SilentTest.unpack(value))
        case Record.EXERCISE:
            room.schedule.put_drill(Drill.unpack(value))
        case Record.ESCALATION:
            room.escalations.apply(value, row.wall_us, row.monotonic_ns)
        case Record.CALL:
            room.untold[row.seq] = room.escalations.called(value, row.monotonic_ns)
        case Record.DELIVERY:
            room.escalations.delivered(value)
        case Record.TOLD:
            latest.told(value[0])
        case Record.TROUBLE:
            code, subject, source, on = value
            room.troubles.put(code, subject, source, on, row.wall_us)
        case Record.ORDER:
            _order(room, *value)
        case Record.OUTCOME:
            _outcome(room, *value)
        case Record.FALL_BACK:
            number, siren, failure, why, step, sirens = value
            room.fold.activations.fell(number, siren, failure, why, Step(step), tuple(sirens))
        case Record.PLAN:
            room.used[value[1]] = value[2]
            room.ran = value[4] or room.ran
        case Record.ACT | Record.REQUEST | Record.APPROVAL | Record.CLOSED:
            _person(room, row.kind, value)
        case _:
            return


def _event(room: Room, row: Row, data: bytes, mode: int, live: bool) -> None:
    envelope = peek(data)
    node = room.fold.registry.nodes.get(envelope.issuer) if envelope else None
    if envelope is None or node is None:
        return  # of a node that the plan no longer names
    event = Event.unpack(envelope.body)
    if node.has(event.ledger, event.seq):
        return
    now_us, now_ns = row.wall_us, row.monotonic_ns
    room.fold.event(node, envelope, event, data, mode=Mode(mode), live=live, now_us=now_us, at_ns=now_ns)
    if isinstance(event.data, ReceiptData):
        room.fold.answer(node.id, event.data, now_ns, envelope.issued_us)


def _state(room: Room, row: Row, data: bytes, mode: int) -> None:
    envelope = peek(data)
    node = room.fold.registry.nodes.get(envelope.issuer) if envelope else None
    if envelope is not None and node is not None:
        state, now_us, now_ns = State.unpack(envelope.body), row.wall_us, row.monotonic_ns
        room.fold.state(node, envelope, state, data, mode=Mode(mode), now_us=now_us, now_ns=now_ns)


def _unusable(room: Room, data: bytes, _why: str, node_id: str, ledger: bytes, seq: int) -> None:
    node = room.fold.registry.nodes.get(node_id)
    if node is not None and not node.has(ledger, seq):
        room.fold.unusable(node, ledger, seq, data)


def _order(room: Room, number: int, siren: str, data: bytes, alarm: str, level: int, by: str) -> None:
    view = room.fold.registry.sirens.get(siren)
    if view is not None:
        room.take_order(number, siren, view.node, data, (alarm, Level(level), by))


def _outcome(room: Room, number: int, siren: str, result: str, why: str) -> None:
    activation = room.fold.activations.get(number)
    errand = activation.errands.get(siren) if activation else None
    if errand is not None:
        room.fold.activations.end(errand, Result(result), why)


def _person(room: Room, kind: Record, value: list[Any]) -> None:
    match kind:
        case Record.ACT:
            room.used[value[1]] = value[2]
        case Record.REQUEST:
            room.requests.put(unpack_request(value))
        case Record.APPROVAL:
            data, once, digest, person, centre, not_after_us = value
            room.used[once] = not_after_us
            request = room.requests.get(digest)
            if request is not None:
                room.requests.approve(request, Yes(person, centre, not_after_us, data))
        case _:
            room.requests.close(value[0])
