"""The envelope: what is sealed opens, and nothing else does; a second implementation reads the same bytes."""

import cbor2
import pytest
from cwt import COSE, COSEKey
from hypothesis import given, settings
from hypothesis import strategies as st

from cython_ext import WireError
from lanes import cbor
from lanes.envelope import (
    ORDER_BYTES_MAX,
    SMALL_BYTES_MAX,
    Envelope,
    Kind,
    Opened,
    Refusal,
    Refused,
    open_envelope,
    peek,
    seal,
)
from lanes.keys import Mode, Role, SigningKey
from lanes.roster import Roster, Signer
from tests.kit.messages import envelopes

KEY = SigningKey.from_seed(b"k" * 32)
OTHER = SigningKey.from_seed(b"o" * 32)


def roster(signer: str = "n1", key: SigningKey = KEY) -> Roster:
    return Roster([Signer(signer, Role.NODE, Mode.LIVE, key.public)])


def event(**changes) -> Envelope:
    fields = {"kind": Kind.EVENT, "issuer": "n1", "addressee": "c1", "boot": bytes(8), "counter": 1, "issued_us": 2}
    return Envelope(**(fields | {"plan_version": 3, "epoch": 0, "body": [1]} | changes))


@given(envelopes())
def test_what_is_sealed_opens_as_it_was(envelope):
    opened = open_envelope(seal(envelope, KEY), roster(envelope.issuer))
    assert isinstance(opened, Opened)
    assert opened.envelope == envelope
    assert opened.signer.public == KEY.public


def test_every_bit_flipped_is_refused():
    data = seal(event(), KEY)
    for bit in range(len(data) * 8):
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        assert isinstance(open_envelope(bytes(broken), roster()), Refusal), bit


@settings(max_examples=300)
@given(st.binary(max_size=400))
def test_any_bytes_are_refused_and_never_raise(data):
    assert isinstance(open_envelope(data, roster()), Refusal)
    assert isinstance(open_envelope(b"\xd2\x84" + data, roster()), Refusal)
    peek(data)


def test_a_second_implementation_verifies_our_bytes():
    envelope = event(body=[1, 2, 3])
    aad = b"bucium/1/report/event"
    key = COSEKey.new({1: 1, 2: KEY.kid, 3: -8, -1: 6, -2: KEY.public})
    payload = COSE.new().decode(seal(envelope, KEY), key, external_aad=aad)
    assert cbor2.loads(payload)[9] == [1, 2, 3]


def test_we_verify_a_second_implementations_bytes():
    envelope = event(body=[7])
    payload = cbor2.loads(seal(envelope, KEY)).value[2]
    private = KEY.private.private_bytes_raw()
    key = COSEKey.new({1: 1, 2: KEY.kid, 3: -8, -1: 6, -2: KEY.public, -4: private})
    data = COSE.new().encode(
        payload, key, protected={1: -8, 4: KEY.kid}, unprotected={}, external_aad=b"bucium/1/report/event"
    )
    opened = open_envelope(data, roster())
    assert isinstance(opened, Opened)
    assert opened.envelope == envelope


def repack(data: bytes, change) -> bytes:
    parts = cbor2.loads(data).value
    return cbor2.dumps(cbor2.CBORTag(18, change(*parts)), canonical=True)


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (lambda d: d + b"\0", Refused.MALFORMED),
        (lambda d: d[:-1], Refused.MALFORMED),
        (lambda d: repack(d, lambda p, u, b, s: [p, {4: b"x"}, b, s]), Refused.MALFORMED),
        (lambda d: repack(d, lambda p, u, b, s: [p, u, b, s[:-1]]), Refused.MALFORMED),
        (lambda d: repack(d, lambda p, u, b, s: [cbor.encode({1: -7, 4: KEY.kid}), u, b, s]), Refused.MALFORMED),
        (lambda d: repack(d, lambda p, u, b, s: [cbor.encode({1: -8, 4: OTHER.kid}), u, b, s]), Refused.UNKNOWN_KEY),
        (lambda d: repack(d, lambda p, u, b, s: [p, u, b.replace(b"n1", b"n2"), s]), Refused.SIGNATURE),
        (lambda d: b"\xd2" + b"\x81" * 60 + b"\0", Refused.MALFORMED),
        (lambda d: b"\xd2" + b"x" * ORDER_BYTES_MAX, Refused.OVERSIZED),
        (lambda d: repack(d, lambda p, u, b, s: [p, u, cbor.encode([2, *cbor.decode(b)[1:]]), s]), Refused.VERSION),
    ],
)
def test_what_is_broken_is_refused_by_its_name(broken, why):
    refusal = open_envelope(broken(seal(event(), KEY)), roster())
    assert isinstance(refusal, Refusal)
    assert refusal.why is why


def test_a_longer_form_of_the_same_value_is_refused():
    data = seal(event(counter=1), KEY)
    parts = cbor2.loads(data).value
    longer = parts[2].replace(bytes(8) + b"\x01", bytes(8) + b"\x18\x01", 1)  # 1 written in two bytes
    assert longer != parts[2]
    assert cbor2.loads(longer) == cbor2.loads(parts[2])
    refusal = open_envelope(cbor2.dumps(cbor2.CBORTag(18, [parts[0], {}, longer, parts[3]])), roster())
    assert isinstance(refusal, Refusal)
    assert refusal.why is Refused.MALFORMED


def test_nobody_signs_for_another():
    refusal = open_envelope(seal(event(), OTHER), Roster([Signer("n2", Role.NODE, Mode.LIVE, OTHER.public)]))
    assert isinstance(refusal, Refusal)
    assert refusal.why is Refused.ISSUER


def test_no_kind_is_valid_as_another():
    parts = cbor2.loads(seal(event(), KEY)).value
    fields = cbor.decode(parts[2])
    fields[1] = int(Kind.STATE)
    data = cbor2.dumps(cbor2.CBORTag(18, [parts[0], {}, cbor.encode(fields), parts[3]]), canonical=True)
    refusal = open_envelope(data, roster())
    assert isinstance(refusal, Refusal)
    assert refusal.why is Refused.SIGNATURE


def test_the_size_rule_holds_both_ways():
    with pytest.raises(WireError, match="oversized"):
        seal(event(body=[bytes(SMALL_BYTES_MAX)]), KEY)
    order = event(kind=Kind.ORDER, body=[bytes(1700)], not_after_us=5)
    assert isinstance(open_envelope(seal(order, KEY), roster()), Opened)


def test_revoked_keys_are_unknown():
    signer = Signer("n1", Role.NODE, Mode.LIVE, KEY.public)
    refusal = open_envelope(seal(event(), KEY), Roster([signer], [signer.kid]))
    assert isinstance(refusal, Refusal)
    assert refusal.why is Refused.UNKNOWN_KEY
