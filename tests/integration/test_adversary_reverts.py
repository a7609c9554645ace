"""The same from a ``downgrade()``: each kind of object, one in two of the ways, and one in six of the games."""

from __future__ import annotations

from itertools import cycle, islice

import pytest
from adversary.actions import DEFINITIONS, OTHERS, ROWS
from adversary.arena import Arena, Case, judge, parameters
from adversary.games import PREPARED, PYTHON, ROW_GAMES, VERSION_ROWS
from adversary.honest import HONEST
from adversary.ways import WAYS, done, executed

# the last action of each kind
_KINDS = {name.split("-")[0]: (name, action) for name, action in DEFINITIONS.items()}
_REPORT, _REFUSE = {"policy_data": "report"}, {"policy_data": "refuse"}
_GAMES = {
    **{f"version_rows-{name}": case for name, case in VERSION_ROWS.items()},
    **{f"python-{name}": case for name, case in PYTHON.items()},
    **{f"prepared_transaction-{name}": case for name, case in PREPARED.items()},
    **{f"rows-{name}": case for name, case in ROW_GAMES.items()},
    **{
        f"{name}-{options['policy_data']}": Case(
            executed(action.sql), action.word, told=True, stays=name.startswith("sequence"), options=options
        )
        for (name, action), options in zip({**ROWS, **OTHERS}.items(), cycle((_REPORT, _REFUSE)))
    },
}
CASES = {
    **{
        f"{name}-by_{way}": done(action, way)
        for way, (name, action) in zip(islice(WAYS, 0, None, 2), cycle(_KINDS.values()))
    },
    **dict(islice(_GAMES.items(), 0, None, 6)),
    **{f"honest-{name}": HONEST[name] for name in ("op-rename_and_drop", "block-index_dropped_concurrently")},
}


@pytest.mark.parametrize("case", parameters(CASES))
def test_it_is_refused_and_named(reverting: Arena, case: Case) -> None:
    judge(case, reverting.run(case))
