"""What the sirens did, by the records of their own simulated devices: relay edges, coil writes, siren functions.

These records are kept by the devices and by nobody else; nothing that our programs say goes into them. The verdict stands on
this file.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Source:
    """Where a siren's sound is recorded: the device, the kind of entry, and the point (empty: any)."""

    device: str
    what: str
    name: str = ""


@dataclass(slots=True)
class Blast:
    """One unbroken sound, in monotonic nanoseconds; `off_ns` 0: still sounding. `by` ended it."""

    on_ns: int
    off_ns: int = 0
    by: str = ""

    @property
    def length_s(self) -> float:
        return (self.off_ns - self.on_ns) / 1e9 if self.off_ns else 0.0


@dataclass(slots=True)
class Sounds:
    """Blasts by siren. `take` is given every entry of the devices' record."""

    sources: Mapping[str, Source]
    blasts: dict[str, list[Blast]] = field(default_factory=dict)
    listeners: list[Callable[[str, bool, int, str], None]] = field(default_factory=list)

    def take(self, at_ns: int, device: str, what: str, name: str, value: float, by: str) -> None:
        """One entry of a device's record."""
        for siren, source in self.sources.items():
            if (device, what) == (source.device, source.what) and source.name in ("", name):
                self._edge(siren, bool(value), at_ns, by)

    def _edge(self, siren: str, on: bool, at_ns: int, by: str) -> None:
        blasts = self.blasts.setdefault(siren, [])
        sounding = bool(blasts) and not blasts[-1].off_ns
        if on is sounding:
            return  # the same again: another tone while it sounds, or an off that changes nothing
        if on:
            blasts.append(Blast(at_ns))
        else:
            blasts[-1].off_ns, blasts[-1].by = at_ns, by
        for listener in self.listeners:
            listener(siren, on, at_ns, by)

    def since(self, siren: str, from_ns: int) -> list[Blast]:
        """The siren's blasts that began at or after `from_ns`."""
        return [blast for blast in self.blasts.get(siren, []) if blast.on_ns >= from_ns]

    @property
    def sounding(self) -> tuple[str, ...]:
        """The sirens that sound now."""
        return tuple(siren for siren, blasts in self.blasts.items() if blasts and not blasts[-1].off_ns)
