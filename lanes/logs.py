"""Where log lines go: to the journal with their fields apart when systemd listens, else to standard error as text.

Every line of ours is `event.name key=%s other=%d`, so its fields are known without a second call: BUCIUM_EVENT, BUCIUM_KEY, …
beside MESSAGE, by which `journalctl BUCIUM_EVENT=trouble.changed` finds them. The journal's native protocol is a datagram of
`NAME=value` lines (systemd.io/JOURNAL_NATIVE_PROTOCOL); its libraries for Python need a compiler and systemd's headers on the
node, for these forty lines.

What strangers send may stand in a value: it is one line, and short, whatever it holds.
"""

import logging
import os
import re
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

JOURNAL: Final = Path("/run/systemd/journal/socket")
VALUE_MAX: Final = 2048  # characters of one field: more is no log line
EVENT: Final = re.compile(r"[a-z-]+\.[a-z-]+")
PRIORITIES: Final = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))  # of syslog


def begin(level: str, environment: Mapping[str, str] = os.environ) -> logging.Handler:
    """Log from now on, at this level's name and above. Returns the handler; `belong` gives it a name."""
    handler: logging.Handler = Journal(JOURNAL) if _is_journal(environment) else logging.StreamHandler()
    handler.setFormatter(OneLine("%(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    return handler


def belong(handler: logging.Handler, **who: str) -> None:
    """Each record says from now on whose it is: `node="quay"` becomes BUCIUM_NODE. Standard error needs no such thing."""
    if isinstance(handler, Journal):
        handler.who.update(who)


class OneLine(logging.Formatter):
    """A record as one line: what a value holds cannot begin another. A bug's traceback follows on lines of its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        record.message = one_line(record.message)
        return super().formatMessage(record)


class Journal(logging.Handler):
    """systemd-journald. Never waits for it: what finds no room is counted, and the next record says how many."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.who: dict[str, str] = {}
        self.dropped = 0
        self._path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)

    def emit(self, record: logging.LogRecord) -> None:
        sent = fields(record) | {f"BUCIUM_{name.upper()}": value for name, value in self.who.items()}
        if self.dropped:
            sent["BUCIUM_DROPPED"] = str(self.dropped)
        if record.exc_info:
            sent["BUCIUM_TRACEBACK"] = logging.Formatter().formatException(record.exc_info)
        try:
            self._socket.sendto(pack(sent), self._path)  # not connected: journald may start again
        except OSError:
            self.dropped += 1
        else:
            self.dropped = 0

    def close(self) -> None:
        self._socket.close()
        super().close()


def fields(record: logging.LogRecord) -> dict[str, str]:
    """The journal's fields of a record: MESSAGE, PRIORITY, LOGGER, and what its template names."""
    priority = next((number for level, number in PRIORITIES if record.levelno >= level), 7)
    found = {"MESSAGE": one_line(record.getMessage()), "PRIORITY": str(priority), "LOGGER": record.name}
    event, *rest = str(record.msg).split() or [""]
    values = list(record.args) if isinstance(record.args, tuple) else []
    if event.count("%") == 1 and values:  # point.%s
        event %= (values.pop(0),)
    if not EVENT.fullmatch(event):  # a library's line
        return found
    found["BUCIUM_EVENT"] = event
    for word in rest:
        name, equals, form = word.partition("=")
        if not equals or form.count("%") != 1 or not values:
            break
        found[f"BUCIUM_{name.upper()}"] = one_line(form % (values.pop(0),))
    return found


def one_line(text: str) -> str:
    """Without what would begin a line or move a terminal's cursor, and not longer than a field."""
    kept = text if len(text) <= VALUE_MAX else text[:VALUE_MAX] + "…"
    return kept if kept.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in kept)


def pack(sent: Mapping[str, str]) -> bytes:
    """A datagram of the native protocol: a value with a line feed has its length before it."""
    parts = []
    for name, value in sent.items():
        data = value.encode(errors="replace")
        if b"\n" in data:
            parts.append(name.encode() + b"\n" + len(data).to_bytes(8, "little") + data)
        else:
            parts.append(name.encode() + b"=" + data)
    return b"\n".join(parts) + b"\n"


def _is_journal(environment: Mapping[str, str]) -> bool:
    """Whether standard error is a stream of the journal's: systemd names it by device and inode (systemd.exec(5))."""
    try:
        at = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return environment.get("JOURNAL_STREAM") == f"{at.st_dev}:{at.st_ino}"
