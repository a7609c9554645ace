"""Every way to do what an app must not do: inside of its transaction nothing stays, outside what stays is said."""

from __future__ import annotations

import pytest
from adversary.actions import DEFINITIONS
from adversary.arena import Arena, Case, judge, parameters
from adversary.ways import COMMITTED, CONFINED, UNCONFINED, UNHEARD, WAYS

_ACTION = DEFINITIONS["column-product-add"]
# by those that were not allowed to write, nothing was done that could be named
_READ_ONLY = "|may only read"
CASES = {
    f"column-product-add-by_{way}": Case(
        do(_ACTION.sql),
        _ACTION.word + _READ_ONLY * (way in {*CONFINED, *UNCONFINED}),
        stays=way in {*COMMITTED, *UNCONFINED, *UNHEARD},
        told=way in UNHEARD,
    )
    for way, do in WAYS.items()
}


@pytest.mark.parametrize("case", parameters(CASES))
def test_it_is_refused_and_named(arena: Arena, case: Case) -> None:
    judge(case, arena.run(case))
