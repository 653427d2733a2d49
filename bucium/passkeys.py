"""A person's passkey for the plan's roster: from what the browser gave when it was made, to a [[key]] table."""

import base64
import binascii
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from pydantic import ValidationError

from cython_ext import ConfigError
from lanes.keys import kid_of
from lanes.plan_keys import Key

_ADVICE: Final = "give what the browser's response.getPublicKey() gave, in base64 or base64url (ES256 or Ed25519)"


def public_of(text: str) -> bytes:
    """The key as a roster has it, of its SubjectPublicKeyInfo in base64 or base64url; ConfigError when it is none of ours."""
    plain = text.strip().replace("-", "+").replace("_", "/").rstrip("=")
    try:
        key = load_der_public_key(base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True))
    except (binascii.Error, ValueError, UnsupportedAlgorithm):
        raise ConfigError(f"this is no public key; {_ADVICE}") from None
    if isinstance(key, Ed25519PublicKey):
        return key.public_bytes_raw()
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    raise ConfigError(f"this is a public key of another kind; {_ADVICE}")


def entry(public: bytes, person: str, mode: str, zones: tuple[str, ...], centre: str, rp_id: str, origin: str) -> str:
    """The [[key]] table; ConfigError when the plan would refuse it."""
    place = {"rp_id": rp_id, "origin": origin}
    heads = {"public": public.hex(), "signer": person, "role": "operator", "mode": mode}
    try:
        Key.model_validate(heads | {"zones": list(zones), "centre": centre, "passkey": place})
    except ValidationError as error:
        raise ConfigError(str(error.errors()[0]["msg"])) from None
    named = ", ".join(f'"{zone}"' for zone in zones)
    lines = [
        "[[key]]",
        f'public = "{public.hex()}"  # kid {kid_of(public).hex()}',
        f'signer = "{person}"',
        'role = "operator"',
        f'mode = "{mode}"',
        f"zones = [{named}]",
        *([f'centre = "{centre}"'] if centre else []),
        f'passkey = {{ rp_id = "{rp_id}", origin = "{origin}" }}',
    ]
    return "\n".join(lines) + "\n"
