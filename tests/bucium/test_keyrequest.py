"""The request's file: whatever is changed in it, it is refused."""

import contextlib

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from bucium import certificates
from bucium.keyrequest import MODES, Request, key_of_token, new_token, open_request, seal
from cython_ext import ConfigError
from lanes import cbor
from lanes.keys import SigningKey, verify

KEYS = {mode: SigningKey.from_seed(bytes([number]) * 32) for number, mode in enumerate(MODES)}
VOUCHER = SigningKey.from_seed(b"v" * 32)
TLS = certificates.request(certificates.new_key(), "quay").public_bytes(Encoding.DER)
REQUEST = Request("quay", "node", "token", {mode: key.public for mode, key in KEYS.items()}, TLS, once=bytes(16))
DATA = seal(REQUEST, KEYS, VOUCHER.sign)


def vouched(data: bytes) -> bool:
    opened = open_request(data)
    return verify(VOUCHER.public, opened.voucher, opened.vouched)


def test_what_was_sealed_is_opened() -> None:
    opened = open_request(DATA)
    assert opened.request == REQUEST
    assert vouched(DATA)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(DATA) - 1), st.integers(1, 255))
def test_no_byte_can_be_changed(place: int, flip: int) -> None:
    data = bytearray(DATA)
    data[place] ^= flip
    with contextlib.suppress(ConfigError):
        assert not vouched(bytes(data))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_what_is_no_request_is_refused_in_a_line(data: bytes) -> None:
    with pytest.raises(ConfigError) as refused:
        open_request(data)
    assert "\n" not in str(refused.value)


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none() | st.integers(0, 9) | st.text(max_size=5) | st.binary(max_size=33),
        lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=5), each, max_size=3),
    )
)
def test_a_body_of_any_form_is_refused_in_a_line(value: object) -> None:
    body = cbor.encode_document(
        {"id": "quay", "role": "node", "basis": "token", "keys": value, "tls": b"", "cap": b"", "once": b""}
    )
    for inner in (body, cbor.encode_document(value)):
        with pytest.raises(ConfigError):
            open_request(cbor.encode_document(["bucium-keys-request", 1, inner, {"voucher": bytes(64)}]))


def test_a_proof_is_of_its_own_place() -> None:
    magic, form, body, proofs = cbor.decode_document(DATA)
    swapped = proofs | {"live": proofs["test"], "test": proofs["live"]}
    with pytest.raises(ConfigError, match="not proven"):
        open_request(cbor.encode_document([magic, form, body, swapped]))


@settings(max_examples=50, deadline=None)
@given(st.sampled_from([" ", "", "a", "-" * 32, "abcd-", "ș" * 32, new_token() + "a", new_token()[:-1]]))
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="no token"):
        key_of_token(text, "quay", "node")


def test_a_token_is_read_as_people_write_it() -> None:
    token = new_token()
    keys = {
        key_of_token(text, "quay", "node").public
        for text in (token, token.upper(), f" {token}\n", token.replace("-", " "))
    }
    assert len(keys) == 1
    assert key_of_token(token, "quay", "broker").public not in keys
    assert key_of_token(token, "mill", "node").public not in keys
