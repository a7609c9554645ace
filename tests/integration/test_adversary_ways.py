"""Every way to do what an app must not do: inside of its transaction nothing stays, outside what stays is said."""

from __future__ import annotations

import pytest
from adversary.actions import DEFINITIONS
from adversary.arena import Arena, Case, judge, parameters
from adversary.ways import WAYS, done

CASES = {f"column-product-add-by_{way}": done(DEFINITIONS["column-product-add"], way) for way in WAYS}


@pytest.mark.parametrize("case", parameters(CASES, one_in=2))
def test_it_is_refused_and_named(arena: Arena, case: Case) -> None:
    judge(case, arena.run(case))
