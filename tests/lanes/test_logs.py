"""Log lines as journald gets them, over a real datagram socket, and as a terminal does."""

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanes import logs


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "socket"))
        server.setblocking(False)
        yield server


@pytest.fixture
def log(tmp_path: Path) -> Iterator[logging.Logger]:
    made = logging.getLogger("bucium.test-logs")
    made.propagate = False
    made.setLevel(logging.DEBUG)
    handler = logs.Journal(tmp_path / "socket")
    made.addHandler(handler)
    yield made
    made.removeHandler(handler)
    handler.close()


def of_journal(log: logging.Logger) -> logs.Journal:
    return next(each for each in log.handlers if isinstance(each, logs.Journal))


def parse(data: bytes) -> dict[str, str]:
    """The native protocol, read as its specification says."""
    found = {}
    while data:
        line, _, rest = data.partition(b"\n")
        if b"=" in line:
            name, _, value = line.partition(b"=")
            data = rest
        else:
            name, size = line, int.from_bytes(rest[:8], "little")
            value, data = rest[8 : 8 + size], rest[8 + size + 1 :]
        found[name.decode()] = value.decode()
    return found


def heard(server: socket.socket) -> dict[str, str]:
    return parse(server.recv(65536))


def test_each_value_of_a_line_is_a_field(journald: socket.socket, log: logging.Logger) -> None:
    logs.belong(of_journal(log), node="quay")
    log.warning("trouble.changed code=%s on=%s subject=%s", "disk", True, "a b")
    assert heard(journald) == {
        "MESSAGE": "trouble.changed code=disk on=True subject=a b",
        "PRIORITY": "4",
        "LOGGER": "bucium.test-logs",
        "BUCIUM_EVENT": "trouble.changed",
        "BUCIUM_CODE": "disk",
        "BUCIUM_ON": "True",
        "BUCIUM_SUBJECT": "a b",
        "BUCIUM_NODE": "quay",
    }


def test_an_event_may_be_named_by_its_first_value() -> None:
    record = logging.LogRecord("l", logging.INFO, "", 0, "point.%s point=%s value=%.3f", ("raised", "p1", 3.5), None)
    sent = logs.fields(record)
    assert sent["MESSAGE"] == "point.raised point=p1 value=3.500"
    assert (sent["BUCIUM_EVENT"], sent["BUCIUM_POINT"], sent["BUCIUM_VALUE"]) == ("point.raised", "p1", "3.500")


@given(st.text())
def test_what_a_stranger_sends_is_one_line_and_its_own_field(text: str) -> None:
    record = logging.LogRecord("l", logging.INFO, "", 0, "message.refused why=%s detail=%s", ("bad", text), None)
    sent = logs.fields(record)
    assert sent["MESSAGE"].isprintable()
    assert len(sent["BUCIUM_DETAIL"]) <= logs.VALUE_MAX * 10
    assert parse(logs.pack(sent)) == {name: value.encode(errors="replace").decode() for name, value in sent.items()}
    assert set(sent) == {"MESSAGE", "PRIORITY", "LOGGER", "BUCIUM_EVENT", "BUCIUM_WHY", "BUCIUM_DETAIL"}
    line = logs.OneLine("%(levelname)s %(name)s %(message)s").format(record)
    assert len(line.splitlines()) == 1


@given(
    st.dictionaries(
        st.from_regex(r"[A-Z_]{1,20}", fullmatch=True), st.text(st.characters(codec="utf-8")), min_size=1, max_size=5
    )
)
def test_the_protocol_carries_any_text(sent: dict[str, str]) -> None:
    assert parse(logs.pack(sent)) == sent


def test_a_library_s_line_is_a_message_without_fields(journald: socket.socket, log: logging.Logger) -> None:
    log.error("It took %d ms", 5)
    assert heard(journald) == {"MESSAGE": "It took 5 ms", "PRIORITY": "3", "LOGGER": "bucium.test-logs"}


def test_a_bug_s_traceback_is_a_field(journald: socket.socket, log: logging.Logger) -> None:
    try:
        raise ValueError("bug")
    except ValueError:
        log.exception("loop.ended name=%s", "lane")
    said = heard(journald)
    assert said["MESSAGE"] == "loop.ended name=lane"
    assert said["BUCIUM_TRACEBACK"].startswith("Traceback")


def test_a_journal_that_takes_nothing_holds_nobody_up(journald: socket.socket, log: logging.Logger) -> None:
    handler = of_journal(log)
    for _ in range(5000):
        log.info("lane.up node=%s", "x" * 2000)
    dropped = handler.dropped
    assert dropped > 0
    while True:
        try:
            journald.recv(65536)
        except BlockingIOError:
            break
    log.info("lane.up node=%s", "quay")
    assert heard(journald)["BUCIUM_DROPPED"] == str(dropped)
    assert handler.dropped == 0


def test_a_terminal_gets_text(tmp_path: Path) -> None:
    """And so does a pipe, also where a variable of somebody else's service says journal."""
    code = (
        "import logging; from lanes import logs; logs.begin('info'); logging.getLogger('l').info('a.b c=%s', 'x\\ny')"
    )
    environment = {**os.environ, "JOURNAL_STREAM": "1:2"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == "INFO l a.b c=x\\ny\n"
