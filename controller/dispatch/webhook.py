"""Posts messages to an HTTP receiver, signed after Standard Webhooks (standardwebhooks.com, specification 1.0).

    webhook-id         the message's identifier, the same at every retry
    webhook-timestamp  whole seconds of this attempt
    webhook-signature  v1,base64(HMAC-SHA256(secret, id "." timestamp "." body))

The secret file holds `whsec_` and 24 to 64 bytes in base64, as Standard Webhooks writes it; while a receiver changes to another
secret two lines, the new one first: each message then has a signature by either.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cython_ext import Clock, ConfigError
from lanes.keys import secret_bytes
from lanes.store import Runner, run_here

from . import Answer, Message
from .http import Trust
from .post import Poster
from .settings import WebhookSettings

_PREFIX: Final = "whsec_"
SECRETS_MAX: Final = 2
SECRET_BYTES: Final = (24, 64)  # the specification's bounds
_CONTENT: Final = {"cap": "application/cap+xml", "json": "application/json"}


def read_secrets(path: Path) -> tuple[bytes, ...]:
    """The secrets of a file, a line each; ConfigError says what to do when one is none."""
    lines = [line.strip() for line in secret_bytes(path).decode("ascii", "replace").splitlines() if line.strip()]
    if len(lines) > SECRETS_MAX:
        raise ConfigError(f"{len(lines)} secrets; at most {SECRETS_MAX}: the new one, and the former", source=str(path))
    return tuple(_secret(line, path) for line in lines or [""])


def _secret(text: str, path: Path) -> bytes:
    advice = "; make one with: (umask 077; echo whsec_$(head -c 32 /dev/urandom | base64 -w0) > FILE)"
    if not text.startswith(_PREFIX):
        raise ConfigError(f"a webhook secret begins with {_PREFIX}{advice}", source=str(path))
    try:
        secret = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        raise ConfigError(f"what follows {_PREFIX} is not base64{advice}", source=str(path)) from None
    if not SECRET_BYTES[0] <= len(secret) <= SECRET_BYTES[1]:
        raise ConfigError(f"the secret has {len(secret)} bytes, 24 to 64 are asked for{advice}", source=str(path))
    return secret


def sign(secrets: Sequence[bytes], identifier: str, timestamp_s: int, body: bytes) -> str:
    """The value of webhook-signature: one by each secret."""
    signed = f"{identifier}.{timestamp_s}.".encode() + body
    digests = [hmac.digest(secret, signed, hashlib.sha256) for secret in secrets]
    return " ".join("v1," + base64.b64encode(digest).decode() for digest in digests)


class Webhook:
    """One receiver."""

    def __init__(self, settings: WebhookSettings, clock: Clock, runner: Runner = run_here) -> None:
        self._settings = settings
        self._clock = clock
        self._secrets = read_secrets(settings.secret_file)
        self._poster = Poster(
            settings.url,
            timeout_s=settings.timeout_s,
            trust=Trust(settings.ca),
            what=f"webhook {settings.name!r}",
            runner=runner,
        )

    @property
    def name(self) -> str:
        return self._settings.name

    @property
    def expires(self) -> bool:
        return self._settings.body == "cap"

    def wants(self, *, cap: bool) -> bool:
        return cap or self._settings.body == "json"

    async def deliver(self, message: Message) -> Answer:
        body = message.cap if self._settings.body == "cap" and message.cap is not None else message.summary
        timestamp_s = self._clock.wall_us() // 1_000_000
        headers = {
            "content-type": _CONTENT[self._settings.body],
            "webhook-id": message.identifier,
            "webhook-timestamp": str(timestamp_s),
            "webhook-signature": sign(self._secrets, message.identifier, timestamp_s, body),
        }
        return await self._poster.post(body, headers)

    async def close(self) -> None:
        await self._poster.close()
