"""The folder in which one site keeps its identities: root and planners, signing keys with their roster, TLS.

root.toml            the trust anchor of plans: goes to every machine, by hand or by Ansible
roster.toml          the [[key]] tables of every key that counts: `bucium plan build --roster` takes them
register.json        open tokens, whose keys leave when, who was revoked; `plan build` takes its list of revoked keys too
planners/ID.pem      people who sign plans                                              0600
signing/ID.MODE.pem  nodes, controllers, operators: one key each for live, exercise, test   0600
tls/                 ca.crt, ca.key, ca.crl; ID.crt of each, and ID.key unless it was made where it is used
cap/                 ID.crt, ID.key: what a controller signs CAP messages with; others pin the certificate
old/                 certificates and keys that others have taken the place of
"""

import contextlib
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import Field

from bucium import certcheck, certificates
from bucium.register import Register
from cython_ext import ConfigError
from cython_ext.topics import require_id
from lanes.keys import Mode, SigningKey, kid_of, write_key
from lanes.plan import Key
from lanes.planfile import Root
from lanes.settings import Settings, load, parse

ROLES: Final = ("node", "controller", "operator")
MODES: Final = tuple(mode.name.lower() for mode in Mode)
NEXT: Final = "next"  # ID.next.crt, ID.MODE.next.pem: made here to take the place of what counts


class RosterFile(Settings):
    """`roster.toml`: the keys issued here, ready for a plan."""

    keys: tuple[Key, ...] = Field((), alias="key")


@dataclass(frozen=True, slots=True)
class Issued:
    """What `issue` made: files, and the text for the plan."""

    id: str
    files: tuple[Path, ...]
    roster: str


class Keyring:
    """The folder; no secret in it is ever overwritten."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root_file = folder / "root.toml"
        self.roster_file = folder / "roster.toml"
        self.tls = folder / "tls"
        self.cap = folder / "cap"
        self.old = folder / "old"
        self.register = Register(folder)

    def init(
        self, root: str, planners: tuple[str, ...], threshold: int, now_us: int, *, authority: Path | None = None
    ) -> tuple[Path, ...]:
        """Make root, planners' keys and the CA. ConfigError when the folder has a root already.

        `authority`: the certificate of the site's own CA, with those who vouch for it; then no CA is made here.
        """
        if self.root_file.exists():
            raise ConfigError("this folder has a root already; choose another", source=str(self.root_file))
        if not 1 <= threshold <= len(planners):
            raise ConfigError(f"a threshold of {threshold} needs as many planners, and there are {len(planners)}")
        if len(set(planners)) < len(planners):
            raise ConfigError("a planner is named twice")
        keys = {require(planner): SigningKey.generate() for planner in planners}
        lines = [_ROOT_HEAD, f'name = "{root}"', f"threshold = {threshold}"]
        for planner, key in keys.items():
            lines += ["", "[[planner]]", f'id = "{planner}"', f'public = "{key.public.hex()}"']
        text = "\n".join(lines) + "\n"
        parse(text, Root)  # a wrong name is refused before anything is made
        if authority is not None:
            certcheck.check_authority(certcheck.chain_of(authority), now_us)
        for part in ("planners", "signing", "tls"):
            self.make(self.folder / part)
        made = [self.folder / "planners" / f"{planner}.pem" for planner in planners]
        for path, key in zip(made, keys.values(), strict=True):
            write_key(key, path)
        if authority is None:
            certificates.make_authority(self.tls, root, now_us)
            made.append(self.tls / "ca.key")
        else:
            certificates.write_file(self.tls / "ca.crt", certcheck.bounded(authority))
        self.root_file.write_text(text)
        return (self.root_file, *made, self.tls / "ca.crt")

    def issue(
        self,
        name: str,
        role: str,
        now_us: int,
        *,
        zones: tuple[str, ...] = (),
        centre: str = "",
        tls: bool = True,
    ) -> Issued:
        """Signing keys, one a mode, the roster's text for them, and a client certificate."""
        require(name)
        for zone in zones:
            require(zone)
        if role == "operator" and not zones:
            raise ConfigError(
                f"a person acts for named zones: give them, e.g. --zones riverside,upper-town, for {name}"
            )
        self.require_root()
        for part in ("signing", "tls"):
            self.make(self.folder / part)
        if self.has(name):
            raise ConfigError(f"an identity {name} exists; for new keys: bucium keys rotate {name}")
        if tls:
            certificates.require_good(self.tls, now_us)
        with self.register.lock():
            publics, made = self.make_keys(name)
            text = self.enter(name, role, publics, zones, centre)
            if tls:
                made += self._certificate(self.tls, name, now_us)
        return Issued(name, tuple(made), text)

    def _certificate(self, folder: Path, name: str, now_us: int, hosts: tuple[str, ...] = ()) -> tuple[Path, Path]:
        """A key, and its certificate; or its request, where the site's own authority signs."""
        if not certificates.is_ours(self.tls):
            return certificates.ask(folder, name, hosts, common=name if folder == self.tls else f"{name} CAP")
        if folder == self.tls:
            return certificates.issue(folder, name, now_us, hosts=hosts)
        return certificates.issue_cap(self.tls, folder, name, now_us)

    def make_keys(self, name: str, suffix: str = "") -> tuple[dict[str, bytes], list[Path]]:
        """Signing keys that are kept here: (mode → public half, files)."""
        publics, made = {}, []
        for mode in MODES:
            key = SigningKey.generate()
            path = self.folder / "signing" / f"{name}.{mode}{suffix}.pem"
            write_key(key, path)
            made.append(path)
            publics[mode] = key.public
        return publics, made

    def enter(self, name: str, role: str, publics: dict[str, bytes], zones: tuple[str, ...], centre: str) -> str:
        """Put public keys into the roster, those that are not there; their tables, for people to see."""
        there = {key.public for key in self.signers()}
        texts = {public: _entry(public, name, role, mode, zones, centre) for mode, public in publics.items()}
        new = [text for public, text in texts.items() if public.hex() not in there]
        if new:
            self._write_roster(self._roster_text() + "\n".join(new) + "\n")
        return "\n".join(texts.values())

    def drop(self, kids: Iterable[str]) -> None:
        """Take keys out of the roster."""
        gone = set(kids)
        leave = {key.public for key in self.signers() if kid_of(bytes.fromhex(key.public)).hex() in gone}
        head, *tables = re.split(r"^(?=\[\[key\]\])", self._roster_text(), flags=re.MULTILINE)
        kept = [each for each in tables if not any(f'"{public}"' in each for public in leave)]
        if len(kept) < len(tables):
            self._write_roster(head + "".join(kept))

    def has(self, name: str) -> bool:
        """Whether this id has an identity, or one that waits for its certificate."""
        known = any(key.signer == name for key in self.signers())
        return known or any((self.tls / f"{name}.{kind}").exists() for kind in ("crt", "csr"))

    def text_of(self, key: Key) -> str:
        """A key's table, as the plan has it."""
        return _entry(bytes.fromhex(key.public), key.signer, key.role, key.mode, key.zones, key.centre)

    def require_root(self) -> None:
        """ConfigError when nothing was begun here."""
        if not self.root_file.exists():
            raise ConfigError("no root here; begin with: bucium keys init", source=str(self.folder))

    def put_aside(self, *paths: Path) -> None:
        """Move files into `old/`, under a name that tells them apart."""
        for path in paths:
            if path.exists():
                path.replace(self._old(path))

    def replace(self, path: Path, data: bytes) -> None:
        """A public file anew; what was there before stays in `old/`."""
        self._keep_old(path)
        certificates.write_file(path, data)

    def rename(self, new: Path, path: Path) -> None:
        """`new` takes the name of `path`; what was there before stays in `old/`."""
        self._keep_old(path)
        new.replace(path)

    def secrets_aside(self, name: str, *, cap: bool) -> None:
        """Secrets of an identity whose host makes its own from now on."""
        self.put_aside(*(self.folder / "signing" / f"{name}.{mode}.pem" for mode in MODES))
        self.put_aside(self.tls / f"{name}.key", *([self.cap / f"{name}.key"] if cap else []))

    def _keep_old(self, path: Path) -> None:
        if path.exists():
            old = self._old(path)
            old.unlink(missing_ok=True)
            old.hardlink_to(path)

    def _old(self, path: Path) -> Path:
        self.make(self.old)
        mark = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
        return self.old / f"{path.stem}-{mark}{path.suffix}"

    def add(self, text: str) -> None:
        """One more [[key]] of the roster, whose private half is kept elsewhere."""
        self.require_root()
        with self.register.lock():
            self._write_roster(self._roster_text() + text + "\n")

    def issue_server(self, name: str, hosts: tuple[str, ...], now_us: int) -> Issued:
        """A server certificate (the broker's) for these names and addresses."""
        if not hosts:
            raise ConfigError("a broker's certificate names its hosts: give --host, as often as it has names")
        return Issued(require(name), self._certificate(self.tls, name, now_us, hosts), "")

    def issue_cap(self, name: str, now_us: int) -> Issued:
        """A key and certificate with which the controller `name` signs its CAP messages."""
        self.require_root()
        self.make(self.cap)
        return Issued(require(name), self._certificate(self.cap, name, now_us), "")

    def signers(self) -> tuple[Key, ...]:
        """Every signing key issued here."""
        return load(self.roster_file, RosterFile).keys if self.roster_file.exists() else ()

    def planners(self) -> tuple[tuple[str, str], ...]:
        """(id, kid) of the root's people; empty when there is no root."""
        if not self.root_file.exists():
            return ()
        return tuple((p.id, kid_of(bytes.fromhex(p.public)).hex()) for p in load(self.root_file, Root).planners)

    def certificates(self) -> tuple[tuple[str, int], ...]:
        """(id, end in UTC microseconds) of every certificate issued here."""
        tls, cap = (sorted(part.glob("*.crt")) for part in (self.tls, self.cap))
        named = [(path.stem, path) for path in tls] + [(f"{path.stem} (CAP)", path) for path in cap]
        return tuple((name, certificates.expiry_us(path)) for name, path in named)

    def _roster_text(self) -> str:
        return self.roster_file.read_text() if self.roster_file.exists() else ""

    def _write_roster(self, text: str) -> None:
        parse(text, RosterFile, source=str(self.roster_file))  # never one that no plan would take
        certificates.write_file(self.roster_file, text.encode())

    def make(self, folder: Path) -> None:
        """A part of the folder, for its owner only."""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot make this folder: {error.strerror}", source=str(folder)) from None
        with contextlib.suppress(OSError):
            folder.chmod(0o700)


_ROOT_HEAD = (
    "# The trust anchor of plans. Public; pinned on every machine by hand or by Ansible, never sent over the network."
)


def _entry(public: bytes, signer: str, role: str, mode: str, zones: tuple[str, ...], centre: str) -> str:
    lines = [
        "[[key]]",
        f'public = "{public.hex()}"  # kid {kid_of(public).hex()}',
        f'signer = "{signer}"',
        f'role = "{role}"',
        f'mode = "{mode}"',
    ]
    if zones:
        lines.append("zones = [" + ", ".join(f'"{zone}"' for zone in zones) + "]")
    if centre:
        lines.append(f'centre = "{require(centre)}"')
    return "\n".join(lines) + "\n"


def require(text: str) -> str:
    """The id, or ConfigError when it is none."""
    try:
        return require_id(text, "this")
    except ValueError as error:
        raise ConfigError(f"{text!r}: {error}") from None
