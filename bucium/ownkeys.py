"""A host's own identity: keys that it made itself and that never leave it, in generations, one link switched last.

    DIR/1, DIR/2, …    a generation each: {live,exercise,test}.pem, {tls,cap}.{key,crt}, ca.crt, identity.json
    DIR/current        a link to the one that counts; a power cut leaves the old one or the new one
    DIR/next           the one that was asked for and has no certificate yet, with its request.bin

What reads keys names them through `current`. The generation before the current one stays, to go back to; older ones are removed.
"""

import json
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from bucium import certificates
from bucium.certcheck import bounded, certificate_of, chain_of, check_authority, check_issued, hosts_of
from bucium.keyrequest import MODES, Request, key_of_token, seal
from bucium.keyring import require
from cython_ext import ConfigError
from lanes import durable
from lanes.keys import SigningKey, kid_of, read_key, write_key

REQUEST: Final = "request.bin"
ABOUT: Final = "identity.json"
ONCE_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class About:
    """Whose generation it is."""

    id: str
    role: str


class OwnKeys:
    """The folder. Private keys in it have mode 0600 and are read by nobody but the services of this host."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.current = folder / "current"
        self.next = folder / "next"

    @property
    def request_file(self) -> Path:
        """Where the request waits until it is answered."""
        return self.next / REQUEST

    def enrol(
        self, name: str, role: str, token: str, *, cap: bool = False, hosts: tuple[str, ...] = (), anew: bool = False
    ) -> bool:
        """Make keys, and the request that the token vouches for. False: it was there already, for the same token.

        `anew`: the identity so far was revoked; it stays until the new one is adopted. `hosts`: a broker's names, for an
        authority that reads them in the request; ours goes by the token.

        ConfigError when this host has an identity, or waits for an answer to another request.
        """
        voucher = key_of_token(token, require(name), role)
        if self.current.exists() and not anew:
            raise ConfigError(
                f"this host is {self.about().id} already; for new keys run: bucium keys request --rotate (and --anew if it was "
                "revoked)",
                source=str(self.folder),
            )
        if self._waits(Request(name, role, "token", {}), voucher.public):
            return False
        self._make(name, role, "token", voucher.sign, voucher.public, cap=cap, hosts=hosts)
        return True

    def rotate(self, *, cap: bool = False) -> bool:
        """Make new keys, and the request that the present key vouches for. False: it was there already.

        A CAP key stays, unless `cap`: other centres have pinned its certificate, and must have the new one first.
        """
        about = self.about()
        if about.role == "broker":
            key = certificates.read_tls_key(self.current / "tls.key")
            public = certificate_of(self.current / "tls.crt").fingerprint(SHA256())

            def vouch(data: bytes) -> bytes:
                return key.sign(data, ECDSA(SHA256()))
        else:
            live = read_key(self.current / "live.pem")
            public, vouch = live.public, live.sign
        if self._waits(Request(about.id, about.role, "rotate", {}), public):
            return False
        hosts = hosts_of(certificate_of(self.current / "tls.crt")) if about.role == "broker" else ()
        has_cap = (self.current / "cap.key").exists()
        self._make(about.id, about.role, "rotate", vouch, public, cap=cap and has_cap, hosts=hosts, keep_cap=not cap)
        return True

    def take_in(self, name: str, role: str, files: Mapping[str, Path]) -> bool:
        """Copy an identity that lies elsewhere in as the first generation. False: there is one already."""
        if self.current.exists():
            return False
        new = self._begin(require(name), role)
        for file, source in files.items():
            if file.endswith((".pem", ".key")):
                certificates.write_secret(new / file, bounded(source))
            else:
                certificates.write_file(new / file, bounded(source))
        for mode in MODES if role != "broker" else ():
            read_key(new / f"{mode}.pem")
        if certificates.read_tls_key(new / "tls.key").public_key() != certificate_of(new / "tls.crt").public_key():
            raise ConfigError("this key and this certificate do not belong together", source=str(files["tls.key"]))
        self._switch(self._settle(new))
        return True

    def adopt(
        self,
        certificate: Path | None,
        authority: Path,
        now_us: int,
        *,
        cap: Path | None = None,
        known: Callable[[Mapping[str, bytes]], None] | None = None,
    ) -> bool:
        """Take the answer to the request, and count from now on as what it says. False: it counts already.

        `known` is asked with the new signing keys before anything changes: it raises when nobody would believe them yet.
        ConfigError, and nothing is changed, when the certificate is of another key, name or authority, or not good today.
        """
        if not self.next.exists():
            return self._again(certificate)
        about = self.about(self.next)
        files = {"ca.crt": bounded(authority)}
        if about.role != "operator":  # who connects to no broker, and has no certificate
            files["tls.crt"] = self._certificate(certificate, chain_of(authority), about, now_us)
        if (self.next / "cap.key").exists() and not (self.next / "cap.crt").exists():
            files["cap.crt"] = self._cap(cap, about.id, chain_of(authority), now_us)
        if known is not None:
            known(self.publics(self.next))
        for name, data in files.items():
            certificates.write_file(self.next / name, data)
        return self._switch(self._settle(self.next))

    def _again(self, certificate: Path | None) -> bool:
        """Nothing waits: it counts already, or a power cut came just before the switch."""
        for number in reversed(self._numbers()):
            theirs = self.folder / str(number) / "tls.crt"
            if certificate is None or (theirs.exists() and certificate_of(theirs) == certificate_of(certificate)):
                return self._switch(str(number))
        raise ConfigError("nothing was asked for here; begin with: bucium keys request", source=str(self.folder))

    def _certificate(self, path: Path | None, chain: list[x509.Certificate], about: About, now_us: int) -> bytes:
        if path is None:
            raise ConfigError(f"{about.id} has asked for a certificate: say which file it is")
        answer, key = certificate_of(path), certificates.read_tls_key(self.next / "tls.key")
        hosts = hosts_of(answer) if about.role == "broker" else ()
        check_issued(answer, chain, now_us, name=about.id, public=key.public_key(), hosts=hosts)
        if about.role == "broker" and not hosts:
            raise ConfigError(f"the certificate of {about.id} names no hosts: nobody would believe this broker")
        return answer.public_bytes(Encoding.PEM)

    def back(self) -> str:
        """Go back to the generation before the current one; its number. ConfigError when there is none."""
        before = [number for number in self._numbers() if number < self._number()]
        if not before:
            raise ConfigError("there is no generation before this one", source=str(self.folder))
        self._point(str(max(before)))
        return str(max(before))

    def about(self, generation: Path | None = None) -> About:
        """Whose the current generation (or another) is; ConfigError when there is none."""
        path = (generation or self.current) / ABOUT
        if not path.exists():
            raise ConfigError("this host has no identity yet: bucium keys request", source=str(path))
        said = self._said(path)
        return About(str(said.get("id")), str(said.get("role")))

    def publics(self, generation: Path | None = None) -> dict[str, bytes]:
        """Mode → public signing key of the current generation, or another."""
        folder = generation or self.current
        return {mode: read_key(path).public for mode in MODES if (path := folder / f"{mode}.pem").exists()}

    def kids(self, generation: Path | None = None) -> dict[str, str]:
        """Mode → key id."""
        return {mode: kid_of(public).hex() for mode, public in self.publics(generation).items()}

    def _waits(self, request: Request, voucher: bytes) -> bool:
        """Whether this very request waits; ConfigError when another one does."""
        if not self.next.exists():
            return False
        said = self._said(self.next / ABOUT)
        if said == {"id": request.id, "role": request.role, "basis": request.basis, "voucher": voucher.hex()}:
            return True
        raise ConfigError(
            f"a request of {said.get('id')} waits here for its answer; if none will come, remove this folder: {self.next}"
        )

    def _make(
        self,
        name: str,
        role: str,
        basis: str,
        vouch: Callable[[bytes], bytes],
        voucher: bytes,
        *,
        cap: bool,
        hosts: tuple[str, ...],
        keep_cap: bool = False,
    ) -> None:
        new = self._begin(name, role, basis=basis, voucher=voucher.hex())
        if keep_cap and (self.current / "cap.key").exists():
            certificates.write_secret(new / "cap.key", bounded(self.current / "cap.key"))
            certificates.write_file(new / "cap.crt", bounded(self.current / "cap.crt"))
        keys = {} if role == "broker" else {mode: SigningKey.generate() for mode in MODES}
        for mode, key in keys.items():
            write_key(key, new / f"{mode}.pem")
        requests = {}
        commons = {"tls": name} if role != "operator" else {}
        for part, common in (commons | ({"cap": f"{name} CAP"} if cap else {})).items():
            secret = certificates.new_key()
            certificates.write_secret(new / f"{part}.key", certificates.pem_of(secret))
            requests[part] = certificates.request(secret, common, hosts).public_bytes(Encoding.DER)
        request = Request(
            name,
            role,
            basis,
            {mode: key.public for mode, key in keys.items()},
            requests.get("tls", b""),
            requests.get("cap", b""),
            secrets.token_bytes(ONCE_BYTES),
        )
        certificates.write_file(new / REQUEST, seal(request, keys, vouch))
        new.rename(self.next)
        durable.sync_folder(self.folder)

    def _begin(self, name: str, role: str, **beside: str) -> Path:
        """An empty generation that nobody sees yet."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            new = self.folder / ".new"
            shutil.rmtree(new, ignore_errors=True)  # what a power cut left half made
            new.mkdir(mode=0o700)
        except OSError as error:
            raise ConfigError(f"cannot write: {error.strerror}", source=str(self.folder)) from None
        certificates.write_file(new / ABOUT, json.dumps({"id": name, "role": role, **beside}).encode())
        return new

    def _cap(self, path: Path | None, name: str, chain: list[x509.Certificate], now_us: int) -> bytes:
        if path is None:
            raise ConfigError(f"{name} has asked for a CAP certificate too: give it with --cap")
        answer, key = certificate_of(path), certificates.read_tls_key(self.next / "cap.key")
        check_authority(chain, now_us)
        if answer.public_key() != key.public_key():
            raise ConfigError(f"this certificate is for another CAP key than the one of {name}", source=str(path))
        return answer.public_bytes(Encoding.PEM)

    def _settle(self, new: Path) -> str:
        """Give the generation its number."""
        number = str(max(self._numbers(), default=0) + 1)
        new.rename(self.folder / number)
        durable.sync_folder(self.folder)
        return number

    def _switch(self, number: str) -> bool:
        """Count as this generation; the one before stays, and no other. False: it counted already."""
        before = self._number()
        if str(before) == number:
            return False
        self._point(number)
        for old in self._numbers():
            if str(old) not in (number, str(before)):
                shutil.rmtree(self.folder / str(old))
        return True

    def _point(self, number: str) -> None:
        beside = self.folder / ".current"
        beside.unlink(missing_ok=True)
        beside.symlink_to(number)
        beside.replace(self.current)
        durable.sync_folder(self.folder)

    def _number(self) -> int:
        return int(self.current.readlink().name) if self.current.is_symlink() else 0

    def _numbers(self) -> list[int]:
        if not self.folder.exists():
            return []
        return sorted(int(path.name) for path in self.folder.iterdir() if path.name.isdigit())

    def _said(self, path: Path) -> dict[str, str]:
        data = bounded(path)
        try:
            said = json.loads(data)
        except ValueError:
            said = None
        if not isinstance(said, dict):
            raise ConfigError("this is not what was written here; is the disk damaged?", source=str(path))
        return said
