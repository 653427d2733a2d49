"""A controller whose journal is gone orders and stops sirens as before: its own code against a node's, under the relay monitor.

Nodes remember our counters for ever. A controller that began to count anew would be refused as a replay of itself: no siren could
be sounded from there, and none stopped, with every light green.
"""

import asyncio
from pathlib import Path

import pytest

from lanes.acts import RequestSiren, StopSiren
from lanes.keys import Mode
from lanes.orders import Order
from lanes.reports import ReceiptData, Stage
from tests.kit.clock import run_virtual
from tests.kit.control_room import ControlRoom, FakeNode
from tests.kit.orders import siren_plan
from tests.kit.siren_rig import Rig, rig

ZONE, RELAY, SIREN = "valea", "R2", "s2"


def hear(control: ControlRoom, node: FakeNode, receipt: ReceiptData) -> None:
    """What the rig's node said, in its own ledger's next event."""
    control.hear(node, node.event(receipt))


async def sounds_and_stops(r: Rig, control: ControlRoom, node: FakeNode) -> None:
    """Two people order the siren, one stops it: both are obeyed, at the first or at a renewed order."""
    request = control.act(RequestSiren((ZONE,), "dezastre", Mode.LIVE, 0, "dyke"), "ana")
    control.approve(request, "ana")
    control.approve(request, "ion")
    r.monitor.permit(RELAY, r.clock.monotonic_ns(), 61)
    await carry(r, control, node)
    assert r.on(RELAY), r.told(SIREN)
    control.act(StopSiren(zones=(ZONE,)), "ion")
    r.monitor.stop(RELAY, r.clock.monotonic_ns())
    await carry(r, control, node)
    assert not r.on(RELAY)
    assert r.told(SIREN)[-1] == (Stage.STOPPED, "stopped")


async def carry(r: Rig, control: ControlRoom, node: FakeNode) -> None:
    """Orders to the node and its answers back, as often as it renews them."""
    for _ in range(5):
        said = len(r.receipts)
        orders: list[tuple[Order, bytes]] = [each for each in control.orders() if each[0].siren == SIREN]
        for _, data in orders:
            await r.sirens.order(data)
        await asyncio.sleep(0.2)
        for receipt in r.receipts[said:]:
            hear(control, node, receipt)


@pytest.mark.parametrize("how", ["lost", "an old copy"])
def test_a_controller_without_its_journal_is_obeyed(tmp_path: Path, how: str) -> None:
    async def main() -> None:
        async with rig(tmp_path) as r:
            plan = siren_plan()
            control = ControlRoom(tmp_path / "old" / "journal.db", plan, r.clock)
            node = FakeNode("n1", r.clock, plan, boot=r.boot)
            control.hear(node, node.state(sirens=r.sirens.states()))
            await control.commit()
            await control.journal.close()
            image = control.path.read_bytes()
            control.open()
            for _ in range(4):  # a life of restarts
                r.clock.advance(60)
                await control.restart()
            control.hear(node, node.state(sirens=r.sirens.states()))
            await sounds_and_stops(r, control, node)
            await control.commit()
            await control.journal.close()
            await asyncio.sleep(700)  # the hold is over; somebody has put another disk in
            other = tmp_path / "new" / "journal.db"
            other.parent.mkdir()
            if how != "lost":
                other.write_bytes(image)
            await sounds_and_stops(r, _heard(ControlRoom(other, plan, r.clock), node, r), node)
            r.lawful()

    (tmp_path / "old").mkdir()
    run_virtual(main())


def _heard(control: ControlRoom, node: FakeNode, r: Rig) -> ControlRoom:
    control.hear(node, node.state(sirens=r.sirens.states()))
    return control
