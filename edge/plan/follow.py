"""Follows the controller's plan: takes its pieces, asks for the next, has the whole one examined and taken up (design §2.5).

Whatever is wrong with it, the running plan stays, Trouble `plan-refused` says why, and the controller is told. The change itself
is somebody else's (`Change`), since it concerns the whole node.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from cython_ext import BuciumError, WireError
from lanes.envelope import Envelope
from lanes.pieces import Piece, Want
from lanes.planfile import SignedPlan

from ..troubles import Troubles
from .collect import Collector

log = logging.getLogger("bucium.edge")
TROUBLE: Final = "plan-refused"


class PlanRefused(BuciumError):
    """A plan that this node does not run. `code` is a word of docs/troubles.md."""

    def __init__(self, code: str, detail: str) -> None:
        self.code = code
        super().__init__(detail)


class Follower:
    """`piece` takes what comes; `run` must be running for a whole plan to be examined and taken up.

    `change` examines a packed file and has the node run it, or raises PlanRefused and changes nothing. `ask` has the lane say
    what is wanted.
    """

    def __init__(
        self,
        running: SignedPlan,
        *,
        change: Callable[[bytes], Awaitable[SignedPlan]],
        troubles: Troubles,
        ask: Callable[[], None],
    ) -> None:
        self._running = running
        self._change = change
        self._troubles = troubles
        self._ask = ask
        self._collector = Collector()
        self._whole: bytes | None = None
        self._complete = asyncio.Event()
        self.refused = ""  # why the last one was not taken up, for people

    def piece(self, envelope: Envelope) -> str:
        """A CHUNK of the controller; "" or why it is none."""
        try:
            piece = Piece.unpack(envelope.body)
        except WireError:
            return "malformed-chunk"
        if piece.plan == self._running.digest:
            self._collector.forget()  # it has not yet heard that we run it: the state report says so
        elif self._whole is None:
            self._take(piece, envelope.plan_version)
        self._ask()
        return ""

    def _take(self, piece: Piece, version: int) -> None:
        whole = self._collector.take(piece)
        if version <= self._running.plan.version:  # ours is the newer: no trouble of this node
            self._collector.refuse("older")
        elif whole is not None:
            self._whole = whole
            self._complete.set()

    def want(self) -> Want | None:
        """What is to be asked of the controller; None: nothing."""
        return self._collector.want()

    async def run(self) -> None:
        """Take up what is whole, until cancelled."""
        while True:
            await self._complete.wait()
            self._complete.clear()
            assert self._whole is not None
            try:
                signed = await self._change(self._whole)
            except PlanRefused as refused:
                self._refuse(refused.code, str(refused))
            else:
                self._running, self.refused = signed, ""
                self._collector.forget()
                self._troubles.only(TROUBLE)
            self._whole = None
            self._ask()

    def _refuse(self, code: str, detail: str) -> None:
        log.error("plan.refused why=%s detail=%s", code, detail)
        self.refused = f"{code}: {detail}"
        self._collector.refuse(code)
        self._troubles.only(TROUBLE, code)
