# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The role's result, from what its modules said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible.plugins.lookup import LookupBase

DOCUMENTATION = r"""
name: rattail_schema_ext_result
short_description: The result of the role rattail_schema_ext
version_added: 1.0.0
description:
  - Puts together what the role's modules said one after the other.
author:
  - rattail_schema_ext contributors
options:
  _terms:
    description:
      - The first look, the result of the module that changes the database, and the look after the run.
      - The second and the third are empty where there was none.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Hand over what was seen
  ansible.builtin.set_fact:
    rattail_schema_ext_result: "{{ lookup('rattail_schema_ext_result', look, {}, {}) }}"
"""

RETURN = r"""
_raw:
  description: The result, as the role's README describes it.
  type: list
  elements: dict
"""

# What only the module that changes the database can tell; the look has empty values of those that are always there.
OF_THE_UPGRADE = frozenset({
    "applied", "lock", "retries", "blockers", "backup_file", "backup", "rehearsal", "violations", "data", "drift",
    "failed_revision", "partial", "reverted", "stamped", "revision", "left_out", "review",
})  # fmt: skip
# Of these, what shows that nothing but that module was at work: the phases to do stay to be done.
ALONE = frozenset({"reverted", "stamped", "revision"})
# Of a branch with more revisions than these, people are told how many they were.
_LINES = 10


def result(look: Mapping[str, Any], upgrade: Mapping[str, Any], again: Mapping[str, Any]) -> dict[str, Any]:
    """The role's result: what was seen first, what was applied, and how things stand now.

    :param look: the first look.
    :param upgrade: the upgrade's result; empty where there was none.
    :param again: the look after the run; empty where there was none.
    """
    now = again or upgrade or look
    warnings = [*look.get("warnings", []), *upgrade.get("warnings", [])]
    kept = {name: value for name, value in look.items() if name not in ("failed", "failed_when_result", "refusals")}
    return {
        **kept,
        **{name: value for name, value in upgrade.items() if name in OF_THE_UPGRADE},
        "state": now.get("state", look["state"]),
        "current_after": now.get("current_after", look["current_after"]),
        "branches": now.get("branches", look["branches"]),
        "summary": [*now.get("summary", look["summary"]), *_done(upgrade, warnings)],
        "source": {**look["source"], "after": now.get("source", look["source"])["after"]},
        "changed": bool(upgrade.get("changed")) or (bool(look["todo"]) and not ALONE & upgrade.keys()),
        "warnings": warnings,
    }


def _done(upgrade: Mapping[str, Any], warnings: Iterable[str]) -> list[str]:
    """What was done, in a few lines for a person; none where it was nothing."""
    # Check mode names what would be undone, and can know no seconds.
    undone = [each for each in upgrade.get("reverted", []) if each["seconds"] is not None]
    lines = _revisions("applied", upgrade.get("applied", [])) + _revisions("undone", undone)
    if upgrade.get("retries"):
        lines.append(f"  begun again after a lock timeout: {upgrade['retries']} times")
    if upgrade.get("backup_file"):
        lines.append(f"  backup: {upgrade['backup_file']}")
    return lines + [f"  warning: {warning}" for warning in dict.fromkeys(warnings)] if lines else []


def _revisions(what: str, done: Iterable[Mapping[str, Any]]) -> list[str]:
    """A line for each revision, or for a branch that has many of them."""
    branches: dict[str, list[Mapping[str, Any]]] = {}
    for each in done:
        branches.setdefault(each["branch"], []).append(each)
    lines = []
    for branch, revisions in branches.items():
        if len(revisions) > _LINES:
            seconds = sum(each["seconds"] or 0.0 for each in revisions)
            lines.append(
                f"  {what}: {branch}, {len(revisions)} revisions to {revisions[-1]['revision']} ({seconds:.2f} s)"
            )
            continue
        for each in revisions:
            took = "" if each["seconds"] is None else f" ({each['seconds']:.2f} s)"
            lines.append(f"  {what}: {branch} {each['revision']} {each['message']}{took}")
    return lines


class LookupModule(LookupBase):  # type: ignore[misc]
    """``lookup('rattail_schema_ext_result', look, upgrade, again)``."""

    def run(self, terms: list[Any], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[dict[str, Any]]:
        """One result: :func:`result`."""
        self.set_options(var_options=variables, direct=kwargs)
        look, upgrade, again = terms
        return [result(look, upgrade, again)]
