"""What of an identity counts today in the keys' folder: its live key, its certificates, and what is leaving."""

from collections.abc import Collection, Iterable

from cryptography import x509

from bucium.certcheck import certificate_of
from bucium.keyrequest import MODES
from bucium.keyring import Keyring
from bucium.register import Leaving
from lanes.keys import kid_of
from lanes.plan import Key


def kid(key: Key) -> str:
    """A roster key's id, in hex."""
    return kid_of(bytes.fromhex(key.public)).hex()


def serial(certificate: x509.Certificate) -> str:
    """A certificate's number, in hex."""
    return f"{certificate.serial_number:x}"


def keys_of(ring: Keyring, name: str) -> list[Key]:
    """The roster's signing keys of this id, the live one first; no passkey."""
    own = [key for key in ring.signers() if key.signer == name and key.passkey is None]
    return sorted(own, key=lambda key: MODES.index(key.mode))


def live(ring: Keyring, name: str) -> Key | None:
    """The live signing key that is not leaving."""
    gone = {each.kid for each in ring.register.read().leaving}
    return next((key for key in keys_of(ring, name) if key.mode == "live" and kid(key) not in gone), None)


def certificates_of(ring: Keyring, name: str, parts: Iterable[str] = ("tls", "cap", "old")) -> list[x509.Certificate]:
    """Its certificates that are kept in these parts of the folder, those for CAP too; none that was revoked."""
    gone = {number for each in ring.register.read().revoked for number in each.serials}
    found = {}
    for part in parts:
        for path in sorted((ring.folder / part).glob("*.crt")):
            certificate = certificate_of(path)
            if certificate.subject.rfc4514_string() in (f"CN={name}", f"CN={name} CAP"):
                found[serial(certificate)] = certificate
    return [each for number, each in found.items() if number not in gone]


def to_leave(
    ring: Keyring, name: str, from_us: int, new: Collection[object] = (), *, cap: bool = True
) -> list[Leaving]:
    """All that counts of this id today, but for the `new` keys (raw, or of certificates), to leave then."""
    keys = [key for key in keys_of(ring, name) if bytes.fromhex(key.public) not in new]
    found = [Leaving(id=name, kid=kid(key), serial="", from_us=from_us) for key in keys]
    signed = [each for each in certificates_of(ring, name) if each.public_key() not in new]
    if not cap:
        signed = [each for each in signed if not each.subject.rfc4514_string().endswith(" CAP")]
    return found + [Leaving(id=name, kid="", serial=serial(each), from_us=from_us) for each in signed]
