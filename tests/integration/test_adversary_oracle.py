"""The oracle sees everything that the cases do, and takes nothing of the app's own for somebody else's."""

from __future__ import annotations

import pytest
from adversary.actions import DEFINITIONS, OTHERS, ROWS, Action, actions
from adversary.arena import Arena
from adversary.oracle import look

_HONEST = {f"honest-{name}": action for name, action in actions("honest").items()}


@pytest.mark.parametrize("group", [{**DEFINITIONS, **ROWS, **OTHERS}, _HONEST], ids=["foreign", "honest"])
def test_it_tells_what_is_foreign(arena: Arena, group: dict[str, Action]) -> None:
    wrong = []
    with arena.database.connect("postgres") as connection:
        connection.autocommit = False
        with connection.cursor() as cursor:
            before = look(cursor)
        for name, action in group.items():
            with connection.cursor() as cursor:
                cursor.execute("set role rattail")
                cursor.execute(action.sql)
                cursor.execute("reset role")
                differ = look(cursor).foreign_changes(before)
            connection.rollback()
            if name.startswith("sequence"):
                # whose values no rollback takes back
                with connection.cursor() as cursor:
                    before = look(cursor)
            if bool(differ) != (group is not _HONEST):
                wrong.append((name, differ))
    arena.renew()
    assert not wrong
