"""`python -m tests.faults`: breaks real processes, and says what was lost."""

import argparse
import asyncio
import sys
import time
from pathlib import Path

from . import campaign, table
from .breaking import KINDS


def main() -> int:
    """0: everything held."""
    options = _parse()
    counts = dict.fromkeys(KINDS, 1) | campaign.CI
    if options.long:
        counts = dict.fromkeys(KINDS, campaign.ONCE_LONG) | campaign.LONG
    if options.only:
        counts = {kind: options.runs for kind in KINDS if kind in options.only}
    began = time.monotonic()
    outcome = asyncio.run(campaign.run(counts, options.seed, folder=options.out))
    found = outcome.judge()
    print(f"\nseed {options.seed}, {time.monotonic() - began:.0f} s; most memory: {_peaks(outcome)}")
    for line in outcome.skipped:
        print(line)
    for finding in found:
        print(f"FOUND {finding}")
    if options.table and not options.only:
        table.write(options.table, outcome, time.monotonic() - began)
    print(outcome.line, flush=True)
    return 1 if found else 0


def _peaks(outcome: campaign.Outcome) -> str:
    return ", ".join(f"{name} {mib:.0f} MiB" for name, mib in sorted(outcome.peaks_mib.items()))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--long", action="store_true", help="the campaign whose figures are published")
    parser.add_argument("--only", action="append", choices=sorted(KINDS), help="this fault only (again for more)")
    parser.add_argument("--runs", type=int, default=1, help="how often, with --only")
    parser.add_argument("--table", type=Path, help="put the table of a whole campaign into this document")
    parser.add_argument("--out", type=Path, help="keep logs, ledgers and journals in this folder")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
