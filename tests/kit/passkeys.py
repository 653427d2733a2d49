"""Software authenticators for tests, built with Yubico's `fido2`: keys from seeds, assertions as a browser would give them."""

import hashlib
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fido2.cose import ES256, CoseKey, EdDSA
from fido2.webauthn import AuthenticatorData, CollectedClientData

from lanes.keys import Mode, kid_of
from lanes.passkeys import challenge_of, pack

RP_ID = "town.example"
ORIGIN = "https://alarms.town.example"
FLAG = AuthenticatorData.FLAG
SURE = FLAG.UP | FLAG.UV


@dataclass
class Authenticator:
    """One passkey. `count` is its signature counter; 0 for ever: it does not count, as synced passkeys do not."""

    private: ec.EllipticCurvePrivateKey | Ed25519PrivateKey
    counts: bool = True
    count: int = field(default=0)

    @property
    def public(self) -> bytes:
        """As the plan's roster has it."""
        if isinstance(self.private, Ed25519PrivateKey):
            return self.private.public_key().public_bytes_raw()
        return self.private.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)

    @property
    def kid(self) -> bytes:
        return kid_of(self.public)

    @property
    def cose(self) -> CoseKey:
        kind = EdDSA if isinstance(self.private, Ed25519PrivateKey) else ES256
        return kind.from_cryptography_key(self.private.public_key())

    def sign(self, data: bytes) -> bytes:
        if isinstance(self.private, Ed25519PrivateKey):
            return self.private.sign(data)
        return self.private.sign(data, ec.ECDSA(hashes.SHA256()))

    def get(self, challenge: bytes, **changes: Any) -> tuple[AuthenticatorData, CollectedClientData, bytes]:
        """navigator.credentials.get. `changes`: rp_id, origin, flags, count, type, extensions, client (whole bytes), more."""
        if self.counts:
            self.count += 1
        party = hashlib.sha256(changes.get("rp_id", RP_ID).encode()).digest()
        count = changes.get("count", self.count)
        extensions = changes.get("extensions")
        authenticator = AuthenticatorData.create(party, changes.get("flags", SURE), count, extensions=extensions)
        client = CollectedClientData.create(
            changes.get("type", "webauthn.get"), challenge, changes.get("origin", ORIGIN), **changes.get("more", {})
        )
        if "client" in changes:
            client = CollectedClientData(changes["client"])
        return authenticator, client, self.sign(authenticator + client.hash)

    def approve(self, digest: bytes, nonces: tuple[bytes, ...] = (), **changes: Any) -> bytes:
        """A yes to an order core."""
        quoted = changes.pop("quoted", nonces)
        kid = changes.pop("kid", self.kid)
        authenticator, client, signature = self.get(challenge_of(digest, nonces), **changes)
        return pack(kid, quoted, bytes(authenticator), bytes(client), changes.get("signature", signature))


def authenticator(person: str, mode: Mode = Mode.LIVE) -> Authenticator:
    """The passkey of this person and mode, the same in each run: P-256, but Ed25519 for `ion`."""
    seed = hashlib.sha256(f"passkey/{person}/{mode.name}".encode()).digest()
    if person == "ion":
        return Authenticator(Ed25519PrivateKey.from_private_bytes(seed))
    return Authenticator(ec.derive_private_key(int.from_bytes(seed, "big") >> 1, ec.SECP256R1()))


def passkey_entry(person: str, mode: Mode, zones: tuple[str, ...], centre: str = "") -> str:
    """One `[[key]]` of the roster as TOML."""
    named = str(list(zones)).replace("'", '"')
    return (
        f'\n[[key]]\npublic = "{authenticator(person, mode).public.hex()}"\nsigner = "{person}"\nrole = "operator"\n'
        f'mode = "{mode.name.lower()}"\nzones = {named}\ncentre = "{centre}"\n'
        f'passkey = {{ rp_id = "{RP_ID}", origin = "{ORIGIN}" }}\n'
    )
