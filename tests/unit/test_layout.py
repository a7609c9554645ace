"""The layout of the role's Python: ten wings on six floors, and imports that only go down."""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from conftest import ROLE

PACKAGE = ROLE / "module_utils" / "rattail_alembic"
FLOORS = (
    {"problem", "cores"},
    {"postgres", "host"},
    {"copies", "revisions", "config", "policy"},
    {"migration"},
    {"observe"},
    {"change", "authoring"},
)
FLOOR = {name: number for number, names in enumerate(FLOORS, 1) for name in names}
WINGS = sorted(set().union(*FLOORS[1:]))
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")


def wing(file: Path) -> str:
    """The wing of a file; of one at the root, its own name."""
    return file.parent.name if file.parent != PACKAGE else file.stem


def imported(file: Path) -> set[tuple[str, str]]:
    """What a file imports of the package, at its top or in a function: pairs of a wing and a file."""
    found: set[tuple[str, str]] = set()
    here = list(file.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        parts = [*here[: len(here) - node.level + 1], *(node.module or "").split(".")]
        parts = [part for part in parts if part]
        for alias in node.names:
            place, *rest = [*parts, alias.name]
            found.add((place, rest[0] if rest and place in WINGS else place))
    return found


def depths(name: str) -> dict[str, int]:
    """File of a wing → how many files of the wing stand above one another up to it. A circle is an error."""
    files = {path.stem: path for path in FILES if wing(path) == name}
    needs = {stem: {file for place, file in imported(path) if place == name} for stem, path in files.items()}
    found: dict[str, int] = {}
    for stem in TopologicalSorter(needs).static_order():
        found[stem] = 1 + max((found[each] for each in needs.get(stem, ())), default=0)
    return found


def test_the_wings_are_those_of_the_floors() -> None:
    assert sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py")) == WINGS
    assert {path.stem for path in PACKAGE.glob("*.py")} == FLOORS[0] | {"__init__"}


def test_the_package_says_which_wing_is_on_which_floor() -> None:
    told = ast.get_docstring(ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))) or ""
    for number, names in enumerate(FLOORS, 1):
        line = next(line for line in told.splitlines() if line.startswith(f"{number}  "))
        assert all(name in line for name in names), line


@pytest.mark.parametrize("file", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_only(file: Path) -> None:
    above = {place for place, _ in imported(file) if place != wing(file) and FLOOR[place] >= FLOOR[wing(file)]}
    assert above == set()


@pytest.mark.parametrize("file", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_fits_in_the_head(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("name", WINGS)
def test_a_wing_is_small_and_has_no_circle(name: str) -> None:
    found = depths(name)
    assert 0 < len(found) <= 10
    assert max(found.values()) <= 5


@pytest.mark.parametrize("name", WINGS)
def test_a_wing_s_own_file_is_a_docstring_and_nothing_else(name: str) -> None:
    tree = ast.parse((PACKAGE / name / "__init__.py").read_text(encoding="utf-8"))
    assert ast.get_docstring(tree) and len(tree.body) == 1


def users(*private: str) -> set[str]:
    return {path.stem for path in FILES for name in private if name in path.read_text().replace("self._connect", "")}


def test_only_one_file_uses_private_names_of_alembics() -> None:
    names = (
        "_upgrade_revs",
        "_downgrade_revs",
        "_stamp_revs",
        "_load_revisions",
        "_orig_branch_labels",
        "_get_ancestor_nodes",
        "_run_hooks",
        "_insert_version",
        "hook_config",
    )
    assert users(*names) == {"alembic_api"}


def test_only_one_file_uses_private_names_of_psycopg2_s() -> None:
    assert users("._connect") == {"connect_hook"}


def test_only_two_files_know_one_driver_from_the_other() -> None:
    """Docstrings and what a person is told apart."""
    named = r"(import|modules\[|load\(|==)\W*psycopg|\b(pgcode|mogrify|dsn_parameters|get_parameters|readonly|async_)\b"
    assert {path.stem for path in FILES if re.search(named, path.read_text())} <= {"driver", "connect_hook", "url"}
