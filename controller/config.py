"""`controller.toml`: where this controller keeps what it must not lose, its keys, the broker, and whom it tells (design §2.5).

Local: the admin's. What is judged, who may sound what and who may approve stands in the signed plan.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from pydantic import Field, model_validator

from cython_ext import ConfigError
from lanes import keys, plankept, settings
from lanes.keys import Mode, Role, SigningKey
from lanes.link import BrokerSettings
from lanes.plan import Plan
from lanes.plan_types import Id
from lanes.planfile import Root, SignedPlan
from lanes.settings import Settings

from . import duty
from .dispatch.capsign import Signer, read_signer
from .dispatch.dc09 import doubts as dc09
from .dispatch.settings import CALLING, CapSettings, ChannelSettings, Dc09Settings
from .duty import Duty, DutyFile
from .history.history import HistorySettings
from .inbound.settings import SourceSettings
from .inbound.trust import pinned
from .listener import ListenerSettings

S = TypeVar("S", bound=Settings)
CHANNEL_FILES: Final = ("secret_file", "ca", "folder", "certificate", "key", "password_file", "url_file", "socket")


class ControllerSection(Settings):
    """`[controller]`. Paths are relative to the folder of controller.toml."""

    id: Id = Field(description="the controller's id in the plan")
    data: Path = Field(Path("data"), description="folder of the journal, the outbox and the history's spool")
    emergency: Path | None = Field(
        None,
        description="folder of the emergency journal, best on another disk than `data`; without it, `data`",
    )
    emergency_mib: int = Field(
        16, ge=1, le=1024, description="its size, taken at the first start: 16 MiB hold 45,000 rows"
    )
    inputs_mib: int = Field(
        256, ge=0, le=65536, description="room for the recorded input of the controller's own verdicts; 0: none is kept"
    )
    plan: Path = Field(Path("plan.cbor"), description="the signed plan")
    root: Path = Field(Path("root.toml"), description="the trust anchor of plans")
    duty: Path | None = Field(
        None, description="duty.toml, mode 0600: people, rotas and escalations; without it nobody is called"
    )
    socket: Path = Field(Path("run/controller.sock"), description="the control socket")


class KeysSection(Settings):
    """`[keys]`: this controller's signing keys, files of mode 0600; `bucium keys issue` makes them."""

    live: Path = Field(description="key for live messages")
    exercise: Path | None = Field(None, description="key for exercises; without it there are none here")
    test: Path | None = Field(None, description="key for tests; without it there are none here")


class TelemetrySection(Settings):
    """`[telemetry]`: the Sparkplug side. Nothing here can delay an alarm."""

    host: Id | None = Field(
        None, description="the Sparkplug host id that nodes wait for; without it the controller's id"
    )


class ControllerConfig(Settings):
    """The whole of controller.toml."""

    controller: ControllerSection
    keys: KeysSection
    broker: BrokerSettings = BrokerSettings.model_validate({})
    telemetry: TelemetrySection = TelemetrySection.model_validate({})
    cap: CapSettings = CapSettings.model_validate({})
    dispatch: tuple[ChannelSettings, ...] = ()
    listener: ListenerSettings | None = Field(None, description="our HTTP server: the Atom feed, and the door for CAP")
    sources: tuple[SourceSettings, ...] = Field((), alias="source", description="other centres whose CAP we take")
    history: HistorySettings | None = Field(None, description="a server with InfluxDB's v2 write API")

    @model_validator(mode="after")
    def _sense(self) -> "ControllerConfig":
        names = [channel.name for channel in self.dispatch]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two [[dispatch]] channels are called {twice[0]!r}; give each its own name")
        stand_ins = {channel.name: channel for channel in self.dispatch if getattr(channel, "standby", False)}
        for channel in self.dispatch:
            by = getattr(channel, "fallback", None)
            if by is not None and by not in stand_ins:
                raise ValueError(f"[[dispatch]] {channel.name!r}: fallback {by!r} is no channel with standby = true")
            if by is not None and not stand_ins[by].takes:
                raise ValueError(
                    f"[[dispatch]] {channel.name!r}: fallback {by!r} has nobody in `to`: it would tell nobody"
                )
            if by is not None and channel.name in stand_ins:
                raise ValueError(f"[[dispatch]] {channel.name!r} is standby itself: it has no fallback")
        if [channel.kind for channel in self.dispatch].count("atom") > 1:
            raise ValueError("two [[dispatch]] channels are of kind atom; there is one feed")
        if self.listener is None and any(channel.kind == "atom" for channel in self.dispatch):
            raise ValueError("an atom channel needs a [listener] that hands the feed out")
        if self.listener is None and any(source.post for source in self.sources):
            raise ValueError("a [[source]] that may post needs a [listener] to post to")
        named = [source.name for source in self.sources]
        if twice := sorted({name for name in named if named.count(name) > 1}):
            raise ValueError(f"two [[source]] tables are called {twice[0]!r}; give each its own name")
        return self


@dataclass(frozen=True, slots=True)
class Local:
    """A configuration with its place: `base` is what its paths are relative to, `text` the file for line numbers."""

    config: ControllerConfig
    base: Path
    source: str = "controller.toml"
    text: str = ""

    def at(self, path: Path) -> Path:
        return self.base / path

    def error(self, message: str, table: str = "") -> ConfigError:
        """A refusal that names the line of the table."""
        line = settings.line_of(self.text, (table, 0)) if table else 0
        return ConfigError(message, source=self.source, line=line)


@dataclass(frozen=True, slots=True)
class Ready:
    """Everything a controller starts from, checked against each other."""

    local: Local
    signed: SignedPlan
    keys: dict[Mode, SigningKey]
    signer: Signer | None = None  # of CAP messages; None: no channel carries CAP
    duty: Duty = field(default_factory=lambda: Duty(duty.EMPTY))
    plan_refused: str = ""  # why the delivered plan does not run, and the one that ran last does

    @property
    def data(self) -> Path:
        return self.local.at(self.local.config.controller.data)

    @property
    def emergency(self) -> Path:
        """The emergency journal's folder."""
        section = self.local.config.controller
        return self.local.at(section.emergency or section.data)


def load(path: Path) -> Local:
    """controller.toml with its place; ConfigError as `lanes.settings.load`."""
    config = settings.load(path, ControllerConfig)
    return Local(_placed(config, path.parent), path.parent, str(path), path.read_text())


def ready(local: Local) -> Ready:
    """The plan, its root and the keys read and checked too: what `bucium config check` and the start both ask."""
    section = local.config.controller
    root = settings.load(local.at(section.root), Root)
    chosen = plankept.choose(local.at(section.plan), local.at(section.data), root)
    signed = chosen.signed
    if signed.plan.controller != section.id:
        raise local.error(
            f"the plan (version {signed.plan.version}) has controller {signed.plan.controller!r}, this is {section.id!r}; "
            "only the home controller's acks let a node forget",
            "controller",
        )
    for source in local.config.sources:
        pinned(source.certificates)
    return Ready(local, signed, dict(_keys(local, signed.plan)), _signer(local), Duty(duty_file(local)), chosen.refused)


def duty_watch(local: Local) -> duty.Watch | None:
    """Tells of another duty.toml; None: this controller has none."""
    path = local.config.controller.duty
    return duty.Watch(local.at(path), lambda: duty_file(local)) if path else None


def duty_file(local: Local) -> DutyFile:
    """The people of duty.toml, checked against the channels; ConfigError says what does not fit."""
    path = local.config.controller.duty
    if path is None:
        return duty.EMPTY
    channels = [channel.name for channel in local.config.dispatch]
    calling = [channel.name for channel in local.config.dispatch if channel.kind in CALLING]
    found = duty.read(local.at(path))
    duty.check(Duty(found), calling, channels, str(local.at(path)))
    return found


def doubts(ready: Ready) -> Iterable[str]:
    """What is allowed and hardly meant, one sentence each."""
    for channel in ready.local.config.dispatch:
        if isinstance(channel, Dc09Settings):
            yield from dc09.doubts(channel, ready.signed.plan)


def _signer(local: Local) -> Signer | None:
    """The key of CAP messages: nothing is published unsigned, so a channel that carries CAP needs one."""
    cap = local.config.cap
    if cap.key is not None and cap.certificate is not None:
        return read_signer(cap.key, cap.certificate)
    for channel in local.config.dispatch:
        if channel.carries_cap:
            raise local.error(
                f"[[dispatch]] {channel.name!r} carries CAP, and nothing is published unsigned: make a key with "
                f"bucium keys issue {local.config.controller.id} --role cap, and name it in [cap] key and certificate",
                "cap",
            )
    return None


def _keys(local: Local, plan: Plan) -> Iterable[tuple[Mode, SigningKey]]:
    section, own = local.config.keys, local.config.controller.id
    for mode, path in ((Mode.LIVE, section.live), (Mode.EXERCISE, section.exercise), (Mode.TEST, section.test)):
        if path is None:
            continue
        name = mode.name.lower()
        key = keys.read_key(local.at(path))
        signer = plan.roster.find(key.kid)
        if signer is None:
            raise local.error(
                f"keys.{name}: key {key.kid.hex()} is not in the plan's roster (version {plan.version}), or is revoked; "
                "no node would obey this controller",
                "keys",
            )
        if (signer.id, signer.role, signer.mode) != (own, Role.CONTROLLER, mode):
            raise local.error(
                f"keys.{name}: the plan knows this key as {signer.role.name.lower()} {signer.id!r}, "
                f"{signer.mode.name.lower()}; it must be controller {own!r}, {name}",
                "keys",
            )
        yield mode, key


def _placed(config: ControllerConfig, base: Path) -> ControllerConfig:
    """All file names, made relative to controller.toml's folder."""
    changes: dict[str, object] = {
        "broker": _beside(config.broker, base, ("ca", "certificate", "key", "password_file")),
        "cap": _beside(config.cap, base, ("key", "certificate")),
        "dispatch": tuple(_beside(each, base, CHANNEL_FILES) for each in config.dispatch),
    }
    if config.listener is not None:
        changes["listener"] = _beside(config.listener, base, ("certificate", "key"))
    changes["sources"] = tuple(
        _beside(each, base, ("ca",)).model_copy(update={"certificates": tuple(base / pin for pin in each.certificates)})
        for each in config.sources
    )
    if config.history is not None:
        changes["history"] = _beside(config.history, base, ("token_file", "ca"))
    return config.model_copy(update=changes)


def _beside(section: S, base: Path, names: tuple[str, ...]) -> S:
    files = {name: base / path for name in names if (path := getattr(section, name, None)) is not None}
    return section.model_copy(update=files) if files else section
