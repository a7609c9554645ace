#!/usr/bin/env python3
# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Build dist/rattail-schema_ext-VERSION.tar.gz, a collection with this role, its modules and its playbooks.

The sources are the role's. In a collection plugins lie elsewhere and have qualified names, so files are moved and names
replaced on the way; a name that is not found where it is expected is an error.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
ROLE = ROOT / "roles" / "rattail_schema_ext"
NAMESPACE, NAME = "rattail", "schema_ext"
QUALIFIED = f"{NAMESPACE}.{NAME}"
PLUGINS = f"ansible_collections.{QUALIFIED}.plugins"
DOOR = "rattail_schema_ext_door"
# Directory of the role → where it lies in the collection.
PLACES = {
    **{name: f"roles/{ROLE.name}/{name}" for name in ("defaults", "handlers", "meta", "tasks", "templates", "vars")},
    "library": "plugins/modules",
    "module_utils": "plugins/module_utils",
    "action_plugins": "plugins/action",
}
PLAYBOOKS = ("baseline.yml", "revert.yml", "revision.yml", "status.yml", "shared")

# What tasks call.
MODULES = "rattail_(?:alembic(?:_config|_info)?|schema_ext_(?:run|fetch|template))"
# Pattern of files → what is replaced in them, as regular expressions, and how.
REPLACED: dict[str, list[tuple[str, str]]] = {
    "plugins/modules/*.py": [(r"ansible\.module_utils\.(?=rattail_alembic)", f"{PLUGINS}.module_utils.")],
    "plugins/action/*.py": [
        (r"import sys\nfrom pathlib import Path\n\n# Ansible loads (.|\n)*?append.*\n\n", ""),
        (rf"(?<=^from ){DOOR}", f"{PLUGINS}.plugin_utils.{DOOR}"),
    ],
    f"plugins/plugin_utils/{DOOR}/[!_]*.py": [
        (r"ansible\.module_utils\.(?=rattail_alembic)", f"{PLUGINS}.module_utils."),
    ],
    f"plugins/plugin_utils/{DOOR}/__init__.py": [
        (r"\nimport ansible\.module_utils\n", ""),
        (r"parents\[2\]\n(.|\n)*", f'parents[3] / "roles" / "{ROLE.name}"\n'),
    ],
    f"plugins/plugin_utils/{DOOR}/door.py": [(r'_execute\("(?=rattail_alembic")', f'_execute("{QUALIFIED}.')],
    f"roles/{ROLE.name}/tasks/*.yml": [
        (
            r"^( *)(?=rattail_(?:alembic|alembic_config|alembic_info|schema_ext_(?:run|fetch|template)):$)",
            rf"\1{QUALIFIED}.",
        ),
    ],
}


def version() -> str:
    """The version that the changelog begins with."""
    found = re.search(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    return found[1]


def fill(directory: Path) -> None:
    """Put the collection's sources into a directory.

    :raises LookupError: where nothing is to be replaced in files in which something was.
    """
    unwanted = shutil.ignore_patterns("__pycache__", ".*")
    for name, place in PLACES.items():
        shutil.copytree(ROLE / name, directory / place, ignore=unwanted)
    (directory / "plugins" / "plugin_utils").mkdir()
    shutil.move(directory / "plugins" / "action" / DOOR, directory / "plugins" / "plugin_utils" / DOOR)
    for name in PLAYBOOKS:
        source, target = ROOT / "playbooks" / name, directory / "playbooks" / name
        target.parent.mkdir(exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    for source in (ROOT / "LICENSE", ROOT / "CHANGELOG.md", ROLE / "README.md"):
        shutil.copy(source, directory)
    shutil.copy(ROLE / "README.md", directory / "roles" / ROLE.name)
    for pattern, replacements in REPLACED.items():
        for old, new in replacements:
            if not sum(_replace(path, old, new) for path in directory.glob(pattern)):
                raise LookupError(f"{pattern}: nothing matches {old}")
    for path, content in _about():
        (directory / path).parent.mkdir(exist_ok=True)
        (directory / path).write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def _replace(path: Path, old: str, new: str) -> int:
    text, count = re.subn(old, new, path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    path.write_text(text, encoding="utf-8")
    return count


def _about() -> Iterator[tuple[str, dict[str, object]]]:
    about = yaml.safe_load((ROLE / "meta" / "main.yml").read_text(encoding="utf-8"))["galaxy_info"]
    yield "meta/runtime.yml", {"requires_ansible": f">={about['min_ansible_version']}.0"}
    yield (
        "galaxy.yml",
        {
            "namespace": NAMESPACE,
            "name": NAME,
            "version": version(),
            "readme": "README.md",
            "authors": [about["author"]],
            "description": about["description"],
            "license": [about["license"]],
            "tags": about["galaxy_tags"],
            "build_ignore": ["galaxy.yml"],
        },
    )


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="collection_") as scratch:
        fill(Path(scratch))
        program = Path(sys.executable).with_name("ansible-galaxy")
        command = [str(program), "collection", "build", scratch, "--output-path", str(ROOT / "dist"), "--force"]
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
