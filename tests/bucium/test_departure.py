"""Who leaves: rotation of what is kept with the admin, the end of an overlap, revocation; each whole, however it was killed."""

from pathlib import Path

import pytest

from bucium import admission, departure, standing
from bucium.certcheck import certificate_of, hosts_of
from bucium.keyring import Keyring
from cython_ext import ConfigError
from lanes.keys import read_key
from tests.kit.face import Face
from tests.kit.keysite import BROKER, HOUR_US, NOW_US, KeySite, at_each_step

TOWN = Path("bucium/demo/town.toml")
MODES = ("live", "exercise", "test")


@pytest.fixture
def site(tmp_path: Path) -> KeySite:
    return KeySite(tmp_path / "site").begin()


def test_revoked_is_everything_of_an_id_and_of_nobody_else(site: KeySite) -> None:
    site.enrol("quay")
    site.enrol("bridge")
    first = site.serial("quay")
    site.own("quay").rotate()
    site.admit("quay")
    serials, kids = {first, site.serial("quay")}, {standing.kid(key) for key in standing.keys_of(site.ring, "quay")}
    assert len(kids) == 6
    done = departure.revoke(site.ring, "quay", "stolen", NOW_US)
    assert done.changed
    assert set(done.kids) == kids == set(site.ring.register.revoked_kids())
    assert site.listed() == serials
    assert not site.roster("quay")
    assert len(site.roster("bridge")) == 3
    assert [name for name, _ in site.ring.certificates()] == ["bridge", "ca"]
    before = site.files()
    assert not departure.revoke(site.ring, "quay", "stolen", NOW_US).changed
    assert site.files() == before


def test_who_was_revoked_may_enrol_anew_with_other_keys(site: KeySite) -> None:
    site.enrol("quay")
    departure.revoke(site.ring, "quay", "stolen", NOW_US)
    old = site.folder / "quay"
    old.rename(site.folder / "thief")
    site.enrol("quay", now_us=NOW_US + HOUR_US)
    assert len(site.roster("quay")) == 3
    assert site.serial("quay") not in site.listed()
    thief = site.own("thief")
    thief.rotate()
    with pytest.raises(ConfigError, match="not signed by the key that quay has"):
        admission.admit(site.ring, thief.request_file, NOW_US + HOUR_US)
    assert departure.revoke(site.ring, "quay", "again", NOW_US + 2 * HOUR_US).changed
    assert len(site.listed()) == 2


def test_a_host_that_was_revoked_keeps_what_it_has_until_it_adopts_another_identity(site: KeySite) -> None:
    own = site.enrol("quay")
    old = own.publics()
    departure.revoke(site.ring, "quay", "a mistake", NOW_US)
    token, _ = admission.token(site.ring, "quay", "node", NOW_US)
    with pytest.raises(ConfigError, match="--anew"):
        own.enrol("quay", "node", token)
    own.enrol("quay", "node", token, anew=True)
    site.admit("quay")
    assert own.publics() == old
    site.adopt("quay")
    assert sorted(key.hex() for key in own.publics().values()) == site.roster("quay")


def test_revocation_voids_an_open_token(site: KeySite) -> None:
    request = site.asked("quay")
    departure.revoke(site.ring, "quay", "a mistake", NOW_US)
    with pytest.raises(ConfigError, match="no open token"):
        admission.admit(site.ring, request, NOW_US)


@pytest.mark.parametrize(
    ("name", "reason", "match"),
    [
        ("mill", "gone", "nothing here is mill's"),
        ("quay", " ", "say why"),
        ("quay", "x" * 201, "say why"),
        ("quay", "a\nb", "say why"),
        ("Quay", "gone", "Quay"),
        ("ca", "gone", "nothing here is ca's"),
    ],
)
def test_a_revocation_of_nobody_or_without_a_reason_is_refused(
    site: KeySite, name: str, reason: str, match: str
) -> None:
    site.enrol("quay")
    before = site.files()
    with pytest.raises(ConfigError, match=match):
        departure.revoke(site.ring, name, reason, NOW_US)
    assert site.files() == before


def test_a_revocation_that_is_killed_is_mended_by_the_next(site: KeySite) -> None:
    site.enrol("quay")
    site.own("quay").rotate()
    site.admit("quay")

    def mended(copy: KeySite, step: int) -> None:
        departure.revoke(copy.ring, "quay", "stolen", NOW_US)
        assert not copy.roster("quay"), step
        assert len(copy.listed()) == 2, step
        assert len(set(copy.ring.register.revoked_kids())) == 6, step
        assert not list(copy.ring.tls.glob("quay.*")), step

    assert at_each_step(site, lambda copy: departure.revoke(copy.ring, "quay", "stolen", NOW_US), mended) > 4


def test_keys_that_are_kept_here_rotate_too(site: KeySite) -> None:
    ring = site.ring
    ring.issue("quay", "node", NOW_US)
    ring.issue_server("broker", (BROKER,), NOW_US)
    old, serials = set(site.roster("quay")), {site.serial("quay"), site.serial("broker")}
    done = departure.rotate(ring, "quay", NOW_US, overlap_hours=1)
    assert done.roster.count("[[key]]") == 3
    departure.rotate(ring, "broker", NOW_US, overlap_hours=0)
    assert hosts_of(certificate_of(ring.tls / "broker.next.crt")) == (BROKER,)
    with pytest.raises(ConfigError, match="has new keys already"):
        departure.rotate(ring, "quay", NOW_US)
    assert old < set(site.roster("quay"))
    assert {read_key(ring.folder / "signing" / f"quay.{m}.pem").public.hex() for m in MODES} == old, "still the old"
    with pytest.raises(ConfigError, match="early"):
        departure.retire(ring, "quay", NOW_US)
    departure.retire(ring, "quay", NOW_US, early=True)
    departure.retire(ring, "broker", NOW_US)
    assert {read_key(ring.folder / "signing" / f"quay.{m}.pem").public.hex() for m in MODES} == set(site.roster("quay"))
    assert not old & set(site.roster("quay"))
    assert site.listed() == serials
    assert not list(ring.folder.rglob("*.next.*"))


def test_who_keeps_nothing_here_rotates_at_home(site: KeySite) -> None:
    site.enrol("quay")
    with pytest.raises(ConfigError, match="request --rotate"):
        departure.rotate(site.ring, "quay", NOW_US)


def test_a_rotation_that_is_killed_is_mended_by_the_next(site: KeySite) -> None:
    site.ring.issue("quay", "node", NOW_US)
    old = site.serial("quay")

    def both(copy: KeySite) -> None:
        departure.rotate(copy.ring, "quay", NOW_US)
        departure.retire(copy.ring, "quay", NOW_US, early=True)

    def mended(copy: KeySite, step: int) -> None:
        ring: Keyring = copy.ring
        held = {read_key(ring.folder / "signing" / f"quay.{mode}.pem").public.hex() for mode in MODES}
        gone = set(ring.register.revoked_kids())
        known = {key.public for key in ring.signers() if standing.kid(key) not in gone}
        assert held <= known or gone, f"{step}: a key in use is known, as long as nothing was retired"
        if any(each.id == "quay" for each in ring.register.read().leaving) or gone:
            departure.retire(ring, "quay", NOW_US, early=True)
        else:
            both(copy)
        held = {read_key(ring.folder / "signing" / f"quay.{mode}.pem").public.hex() for mode in MODES}
        assert held == set(copy.roster("quay")), step
        assert old in copy.listed(), step
        assert copy.serial("quay") not in copy.listed(), step

    assert at_each_step(site, both, mended) > 12


def test_a_plan_takes_what_was_revoked(face: Face, tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    ring = Keyring(folder)
    ring.init("DEMO", ("ana", "ion"), 2, NOW_US)
    ring.issue("centre-1", "controller", NOW_US)
    for node in ("pump", "quay"):
        ring.issue(node, "node", NOW_US)
    done = departure.revoke(ring, "quay", "stolen", NOW_US)
    out = tmp_path / "plan.cbor"
    built = face("plan", "build", TOWN, "--roster", ring.roster_file, "-o", out)
    assert built.code == 0, built.err
    plan = face("plan", "show", out, "--json").document["plan"]
    assert sorted(plan["revoked"]) == sorted(done.kids)
    assert "quay" not in {key["signer"] for key in plan["key"]}
