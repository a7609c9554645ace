# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An observation in the words of the modules' results."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ..problem import mask
from ..revisions import plan
from ..revisions.graph import Graph
from ..revisions.locations import standard
from .observation import Observation

# What an earlier task of the real run may yet make, so that check mode must not stumble over it.
NOT_THERE_YET = frozenset({"user_unknown", "environment_missing", "config_missing"})
_LINES = 10


def result(seen: Observation, *, check_mode: bool = False) -> dict[str, Any]:
    """The observation as the modules return it.

    :param check_mode: do not refuse over what an earlier task of the real run would have made.
    """
    absent = check_mode and all(problem.code in NOT_THERE_YET for problem in seen.problems)
    state, reason = (seen.plan.state, "") if seen.plan else (plan.UNKNOWN, _first_cause(seen))
    rows = list(seen.plan.rows) if seen.plan else []
    warnings = list(dict.fromkeys(seen.warnings))
    if absent and seen.problems:
        warnings.append(f"Nothing can be told yet: {seen.problems[0].cause}")
    return {
        "changed": False,
        "state": state,
        "state_reason": reason,
        "heads": list(seen.graph.heads) if seen.graph else [],
        "current_before": rows,
        "current_after": rows,
        "pending": pending(seen),
        "applied": [],
        "lock": {},
        "retries": 0,
        "backup_file": "",
        "violations": [],
        "data": [],
        "drift": [],
        "branches": _branches(seen),
        "database": seen.contents.identity if seen.contents else {},
        "source": {
            "directory": seen.request.source_dir if seen.request.source_enabled else "",
            "before": seen.checkout.commit,
            "after": seen.checkout.commit,
            "wanted": seen.wanted.commit if seen.wanted else seen.checkout.commit,
            "branch": seen.checkout.branch,
            "version": _version_for_git(seen),
            "moved_tags": seen.moved_tags,
            "restore": _way_back(seen),
        },
        "config": {
            "path": seen.request.config_file,
            "owner": seen.config_owner,
            "section": seen.section.as_dict() if seen.section else {},
            "reasons": list(seen.section.reasons) if seen.section else [],
        },
        "versions": _versions_directory(seen),
        "install_reason": seen.install_reason,
        "alembic_version": seen.alembic,
        "python": sys.executable,
        "fast_path": seen.fast_path,
        "todo": seen.todo,
        "problems": [problem.as_dict() for problem in seen.problems],
        "refusals": [] if absent else [str(problem) for problem in seen.problems],
        "warnings": [mask(warning) for warning in warnings],
        "summary": _summary(seen, state),
    }


def _version_for_git(seen: Observation) -> str:
    """What git is asked for: by branch or tag, where the version wanted is one, else by the commit in full.

    Never by ``HEAD``: of that a clone remembers what it meant when it was made.
    """
    target = seen.wanted
    if target is None:
        return ""
    return target.branch or (target.commit if target.ref in ("", "HEAD") else seen.request.source_version)


def _way_back(seen: Observation) -> list[str]:
    """The arguments of git that bring the checkout back to where it is now, on its branch or detached."""
    here = seen.checkout
    if not here.commit:
        return []
    return ["checkout", "--quiet", *(["-B", here.branch] if here.branch else ["--detach"]), here.commit]


def _first_cause(seen: Observation) -> str:
    return seen.problems[0].cause if seen.problems else ""


def _versions_directory(seen: Observation) -> str:
    ours = standard(seen.request.app)
    return next((location.directory for location in seen.locations if location.spec == ours), "")


def pending(seen: Observation) -> list[dict[str, Any]]:
    """The pending revisions, in the order in which they would be applied."""
    return describe(seen, {revision.revision: None for revision in seen.plan.pending} if seen.plan else {})


def describe(seen: Observation, seconds: dict[str, float | None]) -> list[dict[str, Any]]:
    """Revisions as results show them, with the seconds that each took."""
    if seen.graph is None:
        return []
    names = branch_names(seen, seen.graph)
    found = ((seen.graph.revisions[name], spent) for name, spent in seconds.items() if name in seen.graph.revisions)
    return [plan.describe(revision, names[revision.location], spent) for revision, spent in found]


def as_diff(
    revisions: Sequence[dict[str, Any]],
    database: dict[str, Any],
    what: str = "applied",
    executed: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, str]:
    """Revisions as Ansible's ``--diff`` shows them: lines that come in, or, with ``undone``, that go.

    :param executed: for each revision the SQL that it executed, where that is known.
    """
    lines = ""
    for each in revisions:
        lines += f"{each['branch']} {each['revision']} {each['message']}\n"
        lines += "".join(f"    {sql}\n" for sql in (executed or {}).get(each["revision"], ()))
    header = f"revisions applied to {database.get('name', '')}"
    before, after = ("", lines) if what == "applied" else (lines, "")
    return {"before_header": header, "after_header": header, "before": before, "after": after}


def branch_names(seen: Observation, graph: Graph) -> dict[str, str]:
    """Location → name of its branch: the label that a revision in it declares, else the package's name.

    A label spreads along a branch, so one grown from core bears core's label everywhere: whose a
    revision is, is told by where its file lies.
    """
    names = {location.spec: location.package.split(".")[0] or location.spec for location in seen.locations}
    declared: dict[str, list[str]] = {}
    for revision in graph.revisions.values():
        declared.setdefault(revision.location, []).extend(revision.branch_labels)
    names.update({spec: labels[0] for spec, labels in declared.items() if len(labels) == 1})
    return names


def _branches(seen: Observation) -> list[dict[str, Any]]:
    if seen.graph is None:
        return []
    names = branch_names(seen, seen.graph)
    rows = seen.plan.rows if seen.plan else ()
    waiting = [revision.location for revision in seen.plan.pending] if seen.plan else []
    return [
        {
            "branch": names[location.spec],
            "location": location.spec,
            "directory": location.directory,
            "heads": list(seen.graph.heads_in(location.spec)),
            "current": list(seen.graph.current_in(location.spec, rows)),
            "pending": waiting.count(location.spec),
        }
        for location in seen.locations
    ]


def _summary(seen: Observation, state: str) -> list[str]:
    """A few lines for a person: the database's state, each branch, what is pending, what is wrong."""
    where = seen.contents.identity["name"] if seen.contents else seen.request.config_file
    lines = [f"{seen.request.app} on {where}: {state}"]
    for branch in _branches(seen):
        at = ", ".join(branch["current"]) or "nothing applied"
        waiting = f"{branch['pending']} pending" if branch["pending"] else "up to date"
        lines.append(f"  {branch['branch']}: {at} ({waiting if branch['heads'] else 'no revision yet'})")
    lines += [f"  pending: {each['branch']} {each['revision']} {each['message']}" for each in pending(seen)[:_LINES]]
    more = len(seen.plan.pending) - _LINES if seen.plan else 0
    lines += [f"  and {more} more pending"] if more > 0 else []
    lines += [f"  to do: {', '.join(seen.todo)}"] if seen.todo else []
    lines += [f"  problem: {problem}" for problem in seen.problems]
    return lines
