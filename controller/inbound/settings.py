"""`[[source]]` of controller.toml: another centre whose CAP we take, and how we know that it is theirs."""

from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from lanes.plan_types import Id
from lanes.settings import Settings

from ..dispatch.settings import Line, Sender, Url

PINS_MAX = 4  # of one source: the present certificate, the next, and one each for a second signer


class SourceSettings(Settings):
    """`[[source]]`: a warning of theirs raises an alarm here; no siren ever sounds by it alone."""

    name: Id = Field(description="how logs, alarms and troubles call this centre")
    senders: tuple[Sender, ...] = Field(min_length=1, max_length=16, description="the CAP senders that it speaks as")
    certificates: tuple[Path, ...] = Field(
        min_length=1, max_length=PINS_MAX, description="PEM files: its signing certificates, pinned; no other counts"
    )
    post: bool = Field(False, description="true: it may post to /cap/in/NAME of our [listener]")
    feed: Url | Literal[""] = Field("", description="its Atom feed, which we read")
    poll_s: float = Field(30.0, ge=5, le=3600, description="how often the feed is read")
    timeout_s: float = Field(10.0, gt=0, le=60, description="the whole of one request to the feed")
    ca: Path | None = Field(None, description="PEM of the feed's CA: then only that one counts, no public one")
    sirens: Literal["by-hand", "none"] = Field(
        "none", description="by-hand: people are shown which pattern the plan has for it; none: it is only shown"
    )
    flood_events: tuple[Line, ...] = Field((), description="its words or codes (event, eventCode) that mean a flood")
    fire_events: tuple[Line, ...] = Field((), description="its words or codes (event, eventCode) that mean a fire")

    @model_validator(mode="after")
    def _sense(self) -> Self:
        if not self.post and not self.feed:
            raise ValueError(f"source {self.name!r}: give its feed, or let it post (post = true)")
        parts = urlsplit(self.feed)
        if parts.scheme == "http" and self.ca:
            raise ValueError(f"source {self.name!r}: ca is for https:// addresses")
        return self
