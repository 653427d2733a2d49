"""The plan: points, thresholds, zones, policies, patterns and keys, as one document that both ends load (design §2.5).

Written in TOML by people, carried as deterministic CBOR, named by its SHA-256. Units stand in the names: level values are in
the point's `unit`, times in seconds.
"""

from functools import cached_property
from itertools import pairwise
from math import inf, isfinite, nan
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from cython_ext import (
    Dependency,
    Direction,
    GroupConfig,
    Hazard,
    Level,
    LevelConfig,
    PanelConfig,
    PointConfig,
    RateMethod,
    VotePolicy,
)
from cython_ext.topics import require_id

from .keys import PUBLIC_BYTES, Mode, Role
from .orders import SOUND_MAX_S
from .roster import Roster, Signer
from .settings import Settings

CONTINUOUS_MAX_S = 300.0  # continuous sound, hard in the node (design §2.4)


def _id(text: str) -> str:
    return require_id(text, "this")


def _public(text: str) -> str:
    if len(bytes.fromhex(text)) != PUBLIC_BYTES:
        raise ValueError(f"a public key is {PUBLIC_BYTES} bytes in hex; bucium keys issue prints it")
    return text.lower()


def _finite(value: float) -> float:
    if not isfinite(value):
        raise ValueError("must be a finite number")
    return value


Id = Annotated[str, AfterValidator(_id)]
Public = Annotated[str, AfterValidator(_public)]
Finite = Annotated[float, AfterValidator(_finite)]
Seconds = Annotated[float, AfterValidator(_finite), Field(ge=0, le=366 * 86400)]
Texts = Annotated[dict[Literal["ro", "en", "ru", "uk"], str], Field(default_factory=dict)]
HazardName = Literal["flood", "fire"]
LevelName = Literal["attention", "alarm", "danger"]
ModeName = Literal["live", "exercise", "test"]


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


class Named(Settings):
    """Anything of the plan that has an id."""

    id: Id


class LevelRule(Settings):
    """When a point enters and leaves one Level."""

    raise_at: Finite = Field(alias="raise")
    clear_at: Finite = Field(alias="clear")
    on_delay_s: Seconds = 0.0
    off_delay_s: Seconds = 0.0
    rate_per_min: Finite | None = Field(None, description="rate of rise that raises this Level on its own")

    def core(self) -> LevelConfig:
        return LevelConfig(
            self.raise_at,
            self.clear_at,
            _ns(self.on_delay_s),
            _ns(self.off_delay_s),
            self.rate_per_min / 60 if self.rate_per_min is not None else nan,
        )


class Drift(Settings):
    """Smoke: how far the clean-air value may be followed before the detector is dirty."""

    clean: Finite
    rate_per_h: Annotated[float, Field(gt=0)]
    total: Annotated[float, Field(gt=0)]


class Point(Named):
    """One sensor channel and how it is judged."""

    node: Id
    zones: tuple[Id, ...] = Field(min_length=1)
    hazard: HazardName
    name: Texts
    unit: str = Field(max_length=16)
    datum: str = Field("", description="height system of the gauge zero, e.g. Baltic or Black Sea")
    gauge_zero_m: Finite | None = None
    latitude: Annotated[float, Field(ge=-90, le=90)] | None = None
    longitude: Annotated[float, Field(ge=-180, le=180)] | None = None
    direction: Literal["rising", "falling"] = "rising"
    alone: bool = Field(True, description="false: raises its zones' alarm only through a group")
    period_s: Annotated[float, Field(gt=0, le=86400)] = 1.0
    confirm_s: Seconds = 0.0
    stale_s: Seconds = 0.0
    latch: bool = False
    realarm_s: Seconds = 0.0
    minimum_on_s: Seconds = 0.0
    attention: LevelRule | None = None
    alarm: LevelRule | None = None
    danger: LevelRule | None = None
    sensor_span: tuple[float, float] = (-inf, inf)
    operator_span: tuple[float, float] = (-inf, inf)
    spike: Annotated[float, Field(ge=0)] = 0.0
    rate_limit_per_s: Annotated[float, Field(ge=0)] = 0.0
    flat_s: Seconds = 0.0
    flat_tolerance: Annotated[float, Field(ge=0)] = 0.0
    rate_window_s: Seconds = 0.0
    rate_method: Literal["robust", "delta"] = "robust"
    dependency: Literal["none", "a", "b", "c"] = "none"
    dependency_s: Seconds = 60.0
    drift: Drift | None = None

    @model_validator(mode="after")
    def _sense(self) -> Self:
        rules = [
            (n, r) for n, r in (("attention", self.attention), ("alarm", self.alarm), ("danger", self.danger)) if r
        ]
        if not rules:
            raise ValueError(f"point {self.id!r} has no Level: give attention, alarm or danger")
        sign = 1 if self.direction == "rising" else -1
        for name, rule in rules:
            if sign * rule.clear_at > sign * rule.raise_at:
                side = "above" if sign > 0 else "below"
                raise ValueError(
                    f"point {self.id!r}: {name}.clear ({rule.clear_at}) is {side} {name}.raise ({rule.raise_at}), "
                    f"so it would raise and clear at once"
                )
        for (low, first), (high, second) in pairwise(rules):
            if sign * first.raise_at > sign * second.raise_at:
                raise ValueError(f"point {self.id!r}: {high}.raise must lie beyond {low}.raise")
        for name, (low_end, high_end) in (("sensor_span", self.sensor_span), ("operator_span", self.operator_span)):
            if not low_end < high_end:
                raise ValueError(f"point {self.id!r}: {name} must be [low, high] with low < high")
        return self

    def core(self) -> PointConfig:
        none = LevelConfig()
        rules = (self.attention, self.alarm, self.danger)
        return PointConfig(
            id=self.id,
            hazard=Hazard[self.hazard.upper()],
            direction=Direction[self.direction.upper()],
            levels=tuple(rule.core() if rule else none for rule in rules),  # type: ignore[arg-type]
            period_ns=_ns(self.period_s),
            confirm_ns=_ns(self.confirm_s),
            stale_ns=_ns(self.stale_s),
            latch=self.latch,
            realarm_ns=_ns(self.realarm_s),
            minimum_on_ns=_ns(self.minimum_on_s),
            sensor_span=self.sensor_span,
            operator_span=self.operator_span,
            spike=self.spike,
            rate_limit=self.rate_limit_per_s,
            flat_ns=_ns(self.flat_s),
            flat_tolerance=self.flat_tolerance,
            rate_window_ns=_ns(self.rate_window_s),
            rate_method=RateMethod[self.rate_method.upper()],
            dependency=Dependency[self.dependency.upper()],
            dependency_ns=_ns(self.dependency_s),
            drift_rate=self.drift.rate_per_h / 3600 if self.drift else 0.0,
            drift_total=self.drift.total if self.drift else 0.0,
            drift_clean=self.drift.clean if self.drift else 0.0,
        )


class Group(Named):
    """k of n points vote within a window."""

    points: tuple[Id, ...] = Field(min_length=2)
    k: Annotated[int, Field(ge=1)]
    window_s: Annotated[float, Field(gt=0, le=86400)]
    on_failure: Literal["to-alarm", "to-silence"] = "to-alarm"
    zones: tuple[Id, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _sense(self) -> Self:
        if self.k > len(self.points):
            raise ValueError(f"group {self.id!r}: k is {self.k} but it has {len(self.points)} points")
        return self


class Zone(Named):
    """What a siren warns: one CAP area."""

    name: Texts
    timezone: str = "Europe/Bucharest"
    polygon: tuple[tuple[float, float], ...] = Field((), description="latitude, longitude pairs; first = last")
    circle: tuple[float, float, float] | None = Field(None, description="latitude, longitude, radius in km")
    geocodes: dict[str, str] = Field(default_factory=dict, description="e.g. EMMA_ID, NUTS3")
    population: Annotated[int, Field(ge=0)] = 0
    instructions: Texts

    @model_validator(mode="after")
    def _sense(self) -> Self:
        if self.polygon and (len(self.polygon) < 4 or self.polygon[0] != self.polygon[-1]):
            raise ValueError(f"zone {self.id!r}: a polygon has at least 4 points and ends where it begins")
        if self.circle and self.circle[2] < 0:
            raise ValueError(f"zone {self.id!r}: a circle's radius cannot be negative")
        return self


class Siren(Named):
    """One siren, fixed to the node that drives it."""

    node: Id
    zones: tuple[Id, ...] = Field(min_length=1)
    name: Texts
    family: Literal["electric", "compressed-air"] = "electric"
    proof: bool = Field(False, description="true: SOUNDING must be measured, else the activation has failed")
    latitude: Annotated[float, Field(ge=-90, le=90)] | None = None
    longitude: Annotated[float, Field(ge=-180, le=180)] | None = None
    radius_m: Annotated[float, Field(ge=0)] = 0.0


class Segment(Settings):
    """`repeat` times `on_s` of sound and `off_s` of silence."""

    mode: Literal["steady", "wail", "pulsed", "voice"]
    on_s: Annotated[float, Field(gt=0, le=CONTINUOUS_MAX_S)]
    off_s: Annotated[float, Field(ge=0, le=CONTINUOUS_MAX_S)] = 0.0
    repeat: Annotated[int, Field(ge=1, le=60)] = 1


class Pattern(Named):
    """A siren signal as data, with its legal source. The silence after the last sound does not count."""

    title: Texts
    source: str = Field(description="the law or order that fixes it")
    verified: bool = Field(description="false: no text with the cadence was found; say so wherever it is shown")
    family: Literal["electric", "compressed-air", "any"] = "any"
    public: bool = True
    segments: tuple[Segment, ...] = Field(min_length=1, max_length=16)

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


class Policy(Settings):
    """What happens in a zone when a hazard reaches a Level."""

    zone: Id
    hazard: HazardName
    level: LevelName
    mode: Literal["automatic", "unless-vetoed", "by-hand", "none"]
    pattern: Id | Literal[""] = ""
    max_s: Annotated[int, Field(ge=0, le=SOUND_MAX_S + 1)] = Field(0, description="0: the pattern's own length")
    veto_s: Annotated[float, Field(ge=0, le=600)] = 0.0
    k: Annotated[int, Field(ge=1, le=5)] = Field(1, description="signed sensor nodes that an automatic order needs")
    approvals: Annotated[int, Field(ge=2, le=4)] = Field(2, description="people that an order by hand needs")
    centres: Annotated[int, Field(ge=1, le=2)] = Field(1, description="2: the people must be of two centres")
    reflex: bool = Field(False, description="the node may sound its own sirens alone when it is cut off")

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


class Key(Settings):
    """One public key of the roster."""

    public: Public
    signer: Id
    role: Literal["node", "controller", "operator", "planner"]
    mode: ModeName
    zones: tuple[Id, ...] = ()
    centre: Id | Literal[""] = ""

    @model_validator(mode="after")
    def _sense(self) -> Self:
        if self.role == "operator" and not self.zones:
            raise ValueError(f"key of {self.signer!r}: a person's key names its zones")
        return self


class Plan(Settings):
    """The whole plan. Ids are unique among their kind; every reference must resolve."""

    version: Annotated[int, Field(ge=1, lt=1 << 31)]
    root: Annotated[str, Field(pattern=r"^[A-Z0-9][A-Z0-9-]{0,31}$")]
    group: Id
    controller: Id = Field(description="the home controller: only its ack lets a node forget")
    centre: Id = Field("centre", description="the home controller's dispatch centre")
    stop_hold_s: Annotated[float, Field(ge=0, le=1800)] = 600.0
    zones: tuple[Zone, ...] = Field(alias="zone", min_length=1)
    points: tuple[Point, ...] = Field((), alias="point")
    groups: tuple[Group, ...] = Field((), alias="vote")
    sirens: tuple[Siren, ...] = Field((), alias="siren")
    patterns: tuple[Pattern, ...] = Field((), alias="pattern")
    policies: tuple[Policy, ...] = Field((), alias="policy")
    keys: tuple[Key, ...] = Field((), alias="key")
    revoked: tuple[str, ...] = Field((), description="key ids (hex) that no longer count")

    @model_validator(mode="after")
    def _sense(self) -> Self:
        kinds: tuple[tuple[str, tuple[Named, ...]], ...] = (
            ("zone", self.zones),
            ("point or vote", (*self.points, *self.groups)),
            ("siren", self.sirens),
            ("pattern", self.patterns),
        )
        for what, items in kinds:
            ids = [item.id for item in items]
            twice = {i for i in ids if ids.count(i) > 1} if len(ids) != len(set(ids)) else set()
            if twice:
                raise ValueError(f"{what} id {min(twice)!r} stands twice")
        self._references()
        return self

    def _references(self) -> None:
        zones = {zone.id for zone in self.zones}
        points = {point.id: point for point in self.points}
        patterns = {pattern.id: pattern for pattern in self.patterns}
        zoned: tuple[tuple[str, tuple[Point | Group | Siren, ...]], ...] = (
            ("point", self.points),
            ("vote", self.groups),
            ("siren", self.sirens),
        )
        for what, each in zoned:
            for item in each:
                for zone in item.zones:
                    if zone not in zones:
                        raise ValueError(f"{what} {item.id!r} names zone {zone!r}, which the plan has not")
        for group in self.groups:
            for point in group.points:
                if point not in points:
                    raise ValueError(f"vote {group.id!r} names point {point!r}, which the plan has not")
            if len({points[p].hazard for p in group.points}) > 1:
                raise ValueError(f"vote {group.id!r} mixes hazards")
        seen = set()
        for policy in self.policies:
            where = (policy.zone, policy.hazard, policy.level)
            if policy.zone not in zones:
                raise ValueError(f"a policy names zone {policy.zone!r}, which the plan has not")
            if where in seen:
                raise ValueError(f"policy {'/'.join(where)} stands twice")
            seen.add(where)
            if policy.pattern:
                if policy.pattern not in patterns:
                    raise ValueError(
                        f"policy {'/'.join(where)} names pattern {policy.pattern!r}, which the plan has not"
                    )
                if policy.max_s > patterns[policy.pattern].length_s + 1:
                    raise ValueError(
                        f"policy {'/'.join(where)}: max_s {policy.max_s} is longer than its pattern "
                        f"({patterns[policy.pattern].length_s:g} s)"
                    )
        for key in self.keys:
            for zone in key.zones:
                if zone not in zones:
                    raise ValueError(f"key of {key.signer!r} names zone {zone!r}, which the plan has not")

    # What both ends ask of it.

    @cached_property
    def roster(self) -> Roster:
        return Roster(
            (
                Signer(
                    key.signer,
                    Role[key.role.upper()],
                    Mode[key.mode.upper()],
                    bytes.fromhex(key.public),
                    frozenset(key.zones),
                    key.centre,
                )
                for key in self.keys
            ),
            (bytes.fromhex(kid) for kid in self.revoked),
        )

    @cached_property
    def judged_ids(self) -> tuple[str, ...]:
        """Ids in the order that reports count in: points, then votes."""
        return tuple(self._judged)

    def zones_of(self, judged_id: str) -> tuple[str, ...]:
        """The zones that a point or vote endangers."""
        return self._judged[judged_id].zones

    def hazard_of(self, judged_id: str) -> Hazard:
        item = self._judged[judged_id]
        point = item if isinstance(item, Point) else self._judged[item.points[0]]
        assert isinstance(point, Point)
        return Hazard[point.hazard.upper()]

    @cached_property
    def _judged(self) -> dict[str, Point | Group]:
        items: tuple[Point | Group, ...] = (*self.points, *self.groups)
        return {item.id: item for item in items}

    def pattern(self, pattern_id: str) -> Pattern | None:
        return next((p for p in self.patterns if p.id == pattern_id), None)

    def siren(self, siren_id: str) -> Siren | None:
        return next((s for s in self.sirens if s.id == siren_id), None)

    def policy(self, zone: str, hazard: Hazard, level: Level) -> Policy | None:
        """The policy of the highest Level at or below `level` in this zone, or None."""
        rank = {"attention": 1, "alarm": 2, "danger": 3}
        own = [
            p for p in self.policies if p.zone == zone and p.hazard == hazard.name.lower() and rank[p.level] <= level
        ]
        return max(own, key=lambda p: rank[p.level], default=None)

    def panel(self, node: str | None = None) -> PanelConfig:
        """What a Panel judges: all of it (None), or one node's points and the votes that lie wholly within them."""
        points = [p for p in self.points if node is None or p.node == node]
        place = {p.id: n for n, p in enumerate(points)}
        groups = [g for g in self.groups if all(p in place for p in g.points)]
        return PanelConfig(
            tuple(p.core() for p in points),
            tuple(
                GroupConfig(
                    g.id,
                    tuple(place[p] for p in g.points),
                    g.k,
                    _ns(g.window_s),
                    VotePolicy.TO_ALARM if g.on_failure == "to-alarm" else VotePolicy.TO_SILENCE,
                )
                for g in groups
            ),
        )
