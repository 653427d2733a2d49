"""Deterministic CBOR: one value, one byte string."""

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cython_ext import WireError
from lanes import cbor
from tests.kit.messages import plain


@given(plain)
def test_round_trip(value):
    data = cbor.encode(value)
    assert cbor.decode(data) == value
    assert cbor2.loads(data) == value


@given(st.binary(max_size=60))
def test_any_bytes_decode_to_their_own_encoding_or_are_refused(data):
    try:
        value = cbor.decode(data)
    except WireError:
        return
    assert cbor.encode(value) == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x18\x01",  # 1 in two bytes
        b"\x01\x00",  # a trailing byte
        b"\xbf\xff",  # a map without length
        b"\xc1\x00",  # a tagged time
        b"\xd8\x23\x61\x2e",  # a tagged regular expression
        b"\xd8\x1c\x81\xd8\x1d\x00",  # a list that contains itself
        b"\xa2\x02\x01\x01\x01",  # keys out of order
        b"\xa2\x01\x01\x01\x02",  # a key twice
        b"\xa1\x61\x61\x01",  # a text key
        b"\x81" * 9 + b"\x01",  # too deep
        b"\x9a\xff\xff\xff\xff",  # a list of four thousand million
        b"\xf7",  # undefined
        b"\xfb\x3f\xf0\x00\x00\x00\x00\x00\x00",  # 1.0, longer than it need be
        b"\xc2\x49\x01\x00\x00\x00\x00\x00\x00\x00\x00",  # a large number
    ],
)
def test_what_is_not_deterministic_or_not_ours_is_refused(data):
    with pytest.raises(WireError):
        cbor.decode(data)


def test_documents_may_have_text_keys():
    assert cbor.decode_document(cbor.encode_document({"b": 1, "aa": 2})) == {"b": 1, "aa": 2}
