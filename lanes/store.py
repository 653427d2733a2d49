"""SQLite through apsw: one writer, WAL, `synchronous=FULL` (reliability.md §0.6: only FULL keeps what was acknowledged).

apsw brings an SQLite without the WAL-reset bug of 3.7.0–3.51.2 that loses acknowledged commits.
"""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final, ParamSpec, Protocol, TypeVar

import apsw

from cython_ext import BuciumError

BUSY_TIMEOUT_MS: Final = 2000  # another process looks at the file; nobody else writes
WAL_PAGES: Final = 1000  # checkpoint at 4 MiB of log
DAMAGE: Final = (
    apsw.CorruptError,
    apsw.NotADBError,
    apsw.SQLError,
    UnicodeDecodeError,
)  # a changed schema is an SQL error
HEADER: Final = b"SQLite format 3\0"
MARK_AT: Final = 68  # application_id in SQLite's header: four bytes, big-endian
MARK_BITS: Final = 8  # of its 32, that damage may have changed: other programs' marks differ in about 16

P = ParamSpec("P")
R = TypeVar("R")


class StoreError(BuciumError):
    """A database that is not ours, not usable, or damaged. `path` names it."""

    def __init__(self, message: str, path: Path) -> None:
        self.path = path
        super().__init__(f"{path}: {message}")


def open_store(path: Path, *, application: int, schema: str, version: int) -> apsw.Connection:
    """Open or create the database `path` with our pragmas.

    `application` is SQLite's application_id: a file with another one is somebody else's and is left alone (StoreError).
    """
    try:
        connection = apsw.Connection(str(path))
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        found = connection.pragma("application_id")
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").get
        if found != application and (found or tables):
            connection.close()
            raise StoreError("this database is not ours; it is left as it is", path)
        for pragma, value in (
            ("journal_mode", "wal"),
            ("synchronous", "full"),
            ("foreign_keys", "on"),
            ("cell_size_check", "on"),
            ("trusted_schema", "off"),
            ("wal_autocheckpoint", WAL_PAGES),
        ):
            connection.pragma(pragma, value)
        have = connection.pragma("user_version")
        if have > version:
            connection.close()
            raise StoreError(f"written by a newer program (schema {have}, this one knows {version})", path)
        if have < version:
            with transaction(connection):
                connection.execute(schema)
                connection.pragma("application_id", application)
                connection.pragma("user_version", version)
    except apsw.Error as error:
        raise StoreError(f"cannot open: {error}", path) from error
    return connection


@contextmanager
def transaction(connection: apsw.Connection) -> Iterator[None]:
    """All or nothing; what broke it is what is raised.

    A disk that is full, or fails, in the midst of a long transaction has SQLite roll back by itself. apsw then finds nothing to
    roll back, and would raise that instead, as if the statement were wrong.
    """
    try:
        with connection:
            yield
    except apsw.SQLError as error:
        if isinstance(error.__context__, apsw.Error) and not connection.in_transaction:
            raise error.__context__ from None
        raise


def was_ours(path: Path, application: int) -> bool:
    """Whether a database that is said to be not ours bears our mark but for a few changed bits: ours, and damaged."""
    with path.open("rb") as file:
        header = file.read(100)
    mark = int.from_bytes(header[MARK_AT : MARK_AT + 4], "big")
    return header.startswith(HEADER) and mark != application and (mark ^ application).bit_count() <= MARK_BITS


def is_damaged(error: StoreError, path: Path, application: int) -> bool:
    """Whether `open_store` failed because of what the file holds, and the file is not plainly another program's."""
    return isinstance(error.__cause__, DAMAGE) or (path.exists() and was_ours(path, application))


def set_aside(path: Path) -> Path:
    """Rename a damaged database and its log to `….damaged`, for somebody to look at; one set aside before gives way. OSError."""
    there = path.with_name(path.name + ".damaged")
    for suffix in ("-wal", "-shm", ""):
        part, to = path.with_name(path.name + suffix), there.with_name(there.name + suffix)
        to.unlink(missing_ok=True)
        if part.exists():
            part.replace(to)
    return there


class Runner(Protocol):
    """Runs what blocks (a commit waits for the disk) without stopping the loop; a simulator runs it in place."""

    async def __call__(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...


class ThreadRunner:
    """One thread, so that one writer stays one writer and order is kept."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def __call__(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: function(*args, **kwargs))

    def close(self) -> None:
        self._pool.shutdown()


async def run_here(function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """The runner of simulations and small tools: at once, in the loop's own thread."""
    return function(*args, **kwargs)
