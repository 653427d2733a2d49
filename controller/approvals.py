"""Requests: a sound that people must approve. A request sounds nothing; the order goes when enough of them have said yes.

An approval is a signature over the order core's SHA-256, so nobody approves anything else than what sounds. The node checks every
one of them again by itself; what is checked here only spares people a refusal later. A request lives two minutes (F29: two
people, two sessions, at most 120 s apart); an approval lives at most 60 s, so the last ones must still be valid together.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from lanes.envelope import NOT_AFTER_MAX_US
from lanes.orders import REQUEST_LIFE_US, OrderCore

LIFE_US: Final = REQUEST_LIFE_US
REQUESTS_MAX: Final = 64  # open at once: people make them, one by one


@dataclass(frozen=True, slots=True)
class Yes:
    """One person's approval, as signed."""

    person: str
    centre: str
    not_after_us: int
    data: bytes


@dataclass(slots=True)
class Request:
    """A request and the approvals that it has."""

    core: OrderCore
    digest: bytes
    person: str
    reason: str
    people: int
    centres: int
    yes: list[Yes] = field(default_factory=list)
    sirens: tuple[str, ...] = ()  # only these of its zones; empty: all of them

    @property
    def id(self) -> str:
        """What people call it: the first 8 hex digits of the digest that they sign."""
        return self.digest.hex()[:8]

    def valid(self, now_us: int) -> list[Yes]:
        return [each for each in self.yes if each.not_after_us >= now_us]

    def chosen(self, now_us: int) -> list[Yes]:
        """As many of the valid as the node asks for, of enough centres: an order has no room for more."""
        valid = self.valid(now_us)
        first: dict[str, Yes] = {}
        for each in valid:
            if each.centre and len(first) < self.centres:
                first.setdefault(each.centre, each)
        found = list(first.values())
        return [*found, *(each for each in valid if each not in found)][: max(self.people, len(found))]

    def missing(self, now_us: int) -> str:
        """What it still needs, or empty."""
        valid = self.valid(now_us)
        if len(valid) < self.people:
            more = f"{self.people - len(valid)} more of {self.people} people"
            return more if self.centres < 2 else f"{more}, of {self.centres} centres"
        centres = {each.centre for each in valid if each.centre}
        if self.centres > 1 and len(centres) < self.centres:
            return "a person of another centre"
        return ""

    def not_after_us(self, now_us: int) -> int:
        """The order's: within its core, its approvals and 60 s."""
        ends = [each.not_after_us for each in self.chosen(now_us)]
        return min([self.core.not_after_us, now_us + NOT_AFTER_MAX_US, *ends])


class Requests:
    """The open requests, by digest."""

    def __init__(self) -> None:
        self._open: dict[bytes, Request] = {}

    def __iter__(self) -> Iterator[Request]:
        return iter(self._open.values())

    def __len__(self) -> int:
        return len(self._open)

    @property
    def full(self) -> bool:
        return len(self._open) >= REQUESTS_MAX

    def get(self, digest: bytes) -> Request | None:
        return self._open.get(digest)

    def put(self, request: Request) -> None:
        self._open[request.digest] = request

    def approve(self, request: Request, yes: Yes) -> None:
        """One more yes; a person's second one takes the place of the first."""
        request.yes = [*(each for each in request.yes if each.person != yes.person), yes]

    def close(self, digest: bytes) -> None:
        self._open.pop(digest, None)

    def expired(self, now_us: int) -> list[Request]:
        return [request for request in self if request.core.not_after_us < now_us]

    def pack(self) -> list[Any]:
        return [[*pack_request(r), [[y.person, y.centre, y.not_after_us, y.data] for y in r.yes]] for r in self]

    def restore(self, value: list[Any]) -> None:
        for *heads, yes in value:
            request = unpack_request(heads)
            request.yes = [Yes(*each) for each in yes]
            self.put(request)


def pack_request(request: Request) -> list[Any]:
    heads = [request.core.pack(), request.person, request.reason, request.people, request.centres]
    return [*heads, list(request.sirens)] if request.sirens else heads


def unpack_request(value: list[Any]) -> Request:
    packed, person, reason, people, centres, *sirens = value
    core = OrderCore.unpack(packed)
    return Request(core, core.digest(), person, reason, people, centres, sirens=tuple(*sirens))
