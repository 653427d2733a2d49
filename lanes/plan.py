"""The plan: points, thresholds, zones, policies, patterns and keys, as one document that both ends load (design §2.5).

Written in TOML by people, carried as deterministic CBOR, named by its SHA-256. Units stand in the names: level values are in
the point's `unit`, times in seconds.
"""

from functools import cached_property
from typing import Annotated, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, model_validator

from cython_ext import Hazard, Level, PanelConfig

from .exercises import CalendarText, Exercise
from .identity import NAMES_MAX
from .keys import Mode, Role
from .plan_keys import Key
from .plan_types import Id, Named, Public, Texts
from .roster import Passkey, Roster, Signer
from .sensing import Group, LevelRule, Point
from .settings import Settings
from .sounding import Pattern, Policy, Segment, Siren
from .suppression import Suppression

__all__ = [
    "Exercise",
    "Group",
    "Id",
    "Key",
    "LevelRule",
    "Pattern",
    "Plan",
    "Point",
    "Policy",
    "Public",
    "Segment",
    "Siren",
    "Suppression",
    "Zone",
]


def _timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("is not an IANA time zone; for instance Europe/Chisinau or Europe/Bucharest") from None
    return name


class Zone(Named):
    """What a siren warns: one CAP area."""

    name: Texts = Field(description="by language: ro, en, ru, uk", default_factory=dict)
    timezone: Annotated[str, AfterValidator(_timezone)] = Field("Europe/Bucharest", description="IANA time zone")
    polygon: tuple[tuple[float, float], ...] = Field((), description="latitude, longitude pairs; first = last")
    circle: tuple[float, float, float] | None = Field(None, description="latitude, longitude, radius in km")
    geocodes: dict[str, str] = Field(default_factory=dict, description="e.g. EMMA_ID, NUTS3")
    population: Annotated[int, Field(ge=0)] = Field(0, description="people who live there")
    people: tuple[tuple[float, float, int], ...] = Field(
        (), max_length=1000, description="where they live: latitude, longitude, people; for more use people_file"
    )
    people_file: Annotated[str, Field(pattern=r"^$|^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$")] = Field(
        "", description="the same as a file beside the plan, CSV: lat,lon,people"
    )
    people_sha256: Annotated[str, Field(pattern=r"^$|^[0-9a-f]{64}$")] = Field("", description="its SHA-256, in hex")
    coverage_percent: Annotated[float, Field(ge=0, le=100)] = Field(
        0.0, description="Trouble when fewer of them are within earshot of sirens that could sound now; 0: never"
    )
    silent_test: CalendarText = Field("", description="of its sirens: `03:10 daily`; each siren may have its own")
    instructions: Texts = Field(description="what people should do, by language; goes into CAP", default_factory=dict)

    @model_validator(mode="after")
    def _sense(self) -> Self:
        if self.polygon and (len(self.polygon) < 4 or self.polygon[0] != self.polygon[-1]):
            raise ValueError(f"zone {self.id!r}: a polygon has at least 4 points and ends where it begins")
        if self.circle and self.circle[2] < 0:
            raise ValueError(f"zone {self.id!r}: a circle's radius cannot be negative")
        for latitude, longitude in (*self.polygon, *([self.circle[:2]] if self.circle else [])):
            if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
                raise ValueError(f"zone {self.id!r}: [{latitude}, {longitude}] is not latitude, longitude in degrees")
        self._people()
        return self

    def _people(self) -> None:
        for latitude, longitude, people in self.people:
            if not (-90 <= latitude <= 90 and -180 <= longitude <= 180 and people >= 0):
                raise ValueError(f"zone {self.id!r}: [{latitude}, {longitude}, {people}] is not lat, lon, people")
        if bool(self.people_file) != bool(self.people_sha256):
            raise ValueError(f"zone {self.id!r}: people_file and people_sha256 go together")
        if self.people and self.people_file:
            raise ValueError(f"zone {self.id!r} has people and people_file: choose one")
        if self.coverage_percent and not (self.people or self.people_file):
            raise ValueError(f"zone {self.id!r}: coverage_percent needs people or people_file")


class Plan(Settings):
    """The whole plan. Ids are unique among their kind; every reference must resolve."""

    version: Annotated[int, Field(ge=1, lt=1 << 31)] = Field(description="rises with every plan")
    root: Annotated[str, Field(pattern=r"^[A-Z0-9][A-Z0-9-]{0,31}$")] = Field(
        description="the root that it stands under"
    )
    group: Id = Field(description="the nodes of one controller: a part of every topic")
    controller: Id = Field(description="the home controller: only its ack lets a node forget")
    centre: Id = Field("centre", description="the home controller's dispatch centre")
    stop_hold_s: Annotated[float, Field(ge=0, le=1800)] = Field(
        600.0, description="after a stop nothing automatic sounds for so long: that siren, that incident"
    )
    zones: tuple[Zone, ...] = Field(alias="zone", min_length=1, description="what sirens warn")
    points: tuple[Point, ...] = Field((), alias="point", description="sensor channels")
    groups: tuple[Group, ...] = Field((), alias="vote", description="k of n points")
    sirens: tuple[Siren, ...] = Field((), alias="siren", description="sirens")
    patterns: tuple[Pattern, ...] = Field((), alias="pattern", description="signals")
    policies: tuple[Policy, ...] = Field((), alias="policy", description="what happens in a zone at a Level")
    exercises: tuple[Exercise, ...] = Field((), alias="exercise", description="sirens that sound on a calendar")
    suppressions: tuple[Suppression, ...] = Field(
        (), alias="suppress", max_length=64, description="rules that keep an alarm quiet below danger"
    )
    audible_db: Annotated[float, Field(ge=30, le=120)] = Field(
        70.0, description="dB(A) that people outdoors hear above their surroundings; for sirens with sound_db"
    )
    loss_db: Annotated[float, Field(ge=6, le=20)] = Field(
        10.0, description="dB lost with each doubling of the distance: 6 over open water, 10 among houses"
    )
    keys: tuple[Key, ...] = Field((), alias="key", description="the roster: whose keys count")
    revoked: tuple[str, ...] = Field((), description="key ids (hex) that no longer count")

    @model_validator(mode="after")
    def _sense(self) -> Self:
        kinds: tuple[tuple[str, tuple[Named, ...]], ...] = (
            ("zone", self.zones),
            ("point or vote", (*self.points, *self.groups)),
            ("siren", self.sirens),
            ("pattern", self.patterns),
            ("exercise", self.exercises),
            ("suppress", self.suppressions),
        )
        for what, items in kinds:
            ids = [item.id for item in items]
            twice = {i for i in ids if ids.count(i) > 1} if len(ids) != len(set(ids)) else set()
            if twice:
                raise ValueError(f"{what} id {min(twice)!r} stands twice")
        self._references()
        self._short_enough()
        return self

    def _short_enough(self) -> None:
        """Every event must fit into 300 bytes, so the names in it must be short together."""
        named: tuple[tuple[str, tuple[Point | Siren, ...]], ...] = (("point", self.points), ("siren", self.sirens))
        for what, items in named:
            for item in items:
                letters = len(self.controller) + len(item.node) + len(item.id)
                if letters > NAMES_MAX:
                    raise ValueError(
                        f"{what} {item.id!r}, its node {item.node!r} and the controller {self.controller!r} have {letters} "
                        f"letters together; at most {NAMES_MAX} fit into one event: choose shorter ids"
                    )

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
        self._neighbours(zones)
        self._exercises()
        self._suppressions(zones)
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
        publics: set[str] = set()
        for key in self.keys:
            if key.public in publics:
                raise ValueError(f"a key of {key.signer!r} stands twice: each signer has one key for each mode")
            publics.add(key.public)
        for key in self.keys:
            for zone in key.zones:
                if zone not in zones:
                    raise ValueError(f"key of {key.signer!r} names zone {zone!r}, which the plan has not")

    def _neighbours(self, zones: set[str]) -> None:
        """A neighbour can only stand in where the plan lets it warn a zone of the siren that failed."""
        sirens = {siren.id: siren for siren in self.sirens}
        for siren in self.sirens:
            for zone in siren.reserve_zones:
                if zone not in zones:
                    raise ValueError(f"siren {siren.id!r} names zone {zone!r}, which the plan has not")
            for name in siren.neighbours:
                other = sirens.get(name)
                if other is None:
                    raise ValueError(f"siren {siren.id!r} names neighbour {name!r}, which the plan has not")
                if not set(siren.zones) & set(other.all_zones):
                    raise ValueError(
                        f"siren {siren.id!r} names neighbour {name!r}, which may warn none of its zones: "
                        f"give {name!r} one of them in reserve_zones"
                    )

    def _exercises(self) -> None:
        zones = {zone.id: zone for zone in self.zones}
        for exercise in self.exercises:
            where = f"exercise {exercise.id!r}"
            for zone in exercise.zones:
                if zone not in zones:
                    raise ValueError(f"{where} names zone {zone!r}, which the plan has not")
                if not any(zone in siren.zones for siren in self.sirens):
                    raise ValueError(f"{where} names zone {zone!r}, which no siren warns")
            if len({zones[zone].timezone for zone in exercise.zones}) > 1:
                raise ValueError(f"{where} has zones of several time zones: make one exercise for each")
            pattern = self.pattern(exercise.pattern)
            if pattern is None:
                raise ValueError(f"{where} names pattern {exercise.pattern!r}, which the plan has not")
            if exercise.max_s > pattern.length_s + 1:
                raise ValueError(f"{where}: max_s {exercise.max_s} is longer than its pattern ({pattern.length_s:g} s)")

    def _suppressions(self, zones: set[str]) -> None:
        """A rule never stands between a danger and a siren."""
        for rule in self.suppressions:
            where = f"suppress {rule.id!r}"
            for zone in (rule.zone, *([rule.while_alarm.zone] if rule.while_alarm else [])):
                if zone not in zones:
                    raise ValueError(f"{where} names zone {zone!r}, which the plan has not")
            loud = (p for p in self.policies if (p.zone, p.hazard) == (rule.zone, rule.hazard) and p.mode != "none")
            policy = next((p for p in loud if Level[p.level.upper()] <= rule.quiet), None)
            if policy is not None:
                raise ValueError(
                    f"{where}: policy {policy.zone}/{policy.hazard}/{policy.level} may sound a siren, so nothing may keep "
                    f"{rule.up_to} quiet there"
                )
            if rule.while_point is None:
                continue
            point = next((each for each in self.points if each.id == rule.while_point), None)
            if point is None:
                raise ValueError(f"{where} names point {rule.while_point!r}, which the plan has not")
            if point.alone and rule.zone in point.zones and point.hazard == rule.hazard:
                raise ValueError(
                    f"{where}: point {point.id!r} raises this very alarm; a works contact has alone = false"
                )

    # What both ends ask of it.

    def timezone_of(self, zone: str) -> str:
        """The IANA time zone of one of its zones."""
        return next(each.timezone for each in self.zones if each.id == zone)

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
                    Passkey(key.passkey.rp_id, key.passkey.origin) if key.passkey else None,
                )
                for key in self.keys
            ),
            (bytes.fromhex(kid) for kid in self.revoked),
        )

    @cached_property
    def judged_ids(self) -> tuple[str, ...]:
        """Ids in the order that reports count in: points, then votes."""
        return tuple(self._judged)

    def judged(self, judged_id: str) -> Point | Group | None:
        return self._judged.get(judged_id)

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

    def timing(self, pattern_id: str, family: str) -> Pattern | None:
        """The pattern as a siren of this family sounds it: itself, or the same signal's timing for the family."""
        named = self.pattern(pattern_id)
        if named is None or named.family in ("any", family):
            return named
        return next(
            (p for p in self.patterns if named.signal and p.signal == named.signal and p.family == family), None
        )

    def siren(self, siren_id: str) -> Siren | None:
        return self._sirens.get(siren_id)

    def sirens_in(self, zones: tuple[str, ...]) -> tuple[Siren, ...]:
        """The sirens that warn any of these zones, in the plan's order."""
        if len(zones) == 1:
            return self._warning.get(zones[0], ())
        return tuple(siren for siren in self.sirens if not set(zones).isdisjoint(siren.zones))

    @cached_property
    def _warning(self) -> dict[str, tuple[Siren, ...]]:
        found: dict[str, list[Siren]] = {}
        for siren in self.sirens:
            for zone in dict.fromkeys(siren.zones):
                found.setdefault(zone, []).append(siren)
        return {zone: tuple(sirens) for zone, sirens in found.items()}

    @cached_property
    def siren_ids(self) -> tuple[str, ...]:
        """Ids in the order that state reports count in."""
        return tuple(siren.id for siren in self.sirens)

    @cached_property
    def _sirens(self) -> dict[str, Siren]:
        return {siren.id: siren for siren in self.sirens}

    @cached_property
    def _policies(self) -> dict[tuple[str, str], list[Policy]]:
        found: dict[tuple[str, str], list[Policy]] = {}
        for policy in self.policies:
            found.setdefault((policy.zone, policy.hazard), []).append(policy)
        return found

    def policy(self, zone: str, hazard: Hazard, level: Level) -> Policy | None:
        """The policy of the highest Level at or below `level` in this zone, or None."""
        rank = {"attention": 1, "alarm": 2, "danger": 3}
        own = [p for p in self._policies.get((zone, hazard.name.lower()), ()) if rank[p.level] <= level]
        return max(own, key=lambda p: rank[p.level], default=None)

    def panel(self, node: str | None = None) -> PanelConfig:
        """What a Panel judges: all of it (None), or one node's points and the votes that lie wholly within them."""
        points = [p for p in self.points if node is None or p.node == node]
        place = {p.id: n for n, p in enumerate(points)}
        groups = [g for g in self.groups if all(p in place for p in g.points)]
        return PanelConfig(
            tuple(p.core() for p in points),
            tuple(g.core(place) for g in groups),
        )
