"""The role's result, and what of it a person is shown."""

from __future__ import annotations

from typing import Any

import rattail_schema_ext_result as role_result

LOOK: dict[str, Any] = {
    "state": "behind",
    "todo": ["source", "upgrade"],
    "refusals": [],
    "current_after": ["a"],
    "branches": [],
    "summary": ["poser on store: behind", "  pending: poser b add crates"],
    "source": {"before": "1", "after": "1", "wanted": "2"},
    "warnings": [],
}
AGAIN = {**LOOK, "state": "current", "current_after": ["b"], "summary": ["poser on store: current"]}


def applied(*, branch: str = "poser", name: str = "b", seconds: float | None = 0.126) -> dict[str, Any]:
    return {"branch": branch, "revision": name, "message": "add crates", "seconds": seconds}


def summary(upgrade: dict[str, Any], again: dict[str, Any] = AGAIN) -> list[str]:
    lines: list[str] = role_result.result(LOOK, upgrade, again)["summary"]
    return lines


def test_where_nothing_was_done_it_is_the_state() -> None:
    assert summary({}, {}) == LOOK["summary"]
    assert summary({"applied": [], "warnings": ["Waited 3 s."], "retries": 0, "backup_file": ""}) == AGAIN["summary"]


def test_what_was_done_follows_the_state() -> None:
    upgrade = {
        "changed": True,
        "applied": [applied(name="a", branch="rattail"), applied()],
        "retries": 2,
        "backup_file": "/srv/b.dump",
        "warnings": ["Revision b wrote rows.", "The file was edited."],
    }
    look = {**LOOK, "warnings": ["The file was edited."]}
    assert role_result.result(look, upgrade, AGAIN)["summary"] == [
        "poser on store: current",
        "  applied: rattail a add crates (0.13 s)",
        "  applied: poser b add crates (0.13 s)",
        "  begun again after a lock timeout: 2 times",
        "  backup: /srv/b.dump",
        "  warning: The file was edited.",
        "  warning: Revision b wrote rows.",
    ]


def test_a_revision_whose_time_nobody_took_is_named_all_the_same() -> None:
    assert "  applied: poser b add crates" in summary({"applied": [applied(seconds=None)]})


def test_of_a_branch_with_many_their_number_is_told() -> None:
    many = [applied(branch="rattail", name=f"r{number}", seconds=0.25) for number in range(11)]
    assert summary({"applied": [*many, applied()]})[1:] == [
        "  applied: rattail, 11 revisions to r10 (2.75 s)",
        "  applied: poser b add crates (0.13 s)",
    ]
    assert len(summary({"applied": many[:10]})[1:]) == 10


def test_what_check_mode_would_undo_is_not_told_as_done() -> None:
    assert summary({"reverted": [applied(seconds=None)]}, {}) == LOOK["summary"]
    assert summary({"reverted": [applied()]}) == ["poser on store: current", "  undone: poser b add crates (0.13 s)"]
