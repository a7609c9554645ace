"""The oracle sees everything that the cases do, and takes nothing of the app's own for somebody else's."""

from __future__ import annotations

import pytest
from adversary.actions import DEFINITIONS, OTHERS, ROWS, SUPERUSER, SUPERUSER_ROWS, Action, actions
from adversary.arena import Arena
from adversary.oracle import look

_HONEST = {f"honest-{name}": action for name, action in actions("honest").items()}
# whose database it is, and what is done there
_GROUPS: dict[str, tuple[str, dict[str, Action]]] = {
    "foreign": ("arena", {**DEFINITIONS, **ROWS, **OTHERS}),
    "honest": ("arena", _HONEST),
    "superuser": ("superuser", {**SUPERUSER, **SUPERUSER_ROWS}),
}


@pytest.mark.parametrize("which", _GROUPS)
def test_it_tells_what_is_foreign(request: pytest.FixtureRequest, which: str) -> None:
    whose, group = _GROUPS[which]
    arena: Arena = request.getfixturevalue(whose)
    server = whose == "superuser"
    wrong = []
    with arena.database.connect("postgres") as connection:
        connection.autocommit = False
        with connection.cursor() as cursor:
            before = look(cursor, server=server)
        for name, action in group.items():
            with connection.cursor() as cursor:
                cursor.execute(f"set role {arena.database.user}")
                cursor.execute(action.sql)
                cursor.execute("reset session authorization; reset role")
                differ = look(cursor, server=server).foreign_changes(before)
            connection.rollback()
            if name.startswith("sequence"):
                # whose values no rollback takes back
                with connection.cursor() as cursor:
                    before = look(cursor, server=server)
            if bool(differ) != (group is not _HONEST):
                wrong.append((name, differ))
    arena.renew()
    assert not wrong
