"""A person applies a plan: examined whole, kept on disk, journaled with who and why, then run (design §2.5).

The plan's own people stand for it, by the root that is pinned on this machine; whoever applies it only says when. That may be one
of them, or an operator whom the running plan names. A refused plan changes nothing, and is journaled too.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cython_ext import BuciumError, ConfigError, WireError
from cython_ext.panel import Panel
from lanes import pieces, planfile, plankept
from lanes.acts import ApplyPlan, Signed, open_act
from lanes.control import ControlError
from lanes.keys import Mode, Role
from lanes.planfile import Root, SignedPlan
from lanes.roster import Signer
from lanes.store import Runner

from .acting import Acting
from .record.records import Record
from .room import Room

ROLES: Final = frozenset({Role.OPERATOR, Role.PLANNER})


@dataclass(frozen=True, slots=True)
class Place:
    """Where plans are: our own data, the delivered file, and the root as it is pinned now."""

    data: Path
    delivered: Path
    root: Callable[[], Root]


class Planning:
    """`apply` is the verb. `run` has the whole controller go by a plan."""

    def __init__(
        self, room: Room, acting: Acting, place: Place, *, runner: Runner, run: Callable[[SignedPlan], None]
    ) -> None:
        self._room = room
        self._acting = acting
        self._place = place
        self._runner = runner
        self._run = run
        self._one = asyncio.Lock()

    def find(self, kid: bytes) -> Signer | None:
        """Whose key this is: a person of the running plan, or one of the root's."""
        found = self._room.plan.roster.find(kid)
        if found is not None:
            return found
        try:
            return self._place.root().roster.find(kid)
        except ConfigError:
            return None

    async def apply(self, act: bytes, packed: bytes) -> dict[str, Any]:
        """Run the packed plan that the act names. BuciumError with the reason when it does not run."""
        async with self._one:
            room = self._room
            now_us = room.clock.wall_us()
            signed_act = open_act(act, self, service=room.plan.controller, now_us=now_us, roles=ROLES)
            if not isinstance(signed_act.act, ApplyPlan):
                raise ControlError("verb", f"signed for {signed_act.act.VERB}, sent as {ApplyPlan.VERB}")
            self._acting.once(signed_act.once, signed_act.not_after_us)
            try:
                signed = await self._runner(self._examine, signed_act, packed)
                await self._runner(plankept.adopt, signed, self._place.data, self._place.delivered)
            except OSError as error:
                self._keep(signed_act, "disk")
                raise ControlError("disk", f"the plan cannot be kept: {error.strerror}") from None
            except BuciumError as error:
                self._keep(signed_act, error.code if isinstance(error, ControlError) else "refused")
                raise
            with room.clock.hold():  # what follows from it has its row's time
                self._keep(signed_act, "done", signed.digest, packed)
                self._run(signed)
            plan = signed.plan
            return {"version": plan.version, "digest": signed.digest.hex(), "by": signed_act.person}

    def _keep(self, signed: Signed, outcome: str, digest: bytes = b"", packed: bytes = b"") -> None:
        row = [signed.data, signed.once, signed.not_after_us, outcome, digest, packed]
        self._room.journal.append(Record.PLAN, row)
        self._room.notify()

    def _examine(self, signed_act: Signed, packed: bytes) -> SignedPlan:
        """All that can be said against it. Blocks: a large plan takes a second."""
        act, running = signed_act.act, self._room.plan
        assert isinstance(act, ApplyPlan)
        if signed_act.mode is not Mode.LIVE:
            raise ControlError("mode", "a plan is applied with a live key")
        try:
            signed = planfile.parse(pieces.unpack(packed))
        except (WireError, ConfigError) as error:
            raise ControlError("invalid", str(error)) from None
        plan = signed.plan
        if (plan.version, signed.digest) != (act.version, act.plan):
            raise ControlError("invalid", "this is not the plan that was signed for")
        try:
            planfile.check(signed, self._place.root())
        except ConfigError as error:
            raise ControlError("signature", str(error)) from None
        if plan.version <= running.version:
            raise ControlError(
                "older",
                f"version {plan.version} is not above version {running.version}, which runs: give it a higher one",
            )
        if (plan.group, plan.controller) != (running.group, running.controller):
            raise ControlError(
                "group", f"it is for group {plan.group}, controller {plan.controller}: start the services with it"
            )
        self._own_keys(signed)
        try:
            Panel(plan.panel(None))
        except ConfigError as error:
            raise ControlError("invalid", str(error)) from None
        return signed

    def _own_keys(self, signed: SignedPlan) -> None:
        """Nodes go by its roster: it must know us."""
        for mode, key in self._room.keys.items():
            signer = signed.plan.roster.find(key.kid)
            if signer is None or (signer.id, signer.role, signer.mode) != (
                signed.plan.controller,
                Role.CONTROLLER,
                mode,
            ):
                raise ControlError(
                    "keys", f"its roster does not know this controller's {mode.name.lower()} key {key.kid.hex()}"
                )
