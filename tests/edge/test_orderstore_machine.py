"""The order store as a machine: whatever happens to a node, nothing that was obeyed is obeyed again."""

import asyncio
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cython_ext import ClockQuality, ClockSource
from edge.siren.orders import Accepted
from lanes.keys import Mode
from tests.kit.order_node import NO_NONCE, Node


class Machine(RuleBasedStateMachine):
    """Orders, stops, reboots, crashes and restored disks in any order: nothing that was obeyed is obeyed again."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.node = Node(Path(self.folder.name))
        self.obeyed: list[bytes] = []
        self.image: bytes | None = None
        self.order_epoch = 0

    @rule(siren=st.sampled_from(["s1", "s2"]), quote=st.booleans())
    def start(self, siren: str, quote: bool) -> None:
        node = self.node
        nonce = node.boot if quote else NO_NONCE
        zones = ("ungheni",) if siren == "s1" else ("valea",)
        incident = (len(self.obeyed) + 1).to_bytes(8, "big")[::-1]
        say = {
            "siren": siren,
            "zones": zones,
            "nonce": nonce,
            "order_epoch": node.store.order_epoch,
            "incident": incident,
        }
        self.obey(node.make.by_people("ana", "ion", **say))

    @rule(siren=st.sampled_from(["s1", "s2", ""]), mode=st.sampled_from(Mode), quote=st.booleans())
    def stop(self, siren: str, mode: Mode, quote: bool) -> None:
        nonce = self.node.boot if quote else NO_NONCE
        self.obey(self.node.make.stop(siren=siren, mode=mode, nonce=nonce))

    def obey(self, data: bytes) -> None:
        before = self.node.store.order_epoch
        verdicts = self.node.judge(data)
        self.node.take(data)
        if all(isinstance(v, Accepted) for v in verdicts):
            self.obeyed.append(data)
        assert self.node.store.order_epoch >= before

    @precondition(lambda self: self.obeyed)
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        recorded = data.draw(st.sampled_from(self.obeyed))
        assert not any(isinstance(v, Accepted) for v in self.node.judge(recorded))

    @rule(away_s=st.floats(0, 50))
    def reboot(self, away_s: float) -> None:
        self.node.reboot(away_s)

    @rule(seconds=st.floats(0, 100))
    def wait(self, seconds: float) -> None:
        self.node.clock.advance(seconds)
        asyncio.run(self.node.store.tend())
        asyncio.run(self.node.store.keep_anchor())

    @rule()
    def take_image(self) -> None:
        self.node.reboot()
        self.image = (self.node.folder / "orders.db").read_bytes()

    @precondition(lambda self: self.image is not None)
    @rule()
    def restore_image(self) -> None:
        assert self.image is not None
        self.node.store.close()
        for old in self.node.folder.glob("orders.db*"):
            old.unlink()
        (self.node.folder / "orders.db").write_bytes(self.image)
        self.node.boots += 1
        self.node.open()

    @rule(trusted=st.booleans())
    def trust(self, trusted: bool) -> None:
        self.node.clock.trust(ClockQuality(ClockSource.NTP if trusted else ClockSource.NONE, 5))

    @invariant()
    def nothing_obeyed_is_obeyed_again(self) -> None:
        for recorded in self.obeyed[-3:]:
            assert not any(isinstance(v, Accepted) for v in self.node.judge(recorded))

    @invariant()
    def holds_end(self) -> None:
        assert self.node.left_s() <= 600

    def teardown(self) -> None:
        self.node.store.close()
        self.folder.cleanup()


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
