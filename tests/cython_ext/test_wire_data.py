"""The judged path against the plain one: same bytes, `decode` and a few lines of Python."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cython_ext.errors import WireError
from cython_ext.faults import FAULTS
from cython_ext.model import Status
from cython_ext.payload import NUMBERS, DataType, Metric, Payload, Property, Quality, quality_of
from cython_ext.wire import decode, encode, typed
from cython_ext.wire_data import AliasTable, decode_data, sequence
from tests.kit.sparkplug_strategies import U64, carrier_of, damaged, value_of

RECORD = struct.Struct("<qdIHH")
NOW_NS = 5_000_000_000_000
CODES = {code for code, _ in FAULTS[1:]}
BORN = {  # alias → (datatype, point)
    alias: (datatype, None if alias % 5 == 4 else alias * 10) for alias, datatype in enumerate(sorted(NUMBERS), start=1)
} | {2**63 + 5: (DataType.DOUBLE, 7), 50: (DataType.STRING, None)}
NAMED = {"Node/Name": (DataType.STRING, None), "level": (DataType.FLOAT, 3)}


def table() -> AliasTable:
    made = AliasTable()
    for alias, (datatype, point) in BORN.items():
        made.bind(alias, datatype, point)
    for name, (datatype, point) in NAMED.items():
        made.bind(None, datatype, point, name)
    return made


def number_of(metric: Metric, key: str) -> int | None:
    """The last whole-number property of that name."""
    found = [p.value for p in metric.properties if p.key == key and type(p.value) is int]
    return found[-1] if found else None


def status_of(metric: Metric) -> Status:
    quality, number = number_of(metric, "Quality"), number_of(metric, "Status") or 0
    if quality not in (None, *Quality):
        raise WireError("quality")
    if not 0 <= number <= 127:
        raise WireError("range")
    status = said = Status(number)
    if quality == 0 and not said & (Status.SENTINEL | Status.LOOP_FAULT | Status.DEVICE_FAULT):
        status |= Status.DEVICE_FAULT
    if quality == 500:
        status |= Status.MISSING
    if metric.is_null:
        status |= Status.MISSING
    return status | (Status.HISTORICAL if metric.is_historical else Status.OK)


def plain(data: bytes) -> list[tuple[int, float, int, int, int]]:
    """What `decode_data` must give, the slow way."""
    payload = decode(data)
    records = []
    for metric in payload.metrics:
        born = BORN.get(metric.alias) if metric.alias is not None else NAMED.get(metric.name)
        if born is None:
            raise WireError("alias")
        value = typed(metric, born[0])
        status = status_of(metric)
        if born[1] is None:
            continue
        age_ms = 0
        if payload.timestamp is not None and metric.timestamp is not None:
            age_ms = min(max(payload.timestamp - metric.timestamp, 0), 60_000)
        number = float("nan") if value is None else float(value)
        records.append((NOW_NS - age_ms * 1_000_000, number, born[1], int(status), 0))
    return records


@st.composite
def data_metrics(draw: st.DrawFn) -> Metric:
    alias = draw(st.sampled_from(sorted(BORN)) | st.none())
    name = None if alias is not None else draw(st.sampled_from(sorted(NAMED)))
    datatype = BORN[alias][0] if alias is not None else NAMED[name][0]
    null = draw(st.booleans())
    properties: tuple[Property, ...] = ()
    if draw(st.booleans()):
        status = Status(draw(st.integers(0, 127)))
        properties = (Property("Quality", DataType.INT32, int(quality_of(status))),)
        if draw(st.booleans()):
            properties += (Property("Status", DataType.INT32, int(status)), Property("x", DataType.DOUBLE, 1.0))
    return Metric(
        name=name,
        alias=alias,
        timestamp=draw(st.none() | st.integers(1_700_000_000_000, 1_700_000_070_000) | U64),
        datatype=datatype,
        value=None if null else draw(value_of(datatype)),
        is_null=null,
        is_historical=draw(st.booleans()),
        properties=properties,
    )


data_payloads = st.tuples(
    st.builds(
        Payload,
        timestamp=st.none() | st.just(1_700_000_060_000) | U64,
        metrics=st.lists(data_metrics(), max_size=20).map(tuple),
        seq=st.none() | st.integers(0, 255),
    ),
    st.booleans(),
).map(lambda two: encode(two[0], datatypes=two[1]))


def both(data: bytes) -> None:
    """The two paths agree, on the records or on the refusal."""
    try:
        expected: list[tuple[int, float, int, int, int]] | str = plain(data)
    except WireError as error:
        expected = error.code
    try:
        found: list[tuple[int, float, int, int, int]] | str = list(
            RECORD.iter_unpack(decode_data(data, table(), NOW_NS))
        )
    except WireError as error:
        found = error.code
    if isinstance(found, str):
        assert found in CODES
        assert isinstance(expected, str), (found, expected)  # two faults may be found in another order
    elif isinstance(expected, str):
        assert expected == "utf8"  # text is not read on the judged path
    else:
        assert repr(found) == repr(expected)


@given(data_payloads)
@settings(max_examples=300)
def test_records_are_what_the_plain_path_says(data):
    assert repr(list(RECORD.iter_unpack(decode_data(data, table(), NOW_NS)))) == repr(plain(data))


@given(damaged(data_payloads))
@settings(max_examples=400)
def test_damaged_bytes_are_judged_alike(data):
    both(data)


@given(st.binary(max_size=100))
@settings(max_examples=300)
def test_any_bytes_are_judged_or_refused(data):
    both(data)


@given(damaged(data_payloads))
def test_sequence_reads_what_decode_reads(data):
    try:
        payload = decode(data)
    except WireError:
        return
    assert sequence(data) == (-1 if payload.seq is None else payload.seq)


def test_a_sequence_that_cannot_be_is_refused():
    for code, data in (("seq", b"\x18\x80\x02"), ("truncated", b"\x12\x05"), ("size", bytes(65537))):
        with pytest.raises(WireError) as refused:
            sequence(data)
        assert refused.value.code == code


def one(**fields: object) -> bytes:
    return encode(Payload(timestamp=1000, metrics=(Metric(alias=10, **fields),)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("code", "data"),
    [
        ("alias", encode(Payload(metrics=(Metric(alias=99, datatype=DataType.DOUBLE, value=1.0),)))),
        ("alias", encode(Payload(metrics=(Metric(name="other", datatype=DataType.DOUBLE, value=1.0),)))),
        ("datatype", one(datatype=DataType.FLOAT, value=1.0)),
        ("carrier", encode(Payload(metrics=(Metric(alias=10, datatype=DataType.FLOAT, value=1.0),)), datatypes=False)),
        (
            "quality",
            one(datatype=DataType.DOUBLE, value=1.0, properties=(Property("Quality", DataType.INT32, 193),)),
        ),
        ("range", one(datatype=DataType.DOUBLE, value=1.0, properties=(Property("Status", DataType.INT32, 128),))),
        ("size", bytes(65537)),
        ("metrics", b"\x12\x04\x10\x0a\x38\x01" * 2049),
    ],
)
def test_refused_whole_with_its_word(code, data):
    with pytest.raises(WireError) as refused:
        decode_data(data, table(), NOW_NS)
    assert refused.value.code == code


def test_a_sample_is_as_old_as_the_sender_says_within_a_minute():
    def at(timestamp: int | None) -> int:
        data = one(datatype=DataType.DOUBLE, value=1.0, timestamp=timestamp)
        return int(RECORD.unpack(decode_data(data, table(), NOW_NS))[0])

    assert at(1000) == NOW_NS
    assert at(999) == NOW_NS - 1_000_000
    assert at(2000) == NOW_NS  # from the future: now
    assert at(None) == NOW_NS
    assert at(0) == NOW_NS - 1_000_000_000
    late = encode(Payload(timestamp=10**9, metrics=(Metric(alias=10, timestamp=0, is_null=True),)))
    assert RECORD.unpack(decode_data(late, table(), NOW_NS))[0] == NOW_NS - 60_000_000_000


def test_the_payload_timestamp_may_come_last():
    metric = encode(Payload(metrics=(Metric(alias=10, timestamp=999, is_null=True),)))
    assert RECORD.unpack(decode_data(metric + b"\x08\xe8\x07", table(), NOW_NS))[0] == NOW_NS - 1_000_000


def test_many_metrics_grow_the_buffer_once_and_keep_their_order():
    metrics = tuple(Metric(alias=10, datatype=DataType.DOUBLE, value=float(i)) for i in range(1500))
    data, bound = encode(Payload(timestamp=1, metrics=metrics)), table()
    for _ in range(3):
        assert [r[1] for r in RECORD.iter_unpack(decode_data(data, bound, NOW_NS))] == [float(i) for i in range(1500)]


def test_a_table_takes_a_thousand_hostile_aliases():
    bound = AliasTable()
    aliases = [i << 32 for i in range(500)] + [2**64 - 1 - i for i in range(500)]
    for point, alias in enumerate(aliases):
        bound.bind(alias, DataType.DOUBLE, point)
    assert len(bound) == 1000
    metrics = tuple(Metric(alias=a, datatype=DataType.DOUBLE, value=0.5) for a in aliases)
    assert [r[2] for r in RECORD.iter_unpack(decode_data(encode(Payload(metrics=metrics)), bound, 0))] == list(
        range(1000)
    )


@given(
    st.lists(st.text(min_size=1, max_size=9).filter(str.isprintable), unique=True, max_size=200), st.text(max_size=9)
)
@settings(max_examples=60)
def test_names_without_an_alias_are_found_by_their_bytes(names, other):
    bound = AliasTable()
    for point, name in enumerate(names):
        bound.bind(None, DataType.DOUBLE, point, name)
    assert len(bound) == len(names)
    said = encode(Payload(metrics=tuple(Metric(name=n, datatype=DataType.DOUBLE, value=0.5) for n in reversed(names))))
    assert [r[2] for r in RECORD.iter_unpack(decode_data(said, bound, 0))] == list(reversed(range(len(names))))
    for name in names:
        with pytest.raises(WireError, match="born twice"):
            bound.bind(None, DataType.DOUBLE, 0, name)
    if other.isprintable() and other and other not in names:
        with pytest.raises(WireError) as refused:
            decode_data(encode(Payload(metrics=(Metric(name=other, datatype=DataType.DOUBLE, value=1.0),))), bound, 0)
        assert refused.value.code == "alias"


def test_a_birth_that_contradicts_itself_is_refused():
    bound = table()
    for code, arguments in (
        ("repeated", (10, DataType.DOUBLE)),
        ("repeated", (None, DataType.DOUBLE, None, "level")),
        ("datatype", (60, DataType.STRING, 1)),
        ("datatype", (60, DataType.PROPERTY_SET)),
        ("name", (None, DataType.DOUBLE)),
        ("name", (None, DataType.DOUBLE, None, "")),
        ("name", (None, DataType.DOUBLE, None, "é" * 128)),
    ):
        with pytest.raises(WireError) as refused:
            bound.bind(*arguments)
        assert refused.value.code == code
    with pytest.raises(ValueError, match="negative"):
        bound.bind(61, DataType.DOUBLE, -1)


def test_the_status_bits_are_those_of_the_model():
    assert (Status.MISSING, Status.DEVICE_FAULT, Status.HISTORICAL) == (1, 8, 32)
    assert sum(Status) == 127


def test_carriers_of_the_kit_cover_every_datatype():
    assert all(carrier_of(d) for d in DataType)
