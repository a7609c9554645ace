"""Version locations, held against the directories that Alembic resolves them to."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import pytest
from alembic.util import coerce_resource_to_filename
from ansible.module_utils.rattail_alembic.host import environment
from ansible.module_utils.rattail_alembic.problem import Refused
from ansible.module_utils.rattail_alembic.revisions import locations


def resolve(spec: str, **options: object) -> locations.Location:
    given: dict[str, object] = {
        "config_file": "/srv/envs/poser/app/rattail.conf",
        "working_dir": "/srv/envs/poser",
        "package_directory": environment.package_directory,
        **options,
    }
    return locations.resolve(spec, **given)  # type: ignore[arg-type]  # the table hands over what a test needs


@pytest.mark.parametrize(
    "spec", ["rattail.db:alembic/versions", "rattail_corepos.db:alembic/versions", "rattail:db:alembic", "/abs/olute"]
)
def test_as_alembic_resolves(spec: str) -> None:
    assert resolve(spec).directory == str(coerce_resource_to_filename(spec))


def test_a_relative_path_counts_from_the_working_directory() -> None:
    assert resolve("more/versions").directory == "/srv/envs/poser/more/versions"


def test_here_is_the_config_files_directory() -> None:
    assert resolve("%(here)s/versions").directory == "/srv/envs/poser/app/versions"
    assert resolve("/100%%/versions").directory == "/100%/versions"


def test_another_interpolation_is_refused() -> None:
    with pytest.raises(Refused) as caught:
        resolve("%(elsewhere)s/versions")
    assert caught.value.problem.code == "location_interpolation"


def test_a_package_that_is_not_there_leads_nowhere() -> None:
    found = resolve("no_such_package.db:alembic/versions")
    assert (found.package, found.directory, found.relative) == ("no_such_package.db", "", None)


@pytest.mark.parametrize("root", ["", "src/"])
def test_the_apps_own_package_is_found_in_its_source_before_it_is_installed(root: str) -> None:
    found = resolve(
        "poser.db:alembic/versions",
        source_dir="/srv/src/poser",
        source_files=["README.md", f"{root}poser/__init__.py", f"{root}poser/db/__init__.py"],
    )
    assert found.relative == f"{root}poser/db/alembic/versions"
    assert found.directory == f"/srv/src/poser/{root}poser/db/alembic/versions"


@pytest.mark.parametrize("root", ["", "src/"])
@pytest.mark.parametrize("sign", ["acme/poser/__init__.py", "acme/poser/db/__init__.py", "acme/poser/db"])
def test_a_package_whose_parents_are_no_files_is_found(root: str, sign: str) -> None:
    found = resolve("acme.poser.db:alembic/versions", source_dir="/srv/src/poser", source_files=[f"{root}{sign}"])
    assert found.relative == f"{root}acme/poser/db/alembic/versions" and found.name == "acme.poser"
    # another one that shares the name above
    assert resolve("acme.till.db:alembic/versions", source_dir="/srv/src/poser", source_files=[root + sign]).name
    assert not resolve("acme.till.db:versions", source_dir="/srv/src/poser", source_files=[root + sign]).directory


def test_a_plain_path_inside_the_source_is_part_of_it(tmp_path: Path) -> None:
    found = resolve(f"{tmp_path}/link/versions", source_dir=str(tmp_path))
    assert found.relative == "link/versions"
    assert resolve("/elsewhere", source_dir=str(tmp_path)).relative is None


def test_nothing_is_imported_to_find_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "explosive" / "db"
    package.mkdir(parents=True)
    for name in ("explosive/__init__.py", "explosive/db/__init__.py"):
        (tmp_path / name).write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    assert resolve("explosive.db:versions").directory == str(package / "versions")
    assert "explosive" not in sys.modules


def test_names_come_as_alembic_walks_them(tmp_path: Path) -> None:
    for name in ("b.py", "a.py", "z/d.py", "c/d.py", "__pycache__/a.pyc"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert list(locations.names_in(str(tmp_path))) == ["a.py", "b.py"]
    assert list(locations.names_in(str(tmp_path), recursive=True)) == ["a.py", "b.py", "c/d.py", "z/d.py"]
    files = [f"poser/versions/{os.path.relpath(path, tmp_path)}" for path in tmp_path.rglob("*.py*") if path.is_file()]
    for recursive in (False, True):
        below = list(locations.names_below([*files, "poser/other.py"], "poser/versions", recursive=recursive))
        assert below == list(locations.names_in(str(tmp_path), recursive=recursive))
