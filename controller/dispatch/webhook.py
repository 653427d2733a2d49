"""Posts messages to an HTTP receiver, signed after Standard Webhooks (standardwebhooks.com, specification 1.0).

    webhook-id         the message's identifier, the same at every retry
    webhook-timestamp  whole seconds of this attempt
    webhook-signature  v1,base64(HMAC-SHA256(secret, id "." timestamp "." body))

The secret file holds `whsec_` and 24 to 64 bytes in base64, as Standard Webhooks writes it.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cython_ext import Clock, ConfigError
from lanes.keys import secret_bytes

from . import Answer, Message
from .settings import WebhookSettings

if TYPE_CHECKING:
    import httpx

_PREFIX: Final = "whsec_"
SECRET_BYTES: Final = (24, 64)  # the specification's bounds
ANSWER_BYTES_MAX: Final = 64 << 10  # of an answer's body that is read, so that the connection can be used again
_CONTENT: Final = {"cap": "application/cap+xml", "json": "application/json"}
_OF_THE_MESSAGE: Final = frozenset({400, 409, 413, 415, 422})  # this message is refused; the next may pass


def read_secret(path: Path) -> bytes:
    """The secret of a file; ConfigError says what to do when it is none."""
    text = secret_bytes(path).decode("ascii", "replace").strip()
    advice = "; make one with: (umask 077; echo whsec_$(head -c 32 /dev/urandom | base64) > FILE)"
    if not text.startswith(_PREFIX):
        raise ConfigError(f"a webhook secret begins with {_PREFIX}{advice}", source=str(path))
    try:
        secret = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        raise ConfigError(f"what follows {_PREFIX} is not base64{advice}", source=str(path)) from None
    if not SECRET_BYTES[0] <= len(secret) <= SECRET_BYTES[1]:
        raise ConfigError(f"the secret has {len(secret)} bytes, 24 to 64 are asked for{advice}", source=str(path))
    return secret


def sign(secret: bytes, identifier: str, timestamp_s: int, body: bytes) -> str:
    """The value of webhook-signature."""
    signed = f"{identifier}.{timestamp_s}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()


class Webhook:
    """One receiver. The HTTP library is loaded with the first delivery."""

    def __init__(self, settings: WebhookSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._secret = read_secret(settings.secret_file)
        self._tls = _tls(settings)
        self._client: httpx.AsyncClient | None = None

    @property
    def name(self) -> str:
        return self._settings.name

    @property
    def expires(self) -> bool:
        return self._settings.body == "cap"

    def wants(self, *, cap: bool) -> bool:
        return cap or self._settings.body == "json"

    async def deliver(self, message: Message) -> Answer:
        import httpx

        body = message.cap if self._settings.body == "cap" and message.cap is not None else message.summary
        timestamp_s = self._clock.wall_us() // 1_000_000
        headers = {
            "content-type": _CONTENT[self._settings.body],
            "webhook-id": message.identifier,
            "webhook-timestamp": str(timestamp_s),
            "webhook-signature": sign(self._secret, message.identifier, timestamp_s, body),
        }
        client = self._open()
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                async with client.stream("POST", self._settings.url, content=body, headers=headers) as response:
                    read = 0
                    async for piece in response.aiter_raw():
                        read += len(piece)
                        if read > ANSWER_BYTES_MAX:
                            break  # leaving closes the connection
                return _answer(response)
        except TimeoutError:
            return Answer(False, "timeout")
        except httpx.TimeoutException:
            return Answer(False, "timeout")
        except httpx.TransportError as error:
            return Answer(False, f"no-connection: {type(error).__name__}")

    def _open(self) -> "httpx.AsyncClient":
        import httpx

        if self._client is None:
            self._client = httpx.AsyncClient(
                timeout=self._settings.timeout_s,
                follow_redirects=False,  # a redirect would carry the alarm to whom nobody configured
                trust_env=False,  # no proxy but one that is configured here
                verify=self._tls if self._tls else True,
                headers={"user-agent": "bucium"},
                limits=httpx.Limits(max_connections=16, max_keepalive_connections=8, keepalive_expiry=30),
            )
        return self._client

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None


def _answer(response: "httpx.Response") -> Answer:
    status = response.status_code
    if 200 <= status < 300:
        return Answer(True, str(status))
    wish = response.headers.get("retry-after", "")
    after_s = float(wish) if wish.isascii() and wish.isdecimal() and len(wish) < 6 else 0.0
    return Answer(False, str(status), refused=status in _OF_THE_MESSAGE, after_s=after_s)


def _tls(settings: WebhookSettings) -> ssl.SSLContext | None:
    if settings.ca is None:
        return None
    try:
        context = ssl.create_default_context(cafile=str(settings.ca))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"webhook {settings.name!r}: cannot use this CA: {error}", source=str(settings.ca)) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
