"""Run the role in every cell of the matrix that supported.toml gives, and print a table: ``make matrix``."""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
import traceback
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[1:1] = [str(ROOT / name) for name in ("scripts", "tests/integration", "roles/rattail_schema_ext/module_utils")]

import jobs  # noqa: E402  found by the path above
import making  # noqa: E402  found by the path above
from cells import Cell, cells, few  # noqa: E402  found by the path above


class Outcome(NamedTuple):
    """What became of a cell; ``why`` is empty where it is green."""

    cell: Cell
    seconds: float
    why: str
    whole: str


def main() -> int:
    parser = argparse.ArgumentParser(prog="matrix", description=__doc__.partition(":")[0])
    parser.add_argument("--few", action="store_true", help="only the six cells that cover most")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="how many at once (%(default)s)")
    parser.add_argument("--list", action="store_true", help="only say which cells there are")
    parser.add_argument("words", nargs="*", metavar="PATTERN", help="only cells whose names match one")
    options = parser.parse_args()
    chosen = few() if options.few else cells()
    chosen = [each for each in chosen if not options.words or any(re.search(word, each.name) for word in options.words)]
    if options.list:
        print("\n".join(f"{each.job:9} {each.name}" for each in chosen))
        return 0
    began = time.monotonic()
    outcomes = []
    with (
        making.servers(),
        tempfile.TemporaryDirectory(prefix="matrix_") as scratch,
        ProcessPoolExecutor(options.jobs) as pool,
    ):
        started = [pool.submit(_run, each, Path(scratch, str(n))) for n, each in enumerate(chosen)]
        for done in as_completed(started):
            outcomes.append(done.result())
            print(_line(outcomes[-1]), flush=True)
    red = [each for each in outcomes if each.why]
    for each in red:
        print(f"\n{each.cell.job} {each.cell.name}: {each.whole}")
    green = len(outcomes) - len(red)
    print(f"\n{green} of {len(outcomes)} cells are green, in {time.monotonic() - began:.0f} s")
    print(f"{green} passed, {len(red)} failed")
    return 1 if red or not outcomes else 0


def _run(cell: Cell, root: Path) -> Outcome:
    began, why, whole = time.monotonic(), "", ""
    try:
        jobs.run(cell, root)
    except making.Unmade as unmade:
        why = whole = f"cannot be made: {unmade}"
    except Exception as error:
        whole = "".join([*traceback.format_tb(error.__traceback__)[-3:], str(error)[-6000:]])
        lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        why = next((line for line in lines if "fatal:" in line or "msg:" in line), lines[-1]).strip()
    return Outcome(cell, time.monotonic() - began, why, whole)


def _line(outcome: Outcome) -> str:
    verdict = f"RED  {outcome.why[:110]}" if outcome.why else "green"
    return f"{outcome.cell.job:9} {outcome.cell.name:74} {outcome.seconds:5.0f} s  {verdict}"


if __name__ == "__main__":
    sys.exit(main())
