"""The roster's keys as a plan has them: whose each is, what it may sign, and where a passkey may sign."""

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from .keys import P256_BYTES, PUBLIC_BYTES
from .passkeys import is_point
from .plan_types import AnyPublic, Id, ModeName
from .settings import Settings


class PasskeyOf(Settings):
    """Where a person's authenticator may sign. Both stand in what it signs, and the siren's node checks them."""

    rp_id: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$")] = Field(
        description="the relying party: the console's host, or a domain above it"
    )
    origin: Annotated[str, Field(max_length=80)] = Field(
        description="the console's address, e.g. https://alarms.town.example"
    )

    @model_validator(mode="after")
    def _sense(self) -> Self:
        parts = urlsplit(self.origin)
        host = parts.hostname or ""
        plain = f"{parts.scheme}://{parts.netloc}" == self.origin and "@" not in parts.netloc
        if not plain or not (parts.scheme == "https" or (parts.scheme, host) == ("http", "localhost")):
            raise ValueError(f"origin {self.origin!r} is not https://HOST or https://HOST:PORT")
        if host != self.rp_id and not host.endswith(f".{self.rp_id}"):
            raise ValueError(f"origin {self.origin!r} is not within rp_id {self.rp_id!r}")
        return self


class Key(Settings):
    """One public key of the roster."""

    public: AnyPublic = Field(
        description="the raw Ed25519 public key: 64 hex digits; of a passkey also a compressed P-256 point: 66"
    )
    signer: Id = Field(description="whose it is: a node, a controller or a person")
    role: Literal["node", "controller", "operator", "planner"] = Field(description="what the signer is")
    mode: ModeName = Field(description="what it signs; each signer has one key for each")
    zones: tuple[Id, ...] = Field((), description="zones that the signer may act for; empty: all (not for a person)")
    centre: Id | Literal[""] = Field("", description="the dispatch centre of a person")
    passkey: PasskeyOf | None = Field(None, description="an authenticator's key: it approves orders, and nothing else")

    @model_validator(mode="after")
    def _sense(self) -> Self:
        if self.role == "operator" and not self.zones:
            raise ValueError(f"key of {self.signer!r}: a person's key names its zones")
        if self.passkey is not None and self.role != "operator":
            raise ValueError(f"key of {self.signer!r}: only a person has a passkey")
        if len(self.public) == 2 * P256_BYTES:
            if self.passkey is None:
                raise ValueError(
                    f"key of {self.signer!r}: {P256_BYTES} bytes are a passkey's; Ed25519 has {PUBLIC_BYTES}"
                )
            if not is_point(bytes.fromhex(self.public)):
                raise ValueError(f"key of {self.signer!r}: not a point of P-256")
        return self
