"""What an app may do gets through, and nothing is said of it."""

from __future__ import annotations

import pytest
from adversary.arena import Arena, Case, judge, parameters
from adversary.honest import HONEST


@pytest.mark.parametrize("case", parameters({f"honest-{name}": case for name, case in HONEST.items()}, one_in=3))
def test_it_gets_through(arena: Arena, case: Case) -> None:
    judge(case, arena.run(case))
