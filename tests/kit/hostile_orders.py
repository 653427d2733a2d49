"""Orders that must not sound a siren, each wrong in one thing, with the reason that it must be refused for."""

from collections.abc import Callable
from dataclasses import replace

from cython_ext import Cause, Level
from edge.siren.refusals import Why
from lanes.keys import Mode
from lanes.reports import BootData
from tests.kit.clock import START_WALL_US
from tests.kit.orders import BOOT, OTHER_BOOT, Maker, Say
from tests.kit.passkeys import FLAG, authenticator

S = 1_000_000  # microseconds
Make = Callable[[Maker], bytes]
NOW = START_WALL_US
NONCE_ONLY = frozenset({Why.NONCE, Why.APPROVAL_NONCE})  # wrong in doubt only


def now(m: Maker) -> int:
    return m.clock.wall_us()


HOSTILE: dict[str, tuple[Why, Make]] = {
    "garbage": (Why.MALFORMED, lambda m: b"\xd2garbage"),
    "empty": (Why.MALFORMED, lambda m: b""),
    "oversized": (Why.OVERSIZED, lambda m: bytes(5000)),
    "a trailing byte": (Why.MALFORMED, lambda m: m.order() + b"\0"),
    "another kind": (Why.KIND, lambda m: m.event()),
    "an operator orders": (Why.ROLE, lambda m: m.order(issuer="ana")),
    "a node orders": (Why.ROLE, lambda m: m.order(issuer="n2")),
    "the other centre's controller": (Why.ISSUER, lambda m: m.order(issuer="chisinau")),
    "another's key": (Why.ISSUER, lambda m: m.order(signer="ana")),
    "a key that nobody has": (Why.UNKNOWN_KEY, lambda m: m.order(signer="mallory")),
    "another node": (Why.ADDRESSEE, lambda m: m.order(addressee="n2")),
    "exercise key, live order": (Why.MODE, lambda m: m.order(signed_mode=Mode.EXERCISE)),
    "live key, exercise order": (Why.MODE, lambda m: m.order(mode=Mode.EXERCISE, signed_mode=Mode.LIVE)),
    "another node's siren": (Why.SIREN, lambda m: m.order(siren="s3")),
    "no such siren": (Why.SIREN, lambda m: m.order(siren="s9")),
    "a zone that it does not warn": (Why.ZONE, lambda m: m.order(zones=("valea",))),
    "no zone": (Why.ZONE, lambda m: m.order(zones=())),
    "all sirens of a zone we have not": (Why.ZONE, lambda m: m.order(siren="", zones=("nowhere",))),
    "another plan": (Why.PLAN, lambda m: m.order(plan=bytes(32))),
    "no such pattern": (Why.PATTERN, lambda m: m.order(pattern="none")),
    "no pattern": (Why.PATTERN, lambda m: m.order(pattern="")),
    "a pattern of another family": (Why.FAMILY, lambda m: m.order(pattern="incetare", siren="s2", zones=("valea",))),
    "longer than its pattern": (Why.DURATION, lambda m: m.order(max_s=122)),
    "no length": (Why.DURATION, lambda m: m.order(max_s=0)),
    "longer than any pattern": (Why.DURATION, lambda m: m.order(max_s=901)),
    "longer than its policy": (Why.POLICY, lambda m: m.order(pattern="fire", max_s=56, evidence=(smoke(m),))),
    "a wrong nonce": (Why.NONCE, lambda m: m.order(nonce=OTHER_BOOT)),
    "an order epoch that is to come": (Why.ORDER_EPOCH, lambda m: m.order(order_epoch=1000)),
    "expired": (Why.EXPIRED, lambda m: m.order(issued_us=now(m) - 61 * S)),
    "of the future": (Why.NOT_AFTER, lambda m: m.order(issued_us=now(m) + 6 * S)),
    "a long life": (Why.NOT_AFTER, lambda m: m.order(life_us=61 * S)),
    "no life": (Why.NOT_AFTER, lambda m: m.order(life_us=0)),
    "outlives its core": (Why.NOT_AFTER, lambda m: m.order(core_not_after_us=now(m) + 30 * S)),
    "nothing behind it": (Why.AUTHORITY, lambda m: m.order(Say())),
    "an exercise of no calendar": (Why.CALENDAR, lambda m: m.seal(Say(mode=Mode.EXERCISE))),
    "no policy for this": (Why.POLICY, lambda m: m.order(pattern="incetare")),
    "a by-hand zone by evidence": (Why.POLICY, lambda m: m.order(siren="s2", zones=("valea",), evidence=(m.event(),))),
    "one of two signatures": (Why.APPROVALS, lambda m: m.by_people("ana")),
    "one person twice": (Why.APPROVALS, lambda m: m.by_people("ana", "ana")),
    "two of one centre": (Why.CENTRES, lambda m: m.by_people("ana", "dan")),
    "a person of another zone": (
        Why.APPROVAL_ZONES,
        lambda m: m.by_people("ana", "eva", siren="s1", zones=("ungheni",)),
    ),
    "people of another mode": (Why.APPROVAL_MODE, lambda m: approved(m, mode=Mode.EXERCISE)),
    "a node approves": (Why.APPROVAL_ROLE, lambda m: approved(m, person="n2")),
    "the controller approves": (Why.APPROVAL_ROLE, lambda m: approved(m, person="iasi")),
    "a forged approval": (Why.APPROVAL_FORGED, lambda m: approved(m, signer="mallory")),
    "an approval by another's key": (Why.APPROVAL_FORGED, lambda m: approved(m, signer="dan")),
    "an approval for another service": (Why.APPROVAL_FORGED, lambda m: approved(m, addressee="chisinau")),
    "an approval of another order": (Why.APPROVAL_OTHER, lambda m: approved(m, digest=bytes(32))),
    "an expired approval": (Why.APPROVAL_EXPIRED, lambda m: approved(m, issued_us=now(m) - 61 * S)),
    "an approval of the future": (Why.APPROVAL_EXPIRED, lambda m: approved(m, issued_us=now(m) + 6 * S)),
    "an approval without end": (Why.APPROVAL_EXPIRED, lambda m: approved(m, life_us=600 * S)),
    "an approval without our nonce": (Why.APPROVAL_NONCE, lambda m: approved(m, nonces=())),
    "one passkey twice": (Why.APPROVALS, lambda m: asserted(m, "ana")),
    "a passkey of another mode": (Why.APPROVAL_MODE, lambda m: asserted(m, mode=Mode.EXERCISE)),
    "a passkey for other zones": (
        Why.APPROVAL_ZONES,
        lambda m: asserted(m, "eva", zones=("valea", "ungheni")),
    ),
    "a passkey that nobody has": (Why.APPROVAL_FORGED, lambda m: asserted(m, "mallory")),
    "another's passkey": (Why.APPROVAL_FORGED, lambda m: asserted(m, kid=authenticator("eva").kid)),
    "a passkey's yes to another order": (Why.APPROVAL_OTHER, lambda m: asserted(m, digest=bytes(32))),
    "a passkey on another page": (Why.APPROVAL_FORGED, lambda m: asserted(m, origin="https://evil.example")),
    "a passkey for another party": (Why.APPROVAL_FORGED, lambda m: asserted(m, rp_id="evil.example")),
    "a passkey without its person": (Why.APPROVAL_FORGED, lambda m: asserted(m, flags=FLAG.UP)),
    "a passkey that was not touched": (Why.APPROVAL_FORGED, lambda m: asserted(m, flags=FLAG.UV)),
    "a passkey's other ceremony": (Why.APPROVAL_FORGED, lambda m: asserted(m, type="webauthn.create")),
    "a passkey without our nonce": (Why.APPROVAL_NONCE, lambda m: asserted(m, nonces=())),
    "a passkey that quotes what it did not sign": (
        Why.APPROVAL_OTHER,
        lambda m: asserted(m, nonces=(), quoted=(m.boot,)),
    ),
    "a passkey's yes to an order without end": (
        Why.APPROVAL_EXPIRED,
        lambda m: asserted(m, core_not_after_us=now(m) + 130 * S),
    ),
    "forged evidence": (Why.EVIDENCE_FORGED, lambda m: m.order(evidence=(m.event(signer="mallory"),))),
    "evidence in another's name": (Why.EVIDENCE_FORGED, lambda m: m.order(evidence=(m.event("n2", signer="n3"),))),
    "evidence for another centre": (Why.EVIDENCE_FORGED, lambda m: m.order(evidence=(m.event(addressee="chisinau"),))),
    "evidence that is garbage": (Why.EVIDENCE_FORGED, lambda m: m.order(evidence=(b"\xd2",))),
    "the controller as evidence": (Why.EVIDENCE_ROLE, lambda m: m.order(evidence=(m.event("iasi"),))),
    "evidence of an exercise": (Why.EVIDENCE_MODE, lambda m: m.order(evidence=(m.event(mode=Mode.EXERCISE),))),
    "an approval as evidence": (Why.EVIDENCE_KIND, lambda m: m.order(evidence=(m.approval(bytes(32), "ana"),))),
    "a clear as evidence": (
        Why.EVIDENCE_KIND,
        lambda m: m.order(evidence=(m.event(level=Level.NORMAL, cause=Cause.LOWERED),)),
    ),
    "a lower Level as evidence": (Why.EVIDENCE_KIND, lambda m: m.order(evidence=(m.event(cause=Cause.LOWERED),))),
    "trouble as evidence": (Why.EVIDENCE_KIND, lambda m: m.order(evidence=(m.event(cause=Cause.TROUBLE_RAISED),))),
    "a boot as evidence": (Why.EVIDENCE_KIND, lambda m: m.order(evidence=(m.report("n2", BootData("1", "power")),))),
    "a calm state as evidence": (Why.EVIDENCE_KIND, lambda m: m.order(evidence=(m.state("n2", {}),))),
    "a state under another plan": (
        Why.EVIDENCE_KIND,
        lambda m: m.order(evidence=(m.state("n2", {"gauge2": Level.ALARM}, plan=bytes(32)),)),
    ),
    "another node's point": (Why.EVIDENCE_POINT, lambda m: m.order(evidence=(m.event("n3", "gauge2"),))),
    "no such point": (Why.EVIDENCE_POINT, lambda m: m.order(evidence=(m.event("n2", "gauge9"),))),
    "a vote over other nodes' points": (
        Why.EVIDENCE_POINT,
        lambda m: valea_fire(m, m.event("n2", "smoke-vote")),
    ),
    "another node's point in a state": (
        Why.EVIDENCE_POINT,
        lambda m: m.order(evidence=(m.state("n3", {"gauge2": Level.ALARM}),)),
    ),
    "old evidence": (Why.EVIDENCE_OLD, lambda m: m.order(evidence=(m.event(issued_us=now(m) - 301 * S),))),
    "evidence of the future": (Why.EVIDENCE_OLD, lambda m: m.order(evidence=(m.event(issued_us=now(m) + 6 * S),))),
    "an old state": (
        Why.EVIDENCE_OLD,
        lambda m: m.order(evidence=(m.state("n2", {"gauge2": Level.ALARM}, issued_us=now(m) - 301 * S),)),
    ),
    "too low a Level": (Why.EVIDENCE, lambda m: m.order(evidence=(m.event(level=Level.ATTENTION),))),
    "one node of two": (Why.EVIDENCE, lambda m: m.order(pattern="danger", evidence=(high(m, "n2", "gauge2"),))),
    "one node twice": (
        Why.EVIDENCE,
        lambda m: m.order(pattern="danger", evidence=(high(m, "n2", "gauge2"), high(m, "n2", "gauge2"))),
    ),
    "two nodes, one too low": (
        Why.EVIDENCE,
        lambda m: m.order(pattern="danger", evidence=(high(m, "n2", "gauge2"), m.event("n3", "gauge3"))),
    ),
    "another hazard": (Why.EVIDENCE, lambda m: m.order(pattern="fire", max_s=30, evidence=(m.event(),))),
    "another zone's point": (Why.EVIDENCE, lambda m: m.order(evidence=(m.event("n2", "vote-a"),))),
    "a point that must not speak alone": (Why.EVIDENCE, lambda m: valea_fire(m, m.event("n2", "vote-a"))),
}


def smoke(m: Maker) -> bytes:
    return m.event("n1", "smoke", boot=BOOT)


def high(m: Maker, node: str, point: str) -> bytes:
    return m.event(node, point, Level.DANGER)


def valea_fire(m: Maker, *evidence: bytes) -> bytes:
    return m.order(siren="s2", zones=("valea",), pattern="fire", max_s=55, evidence=evidence)


def asserted(m: Maker, person: str = "ion", mode: Mode = Mode.LIVE, digest: bytes = b"", **changes: object) -> bytes:
    """A start of s2, approved by ana's passkey and, with the changes, by `person`'s."""
    said = {name: changes.pop(name) for name in ("zones", "core_not_after_us") if name in changes}
    say = replace(Say(siren="s2", zones=("valea",), issued_us=m.clock.wall_us()), **said)  # type: ignore[arg-type]
    own = m.core(say).digest()
    approvals = (m.assertion(own, "ana"), m.assertion(digest or own, person, mode, **changes))
    return m.seal(replace(say, approvals=approvals))


def approved(m: Maker, person: str = "ion", mode: Mode = Mode.LIVE, digest: bytes = b"", **changes: object) -> bytes:
    """A start of s2, approved by ana and, with the changes, by `person`."""
    say = Say(siren="s2", zones=("valea",), issued_us=m.clock.wall_us())
    own = m.core(say).digest()
    approvals = (m.approval(own, "ana"), m.approval(digest or own, person, mode, **changes))
    return m.seal(replace(say, approvals=approvals))
