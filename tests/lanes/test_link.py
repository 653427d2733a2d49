"""The link on real brokers: manual acknowledgement, wills, takeover, a broker that goes away."""

import asyncio
import gc
from collections import Counter

import pytest

from lanes.link import READ_MAX, TAKE_MAX, BrokerSettings, LinkDown, MqttConnector, Will
from tests.kit.brokers import RealBroker, free_port


def connector(broker: RealBroker) -> MqttConnector:
    return MqttConnector(BrokerSettings(host="127.0.0.1", port=broker.port, timeout_s=5))


async def take(link, count):
    taken = []
    async for message in link.messages():
        taken.append(message)
        if len(taken) == count:
            break
    return taken


async def test_what_was_not_acknowledged_comes_again(broker):
    dial = connector(broker)
    async with dial.connect("listener", clean=False) as link:
        await link.subscribe(("t/#", 1))
        async with dial.connect("speaker") as speaker:
            for n in range(4):
                await speaker.publish(f"t/{n}", b"x", qos=1)
        first = await take(link, 4)
        for message in first[:2]:
            link.ack(message)
    owed = {message.topic for message in first[2:]}
    async with dial.connect("listener", clean=False) as link:
        await link.subscribe(("t/#", 1))
        async with asyncio.timeout(60):
            while owed:  # what was acknowledged may come twice: that is QoS 1; what was not must come
                (message,) = await take(link, 1)
                link.ack(message)
                owed.discard(message.topic)


async def test_a_burst_comes_whole_and_in_its_order(broker):
    """More than one read takes, and than is handed on in one go; the loop is given to others in between."""
    many = 4 * READ_MAX + 3
    dial = connector(broker)
    async with dial.connect("listener") as link, dial.connect("speaker") as speaker:
        await link.subscribe(("t", 1))
        turns = 0

        async def others():
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        for n in range(many):
            await speaker.publish("t", str(n).encode(), qos=0)
        other, seen = asyncio.create_task(others()), []
        async with asyncio.timeout(60):
            async for message in link.messages():
                link.ack(message)
                seen.append((int(message.payload), turns))
                if len(seen) == many:
                    break
        other.cancel()
        assert [n for n, _ in seen] == list(range(many))
        assert max(Counter(turn for _, turn in seen).values()) <= 2 * TAKE_MAX


async def test_a_will_goes_out_when_the_connection_dies(broker):
    dial = connector(broker)
    async with dial.connect("listener") as link:
        await link.subscribe(("will/#", 1))
        with pytest.raises(RuntimeError):
            async with dial.connect("dying", Will("will/dying", b"gone")) as dying:
                dying._client._client._sock.close()
                raise RuntimeError
        assert [(m.topic, m.payload) for m in await asyncio.wait_for(take(link, 1), 60)] == [("will/dying", b"gone")]


async def test_a_lost_broker_is_link_down(broker):
    async with connector(broker).connect("listener") as link:
        await link.subscribe(("t", 1))
        broker.kill()
        with pytest.raises(LinkDown):
            await asyncio.wait_for(take(link, 1), 60)
        with pytest.raises(LinkDown):
            await link.publish("t", b"", qos=1)


async def test_an_absent_broker_is_link_down_and_says_where():
    dial = MqttConnector(BrokerSettings(port=(port := free_port()), timeout_s=2))
    with pytest.raises(LinkDown, match=str(port)):
        async with dial.connect("nobody"):
            pass


async def test_a_broker_that_closes_before_it_answers_has_refused():
    async def slam(reader, writer):
        await reader.read(1)
        writer.transport.abort()

    server = await asyncio.start_server(slam, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    connector = MqttConnector(BrokerSettings.model_validate({"port": port, "timeout_s": 60}))
    with pytest.raises(LinkDown, match="closed before it answered"):
        async with asyncio.timeout(60), connector.connect("n1"):
            pass
    server.close()


@pytest.mark.parametrize("call", ["publish", "settled", "subscribe"])
async def test_a_cancellation_that_comes_with_the_answer_is_heeded(broker, call):
    async with connector(broker).connect("ending") as link:
        paho = link._client._client
        work = {
            "publish": lambda: link.publish("t", b"x", qos=1),
            "settled": lambda: link.settled("t"),
            "subscribe": lambda: link.subscribe(("t", 1)),
        }
        name = {"publish": "on_publish", "settled": "on_unsubscribe", "subscribe": "on_subscribe"}[call]
        told = getattr(paho, name)

        def answered(*rest):
            told(*rest)
            task.cancel()

        setattr(paho, name, answered)
        task = asyncio.create_task(work[call]())
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_leaving_in_order_leaves_nothing_behind(broker, caplog):
    for n in range(5):
        async with connector(broker).connect(f"guest-{n}"):
            pass
    await asyncio.sleep(0)  # what the end of the connection put into the loop
    gc.collect()
    assert not caplog.records
