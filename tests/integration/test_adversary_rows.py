"""Rows that are not the app's: named where they are reported, refused where they are to be, by every way."""

from __future__ import annotations

from itertools import cycle

import pytest
from adversary.actions import OTHERS, ROWS
from adversary.arena import Arena, Case, judge, parameters
from adversary.games import ROW_GAMES
from adversary.ways import INSIDE, LATER, SESSION, executed

_REPORT, _REFUSE = {"policy_data": "report"}, {"policy_data": "refuse"}
_UPDATE = ROWS["rows-till-update"]
CASES = {
    **{
        f"{name}-by_{way}-report": Case(INSIDE[way](action.sql), action.word, told=True, options=_REPORT)
        for (name, action), way in zip(ROWS.items(), cycle(INSIDE))
    },
    **{
        f"{name}-refuse": Case(executed(action.sql), action.word, told=True, options=_REFUSE)
        for name, action in ROWS.items()
    },
    **{
        f"{name}-{options['policy_data']}": Case(
            executed(action.sql), action.word, told=True, stays=name.startswith("sequence"), options=options
        )
        for name, action in OTHERS.items()
        for options in (_REPORT, _REFUSE)
    },
    **{
        f"rows-till-update-by_{way}-{options['policy_data']}": Case(
            do(_UPDATE.sql), _UPDATE.word, told=True, options=options
        )
        for way, do in {**SESSION, **LATER}.items()
        for options in (_REPORT, _REFUSE)
    },
    **{f"rows-{name}": case for name, case in ROW_GAMES.items()},
}


@pytest.mark.parametrize("case", parameters(CASES, one_in=3))
def test_they_are_named_or_refused(arena: Arena, case: Case) -> None:
    judge(case, arena.run(case))
