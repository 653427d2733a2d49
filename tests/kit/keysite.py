"""A keys' folder and hosts that enrol with it, as files; and a kill at each step that touches the disk."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from bucium import admission
from bucium.admission import Done
from bucium.certcheck import certificate_of
from bucium.keyring import Keyring
from bucium.ownkeys import OwnKeys

NOW_US = 1_800_000_000_000_000
HOUR_US = 3_600_000_000
BROKER = "127.0.0.1"


@dataclass(frozen=True)
class KeySite:
    """The admin's folder `ring`, and each host's own beside it."""

    folder: Path

    @property
    def ring(self) -> Keyring:
        return Keyring(self.folder / "keys")

    def own(self, name: str) -> OwnKeys:
        return OwnKeys(self.folder / name / "identity")

    def begin(self, now_us: int = NOW_US) -> "KeySite":
        self.ring.init("TEST-1", ("ana", "ion"), 2, now_us)
        return self

    def asked(self, name: str, role: str = "node", now_us: int = NOW_US, *, cap: bool = False) -> Path:
        """The host's request, with a fresh token."""
        hosts = (BROKER,) if role == "broker" else ()
        zones = ("riverside",) if role == "operator" else ()
        token, _ = admission.token(self.ring, name, role, now_us, hosts=hosts, zones=zones)
        self.own(name).enrol(name, role, token, cap=cap, hosts=hosts)
        return self.own(name).request_file

    def admit(self, name: str, now_us: int = NOW_US, **options: Any) -> Done:
        return admission.admit(self.ring, self.own(name).request_file, now_us, **options)

    def adopt(self, name: str, now_us: int = NOW_US) -> bool:
        tls, cap = self.ring.tls, self.ring.cap / f"{name}.crt"
        return self.own(name).adopt(tls / f"{name}.crt", tls / "ca.crt", now_us, cap=cap if cap.exists() else None)

    def enrol(self, name: str, role: str = "node", now_us: int = NOW_US, *, cap: bool = False) -> OwnKeys:
        """All of it."""
        self.asked(name, role, now_us, cap=cap)
        self.admit(name, now_us)
        self.adopt(name, now_us)
        return self.own(name)

    def roster(self, name: str) -> list[str]:
        """Public keys of this id that the next plan would know, in hex."""
        return sorted(key.public for key in self.ring.signers() if key.signer == name)

    def listed(self) -> set[int]:
        """Serial numbers on the broker's list."""
        return {each.serial_number for each in x509.load_pem_x509_crl((self.ring.tls / "ca.crl").read_bytes())}

    def serial(self, name: str) -> int:
        return certificate_of(self.ring.tls / f"{name}.crt").serial_number

    def files(self) -> dict[str, bytes]:
        """The whole folder, to see that nothing was changed."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file() and path.name != ".lock"
        }


class Killed(BaseException):
    """As a power cut: nothing catches it."""


STEPS = (
    (Path, "replace"),
    (Path, "rename"),
    (Path, "hardlink_to"),
    (Path, "symlink_to"),
    (Path, "unlink"),
    (os, "open"),
)


@contextmanager
def killed_at(step: int) -> Iterator[list[int]]:
    """The process dies just before its `step`-th change of the disk. Yields a list whose one entry counts the steps."""
    count = [0]
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in STEPS:
            patch.setattr(owner, name, _counted(getattr(owner, name), count, step))
        yield count


def _counted(real: Callable[..., Any], count: list[int], step: int) -> Callable[..., Any]:
    def wrapper(*args: Any, **options: Any) -> Any:
        count[0] += 1
        if count[0] == step:
            raise Killed
        return real(*args, **options)

    return wrapper


def at_each_step(site: KeySite, act: Callable[[KeySite], object], after: Callable[[KeySite, int], None]) -> int:
    """Run `act` on a copy of the site, killed at its 1st, 2nd, … step; each time `after` looks. How many steps it has."""
    step = 0
    while True:
        step += 1
        copy = KeySite(site.folder.with_name(f"{site.folder.name}-{step}"))
        shutil.copytree(site.folder, copy.folder, symlinks=True)
        try:
            with killed_at(step):
                act(copy)
        except Killed:
            after(copy, step)
            shutil.rmtree(copy.folder)
            continue
        shutil.rmtree(copy.folder)
        return step - 1
