"""STATE messages, and the numbers that must outlive a power cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cython_ext import WireError
from lanes.counterfile import BdSeqFile, CounterFile, StateTimeFile
from lanes.sparkplug import HostState, decode_state, encode_state
from lanes.store import run_here


@given(st.booleans(), st.integers(0, 2**63 - 1))
def test_a_state_comes_back(online, timestamp):
    assert decode_state(encode_state(HostState(online, timestamp))) == HostState(online, timestamp)


def test_a_state_is_what_the_standard_prints():
    assert encode_state(HostState(True, 1668114759262)) == b'{"online":true,"timestamp":1668114759262}'


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"ONLINE",  # Sparkplug 2.2
        b"\xff",
        b"[]",
        b"{}",
        b'{"online":1,"timestamp":1}',
        b'{"online":true}',
        b'{"online":true,"timestamp":true}',
        b'{"online":true,"timestamp":1.5}',
        b'{"online":true,"timestamp":NaN}',
        b'{"online":true,"timestamp":-1}',
        b'{"online":true,"timestamp":9223372036854775808}',
        b'{"online":true,"timestamp":1' + b" " * 300 + b"}",
        b"[" * 256,
    ],
)
def test_anything_else_is_refused(payload):
    with pytest.raises(WireError, match="state"):
        decode_state(payload)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_state_or_refused(payload):
    try:
        state = decode_state(payload)
    except WireError:
        return
    assert decode_state(encode_state(state)) == state


async def test_bdseq_begins_at_zero_counts_to_255_and_outlives_the_program(tmp_path):
    path = tmp_path / "bdseq"
    first = [await BdSeqFile(path, run_here).advance() for _ in range(258)]  # a new object each time: a restart
    assert first == [*range(256), 0, 1]


async def test_state_time_rises_when_the_clock_does_not(tmp_path):
    store = StateTimeFile(tmp_path / "state", run_here)
    assert [await store.advance(now) for now in (1000, 5000, 5000, 10)] == [1000, 5000, 5001, 5002]


@pytest.mark.parametrize("damage", [b"", b"x", b"-1", b"9" * 40, b"\x00\x00", b"99999999999999999999"])
async def test_a_damaged_file_is_as_none(tmp_path, damage):
    path = tmp_path / "n"
    path.write_bytes(damage)
    assert await CounterFile(path, run_here).read() is None
    assert await BdSeqFile(path, run_here).advance() == 0
    assert await CounterFile(path, run_here).read() == 0


async def test_a_disk_that_refuses_is_said(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        await CounterFile(tmp_path / "absent" / "n", run_here).write(1)


async def test_state_time_goes_on_in_memory_while_the_disk_refuses(tmp_path):
    store = StateTimeFile(tmp_path / "absent" / "state", run_here)
    assert [await store.advance(now) for now in (1000, 1000)] == [1000, 1001]
    (tmp_path / "absent").mkdir()
    assert await store.advance(5) == 1002
    assert await StateTimeFile(tmp_path / "absent" / "state", run_here).advance(5) == 1003
