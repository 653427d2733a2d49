"""Passkeys' assertions: what Yubico's library accepts we accept, what it refuses we refuse, and no changed bit counts."""

import hashlib
import json
from typing import Any

import pytest
from fido2.server import Fido2Server
from fido2.utils import websafe_encode
from fido2.webauthn import (
    AttestedCredentialData,
    AuthenticationResponse,
    AuthenticatorAssertionResponse,
    AuthenticatorData,
    CollectedClientData,
    PublicKeyCredentialRpEntity,
    UserVerificationRequirement,
)
from hypothesis import given
from hypothesis import strategies as st

from cython_ext import WireError
from lanes import cbor
from lanes.keys import Mode, Role
from lanes.orders import APPROVAL_BYTES_MAX
from lanes.passkeys import challenge_of, is_assertion, is_point, open_assertion, pack
from lanes.roster import Passkey, Roster, Signer
from tests.kit.passkeys import FLAG, ORIGIN, RP_ID, SURE, Authenticator, authenticator

DIGEST = bytes(range(32))
NONCES = (b"bootn1n1", b"bootn2n2")
PEOPLE = ("ana", "ion")  # ES256, Ed25519


def signer(person: str) -> Signer:
    public, where = authenticator(person).public, Passkey(RP_ID, ORIGIN)
    return Signer(person, Role.OPERATOR, Mode.LIVE, public, frozenset({"valea"}), passkey=where)


ROSTER = Roster([signer(person) for person in PEOPLE])


def yubico(key: Authenticator, challenge: bytes, found: tuple[AuthenticatorData, CollectedClientData, bytes]) -> bool:
    """Whether the independent implementation accepts it."""
    server = Fido2Server(PublicKeyCredentialRpEntity(id=RP_ID, name="t"), verify_origin=lambda origin: origin == ORIGIN)
    known = AttestedCredentialData.create(bytes(16), b"credential", key.cose)
    state = {"challenge": websafe_encode(challenge), "user_verification": UserVerificationRequirement.REQUIRED}
    authenticator_data, client_data, signature = found
    answer = AuthenticatorAssertionResponse(
        client_data=client_data, authenticator_data=authenticator_data, signature=signature
    )
    try:
        server.authenticate_complete(state, [known], AuthenticationResponse(raw_id=b"credential", response=answer))
    except ValueError:
        return False
    return True


def ours(key: Authenticator, challenge: bytes, found: tuple[Any, Any, bytes]) -> bool:
    data = pack(key.kid, (), bytes(found[0]), bytes(found[1]), found[2])
    try:
        return open_assertion(data, ROSTER).approves(challenge)
    except WireError:
        return False


@pytest.mark.parametrize("person", PEOPLE)
def test_an_assertion_is_a_yes_to_its_core_only(person: str) -> None:
    key = authenticator(person)
    found = open_assertion(key.approve(DIGEST), ROSTER)
    assert (found.signer.id, found.kid, found.challenge, found.nonces, found.count) == (person, key.kid, DIGEST, (), 1)
    assert found.approves(DIGEST)
    assert not found.approves(bytes(32))
    assert open_assertion(key.approve(DIGEST), ROSTER).count == 2


@pytest.mark.parametrize("person", PEOPLE)
def test_nonces_are_part_of_what_is_signed(person: str) -> None:
    key = authenticator(person)
    data = key.approve(DIGEST, NONCES)
    found = open_assertion(data, ROSTER)
    assert found.nonces == NONCES
    assert found.approves(DIGEST)
    assert challenge_of(DIGEST, NONCES) != DIGEST
    for other in ((), NONCES[:1], NONCES[::-1]):
        assert not open_assertion(key.approve(DIGEST, NONCES, quoted=other), ROSTER).approves(DIGEST)


WRONG: dict[str, dict[str, Any]] = {
    "another type": {"type": "webauthn.create"},
    "another page": {"origin": "https://alarms.town.example.evil"},
    "another port": {"origin": ORIGIN + ":8443"},
    "another party": {"rp_id": "evil.example"},
    "nobody present": {"flags": FLAG.UV},
    "nobody verified": {"flags": FLAG.UP},
}
RIGHT: dict[str, dict[str, Any]] = {
    "plain": {},
    "synced": {"flags": SURE | FLAG.BE | FLAG.BS, "count": 0},
    "what browsers add": {"more": {"other_keys_can_be_added_here": "do not compare"}},
    "extensions": {"flags": SURE | FLAG.ED, "extensions": {"x": True}},
}


@pytest.mark.parametrize("person", PEOPLE)
@pytest.mark.parametrize("name", [*WRONG, *RIGHT])
def test_we_judge_as_yubico_does(person: str, name: str) -> None:
    key = authenticator(person)
    found = key.get(DIGEST, **(WRONG | RIGHT)[name])
    assert yubico(key, DIGEST, found) is ours(key, DIGEST, found) is (name in RIGHT)
    assert not yubico(key, bytes(32), found)
    assert not ours(key, bytes(32), found)


def raw(flags: int, client: bytes, count: int = 1, more: bytes = b"") -> bytes:
    """An assertion of ana's whose bytes no library would make."""
    key = authenticator("ana")
    heads = hashlib.sha256(RP_ID.encode()).digest() + flags.to_bytes(1, "big") + count.to_bytes(4, "big") + more
    return pack(key.kid, (), heads, client, key.sign(heads + hashlib.sha256(client).digest()))


def client(**changes: Any) -> bytes:
    said = {"type": "webauthn.get", "challenge": websafe_encode(DIGEST), "origin": ORIGIN, **changes}
    return json.dumps({name: value for name, value in said.items() if value is not None}).encode()


STRICTER: dict[str, tuple[bytes, str]] = {
    "within another page": (raw(SURE, client(crossOrigin=True)), "another page"),
    "under another page": (raw(SURE, client(topOrigin="https://evil.example")), "another page"),
    "crossOrigin is no truth": (raw(SURE, client(crossOrigin=0)), "another page"),
    "backed up, not eligible": (raw(SURE | FLAG.BS, client()), "make no sense"),
    "attested data": (raw(SURE | FLAG.AT, client()), "make no sense"),
    "extensions that are not there": (raw(SURE | FLAG.ED, client()), "do not agree"),
    "extensions that nobody says": (raw(SURE, client(), more=b"\xa0"), "do not agree"),
    "not JSON": (raw(SURE, b"\xff\xfe"), "not JSON"),
    "a list": (raw(SURE, b"[]"), "not of type"),
    "nested": (raw(SURE, b"[" * 200), "not JSON"),
    "no challenge": (raw(SURE, client(challenge=None)), "the challenge"),
    "a number for a challenge": (raw(SURE, client(challenge=7)), "the challenge"),
    "a short challenge": (raw(SURE, client(challenge="AAAA")), "the challenge"),
    "another alphabet": (raw(SURE, client(challenge="+" * 43)), "the challenge"),
    "too many members": (raw(SURE, client(**{str(n): n for n in range(16)})), "not of type"),
    "cut off": (pack(authenticator("ana").kid, (), bytes(36), client(), bytes(70)), "too short"),
}


def test_the_raw_form_is_right_when_nothing_is_wrong() -> None:
    assert open_assertion(raw(SURE, client()), ROSTER).approves(DIGEST)


@pytest.mark.parametrize("name", STRICTER)
def test_what_we_refuse_beyond_that(name: str) -> None:
    data, says = STRICTER[name]
    with pytest.raises(WireError, match=says):
        open_assertion(data, ROSTER)


def test_another_s_key_and_a_key_that_nobody_has() -> None:
    ana, ion, eva = (authenticator(person) for person in ("ana", "ion", "eva"))
    with pytest.raises(WireError, match="claims ana"):
        open_assertion(ion.approve(DIGEST, kid=ana.kid), ROSTER)
    with pytest.raises(WireError, match="no passkey"):
        open_assertion(eva.approve(DIGEST), ROSTER)


def test_a_passkey_signs_no_envelope_and_a_key_no_assertion() -> None:
    found = ROSTER.passkey(authenticator("ion").kid)
    assert found is not None
    assert ROSTER.find(found.kid) is None
    plain = Signer("ion", Role.OPERATOR, Mode.LIVE, authenticator("ion").public, frozenset({"valea"}))
    with pytest.raises(WireError, match="no passkey"):
        open_assertion(authenticator("ion").approve(DIGEST), Roster([plain]))
    revoked = Roster([signer("ana")], [authenticator("ana").kid])
    with pytest.raises(WireError, match="no passkey"):
        open_assertion(authenticator("ana").approve(DIGEST), revoked)


@pytest.mark.parametrize("person", PEOPLE)
def test_no_changed_bit_counts(person: str) -> None:
    data = authenticator(person).approve(DIGEST, NONCES)
    assert len(data) <= APPROVAL_BYTES_MAX
    for bit in range(len(data) * 8):
        bent = bytearray(data)
        bent[bit // 8] ^= 1 << (bit % 8)
        try:
            assert not open_assertion(bytes(bent), ROSTER).approves(DIGEST), bit
        except WireError:
            continue


@given(st.binary(max_size=500))
def test_hostile_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        open_assertion(data, ROSTER)


@given(
    st.lists(
        st.one_of(st.integers(), st.binary(max_size=90), st.text(max_size=9), st.lists(st.binary(max_size=9))),
        min_size=6,
        max_size=6,
    )
)
def test_hostile_fields_are_refused(row: list[Any]) -> None:
    try:
        data = cbor.encode(row)
    except (OverflowError, ValueError):
        return
    assert is_assertion(data)
    with pytest.raises(WireError):
        open_assertion(data, ROSTER)


def test_an_assertion_too_long_for_an_order_says_so() -> None:
    with pytest.raises(WireError, match="at most 448"):
        authenticator("ana").approve(DIGEST, more={"padding": "x" * 400})


def test_points() -> None:
    assert is_point(authenticator("ana").public)
    assert not is_point(b"\x02" + b"\xff" * 32)
    assert not is_point(bytes(33))
