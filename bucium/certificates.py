"""A small certificate authority for mutual TLS between our programs and the broker (P-256, X.509 v3).

Every certificate is back-dated 24 h: a board without a clock battery starts in the past (design §2.6).
"""

import ipaddress
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cython_ext import ConfigError
from lanes.keys import secret_bytes

BACK_DATED: Final = timedelta(hours=24)
CA_DAYS: Final = 3653  # ten years: the CA outlives the hardware's first batteries
DAYS: Final = 825  # the longest life that all TLS libraries accept


def make_authority(folder: Path, name: str, now_us: int) -> Path:
    """Make `ca.key` (0600) and `ca.crt` in `folder`; ConfigError when one is there already."""
    key = generate_private_key(SECP256R1())
    subject = _name(f"{name} CA")
    builder = (
        _begin(subject, subject, key, now_us, CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    write_secret(folder / "ca.key", _pem(key))
    _write(folder / "ca.crt", builder.sign(key, SHA256()).public_bytes(Encoding.PEM))
    return folder / "ca.crt"


def issue(folder: Path, name: str, now_us: int, *, hosts: tuple[str, ...] = (), days: int = DAYS) -> tuple[Path, Path]:
    """A key and certificate for `name`, signed by the CA of `folder`. With `hosts` (names, addresses) it is a server's."""
    authority, signer = _authority(folder)
    key = generate_private_key(SECP256R1())
    purpose = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
    names = [_host(host) for host in hosts] or [x509.DNSName(name)]
    builder = (
        _leaf(authority, signer, key, name, now_us, days)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
    )
    return _keep(folder, name, key, builder.sign(signer, SHA256()))


def issue_cap(tls: Path, folder: Path, name: str, now_us: int, *, days: int = DAYS) -> tuple[Path, Path]:
    """A key and certificate in `folder` that sign CAP messages, under the CA in `tls`; good for signatures and no connection."""
    authority, signer = _authority(tls)
    key = generate_private_key(SECP256R1())
    return _keep(folder, name, key, _leaf(authority, signer, key, f"{name} CAP", now_us, days).sign(signer, SHA256()))


def _leaf(
    authority: x509.Certificate,
    signer: EllipticCurvePrivateKey,
    key: EllipticCurvePrivateKey,
    name: str,
    now_us: int,
    days: int,
) -> x509.CertificateBuilder:
    return (
        _begin(_name(name), authority.subject, key, now_us, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )


def _keep(folder: Path, name: str, key: EllipticCurvePrivateKey, certificate: x509.Certificate) -> tuple[Path, Path]:
    certificate_path, key_path = folder / f"{name}.crt", folder / f"{name}.key"
    write_secret(key_path, _pem(key))
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


def _authority(folder: Path) -> tuple[x509.Certificate, EllipticCurvePrivateKey]:
    certificate = _read(folder / "ca.crt")
    try:
        key = load_pem_private_key(secret_bytes(folder / "ca.key"), password=None)
    except (ValueError, TypeError):
        raise ConfigError("not a PEM private key", source=str(folder / "ca.key")) from None
    if not isinstance(key, EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise ConfigError("ca.key and ca.crt do not belong together", source=str(folder))
    return certificate, key


def _read(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as error:
        raise ConfigError(
            f"cannot read: {error.strerror}; make a CA with: bucium keys init", source=str(path)
        ) from None
    except ValueError:
        raise ConfigError("not a PEM certificate", source=str(path)) from None


def _begin(
    subject: x509.Name, issuer: x509.Name, key: EllipticCurvePrivateKey, now_us: int, days: int
) -> x509.CertificateBuilder:
    now = datetime.fromtimestamp(now_us // 1_000_000, UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACK_DATED)
        .not_valid_after(now + timedelta(days=days))
    )


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


def _pem(key: EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise ConfigError(f"cannot write: {error.strerror}", source=str(path)) from None
