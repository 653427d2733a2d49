"""Our signatures, verified by signxml, by xmlsec1 and by capvalidator; and the gate, which lets nothing else pass."""

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from capvalidator import validate_cap_message
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from signxml import SignatureConfiguration, XMLVerifier
from signxml.exceptions import InvalidDigest, InvalidInput, InvalidSignature

from controller.dispatch import capcheck, gate
from controller.dispatch.cap import Author, MessageType, Place
from controller.dispatch.capsign import Signer, read_signer
from controller.dispatch.settings import CapSettings
from cython_ext import ConfigError
from tests.kit import capkeys
from tests.kit.clock import START_WALL_US
from tests.kit.debian import how, program
from tests.kit.telling import change, plan

LATER_US = START_WALL_US + 7_200_000_000
CONFIG = SignatureConfiguration(location="./", verification_time=datetime(2026, 1, 2, tzinfo=UTC))
SIGNERS = {"ecdsa": capkeys.signer, "rsa": capkeys.rsa_signer}


def message(instruction: str = "Urcați & așteptați.\r\n", **more: object) -> bytes:
    author = Author(plan(instructions={"ro": instruction}), CapSettings(sender="a@b"))
    told = change(**more)  # type: ignore[arg-type]
    where = Place("one", MessageType.ALERT, (), START_WALL_US, LATER_US)
    return author.compose(told, where, author.write(told))


def signed(signer: Signer, **more: object) -> bytes:
    verdict = gate.publish(message(**more), signer, START_WALL_US)  # type: ignore[arg-type]
    assert verdict.data is not None, verdict.faults
    return verdict.data


def certificate(signer: Signer) -> x509.Certificate:
    return x509.load_der_x509_certificate(signer.certificate)


@pytest.mark.parametrize("kind", SIGNERS)
def test_signxml_verifies_what_we_sign_and_nothing_that_was_changed(kind: str) -> None:
    signer = SIGNERS[kind]()
    data = signed(signer)
    found = XMLVerifier().verify(data, x509_cert=certificate(signer), expect_config=CONFIG)
    assert found.signed_data == message()  # type: ignore[union-attr]
    other = capkeys.signer(7)
    with pytest.raises((InvalidSignature, InvalidInput)):
        XMLVerifier().verify(data, x509_cert=certificate(other), expect_config=CONFIG)
    with pytest.raises(InvalidDigest):
        XMLVerifier().verify(data.replace(b"Extreme", b"Minor"), x509_cert=certificate(signer), expect_config=CONFIG)


@pytest.mark.parametrize("kind", SIGNERS)
def test_xmlsec1_verifies_what_we_sign(kind: str, tmp_path: Path) -> None:
    tool = program("xmlsec1", "xmlsec1")
    if tool is None:
        pytest.skip(how("xmlsec1"))
    signer = SIGNERS[kind]()
    (tmp_path / "pinned.pem").write_bytes(certificate(signer).public_bytes(Encoding.PEM))

    def verify(data: bytes, name: str) -> int:
        (tmp_path / name).write_bytes(data)
        words = [tool, "--verify", "--pubkey-cert-pem", str(tmp_path / "pinned.pem"), str(tmp_path / name)]
        return subprocess.run(words, check=False, capture_output=True).returncode

    assert verify(signed(signer), "good.xml") == 0
    assert verify(signed(signer).replace(b"Extreme", b"Minor"), "bad.xml") != 0


@pytest.mark.parametrize("kind", SIGNERS)
def test_capvalidator_accepts_the_signed_message_whole(kind: str) -> None:
    data = signed(SIGNERS[kind]())
    found = validate_cap_message(data, strict=True)
    assert found.passed, found.message
    assert capcheck.schema_faults(data) == ()
    assert capcheck.faults(data, START_WALL_US) == ()


def test_the_same_message_has_the_same_bytes_each_time() -> None:
    assert signed(capkeys.signer()) == signed(capkeys.signer())
    assert signed(capkeys.rsa_signer()) == signed(capkeys.rsa_signer())


NASTY = st.text(st.characters(), min_size=1, max_size=200)


@given(NASTY)
def test_what_we_write_is_in_canonical_form(text: str) -> None:
    """lxml's canonicalisation finds nothing to change, whatever the texts are."""
    data = message(text)
    assert etree.tostring(etree.fromstring(data), method="c14n", exclusive=True) == data
    XMLVerifier().verify(
        signed(capkeys.signer(), instruction=text), x509_cert=certificate(capkeys.signer()), expect_config=CONFIG
    )


# The gate.


def test_nothing_leaves_unsigned_expired_or_against_the_rules() -> None:
    good = message()
    assert gate.publish(good, capkeys.signer(), START_WALL_US).data is not None

    def refused(data: bytes, signer: Signer | None = None, now_us: int = START_WALL_US) -> set[str]:
        verdict = gate.publish(data, signer, now_us)
        assert verdict.data is None
        return {fault.rule for fault in verdict.faults}

    assert refused(good) == {"unsigned"}
    assert refused(good, capkeys.signer(), LATER_US) == {"expired"}
    assert refused(good.replace(b">a@b<", b">a b<"), capkeys.signer()) == {"characters"}
    assert refused(good.replace(b"<status>Actual", b"<status>Real"), capkeys.signer()) == {"value"}
    assert refused(good.replace(b"</info>", b"</inf>"), capkeys.signer()) == {"xml"}
    assert refused(good.replace(b"Urca", b"U" * capcheck.BYTES_MAX), capkeys.signer()) == {"size"}
    near = b"U" * (capcheck.BYTES_MAX - len(good) - 100)
    assert refused(good.replace(b"</instruction>", near + b"</instruction>", 1), capkeys.signer()) == {"size"}
    assert gate.fresh(LATER_US, LATER_US - 1)
    assert not gate.fresh(LATER_US, LATER_US)


# Keys.


def test_a_key_and_its_certificate_are_read(tmp_path: Path) -> None:
    for signer in (capkeys.signer(), capkeys.rsa_signer()):
        read = read_signer(*capkeys.write(tmp_path, signer))
        assert (read.certificate, read.ends_us) == (signer.certificate, signer.ends_us)
        (tmp_path / "cap.key").unlink()


def test_a_key_that_cannot_sign_says_why(tmp_path: Path) -> None:
    key, pem = capkeys.write(tmp_path, capkeys.signer())
    other, _ = capkeys.write(tmp_path, capkeys.signer(2), "other")
    with pytest.raises(ConfigError, match="not of the key"):
        read_signer(other, pem)
    key.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_signer(key, pem)
    key.chmod(0o600)
    key.write_text("nonsense")
    with pytest.raises(ConfigError, match="bucium keys issue"):
        read_signer(key, pem)
    with pytest.raises(ConfigError, match="not a PEM certificate"):
        read_signer(other, other)
    with pytest.raises(ConfigError, match="cannot read"):
        read_signer(other, tmp_path / "none.crt")
    for weak, said in (
        (rsa.generate_private_key(65537, 1024), "1024 bits"),
        (ec.generate_private_key(ec.SECP384R1()), "secp384r1"),
    ):
        files = capkeys.write(tmp_path, capkeys.signer_of(weak), said.split()[0])
        with pytest.raises(ConfigError, match=said):
            read_signer(*files)
