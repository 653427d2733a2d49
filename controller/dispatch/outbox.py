"""The outbox: what is still to be told, on disk, and the chain of what was told about each alarm.

Theory. One SQLite file at synchronous=FULL. `message` holds each message once, `parcel` a row for each channel that still has
to take it. When the last parcel of a message is gone its bodies go too; its reference stays while later messages of the chain
must name it. `alarm` remembers the last change of each open alarm, so that a message is renewed before it expires.

`fallback` remembers how far a channel's messages have been given to its stand-in as well: each once, so that a receiver of both
gets at most one more. Calls of people overtake, and have no stand-in but their next channel.

Bounds: PARCELS_MAX a channel. Beyond it goes first what is not an alarm (acknowledged, lowered, renewed), then what a newer
message of the same alarm stands for, then the oldest; each is returned as a receipt and raises Trouble. With about 12 KiB a
message the file stays near 120 MiB at worst.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import apsw

from cython_ext import Level
from lanes.store import open_store, transaction

from ..alarm.changes import AlarmChange, ChangeKind
from ..calls import Call
from ..drillnotice import DrillNotice
from ..notices import SirenNotice
from . import Message, call, drill, gate
from .cap import Author, MessageType, Place, identifier_of, reference_of
from .siren import tell_of
from .summary import summarise

APPLICATION: Final = 0x42554F42  # "BUOB"
MEMORY: Final = Path(":memory:")
PARCELS_MAX: Final = 10_000  # a channel: F31's storm twice over, and a receiver away for weeks in a normal year
URGENT: Final = frozenset({ChangeKind.RAISED, ChangeKind.ESCALATED, ChangeKind.CLEARED, ChangeKind.RELEASED})
CHAIN_MAX: Final = 200  # references in one message: an alarm renewed every 90 minutes for twelve days
KEEP_US: Final = 7 * 86_400_000_000  # a delivered chain, so that a change told again is known
RENEW_MAX: Final = 50  # in one commit, so that a new alarm never waits for the renewals of a storm
RENEW_AT: Final = 0.75  # of a message's validity: leaves a quarter of it for a receiver that is away
CANCEL_VALID_US: Final = 86_400_000_000  # a Cancel must outlive what it cancels
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS alarm(id TEXT PRIMARY KEY, change BLOB NOT NULL, renewals INTEGER NOT NULL, renew_us INTEGER NOT NULL)
    STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS message(
    number INTEGER PRIMARY KEY AUTOINCREMENT, identifier TEXT NOT NULL UNIQUE, alarm TEXT NOT NULL, type TEXT NOT NULL,
    reference TEXT NOT NULL, urgent INTEGER NOT NULL, sent_us INTEGER NOT NULL, expires_us INTEGER NOT NULL,
    cap BLOB, summary BLOB) STRICT;
CREATE INDEX IF NOT EXISTS message_of ON message(alarm, number);
CREATE TABLE IF NOT EXISTS parcel(
    channel TEXT NOT NULL, number INTEGER NOT NULL REFERENCES message(number) ON DELETE CASCADE,
    PRIMARY KEY(channel, number)) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS parcel_of ON parcel(number);
CREATE TABLE IF NOT EXISTS fallback(channel TEXT PRIMARY KEY, through INTEGER NOT NULL) STRICT, WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Lost:
    """A parcel that the outbox gave up: the channel, and what it was."""

    channel: str
    identifier: str
    alarm: str
    detail: str


@dataclass(frozen=True, slots=True)
class Told:
    """What one `tell` or `renew` did."""

    identifiers: tuple[str, ...] = ()
    shed: tuple[Lost, ...] = ()
    invalid: tuple[str, ...] = ()  # "identifier: rule: detail" of CAP messages that may not be published


Tellable = AlarmChange | SirenNotice | DrillNotice | Call


class Outbox:
    """Blocking; one caller at a time (a Runner). Times are UTC microseconds."""

    def __init__(
        self,
        path: Path,
        wants: dict[str, Callable[[bool], bool]],
        *,
        standby: frozenset[str] = frozenset(),
        parcels_max: int = PARCELS_MAX,
    ) -> None:
        """`wants`: for each channel's name, whether it takes a message with (or without) CAP; `standby`: only as a stand-in."""
        self._db = open_store(path, application=APPLICATION, schema=_SCHEMA, version=2)
        self._wants = dict(wants)
        self._standby = standby
        self._parcels_max = parcels_max

    def close(self) -> None:
        self._db.close()

    def inspect(self) -> None:
        """Read it through, types and all (0.3 s for 100 MiB). ValueError or apsw.Error: it holds what nobody wrote."""
        if (said := self._db.pragma("quick_check")) != "ok":
            raise ValueError(str(said)[:80])
        for _, packed in self._db.execute("SELECT id, change FROM alarm"):
            AlarmChange.unpack(packed)
        for texts in ("SELECT identifier, alarm, type, reference FROM message", "SELECT channel FROM parcel"):
            for _ in self._db.execute(texts):
                pass  # one that is no text raises

    def copy(self) -> "Outbox":
        """The same in memory, from where this one cannot be written."""
        twin = Outbox(MEMORY, self._wants, standby=self._standby, parcels_max=self._parcels_max)
        _copy(self._db, twin._db)
        return twin

    def become(self, other: "Outbox") -> None:
        """Hold what `other` holds, on disk when it returns. apsw.Error: the disk does not take it.

        The checkpoint rewrites and syncs what an earlier commit, whose sync failed, may have left only in the page cache.
        """
        _copy(other._db, self._db)
        busy: Any = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy[0]:
            raise apsw.BusyError("a reader holds the log")

    def _rows(self, sql: str, values: tuple[Any, ...] = ()) -> list[Any]:
        return self._db.execute(sql, values).fetchall()

    # In.

    def tell(self, author: Author, changes: Sequence[Tellable], now_us: int) -> Told:
        """Write and queue the messages about `changes`, in one commit. A change that was told before is not told again."""
        identifiers: list[str] = []
        invalid: list[str] = []
        with transaction(self._db):
            for change in changes:
                identifier = identifier_of(change) if isinstance(change, AlarmChange) else change.identifier
                if self._db.execute("SELECT 1 FROM message WHERE identifier = ?", (identifier,)).get:
                    continue
                if isinstance(change, SirenNotice | Call):
                    self._plain(author, change, now_us)
                    identifiers.append(identifier)
                    continue
                if isinstance(change, DrillNotice):
                    invalid += self._drill(author, change, now_us)
                    identifiers.append(identifier)
                    continue
                alarm = _key(change)
                self._merge(change, alarm)
                wrong = self._queue(author, change, alarm, identifier, now_us, renewed=False)
                invalid += wrong
                identifiers.append(identifier)
                self._remember(author, change, alarm, now_us, renewals=0)
            shed = self._shed()
        return Told(tuple(identifiers), shed, tuple(invalid))

    def renew(self, author: Author, now_us: int) -> Told:
        """Say again what lasts, RENEW_MAX at a time, before the last message about it expires; forget what is long over."""
        identifiers: list[str] = []
        invalid: list[str] = []
        with transaction(self._db):
            due = self._rows(
                "SELECT id, change, renewals FROM alarm WHERE renew_us <= ? ORDER BY renew_us LIMIT ?",
                (now_us, RENEW_MAX),
            )
            for alarm, packed, renewals in due:
                change = AlarmChange.unpack(packed)
                identifier = identifier_of(change, renewals + 1)
                invalid += self._queue(author, change, alarm, identifier, now_us, renewed=True)
                identifiers.append(identifier)
                self._remember(author, change, alarm, now_us, renewals=renewals + 1)
            self._db.execute(
                "DELETE FROM message WHERE sent_us < ? AND summary IS NULL AND alarm NOT IN (SELECT id FROM alarm)",
                (now_us - KEEP_US,),
            )
            shed = self._shed()
        return Told(tuple(identifiers), shed, tuple(invalid))

    def _merge(self, change: AlarmChange, alarm: str) -> None:
        """The chains of swallowed alarms go on under the canonical id."""
        for alias in change.aliases:
            old = f"{int(change.mode)}:{alias}"
            self._db.execute("DELETE FROM alarm WHERE id = ?", (old,))
            self._db.execute("UPDATE message SET alarm = ? WHERE alarm = ?", (alarm, old))

    def _remember(self, author: Author, change: AlarmChange, alarm: str, now_us: int, *, renewals: int) -> None:
        if change.level is Level.NORMAL:
            self._db.execute("DELETE FROM alarm WHERE id = ?", (alarm,))
            return
        renew_us = now_us + round(author.settings.valid_s * 1e6 * RENEW_AT)
        row = (alarm, change.pack(), renewals, renew_us)
        self._db.execute("INSERT OR REPLACE INTO alarm VALUES (?, ?, ?, ?)", row)

    def _queue(
        self, author: Author, change: AlarmChange, alarm: str, identifier: str, now_us: int, *, renewed: bool
    ) -> list[str]:
        chain = self._chain(alarm)
        ours = change.ours  # what another centre said, it publishes itself
        kind = _type(ours, chained=bool(chain))
        valid_us = CANCEL_VALID_US if kind is MessageType.CANCEL else author.settings.valid_s * 1_000_000
        sent_us = now_us // 1_000_000 * 1_000_000
        place = Place(identifier, kind or MessageType.UPDATE, chain, sent_us, sent_us + valid_us, renewed)
        words = author.write(change)
        cap: bytes | None = None
        wrong: list[str] = []
        if kind is not None:
            own_words = words if ours is change else author.write(ours)
            verdict = gate.publish(author.compose(ours, place, own_words), author.signer, now_us)
            cap, wrong = verdict.data, [str(fault) for fault in verdict.faults]
        summary = summarise(author, change, place, words, cap=cap is not None)
        urgent = not renewed and change.kind in URGENT
        self._put(author, place, alarm, str(kind) if cap is not None else "", cap, summary, urgent=urgent)
        return [f"{identifier}: {fault}" for fault in wrong]

    def _drill(self, author: Author, notice: DrillNotice, now_us: int) -> list[str]:
        """An exercise's step: CAP and JSON, in the chain of its occasion."""
        references = self._chain(notice.chain)
        kind = drill.type_of(notice, chained=bool(references))
        sent_us = now_us // 1_000_000 * 1_000_000
        valid_us = author.settings.valid_s * 1_000_000
        expires_us = drill.expires_us(notice, sent_us, valid_us)
        place = Place(notice.identifier, kind or MessageType.UPDATE, references, sent_us, expires_us)
        words = drill.words_of(author, notice)
        verdict = gate.publish(drill.compose(author, notice, place, words), author.signer, now_us) if kind else None
        cap = verdict.data if verdict else None
        summary = drill.summarise(author, notice, place, words, cap=cap is not None)
        self._put(author, place, notice.chain, str(kind) if cap is not None else "", cap, summary, urgent=False)
        return [f"{notice.identifier}: {fault}" for fault in (verdict.faults if verdict else ())]

    def _put(
        self, author: Author, place: Place, chain: str, told: str, cap: bytes | None, summary: bytes, *, urgent: bool
    ) -> None:
        """A message, for every channel that takes it."""
        channels = self._takers(cap is not None)
        reference = reference_of(author.settings.sender, place.identifier, place.sent_us)
        row = (place.identifier, chain, told, reference, urgent, place.sent_us, place.expires_us)
        self._db.execute(
            "INSERT INTO message(identifier, alarm, type, reference, urgent, sent_us, expires_us, cap, summary)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*row, cap if channels else None, summary if channels else None),
        )
        number = self._db.last_insert_rowid()
        self._db.executemany("INSERT INTO parcel VALUES (?, ?)", [(name, number) for name in channels])

    def _takers(self, cap: bool) -> list[str]:
        return [name for name, wants in self._wants.items() if name not in self._standby and wants(cap)]

    def _plain(self, author: Author, notice: SirenNotice | Call, now_us: int) -> None:
        """What CAP does not tell: to every channel that takes such; a call to a person, to its own."""
        sent_us = now_us // 1_000_000 * 1_000_000
        channels = self._takers(False)
        if isinstance(notice, Call):
            key, summary = call.queue_of(notice), call.tell_of(author, notice, sent_us)
            if notice.person:
                channels = [notice.channel] if notice.channel in self._wants else []
        else:
            key, summary = f"{int(notice.mode)}:siren/{notice.siren}", tell_of(author, notice, sent_us)
        row = (notice.identifier, key, sent_us, sent_us + CANCEL_VALID_US)
        self._db.execute(
            "INSERT INTO message(identifier, alarm, type, reference, urgent, sent_us, expires_us, cap, summary)"
            " VALUES (?, ?, '', '', 1, ?, ?, NULL, ?)",
            (*row, summary if channels else None),
        )
        number = self._db.last_insert_rowid()
        self._db.executemany("INSERT INTO parcel VALUES (?, ?)", [(name, number) for name in channels])

    def _chain(self, alarm: str) -> tuple[str, ...]:
        """References to the messages since the last Cancel, oldest first; the first and the newest of a very long chain."""
        rows = self._rows(
            "SELECT reference FROM message WHERE alarm = ?1 AND type != '' AND number >"
            " (SELECT coalesce(max(number), 0) FROM message WHERE alarm = ?1 AND type = 'Cancel') ORDER BY number",
            (alarm,),
        )
        references = tuple(row[0] for row in rows)
        return references if len(references) <= CHAIN_MAX else (references[0], *references[1 - CHAIN_MAX :])

    def _shed(self) -> tuple[Lost, ...]:
        """Bring every queue back within its bound."""
        lost: list[Lost] = []
        counts = self._rows("SELECT channel, count(*) FROM parcel GROUP BY channel")
        for channel, count in counts:
            if count <= self._parcels_max:
                continue
            rows = self._rows(
                "SELECT m.number, m.identifier, m.alarm FROM parcel p JOIN message m USING(number) WHERE p.channel = ?1"
                " ORDER BY m.urgent, NOT EXISTS(SELECT 1 FROM message n JOIN parcel q USING(number)"
                " WHERE n.alarm = m.alarm AND n.number > m.number AND q.channel = ?1), m.number LIMIT ?2",
                (channel, count - self._parcels_max),
            )
            self._drop(channel, [row[0] for row in rows])
            lost += [Lost(channel, identifier, alarm, "queue-full") for _, identifier, alarm in rows]
        return tuple(lost)

    # Out.

    def due(self, channel: str, held: Iterable[int], limit: int) -> list[Message]:
        """The oldest messages for `channel` that are not `held`: one of each alarm, so that its messages go in order."""
        columns = "m.number, m.identifier, m.alarm, m.urgent, m.sent_us, m.expires_us, m.cap, m.summary"
        free = "p.channel = ? AND p.number NOT IN (SELECT value FROM json_each(?)) ORDER BY p.number LIMIT ?"
        values = (channel, json.dumps(sorted(held)), limit)
        # People first: of a storm's thousands of messages theirs is the one that somebody waits for.
        rows = self._rows(
            f"SELECT {columns} FROM message m JOIN parcel p USING(number)"  # noqa: S608 - our own words
            f" WHERE m.alarm >= '{call.PREFIX}' AND m.alarm < 'call0' AND {free}",
            values,
        )
        if len(rows) < limit:
            rows += self._rows(f"SELECT {columns} FROM parcel p JOIN message m USING(number) WHERE {free}", values)  # noqa: S608
        first: dict[str, Message] = {}
        for number, identifier, alarm, urgent, sent_us, expires_us, cap, summary in rows:
            message = Message(number, identifier, alarm, bool(urgent), sent_us, expires_us, cap, summary or b"")
            first.setdefault(alarm, message)
        return list(first.values())[:limit]

    def done(self, channel: str, numbers: Sequence[int]) -> None:
        """These need no more telling at `channel`."""
        with transaction(self._db):
            self._drop(channel, numbers)

    def newest(self) -> int:
        """The number of the newest message."""
        return int(self._db.execute("SELECT coalesce(max(number), 0) FROM message").get or 0)

    def stand_in(self, channel: str, by: str, through: int) -> list[Lost]:
        """Give what still waits at `channel`, up to number `through`, to `by` as well, each message once; those that it took."""
        after = self._db.execute("SELECT through FROM fallback WHERE channel = ?", (channel,)).get or 0
        rows = self._rows(
            "SELECT m.number, m.identifier, m.alarm, m.cap IS NOT NULL FROM parcel p JOIN message m USING(number)"
            " WHERE p.channel = ? AND p.number > ? AND p.number <= ? ORDER BY p.number",
            (channel, after, through),
        )
        given = [row for row in rows if not row[2].startswith(call.PREFIX) and self._wants[by](bool(row[3]))]
        if given:
            with transaction(self._db):
                self._db.executemany("INSERT OR IGNORE INTO parcel VALUES (?, ?)", [(by, row[0]) for row in given])
                self._db.execute("INSERT OR REPLACE INTO fallback VALUES (?, ?)", (channel, given[-1][0]))
        return [Lost(channel, identifier, alarm, f"also by {by}") for _, identifier, alarm, _ in given]

    def pending(self) -> dict[str, int]:
        """How many messages each channel still has to take."""
        counts: dict[str, int] = dict.fromkeys(self._wants, 0)
        counts.update(self._rows("SELECT channel, count(*) FROM parcel GROUP BY channel"))
        return counts

    def orphans(self) -> tuple[Lost, ...]:
        """Give up the parcels of channels that the configuration no longer has."""
        lost: list[Lost] = []
        with transaction(self._db):
            for channel in self.pending().keys() - self._wants.keys():
                rows = self._rows(
                    "SELECT m.number, m.identifier, m.alarm FROM parcel p JOIN message m USING(number) WHERE channel = ?",
                    (channel,),
                )
                self._drop(channel, [row[0] for row in rows])
                lost += [Lost(channel, identifier, alarm, "channel-removed") for _, identifier, alarm in rows]
        return tuple(lost)

    def _drop(self, channel: str, numbers: Sequence[int]) -> None:
        for number in numbers:
            self._db.execute("DELETE FROM parcel WHERE channel = ? AND number = ?", (channel, number))
            self._db.execute(
                "UPDATE message SET cap = NULL, summary = NULL WHERE number = ?1"
                " AND NOT EXISTS(SELECT 1 FROM parcel WHERE number = ?1)",
                (number,),
            )


def _copy(source: apsw.Connection, to: apsw.Connection) -> None:
    with to.backup("main", source, "main") as backup:
        backup.step()


def _key(change: AlarmChange) -> str:
    """Alarms of different modes never share a chain."""
    return f"{int(change.mode)}:{change.alarm_id}"


def _type(change: AlarmChange, *, chained: bool) -> MessageType | None:
    """What CAP calls this change; None: CAP does not tell it."""
    if change.level is Level.NORMAL:
        return MessageType.CANCEL if chained and change.kind is ChangeKind.CLEARED else None
    if change.kind is ChangeKind.ACKNOWLEDGED and change.level is change.was:
        return None
    return MessageType.UPDATE if chained else MessageType.ALERT
