"""People within earshot: exact over the cells, nobody counted twice, and what is not known is said."""

import asyncio
import hashlib
from math import cos, isclose, radians
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.coverage import EARTH_M, ZoneCover, covers, distance_m, radius_of
from controller.siren.people import People, read_people
from lanes.plan import Plan, Siren, Zone
from lanes.planfile import build
from lanes.population import Cell
from lanes.settings import parse
from lanes.store import run_here
from tests.kit.clock import run_virtual

BASE = 'version = 1\nroot = "DEMO"\ngroup = "g"\ncontroller = "c"\n'
ORIGIN = (47.20, 27.80)


def place(east_m: float, north_m: float) -> tuple[float, float]:
    """So many metres from the origin: flat enough for a few kilometres."""
    latitude = ORIGIN[0] + north_m / EARTH_M * 180 / 3.141592653589793
    return latitude, ORIGIN[1] + east_m / (EARTH_M * cos(radians(ORIGIN[0]))) * 180 / 3.141592653589793


def siren(name: str, east_m: float, north_m: float, radius_m: float) -> Siren:
    latitude, longitude = place(east_m, north_m)
    return Siren.model_validate(
        {"id": name, "node": "n", "zones": ["z"], "latitude": latitude, "longitude": longitude, "radius_m": radius_m}
    )


PLAN = parse(BASE + '[[zone]]\nid = "z"\n', Plan)
metres = st.integers(-1500, 1500)
circles = st.lists(st.tuples(metres, metres, st.integers(50, 1200)), min_size=1, max_size=6)
people = st.lists(st.tuples(metres, metres, st.integers(0, 500)), min_size=1, max_size=60)


@given(circles, people, st.data())
def test_it_is_the_sum_over_cells_of_people_who_hear_any(circles, people, data) -> None:
    """Against the plain rule, cell by cell."""
    sirens = [siren(f"s{n}", *each) for n, each in enumerate(circles)]
    cells = [Cell(*place(east, north), count) for east, north, count in people]
    cover = ZoneCover(PLAN.zones[0], sirens, cells, PLAN)
    chosen = data.draw(st.sets(st.sampled_from([each.id for each in sirens])))
    plain = 0
    for cell in cells:
        heard = [
            s
            for s in sirens
            if s.id in chosen and distance_m(s.latitude, s.longitude, (cell.latitude, cell.longitude)) <= s.radius_m
        ]
        plain += cell.people if heard else 0
    found = cover.covered(chosen)
    assert (found.people, found.total) == (plain, sum(cell.people for cell in cells))
    assert cover.covered([each.id for each in sirens]).people >= found.people
    assert 0.0 <= found.percent <= 100.0


def test_two_circles_that_overlap_count_nobody_twice() -> None:
    sirens = [siren("a", 0, 0, 500), siren("b", 400, 0, 500)]
    cells = [Cell(*place(200, 0), 100), Cell(*place(-300, 0), 10), Cell(*place(800, 0), 1), Cell(*place(2000, 0), 1000)]
    cover = ZoneCover(PLAN.zones[0], sirens, cells, PLAN)
    assert [cover.covered(each).people for each in (["a"], ["b"], ["a", "b"], [], ["stranger"])] == [
        110,
        101,
        111,
        0,
        0,
    ]
    assert cover.covered(["a", "b"]).total == 1111


def test_distances_are_those_of_the_sphere() -> None:
    balti, iasi = (47.7617, 27.9289), (47.1585, 27.6014)
    assert isclose(distance_m(*balti, iasi), 71_430, rel_tol=2e-3)
    assert distance_m(*balti, balti) == 0
    assert isclose(distance_m(10, 179.99, (10, -179.99)), 2190, rel_tol=2e-3), "across the date line"


def test_a_radius_is_given_or_reckoned() -> None:
    def of(**values: float) -> float:
        return radius_of(siren("s", 0, 0, 0).model_copy(update=values), PLAN)

    assert of(radius_m=700.0, sound_db=120.0) == 700.0
    assert of(sound_db=70.0) == 30.0
    assert of(sound_db=110.0) == 30.0 * 16, "four doublings of 10 dB"
    assert of() == 0.0


def test_a_siren_without_position_or_radius_covers_nobody_and_is_named() -> None:
    lost = Siren.model_validate({"id": "x", "node": "n", "zones": ["z"], "radius_m": 500})
    cover = ZoneCover(PLAN.zones[0], [lost, siren("a", 0, 0, 0)], [Cell(*ORIGIN, 5)], PLAN)
    assert cover.unplaced == ["x", "a"]
    assert cover.covered(["x", "a"]).people == 0


# The plan's own words.

GRID = b"lat,lon,people\n47.2,27.8,30\n47.3,27.8,70\n"


def with_file(digest: str) -> Plan:
    return parse(
        BASE + f'[[zone]]\nid = "z"\npeople_file = "grid.csv"\npeople_sha256 = "{digest}"\ncoverage_percent = 30\n'
        '[[siren]]\nid = "s"\nnode = "n"\nzones = ["z"]\nlatitude = 47.2\nlongitude = 27.8\nradius_m = 500\n',
        Plan,
    )


def test_a_file_is_read_by_its_hash(tmp_path: Path) -> None:
    (tmp_path / "grid.csv").write_bytes(GRID)
    plan = with_file(hashlib.sha256(GRID).hexdigest())
    cells, wrong = read_people(plan, tmp_path)
    assert not wrong
    assert covers(plan, cells)["z"].covered(["s"]).percent == 30.0


@pytest.mark.parametrize("data", [None, GRID + b"47.1,27.8,1\n", b"nonsense"])
def test_a_file_that_is_not_right_is_said_and_nothing_is_assumed(tmp_path: Path, data: bytes | None) -> None:
    if data is not None:
        (tmp_path / "grid.csv").write_bytes(data)
    digest = hashlib.sha256(data if data == b"nonsense" else GRID).hexdigest()
    plan = with_file(digest)
    cells, wrong = read_people(plan, tmp_path)
    assert set(wrong) == {"z"}
    assert covers(plan, cells) == {}


@pytest.mark.parametrize(
    "zone",
    [
        'people = [[47.2, 27.8, 5]]\npeople_file = "a.csv"\npeople_sha256 = "' + "0" * 64 + '"',
        'people_file = "a.csv"',
        "coverage_percent = 90",
        "people = [[97.2, 27.8, 5]]",
        'people_file = "../a.csv"\npeople_sha256 = "' + "0" * 64 + '"',
    ],
)
def test_a_zone_that_makes_no_sense_is_refused(zone: str) -> None:
    with pytest.raises(ValueError, match=r"people|zone"):
        parse(BASE + f'[[zone]]\nid = "z"\n{zone}\n', Plan)


def test_people_in_the_plan_need_no_file() -> None:
    plan = parse(BASE + '[[zone]]\nid = "z"\npeople = [[47.2, 27.8, 5], [47.3, 27.8, 6]]\n', Plan)
    assert covers(plan, {})["z"].total == 11
    assert isinstance(plan.zones[0], Zone)


def test_the_running_plans_files_are_read_and_may_be_put_right(tmp_path: Path) -> None:
    """Trouble while a file is not right; another plan, or the right file within a minute, ends it."""
    room = _Room(with_file(hashlib.sha256(GRID).hexdigest()))

    async def main() -> None:
        task = asyncio.create_task(People(room, tmp_path, run_here).run())  # type: ignore[arg-type]
        await asyncio.sleep(1)
        assert room.codes == {"people-unknown z": True}
        assert room.covers == (room.signed.digest, {})
        (tmp_path / "grid.csv").write_bytes(GRID)
        await asyncio.sleep(61)
        assert room.codes == {"people-unknown z": False}
        assert room.covers[1]["z"].total == 100  # type: ignore[index]
        room.run(with_file("0" * 64))
        await asyncio.sleep(6)
        assert room.codes == {"people-unknown z": True}
        assert room.covers == (room.signed.digest, {}), "nothing of the former plan is left"
        task.cancel()

    run_virtual(main())


class _Room:
    """What People asks of a room."""

    def __init__(self, plan: Plan) -> None:
        self.covers: tuple[bytes, object] = (b"", {})
        self.codes: dict[str, bool] = {}
        self.run(plan)

    def run(self, plan: Plan) -> None:
        self.plan, self.signed = plan, build(plan)

    def trouble(self, code: str, subject: str, on: bool) -> None:
        self.codes[f"{code} {subject}"] = on
