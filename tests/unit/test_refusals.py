"""The codes of refusals: each is raised in one place, and stands in docs/refusals.md."""

from __future__ import annotations

import ast
import re
from collections import defaultdict

from conftest import ROLE, ROOT

PACKAGE = ROLE / "module_utils" / "rattail_alembic"
PAGE = (ROOT / "docs" / "refusals.md").read_text(encoding="utf-8")


def raised() -> dict[str, list[str]]:
    """Each code → the places where it is raised. One that is passed on has the name of the expression for its code."""
    found = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "Refused":
                code = (*node.args, *(each.value for each in node.keywords))[0]
                name = str(code.value) if isinstance(code, ast.Constant) else ast.unparse(code)
                found[name].append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
    return found


CODES = {name: places for name, places in raised().items() if name.isidentifier()}
PASSED_ON = raised().keys() - CODES


def documented() -> list[list[str]]:
    """The codes of each table of the page, in its order."""
    return [
        re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE) for part in re.split(r"^## .*$", PAGE, flags=re.MULTILINE)
    ]


def test_each_code_is_in_the_docs_and_no_other() -> None:
    assert len(CODES) > 100
    assert sorted(code for part in documented() for code in part) == sorted(CODES)


def test_the_tables_are_sorted() -> None:
    assert [sorted(part) for part in documented()] == documented()


def test_each_code_is_raised_in_one_place() -> None:
    assert {name: places for name, places in CODES.items() if len(places) > 1} == {}


def test_any_other_code_is_one_that_was_raised_elsewhere() -> None:
    assert all(re.search(r"\.code$|\['(code|problem)'\]$", name) for name in PASSED_ON), PASSED_ON
