"""A small certificate authority for mutual TLS between our programs and the broker (P-256, X.509 v3).

Every certificate is back-dated 24 h: a board without a clock battery starts in the past (design §2.6). So is the list of the
revoked, and it ends with the authority: a broker refuses everybody once its list has ended.
"""

import ipaddress
import os
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bucium.certcheck import certificate_of, chain_of, check_authority
from cython_ext import ConfigError
from lanes import durable
from lanes.keys import secret_bytes

BACK_DATED: Final = timedelta(hours=24)
CA_DAYS: Final = 3653  # ten years: the CA outlives the hardware's first batteries
DAYS: Final = 825  # the longest life that all TLS libraries accept


def make_authority(folder: Path, name: str, now_us: int) -> Path:
    """Make `ca.key` (0600), `ca.crt` and an empty `ca.crl` in `folder`; ConfigError when there is a key already."""
    key = generate_private_key(SECP256R1())
    subject = _name(f"{name} CA")
    builder = (
        _begin(subject, subject, key.public_key(), now_us, _end(now_us, CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    write_secret(folder / "ca.key", pem_of(key))
    _write(folder / "ca.crt", builder.sign(key, SHA256()).public_bytes(Encoding.PEM))
    write_revoked(folder, (), now_us)
    return folder / "ca.crt"


def is_ours(folder: Path) -> bool:
    """Whether the authority of `folder` is our own; else the site's own one signs, elsewhere."""
    return (folder / "ca.key").exists()


def new_key() -> EllipticCurvePrivateKey:
    """A key for a certificate."""
    return generate_private_key(SECP256R1())


def issue(folder: Path, name: str, now_us: int, *, hosts: tuple[str, ...] = (), days: int = DAYS) -> tuple[Path, Path]:
    """A key and certificate for `name`, signed by the CA of `folder`. With `hosts` (names, addresses) it is a server's."""
    key = new_key()
    certificate = sign(folder, name, key.public_key(), now_us, hosts=hosts, days=days)
    return keep(folder, name, key, certificate)


def sign(
    folder: Path,
    name: str,
    public: EllipticCurvePublicKey,
    now_us: int,
    *,
    hosts: tuple[str, ...] = (),
    days: int = DAYS,
) -> x509.Certificate:
    """A certificate for the key that somebody else holds. With `hosts` it is a server's."""
    authority, signer = _authority(folder, now_us)
    purpose = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
    return (
        _leaf(authority, signer, public, name, now_us, days)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(alternatives(name, hosts), critical=False)
        .sign(signer, SHA256())
    )


def alternatives(name: str, hosts: tuple[str, ...]) -> x509.SubjectAlternativeName:
    """The names that a certificate is good for: a server's hosts and addresses, a client's own id."""
    return x509.SubjectAlternativeName([_host(host) for host in hosts] or [x509.DNSName(name)])


def issue_cap(tls: Path, folder: Path, name: str, now_us: int, *, days: int = DAYS) -> tuple[Path, Path]:
    """A key and certificate in `folder` that sign CAP messages, under the CA in `tls`; good for signatures and no connection."""
    key = new_key()
    return keep(folder, name, key, sign_cap(tls, name, key.public_key(), now_us, days=days))


def sign_cap(
    tls: Path, name: str, public: EllipticCurvePublicKey, now_us: int, *, days: int = DAYS
) -> x509.Certificate:
    """The same for a key that somebody else holds."""
    authority, signer = _authority(tls, now_us)
    return _leaf(authority, signer, public, f"{name} CAP", now_us, days).sign(signer, SHA256())


def request(key: EllipticCurvePrivateKey, name: str, hosts: tuple[str, ...] = ()) -> x509.CertificateSigningRequest:
    """A request (PKCS #10) that any authority can sign: who, and the proof that the key is held."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(_name(name))
    return builder.add_extension(alternatives(name, hosts), critical=False).sign(key, SHA256())


def ask(folder: Path, name: str, hosts: tuple[str, ...] = (), *, common: str = "") -> tuple[Path, Path]:
    """A key and a request in `folder`, for an authority elsewhere."""
    key = new_key()
    write_secret(folder / f"{name}.key", pem_of(key))
    asked = request(key, common or name, hosts)
    return write_file(folder / f"{name}.csr", asked.public_bytes(Encoding.PEM)), folder / f"{name}.key"


def require_good(folder: Path, now_us: int) -> None:
    """ConfigError unless the authority of `folder`, ours or the site's, may sign today."""
    check_authority(chain_of(folder / "ca.crt"), now_us)
    if is_ours(folder):
        _authority(folder, now_us)


def write_revoked(folder: Path, revoked: Iterable[tuple[int, int]], now_us: int) -> Path:
    """Write `ca.crl` anew: (serial number, when in UTC microseconds) of each certificate that no longer counts."""
    authority, signer = _authority(folder, now_us)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.subject)
        .last_update(_moment(now_us) - BACK_DATED)
        .next_update(authority.not_valid_after_utc)
        .add_extension(x509.CRLNumber(now_us // 1_000_000), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    for serial, at_us in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(_moment(at_us))
        builder = builder.add_revoked_certificate(entry.build())
    return write_file(folder / "ca.crl", builder.sign(signer, SHA256()).public_bytes(Encoding.PEM))


def _leaf(
    authority: x509.Certificate,
    signer: EllipticCurvePrivateKey,
    public: EllipticCurvePublicKey,
    name: str,
    now_us: int,
    days: int,
) -> x509.CertificateBuilder:
    end = min(_end(now_us, days), authority.not_valid_after_utc)
    return (
        _begin(_name(name), authority.subject, public, now_us, end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )


def keep(folder: Path, name: str, key: EllipticCurvePrivateKey, certificate: x509.Certificate) -> tuple[Path, Path]:
    """Write `NAME.key` (0600, never over another one) and `NAME.crt`."""
    certificate_path, key_path = folder / f"{name}.crt", folder / f"{name}.key"
    write_secret(key_path, pem_of(key))
    _write(certificate_path, certificate.public_bytes(Encoding.PEM))
    return certificate_path, key_path


def expiry_us(path: Path) -> int:
    """When the certificate of a PEM file ends, in UTC microseconds; ConfigError when it is none."""
    return round(_read(path).not_valid_after_utc.timestamp() * 1e6)


def write_secret(path: Path, data: bytes) -> None:
    """Write a secret with mode 0600; an existing file is never overwritten (ConfigError)."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConfigError("this secret exists; move it away first", source=str(path)) from None
    except OSError as error:
        raise ConfigError(f"cannot write: {error.strerror}", source=str(path)) from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_file(path: Path, data: bytes) -> Path:
    """Write a public file so that a power cut leaves the old or the new one."""
    try:
        durable.replace(path, data)
    except OSError as error:
        raise ConfigError(f"cannot write: {error.strerror}", source=str(path)) from None
    return path


def read_tls_key(path: Path) -> EllipticCurvePrivateKey:
    """The private key of a certificate; ConfigError when it is none of ours, or others may read it."""
    try:
        key = load_pem_private_key(secret_bytes(path), password=None)
    except (ValueError, TypeError):
        raise ConfigError("not a PEM private key", source=str(path)) from None
    if not isinstance(key, EllipticCurvePrivateKey):
        raise ConfigError("not a key on an elliptic curve", source=str(path))
    return key


def _authority(folder: Path, now_us: int) -> tuple[x509.Certificate, EllipticCurvePrivateKey]:
    certificate = _read(folder / "ca.crt")
    key = read_tls_key(folder / "ca.key")
    if key.public_key() != certificate.public_key():
        raise ConfigError("ca.key and ca.crt do not belong together", source=str(folder))
    if certificate.not_valid_after_utc <= _moment(now_us):
        raise ConfigError(
            f"this authority has ended on {certificate.not_valid_after_utc:%Y-%m-%d}, and can sign nothing; "
            "make a new folder with: bucium keys init",
            source=str(folder / "ca.crt"),
        )
    return certificate, key


def _read(path: Path) -> x509.Certificate:
    try:
        return certificate_of(path)
    except ConfigError as error:
        if path.name == "ca.crt" and not path.exists():
            raise ConfigError(f"{error}; make a CA with: bucium keys init") from None
        raise


def _begin(
    subject: x509.Name, issuer: x509.Name, public: EllipticCurvePublicKey, now_us: int, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_moment(now_us) - BACK_DATED)
        .not_valid_after(end)
    )


def _moment(now_us: int) -> datetime:
    return datetime.fromtimestamp(now_us // 1_000_000, UTC)


def _end(now_us: int, days: int) -> datetime:
    return _moment(now_us) + timedelta(days=days)


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def pem_of(key: EllipticCurvePrivateKey) -> bytes:
    """The key as PEM, unencrypted."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise ConfigError(f"cannot write: {error.strerror}", source=str(path)) from None
