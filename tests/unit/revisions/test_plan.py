"""From version rows to a state with a name."""

from __future__ import annotations

import pytest
from ansible.module_utils.rattail_alembic.revisions import plan
from ansible.module_utils.rattail_alembic.revisions.applied import Applied
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
        # all that the code wants is there
        (["c2", "p2", "x1"], True, "ahead", []),
        # p3 may come after p2, or in its place: what is pending is not known
        (["c2", "p3"], True, "diverged", []),
        (["c1", "p3"], True, "diverged", []),
        (["x1"], True, "diverged", []),
    ],
)
def test_states(rows: list[str], core_tables: bool, state: str, pending: list[str]) -> None:
    made = plan.make(GRAPH, rows, {}, core_tables=core_tables)
    assert made.state == state
    assert [each.revision for each in made.pending] == pending


@pytest.mark.parametrize(
    ("rows", "past", "state", "pending"),
    [
        # newer code was there
        (["c2", "p3"], {"p3": ["p2"]}, "ahead", []),
        (["c2", "p4"], {"p4": ["p3"], "p3": ["p2"]}, "ahead", []),
        (["p3"], {"p3": ["p2", "c2"]}, "ahead", []),
        # p2 took its place
        (["c2", "p3"], {"p3": ["p1"]}, "diverged", ["p2"]),
        (["c2", "p3"], {"p3": []}, "diverged", ["p1", "p2"]),
        # one branch is ahead, another one behind
        (["c1", "p3"], {"p3": ["p2"]}, "diverged", ["c2"]),
        (["c3", "p1"], {"c3": ["c2"]}, "diverged", ["p2"]),
        # it is known of all but one
        (["c2", "p4"], {"p4": ["p3"]}, "diverged", []),
        (["c2", "p3", "x1"], {"p3": ["p2"]}, "ahead", []),
        # what was kept of a file once was no more than its checksum
        (["c2", "p3"], {"p3": None}, "diverged", []),
        # no version row leads there
        (["c2", "p4"], {"p3": ["p2"]}, "diverged", []),
        (["p4", "p3"], {"p3": ["p4"], "p4": ["p3"]}, "diverged", ["c1", "c2", "p1", "p2"]),
    ],
)
def test_a_row_that_the_code_does_not_know_is_newer_where_that_is_shown(
    rows: list[str], past: dict[str, list[str] | None], state: str, pending: list[str]
) -> None:
    known = {name: Applied(None if down is None else tuple(down)) for name, down in past.items()}
    made = plan.make(GRAPH, rows, known, core_tables=True)
    assert made.state == state
    assert [each.revision for each in made.pending] == pending


def test_a_dependency_shows_it_by_its_label_too() -> None:
    for needs, state in (("rattail", "diverged"), ("poser", "diverged"), ("c9", "ahead"), ("newest", "ahead")):
        past = {"p3": Applied(("p2",), (needs,)), "c9": Applied(("c2",), (), ("newest",))}
        assert plan.make(GRAPH, ["p3"], past, core_tables=True).state == state, needs


def test_unknown_rows_are_named() -> None:
    assert plan.make(GRAPH, ["c2", "p3"], {}, core_tables=True).unknown == ("p3",)


def test_a_branch_that_another_depends_on_is_complete_without_a_row_of_its_own() -> None:
    graph = Graph(
        [
            revision("p1", label="poser", location="poser", depends_on=("c2",)),
            revision("c1", label="rattail"),
            revision("c2", "c1"),
        ]
    )
    assert plan.make(graph, ["p1"], {}, core_tables=True).state == "current"
    assert [each.revision for each in plan.make(graph, [], {}, core_tables=False).pending] == ["c1", "c2", "p1"]
