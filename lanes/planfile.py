"""The plan's file: deterministic CBOR, and the signatures of the people who stand for it.

    file  = [ "bucium-plan", 1, plan bytes, [signature, …] ]      signature = an envelope of kind PLAN over SHA-256(plan)
    root  = TOML: name, threshold and the planners' public keys; pinned on every machine, never sent

Trust begins at the root file that was put on the machine by hand or by Ansible; the plan's own roster says nothing about
who may sign plans.
"""

import hashlib
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field, ValidationError

from cython_ext import ConfigError, WireError

from . import cbor, durable
from .envelope import Envelope, Kind, Opened, open_envelope, seal
from .keys import Mode, Role, SigningKey
from .plan import Id, Plan, Public
from .roster import Roster, Signer
from .settings import Settings

MAGIC: Final = "bucium-plan"
FORMAT: Final = 1
PLAN_BYTES_MAX: Final = 4 << 20
SIGNATURES_MAX: Final = 8
DEMO: Final = "DEMO"  # the root of throw-away keys; real drivers refuse its plans (design §2.4)


class Planner(Settings):
    """One person who may sign plans."""

    id: Id = Field(description="what plan signatures call this person")
    public: Public = Field(description="the raw Ed25519 public key: 64 hex digits")


class Root(Settings):
    """The trust anchor of plans: `root.toml`, pinned on every machine."""

    name: Annotated[str, Field(pattern=r"^[A-Z0-9][A-Z0-9-]{0,31}$")] = Field(
        description="plans name the root that they stand under; DEMO: real drivers refuse its plans"
    )
    threshold: Annotated[int, Field(ge=1, le=SIGNATURES_MAX)] = Field(
        2, description="how many of its people must have signed a plan"
    )
    planners: tuple[Planner, ...] = Field(alias="planner", min_length=1, description="the people who may sign plans")

    @property
    def roster(self) -> Roster:
        return Roster(Signer(p.id, Role.PLANNER, Mode.LIVE, bytes.fromhex(p.public)) for p in self.planners)


@dataclass(frozen=True, slots=True)
class SignedPlan:
    """A plan, its exact bytes, their SHA-256, and the signatures found on it."""

    plan: Plan
    data: bytes
    digest: bytes
    signatures: tuple[bytes, ...] = ()


def build(plan: Plan) -> SignedPlan:
    """The plan as bytes, unsigned."""
    document = _numbers(plan.model_dump(mode="json", by_alias=True, exclude_defaults=True))
    data = cbor.encode_document(document)
    return SignedPlan(plan, data, hashlib.sha256(data).digest())


def sign(signed: SignedPlan, signer: str, key: SigningKey, now_us: int) -> SignedPlan:
    """`signed` with one more signature. A second one of the same key replaces the first."""
    envelope = Envelope(Kind.PLAN, signer, "", bytes(8), 0, now_us, signed.plan.version, 0, [signed.digest])
    kept = tuple(s for s in signed.signatures if key.kid not in s)
    return SignedPlan(signed.plan, signed.data, signed.digest, (*kept, seal(envelope, key)))


def signers(signed: SignedPlan, root: Root) -> tuple[str, ...]:
    """The distinct people of the root whose signatures on this plan are right."""
    found = set()
    for data in signed.signatures:
        opened = open_envelope(data, root.roster)
        if isinstance(opened, Opened) and opened.envelope.kind is Kind.PLAN:
            version = opened.envelope.plan_version
            if opened.envelope.body == [signed.digest] and version == signed.plan.version:
                found.add(opened.signer.id)
    return tuple(sorted(found))


def check(signed: SignedPlan, root: Root) -> SignedPlan:
    """`signed`, or ConfigError when the root's people do not stand for it."""
    if signed.plan.root != root.name:
        raise ConfigError(f"the plan stands under root {signed.plan.root!r}, this machine trusts {root.name!r}")
    people = signers(signed, root)
    if len(people) < root.threshold:
        have = ", ".join(people) or "nobody"
        raise ConfigError(
            f"signed by {have}; root {root.name} asks for {root.threshold} of its people; run: bucium plan sign"
        )
    return signed


def file_of(signed: SignedPlan) -> bytes:
    """The bytes of the plan's file."""
    return cbor.encode_document([MAGIC, FORMAT, signed.data, list(signed.signatures)])


def write(signed: SignedPlan, path: Path) -> None:
    """Write the file so that a power cut leaves the old or the new one."""
    durable.replace(path, file_of(signed))


def read(path: Path) -> SignedPlan:
    """The plan of a file, its signatures not yet checked; ConfigError when it is none."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read this plan: {error.strerror}", source=str(path)) from None
    try:
        return parse(data)
    except ConfigError as error:
        raise ConfigError(str(error), source=str(path)) from None


def parse(data: bytes) -> SignedPlan:
    """The plan of a file's bytes; ConfigError when they are none."""
    if len(data) > PLAN_BYTES_MAX:
        raise ConfigError(f"a plan has at most {PLAN_BYTES_MAX} bytes")
    try:
        parts = cbor.decode_document(data)
        match parts:
            case [str(magic), int(form), bytes(body), list(signatures)] if magic == MAGIC and form == FORMAT:
                document = cbor.decode_document(body)
            case _:
                raise ConfigError("not a plan file; make one with: bucium plan build")
    except WireError as error:
        raise ConfigError(f"not a plan file ({error}); make one with: bucium plan build") from None
    if len(signatures) > SIGNATURES_MAX or not all(isinstance(s, bytes) for s in signatures):
        raise ConfigError(f"a plan carries at most {SIGNATURES_MAX} signatures")
    try:
        plan = Plan.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"the plan is not valid: {first['loc']}: {first['msg']}") from None
    return SignedPlan(plan, body, hashlib.sha256(body).digest(), tuple(signatures))


def load(path: Path, root: Root) -> SignedPlan:
    """The plan of a file, with its signatures checked against the pinned root."""
    return check(read(path), root)


def _numbers(value: Any) -> Any:
    """JSON's way of writing infinities, undone: CBOR has them."""
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_numbers(item) for item in value]
    return {"Infinity": inf, "-Infinity": -inf}.get(value, value) if isinstance(value, str) else value
