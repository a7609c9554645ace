"""One direction: a file of the role's Python imports only from those that come before it."""

from __future__ import annotations

import ast
from pathlib import Path

from conftest import ROLE

PACKAGE = ROLE / "module_utils" / "rattail_alembic"
ORDER = ast.get_docstring(ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))) or ""
FILES = ORDER.partition(":\n")[2].rstrip(".").replace("\n", " ").split(", ")


def imported(file: Path) -> set[str]:
    """The files of the package that one imports, at its top or in a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            found |= {node.module} if node.module else {name.name for name in node.names}
    return found


def test_the_order_names_every_file_once() -> None:
    assert sorted(FILES) == sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")


def test_no_file_imports_from_one_below_it() -> None:
    for number, name in enumerate(FILES):
        assert imported(PACKAGE / f"{name}.py") <= set(FILES[:number]), name


def test_contributing_tells_of_every_file() -> None:
    text = (ROLE.parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert [name for name in FILES if f"`{name}`" not in text] == []


def test_only_one_file_uses_private_names_of_alembics() -> None:
    private = (
        "_upgrade_revs",
        "_downgrade_revs",
        "_stamp_revs",
        "_load_revisions",
        "_orig_branch_labels",
        "_get_ancestor_nodes",
        "_run_hooks",
    )
    users = {path.stem for path in PACKAGE.glob("*.py") for name in private if name in path.read_text()}
    assert users == {"app_alembic"}


def test_only_one_file_uses_private_names_of_psycopg2_s() -> None:
    users = {path.stem for path in PACKAGE.glob("*.py") if "._connect" in path.read_text().replace("self._connect", "")}
    assert users == {"interception"}
