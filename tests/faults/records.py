"""A controller's journals, read with plain SQL: the present one, and those that were set aside, as far as they can be read."""

import hashlib
import shutil
import sqlite3
import struct
import tempfile
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import cbor2

GENESIS: Final = bytes(32)
ROW_TROUBLE: Final = 50
GONE_MAX: Final = 5000  # rows in a row that cannot be read: beyond that there are none
FRAME: Final = struct.Struct(">4sIQIqq32s32sQI")  # the emergency journal's, as its theory states it
FRAME_MAGIC: Final = b"BucE"


@dataclass(frozen=True)
class Line:
    """A row of a journal."""

    seq: int
    kind: int
    wall_us: int
    monotonic_ns: int
    value: Any


@dataclass
class Record:
    """A journal file. `broken`: the first fault of its chain."""

    name: str
    id: bytes = b""
    lines: list[Line] = field(default_factory=list)
    broken: str = ""

    @property
    def says_damaged(self) -> bool:
        """Whether a trouble in it says so."""
        said = [line.value[3] for line in self.lines if line.kind == ROW_TROUBLE and line.value[0] == "journal-damaged"]
        return bool(said and said[-1])


def records(folder: Path, spare: Path) -> list[Record]:
    """Those set aside, the oldest first, then the present one; each with what its emergency journal still holds."""
    paths = [*sorted(folder.glob("journal-aside-*.db")), folder / "journal.db"]
    found = [_dead(path) for path in paths if path.exists()]
    rest = [*folder.glob("*.emergency"), *spare.glob("*.emergency")]
    for path in rest:
        _emergency(path, found)
    return found


def damage_said(folder: Path) -> bool:
    """Whether the present journal is whole, or itself says that it is damaged."""
    record = _read(folder / "journal.db")
    return not record.broken or record.says_damaged


def _dead(path: Path) -> Record:
    """A copy is read: who opens a database that nobody has open mends it, and that is the product's to do."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        for end in ("", "-wal"):
            if (beside := path.with_name(path.name + end)).exists():
                shutil.copyfile(beside, copy.with_name(copy.name + end))
        return _read(copy)


def _read(path: Path) -> Record:
    record = Record(path.name)
    with closing(sqlite3.connect(path)) as db:
        with suppress(sqlite3.Error):
            named = db.execute("SELECT value FROM meta WHERE key = 'journal'").fetchone()
            record.id = named[0] if named else record.id  # a cut may leave the table, and lose the row
        rows = _rows(db)
    before, expected = GENESIS, rows[0][0] if rows else 0
    for seq, kind, wall_us, monotonic_ns, payload, previous, digest in rows:
        heads = struct.pack(">8sQIqqQ", record.id.ljust(8, b"\0"), seq, kind, wall_us, monotonic_ns, len(payload))
        right = hashlib.sha256(heads + payload + previous).digest() == digest
        if (seq, previous) != (expected, before) or not right:
            record.broken = record.broken or f"row {expected}: the chain is broken"
        before, expected = digest, seq + 1
        if right:
            record.lines.append(Line(seq, kind, wall_us, monotonic_ns, cbor2.loads(payload)))
    return record


def _rows(db: sqlite3.Connection) -> list[Any]:
    """All rows, or of a damaged file those that can be found one by one."""
    try:
        return db.execute("SELECT * FROM entry ORDER BY seq").fetchall()
    except sqlite3.Error:
        rows: list[Any] = []
    seq = gone = 0
    while gone < GONE_MAX:
        seq, gone = seq + 1, gone + 1
        with suppress(sqlite3.Error, sqlite3.Warning):
            if (row := db.execute("SELECT * FROM entry WHERE seq = ?", (seq,)).fetchone()) is not None:
                rows.append(row)
                gone = 0
    return rows


def _emergency(path: Path, found: list[Record]) -> None:
    """Rows that the database has not got yet."""
    data = path.read_bytes()
    record = next((one for one in found if one.id and one.id == data[18:26]), None)
    at, known = 512, {line.seq for line in record.lines} if record is not None else set[int]()
    while record is not None and data[at : at + 4] == FRAME_MAGIC:
        _, length, seq, kind, wall_us, monotonic_ns, _, _, _, _ = FRAME.unpack_from(data, at)
        if seq not in known:
            value = cbor2.loads(data[at + FRAME.size : at + FRAME.size + length])
            record.lines.append(Line(seq, kind, wall_us, monotonic_ns, value))
        at += FRAME.size + length
