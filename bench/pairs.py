"""Two ways to the same end, run in turn, and the ratio of what they cost."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median


class Failed(Exception):
    """A side did not do what it is measured for."""


def _nothing() -> None:
    pass


def anything(output: str) -> None:
    del output


@dataclass(frozen=True)
class Side:
    """One of the two: a command, what is to be made ready before it, and what has to be true of it afterwards.

    ``prepare`` and ``check`` are not timed; ``check`` gets what was printed, and raises ``Failed``.
    """

    command: Sequence[str]
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[], None] = _nothing
    check: Callable[[str], None] = anything


@dataclass(frozen=True)
class Cost:
    """Seconds by the clock, and seconds of processor time of the command and of all that it started and waited for."""

    clock: float
    processor: float


@dataclass(frozen=True)
class Measured:
    """The costs of both sides, pair by pair."""

    pairs: tuple[tuple[Cost, Cost], ...]

    @property
    def ratios(self) -> list[float]:
        """By the clock, ours to the other's, pair by pair."""
        return [ours.clock / other.clock for ours, other in self.pairs]

    @property
    def processor_ratio(self) -> float:
        """The median by processor time, which other work on the machine disturbs less."""
        return median(ours.processor / other.processor for ours, other in self.pairs)

    @property
    def clocks(self) -> tuple[float, float]:
        """The medians of both sides, in seconds."""
        return median(ours.clock for ours, _ in self.pairs), median(other.clock for _, other in self.pairs)


def measure(ours: Side, other: Side, pairs: int) -> Measured:
    """Run each side once to warm it up, and then pair by pair, the one that goes first changing each time.

    :raises Failed: where a side does not do what it is there for.
    """
    run(ours), run(other)
    costs = []
    for number in range(pairs):
        if number % 2 == 0:
            first = run(ours)
            costs.append((first, run(other)))
        else:
            first = run(other)
            costs.append((run(ours), first))
    return Measured(tuple(costs))


def run(side: Side) -> Cost:
    """What one run costs.

    :raises Failed: where the command fails, or ``check`` says so.
    """
    side.prepare()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE_", "PG", "RATTAIL", "WUTTA"))}
    # a file, because a full pipe would have to be emptied meanwhile
    with tempfile.TemporaryFile("w+") as printed:
        before = time.perf_counter()
        process = subprocess.Popen(
            side.command, cwd=side.cwd, env={**environment, **side.env}, stdin=subprocess.DEVNULL, stdout=printed,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        _, status, usage = os.wait4(process.pid, 0)
        clock = time.perf_counter() - before
        process.returncode = os.waitstatus_to_exitcode(status)
        printed.seek(0)
        output = printed.read()
    if process.returncode:
        raise Failed(f"{' '.join(side.command)} ends with {process.returncode}:\n{output}")
    side.check(output)
    return Cost(clock, usage.ru_utime + usage.ru_stime)
