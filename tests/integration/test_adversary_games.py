"""Revisions that go for the version rows, the process, the guard or names that sessions find first."""

from __future__ import annotations

import pytest
from adversary.actions import DEFINITIONS, ROWS
from adversary.arena import Arena, Case, judge, parameters
from adversary.games import PREPARED, PYTHON, SHADOWS, VERSION_ROWS
from adversary.honest import HONEST
from adversary.ways import executed

_GAMES = {
    **{f"version_rows-{name}": case for name, case in VERSION_ROWS.items()},
    **{f"python-{name}": case for name, case in PYTHON.items()},
    **{f"prepared_transaction-{name}": case for name, case in PREPARED.items()},
}


@pytest.mark.parametrize("case", parameters(_GAMES, one_in=2))
def test_it_is_refused_and_named(arena: Arena, case: Case) -> None:
    judge(case, arena.run(case))


@pytest.mark.parametrize("case", parameters({f"shadow-{name}": case for name, case in SHADOWS.items()}))
def test_a_name_before_core_s_is_not_own_by_its_schema(shadowed: Arena, case: Case) -> None:
    judge(case, shadowed.run(case))


# What was seen on a few of core's tables, with all of them.
_SAMPLE = {
    "column-product-add": Case(executed(DEFINITIONS["column-product-add"].sql), DEFINITIONS["column-product-add"].word),
    "rows-till-update": Case(executed(ROWS["rows-till-update"].sql), ROWS["rows-till-update"].word, told=True),
    **{f"honest-{name}": HONEST[name] for name in ("table-foreign_key_to_core", "block-index_concurrently")},
}


@pytest.mark.parametrize("case", parameters({f"whole_core-{name}": case for name, case in _SAMPLE.items()}))
def test_it_is_so_with_all_of_core_s_tables(whole_arena: Arena, case: Case) -> None:
    judge(case, whole_arena.run(case))
