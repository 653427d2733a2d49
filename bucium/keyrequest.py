"""The request by which a host asks to be known: public keys that it made itself, each proven, and a voucher for all of it.

    file = [ "bucium-keys-request", 1, body, { name: signature } ]
    body = { id, role, basis, keys: { live, exercise, test: public }, tls: PKCS #10, cap: PKCS #10, once }

Every signature is over the domain, its own name and SHA-256(body): of each signing key by itself (`live`, `exercise`, `test`),
and of the `voucher`: the key that a one-time token unlocks (basis `token`), or the key that has counted so far (basis `rotate`).
Private keys never leave the host; a token does not either: who reads a request learns nothing that opens anything.
"""

import base64
import binascii
import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from bucium.certcheck import public_of_request
from cython_ext import ConfigError, WireError
from cython_ext.topics import require_id
from lanes import cbor
from lanes.keys import PUBLIC_BYTES, Mode, SigningKey, verify

MAGIC: Final = "bucium-keys-request"
FORMAT: Final = 1
BYTES_MAX: Final = 16384  # three keys, two certificate requests and four signatures have some 1,300
DOMAIN: Final = b"bucium/1/keys/request\0"
TOKEN_DOMAIN: Final = b"bucium/1/keys/token\0"
TOKEN_BYTES: Final = 20  # 160 bits, 32 letters
MODES: Final = tuple(mode.name.lower() for mode in Mode)
ROLES: Final = ("node", "controller", "operator", "broker")
BASES: Final = ("token", "rotate")
TRIES: Final = 128


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for. `keys`: mode → raw public key; none for a broker, which signs nothing. `tls`, `cap`: DER, or empty."""

    id: str
    role: str
    basis: str
    keys: Mapping[str, bytes]
    tls: bytes = b""
    cap: bytes = b""
    once: bytes = b""

    @property
    def body(self) -> bytes:
        """The bytes that are signed."""
        return cbor.encode_document(
            {
                "id": self.id,
                "role": self.role,
                "basis": self.basis,
                "keys": dict(self.keys),
                "tls": self.tls,
                "cap": self.cap,
                "once": self.once,
            }
        )


@dataclass(frozen=True, slots=True)
class Opened:
    """A request whose keys are proven. Who vouches for it is for the authority to find out: `vouched`."""

    request: Request
    digest: str  # SHA-256 of the whole file, in hex
    vouched: bytes  # what the voucher has signed
    voucher: bytes  # its signature
    tls: EllipticCurvePublicKey | None
    cap: EllipticCurvePublicKey | None


def new_token() -> str:
    """A token as people write it: 160 random bits."""
    text = base64.b32encode(secrets.token_bytes(TOKEN_BYTES)).decode().lower()
    return "-".join(text[at : at + 4] for at in range(0, len(text), 4))


def key_of_token(token: str, name: str, role: str) -> SigningKey:
    """The key that the token unlocks for this id and role: for another one it is another key. ConfigError: no token."""
    try:
        raw = base64.b32decode("".join(token.split()).replace("-", "").upper())
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != TOKEN_BYTES:
        raise ConfigError("this is no token; an admin makes one with: bucium keys token ID --role ROLE")
    return SigningKey.from_seed(hashlib.sha256(TOKEN_DOMAIN + f"{name}\0{role}\0".encode() + raw).digest())


def seal(request: Request, keys: Mapping[str, SigningKey], voucher: Callable[[bytes], bytes]) -> bytes:
    """The request's file."""
    body = request.body
    proofs = {mode: key.sign(_signed(mode, body)) for mode, key in keys.items()}
    proofs["voucher"] = voucher(_signed("voucher", body))
    return cbor.encode_document([MAGIC, FORMAT, body, proofs])


def open_request(data: bytes) -> Opened:
    """The request of a file, each of its keys proven; ConfigError says what is wrong with it."""
    if len(data) > BYTES_MAX:
        raise ConfigError(f"a request has at most {BYTES_MAX} bytes")
    try:
        match cbor.decode_document(data):
            case [str(magic), int(form), bytes(body), dict(proofs)] if magic == MAGIC and form == FORMAT:
                request = _request(cbor.decode_document(body))
            case _:
                raise ConfigError("not a request; a host makes one with: bucium keys request")
    except WireError as error:
        raise ConfigError(f"not a request ({error}); a host makes one with: bucium keys request") from None
    if set(proofs) != {*request.keys, "voucher"} or not all(isinstance(each, bytes) for each in proofs.values()):
        raise ConfigError(f"the request of {request.id} does not prove each of its keys")
    for mode, public in request.keys.items():
        if _is_weak(public):
            raise ConfigError(f"the {mode} key of {request.id} is weak: anybody could sign for it")
        if not verify(public, proofs[mode], _signed(mode, body)):
            raise ConfigError(f"the {mode} key of {request.id} is not proven: its signature is wrong")
    tls = public_of_request(request.tls) if request.tls else None
    cap = public_of_request(request.cap) if request.cap else None
    if tls is not None and tls == cap:
        raise ConfigError(f"the request of {request.id} has one key for TLS and CAP; each has its own")
    digest = hashlib.sha256(data).hexdigest()
    return Opened(request, digest, _signed("voucher", body), proofs["voucher"], tls, cap)


def _signed(name: str, body: bytes) -> bytes:
    return DOMAIN + name.encode() + b"\0" + hashlib.sha256(body).digest()


def _request(document: Any) -> Request:
    """The body, with its types and its sense looked at."""
    match document:
        case {
            "id": str(name), "role": str(role), "basis": str(basis), "keys": dict(keys),
            "tls": bytes(tls), "cap": bytes(cap), "once": bytes(once), **rest,
        } if not rest:  # fmt: skip
            pass
        case _:
            raise ConfigError("not a request; a host makes one with: bucium keys request")
    try:
        require_id(name, "id")
    except ValueError as error:
        raise ConfigError(f"the request: {error}") from None
    if role not in ROLES or basis not in BASES:
        raise ConfigError(f"the request of {name} has an unknown role or basis")
    if set(keys) != (set() if role == "broker" else set(MODES)):
        raise ConfigError(f"the request of {name} must have one key each for {', '.join(MODES)}; a broker's has none")
    if not all(isinstance(each, bytes) and len(each) == PUBLIC_BYTES for each in keys.values()):
        raise ConfigError(f"a public key of {name} is not of {PUBLIC_BYTES} bytes")
    if len(set(keys.values())) < len(keys):
        raise ConfigError(f"the request of {name} has one key for two modes; none may become another")
    if not tls and role != "operator":
        raise ConfigError(f"the request of {name} has no certificate request")
    if cap and role != "controller":
        raise ConfigError(f"the request of {name} has a CAP key, which only a controller has")
    return Request(name, role, basis, keys, tls, cap, once)


def _is_weak(public: bytes) -> bool:
    """Whether a signature of nothing is good for this key: true of the points of small order, of order 8 at the most."""
    nothing = (1).to_bytes(32, "little") + bytes(32)
    return any(verify(public, nothing, number.to_bytes(2, "big")) for number in range(TRIES))
