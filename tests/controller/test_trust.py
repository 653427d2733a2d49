"""Whose a message is: pinned certificates only, one signature over all of it, and nothing read that was not signed."""

import base64
import copy

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from signxml import XMLSigner

from controller.dispatch import capcheck
from controller.dispatch.capcheck import Fault
from controller.dispatch.capform import PREFIX
from controller.inbound.trust import Pin, verified
from tests.kit import capkeys, neighbour
from tests.kit.neighbour import message, signed, written

PINS = (Pin(capkeys.certificate_of(capkeys.key_of(2), "iasi"), 0),)
DS = "{http://www.w3.org/2000/09/xmldsig#}"


def rule(data: bytes) -> str:
    found = verified(data, PINS)
    return found.rule if isinstance(found, Fault) else ""


def identifier(data: bytes) -> str:
    found = verified(data, PINS)
    assert not isinstance(found, Fault), found
    return found.findtext(PREFIX + "identifier")


def test_what_the_neighbour_signed_is_theirs_and_reads_as_it_was_signed() -> None:
    found = verified(message(), PINS)
    assert not isinstance(found, Fault)
    assert capcheck.examine(found) == ()
    assert found.find(f".//{DS}Signature") is None
    assert etree.tostring(found, method="c14n", exclusive=True) == written()


def test_what_we_sign_ourselves_another_centre_can_verify() -> None:
    data = capkeys.signer(2).sign(written())
    assert identifier(data) == "one"


def test_a_second_pinned_certificate_counts_too_and_rsa() -> None:
    key = rsa.generate_private_key(65537, 2048)
    both = (*PINS, Pin(capkeys.certificate_of(key, "next"), 0))
    for data in (message(), signed(written(), key)):
        assert not isinstance(verified(data, both), Fault)
    assert rule(signed(written(), key)) == "signature"


def test_an_ended_certificate_counts_until_it_is_taken_away() -> None:
    ended = capkeys.certificate_of(capkeys.key_of(2), "iasi", capkeys.BEGINS, capkeys.BEGINS.replace(day=2))
    assert not isinstance(verified(message(), (Pin(ended, 0),)), Fault)
    assert rule(message()) == ""


def test_a_stranger_s_signature_does_not_count_whatever_certificate_it_shows() -> None:
    assert rule(written()) == "unsigned"
    assert rule(signed(written(), capkeys.key_of(3))) == "signature", "a self-signed forgery"
    forged = signed(written(), capkeys.key_of(3), capkeys.certificate_of(capkeys.key_of(3), "iasi"))
    theirs = base64.b64encode(PINS[0].certificate.public_bytes(capkeys.Encoding.DER))
    root = etree.fromstring(forged)
    root.find(f".//{DS}X509Certificate").text = theirs.decode()
    assert rule(etree.tostring(root)) == "signature", "another's certificate beside it"


def test_anything_changed_after_signing_is_refused() -> None:
    good = message()
    for old, new in (
        (b"Extreme", b"Minor"),
        (b"<identifier>one", b"<identifier>two"),
        (b"45.43,28.01", b"46.43,28.01"),
        (b"Actual", b"Test"),
    ):
        assert old in good
        assert rule(good.replace(old, new, 1)) == "signature"


@given(st.integers(0, len(message()) - 1), st.integers(1, 255))
def test_no_flipped_byte_changes_what_is_read(place: int, flip: int) -> None:
    data = bytearray(message())
    data[place] ^= flip
    found = verified(bytes(data), PINS)
    if not isinstance(found, Fault):  # the certificate that is shown, white space in base64: nothing that is read
        assert etree.tostring(found, method="c14n", exclusive=True) == written()


@given(st.binary(max_size=300))
def test_any_bytes_are_answered(data: bytes) -> None:
    assert isinstance(verified(data, PINS), Fault)


# Wrapping: the signed element is kept somewhere, and another is shown.


def wrapped(how: str) -> bytes:
    root = etree.fromstring(message())
    signature = root.find(DS + "Signature")
    evil = etree.fromstring(written("evil"))
    if how == "inside":  # the signed alert as a child of the evil one
        evil.append(root)
    elif how == "signature-moved":
        root.remove(signature)
        evil.append(root)
        evil.append(signature)
    elif how == "object":  # the signed alert within the signature, as an Object
        root.remove(signature)
        holder = etree.SubElement(signature, DS + "Object")
        holder.append(root)
        evil.append(signature)
    elif how == "by-id":
        root.set("Id", "x")
        root.remove(signature)
        signature.find(f".//{DS}Reference").set("URI", "#x")
        evil.append(root)
        evil.append(signature)
    elif how == "twice":
        root.append(copy.deepcopy(signature))
        evil = root
    elif how == "first":
        root.remove(signature)
        root.insert(0, signature)
        evil = root
    elif how == "empty-uri-gone":
        del signature.find(f".//{DS}Reference").attrib["URI"]
        evil = root
    elif how == "two-references":
        info = signature.find(DS + "SignedInfo")
        info.append(copy.deepcopy(info.find(DS + "Reference")))
        evil = root
    elif how == "no-reference":
        info = signature.find(DS + "SignedInfo")
        info.remove(info.find(DS + "Reference"))
        evil = root
    elif how == "outside":
        signature.find(f".//{DS}Reference").set("URI", "http://127.0.0.1/alert.xml")
        evil = root
    return etree.tostring(evil)


@pytest.mark.parametrize(
    "how",
    [
        "inside",
        "signature-moved",
        "object",
        "by-id",
        "twice",
        "first",
        "empty-uri-gone",
        "two-references",
        "no-reference",
        "outside",
    ],
)
def test_wrapping_is_refused(how: str) -> None:
    assert rule(wrapped(how)) == ("signature" if how == "signature-moved" else "wrapping")


@pytest.mark.parametrize(
    ("path", "algorithm"),
    [
        ("Transform", "http://www.w3.org/TR/1999/REC-xpath-19991116"),
        ("Transform", "http://www.w3.org/TR/1999/REC-xslt-19991116"),
        ("Transform", "http://www.w3.org/2000/09/xmldsig#base64"),
        ("DigestMethod", "http://www.w3.org/2000/09/xmldsig#sha1"),
        ("SignatureMethod", "http://www.w3.org/2000/09/xmldsig#hmac-sha1"),
        ("SignatureMethod", "http://www.w3.org/2000/09/xmldsig#rsa-sha1"),
        ("SignatureMethod", "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256"),
        ("CanonicalizationMethod", "http://www.w3.org/2006/12/nothing"),
    ],
)
def test_weak_and_strange_algorithms_are_refused(path: str, algorithm: str) -> None:
    root = etree.fromstring(message())
    root.find(f".//{DS}{path}").set("Algorithm", algorithm)
    assert rule(etree.tostring(root)) == "algorithm"


def test_an_hmac_with_the_public_certificate_as_its_key_is_no_signature() -> None:
    key = PINS[0].certificate.public_bytes(capkeys.Encoding.PEM)
    root = XMLSigner(signature_algorithm="hmac-sha256").sign(etree.fromstring(written()), key=key)
    assert rule(etree.tostring(root)) == "algorithm"


def test_entities_bombs_and_other_namespaces_are_refused() -> None:
    good = message().decode()
    bomb = '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">' + "".join(
        f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9)
    )
    assert rule(f"{bomb}]>{good.replace('Viitur', '&j;', 1)}".encode()) in ("doctype", "xml")
    outside = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]>'
    assert rule((outside + good.replace("Viitur", "&x;", 1)).encode()) in ("doctype", "xml")
    assert rule(good.replace("cap:1.2", "cap:1.1").encode()) == "namespace"
    assert rule(b" " * (capcheck.BYTES_MAX + 1)) == "size"
    assert rule(b"<a>" * 5000) == "xml"


def test_the_kit_signs_as_others_do() -> None:
    assert b"X509Certificate" in message()
    assert neighbour.stamp(0) == "1970-01-01T00:00:00+00:00"
