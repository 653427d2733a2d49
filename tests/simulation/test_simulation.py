"""The simulated sites: clean without bugs, red with each planted one, and the same twice."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from tests.kit.clock import run_virtual
from tests.simulation import site
from tests.simulation.bugs import BUGS, UNREPEATABLE, Bug
from tests.simulation.seeds import run_seed, run_up_to, twice
from tests.simulation.weather import Network
from tests.simulation.world import World

MINUTES = 3.0
ROOT = Path(__file__).parents[2]

# Seeds of `make simulate` that have found something, and what it was.
ONCE_RED = {
    36: "the reflex sounded for a danger that was over: the fall waited for a slow disk",
    37: "a NULL in a damaged ledger ended the node, at every start",
    500: "on a disk of 6 s a call an event is stamped late; the judge did not know",
    644: "with 30 % of loss and 2 s each way what was lost waited behind all that came after it",
    74: "the world mended a road that was cut twice when the first of the cuts was over",
    1328: "a node whose power failed while the broker was away was to notice the silence all the same",
}


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_caught_and_without_it_the_same_faults_do_no_harm(bug: Bug) -> None:
    clean = run_seed(bug.seed, MINUTES, script=bug.script)
    assert clean.findings == []
    with bug.planted():
        red = run_seed(bug.seed, MINUTES, script=bug.script)
    assert any(finding.startswith(bug.finding) for finding in red.findings), red.findings


@pytest.mark.parametrize("seed", ONCE_RED)
def test_a_seed_that_was_red_stays_green(seed: int) -> None:
    assert run_up_to(seed, 10.0).findings == [], ONCE_RED[seed]


def test_a_road_that_is_cut_twice_is_open_when_both_cuts_are_mended() -> None:
    async def main() -> None:
        network = Network(Random(1), Counter())
        network.block("mill", out=True, into=True)
        network.block("mill", out=True, into=False)
        network.unblock("mill", out=True, into=True)
        assert (network.no_way_out, network.no_way_in) == ({"mill"}, set())
        network.unblock("mill", out=True, into=False)
        assert not network.blocked("mill")

    run_virtual(main())


def test_a_site_whose_outbox_is_damaged_tells_everything() -> None:
    """In virtual time: the controller is killed during the flood, and its outbox does not come back as it was."""

    def script(world: World) -> None:
        def spoil(there: Path) -> None:
            path = there / "data" / "outbox.db"
            path.write_bytes(path.read_bytes()[:3000])

        for at_s in (50.0, 80.0):
            world.plans.append((at_s, lambda: world.kill(site.CENTRE, copied=spoil)))

    assert run_seed(3, 3.0, script=script).findings == []


def test_what_cannot_be_repeated_is_seen() -> None:
    with UNREPEATABLE.planted():
        one = run_seed(UNREPEATABLE.seed, 1.0, script=UNREPEATABLE.script)
        other = run_seed(UNREPEATABLE.seed, 1.0, script=UNREPEATABLE.script)
    assert one.digest != other.digest


@pytest.mark.parametrize("seed", [1, 12])
def test_a_seed_gives_the_same_trace_twice(seed: int) -> None:
    assert twice(seed, MINUTES) == ""


def test_the_command_runs_seeds_and_says_what_happened() -> None:
    command = [sys.executable, "-m", "tests.simulation", "--seeds", "1..3", "--minutes", "1", "--jobs", "2"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=os.environ, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith("runs 3, lost 0, invented 0, late_max_s ")
