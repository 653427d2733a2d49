"""The envelope of the alarm lane: COSE_Sign1 (RFC 9052, Ed25519) over deterministic CBOR (design §2.1).

    COSE_Sign1 = 18([ protected, {}, payload, signature ])
    protected  = << {1: -8, 4: kid} >>                        all headers protected, the algorithm fixed
    payload    = << [version, kind, issuer, addressee, boot, counter, issued_us, plan_version, epoch, body
                     (, not_after_us for orders and approvals)] >>
    external_aad = "bucium/1/" lane "/" kind                  no message is valid elsewhere

The receiver bounds the size, decodes, re-encodes and refuses bytes that differ, all before it verifies. Written here and not
taken from a library because these sixty lines are the trust of the whole network: `cwt` accepts a trailing byte and added
unprotected headers, and costs the node 3 MiB; it stands in the tests as the second implementation.
"""

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any, Final, Protocol

import cbor2

from cython_ext import WireError
from cython_ext.topics import ID_PATTERN, valid_id

from . import cbor
from .keys import KID_BYTES, SIGNATURE_BYTES, SigningKey, verify
from .roster import Signer

VERSION: Final = 1
BOOT_BYTES: Final = 8
SMALL_BYTES_MAX: Final = 300  # reports, acks, stops, beats: one packet on a 9.6 kbit/s link
ORDER_BYTES_MAX: Final = 2048  # start orders with approvals and evidence
CHUNK_BYTES_MAX: Final = 800  # a piece of a plan: under 0.7 s of a 9.6 kbit/s link, for which an order may have to wait
NOT_AFTER_MAX_US: Final = 60_000_000  # an order lives at most 60 s
_COSE_SIGN1: Final = 18
_ALG_EDDSA: Final = -8


class Kind(IntEnum):
    """What a message is. On the wire: never renumber."""

    EVENT = 1
    STATE = 2
    ACK = 3
    ORDER = 4
    APPROVAL = 5
    BEAT = 6
    PLAN = 7
    ACT = 8  # a person's act at a service's control socket
    CHUNK = 9  # a piece of a plan
    WANT = 10  # how much of it the node has
    RESET = 11  # a person's reset of a latched point, carried to its node


_LANE: Final = {
    Kind.EVENT: "report",
    Kind.STATE: "report",
    Kind.ACK: "order",
    Kind.ORDER: "order",
    Kind.APPROVAL: "order",
    Kind.CHUNK: "order",
    Kind.WANT: "report",
    Kind.RESET: "order",
    Kind.BEAT: "beat",
    Kind.PLAN: "plan",
    Kind.ACT: "act",
}
_EXPIRING: Final = frozenset({Kind.ORDER, Kind.APPROVAL, Kind.ACT, Kind.RESET})
_BYTES_MAX: Final = dict.fromkeys(Kind, SMALL_BYTES_MAX) | {
    Kind.ORDER: ORDER_BYTES_MAX,
    Kind.ACT: ORDER_BYTES_MAX,
    Kind.CHUNK: CHUNK_BYTES_MAX,
    Kind.RESET: ORDER_BYTES_MAX,
}


class Refused(StrEnum):
    """Why a message was refused. Counted and journaled under this word."""

    OVERSIZED = "oversized"
    MALFORMED = "malformed"
    VERSION = "version"
    UNKNOWN_KEY = "unknown-key"
    SIGNATURE = "signature"
    ISSUER = "issuer"  # the key is not the named issuer's
    ADDRESSEE = "addressee"


@dataclass(frozen=True, slots=True)
class Envelope:
    """What every message says beside its body. Times are UTC microseconds; `not_after_us` 0: does not expire."""

    kind: Kind
    issuer: str
    addressee: str
    boot: bytes
    counter: int
    issued_us: int
    plan_version: int
    epoch: int
    body: Any
    not_after_us: int = 0


@dataclass(frozen=True, slots=True)
class Opened:
    """A message whose bytes, form, key and signature are right. What it may do is for its receiver to decide."""

    envelope: Envelope
    signer: Signer
    data: bytes


@dataclass(frozen=True, slots=True)
class Refusal:
    """A message that is not ours, and why. A value: bad input is ordinary."""

    why: Refused
    detail: str = ""


class KeyFinder(Protocol):
    """What `open_envelope` needs of a roster."""

    def find(self, kid: bytes) -> Signer | None: ...


def seal(envelope: Envelope, key: SigningKey) -> bytes:
    """The signed bytes of `envelope`. Raises WireError ('oversized') when it breaks the size rule of its kind."""
    payload = cbor.encode(_fields(envelope))
    protected = _protected(key.kid)
    signature = key.sign(_to_sign(protected, envelope.kind, payload))
    data = _cose(protected, payload, signature)
    if len(data) > _BYTES_MAX[envelope.kind]:
        raise WireError("oversized", f"{envelope.kind.name} of {len(data)} bytes, at most {_BYTES_MAX[envelope.kind]}")
    return data


def open_envelope(data: bytes, finder: KeyFinder) -> Opened | Refusal:
    """Check size, form, determinism, key, signature and issuer, in this order. Never raises on hostile bytes."""
    if len(data) > ORDER_BYTES_MAX:
        return Refusal(Refused.OVERSIZED, f"{len(data)} bytes")
    try:
        protected, payload, signature = _split(data)
        kid = _kid(protected)
        envelope = _parse(cbor.decode(payload))
    except WireError as error:
        why = Refused.VERSION if error.code == "version" else Refused.MALFORMED
        return Refusal(why, str(error))
    if len(data) > _BYTES_MAX[envelope.kind]:
        return Refusal(Refused.OVERSIZED, f"{envelope.kind.name} of {len(data)} bytes")
    signer = finder.find(kid)
    if signer is None:
        return Refusal(Refused.UNKNOWN_KEY, kid.hex())
    if not verify(signer.public, signature, _to_sign(protected, envelope.kind, payload)):
        return Refusal(Refused.SIGNATURE, f"claims {signer.id}")
    if signer.id != envelope.issuer:
        return Refusal(Refused.ISSUER, f"{signer.id} signed as {envelope.issuer}")
    return Opened(envelope, signer, data)


def peek(data: bytes) -> Envelope | None:
    """The unverified fields, for tools that show a message; None when the bytes are no envelope."""
    try:
        return _parse(cbor.decode(_split(data)[1]))
    except WireError:
        return None


def _protected(kid: bytes) -> bytes:
    return cbor.encode({1: _ALG_EDDSA, 4: kid})


def _to_sign(protected: bytes, kind: Kind, payload: bytes) -> bytes:
    aad = f"bucium/{VERSION}/{_LANE[kind]}/{kind.name.lower()}".encode()
    return cbor.encode(["Signature1", protected, aad, payload])


def _cose(protected: bytes, payload: bytes, signature: bytes) -> bytes:
    return cbor.encode(cbor2.CBORTag(_COSE_SIGN1, [protected, {}, payload, signature]))


def _split(data: bytes) -> tuple[bytes, bytes, bytes]:
    if data[:1] != b"\xd2":  # tag 18; what follows is plain and is checked as such
        raise WireError("malformed", "not a COSE_Sign1")
    parts = cbor.decode(data[1:])
    if not (isinstance(parts, list) and len(parts) == 4 and parts[1] == {}):
        raise WireError("malformed", "not a COSE_Sign1 with an empty unprotected map")
    protected, _, payload, signature = parts
    if not all(isinstance(part, bytes) for part in (protected, payload, signature)):
        raise WireError("malformed", "a part is not a byte string")
    if len(signature) != SIGNATURE_BYTES:
        raise WireError("malformed", "the signature has not 64 bytes")
    return protected, payload, signature


def _kid(protected: bytes) -> bytes:
    header = cbor.decode(protected)
    if not (isinstance(header, dict) and set(header) == {1, 4} and header[1] == _ALG_EDDSA):
        raise WireError("malformed", "protected header is not {1: EdDSA, 4: kid}")
    kid = header[4]
    if not (isinstance(kid, bytes) and len(kid) == KID_BYTES):
        raise WireError("malformed", "kid has not 8 bytes")
    return kid


def _fields(envelope: Envelope) -> list[Any]:
    e = envelope
    fields = [
        VERSION,
        int(e.kind),
        e.issuer,
        e.addressee,
        e.boot,
        e.counter,
        e.issued_us,
        e.plan_version,
        e.epoch,
        e.body,
    ]
    return [*fields, e.not_after_us] if e.kind in _EXPIRING else fields


def _parse(fields: Any) -> Envelope:
    if not isinstance(fields, list) or not fields:
        raise WireError("malformed", "payload is not a list")
    if fields[0] != VERSION or isinstance(fields[0], bool):
        raise WireError("version", f"version {str(fields[0])[:16]}, this program speaks {VERSION}")
    if len(fields) < 10:
        raise WireError("malformed", "payload is too short")
    try:
        kind = Kind(_natural(fields[1]))
    except ValueError:
        raise WireError("malformed", "unknown kind") from None
    if len(fields) != (11 if kind in _EXPIRING else 10):
        raise WireError("malformed", f"{kind.name} has {len(fields)} fields")
    issuer, addressee, boot = fields[2], fields[3], fields[4]
    if not (isinstance(issuer, str) and valid_id(issuer) and isinstance(addressee, str)):
        raise WireError("malformed", f"issuer and addressee must match {ID_PATTERN}")
    if addressee and not valid_id(addressee):
        raise WireError("malformed", f"addressee must match {ID_PATTERN}")
    if not (isinstance(boot, bytes) and len(boot) == BOOT_BYTES):
        raise WireError("malformed", f"boot id has not {BOOT_BYTES} bytes")
    counter, issued_us, plan_version, epoch = (_natural(fields[at]) for at in (5, 6, 7, 8))
    not_after_us = _natural(fields[10]) if kind in _EXPIRING else 0
    return Envelope(kind, issuer, addressee, boot, counter, issued_us, plan_version, epoch, fields[9], not_after_us)


def _natural(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 63:
        raise WireError("malformed", "a number is not a natural number below 2^63")
    return value
