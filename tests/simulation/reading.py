"""The product's messages and stores, read in our own words: plain cbor2, sqlite3 and Ed25519. No line of the product."""

import hashlib
import sqlite3
import struct
from collections.abc import Iterator, Set
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

EVENT, STATE, ACK, ORDER, BEAT = 1, 2, 3, 4, 6
_LANES: Final = {
    EVENT: "report/event",
    STATE: "report/state",
    ACK: "order/ack",
    ORDER: "order/order",
    BEAT: "beat/beat",
}
TRANSITION, RECEIPT, TROUBLE, BOOT = 1, 2, 3, 4
RAISED, RESTATED = 1, 5  # causes of a transition


@dataclass(frozen=True)
class Signed:
    """A message whose signature is right."""

    kind: int
    issuer: str
    addressee: str
    boot: bytes
    counter: int
    issued_us: int
    body: Any
    not_after_us: int
    data: bytes


class Keys:
    """Who has which public key."""

    def __init__(self, public: dict[str, bytes], genuine: Set[tuple[bytes, bytes, bytes]] = frozenset()) -> None:
        """`genuine`: (key, signature, data) that are known to be right."""
        self._public = public
        self._genuine = genuine
        self.open = lru_cache(maxsize=8192)(self._open)

    def _open(self, data: bytes) -> Signed | None:
        try:
            protected, unprotected, payload, signature = cbor2.loads(data[1:])
            fields = cbor2.loads(payload)
            kind, issuer = fields[1], fields[2]
            aad = f"bucium/1/{_LANES[kind]}".encode()
            data_signed = cbor2.dumps(["Signature1", protected, aad, payload])
            if (self._public[issuer], signature, data_signed) not in self._genuine:
                Ed25519PublicKey.from_public_bytes(self._public[issuer]).verify(signature, data_signed)
        except (ValueError, TypeError, KeyError, IndexError, InvalidSignature, cbor2.CBORDecodeError, EOFError):
            return None
        if unprotected or data[:1] != b"\xd2":
            return None
        not_after_us = fields[10] if kind == ORDER else 0
        return Signed(kind, issuer, fields[3], fields[4], fields[5], fields[6], fields[9], not_after_us, data)


@dataclass(frozen=True)
class Key:
    """What names an event."""

    node: str
    ledger: bytes
    seq: int


@dataclass(frozen=True)
class Happening:
    """An event, read."""

    key: Key
    monotonic_ns: int
    kind: int
    data: list[Any]
    digest: bytes


def happening(message: Signed) -> Happening:
    ledger, seq, monotonic_ns, _source, _error, _plan, kind, data = message.body
    return Happening(Key(message.issuer, ledger, seq), monotonic_ns, kind, data, hashlib.sha256(message.data).digest())


def ledgers(folder: Path, keys: Keys) -> Iterator[Happening]:
    """Every event that can be read in any ledger of a node's data folder."""
    for path in sorted(folder.glob("ledger*.db")):
        with closing(sqlite3.connect(path)) as db:
            tables = ("SELECT data FROM event ORDER BY seq", "SELECT data FROM salvaged ORDER BY ledger, seq")
            for query in tables:
                try:
                    for (data,) in db.execute(query):
                        message = keys.open(data) if isinstance(data, bytes) else None  # a spoilt row may hold anything
                        if message is not None and message.kind == EVENT:
                            yield happening(message)
                except sqlite3.Error:
                    continue  # a damaged ledger; what could be read of it was


@dataclass(frozen=True)
class Line:
    """A row of the journal."""

    seq: int
    kind: int
    wall_us: int
    monotonic_ns: int
    value: Any


@dataclass
class Record:
    """A journal file, read whole, its chain computed anew."""

    id: bytes
    lines: list[Line]
    broken: str = ""


def _aside(path: Path, journal_id: bytes, have: int) -> list[tuple[Any, ...]]:
    """The rows of an emergency journal that stand beyond the database's."""
    rows: list[tuple[Any, ...]] = []
    data = path.read_bytes() if path.exists() else b""
    at = 512
    while data[at : at + 4] == b"BucE":
        length, seq, kind, wall, mono, before, digest, _, _ = struct.unpack(">IQIqq32s32sQI", data[at + 4 : at + 112])
        payload = data[at + 112 : at + 112 + length]
        heads = struct.pack(">8sQIqqQ", journal_id, seq, kind, wall, mono, length)
        if hashlib.sha256(heads + payload + before).digest() != digest or (rows and seq != rows[-1][0] + 1):
            break
        rows.append((seq, kind, wall, mono, payload, before, digest))
        at += 112 + length
    return [row for row in rows if row[0] > have]


def journal(path: Path) -> Record | None:
    """None when there is no journal yet. What stands in the emergency journal counts as kept."""
    if not path.exists():
        return None
    with closing(sqlite3.connect(path)) as db:
        try:
            found = db.execute("SELECT value FROM meta WHERE key = 'journal'").fetchone()
            rows = db.execute("SELECT * FROM entry ORDER BY seq").fetchall()
        except sqlite3.Error:
            return None
    if found is None:
        return None
    record = Record(found[0], [])
    before = bytes(32)
    rows += _aside(path.with_suffix(".emergency"), found[0], len(rows))
    for place, (seq, kind, wall_us, monotonic_ns, payload, previous, digest) in enumerate(rows, 1):
        heads = struct.pack(">8sQIqqQ", found[0], seq, kind, wall_us, monotonic_ns, len(payload))
        mine = hashlib.sha256(heads + payload + before).digest()
        if seq != place or previous != before or digest != mine:
            record.broken = record.broken or f"row {seq}: the chain is broken"
        before = digest
        record.lines.append(Line(seq, kind, wall_us, monotonic_ns, cbor2.loads(payload)))
    return record
