"""`bucium release`: who stands for a release, and what is refused; the list of parts by an independent judge."""

import json
import subprocess
import tarfile
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from bucium import release
from bucium.cli import run
from cython_ext import ConfigError
from tests.kit.releases import small_release


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    small_release(folder, "0.2.0")
    return folder / "0.2.0"


@pytest.fixture
def site(made: Path, tmp_path: Path) -> Path:
    """A folder with keys, and a signed release in it."""
    release.make_key(tmp_path / "keys", "ana")
    (tmp_path / "release").mkdir()
    for name in ("release.json", "release.tar"):
        (tmp_path / "release" / name).write_bytes((made / name).read_bytes())
    release.sign(tmp_path / "release", tmp_path / "keys" / "release" / "ana.pem")
    return tmp_path


def check(site: Path) -> tuple[release.Manifest, str]:
    return release.check(site / "release", site / "keys" / "release")


def test_a_signed_release_is_of_who_signed_it(site: Path) -> None:
    manifest, name = check(site)
    assert (manifest.version, name, manifest.downgrade_from) == ("0.2.0", "ana", ())
    assert (site / "keys" / "release" / "ana.pem").stat().st_mode & 0o077 == 0


def test_openssl_takes_the_same_signature(site: Path) -> None:
    """Hosts have nothing else when they are new."""
    words = ["openssl", "pkeyutl", "-verify", "-pubin", "-rawin", "-inkey", site / "keys/release/ana.pub"]
    words += ["-in", site / "release/release.json", "-sigfile", site / "release/release.sig"]
    assert subprocess.run(words, capture_output=True, check=False).returncode == 0
    (site / "release/release.json").write_bytes((site / "release/release.json").read_bytes() + b" ")
    assert subprocess.run(words, capture_output=True, check=False).returncode != 0


def test_every_changed_byte_of_what_is_signed_is_refused(site: Path) -> None:
    for name in ("release.json", "release.sig"):
        whole = (site / "release" / name).read_bytes()
        for place in range(len(whole)):
            changed = bytearray(whole)
            changed[place] ^= 0x01
            (site / "release" / name).write_bytes(changed)
            with pytest.raises(ConfigError, match="is not signed by a release key"):
                check(site)
        (site / "release" / name).write_bytes(whole)
    check(site)


def test_a_changed_archive_a_strange_key_and_no_signature_are_refused(site: Path) -> None:
    archive = site / "release" / "release.tar"
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-1] + b"x")
    with pytest.raises(ConfigError, match=r"release\.tar is not what its release\.json says"):
        check(site)
    with pytest.raises(ConfigError, match=r"release\.tar is not what"):
        release.sign(site / "release", site / "keys/release/ana.pem")
    archive.write_bytes(whole)
    release.make_key(site / "strange", "mallory")
    release.sign(site / "release", site / "strange/release/mallory.pem")
    with pytest.raises(ConfigError, match="is not signed by a release key"):
        check(site)
    (site / "release" / "release.sig").unlink()
    with pytest.raises(ConfigError, match=r"no release\.sig; sign the release"):
        check(site)
    with pytest.raises(ConfigError, match="no release keys here"):
        release.check(site / "release", site / "nowhere")


def test_two_keys_overlap(site: Path) -> None:
    release.make_key(site / "keys", "ion")
    assert check(site)[1] == "ana"
    release.sign(site / "release", site / "keys/release/ion.pem")
    assert check(site)[1] == "ion"


def test_a_step_back_is_signed_for_by_name(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["release", "sign", str(site / "release"), "--key", str(site / "keys/release/ana.pem")]
    assert run([*words, "--downgrade-from", "0.3.0"]) == 0
    assert check(site)[0].downgrade_from == ("0.3.0",)
    assert "may replace 0.3.0" in capsys.readouterr().out
    before = (site / "release/release.json").read_bytes()
    assert run([*words, "--downgrade-from", "any"]) == 1
    assert (site / "release/release.json").read_bytes() == before
    check(site)


def test_the_verb_says_it_with_its_exit_code(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["release", "verify", str(site / "release"), "--keys", str(site / "keys/release"), "--json"]
    assert run(words) == 0
    assert json.loads(capsys.readouterr().out)["signed_by"] == "ana"
    (site / "release" / "release.sig").write_bytes(bytes(64))
    assert run(words) == 1
    assert not json.loads(capsys.readouterr().out)["ok"]
    assert run(["release", "key", "ana", "--dir", str(site / "keys")]) == 1
    assert "exists" in capsys.readouterr().err


def test_the_list_of_parts_is_cyclonedx_and_names_every_wheel_by_its_hash(made: Path) -> None:
    with tarfile.open(made / "release.tar") as archive:
        text = archive.extractfile("./sbom.cdx.json").read().decode()
        lock = archive.extractfile("./requirements.txt").read().decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    said = json.loads(text)
    parts = [said["metadata"]["component"], *said["components"]]
    named = {f"{p['name']}=={p['version']} --hash=sha256:{p['hashes'][0]['content']}" for p in parts}
    assert named == set(lock.splitlines())
    assert {p["name"] for p in parts} == {"bucium", "pip"}
