"""A person's yes by passkey: a WebAuthn assertion (W3C Level 2, §7.2) over an order core, verified at the siren (design §2.4).

    approval  = [ 1, kid, [nonce, …], authenticator data, client data, signature ]         deterministic CBOR, at most 448 bytes
    challenge = the core's SHA-256; with nonces the SHA-256 of "bucium-passkey/1" ‖ core's SHA-256 ‖ nonces
    signature = of the authenticator's key over: authenticator data ‖ SHA-256(client data)

The plan's roster binds the key to its person, mode, zones, and to one relying party and one page (`rp_id`, `origin`). Checked are
the type, the challenge, the origin, that no other page embeds it, the relying party's hash, that the person was present and
verified (UP, UV), and the signature: ES256 on P-256, or Ed25519. Such a yes lasts as long as the core that it signs. The
signature counter is the receiver's to compare: an authenticator that counts never counts back.
"""

import base64
import hashlib
import json
import re
import struct
from dataclasses import dataclass
from typing import Any, Final

from cython_ext import WireError

from . import cbor, fields
from .keys import KID_BYTES, P256_BYTES, verify
from .orders import APPROVAL_BYTES_MAX, NONCES_MAX
from .roster import Roster, Signer

VERSION: Final = 1
TYPE: Final = "webauthn.get"
DOMAIN: Final = b"bucium-passkey/1"
_HEADS: Final = struct.Struct(">32sBI")  # relying party's hash, flags, signature counter
_PRESENT, _VERIFIED, _ELIGIBLE, _BACKED_UP, _ATTESTED, _EXTENDED = 0x01, 0x04, 0x08, 0x10, 0x40, 0x80
_SIGNATURE_BYTES_MAX: Final = 80  # DER of two 32-byte numbers has at most 72
_CLIENT_KEYS_MAX: Final = 16
_BASE64URL: Final = re.compile("[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class Assertion:
    """An assertion whose form, key, origin, presence and signature are right. Which order it is for says `challenge`."""

    signer: Signer
    kid: bytes
    challenge: bytes
    nonces: tuple[bytes, ...]
    count: int  # the authenticator's signature counter; 0: it does not count

    def approves(self, digest: bytes) -> bool:
        """Whether this is a yes to the order core of that SHA-256."""
        return self.challenge == challenge_of(digest, self.nonces)


def is_assertion(data: bytes) -> bool:
    """Whether these bytes mean to be one, and not an envelope: a list of six."""
    return data[:1] == b"\x86"


def challenge_of(digest: bytes, nonces: tuple[bytes, ...] = ()) -> bytes:
    """What the authenticator is asked to sign."""
    return hashlib.sha256(DOMAIN + digest + b"".join(nonces)).digest() if nonces else digest


def pack(
    kid: bytes, nonces: tuple[bytes, ...], authenticator_data: bytes, client_data: bytes, signature: bytes
) -> bytes:
    """The approval of what a browser's `navigator.credentials.get` gave. WireError when it is too long."""
    data = cbor.encode([VERSION, kid, list(nonces), authenticator_data, client_data, signature])
    if len(data) > APPROVAL_BYTES_MAX:
        raise WireError("oversized", f"an assertion of {len(data)} bytes, at most {APPROVAL_BYTES_MAX}")
    return data


def open_assertion(data: bytes, roster: Roster) -> Assertion:
    """The assertion, or WireError with why it does not count. Never raises anything else on hostile bytes."""
    if len(data) > APPROVAL_BYTES_MAX:
        raise WireError("oversized", f"{len(data)} bytes")
    version, kid, nonces, authenticator, client, signature = fields.row(cbor.decode(data), 6, "assertion")
    if version != VERSION or isinstance(version, bool):
        raise WireError("version", f"version {str(version)[:16]}, this program speaks {VERSION}")
    signer = roster.passkey(fields.octets(kid, "kid", KID_BYTES))
    if signer is None or signer.passkey is None:
        raise WireError("unknown-key", "no passkey of the plan's roster")
    authenticator = fields.blob(authenticator, "authenticator data", APPROVAL_BYTES_MAX)
    client = fields.blob(client, "client data", APPROVAL_BYTES_MAX)
    signature = fields.blob(signature, "signature", _SIGNATURE_BYTES_MAX)
    quoted = fields.many(nonces, NONCES_MAX, "nonces", lambda v: fields.octets(v, "nonce", 8))
    count = _authenticator(authenticator, signer.passkey.rp_id)
    challenge = _client(client, signer.passkey.origin)
    if not _verify(signer.public, signature, authenticator + hashlib.sha256(client).digest()):
        raise WireError("signature", f"claims {signer.id}")
    return Assertion(signer, kid, challenge, quoted, count)


def _authenticator(data: bytes, rp_id: str) -> int:
    """The counter, when the relying party and the flags are right."""
    if len(data) < _HEADS.size:
        raise WireError("malformed", "authenticator data is too short")
    party, flags, count = _HEADS.unpack_from(data)
    if party != hashlib.sha256(rp_id.encode()).digest():
        raise WireError("relying-party", f"not for {rp_id}")
    if not flags & _PRESENT or not flags & _VERIFIED:
        raise WireError("unverified", "the person was not present, or not verified")
    if flags & _ATTESTED or (flags & _BACKED_UP and not flags & _ELIGIBLE):
        raise WireError("malformed", f"flags {flags:#04x} make no sense in an assertion")
    if (len(data) > _HEADS.size) != bool(flags & _EXTENDED):
        raise WireError("malformed", "extension data and its flag do not agree")
    return int(count)


def _client(data: bytes, origin: str) -> bytes:
    """The challenge, when type and page are right."""
    try:
        said: Any = json.loads(data.decode())
    except (ValueError, RecursionError):
        raise WireError("malformed", "client data is not JSON") from None
    if not isinstance(said, dict) or len(said) > _CLIENT_KEYS_MAX or said.get("type") != TYPE:
        raise WireError("malformed", f"client data is not of type {TYPE}")
    if said.get("origin") != origin:
        raise WireError("origin", f"signed on {str(said.get('origin'))[:60]!r}, not on {origin}")
    if said.get("crossOrigin", False) is not False or "topOrigin" in said:
        raise WireError("origin", "signed within another page")
    text = said.get("challenge")
    if not isinstance(text, str) or not _BASE64URL.fullmatch(text):
        raise WireError("malformed", "the challenge is not 32 bytes in base64url")
    return base64.urlsafe_b64decode(text + "=")


def _verify(public: bytes, signature: bytes, data: bytes) -> bool:
    if len(public) != P256_BYTES:
        return verify(public, signature, data)
    from cryptography.exceptions import InvalidSignature  # loaded with the first passkey: most nodes never meet one
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public)
        key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return True


def is_point(public: bytes) -> bool:
    """Whether this is a compressed point of P-256."""
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public)
    except ValueError:
        return False
    return len(public) == P256_BYTES
