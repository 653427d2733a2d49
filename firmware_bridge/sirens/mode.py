"""How a siren sounds during one segment of a pattern (domain.md §1.3)."""

from enum import StrEnum


class Mode(StrEnum):
    """Kinds of sound; a contact siren plays what each contact is wired to."""

    STEADY = "steady"
    WAIL = "wail"
    PULSED = "pulsed"
    VOICE = "voice"
