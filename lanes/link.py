"""One MQTT connection (3.1.1) behind one small port, with manual acknowledgement. The only file that knows the client library.

Why manual: the library acknowledges an inbound QoS 1 message before our code has seen it, so a crash would lose it
(libraries.md §a, measured). We acknowledge after our own commit. No reconnection here: whoever holds a link decides when
and how to dial again, and a lost link is `LinkDown`.
"""

import asyncio
import contextlib
import logging
import math
import select
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import aiomqtt
from paho.mqtt.exception import MQTTException
from pydantic import Field

from cython_ext import BuciumError, ConfigError

from .keys import secret_bytes
from .settings import Settings

QUEUE_MAX: Final = 4096  # messages received and not yet handled; beyond it TCP holds the sender back, or QoS 0 is shed
TAKE_MAX: Final = 64  # messages taken from that queue before others get the loop
READ_MAX: Final = 64  # packets read from the socket before others get the loop: some 5 ms
INFLIGHT_MAX: Final = 20  # concurrent QoS 1 publishes: more starve the loop (aiomqtt#365)
# Else TCP packs an alarm together with what follows it, and at 9.6 kbit/s it arrives a second later, with the last of that.
NO_DELAY: Final = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

GARBLED: Final = (OSError, ValueError, LookupError, struct.error, MQTTException)  # what the library says of bad packets

T = TypeVar("T")

logging.getLogger("mqtt").setLevel(logging.ERROR)  # it warns at each publish beyond ten pending


class LinkDown(BuciumError):
    """The connection is gone, or could not be made; the message says why."""


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes when the connection dies."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """A received message. `token` is for `Link.ack`."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    token: int = 0


class Link(Protocol):
    """An open connection."""

    async def subscribe(self, *filters: tuple[str, int]) -> None:
        """Subscribe to (filter, QoS) pairs; returns when the broker has answered."""

    async def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool = False) -> None:
        """Hand over (QoS 0) or hand over and be PUBACKed (QoS 1). A PUBACK is no promise of delivery."""

    async def settled(self, unused: str) -> None:
        """Wait until the broker has taken all that was handed over before; LinkDown when it does not say so in time.

        `unused`: a topic filter that nobody here subscribes to. The broker answers its UNSUBSCRIBE in turn.
        """

    def messages(self) -> AsyncIterator[Message]:
        """What arrives; ends by LinkDown."""

    def ack(self, message: Message) -> None:
        """PUBACK a QoS 1 message, once it is safe with us."""


class Connector(Protocol):
    """Makes links to one broker."""

    def connect(
        self, client_id: str, will: Will | None = None, *, clean: bool = True
    ) -> AbstractAsyncContextManager[Link]:
        """Connect; LinkDown when that fails. Leaving the context disconnects."""


class BrokerSettings(Settings):
    """`[broker]` of node.toml and controller.toml."""

    host: str = Field("127.0.0.1", description="name or address of the MQTT broker")
    port: int = Field(1883, ge=1, le=65535, description="its TCP port; 8883 is usual with TLS")
    ca: Path | None = Field(None, description="PEM of the broker's CA; its presence turns TLS on")
    certificate: Path | None = Field(None, description="PEM of our client certificate")
    key: Path | None = Field(None, description="PEM of its private key, mode 0600")
    username: str | None = Field(None, description="only for brokers without client certificates")
    password_file: Path | None = Field(None, description="file of mode 0600 with the password")
    keepalive_s: int = Field(10, ge=2, le=60, description="MQTT keep-alive: how soon a dead link is noticed")
    timeout_s: float = Field(10.0, gt=0, le=60, description="how long a connect, subscribe or publish may take")


class MqttConnector:
    """Links over the network."""

    def __init__(self, settings: BrokerSettings, inflight: int = INFLIGHT_MAX) -> None:
        """`inflight`: QoS 1 publishes under way at once; many need a fast network."""
        self._settings = settings
        self._inflight = inflight
        self._tls = _tls(settings)
        password = settings.password_file
        self._password = secret_bytes(password).decode().strip() if password else None

    @asynccontextmanager
    async def connect(
        self, client_id: str, will: Will | None = None, *, clean: bool = True
    ) -> AsyncIterator["MqttLink"]:
        settings = self._settings
        client = aiomqtt.Client(
            settings.host,
            settings.port,
            identifier=client_id,
            clean_session=clean,
            will=aiomqtt.Will(will.topic, will.payload, will.qos, will.retain) if will else None,
            username=settings.username,
            password=self._password,
            tls_context=self._tls,
            keepalive=settings.keepalive_s,
            timeout=math.inf,  # `_within` is the limit
            max_queued_incoming_messages=QUEUE_MAX,
            max_inflight_messages=self._inflight,
            socket_options=[NO_DELAY],
        )
        client._client.manual_ack_set(True)
        _heed_early_end(client)
        _read_bursts(client)
        try:
            await _within(settings.timeout_s, client.__aenter__())
        except (aiomqtt.MqttError, OSError) as error:
            raise LinkDown(f"no connection to {settings.host}:{settings.port}: {error}") from None
        try:
            yield MqttLink(client, settings.timeout_s, self._inflight)
        finally:
            with contextlib.suppress(aiomqtt.MqttError, OSError):
                await _within(settings.timeout_s, client.__aexit__(None, None, None))


class MqttLink:
    """One aiomqtt client, as our port."""

    def __init__(self, client: aiomqtt.Client, timeout_s: float, inflight: int = INFLIGHT_MAX) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self._slots = asyncio.Semaphore(inflight)

    async def subscribe(self, *filters: tuple[str, int]) -> None:
        try:
            granted: Any = await _within(self._timeout_s, self._client.subscribe(list(filters)))
        except aiomqtt.MqttError as error:
            raise LinkDown(f"subscribe failed: {error}") from None
        codes = [int(getattr(code, "value", code)) for code in granted]
        if any(code >= 128 for code in codes):
            refused = [f for (f, _), code in zip(filters, codes, strict=False) if code >= 128]
            raise LinkDown(f"the broker refused the subscription to {', '.join(refused)}")

    async def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool = False) -> None:
        try:
            async with self._slots:
                await _within(self._timeout_s, self._client.publish(topic, payload, qos=qos, retain=retain))
        except (aiomqtt.MqttError, ValueError) as error:
            raise LinkDown(f"publish failed: {error}") from None

    async def settled(self, unused: str) -> None:
        try:
            await _within(self._timeout_s, self._client.unsubscribe(unused))
        except (aiomqtt.MqttError, ValueError) as error:
            raise LinkDown(f"no answer: {error}") from None

    async def messages(self) -> AsyncIterator[Message]:
        queue, waits = self._client._queue, self._client.messages
        taken = 0
        try:
            while True:
                if queue.empty() or taken >= TAKE_MAX:  # waiting makes two tasks and takes three turns of the loop
                    message, taken = await anext(waits), 0
                else:
                    message, taken = queue.get_nowait(), taken + 1
                payload = message.payload if isinstance(message.payload, bytes) else b""
                yield Message(message.topic.value, payload, message.qos, message.retain, message.mid)
        except aiomqtt.MqttError as error:
            raise LinkDown(f"connection lost: {error}") from None

    def ack(self, message: Message) -> None:
        if message.qos:
            self._client._client.ack(message.token, message.qos)


async def _within(seconds: float, answer: Awaitable[T]) -> T:
    """The answer, or MqttError after so long.

    The library's own limit is `asyncio.wait_for`, which up to Python 3.11 swallows a cancellation that comes together with the
    answer: the task that was to end goes on, and who waits for its end waits for ever (seen).
    """
    try:
        async with asyncio.timeout(seconds):
            return await answer
    except TimeoutError:
        raise aiomqtt.MqttError("no answer in time") from None


def _heed_early_end(client: aiomqtt.Client) -> None:
    """A broker, or what stands before it, that closes before its CONNACK has refused; the library would wait the whole time."""
    loop, told, waited = asyncio.get_running_loop(), client._client.on_disconnect, client._connected
    assert told is not None

    def refused() -> None:
        if not waited.done():  # leaving makes another one, which nobody waits for
            waited.set_exception(aiomqtt.MqttError("closed before it answered"))

    def ended(*rest: Any) -> None:
        told(*rest)
        loop.call_soon_threadsafe(refused)

    client._client.on_disconnect = ended


def _read_bursts(client: aiomqtt.Client) -> None:
    """Read what the socket has, up to READ_MAX packets; the library reads one in each turn of the loop, however busy that is.

    Not while the queue is half full: what does not fit into it is lost, so the loop is given to those who empty it.
    """
    loop, paho, opened = asyncio.get_running_loop(), client._client, client._client.on_socket_open
    assert opened is not None

    def read() -> None:
        try:
            for _ in range(READ_MAX):
                paho.loop_read()
                if client._queue.qsize() > QUEUE_MAX // 2 or not _readable(paho.socket()):
                    break
        except GARBLED as error:
            if not client._disconnected.done():
                client._disconnected.set_exception(error)

    def on_open(*rest: Any) -> None:
        opened(*rest)
        loop.call_soon_threadsafe(loop.add_reader, rest[2].fileno(), read)  # in the place of the library's own

    client._client.on_socket_open = on_open


def _readable(sock: Any) -> bool:
    """Whether another read finds something at once."""
    if sock is None:
        return False
    if isinstance(sock, ssl.SSLSocket) and sock.pending():
        return True
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def _tls(settings: BrokerSettings) -> ssl.SSLContext | None:
    if settings.ca is None:
        if settings.certificate or settings.key:
            raise ConfigError("broker.certificate and broker.key need broker.ca, the CA that signed the broker's")
        return None
    try:
        context = ssl.create_default_context(cafile=str(settings.ca))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if settings.certificate:
            if settings.key:
                secret_bytes(settings.key)
            context.load_cert_chain(settings.certificate, settings.key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"broker: cannot use these certificates: {error}") from None
    return context
