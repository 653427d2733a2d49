"""The plan that runs: versions rise, and what must not run leaves the running one in place."""

import pytest

from cython_ext import ConfigError
from lanes import planfile, plankept
from tests.kit import plans


def version(number: int, *, hold_s: int = 600, people: tuple[str, ...] = plans.PEOPLE) -> planfile.SignedPlan:
    text = (
        plans.with_keys()
        .replace("version = 1", f"version = {number}")
        .replace("stop_hold_s = 600", f"stop_hold_s = {hold_s}")
    )
    return plans.signed(text, people)


@pytest.fixture
def deliver(tmp_path):
    def start(signed: planfile.SignedPlan | None) -> plankept.Chosen:
        """One start of a service: what it chooses of the delivered file, and keeps."""
        path = tmp_path / "plan.cbor"
        path.unlink(missing_ok=True)
        if signed:
            planfile.write(signed, path)
        chosen = plankept.choose(path, tmp_path, plans.root())
        plankept.keep(chosen.signed, tmp_path)
        return chosen

    return start


def test_a_newer_plan_runs_and_an_older_one_does_not_come_back(deliver):
    assert deliver(version(2)).refused == ""
    assert deliver(version(3)).signed == version(3)
    back = deliver(version(2))
    assert back.signed == version(3)
    assert "older than version 3" in back.refused
    assert deliver(version(3)).refused == ""


def test_another_content_under_the_same_version_does_not_run(deliver):
    deliver(version(2))
    other = deliver(version(2, hold_s=5))
    assert other.signed == version(2)
    assert "higher version" in other.refused


@pytest.mark.parametrize("broken", [None, version(9, people=("ana",))])
def test_a_missing_or_unsigned_plan_leaves_the_running_one(deliver, broken):
    deliver(version(2))
    chosen = deliver(broken)
    assert chosen.signed == version(2)
    assert chosen.refused


def test_without_a_plan_that_ran_a_bad_one_is_a_refusal(deliver):
    with pytest.raises(ConfigError, match="asks for 2"):
        deliver(version(1, people=("ana",)))


def test_a_damaged_copy_is_no_reason_to_stop(deliver, tmp_path):
    deliver(version(2))
    (tmp_path / plankept.NAME).write_bytes(b"damaged")
    assert deliver(version(1)).signed == version(1)
    assert planfile.read(tmp_path / plankept.NAME) == version(1)


def test_a_plan_that_came_while_the_service_ran_is_no_trouble_until_the_file_is_touched(deliver, tmp_path):
    deliver(version(2))
    plankept.adopt(version(4), tmp_path, tmp_path / "plan.cbor")
    assert plankept.before(tmp_path) == version(2)
    again = plankept.choose(tmp_path / "plan.cbor", tmp_path, plans.root())
    assert (again.signed, again.refused) == (version(4), "")
    back = deliver(version(3))
    assert back.signed == version(4)
    assert "older than version 4" in back.refused
    assert deliver(version(5)).refused == ""
    assert plankept.before(tmp_path) == version(4)


def test_what_stood_before_is_not_known_when_its_copy_is_damaged(deliver, tmp_path):
    deliver(version(2))
    assert plankept.before(tmp_path) is None
    deliver(version(3))
    (tmp_path / plankept.BEFORE).write_bytes(b"damaged")
    assert plankept.before(tmp_path) is None
