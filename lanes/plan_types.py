"""The kinds of value that a plan is made of."""

from math import isfinite
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from cython_ext.topics import require_id

from .keys import P256_BYTES, PUBLIC_BYTES
from .settings import Settings


def _id(text: str) -> str:
    return require_id(text, "this")


def _public(text: str) -> str:
    if len(bytes.fromhex(text)) != PUBLIC_BYTES:
        raise ValueError(f"a public key is {PUBLIC_BYTES} bytes in hex; bucium keys issue prints it")
    return text.lower()


def _any_public(text: str) -> str:
    if len(bytes.fromhex(text)) not in (PUBLIC_BYTES, P256_BYTES):
        raise ValueError(
            f"a public key is {PUBLIC_BYTES} bytes in hex (Ed25519), or {P256_BYTES} (a passkey's P-256, compressed); "
            "bucium keys issue and bucium keys passkey print it"
        )
    return text.lower()


def _finite(value: float) -> float:
    if not isfinite(value):
        raise ValueError("must be a finite number")
    return value


Id = Annotated[str, AfterValidator(_id)]
Public = Annotated[str, AfterValidator(_public)]
AnyPublic = Annotated[str, AfterValidator(_any_public)]
Finite = Annotated[float, AfterValidator(_finite)]
Seconds = Annotated[float, AfterValidator(_finite), Field(ge=0, le=366 * 86400)]
Texts = Annotated[dict[Literal["ro", "en", "ru", "uk"], str], Field(default_factory=dict)]
HazardName = Literal["flood", "fire"]
LevelName = Literal["attention", "alarm", "danger"]
ModeName = Literal["live", "exercise", "test"]


def to_ns(seconds: float) -> int:
    return round(seconds * 1e9)


class Named(Settings):
    """Anything of the plan that has an id."""

    id: Id = Field(description="its name: 1 to 32 of a-z, 0-9 and '-'")
