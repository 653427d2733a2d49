"""The right driver for a configured siren."""

from collections.abc import Mapping
from dataclasses import replace
from math import inf

from cython_ext.clock import Clock
from cython_ext.errors import ConfigError
from firmware_bridge.driver import Device
from firmware_bridge.profile import Check, Profile, SirenProfile
from firmware_bridge.settings import ChannelRef, SirenSettings, SupervisedRef

from .base import Watched
from .contact import ContactSiren
from .controller import ControllerSiren
from .driver import Siren
from .mode import Mode


def make_siren(settings: SirenSettings, devices: Mapping[str, Device], clock: Clock) -> Siren:
    """Contacts when the settings name some, else the [siren] procedure of the device's profile. ConfigError."""
    whose = f"siren {settings.id}"
    device = devices.get(settings.device)
    if device is None:
        raise ConfigError(f"{whose}: there is no device {settings.device!r}: there is {', '.join(devices) or 'none'}")
    feedback = _watched(settings.feedback, devices, whose, 1.0) if settings.feedback else None
    within_s = settings.feedback.within_s if settings.feedback else 2.0
    supervision = {name: _supervised(ref, devices, whose) for name, ref in settings.supervision.items()}
    if settings.contacts:
        contacts = _contacts(settings, device)
        _time_relays(settings)
        return ContactSiren(settings.id, device, contacts, feedback, within_s, supervision, clock, settings.sounds)
    profile: Profile | None = getattr(device, "profile", None)
    if profile is None or profile.siren is None:
        raise ConfigError(
            f'{whose}: device {device.id} is not a siren controller: name its relays, contacts = {{ any = "relay-1" }}'
        )
    procedure = profile.siren
    _playable(settings, procedure, whose)
    if feedback is None and procedure.proof is not None:
        feedback = Watched(device, procedure.proof.channel, procedure.proof.good)
        within_s = procedure.proof_within_s
    own = {name: _checked(device, one) for name, one in procedure.supervision.items()}
    own |= supervision
    return ControllerSiren(settings.id, device, procedure, feedback, within_s, own, clock, settings.sounds)


def _playable(settings: SirenSettings, procedure: SirenProfile, whose: str) -> None:
    """ConfigError for a sound that the controller's map has no way to begin."""
    for sound in settings.sounds:
        if sound.function is not None and not procedure.run:
            raise ConfigError(
                f"{whose}: the profile has no way to run function {sound.function}: its [siren] has no run"
            )
        if sound.function is None and sound.mode not in procedure.modes:
            raise ConfigError(f"{whose}: the profile has no tone {sound.mode}: name the function that plays it")
        if sound.function is None and sound.mode is Mode.VOICE and sound.message is None:
            raise ConfigError(f"{whose}: a voice sound names its function or its message")


def _time_relays(settings: SirenSettings) -> None:
    """ConfigError where a contact is given what only a siren controller has."""
    for sound in settings.sounds:
        if sound.function is not None or sound.message is not None:
            raise ConfigError(f"siren {settings.id}: function and message belong to siren controllers, not to contacts")
        if sound.mode not in settings.contacts and "any" not in settings.contacts:
            raise ConfigError(f"siren {settings.id}: no contact sounds {sound.mode}")


def _contacts(settings: SirenSettings, device: Device) -> dict[Mode, str]:
    for point in settings.contacts.values():
        if point not in device.points:
            raise ConfigError(
                f"siren {settings.id}: device {device.id} has no relay {point!r}: it has {', '.join(device.points)}"
            )
    any_mode = settings.contacts.get("any")
    named = {mode: settings.contacts[mode] for mode in Mode if mode in settings.contacts}
    if any_mode is None:
        return named
    return {mode: named.get(mode, any_mode) for mode in Mode if mode is not Mode.VOICE or mode in named}


def _supervised(ref: SupervisedRef, devices: Mapping[str, Device], whose: str) -> Watched:
    watched = _watched(ref, devices, whose, 1.0)
    if ref.least is None and ref.most is None:
        return replace(watched, sounding=ref.sounding)
    least, most = -inf if ref.least is None else ref.least, inf if ref.most is None else ref.most
    return replace(watched, good=None, least=least, most=most, sounding=ref.sounding)


def _checked(device: Device, check: Check) -> Watched:
    least, most = -inf if check.least is None else check.least, inf if check.most is None else check.most
    return Watched(device, check.channel, check.good, least, most, check.sounding)


def _watched(ref: ChannelRef, devices: Mapping[str, Device], whose: str, good: float) -> Watched:
    device = devices.get(ref.device)
    if device is None:
        raise ConfigError(f"{whose}: there is no device {ref.device!r}")
    if ref.channel not in [one.id for one in device.channels]:
        raise ConfigError(f"{whose}: device {ref.device} has no channel {ref.channel!r}")
    return Watched(device, ref.channel, good if ref.good is None else ref.good)
