"""Who leaves the keys' folder, and when: rotation of what is kept here, the end of an overlap, revocation.

What leaves is written into the register first; the lists, the roster and the files follow from it. So each act can be repeated,
and a kill in the middle is mended by the next one.
"""

from pathlib import Path

from cryptography import x509

from bucium import certcheck, certificates, standing
from bucium.admission import HOUR_US, OVERLAP_HOURS, OVERLAP_HOURS_MAX, Done
from bucium.certcheck import certificate_of, hosts_of
from bucium.keyrequest import MODES
from bucium.keyring import NEXT, Keyring, require
from bucium.register import REASON_MAX, Revoked
from cython_ext import ConfigError
from lanes.keys import kid_of


def rotate(ring: Keyring, name: str, now_us: int, *, overlap_hours: int = OVERLAP_HOURS) -> Done:
    """New keys and a new certificate for an identity whose secrets are kept here. The old ones count until `retire`."""
    ring.require_root()
    if not 0 <= overlap_hours <= OVERLAP_HOURS_MAX:
        raise ConfigError(f"an overlap lasts 0 to {OVERLAP_HOURS_MAX} hours ({overlap_hours})")
    live = ring.folder / "signing" / f"{require(name)}.{MODES[0]}.pem"
    tls = ring.tls / f"{name}.key"
    if not live.exists() and not tls.exists():
        raise ConfigError(
            f"no secret of {name} is kept here; its host makes its own new keys: bucium keys request --rotate",
            source=str(ring.folder),
        )
    with ring.register.lock():
        book = ring.register.read()
        if any(each.id == name for each in book.leaving):
            raise ConfigError(f"{name} has new keys already; when its old ones may go: bucium keys retire {name}")
        leaving = standing.to_leave(ring, name, now_us + overlap_hours * HOUR_US, cap=False)
        old = standing.live(ring, name)
        ring.put_aside(*_next(ring, name))  # of an act that was killed
        files: list[Path] = []
        kids: tuple[str, ...] = ()
        text = ""
        if tls.exists():
            before = certificate_of(ring.tls / f"{name}.crt")
            hosts = hosts_of(before) if certcheck.is_server(before) else ()
            key = certificates.new_key()
            made = certificates.sign(ring.tls, name, key.public_key(), now_us, hosts=hosts)
            files += certificates.keep(ring.tls, f"{name}.{NEXT}", key, made)
        if live.exists() and old is not None:
            publics, written = ring.make_keys(name, f".{NEXT}")
            files += written
            kids = tuple(kid_of(each).hex() for each in publics.values())
            text = ring.enter(name, old.role, publics, old.zones, old.centre)
        ring.register.write(book.model_copy(update={"leaving": (*book.leaving, *leaving)}))
    return Done(name, True, tuple(files), kids, text)


def retire(ring: Keyring, name: str, now_us: int, *, early: bool = False) -> Done:
    """The old keys leave: out of the roster, into both revocation lists; new ones that are kept here take their names.

    ConfigError before the overlap's end, unless `early`.
    """
    ring.require_root()
    with ring.register.lock():
        book = ring.register.read()
        own = [each for each in book.leaving if each.id == name]
        until_us = max((each.from_us for each in own), default=0)
        if until_us > now_us and not early:
            raise ConfigError(
                f"the old keys of {name} count for {(until_us - now_us) / HOUR_US:.0f} hours more: what was signed with them "
                "must arrive first. If it has: --early"
            )
        gone = Revoked(
            id=name,
            reason="others took their place",
            at_us=now_us,
            kids=tuple(each.kid for each in own if each.kid),
            serials=tuple(each.serial for each in own if each.serial),
        )
        if own:
            kept = tuple(each for each in book.leaving if each.id != name)
            ring.register.write(book.model_copy(update={"leaving": kept, "revoked": (*book.revoked, gone)}))
        for new in _next(ring, name):
            ring.rename(new, new.with_name(new.name.replace(f".{NEXT}", "")))
        settle(ring, now_us)
    return Done(name, bool(own), (ring.tls / "ca.crl",), gone.kids)


def revoke(ring: Keyring, name: str, reason: str, now_us: int) -> Done:
    """Nothing of this id counts any more: certificates, signing keys, passkeys, tokens. Again: nothing changes."""
    require(name)
    if not reason.strip() or len(reason) > REASON_MAX or not reason.isprintable():
        raise ConfigError(f"say why, in one line of at most {REASON_MAX} letters: --reason")
    ring.require_root()
    with ring.register.lock():
        book = ring.register.read()
        known = {kid for each in book.revoked for kid in each.kids}
        kids = [kid for key in ring.signers() if key.signer == name and (kid := standing.kid(key)) not in known]
        serials = [standing.serial(each) for each in standing.certificates_of(ring, name)]
        tokens = [each for each in book.tokens if each.id == name]
        new = bool(kids or serials or tokens)
        if not new and not any(each.id == name for each in book.revoked):
            raise ConfigError(f"nothing here is {name}'s; who is known: bucium keys list")
        if new:
            gone = Revoked(id=name, reason=reason, at_us=now_us, kids=tuple(kids), serials=tuple(serials))
            changes = {
                "tokens": tuple(each for each in book.tokens if each.id != name),
                "leaving": tuple(each for each in book.leaving if each.id != name),
                "revoked": (*book.revoked, gone),
            }
            ring.register.write(book.model_copy(update=changes))
        settle(ring, now_us)
        ring.put_aside(*(path for part in ("signing", "tls", "cap") for path in (ring.folder / part).glob(f"{name}.*")))
    return Done(name, new, (ring.tls / "ca.crl",), tuple(kids))


def settle(ring: Keyring, now_us: int) -> bool:
    """Roster and list of certificates as the register says. Call under its lock. False: they were so already."""
    book = ring.register.read()
    ring.drop({kid for each in book.revoked for kid in each.kids})
    if not certificates.is_ours(ring.tls):
        return False  # the site's own authority makes its list itself
    rows = {int(number, 16): each.at_us for each in book.revoked for number in each.serials}
    path = ring.tls / "ca.crl"
    if path.exists():
        listed = {each.serial_number for each in x509.load_pem_x509_crl(path.read_bytes())}
        if listed == set(rows):
            return False
    certificates.write_revoked(ring.tls, rows.items(), now_us)
    return True


def _next(ring: Keyring, name: str) -> list[Path]:
    return [
        *(ring.folder / "signing").glob(f"{name}.*.{NEXT}.pem"),
        *(
            ring.tls / f"{name}.{NEXT}.{kind}"
            for kind in ("crt", "key")
            if (ring.tls / f"{name}.{NEXT}.{kind}").exists()
        ),
    ]
