"""Rules by which the plan itself keeps an alarm quiet: suppression by design (ISA-18.2), small enough to be seen to be safe.

    while a point (a works key, a sluice's contact) stands at a Level       while_point
    while a worse alarm stands, here or in another zone                     while_alarm

What a rule can never do, whatever it says: touch danger; touch a fire beyond attention; touch a Level at which a policy of the
zone may sound a siren; last longer than its hours; stand on a point that is in trouble or whose node is silent.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from cython_ext import Hazard, Level

from .plan_types import HazardName, Id, LevelName, Named
from .settings import Settings


class AlarmPlace(Settings):
    """A zone's hazard."""

    zone: Id = Field(description="a zone of the plan")
    hazard: HazardName = Field(description="what its alarm warns of")


class Suppression(Named):
    """A rule: while its cause stands, the alarm of this zone and hazard is quiet up to a Level."""

    zone: Id = Field(description="whose alarm is kept quiet")
    hazard: HazardName = Field(description="which alarm of the zone")
    up_to: Literal["attention", "alarm"] = Field(
        "attention", description="the highest Level that is kept quiet; beyond it the alarm speaks at once"
    )
    while_point: Id | None = Field(None, description="the cause: a point that stands at at_least or above")
    while_alarm: AlarmPlace | None = Field(
        None, description="the cause: an alarm that stands at at_least or above, unmuted: `{ zone = …, hazard = … }`"
    )
    at_least: LevelName = Field("attention", description="the Level of the cause; of an alarm one above up_to")
    max_h: Annotated[float, Field(gt=0, le=24)] = Field(
        8.0, description="it ends after so many hours, and does not come again for the same alarm"
    )
    reason: Annotated[str, Field(min_length=1, max_length=160)] = Field(
        description="why, for those who find it in the list of mutes"
    )

    @property
    def quiet(self) -> Level:
        return Level[self.up_to.upper()]

    @property
    def cause_level(self) -> Level:
        return Level[self.at_least.upper()]

    @model_validator(mode="after")
    def _sense(self) -> Self:
        if (self.while_point is None) == (self.while_alarm is None):
            raise ValueError(f"suppress {self.id!r}: give while_point or while_alarm, and not both")
        if self.hazard == "fire" and self.up_to != "attention":
            raise ValueError(f"suppress {self.id!r}: a fire alarm is life-safety; up_to can only be attention")
        if self.while_alarm is not None:
            if (self.while_alarm.zone, self.while_alarm.hazard) == (self.zone, self.hazard):
                raise ValueError(f"suppress {self.id!r}: an alarm cannot keep itself quiet")
            if self.cause_level <= self.quiet:
                raise ValueError(
                    f"suppress {self.id!r}: only a worse alarm keeps another quiet: at_least ({self.at_least}) must lie "
                    f"above up_to ({self.up_to})"
                )
        return self

    def place(self) -> tuple[str, Hazard]:
        """Whose alarm."""
        return self.zone, Hazard[self.hazard.upper()]
