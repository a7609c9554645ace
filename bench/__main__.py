"""Measure what the role costs beside what it replaces: ``make bench``.

Ratios only, both sides in one run: what a second is worth differs from machine to machine. A goal that is missed is
said to be, and is no failure.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from statistics import median

from pairs import Failed, Measured, measure
from rows import Row, Rows
from support import postgres as embedded


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=7, help="how often each two are run (%(default)s)")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(Rows.NAMES)} (all)")
    options = parser.parse_args()
    unknown = set(options.rows) - set(Rows.NAMES)
    if unknown or options.pairs < 1:
        parser.error(f"there is no row {', '.join(sorted(unknown))}" if unknown else "--pairs is 1 at least")
    print(f"{options.pairs} pairs each, in turn; {_load()}", flush=True)
    print(_line("ours / other", "median", "min-max", "CPU", "goal", "", "seconds"), flush=True)
    try:
        with embedded.running() as postgres, tempfile.TemporaryDirectory(prefix="bench_") as scratch:
            rows = Rows(postgres, Path(scratch))
            for name in options.rows or Rows.NAMES:
                row: Row = getattr(rows, name)()
                print(_told(row, measure(row.ours, row.other, options.pairs)), flush=True)
    except Failed as failed:
        print(f"bench: {failed}", file=sys.stderr)
        return 1
    finally:
        embedded.stop_unless_used()
    print(f"CPU: the same by processor time, without PostgreSQL's. Afterwards: {_load()}")
    return 0


def _told(row: Row, measured: Measured) -> str:
    ratios = sorted(measured.ratios)
    middle = median(ratios)
    spread = f"{ratios[0]:.2f}-{ratios[-1]:.2f}"
    seconds = "{:.2f} / {:.2f}".format(*measured.clocks)
    verdict = "met" if middle <= row.goal else "missed"
    return _line(row.name, f"{middle:.2f}", spread, f"{measured.processor_ratio:.2f}", f"{row.goal:.2f}", verdict,
                 seconds)  # fmt: skip


def _line(name: str, middle: str, spread: str, processor: str, goal: str, verdict: str, seconds: str) -> str:
    return f"{name:64}{middle:>7}{spread:>11}{processor:>6}{goal:>6} {verdict:7}{seconds:>14}"


def _load() -> str:
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


if __name__ == "__main__":
    sys.exit(main())
