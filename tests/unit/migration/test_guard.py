"""The SQL of a revision, as a person is shown it."""

from __future__ import annotations

from ansible.module_utils.rattail_alembic.migration.child import Statements


def test_each_is_one_line_without_the_password_of_a_url() -> None:
    statements = Statements(bounded=True)
    statements.add("create table\n    poser_x ()\n")
    statements.add("select dblink('postgresql://rattail:opensesame@db1/poser')")
    first, second = statements.take()
    assert first == "create table poser_x ()"
    assert "opensesame" not in second and "rattail:" in second
    assert statements.take() == []


def test_what_is_too_long_is_cut_after_it_is_masked() -> None:
    statements = Statements(bounded=True)
    statements.add("x" * 1_970 + " postgresql://rattail:opensesame@db1/poser")
    [text] = statements.take()
    assert text.endswith(" …") and len(text) <= 2_002 and "opens" not in text


def test_what_is_too_much_is_counted_for_each_revision_and_for_all() -> None:
    statements = Statements(bounded=True)
    taken = []
    for _ in range(15):
        for _ in range(30):
            statements.add("y" * 1_000)
        taken.append(statements.take())
    assert [len(each) for each in taken] == [21] * 10 + [1] * 5
    assert (taken[0][-1], taken[-1]) == ("-- and 10 more", ["-- and 30 more"])
    everything = Statements(bounded=False)
    for _ in range(30):
        everything.add("y" * 3_000)
    assert [len(each) for each in everything.take()] == [3_000] * 30
