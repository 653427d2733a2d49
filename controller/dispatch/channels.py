"""The channels that a configuration asks for."""

from collections.abc import Callable, Sequence
from pathlib import Path

from cython_ext import Clock, ConfigError
from lanes.store import Runner

from ..duty import NOBODY, Duty
from . import Channel
from .cappush import CapPush
from .dc09.channel import Dc09
from .desk import Desk
from .feed import Feed
from .files import Files
from .mail import Mail
from .messenger import Messenger
from .settings import (
    AppriseSettings,
    AtomSettings,
    CapPushSettings,
    ChannelSettings,
    Dc09Settings,
    DeskSettings,
    FilesSettings,
    MailSettings,
    WebhookSettings,
)
from .webhook import Webhook


def channels_of(
    settings: Sequence[ChannelSettings],
    *,
    clock: Clock,
    runner: Runner,
    data: Path,
    sender: str,
    duty: Duty = NOBODY,
    others: Callable[[str], Runner] | None = None,
    refuse: Callable[[str, str], object] = lambda why, where: None,
) -> tuple[Channel, ...]:
    """One channel for each `[[dispatch]]`; ConfigError when two share a name, or a secret or folder cannot be used.

    `data`: the folder for what a channel must keep; `sender`: who speaks, as CAP says it; `duty`: where people are reached;
    `others` makes runners for channels that block (None: `runner`); `refuse` counts, by reason, what came back from a receiver
    and does not count.
    """
    names = [each.name for each in settings]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ConfigError(f"two [[dispatch]] channels are called {min(twice)!r}; give each its own name")

    def channel_of(each: ChannelSettings) -> Channel:
        match each:
            case WebhookSettings():
                return Webhook(each, clock, runner)
            case CapPushSettings():
                return CapPush(each, runner)
            case AtomSettings():
                return Feed(each, path=data / "feed.db", sender=sender, clock=clock, runner=runner)
            case MailSettings():
                return Mail(each, duty, clock, runner)
            case AppriseSettings():
                return Messenger(each, duty, others(f"apprise-{each.name}") if others else runner)
            case FilesSettings():
                return Files(each, runner)
            case Dc09Settings():
                return Dc09(each, clock, refuse)
            case DeskSettings():
                return Desk(each)

    return tuple(channel_of(each) for each in settings)
