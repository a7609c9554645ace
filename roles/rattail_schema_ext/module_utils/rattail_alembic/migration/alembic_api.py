# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The app's own Alembic: its Config, its ScriptDirectory and its ``env.py``. To be called in a child (``child``).

The only file that uses private names of Alembic's, each for want of a public way to the same, and each held by a test.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType, SimpleNamespace
from typing import Any


def alembic_config(config_file: str, options: Mapping[str, str]) -> Any:
    """Alembic's Config of the file, with ``options`` of ``[alembic]`` (raw, as in a file) put over it."""
    from alembic.config import Config

    config = Config(config_file)
    for name, value in options.items():
        config.set_main_option(name, value)
    return config


class _FromText(SourceFileLoader):
    """Runs the text of a file, which is what was read, even where bytecode of something else was put beside it."""

    def get_code(self, fullname: str) -> Any:  # noqa: ARG002  importlib's
        return self.source_to_code(self.get_data(self.path), self.path)


def _load(module_id: str, path: str | os.PathLike[str]) -> ModuleType:
    """``load_module_py`` of Alembic's. What pip installed has bytecode of pip's, which saves a third of a second."""
    own = str(path).endswith(".py") and "/site-packages/" not in str(path)
    spec = spec_from_file_location(module_id, path, loader=_FromText(module_id, str(path)) if own else None)
    assert spec and spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def script_directory(config: Any, directories: Sequence[str] = ()) -> Any:
    """Alembic's ScriptDirectory, with other version locations than the config file's where some are given."""
    from alembic.script import ScriptDirectory
    from alembic.util import pyfiles

    pyfiles.load_module_py = _load
    script = ScriptDirectory.from_config(config)
    if directories:
        script.version_locations = list(directories)
    return script


def run_env(
    config: Any,
    steps: Any,
    *,
    destination: str | tuple[str, ...] = "heads",
    directories: Sequence[str] = (),
    **options: Any,
) -> None:
    """Run the app's ``env.py`` with ``steps(script, rows, context)`` as what is to be done.

    :param directories: see :func:`script_directory`.
    :param options: more for the EnvironmentContext. With ``dont_mutate`` an empty database gets no version table.
    """
    from alembic.runtime.environment import EnvironmentContext

    script = script_directory(config, directories)
    fn = partial(steps, script)
    with EnvironmentContext(config, script, fn=fn, starting_rev=None, destination_rev=destination, **options):
        script.run_env()


def steps_to(script: Any, destination: Any, rows: Any, *, downward: bool) -> list[Any]:
    """The steps that ``alembic upgrade`` or ``alembic downgrade`` would go, in their order."""
    find = script._downgrade_revs if downward else script._upgrade_revs
    return list(find(destination, rows))


def steps_to_stamp(script: Any, destination: tuple[str, ...], rows: Any) -> list[Any]:
    """The steps that ``alembic stamp`` would go."""
    return list(script._stamp_revs(destination, rows))


def undo(revision_map: Any, rows: Sequence[str], destination: str) -> tuple[list[str], set[str]]:
    """The revisions that ``alembic downgrade`` would undo, in order, and the version rows that it would leave.

    None, and the rows as they are, where it sees no way there.
    """
    from alembic.runtime.migration import HeadMaintainer, RevisionStep
    from alembic.script.revision import RevisionError

    class Rows(HeadMaintainer):
        """Without a database."""

        def _insert_version(self, version: str) -> None:
            self.heads.add(version)

        def _delete_version(self, version: str) -> None:
            self.heads.remove(version)

        def _update_version(self, from_: str, to_: str) -> None:
            self.heads.remove(from_)
            self.heads.add(to_)

    kept, undone = Rows(None, rows), []  # type: ignore[arg-type]  # its context is only for the database
    try:
        steps = list(revision_map.iterate_revisions(tuple(rows), destination, select_for_downgrade=True))
    except RevisionError:
        steps = []
    for each in steps:
        each.module = SimpleNamespace(downgrade=None)
        kept.update_to_step(RevisionStep(revision_map, each, is_upgrade=False))
        undone.append(each.revision)
    return undone, kept.heads


def applied(script: Any, rows: Sequence[str]) -> set[str]:
    """The revisions that the version rows imply, by ``down_revision`` and ``depends_on``."""
    revisions = script.revision_map
    return {each.revision for each in revisions._get_ancestor_nodes(revisions.get_revisions(rows))}


def loaded(script: Any) -> list[Any]:
    """The scripts in the order in which Alembic loads them, which decides in which order independent bases run."""
    return list(script._load_revisions())


def declared_labels(script: Any) -> list[str]:
    """The branch labels that a file has, without those that it has from others of its branch."""
    return sorted(script._orig_branch_labels)


def take_hooks(script: Any) -> Any:
    """Take the hooks of ``[post_write_hooks]`` from a ScriptDirectory, which then runs none on what it generates."""
    name = "hooks" if hasattr(script, "hooks") else "hook_config"  # the latter before Alembic 1.16
    hooks = getattr(script, name)
    setattr(script, name, type(hooks)())
    return hooks


def run_hooks(path: str, hooks: Any) -> None:
    """Run such hooks on a file."""
    from alembic.script.write_hooks import _run_hooks

    if hooks:
        _run_hooks(path, hooks)
