"""Who is taken into the keys' folder: one-time tokens, and the requests that they, or the keys so far, vouch for.

An admission can be repeated: killed in the middle and run again, it ends as if it had run once. What must not happen twice (a
token is used up) is written last.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from bucium import certcheck, certificates, standing
from bucium.certcheck import certificate_of, hosts_of
from bucium.keyrequest import BYTES_MAX, Opened, key_of_token, new_token, open_request
from bucium.keyring import Keyring, require
from bucium.register import Admitted, Book, Token
from cython_ext import ConfigError
from lanes.keys import kid_of, verify

HOUR_US: Final = 3_600_000_000
TOKEN_HOURS_MAX: Final = 31 * 24
OVERLAP_HOURS: Final = 30 * 24  # as long as acked events stay on a node's disk, signed by the old key (design §2.2)
OVERLAP_HOURS_MAX: Final = 366 * 24


@dataclass(frozen=True, slots=True)
class Done:
    """What an act left: files, key ids, tables for the plan, and whether anything changed."""

    id: str
    changed: bool
    files: tuple[Path, ...] = ()
    kids: tuple[str, ...] = ()
    roster: str = ""


@dataclass(frozen=True, slots=True)
class _Terms:
    """What an identity is given; never what its request says."""

    zones: tuple[str, ...] = ()
    centre: str = ""
    hosts: tuple[str, ...] = ()


def token(
    ring: Keyring,
    name: str,
    role: str,
    now_us: int,
    *,
    hours: int = 24,
    zones: tuple[str, ...] = (),
    centre: str = "",
    hosts: tuple[str, ...] = (),
) -> tuple[str, int]:
    """(A token for one enrolment, its end). An earlier open one of the same id is void. ConfigError when the id is taken."""
    for each in (name, *zones, *([centre] if centre else [])):
        require(each)
    ring.require_root()
    if role == "broker" and not hosts:
        raise ConfigError("a broker's certificate names its hosts: give --host, as often as it has names")
    if role == "operator" and not zones:
        raise ConfigError(f"a person acts for named zones: give them, e.g. --zones riverside, for {name}")
    if not 1 <= hours <= TOKEN_HOURS_MAX:
        raise ConfigError(f"a token is good for 1 to {TOKEN_HOURS_MAX} hours ({hours})")
    with ring.register.lock():
        if ring.has(name):
            raise ConfigError(_taken(name))
        text = new_token()
        made = Token.model_validate(
            {
                "public": key_of_token(text, name, role).public.hex(),
                "id": name,
                "role": role,
                "zones": zones,
                "centre": centre,
                "hosts": hosts,
                "ends_us": now_us + hours * HOUR_US,
            }
        )
        book = ring.register.read()
        kept = tuple(each for each in book.tokens if each.id != name and each.ends_us > now_us)
        ring.register.write(book.model_copy(update={"tokens": (*kept, made)}))
    return text, made.ends_us


def admit(ring: Keyring, path: Path, now_us: int, *, expected: str = "", overlap_hours: int = OVERLAP_HOURS) -> Done:
    """Take a request in: a certificate for it, its keys into the roster. The same request again changes nothing.

    `expected`: whose it must be. `overlap_hours`: how long the keys count that its keys take the place of. ConfigError, and
    nothing is changed, when nobody vouches for it, or somebody else has its name or keys.
    """
    opened = open_request(certcheck.bounded(path, BYTES_MAX))
    request = opened.request
    if expected and request.id != expected:
        raise ConfigError(f"this is a request of {request.id}, not of {expected}", source=str(path))
    ring.require_root()
    if not 0 <= overlap_hours <= OVERLAP_HOURS_MAX:
        raise ConfigError(f"an overlap lasts 0 to {OVERLAP_HOURS_MAX} hours ({overlap_hours})")
    with ring.register.lock():
        book = ring.register.read()
        if any(each.request == opened.digest for each in book.admitted):
            return _answer(ring, opened, changed=False)
        used = _token(ring, opened, book, now_us) if request.basis == "token" else None
        terms = _Terms(used.zones, used.centre, used.hosts) if used else _own_terms(ring, opened, book)
        _require_new(ring, opened)
        new = (*request.keys.values(), opened.tls, opened.cap)
        from_us = now_us + overlap_hours * HOUR_US
        leaving = [] if used else standing.to_leave(ring, request.id, from_us, new, cap=opened.cap is not None)
        _certify(ring, opened, terms.hosts, now_us)
        ring.enter(request.id, request.role, dict(request.keys), terms.zones, terms.centre)
        done = Admitted(request=opened.digest, id=request.id, voucher=used.public if used else "", at_us=now_us)
        changes = {
            "tokens": tuple(each for each in book.tokens if each != used),
            "admitted": (*book.admitted, done),
            "leaving": (*book.leaving, *leaving),
        }
        ring.register.write(book.model_copy(update=changes))
        if not used:
            ring.secrets_aside(request.id, cap=opened.cap is not None)
        return _answer(ring, opened, changed=True)


def _taken(name: str) -> str:
    return (
        f"{name} has an identity: its host renews it (bucium keys request --rotate), or it is lost and then enrolled anew "
        f"(bucium keys revoke {name} --reason …)"
    )


def _token(ring: Keyring, opened: Opened, book: Book, now_us: int) -> Token:
    """The open token that vouches for the request."""
    request = opened.request
    for each in book.tokens:
        if each.id == request.id and verify(bytes.fromhex(each.public), opened.voucher, opened.vouched):
            if each.ends_us <= now_us:
                raise ConfigError(
                    f"the token of {each.id} has ended; make another: bucium keys token {each.id} --role {each.role}"
                )
            if any(
                key.signer == each.id and bytes.fromhex(key.public) not in request.keys.values()
                for key in ring.signers()
            ):
                raise ConfigError(_taken(each.id))
            return each
    for admitted in book.admitted:
        if admitted.id == request.id and verify(bytes.fromhex(admitted.voucher), opened.voucher, opened.vouched):
            raise ConfigError(
                f"the token of {request.id} was used up by another request: two hosts want to be {request.id}. If the first "
                f"is not yours: bucium keys revoke {request.id} --reason …"
            )
    raise ConfigError(f"no open token vouches for this request of {request.role} {request.id}")


def _own_terms(ring: Keyring, opened: Opened, book: Book) -> _Terms:
    """Of an identity that vouches for its own new keys. ConfigError unless the key that counts now has signed."""
    request = opened.request
    if any(each.id == request.id for each in book.leaving):
        raise ConfigError(
            f"{request.id} has new keys already, and its old ones have not left: bucium keys retire {request.id}"
        )
    if request.role == "broker":
        for certificate in standing.certificates_of(ring, request.id, ("old", "tls")):
            if certcheck.is_server(certificate) and _signed_by(certificate, opened):
                return _Terms(hosts=hosts_of(certificate))
    else:
        own = standing.live(ring, request.id)
        if own is None or own.role != request.role:
            raise ConfigError(
                f"no key of {request.role} {request.id} counts here: enrol it with bucium keys token {request.id}"
            )
        if verify(bytes.fromhex(own.public), opened.voucher, opened.vouched):
            return _Terms(own.zones, own.centre)
    raise ConfigError(f"this request is not signed by the key that {request.id} has")


def _signed_by(certificate: x509.Certificate, opened: Opened) -> bool:
    public = certificate.public_key()
    if not isinstance(public, EllipticCurvePublicKey):
        return False
    try:
        public.verify(opened.voucher, opened.vouched, ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def _require_new(ring: Keyring, opened: Opened) -> None:
    """ConfigError when somebody else has one of these keys, or it was revoked."""
    request = opened.request
    gone = set(ring.register.revoked_kids())
    theirs = {key.public: key.signer for key in ring.signers() if key.signer != request.id}
    for mode, public in request.keys.items():
        if kid_of(public).hex() in gone:
            raise ConfigError(f"the {mode} key of {request.id} was revoked; it must make another")
        if whose := theirs.get(public.hex()):
            raise ConfigError(f"the {mode} key of {request.id} is {whose}'s: no two may have one key")


def _certify(ring: Keyring, opened: Opened, hosts: tuple[str, ...], now_us: int) -> None:
    """Certificates into `tls/` and `cap/`, those before them into `old/`; or requests for the site's own authority."""
    name = opened.request.id
    ours = certificates.is_ours(ring.tls)
    for public, folder, der in (
        (opened.tls, ring.tls, opened.request.tls),
        (opened.cap, ring.cap, opened.request.cap),
    ):
        if public is None:
            continue
        ring.make(folder)
        path = folder / f"{name}.crt"
        if path.exists() and certificate_of(path).public_key() == public:
            continue
        if not ours:
            request = x509.load_der_x509_csr(der)
            if folder == ring.tls and (missing := sorted(set(hosts) - set(hosts_of(request)))):
                raise ConfigError(
                    f"the site's authority reads hosts in the request, and it does not name {', '.join(missing)}: ask anew with "
                    "bucium keys request --host"
                )
            certificates.write_file(path.with_suffix(".csr"), request.public_bytes(Encoding.PEM))
        elif folder == ring.tls:
            made = certificates.sign(ring.tls, name, public, now_us, hosts=hosts)
            ring.replace(path, made.public_bytes(Encoding.PEM))
        else:
            made = certificates.sign_cap(ring.tls, name, public, now_us)
            ring.replace(path, made.public_bytes(Encoding.PEM))


def _answer(ring: Keyring, opened: Opened, *, changed: bool) -> Done:
    name = opened.request.id
    places = [folder / f"{name}.{kind}" for folder in (ring.tls, ring.cap) for kind in ("crt", "csr")]
    kids = tuple(kid_of(public).hex() for public in opened.request.keys.values())
    text = "\n".join(ring.text_of(key) for key in ring.signers() if standing.kid(key) in kids)
    return Done(name, changed, tuple(path for path in places if path.exists()), kids, text)
