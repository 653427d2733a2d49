"""The plan's sirens, their signals as data, and the policies that say when they sound (design §2.4)."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from .battery import Battery
from .exercises import CalendarText
from .orders import SOUND_MAX_S
from .plan_types import HazardName, Id, LevelName, Named, Texts
from .settings import Settings

CONTINUOUS_MAX_S = 300.0  # continuous sound, hard in the node (design §2.4)
ANSWER_MIN_S = 3.0  # no siren is given up sooner: a slow link takes a second each way


class Siren(Named):
    """One siren, fixed to the node that drives it."""

    node: Id = Field(description="the node that drives it")
    zones: tuple[Id, ...] = Field(min_length=1, description="the zones that hear it")
    name: Texts = Field(description="by language: ro, en, ru, uk", default_factory=dict)
    family: Literal["electric", "compressed-air"] = Field("electric", description="the law has other timings for each")
    proof: bool = Field(False, description="true: SOUNDING must be measured, else the activation has failed")
    latitude: Annotated[float, Field(ge=-90, le=90)] | None = Field(None, description="degrees north")
    longitude: Annotated[float, Field(ge=-180, le=180)] | None = Field(None, description="degrees east")
    radius_m: Annotated[float, Field(ge=0, le=50_000)] = Field(
        0.0, description="how far it is heard; 0: reckoned from sound_db"
    )
    sound_db: Annotated[float, Field(ge=0, le=180)] = Field(
        0.0, description="dB(A) at 30 m, the maker's figure; with the plan's audible_db and loss_db it gives the radius"
    )
    silent_test: CalendarText = Field(
        "", description="`03:10 daily`, `03:10 monday`; empty: its zone's; without either there is none"
    )
    battery: Battery | None = Field(None, description="what it lives on without mains")
    neighbours: tuple[Id, ...] = Field(
        (), max_length=8, description="sirens that take its place when it fails, in this order; empty: the nearest"
    )
    reserve_zones: tuple[Id, ...] = Field(
        (), max_length=8, description="zones that it warns too, but only when a siren of theirs has failed"
    )

    @property
    def all_zones(self) -> tuple[str, ...]:
        """The zones that it may ever warn."""
        return (*self.zones, *self.reserve_zones)

    @model_validator(mode="after")
    def _place(self) -> Self:
        if twice := set(self.zones) & set(self.reserve_zones):
            raise ValueError(f"siren {self.id!r}: zone {min(twice)!r} stands in zones and in reserve_zones")
        if self.id in self.neighbours:
            raise ValueError(f"siren {self.id!r} is its own neighbour")
        return self


class Segment(Settings):
    """`repeat` times `on_s` of sound and `off_s` of silence."""

    mode: Literal["steady", "wail", "pulsed", "voice"] = Field(description="the sound")
    on_s: Annotated[float, Field(gt=0, le=CONTINUOUS_MAX_S)] = Field(description="sound")
    off_s: Annotated[float, Field(ge=0, le=CONTINUOUS_MAX_S)] = Field(0.0, description="silence after it")
    repeat: Annotated[int, Field(ge=1, le=60)] = Field(1, description="how many times")


class Pattern(Named):
    """A siren signal as data, with its legal source. The silence after the last sound does not count."""

    title: Texts = Field(description="by language: ro, en, ru, uk", default_factory=dict)
    source: str = Field(description="the law or order that fixes it")
    verified: bool = Field(description="false: no text with the cadence was found; say so wherever it is shown")
    family: Literal["electric", "compressed-air", "any"] = Field(
        "any", description="the sirens that this timing is for"
    )
    signal: Id | Literal[""] = Field(
        "", description="patterns of one signal are its timings for different families; each siren sounds its own"
    )
    public: bool = Field(True, description="false: not a signal that the public is taught")
    segments: tuple[Segment, ...] = Field(min_length=1, max_length=16, description="one after the other")

    @property
    def length_s(self) -> float:
        """From the first sound to the end of the last."""
        return sum(s.repeat * (s.on_s + s.off_s) for s in self.segments) - self.segments[-1].off_s

    @model_validator(mode="after")
    def _sense(self) -> Self:
        if self.length_s > SOUND_MAX_S:
            raise ValueError(f"pattern {self.id!r} lasts {self.length_s} s; at most {SOUND_MAX_S} s may sound")
        run = 0.0
        for segment in self.segments:
            alone = segment.off_s > 0
            run += segment.on_s if alone else segment.on_s * segment.repeat
            if run > CONTINUOUS_MAX_S:
                raise ValueError(
                    f"pattern {self.id!r} sounds {run} s without a pause; at most {CONTINUOUS_MAX_S:.0f} s"
                )
            run = 0.0 if alone else run
        return self


class FallBack(Settings):
    """What follows when a siren has failed to sound (controller/falling.py; docs/decisions.md)."""

    answer_s: Annotated[float, Field(ge=ANSWER_MIN_S, le=60)] = Field(
        10.0, description="no answer for so long: its neighbours are ordered; it is asked on until its order ends"
    )
    retries: Annotated[int, Field(ge=0, le=3)] = Field(1, description="the same siren again, where that can help")
    neighbours: Annotated[int, Field(ge=0, le=4)] = Field(1, description="sirens that are ordered in its place")
    tell: bool = Field(True, description="dispatch is told that it failed to sound, and why")

    @classmethod
    def usual(cls) -> Self:
        """What holds where the plan says nothing."""
        return cls.model_validate({})


class Policy(Settings):
    """What happens in a zone when a hazard reaches a Level."""

    zone: Id = Field(description="where it holds")
    hazard: HazardName = Field(description="for which hazard")
    level: LevelName = Field(description="from this Level on, until a higher Level has a policy of its own")
    mode: Literal["automatic", "unless-vetoed", "by-hand", "none"] = Field(description="who decides; see decisions.md")
    pattern: Id | Literal[""] = Field("", description="the signal; mode none needs none")
    max_s: Annotated[int, Field(ge=0, le=SOUND_MAX_S + 1)] = Field(0, description="0: the pattern's own length")
    veto_s: Annotated[float, Field(ge=0, le=600)] = Field(0.0, description="unless-vetoed: time for a veto")
    k: Annotated[int, Field(ge=1, le=5)] = Field(1, description="signed sensor nodes that an automatic order needs")
    approvals: Annotated[int, Field(ge=2, le=4)] = Field(2, description="people that an order by hand needs")
    centres: Annotated[int, Field(ge=1, le=2)] = Field(1, description="2: the people must be of two centres")
    reflex: bool = Field(False, description="the node may sound its own sirens alone when it is cut off")
    fall_back: FallBack = Field(default_factory=FallBack.usual, description="what follows when a siren fails to sound")

    @model_validator(mode="after")
    def _sense(self) -> Self:
        where = f"policy {self.zone}/{self.hazard}/{self.level}"
        if self.mode != "none" and not self.pattern:
            raise ValueError(f"{where}: mode {self.mode!r} needs a pattern")
        if self.reflex and self.mode not in ("automatic", "unless-vetoed"):
            raise ValueError(f"{where}: reflex is only for automatic or unless-vetoed (design §2.4)")
        if self.mode == "unless-vetoed" and self.veto_s <= 0:
            raise ValueError(f"{where}: unless-vetoed needs veto_s")
        return self
