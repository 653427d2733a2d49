"""The folder in which one site keeps its identities: root and planners, signing keys with their roster, TLS.

root.toml            the trust anchor of plans: goes to every machine, by hand or by Ansible
roster.toml          the [[key]] tables of every key issued here: `bucium plan build --roster` takes them
planners/ID.pem      people who sign plans                                              0600
signing/ID.MODE.pem  nodes, controllers, operators: one key each for live, exercise, test   0600
tls/                 ca.crt, ca.key, ID.crt, ID.key
cap/                 ID.crt, ID.key: what a controller signs CAP messages with; others pin the certificate
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import Field

from bucium import certificates
from cython_ext import ConfigError
from cython_ext.topics import require_id
from lanes.keys import Mode, SigningKey, kid_of, write_key
from lanes.plan import Key
from lanes.planfile import Root
from lanes.settings import Settings, load, parse

ROLES: Final = ("node", "controller", "operator")
MODES: Final = tuple(mode.name.lower() for mode in Mode)


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
    """The folder; nothing in it is ever overwritten."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root_file = folder / "root.toml"
        self.roster_file = folder / "roster.toml"

    def init(self, root: str, planners: tuple[str, ...], threshold: int, now_us: int) -> tuple[Path, ...]:
        """Make root, planners' keys and the CA. ConfigError when the folder has a root already."""
        if self.root_file.exists():
            raise ConfigError("this folder has a root already; choose another", source=str(self.root_file))
        if not 1 <= threshold <= len(planners):
            raise ConfigError(f"a threshold of {threshold} needs as many planners, and there are {len(planners)}")
        if len(set(planners)) < len(planners):
            raise ConfigError("a planner is named twice")
        keys = {_id(planner): SigningKey.generate() for planner in planners}
        lines = [_ROOT_HEAD, f'name = "{root}"', f"threshold = {threshold}"]
        for planner, key in keys.items():
            lines += ["", "[[planner]]", f'id = "{planner}"', f'public = "{key.public.hex()}"']
        text = "\n".join(lines) + "\n"
        parse(text, Root)  # a wrong name is refused before anything is made
        for part in ("planners", "signing", "tls"):
            self._make(self.folder / part)
        made = [self.folder / "planners" / f"{planner}.pem" for planner in planners]
        for path, key in zip(made, keys.values(), strict=True):
            write_key(key, path)
        certificates.make_authority(self.folder / "tls", root, now_us)
        self.root_file.write_text(text)
        return (self.root_file, *made, self.folder / "tls" / "ca.crt", self.folder / "tls" / "ca.key")

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
        _id(name)
        for zone in zones:
            _id(zone)
        if role == "operator" and not zones:
            raise ConfigError(
                f"a person acts for named zones: give them, e.g. --zones riverside,upper-town, for {name}"
            )
        if not self.root_file.exists():
            raise ConfigError("no root here; begin with: bucium keys init", source=str(self.folder))
        for part in ("signing", "tls"):
            self._make(self.folder / part)
        made: list[Path] = []
        texts: list[str] = []
        for mode in MODES:
            key = SigningKey.generate()
            path = self.folder / "signing" / f"{name}.{mode}.pem"
            write_key(key, path)
            made.append(path)
            texts.append(_entry(key.public, name, role, mode, zones, centre))
        text = "\n".join(texts)
        with self.roster_file.open("a") as file:
            file.write(text + "\n")
        if tls:
            made += certificates.issue(self.folder / "tls", name, now_us)
        return Issued(name, tuple(made), text)

    def add(self, text: str) -> None:
        """One more [[key]] of the roster, whose private half is kept elsewhere."""
        if not self.root_file.exists():
            raise ConfigError("no root here; begin with: bucium keys init", source=str(self.folder))
        with self.roster_file.open("a") as file:
            file.write(text + "\n")

    def issue_server(self, name: str, hosts: tuple[str, ...], now_us: int) -> Issued:
        """A server certificate (the broker's) for these names and addresses."""
        if not hosts:
            raise ConfigError("a broker's certificate names its hosts: give --host, as often as it has names")
        return Issued(_id(name), certificates.issue(self.folder / "tls", name, now_us, hosts=hosts), "")

    def issue_cap(self, name: str, now_us: int) -> Issued:
        """A key and certificate with which the controller `name` signs its CAP messages."""
        if not self.root_file.exists():
            raise ConfigError("no root here; begin with: bucium keys init", source=str(self.folder))
        self._make(self.folder / "cap")
        return Issued(_id(name), certificates.issue_cap(self.folder / "tls", self.folder / "cap", name, now_us), "")

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
        tls, cap = (sorted((self.folder / part).glob("*.crt")) for part in ("tls", "cap"))
        named = [(path.stem, path) for path in tls] + [(f"{path.stem} (CAP)", path) for path in cap]
        return tuple((name, certificates.expiry_us(path)) for name, path in named)

    def _make(self, folder: Path) -> None:
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
        lines.append(f'centre = "{_id(centre)}"')
    return "\n".join(lines) + "\n"


def _id(text: str) -> str:
    try:
        return require_id(text, "this")
    except ValueError as error:
        raise ConfigError(f"{text!r}: {error}") from None
