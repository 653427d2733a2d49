"""`node.toml`: what this node has on its wires, which keys it signs with, and where the broker is (design §2.5).

Local: the admin's and the technician's. What is judged, and who may sound what, stands in the signed plan; `require_match`
checks one against the other, and every refusal says where and what to do.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from cython_ext import ConfigError
from firmware_bridge.settings import BusSettings, DeviceSettings, SirenSettings
from lanes import keys, plankept, settings
from lanes.keys import Mode, Role, SigningKey
from lanes.link import BrokerSettings
from lanes.plan import Plan
from lanes.plan_types import Finite, Id
from lanes.planfile import Root, SignedPlan
from lanes.settings import Settings

UNITLESS: Final = ("", "1")  # a contact has no unit


class NodeSection(Settings):
    """`[node]`. Paths are relative to the folder of node.toml."""

    id: Id = Field(description="the node's id in the plan")
    data: Path = Field(Path("data"), description="folder of the ledger and all else that must survive a power cut")
    plan: Path = Field(Path("plan.cbor"), description="the signed plan")
    root: Path = Field(Path("root.toml"), description="the trust anchor of plans")
    socket: Path = Field(Path("run/node.sock"), description="the control socket")


class KeysSection(Settings):
    """`[keys]`: this node's signing keys, files of mode 0600; `bucium keys issue` makes them."""

    live: Path = Field(description="key for live messages")
    exercise: Path | None = Field(None, description="key for exercises; without it there are none here")
    test: Path | None = Field(None, description="key for tests; without it there are none here")


class TelemetrySection(Settings):
    """`[telemetry]`: the Sparkplug side. Nothing here can delay an alarm."""

    primary_host: Id | Literal[""] = Field("", description="births wait until this host is online; empty: for nobody")
    backlog_mib: Annotated[int, Field(ge=0, le=4096)] = Field(
        256, description="disk for samples that could not be sent (256: 16 points at 1 Hz for a week); 0: none are kept"
    )
    backlog_bytes_per_s: Annotated[int, Field(ge=100, le=1_000_000)] = Field(
        4000, description="how fast they follow when the link is back; a slow link is measured and given less"
    )


class ClockSection(Settings):
    """`[clock]`: how far the wall clock is trusted (design §2.6)."""

    rtc_hours: Annotated[float, Field(ge=0, le=8760)] = Field(
        72.0, description="a hardware clock is trusted for so long after it was last set by NTP or GNSS; 0: never"
    )


class PointBinding(Settings):
    """`[[point]]`: the channel that measures a point of the plan. The point's value is `factor` × reading + `offset`."""

    id: Id = Field(description="the point's id in the plan")
    device: Id = Field(description="the device that measures it")
    channel: Id = Field(description="the device's channel: see bucium bus read")
    factor: Finite = Field(1.0, description="-1 for a radar that looks down at the water")
    offset: Finite = Field(0.0, description="in the point's unit; for that radar its height above the gauge zero")

    @model_validator(mode="after")
    def _sense(self) -> Self:
        if self.factor == 0:
            raise ValueError(f"point {self.id!r}: factor 0 would hide every value")
        return self


class NodeConfig(Settings):
    """The whole of node.toml."""

    node: NodeSection
    keys: KeysSection
    broker: BrokerSettings = BrokerSettings.model_validate({})
    telemetry: TelemetrySection = TelemetrySection.model_validate({})
    clock: ClockSection = ClockSection.model_validate({})
    buses: tuple[BusSettings, ...] = Field((), alias="bus")
    devices: tuple[DeviceSettings, ...] = Field((), alias="device")
    points: tuple[PointBinding, ...] = Field((), alias="point")
    sirens: tuple[SirenSettings, ...] = Field((), alias="siren")

    @model_validator(mode="after")
    def _sense(self) -> Self:
        buses = [bus.id for bus in self.buses]
        devices = [device.id for device in self.devices]
        for what, ids in (
            ("bus", buses),
            ("device", devices),
            ("point", [p.id for p in self.points]),
            ("siren", [s.id for s in self.sirens]),
        ):
            if twice := sorted({one for one in ids if ids.count(one) > 1}):
                raise ValueError(f"{what} {twice[0]!r} stands twice")
        for device in self.devices:
            _known("device", device.id, "bus", device.bus, buses)
        for point in self.points:
            _known("point", point.id, "device", point.device, devices)
        for siren in self.sirens:
            _known("siren", siren.id, "device", siren.device, devices)
        return self


def _known(what: str, whose: str, kind: str, name: str, names: Sequence[str]) -> None:
    if name not in names:
        raise ValueError(
            f"{what} {whose!r} names {kind} {name!r}, which is not configured: {', '.join(names) or 'none'}"
        )


@dataclass(frozen=True, slots=True)
class Local:
    """A configuration with its place: `base` is what its paths are relative to, `text` the file for line numbers."""

    config: NodeConfig
    base: Path
    source: str = "node.toml"
    text: str = ""

    def at(self, path: Path) -> Path:
        return self.base / path

    def error(self, message: str, table: str = "", row: int = 0) -> ConfigError:
        """A refusal that names the line of the `row`-th table `table`."""
        line = settings.line_of(self.text, (table, row)) if table else 0
        return ConfigError(message, source=self.source, line=line)


@dataclass(frozen=True, slots=True)
class Ready:
    """Everything a node starts from, checked against each other."""

    local: Local
    signed: SignedPlan
    root: Root
    keys: dict[Mode, SigningKey]
    plan_refused: str = ""  # why the delivered plan does not run, and the one that ran last does

    @property
    def node(self) -> str:
        return self.local.config.node.id


def load(path: Path) -> Local:
    """node.toml with its place; ConfigError as `lanes.settings.load`."""
    config = settings.load(path, NodeConfig)
    return Local(_placed(config, path.parent), path.parent, str(path), path.read_text())


def ready(local: Local) -> Ready:
    """The plan, its root and the keys read and checked too: what `bucium config check` and the start both ask."""
    node = local.config.node
    root = settings.load(local.at(node.root), Root)
    chosen = plankept.choose(local.at(node.plan), local.at(node.data), root)
    require_match(local, chosen.signed.plan)
    return Ready(local, chosen.signed, root, dict(_keys(local, chosen.signed.plan)), chosen.refused)


def require_match(local: Local, plan: Plan) -> None:
    """ConfigError unless node.toml binds exactly the points and sirens that the plan gives to this node."""
    node = local.config.node.id
    here = {point.id for point in plan.points if point.node == node}
    sirens = {siren.id for siren in plan.sirens if siren.node == node}
    if not here and not sirens:
        nodes = sorted({point.node for point in plan.points} | {siren.node for siren in plan.sirens})
        raise local.error(
            f"the plan (version {plan.version}) has neither points nor sirens of node {node!r}; "
            f"it knows {', '.join(nodes) or 'none'}",
            "node",
        )
    _same(local, "point", [point.id for point in local.config.points], here)
    _same(local, "siren", [siren.id for siren in local.config.sirens], sirens)


def _same(local: Local, kind: str, bound: Sequence[str], planned: set[str]) -> None:
    for row, one in enumerate(bound):
        if one not in planned:
            raise local.error(
                f"{kind} {one!r} is not a {kind} of node {local.config.node.id!r} in the plan; "
                f"it has {', '.join(sorted(planned)) or 'none'}",
                kind,
                row,
            )
    if unbound := sorted(planned.difference(bound)):
        raise local.error(
            f"the plan gives this node {kind} {', '.join(unbound)}, which nothing here is bound to: add a [[{kind}]] table"
        )


def keys_under(local: Local, plan: Plan, held: dict[Mode, SigningKey]) -> dict[Mode, SigningKey]:
    """The keys to sign with under another plan: those that we hold if it knows them as ours, else what the files have by now."""
    known = ((mode, plan.roster.find(key.kid)) for mode, key in held.items())
    if all(s and (s.id, s.role, s.mode) == (local.config.node.id, Role.NODE, mode) for mode, s in known):
        return held
    return dict(_keys(local, plan))


def _keys(local: Local, plan: Plan) -> Iterable[tuple[Mode, SigningKey]]:
    section = local.config.keys
    for mode, path in ((Mode.LIVE, section.live), (Mode.EXERCISE, section.exercise), (Mode.TEST, section.test)):
        if path is None:
            continue
        name = mode.name.lower()
        key = keys.read_key(local.at(path))
        signer = plan.roster.find(key.kid)
        if signer is None:
            raise local.error(
                f"keys.{name}: key {key.kid.hex()} is not in the plan's roster (version {plan.version}), or is revoked; "
                "nobody would believe this node",
                "keys",
            )
        if (signer.id, signer.role, signer.mode) != (local.config.node.id, Role.NODE, mode):
            raise local.error(
                f"keys.{name}: the plan knows this key as {signer.role.name.lower()} {signer.id!r}, "
                f"{signer.mode.name.lower()}; it must be node {local.config.node.id!r}, {name}",
                "keys",
            )
        yield mode, key


def _placed(config: NodeConfig, base: Path) -> NodeConfig:
    """The broker's file names, made relative to node.toml's folder like all others."""
    broker = config.broker
    files = {
        name: base / path
        for name in ("ca", "certificate", "key", "password_file")
        if (path := getattr(broker, name)) is not None
    }
    return config.model_copy(update={"broker": broker.model_copy(update=files)}) if files else config
