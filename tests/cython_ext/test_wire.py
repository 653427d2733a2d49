"""The wire against protobuf, both ways, and against bytes that are wrong."""

import math

import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cython_ext.errors import WireError
from cython_ext.faults import FAULTS
from cython_ext.model import Status
from cython_ext.payload import Carrier, DataType, Metric, Payload, Property, Quality, quality_of
from cython_ext.wire import decode, encode, typed
from tests.kit.sparkplug_oracle import MESSAGES, oracle_decode, oracle_encode
from tests.kit.sparkplug_strategies import carrier_of, damaged, metrics, payloads, value_of

CODES = {code for code, _ in FAULTS[1:]}


def check(data: bytes) -> None:
    """Refused with a known word, or read as protobuf reads it."""
    try:
        ours: Payload | WireError = decode(data)
    except WireError as error:
        ours = error
    if isinstance(ours, WireError):
        assert ours.code in CODES
    else:
        assert repr(ours) == repr(oracle_decode(data))


@given(payloads)
@settings(max_examples=120)
def test_encodes_the_same_bytes_as_protobuf(payload):
    assert encode(payload) == oracle_encode(payload)


@given(payloads)
@settings(max_examples=120)
def test_decodes_what_protobuf_wrote(payload):
    assert repr(decode(oracle_encode(payload))) == repr(payload)  # repr: a NaN is a NaN


@given(damaged(payloads.map(oracle_encode)))
@settings(max_examples=400)
def test_what_is_accepted_protobuf_reads_the_same(data):
    check(data)


@given(st.binary(max_size=200))
@settings(max_examples=400)
def test_any_bytes_are_decoded_or_refused(data):
    check(data)


@given(damaged(payloads.map(oracle_encode)))
def test_what_protobuf_refuses_is_refused(data):
    try:
        oracle_decode(data)
    except (DecodeError, ValueError):
        with pytest.raises(WireError):
            decode(data)


@given(payloads)
def test_datatypes_can_be_left_out_and_come_back_from_the_birth(payload):
    again = decode(encode(payload, datatypes=False))
    for metric, said in zip(again.metrics, payload.metrics, strict=True):
        assert metric.datatype is None
        assert repr(typed(metric, said.datatype)) == repr(said.value)


@given(metrics(), st.sampled_from([d for d in DataType if carrier_of(d) is not Carrier.BYTES]))
def test_a_value_is_never_read_as_another_kind(metric, datatype):
    bare = decode(encode(Payload(metrics=(metric,)), datatypes=False)).metrics[0]
    if metric.value is not None and carrier_of(metric.datatype) is not carrier_of(datatype):
        with pytest.raises(WireError, match="carrier"):
            typed(bare, datatype)


def test_typed_holds_to_the_datatype_that_came():
    metric = Metric(name="a", datatype=DataType.INT32, value=1)
    assert typed(metric, DataType.INT32) == 1
    with pytest.raises(WireError, match="datatype"):
        typed(metric, DataType.INT16)
    with pytest.raises(WireError, match="range"):
        typed(Metric(name="a", value=300, carrier=Carrier.INT), DataType.UINT8)
    assert typed(Metric(name="a", value=0xFFFFFFFB, carrier=Carrier.INT), DataType.INT8) == -5


def metric(*fields: bytes) -> bytes:
    """A payload of one metric made of raw fields, with the name `a`."""
    body = b"\x0a\x01a" + b"".join(fields)
    return b"\x12" + bytes([len(body)]) + body


@pytest.mark.parametrize(
    ("code", "data"),
    [
        ("size", b"\x2a\xfe\xff\x03" + bytes(65534)),
        ("truncated", b"\x08"),
        ("truncated", b"\x12\x05\x0a\x01a"),
        ("truncated", metric(b"\x65\x00\x00")),
        ("varint", b"\x08" + b"\xff" * 10),
        ("varint", b"\x08" + b"\x80" * 9 + b"\x02"),
        ("varint", b"\x08" + b"\x80" * 100),
        ("field", b"\x00\x00"),
        ("field", b"\xf8\xff\xff\xff\x7f\x00"),
        ("type", b"\x0a\x00"),
        ("type", b"\x33\x34"),  # a group
        ("type", metric(b"\x08\x01")),  # the name as a number is found before it is found twice
        ("repeated", b"\x08\x01\x08\x01"),
        ("repeated", metric(b"\x50\x01\x58\x01")),
        ("range", metric(b"\x50\x80\x80\x80\x80\x10")),  # 2^32 in int_value
        ("range", metric(b"\x70\x02")),  # a boolean that is neither
        ("range", metric(b"\x20\x05\x50\x80\x02")),  # 256 as UInt8
        ("range", metric(b"\x20\x01\x50\x80\x01")),  # 128 as Int8
        ("name", b"\x12\x02\x50\x01"),
        ("name", b"\x12\x04\x0a\x00\x50\x01"),
        ("utf8", b"\x12\x05\x0a\x01\xff\x50\x01"),
        ("metrics", (b"\x12\x05\x0a\x01a\x38\x01" * 2049)),
        ("carrier", metric(b"\x20\x09\x50\x01")),
        ("null", metric(b"\x38\x01\x50\x01")),
        ("value", metric()),
        ("seq", b"\x18\x80\x02"),
        ("datatype", metric(b"\x20\x23\x50\x01")),
        ("datatype", metric(b"\x20\x00\x50\x01")),
        ("properties", metric(b"\x4a\x03\x0a\x01q\x50\x01")),
        ("properties", metric(b"\x38\x01\x4a\x33" + b"\x0a\x01q" * 17)),
    ],
)
def test_each_fault_has_its_word(code, data):
    with pytest.raises(WireError) as refused:
        decode(data)
    if code == "type" and refused.value.code == "repeated":
        return
    assert refused.value.code == code


def test_the_limits_themselves_are_allowed():
    assert len(decode(b"\x12\x05\x0a\x01a\x38\x01" * 2048).metrics) == 2048
    assert len(decode(b"\x2a\xfc\xff\x03" + bytes(65532)).body or b"") == 65532
    assert decode(b"\x08" + b"\xff" * 9 + b"\x01").timestamp == 2**64 - 1
    assert decode(encode(Payload(metrics=(Metric(name="é" * 127, is_null=True),)))).metrics[0].name == "é" * 127


def test_fields_we_do_not_know_are_passed_over():
    known = encode(Payload(timestamp=7, seq=1))
    for unknown in (b"\x30\x05", b"\x39" + bytes(8), b"\x3d" + bytes(4), b"\x32\x02hi"):
        assert decode(known + unknown) == decode(known)


def test_metadata_is_passed_over():
    message = MESSAGES["Payload"]()
    one = message.metrics.add(name="a", is_null=True)
    one.metadata.content_type = "text/plain"
    assert decode(message.SerializeToString()) == Payload(metrics=(Metric(name="a", is_null=True),))


@pytest.mark.parametrize(
    ("code", "payload"),
    [
        ("seq", Payload(seq=256)),
        ("range", Payload(timestamp=-1)),
        ("range", Payload(metrics=(Metric(alias=2**64, is_null=True),))),
        ("range", Payload(metrics=(Metric(name="a", datatype=DataType.INT8, value=128),))),
        ("range", Payload(metrics=(Metric(name="a", datatype=DataType.UINT16, value=-1),))),
        ("range", Payload(metrics=(Metric(name="a", datatype=DataType.FLOAT, value=1e300),))),
        ("value", Payload(metrics=(Metric(name="a", datatype=DataType.INT8, value=1.5),))),
        ("value", Payload(metrics=(Metric(name="a", datatype=DataType.BOOLEAN, value=1),))),
        ("value", Payload(metrics=(Metric(name="a", datatype=DataType.DOUBLE, value=True),))),
        ("value", Payload(metrics=(Metric(name="a"),))),
        ("null", Payload(metrics=(Metric(name="a", is_null=True, value=1),))),
        ("name", Payload(metrics=(Metric(is_null=True),))),
        ("name", Payload(metrics=(Metric(name="", is_null=True),))),
        ("name", Payload(metrics=(Metric(name="a" * 256, is_null=True),))),
        ("utf8", Payload(metrics=(Metric(name="\ud800", is_null=True),))),
        ("datatype", Payload(metrics=(Metric(name="a", value=1),))),
        ("size", Payload(body=bytes(65536))),
        ("size", Payload(body=bytes(300_000))),
        ("metrics", Payload(metrics=(Metric(name="a", is_null=True),) * 2049)),
        (
            "properties",
            Payload(metrics=(Metric(name="a", is_null=True, properties=(Property("q", DataType.INT32, 1),) * 17),)),
        ),
    ],
)
def test_what_cannot_be_sent_is_refused(code, payload):
    with pytest.raises(WireError) as refused:
        encode(payload)
    assert refused.value.code == code


@given(st.sampled_from(sorted(set(DataType) - {DataType.PROPERTY_SET, DataType.PROPERTY_SET_LIST})), st.data())
def test_every_datatype_comes_back(datatype, data):
    value = data.draw(value_of(datatype))
    metric = decode(encode(Payload(metrics=(Metric(name="a", datatype=datatype, value=value),)))).metrics[0]
    assert repr((metric.datatype, metric.value)) == repr((datatype, value))


@example(math.nan)
@example(-math.inf)
@given(st.floats())
def test_every_double_comes_back(value):
    metric = decode(encode(Payload(metrics=(Metric(name="a", datatype=DataType.DOUBLE, value=value),)))).metrics[0]
    assert repr(metric.value) == repr(value)


def test_quality_says_what_the_status_says():
    assert quality_of(Status.OK) is Quality.GOOD
    assert quality_of(Status.TEST | Status.CLOCK_UNTRUSTED | Status.HISTORICAL) is Quality.GOOD
    assert quality_of(Status.MISSING) is Quality.STALE
    assert quality_of(Status.MISSING | Status.LOOP_FAULT) is Quality.BAD
    assert quality_of(Status.SENTINEL) is quality_of(Status.DEVICE_FAULT) is Quality.BAD


def test_properties_are_found_by_key():
    said = Metric(name="a", is_null=True, properties=(Property("q", DataType.INT32, -1),))
    metric = decode(encode(Payload(metrics=(said,)))).metrics[0]
    assert metric.property("q") == -1
    assert metric.property("other") is None
