"""`python -m tests.simulation --seeds 1..1000`: floods and faults on simulated sites, and what became of every alarm.

One line for each seed that found something, with how to repeat it; then what really happened how often, and the figures. Exit
code 1 when anything was found, when a promised fault never occurred, or when a trace was not the same twice. docs/simulator.md.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from .faults import PROMISED
from .seeds import KINDS, MEAN_LATE_MAX_S, Campaign, as_json, minutes_of, run_all, twice

TABLE_RUNS = 600  # so many seeds see every promised fault


def main() -> int:
    options = _parse()
    if os.environ.get("PYTHONHASHSEED") != "0":  # sets of strings are walked in the order of their hashes
        words = [sys.executable, "-W", "ignore", "-m", "tests.simulation", *sys.argv[1:]]
        os.execve(sys.executable, words, os.environ | {"PYTHONHASHSEED": "0"})
    again = f"--minutes {options.minutes:g} --kind {options.kind}"
    campaign = Campaign()
    for result in run_all(options.seeds, options.minutes, options.jobs, options.until, options.kind):
        if options.json:
            print(as_json(result), flush=True)
            continue
        campaign.add(result)
        if result.findings:
            print(result.line(again), flush=True)
    if options.json:
        return 0
    bad = _differ(options.seeds[: options.twice], options.minutes)
    if options.kind == "faults" and campaign.runs >= TABLE_RUNS:
        bad += [f"promised and never happened: {what}" for what in PROMISED if not campaign.seen[what]]
        if campaign.late_mean_s > MEAN_LATE_MAX_S:
            bad.append(f"late on average by {campaign.late_mean_s:.1f} s, at most {MEAN_LATE_MAX_S:g} s")
    for what, count in sorted(campaign.seen.items()):
        print(f"{count:8} {what}")
    print("\n".join([*bad, *campaign.summary()]))
    return 1 if campaign.failed or bad else 0


def _differ(seeds: Sequence[int], minutes: float) -> list[str]:
    found = [twice(seed, minutes_of(seed, minutes)) for seed in seeds]
    return [f"not repeatable: {where}" for where in found if where]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=_seeds, default=_seeds("1..20"), help="A..B, or numbers with commas")
    parser.add_argument(
        "--minutes", type=float, default=3.0, help="at most, of floods and faults; healing comes on top"
    )
    parser.add_argument(
        "--kind",
        choices=KINDS,
        default="faults",
        help="faults: drawn by the seed, for 1 minute to --minutes; exact: for just so long; "
        "crashes: of everything else while sirens sound",
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes that share the seeds")
    parser.add_argument("--until", type=float, default=None, help="begin no further seed after so many seconds")
    parser.add_argument(
        "--twice", type=int, default=0, help="run so many of the seeds twice more and compare the traces"
    )
    parser.add_argument("--json", action="store_true", help="one line of JSON a seed, and nothing else")
    return parser.parse_args()


def _seeds(text: str) -> list[int]:
    if ".." in text:
        first, last = text.split("..")
        return list(range(int(first), int(last) + 1))
    return [int(part) for part in text.split(",") if part]


if __name__ == "__main__":
    sys.exit(main())
