"""What Alembic says of revision files, and the same files as `graph` takes them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from alembic.runtime.migration import HeadMaintainer, MigrationContext
from alembic.script import ScriptDirectory
from ansible.module_utils.rattail_alembic.revisions.graph import Graph, RevisionFile, is_revision_file
from sqlalchemy import create_engine  # type: ignore[import-untyped,unused-ignore]  # 1.4 has no types


def script_directory(home: Path, locations: Sequence[str | Path]) -> ScriptDirectory:
    return ScriptDirectory(str(home), version_locations=[str(location) for location in locations])


def revision_files(location: str, directory: Path) -> list[RevisionFile]:
    return [
        RevisionFile(str(directory / name), location, (directory / name).read_bytes().decode())
        for name in sorted(os.listdir(directory))
        if is_revision_file(name)
    ]


def row_sets(scripts: ScriptDirectory, every: int = 1) -> list[tuple[str, ...]]:
    """The rows that Alembic keeps in a real version table on the way from nothing to the heads."""
    engine = create_engine("sqlite://", future=True)
    try:
        with engine.connect() as connection:
            context = MigrationContext.configure(connection)
            context._ensure_version_table()
            maintainer = HeadMaintainer(context, ())
            found: list[tuple[str, ...]] = [()]
            steps = scripts._upgrade_revs("heads", ())  # type: ignore[arg-type]
            for count, step in enumerate(steps, start=1):
                maintainer.update_to_step(step)
                if count % every == 0 or count == len(steps):
                    found.append(context.get_current_heads())
            return found
    finally:
        engine.dispose()


def upgrade_order(scripts: ScriptDirectory, rows: Iterable[str]) -> list[str]:
    steps: Any = scripts._upgrade_revs("heads", tuple(rows))  # type: ignore[arg-type]
    return [step.revision.revision for step in steps]


def assert_same_graph(graph: Graph, scripts: ScriptDirectory) -> None:
    assert list(graph.revisions) == [script.revision for script in scripts._load_revisions()]
    assert graph.heads == tuple(scripts.get_heads())
    for name, revision in graph.revisions.items():
        script = scripts.get_revision(name)
        assert graph.ancestors([name]) == {r.revision for r in scripts.iterate_revisions(name, "base")}
        assert revision.message == script.doc
        assert Path(revision.path).samefile(script.path)


def assert_same_upgrade(graph: Graph, scripts: ScriptDirectory, rows: tuple[str, ...]) -> None:
    order = upgrade_order(scripts, rows)
    assert graph.pending(rows) == frozenset(order)
    assert [revision.revision for revision in graph.ordered(rows)] == order
    assert graph.overlapping(rows) == ()
    assert graph.unknown(rows) == ()
