"""One table of kinds: every kind of object that is ever reported has its row there, and no other list is kept."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from ansible.module_utils.rattail_alembic.postgres.catalog import Catalog, Key, Row
from ansible.module_utils.rattail_alembic.postgres.catalog_changes import Change, difference
from ansible.module_utils.rattail_alembic.postgres.catalog_sources import CLASS, INHERITS, SOURCES
from ansible.module_utils.rattail_alembic.postgres.kinds import KINDS, Kind, kind_of

from conftest import ROLE

FILES = [path for path in sorted((ROLE / "module_utils" / "rattail_alembic").rglob("*.py")) if path.name != "kinds.py"]
TABLE: Key = (CLASS, 40_000, 0, 0)


def given(expression: str) -> set[str]:
    """The kinds that the SQL expression of a source can give; the empty one is that of a detail."""
    words = re.findall(r"(?:^|then |else )'([^']*)'", expression)
    assert words, expression
    return set(words) - {""}


def test_every_row_of_the_table_is_a_kind_that_a_source_gives_and_the_other_way_round() -> None:
    from_sources = set().union(*(given(source.kind) for source in SOURCES))
    # privileges are no rows of a catalog: they are compared with the object they are of
    assert sorted(KINDS.keys() - {"grant"}) == sorted(from_sources)


def created(kind: str, whole: str) -> Change:
    """What is found where an object of ``kind`` was made as a part of one that was there."""
    key = (INHERITS, 40_000, 40_000, 0) if kind == "inheritance" else (1, 50_000, 0, 0)
    before = {TABLE: Row(whole, "poser_x", 0, None, "", "", 0, "")}
    [change] = difference(Catalog(before), Catalog({**before, key: Row(kind, "y", 0, TABLE, "", "", 0, "")}))
    return change


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: str(kind.name))
def test_the_formats_of_a_kind_can_be_filled(kind: Kind) -> None:
    change = created(kind.name, "table")
    assert change.identity.startswith(f"{kind.name} ")
    assert bool(change.undo()) == bool(kind.sql or kind.drop)


def test_a_column_is_dropped_as_its_whole_wants_it() -> None:
    statements = {name: created("column", name).undo() for name in KINDS}
    assert {name: undo for name, undo in statements.items() if undo} == {
        "table": ['ALTER TABLE "poser_x" DROP COLUMN "y";'],
        "foreign table": ['ALTER TABLE "poser_x" DROP COLUMN "y";'],
        "type": ['ALTER TYPE "poser_x" DROP ATTRIBUTE "y";'],
    }


def test_a_kind_that_is_not_in_the_table_is_nobody_s_and_is_not_dropped() -> None:
    gadget = kind_of("gadget")
    assert (gadget.name, gadget.prefixable, gadget.sql, gadget.drop) == ("gadget", False, "", "")


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_no_other_file_keeps_a_list_of_kinds(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.Tuple, ast.List, ast.Set)) and len(node.elts) > 1:
            words = {each.value for each in node.elts if isinstance(each, ast.Constant)}
            assert len(words) < len(node.elts) or not words <= KINDS.keys(), words
