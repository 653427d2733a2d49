"""`python -m tests.simulation --seeds 1..1000`: floods and faults on simulated sites, and what became of every alarm.

One line for each seed that found something, with how to repeat it; at the end the figures, and what really happened how often.
Exit code 1 when anything was found, or when a promised fault never occurred.
"""

import argparse
import os
import sys

from .faults import PROMISED
from .seeds import Campaign, as_json, run_all, twice

TABLE_RUNS = 200  # so many seeds see every promised fault


def main() -> int:
    options = _parse()
    if os.environ.get("PYTHONHASHSEED") != "0":  # sets of strings are walked in the order of their hashes
        os.execve(
            sys.executable,
            [sys.executable, "-W", "ignore", "-m", "tests.simulation", *sys.argv[1:]],
            os.environ | {"PYTHONHASHSEED": "0"},
        )
    campaign = Campaign()
    for result in run_all(options.seeds, options.minutes, options.jobs, options.until):
        if options.json:
            print(as_json(result), flush=True)
            continue
        campaign.add(result)
        if result.findings:
            print(result.line(options.minutes), flush=True)
    if options.json:
        return 0
    differ = [where for seed in options.seeds[: options.twice] if (where := twice(seed, options.minutes))]
    for where in differ:
        print(f"not repeatable: {where}")
    never = [what for what in PROMISED if not campaign.seen[what]] if campaign.runs >= TABLE_RUNS else []
    for what, count in sorted(campaign.seen.items()):
        print(f"{count:8} {what}")
    for what in never:
        print(f"promised and never happened: {what}")
    print("\n".join(campaign.summary()))
    return 1 if campaign.failed or differ or never else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=_seeds, default=_seeds("1..20"), help="A..B, or numbers with commas")
    parser.add_argument("--minutes", type=float, default=3.0, help="of floods and faults; healing comes on top")
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
