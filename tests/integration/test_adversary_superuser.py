"""What only a superuser can do: refused and named, or among the limits that docs/security.md has."""

from __future__ import annotations

from itertools import cycle, islice

import pytest
from adversary.actions import SUPERUSER, SUPERUSER_ROWS
from adversary.arena import Arena, Case, judge, parameters
from adversary.games import SUPERUSER_GAMES
from adversary.ways import COMMITTED, done, executed

CASES = {
    **{name: Case(executed(action.sql), action.word) for name, action in SUPERUSER.items()},
    **{
        f"{name}-by_{way}": done(action, way)
        for way, (name, action) in zip(islice(COMMITTED, 0, None, 2), islice(SUPERUSER.items(), 0, None, 4))
    },
    **{
        f"{name}-{data}": Case(executed(action.sql), action.word, told=True, options={"policy_data": data})
        for (name, action), data in zip(SUPERUSER_ROWS.items(), cycle(("report", "refuse")))
    },
    **{f"game-{name}": case for name, case in SUPERUSER_GAMES.items()},
}


@pytest.mark.parametrize("case", parameters(CASES, one_in=3))
def test_it_is_refused_and_named(superuser: Arena, case: Case) -> None:
    judge(case, superuser.run(case))
