"""`bucium keys`: files that only their owner can read, a roster that a plan takes, certificates that TLS takes."""

import asyncio
import base64
import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bucium import certificates
from bucium.keyring import Keyring
from controller.dispatch.capsign import read_signer
from cython_ext import ConfigError
from lanes.keys import Mode, Role, read_key
from lanes.planfile import Root
from lanes.settings import load
from tests.kit.face import Face
from tests.kit.passkeys import ORIGIN, RP_ID, authenticator

NOW_US = 1_800_000_000_000_000


@pytest.fixture
def ring(tmp_path: Path) -> Keyring:
    ring = Keyring(tmp_path / "keys")
    ring.init("TEST-1", ("ana", "ion"), 2, NOW_US)
    return ring


def test_init_makes_a_root_and_secrets_for_their_owner_only(ring: Keyring) -> None:
    root = load(ring.root_file, Root)
    assert (root.name, root.threshold) == ("TEST-1", 2)
    for planner in root.planners:
        assert read_key(ring.folder / "planners" / f"{planner.id}.pem").public.hex() == planner.public
    secrets = [*ring.folder.rglob("*.pem"), *ring.folder.rglob("*.key")]
    assert len(secrets) == 3
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets} == {0o600}


def test_init_never_overwrites(ring: Keyring) -> None:
    with pytest.raises(ConfigError, match="has a root already"):
        ring.init("TEST-2", ("eva",), 1, NOW_US)


@pytest.mark.parametrize(
    ("root", "planners", "threshold", "message"),
    [
        ("small", ("ana",), 1, "name"),
        ("TEST", ("ana",), 2, "as many planners"),
        ("TEST", ("Ana",), 1, "'Ana'"),
        ("TEST", ("ana", "ana"), 1, "twice"),
    ],
)
def test_a_refused_init_leaves_nothing(
    tmp_path: Path, root: str, planners: tuple[str, ...], threshold: int, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        Keyring(tmp_path / "keys").init(root, planners, threshold, NOW_US)
    assert not (tmp_path / "keys").exists()


def test_each_signer_has_one_key_a_mode(ring: Keyring) -> None:
    ring.issue("quay", "node", NOW_US)
    ring.issue("maria", "operator", NOW_US, zones=("riverside",), centre="balti", tls=False)
    keys = ring.signers()
    assert [(k.signer, k.mode) for k in keys] == [(s, m.name.lower()) for s in ("quay", "maria") for m in Mode]
    assert len({k.public for k in keys}) == 6
    for key in keys:
        assert read_key(ring.folder / "signing" / f"{key.signer}.{key.mode}.pem").public.hex() == key.public
    assert keys[3].zones == ("riverside",)
    assert keys[0].role == Role.NODE.name.lower()


def test_a_person_without_zones_is_refused(ring: Keyring) -> None:
    with pytest.raises(ConfigError, match="--zones"):
        ring.issue("maria", "operator", NOW_US)
    assert not ring.roster_file.exists()


def test_issuing_twice_is_refused(ring: Keyring) -> None:
    ring.issue("quay", "node", NOW_US)
    with pytest.raises(ConfigError, match="exists"):
        ring.issue("quay", "node", NOW_US)
    assert len(ring.signers()) == 3


def test_certificates_are_back_dated_a_day(ring: Keyring) -> None:
    ring.issue("quay", "node", NOW_US)
    certificate = x509.load_pem_x509_certificate((ring.folder / "tls" / "quay.crt").read_bytes())
    now = datetime.fromtimestamp(NOW_US / 1e6, UTC)
    assert now - certificate.not_valid_before_utc == timedelta(hours=24)
    assert certificate.not_valid_after_utc - now == timedelta(days=certificates.DAYS)


async def test_tls_with_client_certificates_works_both_ways(tmp_path: Path) -> None:
    ring = Keyring(tmp_path)
    now_us = round(datetime.now(UTC).timestamp() * 1e6)
    ring.init("TEST", ("ana",), 1, now_us)
    ring.issue("quay", "node", now_us)
    ring.issue_server("broker", ("127.0.0.1", "broker.test"), now_us)
    tls = tmp_path / "tls"
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tls / "ca.crt"))
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_cert_chain(tls / "broker.crt", tls / "broker.key")
    client = ssl.create_default_context(cafile=str(tls / "ca.crt"))
    seen: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        subject = dict(pair[0] for pair in writer.get_extra_info("peercert")["subject"])
        seen.set_result(subject["commonName"])
        writer.close()

    async with await asyncio.start_server(accept, "127.0.0.1", 0, ssl=server) as listening:
        port = listening.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client)
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)  # no client certificate: TLS 1.3 says so at the first read
        assert not seen.done()
        writer.transport.abort()
        client.load_cert_chain(tls / "quay.crt", tls / "quay.key")
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname="broker.test")
        assert await seen == "quay"
        writer.transport.abort()


def test_a_server_certificate_names_hosts(ring: Keyring) -> None:
    with pytest.raises(ConfigError, match="--host"):
        ring.issue_server("broker", (), NOW_US)


def test_a_key_for_cap_signs_and_its_certificate_is_good_for_nothing_else(ring: Keyring) -> None:
    certificate, key = ring.issue_cap("centre-1", NOW_US).files
    signer = read_signer(key, certificate)
    assert signer.begins_us < NOW_US < signer.ends_us
    found = x509.load_pem_x509_certificate(certificate.read_bytes())
    usage = found.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.key_cert_sign, usage.key_agreement) == (True, False, False)
    found.verify_directly_issued_by(x509.load_pem_x509_certificate((ring.folder / "tls" / "ca.crt").read_bytes()))
    with pytest.raises(ConfigError, match="exists"):
        ring.issue_cap("centre-1", NOW_US)
    assert ("centre-1 (CAP)", signer.ends_us) in ring.certificates()


def test_the_verbs(face: Face, tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    made = face("keys", "init", "--root", "TEST", "--planner", "ana", "--threshold", 1, "--dir", folder, "--json")
    assert made.code == 0
    assert made.document["root"] == "TEST"
    issued = face("keys", "issue", "quay", "--role", "node", "--dir", folder)
    assert issued.code == 0
    assert issued.out.count("[[key]]") == 3
    assert issued.out.strip() == (folder / "roster.toml").read_text().strip()
    listed = face("keys", "list", "--dir", folder, "--json").document
    assert [key["mode"] for key in listed["keys"]] == ["live", "exercise", "test"]
    assert {one["id"] for one in listed["certificates"]} == {"ca", "quay"}
    assert face("keys", "list", "--dir", folder).code == 0


def test_refusals_are_one_line_and_code_1_misuse_is_2(face: Face, tmp_path: Path) -> None:
    refused = face("keys", "issue", "x", "--role", "king", "--dir", tmp_path)
    assert refused.code == 1
    assert refused.err.strip().count("\n") == 0
    assert "node, controller, operator, broker or cap" in refused.err
    as_json = face("keys", "issue", "x", "--role", "king", "--dir", tmp_path, "--json")
    assert (as_json.code, as_json.document["ok"]) == (1, False)
    assert face("keys", "issue").code == 2
    assert face("keys", "nope").code == 2


def test_a_passkey_enters_the_roster_and_the_plan(face: Face, tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    face("keys", "init", "--root", "DEMO", "--planner", "ana", "--planner", "ion", "--dir", folder)
    for person in ("ana", "ion"):  # ES256, Ed25519
        key = authenticator(person)
        spki = key.private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        for text in (base64.b64encode(spki).decode(), base64.urlsafe_b64encode(spki).decode().rstrip("=")):
            words = ("--public", text, "--zones", "ungheni", "--origin", ORIGIN, "--rp-id", RP_ID, "--dir", folder)
            said = face("keys", "passkey", person, *words, "--json").document
            assert said["kid"] == key.kid.hex()
    [ana, again, ion, _] = Keyring(folder).signers()
    assert (ana.public, again.public) == (authenticator("ana").public.hex(),) * 2
    assert ion.passkey is not None
    assert (ion.passkey.rp_id, ion.passkey.origin, ion.mode) == (RP_ID, ORIGIN, "live")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"--public": "no key"}, "this is no public key"),
        ({"--public": "AAAA"}, "this is no public key"),
        ({"--origin": "http://alarms.town.example"}, "is not https"),
        ({"--rp-id": "evil.example"}, "is not within rp_id"),
        ({"--mode": "loud"}, "'live', 'exercise' or 'test'"),
        ({"--zones": ""}, "names its zones"),
    ],
)
def test_a_passkey_that_no_plan_takes_is_refused(
    face: Face, tmp_path: Path, changes: dict[str, str], says: str
) -> None:
    spki = authenticator("ana").private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    words = {"--public": base64.b64encode(spki).decode(), "--zones": "ungheni", "--origin": ORIGIN, "--rp-id": RP_ID}
    face("keys", "init", "--root", "DEMO", "--planner", "ana", "--planner", "ion", "--dir", tmp_path / "keys")
    options = [each for pair in (words | changes).items() for each in pair]
    said = face("keys", "passkey", "ana", *options, "--dir", tmp_path / "keys")
    assert said.code != 0
    assert says in said.err
    assert not Keyring(tmp_path / "keys").signers()
