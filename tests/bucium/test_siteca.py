"""A site with an authority of its own: requests go out, certificates come back, and each is looked at."""

from pathlib import Path

import pytest
from cryptography import x509

from bucium import certificates, departure, siteca
from bucium.keyring import Keyring
from cython_ext import ConfigError
from tests.kit.keysite import BROKER, HOUR_US, NOW_US, KeySite


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """The site's authority, elsewhere."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    certificates.make_authority(folder, "COUNTY", NOW_US)
    return folder


@pytest.fixture
def site(tmp_path: Path, theirs: Path) -> KeySite:
    site = KeySite(tmp_path / "site")
    site.ring.init("TEST-1", ("ana", "ion"), 2, NOW_US, authority=theirs / "ca.crt")
    return site


def signed(theirs: Path, csr: Path, name: str, out: Path, **options: object) -> Path:
    public = x509.load_pem_x509_csr(csr.read_bytes()).public_key()
    made = certificates.sign(theirs, name, public, NOW_US, **options)  # type: ignore[arg-type]
    out.write_bytes(made.public_bytes(certificates.Encoding.PEM))
    return out


@pytest.mark.parametrize(("name", "role"), [("quay", "node"), ("broker", "broker")])
def test_a_request_goes_out_and_its_certificate_comes_back(
    site: KeySite, theirs: Path, name: str, role: str, tmp_path: Path
) -> None:
    site.asked(name, role)
    csr = next(path for path in site.admit(name).files if path.suffix == ".csr")
    hosts = (BROKER,) if role == "broker" else ()
    answer = signed(theirs, csr, name, tmp_path / "answer.crt", hosts=hosts)
    assert siteca.take(site.ring, answer, NOW_US).changed
    assert not siteca.take(site.ring, answer, NOW_US).changed
    assert not csr.exists()
    assert site.adopt(name)


def test_what_the_authority_got_wrong_is_refused(site: KeySite, theirs: Path, tmp_path: Path) -> None:
    site.asked("broker", "broker")
    csr = next(path for path in site.admit("broker").files if path.suffix == ".csr")
    other = tmp_path / "other"
    other.mkdir()
    certificates.make_authority(other, "OTHER", NOW_US)
    out = tmp_path / "answer.crt"
    cases = [
        (theirs, "mill", {"hosts": (BROKER,)}, NOW_US, "names mill"),
        (theirs, "broker", {"hosts": ("192.0.2.1",)}, NOW_US, "does not name 127.0.0.1"),
        (theirs, "broker", {}, NOW_US, "not for TLS server"),
        (theirs, "broker", {"hosts": (BROKER,), "days": 1}, NOW_US + 48 * HOUR_US, "has ended"),
        (theirs, "broker", {"hosts": (BROKER,)}, NOW_US - 48 * HOUR_US, "begins only"),
        (other, "broker", {"hosts": (BROKER,)}, NOW_US, "not signed by"),
    ]
    before = site.files()
    for authority, name, options, now_us, match in cases:
        signed(authority, csr, name, out, **options)
        with pytest.raises(ConfigError, match=match):
            siteca.take(site.ring, out, now_us)
    for text, match in ((b"no", "not a PEM"), (bytes(70_000), "longer than"), ((theirs / "ca.crt").read_bytes(), "")):
        out.write_bytes(text)
        if match:
            with pytest.raises(ConfigError, match=match):
                siteca.take(site.ring, out, NOW_US)
    assert site.files() == before


def test_keys_that_are_made_here_wait_for_their_certificates_too(site: KeySite, theirs: Path, tmp_path: Path) -> None:
    made = site.ring.issue("quay", "node", NOW_US)
    csr = next(path for path in made.files if path.suffix == ".csr")
    assert siteca.take(site.ring, signed(theirs, csr, "quay", tmp_path / "a.crt"), NOW_US).changed
    site.ring.issue_cap("centre-1", NOW_US)
    cap = site.ring.cap / "centre-1.csr"
    answer = tmp_path / "cap.crt"
    public = x509.load_pem_x509_csr(cap.read_bytes()).public_key()
    made_cap = certificates.sign_cap(theirs, "centre-1", public, NOW_US)  # type: ignore[arg-type]
    answer.write_bytes(made_cap.public_bytes(certificates.Encoding.PEM))
    assert siteca.take(site.ring, answer, NOW_US).files == (site.ring.cap / "centre-1.crt",)


def test_the_authority_s_list_is_taken_and_no_other(site: KeySite, theirs: Path, tmp_path: Path) -> None:
    certificates.write_revoked(theirs, [(77, NOW_US)], NOW_US)
    assert siteca.take(site.ring, theirs / "ca.crl", NOW_US).changed
    assert site.listed() == {77}
    assert not siteca.take(site.ring, theirs / "ca.crl", NOW_US).changed
    other = tmp_path / "other"
    other.mkdir()
    certificates.make_authority(other, "COUNTY", NOW_US)
    with pytest.raises(ConfigError, match="not signed by the authority"):
        siteca.take(site.ring, other / "ca.crl", NOW_US)
    with pytest.raises(ConfigError, match="has ended"):
        siteca.take(site.ring, theirs / "ca.crl", NOW_US + 3654 * 24 * HOUR_US)
    site.asked("quay")
    site.admit("quay")
    departure.revoke(site.ring, "quay", "stolen", NOW_US)
    assert site.listed() == {77}, "the authority makes its list itself"


def test_no_site_begins_with_an_authority_that_is_none(tmp_path: Path, theirs: Path) -> None:
    certificates.issue(theirs, "quay", NOW_US)
    for path, now_us, match in (
        (theirs / "quay.crt", NOW_US, "no authority"),
        (theirs / "ca.crt", NOW_US + 3654 * 24 * HOUR_US, "has ended"),
        (tmp_path / "absent", NOW_US, "cannot read"),
    ):
        with pytest.raises(ConfigError, match=match):
            Keyring(tmp_path / "keys").init("TEST-1", ("ana",), 1, now_us, authority=path)
        assert not (tmp_path / "keys").exists()
