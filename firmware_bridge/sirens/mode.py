"""How a siren sounds during one segment of a pattern (domain.md §1.3)."""

from enum import StrEnum


class Mode(StrEnum):
    STEADY = "steady"
    WAIL = "wail"
    PULSED = "pulsed"
    VOICE = "voice"
