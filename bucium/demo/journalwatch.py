"""Looks into the controller's journal, read-only and from outside: alarms and troubles as the record has them."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import apsw

from bucium.demo.chains import Chains
from bucium.demo.happening import Teller
from controller.alarm.changes import AlarmChange
from controller.record.records import Record
from cython_ext import Level, WireError
from lanes import cbor
from lanes.envelope import peek
from lanes.identity import EventKey
from lanes.orders import Action, Order
from lanes.readiness import judge, unpack
from lanes.reports import Event, SirenTrouble, State

LOOK_S: Final = 0.1
ROWS_MAX: Final = 500  # one look


class JournalWatch:
    """Polls the journal file; its rows carry the controller's own instants."""

    def __init__(self, path: Path, teller: Teller, chains: Chains, sirens: Sequence[str] = ()) -> None:
        """`sirens`: ids in the order of the plan, in which state reports count them."""
        self._path = path
        self._sirens = tuple(sirens)
        self._ready: dict[str, str] = {}
        self._teller = teller
        self._chains = chains
        self._seq = 0
        self.changes: list[AlarmChange] = []

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_S)

    def look(self) -> None:
        """Read what is new."""
        if not self._path.exists():
            return
        try:
            store = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READONLY)
        except apsw.Error:
            return  # being made just now
        try:
            rows: list[Any] = store.execute(
                "SELECT seq, kind, monotonic_ns, payload FROM entry WHERE seq > ? ORDER BY seq LIMIT ?",
                (self._seq, ROWS_MAX),
            ).fetchall()
        except apsw.Error:
            return  # the same: no table yet, or the writer holds the file for a moment
        finally:
            store.close()
        for seq, kind, monotonic_ns, payload in rows:
            self._seq = seq
            try:
                self._row(kind, monotonic_ns, cbor.decode(payload))
            except (WireError, ValueError, KeyError) as error:
                self._teller.tell("trouble", f"row {seq} of the journal cannot be read: {error}")

    def _row(self, kind: int, at_ns: int, value: Any) -> None:
        match kind, value:
            case Record.EVENT, [bytes(data), *_]:
                self._event(data, at_ns)
            case Record.STATE, [bytes(data), *_]:
                self._state(data, at_ns)
            case Record.ALARM, [bytes(data), *_]:
                self._alarm(AlarmChange.unpack(data), at_ns)
            case Record.ORDER, [_, _, bytes(data), *_]:
                self._order(data, at_ns)
            case Record.TROUBLE, [str(code), str(subject), str(), bool(on)]:
                state = "begins" if on else "ends"
                text = f"controller: {code} {subject} {state}".replace("  ", " ")
                self._teller.tell("trouble", text, at_ns=at_ns, node="", code=code, on=on)
            case Record.REFUSED, [str(why), int(count), *_]:
                self._teller.tell("refused", f"controller refused {count} messages: {why}", at_ns=at_ns, why=why)
            case _:
                pass

    def _event(self, data: bytes, at_ns: int) -> None:
        envelope = peek(data)
        if envelope is not None:
            event = Event.unpack(envelope.body)
            self._chains.taken(EventKey(envelope.issuer, event.ledger, event.seq), at_ns)

    def _state(self, data: bytes, at_ns: int) -> None:
        """What a node says of its sirens: whether each could sound, told when that changes."""
        envelope = peek(data)
        if envelope is None:
            return
        for row in State.unpack(envelope.body).sirens:
            found = judge(unpack(row.inputs), SirenTrouble(row.trouble))
            siren = self._sirens[row.siren] if row.siren < len(self._sirens) else str(row.siren)
            words = " ".join((found.ready.word, *found.reasons))
            if self._ready.get(siren) != words:
                self._ready[siren] = words
                facts = {"siren": siren, "ready": found.ready.word, "reasons": list(found.reasons)}
                self._teller.tell("readiness", f"siren {siren}: {words}", at_ns=at_ns, **facts)

    def _order(self, data: bytes, at_ns: int) -> None:
        envelope = peek(data)
        if envelope is not None:
            order = Order.unpack(envelope.body)
            if order.action is Action.START:
                self._chains.ordered(order, at_ns)

    def _alarm(self, change: AlarmChange, at_ns: int) -> None:
        self.changes.append(change)
        level = Level(change.level)
        self._chains.alarm(change.hazard, level, at_ns)
        word = level.name.lower()
        by = f" by {change.by}" if change.by else ""
        self._teller.tell(
            "alarm",
            f"{change.hazard.name.lower()} in {change.zone}: {change.kind}{by}, {word}",
            at_ns=at_ns,
            alarm=str(change.alarm_id),
            zone=change.zone,
            hazard=change.hazard.name.lower(),
            kind=str(change.kind),
            level=int(level),
            was=int(change.was),
            evidence=len(change.evidence),
            by=change.by,
        )
