"""Signing keys: Ed25519, one per signer and mode, in files of mode 0600.

Live, exercise and test are kinds of *signing* (design §2.4): each signer has one key for each, so that nothing signed for
one can become another. The plan's roster binds key → signer, role, mode and zones.
"""

import hashlib
import os
import stat
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from cython_ext import ConfigError

KID_BYTES: Final = 8
PUBLIC_BYTES: Final = 32
P256_BYTES: Final = 33  # a passkey's public key on P-256, as a compressed point (SEC 1)
SIGNATURE_BYTES: Final = 64


class Mode(IntEnum):
    """What a signature is good for. None can become another."""

    LIVE = 1
    EXERCISE = 2
    TEST = 3


class Role(IntEnum):
    """What a signer is. The plan's roster says so; a message never does."""

    NODE = 1
    CONTROLLER = 2
    OPERATOR = 3
    PLANNER = 4  # signs plans


def kid_of(public: bytes) -> bytes:
    """The key's id on the wire: the first 8 bytes of the SHA-256 of the raw public key."""
    return hashlib.sha256(public).digest()[:KID_BYTES]


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key and its id."""

    private: Ed25519PrivateKey
    public: bytes
    kid: bytes

    @classmethod
    def of(cls, private: Ed25519PrivateKey) -> "SigningKey":
        public = private.public_key().public_bytes_raw()
        return cls(private, public, kid_of(public))

    @classmethod
    def generate(cls) -> "SigningKey":
        return cls.of(Ed25519PrivateKey.generate())

    @classmethod
    def from_seed(cls, seed: bytes) -> "SigningKey":
        """The key of 32 secret bytes: for simulations that must repeat."""
        return cls.of(Ed25519PrivateKey.from_private_bytes(seed))

    def sign(self, data: bytes) -> bytes:
        return self.private.sign(data)


def verify(public: bytes, signature: bytes, data: bytes) -> bool:
    """Whether `signature` over `data` is of `public`; never raises on hostile input."""
    if len(public) != PUBLIC_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True


def write_key(key: SigningKey, path: Path) -> None:
    """Write the private key as PEM with mode 0600. An existing file is never overwritten (ConfigError)."""
    pem = key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConfigError("this key file exists; move it away first", source=str(path)) from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())


def secret_bytes(path: Path) -> bytes:
    """A secret file's content; ConfigError when it is missing or others may read it."""
    try:
        mode = path.stat().st_mode
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read this secret: {error.strerror}", source=str(path)) from None
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigError(
            f"others may read this secret (mode {stat.S_IMODE(mode):04o}); run: chmod 600 {path}",
            source=str(path),
        )
    return data


def read_key(path: Path) -> SigningKey:
    """The signing key of a PEM file; ConfigError says what to do when it cannot be used."""
    secret = secret_bytes(path)
    try:
        private = load_pem_private_key(secret, password=None)
    except (ValueError, TypeError):
        raise ConfigError("not a PEM private key; make one with: bucium keys issue", source=str(path)) from None
    if not isinstance(private, Ed25519PrivateKey):
        raise ConfigError("not an Ed25519 key; make one with: bucium keys issue", source=str(path))
    return SigningKey.of(private)
