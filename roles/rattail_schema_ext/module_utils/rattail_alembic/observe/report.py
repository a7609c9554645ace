# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An observation as the answer that the modules return."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence

from ..revisions import plan
from ..revisions.graph import Graph
from ..revisions.locations import Location, standard
from .answer import Answer, Branch, Config, Database, Diff, Problem, Revision, Section, Source
from .observation import Observation

# What an earlier task of the real run may make, so check mode must not fail without it.
NOT_THERE_YET = frozenset({"user_unknown", "environment_missing", "config_missing"})
_LINES = 10


def answer(seen: Observation, *, check_mode: bool = False, excused: Iterable[str] = ()) -> Answer:
    """The answer of a look; ``msg`` is empty where no problem stands in the way.

    :param check_mode: whether what an earlier task of the real run would have made may be missing.
    :param excused: the codes of problems that do not matter for what is to follow.
    """
    absent = check_mode and all(problem.code in NOT_THERE_YET for problem in seen.problems)
    problems = [problem for problem in seen.problems if problem.code not in set(excused)]
    unknown = [*seen.problems, *filter(None, [seen.not_yet])]
    rows = list(seen.plan.rows) if seen.plan else []
    pending = dict.fromkeys(each.revision for each in seen.plan.pending) if seen.plan else {}
    found = Answer(
        check_mode=check_mode,
        state=seen.plan.state if seen.plan else plan.UNKNOWN,
        state_reason=unknown[0].cause if unknown and seen.plan is None else "",
        heads=list(seen.graph.heads) if seen.graph else [],
        current_before=rows,
        current_after=list(rows),
        pending=describe(seen.locations, seen.graph, pending) if seen.graph else [],
        branches=_branches(seen, seen.graph) if seen.graph else [],
        database=Database(**seen.contents.identity) if seen.contents else None,
        source=_source(seen),
        config=Config(seen.request.config_file, seen.config_owner),
        versions=next((each.directory for each in seen.locations if each.spec == standard(seen.request.app)), ""),
        install_reason=seen.install_reason,
        alembic_version=seen.alembic,
        python=sys.executable,
        fast_path=seen.fast_path,
        todo=seen.todo,
        problems=[Problem(each.code, each.cause, each.remedy) for each in seen.problems],
        msg="" if absent else " ".join(map(str, problems)),
    )
    if seen.section:
        found.config.section = Section(**seen.section.for_template())
        found.config.reasons = list(seen.section.reasons)
    found.warn(*seen.warnings)
    if absent and seen.problems:
        found.warn(f"Nothing can be told yet: {seen.problems[0].cause}")
    found.summary = _summary(seen, found)
    return found


def _source(seen: Observation) -> Source:
    here, wanted, version = seen.checkout, seen.wanted, ""
    if wanted is not None:
        # What git is asked for. Never HEAD: a clone remembers what that was when it was made. Nor a tag: the checkout
        # may have a branch of its name.
        version = wanted.branch or wanted.commit
    return Source(
        directory=seen.request.source_dir if seen.request.source_enabled else "",
        branch=here.branch,
        before=here.commit,
        after=here.commit,
        wanted=wanted.commit if wanted else here.commit,
        version=version,
        moved_tags=list(seen.moved_tags),
    )


def describe(locations: Iterable[Location], graph: Graph, seconds: Mapping[str, float | None]) -> list[Revision]:
    """Revisions as results show them, with the seconds that each took, without those that the graph does not know."""
    names = branch_names(locations, graph)
    found = [(graph.revisions[name], spent) for name, spent in seconds.items() if name in graph.revisions]
    return [
        Revision(
            revision=each.revision,
            branch=names[each.location],
            message=each.message,
            path=each.path,
            down_revision=list(each.down_revision),
            depends_on=list(each.depends_on),
            seconds=spent,
        )
        for each, spent in found
    ]


def as_diff(
    revisions: Sequence[Revision],
    database: Database | None,
    *,
    undone: bool = False,
    executed: Mapping[str, Sequence[str]] | None = None,
) -> Diff:
    """Revisions, with the SQL that each executed, as ``--diff`` shows them: lines that come, or that go if undone."""
    lines = ""
    for each in revisions:
        lines += f"{each.branch} {each.revision} {each.message}\n"
        lines += "".join(f"    {sql}\n" for sql in (executed or {}).get(each.revision, ()))
    header = f"revisions applied to {database.name if database else ''}"
    return Diff(header, header, lines, "") if undone else Diff(header, header, "", lines)


def branch_names(locations: Iterable[Location], graph: Graph) -> dict[str, str]:
    """Location → name of its branch: the label that a revision in it declares, else the package's name.

    A label spreads along a branch, so a branch that starts from core has core's label everywhere; only the place of
    its file shows to which package a revision belongs.
    """
    names = {each.spec: each.name.rpartition(".")[2] or each.spec for each in locations}
    declared: dict[str, list[str]] = {}
    for revision in graph.revisions.values():
        declared.setdefault(revision.location, []).extend(revision.branch_labels)
    names.update({spec: labels[0] for spec, labels in declared.items() if len(labels) == 1})
    return names


def _branches(seen: Observation, graph: Graph) -> list[Branch]:
    names = branch_names(seen.locations, graph)
    applied = seen.plan.applied if seen.plan else ()
    waiting = [revision.location for revision in seen.plan.pending] if seen.plan else []
    return [
        Branch(
            branch=names[location.spec],
            location=location.spec,
            directory=location.directory,
            heads=list(graph.heads_in(location.spec)),
            current=list(graph.current_in(location.spec, applied)),
            pending=waiting.count(location.spec),
        )
        for location in seen.locations
    ]


def _summary(seen: Observation, found: Answer) -> list[str]:
    """A few lines for a person: the database's state, each branch, what is pending, what is wrong."""
    where = found.database.name if found.database else seen.request.config_file
    lines = [f"{seen.request.app} on {where}: {found.state}"]
    for each in found.branches:
        at = ", ".join(each.current) or "nothing applied"
        known = seen.plan is None or seen.plan.applied.issuperset(each.heads)
        waiting = f"{each.pending} pending" if each.pending else "up to date" if known else "not known what is pending"
        lines.append(f"  {each.branch}: {at} ({waiting if each.heads else 'no revision yet'})")
    lines += [f"  pending: {each.branch} {each.revision} {each.message}" for each in found.pending[:_LINES]]
    more = len(found.pending) - _LINES
    lines += [f"  and {more} more pending"] if more > 0 else []
    lines += [f"  to do: {', '.join(found.todo)}"] if found.todo else []
    lines += [f"  problem: {problem}" for problem in seen.problems]
    lines += [f"  what is pending is known once the app is installed: {seen.not_yet.cause}"] if seen.not_yet else []
    return lines
