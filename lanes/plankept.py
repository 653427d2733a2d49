"""The plan that runs: its version strictly rises, and one that must not run leaves the running one in place (design §2.5).

A service keeps a copy of the plan it last ran beside its own data. At the next start the file that was delivered is taken only
if its people stand for it and it is newer than the copy (or is the copy); otherwise the copy runs on, and that is Trouble. A
node with an old plan still warns; a node that refuses to start does not.

A plan can also come while the service runs (`adopt`). The delivered file is then older than the one that runs, and rightly so:
that is no Trouble for as long as the file is the one that was there at that moment.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cython_ext import ConfigError

from . import durable, planfile
from .planfile import Root, SignedPlan

NAME: Final = "plan.running"
BEFORE: Final = "plan.before"
ADOPTED: Final = "plan.adopted"  # the SHA-256 of the delivered file that a later plan has overtaken


@dataclass(frozen=True, slots=True)
class Chosen:
    """The plan to run; `refused` says why the delivered one does not (empty: it does)."""

    signed: SignedPlan
    refused: str = ""


def choose(delivered: Path, folder: Path, root: Root) -> Chosen:
    """The delivered plan, or the one that ran last; ConfigError when neither may run. Writes nothing."""
    kept = _kept(folder / NAME, root)
    try:
        signed = planfile.load(delivered, root)
    except ConfigError as error:
        if kept is None:
            raise
        return Chosen(kept, str(error))
    if kept is None or signed.plan.version > kept.plan.version or signed.digest == kept.digest:
        return Chosen(signed)
    if signed.plan.version == kept.plan.version:
        return Chosen(
            kept, f"{delivered}: version {signed.plan.version} runs with another content; give it a higher version"
        )
    if _read(folder / ADOPTED) == _digest(delivered):
        return Chosen(kept)
    return Chosen(
        kept, f"{delivered}: version {signed.plan.version} is older than version {kept.plan.version}, which runs"
    )


def keep(signed: SignedPlan, folder: Path) -> None:
    """Remember that this plan runs."""
    path = folder / NAME
    try:
        same = planfile.read(path).digest == signed.digest
    except ConfigError:
        same = False  # none yet, or damaged
    if not same:
        _put_aside(folder)
        planfile.write(signed, path)


def before(folder: Path) -> SignedPlan | None:
    """The plan that ran before this one: others may still go by it. Nobody's signature is checked; its digest names it."""
    try:
        return planfile.read(folder / BEFORE)
    except ConfigError:
        return None


def _put_aside(folder: Path) -> None:
    data = _read(folder / NAME)
    if data is not None:
        (folder / BEFORE).write_bytes(data)


def adopt(signed: SignedPlan, folder: Path, delivered: Path) -> None:
    """From now on this plan runs, over the delivered file as it stands now. OSError: the disk does not take it."""
    durable.replace(folder / ADOPTED, _digest(delivered))
    _put_aside(folder)
    planfile.write(signed, folder / NAME)


def _digest(path: Path) -> bytes:
    data = _read(path)
    return b"none" if data is None else hashlib.sha256(data).digest()


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _kept(path: Path, root: Root) -> SignedPlan | None:
    """The copy; None when there is none, it is damaged, or the root's people no longer stand for it."""
    try:
        return planfile.load(path, root)
    except ConfigError:
        return None
