"""Another centre: writes and signs CAP messages of its own, with code that shares nothing with our sender (signxml signs)."""

from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree
from signxml import CanonicalizationMethod, DigestAlgorithm, SignatureMethod, XMLSigner

from controller.dispatch.capform import NAMESPACE
from tests.kit import capkeys
from tests.kit.capkeys import Key
from tests.kit.clock import START_WALL_US

SENDER = "iasi@isu.example"
REACHES = "<polygon>45.43,28.01 45.45,28.01 45.45,28.05 45.43,28.01</polygon>"


def stamp(at_us: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=at_us // 1_000_000)).strftime(
        "%Y-%m-%dT%H:%M:%S+00:00"
    )


def reference(identifier: str, sent_us: int = START_WALL_US, sender: str = SENDER) -> str:
    return f"{sender},{identifier},{stamp(sent_us)}"


def written(identifier: str = "one", **more: Any) -> bytes:
    """A message about a flood, unsigned. `more`: kind, status, severity, sent_us, references, area, …"""
    facts = {
        "sender": SENDER,
        "kind": "Alert",
        "status": "Actual",
        "category": "Met",
        "event": "Viitură",
        "urgency": "Immediate",
        "severity": "Extreme",
        "certainty": "Observed",
        "response": "",
        "sent_us": START_WALL_US,
        "expires_us": START_WALL_US + 3_600_000_000,
        "references": "",
        "note": "",
        "parameters": "<parameter><valueName>awareness_type</valueName><value>12; flooding</value></parameter>",
        "area": REACHES,
        "extra": "",
        **more,
    }
    note = facts["note"] or ("over" if facts["kind"] in ("Cancel", "Error") or facts["status"] == "Exercise" else "")
    expires = f"<expires>{stamp(facts['expires_us'])}</expires>" if facts["expires_us"] else ""
    response = f"<responseType>{facts['response']}</responseType>" if facts["response"] else ""
    info = (
        f"<info><language>ro</language><category>{facts['category']}</category><event>{facts['event']}</event>{response}"
        f"<urgency>{facts['urgency']}</urgency><severity>{facts['severity']}</severity>"
        f"<certainty>{facts['certainty']}</certainty>{expires}<headline>Viitură pe Prut</headline>{facts['parameters']}"
        f"<area><areaDesc>Prut</areaDesc>{facts['area']}</area></info>"
    )
    return (
        f'<alert xmlns="{NAMESPACE}"><identifier>{identifier}</identifier><sender>{facts["sender"]}</sender>'
        f"<sent>{stamp(facts['sent_us'])}</sent><status>{facts['status']}</status><msgType>{facts['kind']}</msgType>"
        f"<scope>Public</scope>"
        + (f"<note>{note}</note>" if note else "")
        + (f"<references>{facts['references']}</references>" if facts["references"] else "")
        + info
        + f"{facts['extra']}</alert>"
    ).encode()


def signed(data: bytes, key: Key | None = None, certificate: x509.Certificate | None = None) -> bytes:
    """The message with its signature, by signxml."""
    key = key or capkeys.key_of(2)
    certificate = certificate or capkeys.certificate_of(key, "iasi")
    method = SignatureMethod.ECDSA_SHA256 if hasattr(key, "curve") else SignatureMethod.RSA_SHA256
    signer = XMLSigner(
        signature_algorithm=method,
        digest_algorithm=DigestAlgorithm.SHA256,
        c14n_algorithm=CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0,
    )
    pem = certificate.public_bytes(Encoding.PEM).decode()
    return etree.tostring(signer.sign(etree.fromstring(data), key=key, cert=pem))


def message(identifier: str = "one", **more: Any) -> bytes:
    """As `written`, signed by the neighbour's key."""
    return signed(written(identifier, **more))
