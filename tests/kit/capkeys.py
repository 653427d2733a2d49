"""Keys and certificates that sign CAP messages: the same at every run, and of no use elsewhere."""

from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, derive_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from controller.dispatch.capsign import Signer

Key = EllipticCurvePrivateKey | rsa.RSAPrivateKey
BEGINS, ENDS = datetime(2025, 6, 1, tzinfo=UTC), datetime(2035, 6, 1, tzinfo=UTC)


def certificate_of(
    key: Key, name: str = "centre", begins: datetime = BEGINS, ends: datetime = ENDS
) -> x509.Certificate:
    """A self-signed certificate of the key."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(usage, critical=True)
    )
    return builder.sign(key, SHA256())


def signer_of(key: Key, certificate: x509.Certificate | None = None) -> Signer:
    certificate = certificate or certificate_of(key)
    begins, ends = (
        round(at.timestamp() * 1e6) for at in (certificate.not_valid_before_utc, certificate.not_valid_after_utc)
    )
    return Signer(key, certificate.public_bytes(Encoding.DER), begins, ends)


@cache
def key_of(number: int = 1) -> EllipticCurvePrivateKey:
    return derive_private_key(number, SECP256R1())


@cache
def signer(number: int = 1) -> Signer:
    """Signer `number`: 1 is ours, others are somebody else's."""
    return signer_of(key_of(number))


@cache
def rsa_signer() -> Signer:
    return signer_of(rsa.generate_private_key(65537, 2048))


def write(folder: Path, each: Signer, name: str = "cap") -> tuple[Path, Path]:
    """The signer's key (0600) and certificate as files."""
    key, certificate = folder / f"{name}.key", folder / f"{name}.crt"
    key.touch(0o600)
    key.write_bytes(each.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    certificate.write_bytes(x509.load_der_x509_certificate(each.certificate).public_bytes(Encoding.PEM))
    return key, certificate
