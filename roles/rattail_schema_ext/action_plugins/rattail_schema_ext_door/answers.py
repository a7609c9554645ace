# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Answers, put together from what modules said one after the other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields

from ansible.module_utils.rattail_alembic.observe.answer import Answer, Revision

# Of a branch with more revisions than these, people are told how many they were.
_LINES = 10


def after_change(before: Answer, change: Answer) -> Answer:
    """The answer so far, once a change was made: what only a change tells is from there, and where things are now."""
    for each in fields(Answer):
        if each.metadata["change"]:
            setattr(before, each.name, getattr(change, each.name))
    if before.state == "unknown":
        for name in ("pending", "heads", "current_before", "database"):
            setattr(before, name, getattr(change, name))
    return _now(before, change, change.summary)


def after_look(before: Answer, look: Answer) -> Answer:
    """The answer so far, once it was looked again."""
    return _now(before, look, look.summary)


def _now(before: Answer, now: Answer, summary: Iterable[str]) -> Answer:
    before.changed, before.msg = now.changed, now.msg
    before.state, before.state_reason = now.state, now.state_reason
    before.current_after, before.branches = now.current_after, now.branches
    before.source.after = now.source.after
    before.problems = now.problems
    before.warn(*now.warnings)
    before.summary = [*summary, *_done(before)]
    return before


def _done(answer: Answer) -> list[str]:
    """What was done, in a few lines for a person; none where it was nothing."""
    # Check mode names what would be undone, and can know no seconds.
    undone = [each for each in answer.reverted if each.seconds is not None]
    lines = _revisions("applied", answer.applied) + _revisions("undone", undone)
    if answer.retries:
        lines.append(f"  begun again after a lock timeout: {answer.retries} times")
    if answer.backup:
        lines.append(f"  backup: {answer.backup.file}")
    return lines + [f"  warning: {warning}" for warning in answer.warnings] if lines else []


def _revisions(what: str, done: Iterable[Revision]) -> list[str]:
    """A line for each revision, or for a branch that has many of them."""
    branches: dict[str, list[Revision]] = {}
    for each in done:
        branches.setdefault(each.branch, []).append(each)
    lines = []
    for branch, revisions in branches.items():
        if len(revisions) > _LINES:
            seconds = sum(each.seconds or 0.0 for each in revisions)
            last = revisions[-1].revision
            lines.append(f"  {what}: {branch}, {len(revisions)} revisions to {last} ({seconds:.2f} s)")
            continue
        for each in revisions:
            took = "" if each.seconds is None else f" ({each.seconds:.2f} s)"
            lines.append(f"  {what}: {branch} {each.revision} {each.message}{took}")
    return lines
