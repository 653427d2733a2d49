"""Releases: who stands for one. `release.json` names an archive by its hash; an Ed25519 signature stands beside it.

keys/release/ID.pem    who may release: secret, mode 0600, not on the machine that builds
keys/release/ID.pub    its public half, in PEM: every host of the fleet holds those of its site
FOLDER/release.json    what the release is; the signature is over these very bytes
FOLDER/release.sig     64 bytes; `openssl pkeyutl -verify -rawin` checks it too, on hosts that have nothing of ours yet
"""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from pydantic import Field, ValidationError

from cython_ext import ConfigError
from cython_ext.topics import require_id
from lanes import durable
from lanes.keys import SigningKey, read_key, verify, write_key
from lanes.settings import Settings

MANIFEST_BYTES_MAX: Final = 65_536
VERSION: Final = r"^\d{1,5}(\.\d{1,5}){1,3}((a|b|rc)\d{1,5})?$"
Version = Annotated[str, Field(pattern=VERSION)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Bill(Settings):
    """The list of parts (CycloneDX), a file of the archive."""

    file: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,63}$")]
    sha256: Digest


class Manifest(Settings):
    """`release.json`."""

    kind: Literal["bucium-release"]
    version: Version
    python: Annotated[str, Field(pattern=r"^3\.\d{1,2}$")]
    architectures: tuple[Literal["x86_64", "aarch64"], ...]
    made: str
    commit: str
    sha256: Digest
    sbom: Bill
    downgrade_from: tuple[Version, ...] = ()


def make_key(folder: Path, name: str) -> tuple[Path, Path]:
    """A key that stands for releases, in the folder of `bucium keys`: its private and public file."""
    try:
        require_id(name, "this")
    except ValueError as error:
        raise ConfigError(f"{name!r}: {error}") from None
    place = folder / "release"
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make this folder: {error.strerror}", source=str(place)) from None
    key = SigningKey.generate()
    private, public = place / f"{name}.pem", place / f"{name}.pub"
    write_key(key, private)
    public.write_bytes(_pem(key.public))
    return private, public


def sign(folder: Path, key: Path, downgrade_from: tuple[str, ...] = ()) -> Manifest:
    """Stand for the release in `folder`. `downgrade_from`: newer versions that it may replace.

    ConfigError when its archive is not the one that release.json names.
    """
    secret = read_key(key)
    manifest = _parse(folder)
    _check_archive(folder, manifest)
    if downgrade_from:
        document: dict[str, Any] = json.loads((folder / "release.json").read_bytes())
        document["downgrade_from"] = sorted({*manifest.downgrade_from, *downgrade_from})
        _manifest(json.dumps(document).encode(), folder)  # a wrong version is refused before anything is written
        durable.replace(folder / "release.json", (json.dumps(document, indent=2) + "\n").encode())
    durable.replace(folder / "release.sig", secret.sign((folder / "release.json").read_bytes()))
    return _parse(folder)


def check(folder: Path, keys: Path) -> tuple[Manifest, str]:
    """The release in `folder` and the id of the key that stands for it.

    ConfigError when none of `keys` does, or it is not whole.
    """
    known = {path.stem: _public(path) for path in sorted(keys.glob("*.pub"))}
    if not known:
        raise ConfigError("no release keys here; make one with: bucium release key ID", source=str(keys))
    try:
        data, signature = (folder / "release.json").read_bytes(), (folder / "release.sig").read_bytes()
    except FileNotFoundError as error:
        raise ConfigError(
            f"there is no {Path(error.filename).name}; sign the release with: bucium release sign", source=str(folder)
        ) from None
    name = next((name for name, public in known.items() if verify(public, signature, data)), "")
    if not name:
        raise ConfigError(f"release.json is not signed by a release key of {keys}", source=str(folder))
    manifest = _parse(folder)
    _check_archive(folder, manifest)
    return manifest, name


def _parse(folder: Path) -> Manifest:
    try:
        data = (folder / "release.json").read_bytes()
    except OSError as error:
        raise ConfigError(
            f"cannot read release.json: {error.strerror}; make a release with: scripts/release", source=str(folder)
        ) from None
    return _manifest(data, folder)


def _manifest(data: bytes, folder: Path) -> Manifest:
    if len(data) > MANIFEST_BYTES_MAX:
        raise ConfigError(f"release.json has at most {MANIFEST_BYTES_MAX} bytes", source=str(folder))
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigError(f"release.json is not valid: {where}: {first['msg']}", source=str(folder)) from None


def _check_archive(folder: Path, manifest: Manifest) -> None:
    try:
        with (folder / "release.tar").open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(f"cannot read release.tar: {error.strerror}", source=str(folder)) from None
    if digest != manifest.sha256:
        raise ConfigError("release.tar is not what its release.json says; make the release anew", source=str(folder))


def _public(path: Path) -> bytes:
    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError):
        raise ConfigError("not a public key in PEM; make one with: bucium release key", source=str(path)) from None
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError("not an Ed25519 key; make one with: bucium release key", source=str(path))
    return key.public_bytes_raw()


def _pem(public: bytes) -> bytes:
    return Ed25519PublicKey.from_public_bytes(public).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
