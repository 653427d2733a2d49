"""The channels that a configuration asks for."""

from collections.abc import Sequence

from cython_ext import Clock, ConfigError
from lanes.store import Runner

from . import Channel
from .files import Files
from .settings import FilesSettings, WebhookSettings
from .webhook import Webhook


def channels_of(
    settings: Sequence[WebhookSettings | FilesSettings], *, clock: Clock, runner: Runner
) -> tuple[Channel, ...]:
    """One channel for each `[[dispatch]]`; ConfigError when two share a name, or a secret or folder cannot be used."""
    names = [each.name for each in settings]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ConfigError(f"two [[dispatch]] channels are called {min(twice)!r}; give each its own name")
    return tuple(
        Webhook(each, clock) if isinstance(each, WebhookSettings) else Files(each, runner) for each in settings
    )
