"""Receipts: steps always, refusals within a measure, and never a relay that waits for the ledger."""

import asyncio

from edge.siren.answers import KNOWN_BURST, NOISE_BURST, NOISE_EVERY_S, Answers
from lanes.reports import ReceiptData, Stage
from tests.kit.clock import run_virtual
from tests.kit.siren_rig import clock_of


def receipt(stage: Stage, reason: str) -> ReceiptData:
    return ReceiptData("s1", bytes(8), stage, reason, bytes(8), 0)


def test_a_flood_of_bad_orders_does_not_fill_the_ledger() -> None:
    async def main() -> None:
        written: list[ReceiptData] = []

        async def record(data: ReceiptData) -> None:
            written.append(data)

        answers = Answers(record, clock_of())
        task = asyncio.create_task(answers.run())
        for _ in range(10_000):
            answers.refuse(receipt(Stage.REFUSED, "signature"), known=False)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(written) == NOISE_BURST
        assert (answers.refused, answers.unwritten) == (10_000, 10_000 - NOISE_BURST)
        answers.refuse(receipt(Stage.REFUSED, "held"), known=True)
        answers.tell(receipt(Stage.DONE, "end"))
        await asyncio.sleep(NOISE_EVERY_S)
        assert [r.reason for r in written[NOISE_BURST:]] == ["held", "end"], "noise does not use up the others' tokens"
        answers.refuse(receipt(Stage.REFUSED, "signature"), known=False)
        await asyncio.sleep(0.1)
        assert [r.reason for r in written[NOISE_BURST + 2 :]] == ["flood", "signature"]
        task.cancel()

    run_virtual(main())


def test_all_of_a_nodes_sirens_can_be_refused_at_once() -> None:
    async def main() -> None:
        written: list[ReceiptData] = []

        async def record(data: ReceiptData) -> None:
            written.append(data)

        answers = Answers(record, clock_of())
        for _ in range(KNOWN_BURST):
            answers.refuse(receipt(Stage.REFUSED, "busy"), known=True)
        await answers.flush()
        assert len(written) == KNOWN_BURST

    run_virtual(main())


def test_what_waits_for_a_slow_disk_keeps_its_order() -> None:
    async def main() -> None:
        written: list[str] = []

        async def record(data: ReceiptData) -> None:
            await asyncio.sleep(1)
            written.append(data.reason)

        answers = Answers(record, clock_of())
        task = asyncio.create_task(answers.run())
        for reason in ("a", "b", "c"):
            answers.tell(receipt(Stage.ARMED, reason))
        await asyncio.sleep(1.5)
        assert written == ["a"]
        await asyncio.sleep(2)
        assert written == ["a", "b", "c"]
        task.cancel()

    run_virtual(main())
