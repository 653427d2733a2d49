"""`register.json` of the keys' folder: what the authority must not forget. Open tokens, whose keys leave when, who was revoked.

No secret is in it: of a token it has the public half of what the token unlocks, so whoever copies the folder can enrol nobody.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError

from bucium.certcheck import bounded
from cython_ext import ConfigError
from lanes import durable
from lanes.settings import Settings

BYTES_MAX: Final = 16 << 20  # 10,000 identities with ten rotations each have less
REASON_MAX: Final = 200
Role = Literal["node", "controller", "operator", "broker"]
Hex = Annotated[str, Field(pattern=r"^([0-9a-f]{2})+$")]


class Token(Settings):
    """One enrolment that may be asked for: by whom, as what, until when."""

    public: Hex = Field(description="the key that the token unlocks; the token itself is kept nowhere")
    id: str = Field(description="who may enrol with it, and nobody else")
    role: Role = Field(description="as what")
    zones: tuple[str, ...] = Field((), description="zones it may act for")
    centre: str = Field("", description="the dispatch centre of a person or controller")
    hosts: tuple[str, ...] = Field((), description="a broker's names and addresses")
    ends_us: int = Field(description="when it is good for nothing any more")


class Admitted(Settings):
    """A request that was admitted. The same one again changes nothing; another one of the same token is refused."""

    request: Hex = Field(description="its SHA-256")
    id: str = Field(description="whose it was")
    voucher: str = Field(
        pattern=r"^([0-9a-f]{2})*$", description="the key of the token; empty: the old key vouched for it"
    )
    at_us: int = Field(description="when")


class Leaving(Settings):
    """A key or certificate that another one has taken the place of, and that counts until it is retired."""

    id: str = Field(description="whose")
    kid: str = Field(description="a signing key's id; empty: it is a certificate")
    serial: str = Field(description="a certificate's number; empty: it is a key")
    from_us: int = Field(description="when it may go")


class Revoked(Settings):
    """What no longer counts, and why."""

    id: str = Field(description="whose it was")
    reason: str = Field(description="why")
    at_us: int = Field(description="since when")
    kids: tuple[str, ...] = Field((), description="signing keys, for the plan's revocation list")
    serials: tuple[str, ...] = Field((), description="certificates, for the broker's list")


class Book(Settings):
    """The whole register."""

    tokens: tuple[Token, ...] = ()
    admitted: tuple[Admitted, ...] = ()
    leaving: tuple[Leaving, ...] = ()
    revoked: tuple[Revoked, ...] = ()


class Register:
    """The file, and the lock that every change of the folder is made under."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "register.json"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """One at a time: playbooks ask for many hosts at once."""
        try:
            with (self.folder / ".lock").open("a") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield
        except PermissionError as error:
            raise ConfigError(f"cannot write: {error.strerror}", source=str(self.folder)) from None

    def read(self) -> Book:
        """What is known; an empty book when there is none yet."""
        if not self.path.exists():
            return Book.model_validate({})
        data = bounded(self.path, BYTES_MAX)
        try:
            return Book.model_validate_json(data)
        except ValidationError as error:
            raise ConfigError(
                f"this register is damaged: {error.errors()[0]['msg']}; bring it back from your copy",
                source=str(self.path),
            ) from None

    def write(self, book: Book) -> None:
        """Keep it: a power cut leaves the old or the new one."""
        try:
            durable.replace(self.path, (book.model_dump_json(indent=1) + "\n").encode())
        except OSError as error:
            raise ConfigError(f"cannot write: {error.strerror}", source=str(self.path)) from None

    def revoked_kids(self) -> tuple[str, ...]:
        """Key ids for the plan's revocation list, each once, oldest first."""
        return tuple(dict.fromkeys(kid for each in self.read().revoked for kid in each.kids))
