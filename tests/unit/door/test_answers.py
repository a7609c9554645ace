"""Answers, put together from what modules said one after the other."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.rattail_alembic.observe.answer import Answer, Backup, Revision
from rattail_schema_ext_door.answers import after_change, after_look
from rattail_schema_ext_door.believed import built

OLD, NEW = "1" * 40, "2" * 40
LOOK: dict[str, Any] = {
    "state": "behind",
    "todo": ["source", "upgrade"],
    "current_after": ["a"],
    "summary": ["poser on store: behind", "  pending: poser b add crates"],
    "source": {"before": OLD, "after": OLD, "wanted": NEW},
}
AGAIN = {**LOOK, "state": "current", "todo": [], "current_after": ["b"], "summary": ["poser on store: current"]}


def applied(*, branch: str = "poser", name: str = "b", seconds: float | None = 0.126) -> Revision:
    return Revision(branch=branch, revision=name, message="add crates", seconds=seconds)


def summary(change: Answer) -> list[str]:
    before = after_change(built(Answer, LOOK), change)
    return after_look(before, built(Answer, AGAIN)).summary


def test_where_nothing_was_done_it_is_the_state() -> None:
    assert summary(Answer(warnings=["Waited 3 s."])) == AGAIN["summary"]


def test_what_was_done_follows_the_state() -> None:
    change = Answer(
        changed=True,
        applied=[applied(name="a", branch="rattail"), applied()],
        retries=2,
        backup=Backup(file="/srv/b.dump"),
        warnings=["The file was edited.", "Revision b wrote rows."],
    )
    assert summary(change) == [
        "poser on store: current",
        "  applied: rattail a add crates (0.13 s)",
        "  applied: poser b add crates (0.13 s)",
        "  begun again after a lock timeout: 2 times",
        "  backup: /srv/b.dump",
        "  warning: The file was edited.",
        "  warning: Revision b wrote rows.",
    ]


def test_a_revision_whose_time_nobody_took_is_named_all_the_same() -> None:
    assert "  applied: poser b add crates" in summary(Answer(applied=[applied(seconds=None)]))


def test_of_a_branch_with_many_their_number_is_told() -> None:
    many = [applied(branch="rattail", name=f"r{number}", seconds=0.25) for number in range(11)]
    assert summary(Answer(applied=[*many, applied()]))[1:] == [
        "  applied: rattail, 11 revisions to r10 (2.75 s)",
        "  applied: poser b add crates (0.13 s)",
    ]
    assert len(summary(Answer(applied=many[:10]))[1:]) == 10


def test_what_check_mode_would_undo_is_not_told_as_done() -> None:
    assert summary(Answer(reverted=[applied(seconds=None)])) == AGAIN["summary"]
    assert summary(Answer(reverted=[applied()])) == ["poser on store: current", "  undone: poser b add crates (0.13 s)"]


def test_the_first_look_knows_what_was_wanted_and_the_last_one_where_things_are() -> None:
    change = built(Answer, {**AGAIN, "source": {"before": NEW, "after": NEW, "wanted": NEW}, "retries": 1})
    found = after_change(built(Answer, LOOK), change)
    assert (found.todo, found.state, found.current_after) == (["source", "upgrade"], "current", ["b"])
    assert (found.source.before, found.source.after, found.retries) == (OLD, NEW, 1)
