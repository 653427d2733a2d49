"""Enrolment and rotation: whoever is vouched for is taken in, whoever is not leaves no trace; a kill never ends in between."""

import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from bucium import admission, certificates, departure
from bucium.certcheck import certificate_of, hosts_of
from bucium.keyrequest import MODES, Request, key_of_token, seal
from bucium.ownkeys import OwnKeys
from cython_ext import ConfigError
from lanes.keys import SigningKey, read_key
from tests.kit.keysite import BROKER, HOUR_US, NOW_US, KeySite, at_each_step


@pytest.fixture
def site(tmp_path: Path) -> KeySite:
    return KeySite(tmp_path / "site").begin()


def refused(site: KeySite, path: Path, match: str, now_us: int = NOW_US, expected: str = "") -> None:
    before = site.files()
    with pytest.raises(ConfigError, match=match):
        admission.admit(site.ring, path, now_us, expected=expected)
    assert site.files() == before, "nothing is changed"


def test_a_node_makes_its_keys_itself_and_they_never_leave_it(site: KeySite) -> None:
    request = site.asked("quay")
    own = site.own("quay")
    done = site.admit("quay")
    assert done.changed
    assert site.adopt("quay")
    assert site.roster("quay") == sorted(read_key(own.current / f"{mode}.pem").public.hex() for mode in MODES)
    assert set(done.kids) == set(own.kids().values())
    certificate = certificate_of(own.current / "tls.crt")
    assert certificate.public_key() == certificates.read_tls_key(own.current / "tls.key").public_key()
    assert certificate.subject.rfc4514_string() == "CN=quay"
    secrets = [path for path in own.folder.rglob("*") if path.suffix in (".pem", ".key")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets if not path.parent.is_symlink()} == {0o600}
    mine = {path.read_bytes() for path in secrets}
    assert not [path for path in site.ring.folder.rglob("*") if path.is_file() and path.read_bytes() in mine]
    assert b"PRIVATE" not in request.read_bytes() if request.exists() else True


@pytest.mark.parametrize(("role", "keys"), [("controller", 3), ("operator", 3), ("broker", 0)])
def test_every_role_enrols(site: KeySite, role: str, keys: int) -> None:
    own = site.enrol("it", role, cap=role == "controller")
    assert len(site.roster("it")) == keys
    assert (own.current / "cap.crt").exists() == (role == "controller")
    assert (own.current / "tls.crt").exists() == (role != "operator")
    if role == "broker":
        assert hosts_of(certificate_of(own.current / "tls.crt")) == (BROKER,), "of the token, not of the request"
    if role == "operator":
        assert site.ring.signers()[0].zones == ("riverside",)


def test_the_same_request_again_changes_nothing(site: KeySite) -> None:
    request = site.asked("quay")
    site.admit("quay")
    before = site.files()
    again = admission.admit(site.ring, request, NOW_US)
    assert not again.changed
    assert again.roster.count("[[key]]") == 3
    assert site.files() == before
    site.adopt("quay")
    assert not site.adopt("quay")


def test_asking_again_is_the_same_request(site: KeySite) -> None:
    token, _ = admission.token(site.ring, "quay", "node", NOW_US)
    own = site.own("quay")
    assert own.enrol("quay", "node", token)
    before = own.request_file.read_bytes()
    assert not own.enrol("quay", "node", token)
    assert own.request_file.read_bytes() == before
    other, _ = admission.token(site.ring, "quay", "node", NOW_US)
    with pytest.raises(ConfigError, match="waits here"):
        own.enrol("quay", "node", other)
    site_refuses = own.request_file
    refused(site, site_refuses, "no open token")


def test_a_token_ends_and_is_used_once(site: KeySite) -> None:
    request = site.asked("quay")
    refused(site, request, "has ended", NOW_US + 25 * HOUR_US)
    token, _ = admission.token(site.ring, "quay", "node", NOW_US)
    one, two = OwnKeys(site.folder / "one"), OwnKeys(site.folder / "two")
    one.enrol("quay", "node", token)
    two.enrol("quay", "node", token)
    admission.admit(site.ring, one.request_file, NOW_US)
    refused(site, two.request_file, "two hosts want to be quay")


def test_a_token_is_kept_nowhere(site: KeySite) -> None:
    token, _ = admission.token(site.ring, "quay", "node", NOW_US)
    everything = b"".join(site.files().values())
    for text in (token, token.replace("-", "")):
        assert text.encode() not in everything
    assert len(token.replace("-", "")) * 5 >= 128


@pytest.mark.parametrize(("name", "role"), [("bridge", "node"), ("quay", "controller")])
def test_a_token_is_good_for_its_id_and_role_only(site: KeySite, name: str, role: str) -> None:
    token, _ = admission.token(site.ring, "quay", "node", NOW_US)
    site.own(name).enrol(name, role, token)
    refused(site, site.own(name).request_file, "no open token")


def test_a_request_for_another_id_is_refused(site: KeySite) -> None:
    refused(site, site.asked("quay"), "of quay, not of bridge", expected="bridge")


def test_an_identity_is_given_once(site: KeySite) -> None:
    site.enrol("quay")
    with pytest.raises(ConfigError, match="has an identity"):
        admission.token(site.ring, "quay", "node", NOW_US)
    with pytest.raises(ConfigError, match="exists"):
        site.ring.issue("quay", "node", NOW_US)
    token, _ = admission.token(site.ring, "mill", "node", NOW_US)
    site.ring.issue("mill", "node", NOW_US)
    site.own("mill").enrol("mill", "node", token)
    refused(site, site.own("mill").request_file, "has an identity")
    with pytest.raises(ConfigError, match="has an identity"):
        admission.token(site.ring, "ca", "node", NOW_US)


def crafted(site: KeySite, **changes: object) -> Path:
    """A request of quay with something wrong in it, well signed."""
    token, _ = admission.token(site.ring, "quay", "node", NOW_US)
    keys = {mode: SigningKey.generate() for mode in MODES}
    tls = certificates.request(certificates.new_key(), "quay").public_bytes(Encoding.DER)
    fields = {
        "id": "quay",
        "role": "node",
        "basis": "token",
        "keys": {m: k.public for m, k in keys.items()},
        "tls": tls,
    }
    request = Request(**(fields | changes))  # type: ignore[arg-type]
    path = site.folder / "crafted"
    signing = {mode: key for mode, key in keys.items() if mode in request.keys}
    path.write_bytes(seal(request, signing, key_of_token(token, "quay", "node").sign))
    return path


def weak_csr(kind: str) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "quay")])
    key = rsa.generate_private_key(65537, 1024) if kind == "rsa" else ec.generate_private_key(ec.SECP192R1())
    return (
        x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
    )


def unproven_csr() -> bytes:
    """Of a key that is not held: another's public key in the place of ours."""
    mine, theirs = (certificates.request(certificates.new_key(), "quay") for _ in range(2))
    put = [each.public_key().public_bytes(Encoding.X962, x962()) for each in (mine, theirs)]
    return mine.public_bytes(Encoding.DER).replace(*put)


def x962():
    from cryptography.hazmat.primitives.serialization import PublicFormat

    return PublicFormat.UncompressedPoint


IDENTITY = (1).to_bytes(32, "little")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"tls": b""}, "no certificate request"),
        ({"tls": b"\x30\x03abc"}, "PKCS"),
        ({"tls": bytes(5000)}, "at most 4096 bytes"),
        ({"tls": "rsa"}, "too weak"),
        ({"tls": "p192"}, "too weak|unknown kind"),
        ({"tls": "unproven"}, "does not prove|none"),
        ({"keys": {"live": bytes(32)}}, "one key each"),
        ({"keys": {"live": IDENTITY, "exercise": b"a" * 32, "test": b"b" * 32}}, "weak"),
        ({"keys": dict.fromkeys(MODES, b"a" * 32)}, "for two modes"),
        ({"role": "king"}, "unknown role"),
        ({"id": "Quay"}, "Quay|id"),
        ({"cap": "sound"}, "only a controller"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_request_that_is_wrong_is_refused(site: KeySite, changes: dict[str, object], match: str) -> None:
    made = {
        "rsa": lambda: weak_csr("rsa"),
        "p192": lambda: weak_csr("p192"),
        "unproven": unproven_csr,
        "sound": lambda: certificates.request(certificates.new_key(), "x").public_bytes(Encoding.DER),
    }
    changes = {
        key: made[value]() if isinstance(value, str) and value in made else value for key, value in changes.items()
    }
    refused(site, crafted(site, **changes), match)


def test_a_key_of_another_is_refused(site: KeySite) -> None:
    site.enrol("bridge")
    theirs = {mode: bytes.fromhex(key.public) for key in site.ring.signers() for mode in [key.mode]}
    token, _ = admission.token(site.ring, "quay", "node", NOW_US)
    held = {mode: read_key(site.own("bridge").current / f"{mode}.pem") for mode in MODES}
    tls = certificates.request(certificates.new_key(), "quay").public_bytes(Encoding.DER)
    path = site.folder / "thief"
    request = Request("quay", "node", "token", theirs, tls)
    path.write_bytes(seal(request, held, key_of_token(token, "quay", "node").sign))
    refused(site, path, "is bridge's")


def test_what_is_too_large_or_no_request_is_refused(site: KeySite) -> None:
    path = site.folder / "big"
    for data, match in ((bytes(20_000), "longer than 16384"), (b"", "not a request"), (b"\xa0", "not a request")):
        path.write_bytes(data)
        refused(site, path, match)
    refused(site, site.folder / "absent", "cannot read")


def test_an_authority_that_has_ended_admits_nobody(site: KeySite) -> None:
    refused(
        site, site.asked("quay", now_us=NOW_US + 11 * 366 * 24 * HOUR_US), "has ended", NOW_US + 11 * 366 * 24 * HOUR_US
    )


def test_no_certificate_outlives_its_authority(site: KeySite) -> None:
    late = NOW_US + 9 * 365 * 24 * HOUR_US
    site.enrol("quay", now_us=late)
    own, authority = certificate_of(site.ring.tls / "quay.crt"), certificate_of(site.ring.tls / "ca.crt")
    assert own.not_valid_after_utc == authority.not_valid_after_utc


# New keys in the place of old ones.


@pytest.mark.parametrize("role", ["node", "controller", "broker"])
def test_rotation_lets_both_count_until_the_old_ones_retire(site: KeySite, role: str) -> None:
    own = site.enrol("it", role, cap=role == "controller")
    old, old_serial = site.roster("it"), site.serial("it")
    cap = (own.current / "cap.crt").read_bytes() if role == "controller" else b""
    assert own.rotate()
    done = site.admit("it", overlap_hours=48)
    assert done.changed
    assert set(old) <= set(site.roster("it"))
    assert len(site.roster("it")) == 2 * len(old)
    assert site.listed() == set()
    with pytest.raises(ConfigError, match="for 48 hours more"):
        departure.retire(site.ring, "it", NOW_US)
    site.adopt("it")
    if cap:
        assert (own.current / "cap.crt").read_bytes() == cap, "others have pinned it"
    gone = departure.retire(site.ring, "it", NOW_US + 48 * HOUR_US)
    assert not set(old) & set(site.roster("it"))
    assert len(gone.kids) == len(old)
    assert site.ring.register.revoked_kids() == gone.kids
    assert site.listed() == {old_serial}
    assert not departure.retire(site.ring, "it", NOW_US + 48 * HOUR_US).changed
    own.rotate()
    assert site.admit("it", NOW_US + 49 * HOUR_US).changed, "and once more"


def test_a_second_rotation_waits_for_the_first(site: KeySite) -> None:
    own = site.enrol("quay")
    own.rotate()
    site.admit("quay")
    site.adopt("quay")
    own.rotate()
    refused(site, own.request_file, "have not left")


def test_only_the_key_that_counts_vouches_for_new_ones(site: KeySite) -> None:
    site.enrol("quay")
    thief = OwnKeys(site.folder / "thief")
    other = KeySite(site.folder / "other").begin()
    for name in ("quay", "mill"):
        other.enrol(name)
    for name in ("quay", "mill"):
        thief = other.own(name)
        thief.rotate()
    refused(site, other.own("quay").request_file, "not signed by the key that quay has")
    refused(site, other.own("mill").request_file, "no key of node mill counts here")


def test_what_was_kept_at_the_admins_is_put_aside_when_the_host_makes_its_own(site: KeySite) -> None:
    site.ring.issue("quay", "node", NOW_US)
    own, signing, tls = site.own("quay"), site.ring.folder / "signing", site.ring.tls
    files = {f"{mode}.pem": signing / f"quay.{mode}.pem" for mode in MODES}
    files |= {"tls.crt": tls / "quay.crt", "tls.key": tls / "quay.key", "ca.crt": tls / "ca.crt"}
    assert own.take_in("quay", "node", files)
    assert not own.take_in("quay", "node", files)
    assert sorted(key.hex() for key in own.publics().values()) == site.roster("quay")
    own.rotate()
    site.admit("quay")
    site.adopt("quay")
    assert not list(signing.glob("quay.*"))
    assert not (tls / "quay.key").exists()
    assert len(list(site.ring.old.glob("quay*"))) == 5


# Killed.


def admitted(site: KeySite) -> tuple[list[str], set[str], bool]:
    book = site.ring.register.read()
    return site.roster("quay"), {each.kid for each in book.leaving if each.kid}, bool(book.tokens)


def test_an_admission_that_is_killed_is_mended_by_the_next(site: KeySite) -> None:
    site.asked("quay")
    whole = KeySite(site.folder)
    first = at_each_step(site, lambda copy: copy.admit("quay"), lambda copy, step: mended(copy, step))
    assert first > 5
    whole.admit("quay")
    whole.adopt("quay")
    whole.own("quay").rotate()
    second = at_each_step(site, lambda copy: copy.admit("quay"), lambda copy, step: mended(copy, step, rotated=True))
    assert second > 5


def mended(site: KeySite, step: int, *, rotated: bool = False) -> None:
    site.admit("quay")
    roster, leaving, tokens = admitted(site)
    assert (len(roster), len(leaving), tokens) == ((6, 3, False) if rotated else (3, 0, False)), step
    assert len([each for each in site.ring.register.read().leaving if each.serial]) == rotated, step
    assert site.adopt("quay")
    own = site.own("quay")
    assert {key.hex() for key in own.publics().values()} <= set(roster)


def test_a_host_that_is_killed_has_a_working_identity(site: KeySite) -> None:
    own = site.enrol("quay")
    old = own.publics()

    def works(copy: KeySite, step: int) -> None:
        mine = copy.own("quay")
        assert mine.publics() in (old, new), step
        certificate = certificate_of(mine.current / "tls.crt")
        assert certificate.public_key() == certificates.read_tls_key(mine.current / "tls.key").public_key(), step

    new = old

    def asked(copy: KeySite, step: int) -> None:
        works(copy, step)
        copy.own("quay").rotate()
        copy.admit("quay")
        assert copy.adopt("quay")

    assert at_each_step(site, lambda copy: copy.own("quay").rotate(), asked) > 5
    own.rotate()
    site.admit("quay")
    new = own.publics(own.next)

    def adopted(copy: KeySite, step: int) -> None:
        works(copy, step)
        copy.adopt("quay")
        assert copy.own("quay").publics() == new, step

    assert at_each_step(site, lambda copy: copy.adopt("quay"), adopted) > 5


def test_a_host_goes_back(site: KeySite) -> None:
    own = site.enrol("quay")
    old = own.publics()
    with pytest.raises(ConfigError, match="no generation before"):
        own.back()
    own.rotate()
    site.admit("quay")
    site.adopt("quay")
    assert own.publics() != old
    own.back()
    assert own.publics() == old
    assert site.adopt("quay"), "and forward again"
    assert own.publics() != old
    assert len([path for path in own.folder.iterdir() if path.name.isdigit()]) == 2


def test_keys_that_nobody_would_believe_yet_are_not_adopted(site: KeySite) -> None:
    own = site.enrol("quay")
    old = own.publics()
    own.rotate()
    site.admit("quay")

    def unknown(_publics: object) -> None:
        raise ConfigError("the plan does not know it")

    tls = site.ring.tls
    with pytest.raises(ConfigError, match="does not know it"):
        own.adopt(tls / "quay.crt", tls / "ca.crt", NOW_US, known=unknown)
    assert own.publics() == old
    assert site.adopt("quay")


@pytest.mark.parametrize(("which", "match"), [("bridge", "another key"), ("ca", "another key|not signed")])
def test_another_s_certificate_is_not_adopted(site: KeySite, which: str, match: str) -> None:
    site.enrol("bridge")
    site.asked("quay")
    site.admit("quay")
    with pytest.raises(ConfigError, match=match):
        site.own("quay").adopt(site.ring.tls / f"{which}.crt", site.ring.tls / "ca.crt", NOW_US)
    other = KeySite(site.folder / "other").begin()
    with pytest.raises(ConfigError, match="not signed by"):
        site.own("quay").adopt(site.ring.tls / "quay.crt", other.ring.tls / "ca.crt", NOW_US)
    with pytest.raises(ConfigError, match="has ended"):
        site.adopt("quay", NOW_US + 1000 * 24 * HOUR_US)
    assert not site.own("quay").current.exists()
