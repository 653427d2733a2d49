"""Certificates and requests that come from elsewhere: read within bounds, and checked before they are believed."""

import ipaddress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cython_ext import ConfigError

BYTES_MAX: Final = 65536  # a chain of certificates has some thousands
REQUEST_MAX: Final = 4096  # ours has some four hundred
CHAIN_MAX: Final = 5


def bounded(path: Path, most: int = BYTES_MAX) -> bytes:
    """The file's content; ConfigError when it cannot be read, or is longer than it may be."""
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise ConfigError(f"cannot read: {error.strerror}", source=str(path)) from None
    if len(data) > most:
        raise ConfigError(f"longer than {most} bytes: this is not what was asked for", source=str(path))
    return data


def certificate_of(path: Path) -> x509.Certificate:
    """The (first) certificate of a PEM file; ConfigError when it is none."""
    return chain_of(path)[0]


def chain_of(path: Path) -> list[x509.Certificate]:
    """All certificates of a PEM file: an authority, then who vouches for it."""
    data = bounded(path)
    try:
        found = x509.load_pem_x509_certificates(data)
    except ValueError:
        raise ConfigError("not a PEM certificate", source=str(path)) from None
    if len(found) > CHAIN_MAX:
        raise ConfigError(f"a chain has at most {CHAIN_MAX} certificates", source=str(path))
    return found


def public_of_request(data: bytes) -> EllipticCurvePublicKey:
    """The key that a request (DER) proves to hold; ConfigError for anything but P-256, which is all that we make."""
    if len(data) > REQUEST_MAX:
        raise ConfigError(f"a certificate request has at most {REQUEST_MAX} bytes")
    try:
        found = x509.load_der_x509_csr(data)
        public = found.public_key()
        proven = found.is_signature_valid
    except (ValueError, TypeError, InvalidSignature, x509.InvalidVersion):
        raise ConfigError("the certificate request is none (PKCS #10)") from None
    except UnsupportedAlgorithm:
        raise ConfigError("the certificate request has a key of an unknown kind") from None
    if not isinstance(public, EllipticCurvePublicKey) or not isinstance(public.curve, SECP256R1):
        raise ConfigError("the certificate request has a key that is too weak or of another kind; P-256 is asked for")
    if not proven:
        raise ConfigError("the certificate request does not prove that its key is held: its signature is wrong")
    return public


def check_authority(chain: list[x509.Certificate], now_us: int) -> None:
    """ConfigError unless the first may sign certificates today, and each next one vouches for the one before it."""
    for at, authority in enumerate(chain):
        name = authority.subject.rfc4514_string()
        try:
            is_authority = authority.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        except x509.ExtensionNotFound:
            is_authority = False
        if not is_authority:
            raise ConfigError(f"{name} is no authority: it may not sign certificates")
        _timely(authority, f"the authority {name}", now_us)
        if at + 1 < len(chain):
            _issued_by(authority, chain[at + 1])


def check_issued(
    certificate: x509.Certificate,
    chain: list[x509.Certificate],
    now_us: int,
    *,
    name: str,
    public: CertificateIssuerPublicKeyTypes,
    hosts: tuple[str, ...] = (),
    purpose: bool = True,
) -> None:
    """ConfigError unless this is a certificate of `name` for this key, good today, from this authority, for this purpose."""
    check_authority(chain, now_us)
    _issued_by(certificate, chain[0])
    if certificate.public_key() != public:
        raise ConfigError(f"this certificate is for another key than the one of {name}; ask for one with its request")
    common = [str(each.value) for each in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if common != [name]:
        raise ConfigError(f"this certificate names {', '.join(common) or 'nobody'}; its common name must be {name}")
    _timely(certificate, f"the certificate of {name}", now_us)
    if purpose:
        _purpose(certificate, name, server=bool(hosts))
    if missing := sorted(set(hosts) - set(hosts_of(certificate))):
        raise ConfigError(f"the certificate of {name} does not name {', '.join(missing)}: nodes would not believe it")


def hosts_of(certificate: x509.Certificate | x509.CertificateSigningRequest) -> tuple[str, ...]:
    """The names and addresses that it is, or should be, good for."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    addresses = [str(ipaddress.ip_address(str(each))) for each in names.get_values_for_type(x509.IPAddress)]
    return (*names.get_values_for_type(x509.DNSName), *addresses)


def is_server(certificate: x509.Certificate) -> bool:
    """Whether it is a server's, by its purpose."""
    try:
        purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return ExtendedKeyUsageOID.SERVER_AUTH in purposes


def _purpose(certificate: x509.Certificate, name: str, *, server: bool) -> None:
    wanted, word = (
        (ExtendedKeyUsageOID.SERVER_AUTH, "server") if server else (ExtendedKeyUsageOID.CLIENT_AUTH, "client")
    )
    extensions = certificate.extensions
    try:
        purposes = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        good = wanted in purposes
    except x509.ExtensionNotFound:
        good = False
    if not good:
        raise ConfigError(f"the certificate of {name} is not for TLS {word} authentication")
    try:
        is_authority = extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        is_authority = False
    if is_authority:
        raise ConfigError(f"the certificate of {name} is an authority's: whoever held it could make others")


def _issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> None:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        signer = authority.subject.rfc4514_string()
        raise ConfigError(
            f"{certificate.subject.rfc4514_string()} is not signed by {signer}, the authority that this site trusts"
        ) from None


def _timely(certificate: x509.Certificate, what: str, now_us: int) -> None:
    now = datetime.fromtimestamp(now_us / 1e6, UTC)
    if certificate.not_valid_after_utc <= now:
        raise ConfigError(f"{what} has ended on {certificate.not_valid_after_utc:%Y-%m-%d}")
    if certificate.not_valid_before_utc > now:
        raise ConfigError(f"{what} begins only on {certificate.not_valid_before_utc:%Y-%m-%d %H:%M}Z")
