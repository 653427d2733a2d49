"""Another plan for a running node: examined whole, kept on disk, then run, with nothing of its state lost (design §2.5).

A plan changes what is judged and who may order; it cannot bring a bus, a device or a pin, which are node.toml's. So a plan that
gives this node points or sirens that node.toml does not bind is refused, with what is missing: then both files are put in place
together, and the node is started again. The same holds for another group or controller, whose topics and keys are others.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from cython_ext import ConfigError, WireError
from cython_ext.panel import Panel
from firmware_bridge.driver import Device
from lanes import pieces, planfile, plankept
from lanes.keys import Mode, SigningKey
from lanes.planfile import SignedPlan
from lanes.store import Runner

from .config import Ready, keys_under, require_match
from .plan.follow import PlanRefused
from .sense.sampler import Source, sources

Swap = Callable[[SignedPlan, dict[Mode, SigningKey], list[Source]], None]


class Replan:
    """Called with a packed plan: examines it, keeps it and has `swap` run it; PlanRefused, and nothing has changed."""

    def __init__(self, ready: Ready, *, data: Path, devices: Mapping[str, Device], runner: Runner, swap: Swap) -> None:
        self._local, self._root = ready.local, ready.root
        self._running, self._keys = ready.signed, ready.keys
        self._data = data
        self._devices = devices
        self._runner = runner
        self._swap = swap

    async def __call__(self, packed: bytes) -> SignedPlan:
        signed, keys, found = await self._runner(self._examine, packed)
        try:
            await self._runner(plankept.adopt, signed, self._data, self._local.at(self._local.config.node.plan))
        except OSError as error:
            raise PlanRefused("disk", f"cannot keep it: {error.strerror}") from None
        self._running, self._keys = signed, keys
        self._swap(signed, keys, found)
        return signed

    def _examine(self, packed: bytes) -> tuple[SignedPlan, dict[Mode, SigningKey], list[Source]]:
        """All that can be said against it. In the disk's thread: a large plan takes a second on a small board."""
        signed = self._read(packed)
        plan, running, local = signed.plan, self._running.plan, self._local
        if plan.version <= running.version:
            raise PlanRefused("older", f"version {plan.version} is not above version {running.version}, which runs")
        if (plan.group, plan.controller) != (running.group, running.controller):
            raise PlanRefused(
                "group", f"it is for group {plan.group}, controller {plan.controller}: start the node with it"
            )
        try:
            require_match(local, plan)
            found = sources(local, plan, self._devices)
        except ConfigError as error:
            raise PlanRefused("bindings", str(error)) from None
        try:
            keys = keys_under(local, plan, self._keys)
        except ConfigError as error:
            raise PlanRefused("keys", str(error)) from None
        try:
            Panel(plan.panel(local.config.node.id))
        except ConfigError as error:
            raise PlanRefused("invalid", str(error)) from None
        return signed, keys, found

    def _read(self, packed: bytes) -> SignedPlan:
        try:
            signed = planfile.parse(pieces.unpack(packed))
        except (WireError, ConfigError) as error:
            raise PlanRefused("invalid", str(error)) from None
        try:
            return planfile.check(signed, self._root)
        except ConfigError as error:
            raise PlanRefused("signature", str(error)) from None
