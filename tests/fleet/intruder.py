"""What a stranger and a node with a good certificate get at the lab's broker. Arguments: address, folder of certificates."""

import asyncio
import ssl
import sys
from pathlib import Path

import aiomqtt

HOST, TLS = sys.argv[1], Path(sys.argv[2])


def context(name: str = "", newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(TLS / "ca.crt"))
    made.maximum_version = newest
    if name:
        made.load_cert_chain(TLS / f"{name}.crt", TLS / f"{name}.key")
    return made


def client(name: str, tls: ssl.SSLContext) -> aiomqtt.Client:
    return aiomqtt.Client(HOST, 8883, identifier=name, tls_context=tls, timeout=10)


async def refused(name: str, tls: ssl.SSLContext) -> bool:
    try:
        async with client(name, tls) as talking:
            await talking.publish("bucium/1/prut/bridge/report", b"x", qos=1)
    except (aiomqtt.MqttError, OSError):
        return True
    return False


async def main() -> None:
    assert await refused("stranger", context()), "no certificate"
    assert await refused("old", context("quay", ssl.TLSVersion.TLSv1_2)), "TLS 1.2"
    heard: list[str] = []
    async with client("spy", context("centre-1")) as centre, client("quay.test", context("quay")) as quay:
        await centre.subscribe("bucium/1/prut/+/report", qos=1)
        await quay.subscribe([("bucium/1/prut/bridge/order", 1), ("spBv1.0/#", 0)])

        async def listen(who: aiomqtt.Client, name: str) -> None:
            async for message in who.messages:
                heard.append(f"{name} {message.topic}")

        tasks = [asyncio.create_task(listen(centre, "centre")), asyncio.create_task(listen(quay, "quay"))]
        await quay.publish("bucium/1/prut/bridge/report", b"forged", qos=1)
        await quay.publish("bucium/1/prut/beat", b"forged", qos=1)
        await centre.publish("bucium/1/prut/bridge/order", b"for the bridge only", qos=1)
        await quay.publish("bucium/1/prut/quay/report", b"its own", qos=1)
        deadline = asyncio.get_running_loop().time() + 30
        while "centre bucium/1/prut/quay/report" not in heard and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.1)
        for task in tasks:
            task.cancel()
    assert "centre bucium/1/prut/quay/report" in heard, heard
    assert "quay bucium/1/prut/bridge/order" not in heard, heard
    assert not [each for each in heard if each.startswith("quay spBv1.0/prut")], heard


asyncio.run(main())
