"""From version rows to a state with a name."""

from __future__ import annotations

import pytest
from ansible.module_utils.rattail_alembic.revisions import plan
from ansible.module_utils.rattail_alembic.revisions.graph import Graph, Revision


def revision(
    name: str, *down: str, label: str = "", location: str = "core", depends_on: tuple[str, ...] = ()
) -> Revision:
    labels = (label,) if label else ()
    return Revision(name, down, labels, depends_on, f"make {name}", f"/{location}/{name}.py", location)


# Alembic reads the app's location first, and so applies core's branch first.
GRAPH = Graph(
    [
        revision("p1", label="poser", location="poser"),
        revision("p2", "p1", location="poser"),
        revision("c1", label="rattail"),
        revision("c2", "c1"),
    ]
)


@pytest.mark.parametrize(
    ("rows", "core_tables", "state", "pending"),
    [
        ([], False, "empty", ["c1", "c2", "p1", "p2"]),
        ([], True, "unstamped", ["c1", "c2", "p1", "p2"]),
        (["c2", "p2"], True, "current", []),
        (["c2"], True, "behind", ["p1", "p2"]),
        (["c1"], True, "behind", ["c2", "p1", "p2"]),
        (["c2", "p1"], True, "behind", ["p2"]),
        # The newer code's p3 took the place of p2 in the version table, so poser's branch is there.
        (["c2", "p3"], True, "ahead", []),
        (["c1", "p3"], True, "diverged", ["c2"]),
        (["c2", "p2", "x1"], True, "ahead", []),
        (["x1"], True, "ahead", []),
    ],
)
def test_states(rows: list[str], core_tables: bool, state: str, pending: list[str]) -> None:
    made = plan.make(GRAPH, rows, core_tables=core_tables)
    assert made.state == state
    assert [each.revision for each in made.pending] == pending


def test_unknown_rows_are_named() -> None:
    assert plan.make(GRAPH, ["c2", "p3"], core_tables=True).unknown == ("p3",)


def test_a_branch_that_another_depends_on_is_complete_without_a_row_of_its_own() -> None:
    graph = Graph(
        [
            revision("p1", label="poser", location="poser", depends_on=("c2",)),
            revision("c1", label="rattail"),
            revision("c2", "c1"),
        ]
    )
    assert plan.make(graph, ["p1"], core_tables=True).state == "current"
    assert [each.revision for each in plan.make(graph, [], core_tables=False).pending] == ["c1", "c2", "p1"]
