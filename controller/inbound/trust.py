"""Whose a CAP message is: its XML signature against the certificates that we have pinned for a source.

Theory. Three things go wrong with XML signatures: any key is believed (a certificate inside the message proves nothing), a part
is signed and another is read (wrapping), and a transform hides what was changed. So here: only a pinned certificate counts, and
the one in the message is not looked at; there is exactly one Signature, the last child of the root, with one Reference to the
whole document and no transform but "without the signature" and canonical XML; and what is read afterwards is the element that
signxml says was signed, parsed anew from the very bytes that were hashed. Nothing else of the message is used.

A pinned certificate counts until it is taken from the configuration, also after its end, as an SSH key would: a warning fails
open. `ends_us` lets people be told in time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature as BadSignature
from lxml import etree

from ..dispatch import capcheck
from ..dispatch.capcheck import SIGNATURES, Fault
from ..dispatch.capsign import ECDSA_SHA256, ENVELOPED, EXCLUSIVE, RSA_SHA256, read_certificate

_DS: Final = f"{{{SIGNATURES}}}"
METHODS: Final = frozenset(
    {
        ECDSA_SHA256,
        RSA_SHA256,
        "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384",
        "http://www.w3.org/2001/04/xmldsig-more#rsa-sha384",
        "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha512",
        "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512",
    }
)
DIGESTS: Final = frozenset(
    {
        "http://www.w3.org/2001/04/xmlenc#sha256",
        "http://www.w3.org/2001/04/xmldsig-more#sha384",
        "http://www.w3.org/2001/04/xmlenc#sha512",
    }
)
CANONICAL: Final = frozenset(
    {EXCLUSIVE, "http://www.w3.org/TR/2001/REC-xml-c14n-20010315", "http://www.w3.org/2006/12/xml-c14n11"}
)
SIGNATURE: Final = [_DS + "SignedInfo", _DS + "SignatureValue", _DS + "KeyInfo"]
SIGNED_INFO: Final = [_DS + "CanonicalizationMethod", _DS + "SignatureMethod", _DS + "Reference"]


@dataclass(frozen=True, slots=True)
class Pin:
    """One pinned certificate."""

    certificate: x509.Certificate
    ends_us: int


def pinned(paths: Sequence[Path]) -> tuple[Pin, ...]:
    """The certificates of these files; ConfigError when one cannot be used."""
    found = [read_certificate(path) for path in paths]
    return tuple(Pin(each, round(each.not_valid_after_utc.timestamp() * 1e6)) for each in found)


def verified(data: bytes, pins: Sequence[Pin]) -> etree._Element | Fault:
    """The signed `alert`, as it was signed; or why it is not one of theirs."""
    root = capcheck.parse(data)
    if isinstance(root, Fault):
        return root
    fault = _shape(root)
    if fault is not None:
        return fault
    for pin in pins:
        signed = _signed(data, pin.certificate)
        if signed is not None:
            return capcheck.parse(signed)
    return Fault("signature", "it is not signed by a certificate that is pinned for this source")


def _shape(root: etree._Element) -> Fault | None:
    """Whether the signature has the one form that we read; None: it has."""
    all_of_it = root.findall(f".//{_DS}Signature")
    if not all_of_it:
        return Fault("unsigned", "it carries no signature")
    if len(all_of_it) > 1 or all_of_it[0].getparent() is not root or root[-1] is not all_of_it[0]:
        return Fault("wrapping", "the one Signature is the last child of alert")
    signature = all_of_it[0]
    parts = [child.tag for child in signature]
    if parts not in (SIGNATURE[:2], SIGNATURE):
        return Fault("wrapping", "a Signature is SignedInfo, SignatureValue and KeyInfo")
    info = signature[0]
    if [child.tag for child in info] != SIGNED_INFO:
        return Fault("wrapping", "SignedInfo has one Reference")
    method, digest = info[1].get("Algorithm"), info.find(f"{_DS}Reference/{_DS}DigestMethod")
    if info[0].get("Algorithm") not in CANONICAL or method not in METHODS:
        return Fault("algorithm", f"signature method {str(method)[-40:]}")
    reference = info[2]
    if reference.get("URI") != "":
        return Fault("wrapping", "the Reference is to the whole document")
    if [child.tag for child in reference] != [_DS + each for each in ("Transforms", "DigestMethod", "DigestValue")]:
        return Fault("wrapping", "a Reference is Transforms, DigestMethod and DigestValue")
    if digest is None or digest.get("Algorithm") not in DIGESTS:
        return Fault("algorithm", "digest method")
    transforms = [each.get("Algorithm") for each in reference[0]]
    if transforms[:1] != [ENVELOPED] or len(transforms) > 2 or not set(transforms[1:]) <= CANONICAL:
        return Fault("algorithm", "a transform that is neither enveloped-signature nor canonical XML")
    return None


def _signed(data: bytes, certificate: x509.Certificate) -> bytes | None:
    """The bytes that were signed, if this certificate's key signed them."""
    from signxml.exceptions import SignXMLException
    from signxml.verifier import SignatureConfiguration, VerifyResult, XMLVerifier  # for those who have a source

    config = SignatureConfiguration(
        location="./", expect_references=1, verification_time=certificate.not_valid_before_utc
    )
    try:
        found = XMLVerifier().verify(data, x509_cert=certificate, parser=capcheck.parser(), expect_config=config)
    except (SignXMLException, BadSignature, etree.Error, ValueError, KeyError, TypeError, AssertionError):
        return None
    return found.signed_data if isinstance(found, VerifyResult) else None
