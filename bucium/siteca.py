"""Where the site has an authority of its own: its answers to the requests that wait here, and its list of the revoked."""

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding

from bucium import certcheck, certificates
from bucium.admission import Done
from bucium.certcheck import certificate_of, chain_of
from bucium.keyring import Keyring
from cython_ext import ConfigError


def take(ring: Keyring, path: Path, now_us: int) -> Done:
    """Take a signed certificate for a waiting request, or a list of revoked certificates. The same again changes nothing.

    ConfigError, and nothing is changed, when it is for no request here, or its names, key, purpose, time or authority are wrong.
    """
    ring.require_root()
    chain = chain_of(ring.tls / "ca.crt")
    certcheck.check_authority(chain, now_us)
    data = certcheck.bounded(path)
    with ring.register.lock():
        if b"BEGIN X509 CRL" in data:
            return _take_list(ring, data, chain[0], now_us, path)
        certificate = certificate_of(path)
        if any(certificate_of(each) == certificate for each in (*ring.tls.glob("*.crt"), *ring.cap.glob("*.crt"))):
            return Done(certificate.subject.rfc4514_string().removeprefix("CN="), False)
        waiting = sorted([*ring.tls.glob("*.csr"), *ring.cap.glob("*.csr")])
        for request in waiting:
            asked = x509.load_pem_x509_csr(request.read_bytes())
            if asked.public_key() != certificate.public_key():
                continue
            name = request.stem
            hosts = certcheck.hosts_of(asked)
            certcheck.check_issued(
                certificate,
                chain,
                now_us,
                name=name if request.parent == ring.tls else f"{name} CAP",
                public=asked.public_key(),  # type: ignore[arg-type]
                hosts=() if hosts == (name,) or request.parent == ring.cap else hosts,
                purpose=request.parent == ring.tls,
            )
            ring.replace(request.with_suffix(".crt"), certificate.public_bytes(Encoding.PEM))
            request.unlink()
            return Done(name, True, (request.with_suffix(".crt"),))
    waits = ", ".join(each.stem for each in waiting) or "none waits"
    raise ConfigError(f"this certificate is for none of the requests that wait here ({waits})", source=str(path))


def _take_list(ring: Keyring, data: bytes, authority: x509.Certificate, now_us: int, path: Path) -> Done:
    public: CertificateIssuerPublicKeyTypes = authority.public_key()  # type: ignore[assignment]
    try:
        found = x509.load_pem_x509_crl(data)
        good = found.issuer == authority.subject and found.is_signature_valid(public)
    except (ValueError, TypeError):
        raise ConfigError("not a list of revoked certificates", source=str(path)) from None
    if not good:
        raise ConfigError("this list is not signed by the authority that this site trusts", source=str(path))
    ends = found.next_update_utc
    if ends is not None and ends.timestamp() * 1e6 <= now_us:
        raise ConfigError(f"this list has ended on {ends:%Y-%m-%d}: a broker would refuse everybody", source=str(path))
    place = ring.tls / "ca.crl"
    if place.exists() and place.read_bytes() == data:
        return Done("ca", False, (place,))
    certificates.write_file(place, data)
    return Done("ca", True, (place,))
