"""The DC-09 codec: golden frames, byte for byte, and against two codecs that are not ours, siadc09 and pysiaalarm."""

from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pysiaalarm import SIAAccount, SIAEvent
from siadc09 import account as their_account
from siadc09 import message as siadc09
from siadc09 import util

from controller.dispatch.dc09 import frame
from controller.dispatch.dc09.frame import Frame, Malformed, decode, encode, take

AT_S = int(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp())
KEY = b"0123456789ABCDEF"

# domain.md §5.2: made with siadc09 1.0.1 and accepted by pysiaalarm 3.2.2.
GOLDEN = [
    (b'\n41830027"NULL"0000L0#1234[]_03:04:05,01-02-2026\r', Frame("NULL", 0, "1234", "0", None, stamp_s=AT_S)),
    (
        b'\n35980035"SIA-DCS"0001L0#1234[#1234|NFA01]_03:04:05,01-02-2026\r',
        Frame("SIA-DCS", 1, "1234", "0", None, b"#1234|NFA01", stamp_s=AT_S),
    ),
    (
        b'\n96B4003B"ADM-CID"0002L0#1234[#1234|1110 01 001]_03:04:05,01-02-2026\r',
        Frame("ADM-CID", 2, "1234", "0", None, b"#1234|1110 01 001", stamp_s=AT_S),
    ),
    (b'\n4A4E0026"ACK"0001L0#1234[]_03:04:05,01-02-2026\r', Frame("ACK", 1, "1234", "0", None, stamp_s=AT_S)),
    (b'\n224B0025"NAK"0000L0#000[]_03:04:05,01-02-2026\r', Frame("NAK", 0, "000", "0", None, stamp_s=AT_S)),
    (b'\n251F0012"DUH"0001L0#1234[]\r', Frame("DUH", 1, "1234", "0", None)),
]

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
HEX = st.text("0123456789ABCDEF", min_size=1, max_size=6)
FIELD = st.binary(max_size=60).map(lambda data: data.translate(None, b"[]|\r\n"))
FRAMES = st.builds(
    Frame,
    token=st.sampled_from(["SIA-DCS", "ADM-CID", "NULL", "ACK"]),
    sequence=st.integers(0, 9999),
    account=st.text("0123456789ABCDEF", min_size=3, max_size=16),
    prefix=HEX,
    receiver=st.none() | HEX,
    data=FIELD,
    extended=st.lists(FIELD.map(lambda text: b"I" + text), max_size=3).map(tuple),
    stamp_s=st.integers(946_684_800, 4_102_444_800),
)
KEYS = st.none() | st.sampled_from([16, 24, 32]).flatmap(lambda size: st.binary(min_size=size, max_size=size))


@pytest.mark.parametrize(("raw", "said"), GOLDEN)
def test_golden_frames_both_ways(raw: bytes, said: Frame) -> None:
    assert encode(said) == raw
    assert decode(raw) == said


@PATIENT
@given(FRAMES, KEYS)
def test_what_is_written_is_read(said: Frame, key: bytes | None) -> None:
    raw = encode(said, key)
    got = decode(raw, key)
    assert got.encrypted is (key is not None)
    assert [getattr(got, name) for name in Frame.__slots__[:-1]] == [
        getattr(said, name) for name in Frame.__slots__[:-1]
    ]


@PATIENT
@given(FRAMES, KEYS)
def test_siadc09_reads_what_we_write(said: Frame, key: bytes | None) -> None:
    theirs = siadc09.parse_frame(encode(said, key), key)
    assert (theirs.idtoken, theirs.seq, theirs.encrypted) == (said.token, said.sequence, key is not None)
    assert theirs.account.acct == int(said.account, 16)
    assert (theirs.account.pref or 0) == int(said.prefix, 16)
    assert theirs.account.rcvr == (None if said.receiver is None else int(said.receiver, 16))
    assert int(theirs.timestamp.timestamp()) == said.stamp_s
    if said.token in ("SIA-DCS", "ADM-CID"):  # theirs keeps no data of the others
        assert theirs.pack_data() == said.data
        assert theirs.pack_xdata() == b"".join(b"[" + each + b"]" for each in said.extended)


@PATIENT
@given(
    st.sampled_from(["AckMessage", "NullMessage"]),
    st.integers(0x100, 0xFFFF_FFFF_FFFF_FFFF),
    st.none() | st.integers(0, 0xFFFFFF),
    st.integers(0, 9999),
    KEYS,
)
def test_we_read_what_siadc09_writes(
    kind: str, account: int, prefix: int | None, sequence: int, key: bytes | None
) -> None:
    who = their_account.Account(acct=account, pref=prefix, rcvr=7, key=key)
    at = datetime.fromtimestamp(AT_S, UTC)
    theirs = getattr(siadc09, kind)(who, seqno=sequence, timestamp=at) if kind == "NullMessage" else None
    theirs = theirs or siadc09.AckMessage(who, sequence, at)
    got = decode(theirs.encode(), key)
    assert (got.sequence, got.stamp_s, got.encrypted) == (sequence, AT_S, key is not None)
    assert (int(got.account, 16), int(got.prefix, 16), got.receiver) == (account, prefix or 0, "7")


@pytest.mark.parametrize("key", [None, KEY, KEY + KEY[:8], KEY + KEY], ids=str)
@pytest.mark.parametrize("data", [b"#1234|Nri1/WA001", b"#1234|NFA000"])
def test_pysiaalarm_reads_what_we_write_and_we_read_its_answer(key: bytes | None, data: bytes) -> None:
    account = SIAAccount("1234", key.decode() if key else None)
    now_s = int(datetime.now(UTC).timestamp())
    for receiver in ("0", None):  # without a receiver number its answer holds the text "NoneL0"
        said = Frame("SIA-DCS", 42, "1234", "0", receiver, data, (b"IFlood",), now_s)
        line = encode(said, key).decode("ascii").strip()
        event = SIAEvent.from_line(line, {"1234": account})
        assert event.valid_message
        assert event.valid_timestamp
        assert (event.code, event.sequence, event.account) == (data[-5:-3].decode(), "0042", "1234")
        answer = decode(event.create_response(), key)
        assert (answer.token, answer.sequence, answer.account, answer.encrypted) == ("ACK", 42, "1234", bool(key))


def test_pysiaalarm_s_nak_has_no_account_and_is_read() -> None:
    said = Frame("SIA-DCS", 42, "1234", "0", None, b"#1234|NFA001", (), AT_S)
    event = SIAEvent.from_line(encode(said).decode("ascii").strip(), {"1234": SIAAccount("1234")})
    raw = event.create_response()
    assert b'"NAK"0000NoneL0A0[]' in raw
    answer = decode(raw)
    assert (answer.token, answer.sequence, answer.account) == ("NAK", 0, "0")
    assert abs((answer.stamp_s or 0) - datetime.now(UTC).timestamp()) < 60


def test_the_pad_is_16_to_31_bytes_and_ends_no_field() -> None:
    for length in range(40):
        asked: list[int] = []

        def pad(count: int, asked: list[int] = asked) -> bytes:
            asked.append(count)
            return frame.random_pad(count)

        encode(Frame("SIA-DCS", 1, "1234", data=b"x" * length, stamp_s=AT_S), KEY, pad)
        assert 16 <= asked[0] <= 31
    assert not set(frame.random_pad(100_000)) & set(b"[]|")
    assert len(set(frame.random_pad(100_000))) == 253


def test_no_two_encrypted_frames_are_alike() -> None:
    said = Frame("SIA-DCS", 1, "1234", data=b"#1234|NFA001", stamp_s=AT_S)
    assert len({encode(said, KEY) for _ in range(50)}) == 50


@pytest.mark.parametrize(
    "wrong",
    [
        Frame("SIA-DCS", 1, "12"),
        Frame("SIA-DCS", 1, "12345678901234567"),
        Frame("SIA-DCS", 1, "12X4"),
        Frame("SIA-DCS", 10_000, "1234"),
        Frame("SIA-DCS", 1, "1234", ""),
        Frame("SIA-DCS", 1, "1234", "0", "1234567"),
        Frame("SIA-DCS", 1, "1234", data=b"a]b"),
        Frame("SIA-DCS", 1, "1234", extended=(b"I[",)),
        Frame("SIA-DCS", 1, "1234", data=b"x" * 5000),
    ],
)
def test_what_is_no_frame_is_not_written(wrong: Frame) -> None:
    with pytest.raises(ValueError, match=r"."):
        encode(wrong)


def test_an_encrypted_frame_needs_a_stamp() -> None:
    with pytest.raises(ValueError, match="stamp"):
        encode(Frame("NULL", 0, "1234"), KEY)


def framed(body: bytes) -> bytes:
    return b"\n%04X%04X%b\r" % (util.crc(body), len(body), body)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "form"),
        (b"\n\r", "form"),
        (b'"ACK"', "form"),
        (b"\nHTTP/1.1 400 Bad Request\r", "form"),
        (b'\n4A4F0026"ACK"0001L0#1234[]_03:04:05,01-02-2026\r', "crc"),
        (b'\nZZZZ0026"ACK"0001L0#1234[]_03:04:05,01-02-2026\r', "form"),
        (b'\n4A4E0025"ACK"0001L0#1234[]_03:04:05,01-02-2026\r', "length"),
        (b'\n4A4E+026"ACK"0001L0#1234[]_03:04:05,01-02-2026\r', "length"),
        (framed(b'"ACK"0001#1234[]'), "address"),
        (framed(b'"ACK"0001NoneL#1234[]'), "address"),
        (framed(b'"ACK"001L0#1234[]'), "form"),
        (framed(b'"ACK"0001L0#1234'), "form"),
        (framed(b'"ACK"0001L0#1234[]_25:61:00,13-40-2026'), "stamp"),
        (framed(b'"ACK"0001L0#1234[]_yesterday'), "stamp"),
        (framed(b'"ACK"0001L0#1234[][x'), "form"),
        (framed(b'"*ACK"0001L0#1234[00112233'), "form"),
        (framed(b'"*ACK"0001L0#1234[' + b"00" * 32), "key"),
        (framed(b'"*ACK"0001L0#1234[' + b"0" * 4096), "length"),
        (encode(Frame("ACK", 1, "1234", stamp_s=AT_S), b"another key 0123"), "key"),
    ],
)
def test_what_cannot_be_used_says_why(raw: bytes, why: str) -> None:
    with pytest.raises(Malformed) as caught:
        decode(raw, KEY)
    assert caught.value.why == why


def test_an_encrypted_answer_without_a_key_cannot_be_read() -> None:
    with pytest.raises(Malformed, match="key"):
        decode(encode(Frame("ACK", 1, "1234", stamp_s=AT_S), KEY))


def test_a_crc_of_two_raw_bytes_is_borne() -> None:
    body = b'"ACK"0001R0L0#1234[]'
    raw = b"\n" + util.crc(body).to_bytes(2, "big") + b"%04X" % len(body) + body + b"\r"
    assert decode(raw).token == "ACK"
    assert take(bytearray(raw)) == raw
    with pytest.raises(Malformed, match="crc"):
        decode(b"\n\x00\x00" + raw[3:])


@PATIENT
@given(FRAMES, KEYS, st.data())
def test_a_frame_with_any_bit_turned_is_refused_or_says_the_same(
    said: Frame, key: bytes | None, draw: st.DataObject
) -> None:
    raw = bytearray(encode(said, key))
    place = draw.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= 1 << draw.draw(st.integers(0, 7))
    try:
        got = decode(bytes(raw), key)
    except Malformed:
        return
    assert place in range(1, 9), "only the case of a hex digit in the head may differ"
    assert (got.token, got.sequence, got.account, got.data) == (said.token, said.sequence, said.account, said.data)


@PATIENT
@given(st.binary(max_size=300) | st.binary(max_size=200).map(lambda tail: b'\n41830027"NULL"' + tail), KEYS)
def test_no_bytes_do_harm(raw: bytes, key: bytes | None) -> None:
    for data in (raw, framed(raw), framed(b'"ACK"0001L0#1234[' + raw)):
        try:
            decode(data, key)
        except Malformed as error:
            assert error.why in {"form", "length", "crc", "address", "stamp", "key"}
        buffer = bytearray(data)
        try:
            while take(buffer) is not None:
                pass
        except Malformed as error:
            assert error.why in {"form", "length"}
        assert len(buffer) <= len(data)


@PATIENT
@given(st.lists(FRAMES, min_size=1, max_size=4), st.lists(st.integers(1, 40), min_size=1, max_size=30))
def test_frames_come_whole_out_of_a_stream_in_any_pieces(frames: list[Frame], sizes: list[int]) -> None:
    stream = b"".join(encode(each) + b"noise" for each in frames)
    buffer, got = bytearray(), []
    while stream:
        size = sizes[len(got) % len(sizes)]
        buffer += stream[:size]
        stream = stream[size:]
        while (raw := take(buffer)) is not None:
            got.append(decode(raw))
    assert got == frames
