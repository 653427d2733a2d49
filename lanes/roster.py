"""The roster: which key belongs to whom, and what it may sign. It comes from the signed plan and from nowhere else."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .keys import Mode, Role, kid_of


@dataclass(frozen=True, slots=True)
class Passkey:
    """Where an authenticator's key may sign: for the relying party `rp_id`, on pages of `origin` (lanes/passkeys.py)."""

    rp_id: str
    origin: str


@dataclass(frozen=True, slots=True)
class Signer:
    """One key's entry. `zones` empty: all zones of the plan (nodes and controllers only; people are named their zones)."""

    id: str
    role: Role
    mode: Mode
    public: bytes
    zones: frozenset[str] = frozenset()
    centre: str = ""  # the dispatch centre a person or controller belongs to
    passkey: Passkey | None = None  # then it approves orders by assertion, and signs nothing else

    @property
    def kid(self) -> bytes:
        return kid_of(self.public)

    def covers(self, zones: Iterable[str]) -> bool:
        """Whether this signer may act for every one of `zones`."""
        return not self.zones or self.zones.issuperset(zones)

    def shown(self) -> dict[str, Any]:
        """For tools that sign, as JSON: whose key it is, and what it may do."""
        return {
            "id": self.id,
            "role": self.role.name.lower(),
            "mode": self.mode.name.lower(),
            "zones": sorted(self.zones),
            "centre": self.centre,
        }


class Roster:
    """Signers by key id, less the revoked. Immutable: a new plan brings a new one.

    An authenticator's key is found by `passkey` only: no envelope is ever signed by one.
    """

    def __init__(self, signers: Iterable[Signer], revoked: Iterable[bytes] = ()) -> None:
        gone = frozenset(revoked)
        self._by_kid: Mapping[bytes, Signer] = {s.kid: s for s in signers if s.kid not in gone}

    def find(self, kid: bytes) -> Signer | None:
        """Whose signing key this is."""
        found = self._by_kid.get(kid)
        return None if found is None or found.passkey else found

    def passkey(self, kid: bytes) -> Signer | None:
        """Whose authenticator's key this is."""
        found = self._by_kid.get(kid)
        return found if found is not None and found.passkey else None

    def __iter__(self) -> Iterator[Signer]:
        return iter(self._by_kid.values())

    def __len__(self) -> int:
        return len(self._by_kid)
