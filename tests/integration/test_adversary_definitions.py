"""What an app must not define, each in one of the ways that a transaction has: it is refused, and nothing stays."""

from __future__ import annotations

from itertools import cycle

import pytest
from adversary.actions import DEFINITIONS
from adversary.arena import Arena, Case, judge, parameters
from adversary.ways import INSIDE

CASES = {
    f"{name}-by_{way}": Case(INSIDE[way](action.sql), action.word)
    for (name, action), way in zip(DEFINITIONS.items(), cycle(INSIDE))
}


@pytest.mark.parametrize("case", parameters(CASES, one_in=3))
def test_it_is_refused_and_named(arena: Arena, case: Case) -> None:
    judge(case, arena.run(case))
