# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A whole look: it asks the app what only the app knows, and sees whether what is pending can be applied."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any, TypeVar

from ..copies import scratch
from ..host import commits, git
from ..migration import ask_app
from ..postgres.connection import connect
from ..postgres.contents import Contents, tables_there
from ..problem import Refused
from ..revisions import applied, plan, script
from ..revisions.applied import Applied
from ..revisions.graph import Revision, RevisionFile, Unreadable, is_revision_file, read_revision
from . import first_look
from .database_checks import listed, place
from .observation import Deeper, Observation, Ready
from .report import branch_names
from .request import Request
from .revision_files import root_of, where
from .writable import judge_writable, refuse_without_backup, refuse_without_history, to_write


def look(request: Request) -> Observation:
    """Look at everything, as the user who owns the environment, with the environment's own Python."""
    deeper = Deeper(_look_at_commit, _look_at_pending, _earlier_revisions, _database_url, _version_table, _revisions)
    return first_look.look(request, deeper)


def _look_at_commit(seen: Observation, repository: git.Repository, wanted: git.Wanted) -> None:
    """Bring the commit wanted, and see whether the checkout can be moved to it."""
    coming = seen.closing.enter_context(commits.Commits(repository, seen.checkout))
    target = coming.bring(wanted)
    coming.refuse_odd_names(target)
    if seen.checkout.commit:
        coming.refuse_what_git_cannot_fetch(target)
        coming.refuse_unpushed(target)
        coming.refuse_overwriting(target)
        seen.moved_tags = coming.moved_tags()
    seen.commits, seen.wanted = coming, target


def _earlier_revisions(seen: Observation) -> dict[str, Applied]:
    """What the checkout still knows of revisions: those of its branches, and of what it was at before it moved."""
    found: dict[str, Applied] = {}
    for location in seen.locations if seen.checkout.commit else ():
        if location.relative is None:
            continue
        for path, text in commits.ever(seen.checkout.directory, location.relative):
            if is_revision_file(os.path.basename(path)):
                with suppress(Unreadable):
                    decoded = text.decode("utf-8", errors="surrogateescape")
                    revision = read_revision(RevisionFile(path, location.spec, decoded))
                    found.setdefault(revision.revision, applied.of(revision))
    return found


def _database_url(seen: Observation) -> str:
    request = seen.request
    return _as_wanted(seen, lambda source: ask_app.database_url(request.config_file, request.base, source))


def _version_table(seen: Observation, contents: Contents) -> tuple[tuple[str, ...], str, int]:
    file, database = seen.request.config_file, (contents.identity["name"], contents.incarnation)
    return _as_wanted(seen, lambda source: ask_app.version_table(file, _options(seen), source, *database))


def _revisions(seen: Observation, directories: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    file = seen.request.config_file
    return _as_wanted(seen, lambda source: ask_app.revisions(file, _options(seen), source, directories))


_T = TypeVar("_T")


def _as_wanted(seen: Observation, ask: Callable[[ask_app.Source | None], _T]) -> _T:
    """What the app answers as its source is at the commit wanted, checked out and installed or not."""
    tree, app = _tree(seen), seen.request.app
    root = root_of(seen, app)
    try:
        return ask(None if root is None else ask_app.Source(app, os.path.join(tree, root)))
    except Refused as refused:
        found = refused.problem
        mend = found.code == "app_failed" and seen.commits
        remedy = "Mend it, commit and push it, then run again." if mend else found.remedy
        raise Refused(found.code, found.cause.replace(tree, seen.request.source_dir), remedy) from None


def _tree(seen: Observation) -> str:
    """Where the source lies at the commit wanted."""
    return seen.commits.tree(seen.wanted.commit) if seen.commits and seen.wanted else seen.request.source_dir


def _options(seen: Observation) -> dict[str, str]:
    """``[alembic]`` as it is to be, with the directory of ``env.py`` where its files are now."""
    assert seen.section
    options = seen.section.options()
    script = where(seen, options["script_location"])
    if seen.commits and script.relative is not None:
        options["script_location"] = os.path.join(_tree(seen), script.relative).replace("%", "%%")
    return options


def _look_at_pending(seen: Observation) -> None:
    """Read the pending revisions, warn, and see whether what they need is there.

    :raises Refused: where the server, the role's rights, the backup or the history stand in the way.
    """
    ready = to_write(seen.ready())
    seen.way, seen.contents = ready.way, ready.contents
    request = ready.request
    if ready.plan.state != plan.EMPTY:
        _refuse_unstamped_branches(ready)
    _warn_of_order(seen, ready)
    ready = judge_revisions(ready, ready.plan.pending, lambda *warnings: seen.warnings.extend(warnings))
    seen.leaving, seen.concurrent_indexes = ready.leaving, ready.concurrent_indexes
    if ready.backup_wanted:
        refuse_without_backup(request, ready.way)
    if request.rehearsal == "clone":
        scratch.refuse_impossible(ready.way, bin_dir=request.postgresql_bin_dir)
    elif request.rehearsal == "transaction":
        for each in ready.plan.pending:
            if each.revision in ready.leaving and script.inspect(ready.file(each)).leaves:
                raise cannot_be_rehearsed(f"revision {each.revision} ({each.path}) leaves its transaction")
    refuse_without_history(ready)


def _refuse_unstamped_branches(ready: Ready) -> None:
    """Refuse (``branch_unstamped``) to make tables that are there, where a branch has no version row at all."""
    graph, core, rows = ready.graph, ready.request.base.version_location, ready.plan.rows
    for location in dict.fromkeys(each.location for each in ready.plan.pending if each.location != core):
        if graph.current_in(location, rows):
            continue
        with closing(connect(ready.way)) as connection, connection.cursor() as cursor:
            tables = tables_there(cursor)
        pending = [each for each in ready.plan.pending if each.location == location]
        facts = [script.inspect(ready.file(each)) for each in pending]
        there = script.in_the_way(facts, tables)
        if not there:
            continue
        made = [script.tables_created(facts[:number]) for number in range(1, len(facts) + 1)]
        done = [number for number, each in enumerate(made, 1) if set(there) <= each <= tables]
        names = graph.current_in(location, [each.revision for each in pending[: done[-1]]]) if done else ()
        remedy = (
            "Have the row written, if these were made as the revisions make them (playbooks/baseline.yml, "
            f"rattail_schema_ext_baseline_revision: {json.dumps(names)}), else drop or rename them."
        )
        raise Refused(
            "branch_unstamped",
            f"The database {place(ready.contents)} has {listed(there)}, but no version row of {location}, whose "
            "pending revisions make them.",
            remedy if names else "Drop or rename them: no revision of it makes just what is there.",
        )


def judge_revisions(
    ready: Ready, revisions: Sequence[Revision], warn: Callable[..., None], function: str = "upgrade"
) -> Ready:
    """Read what ``upgrade`` or ``downgrade`` of the revisions to run does, and see whether the role may do it.

    :returns: the same with ``leaving`` and ``concurrent_indexes`` of those revisions.
    :raises Refused: as :func:`writable.judge_writable` does.
    """
    core = ready.request.base.version_location
    # Of core's hundreds only the tables matter, and only to a role that does not own them all.
    read = [each for each in revisions if each.location != core or ready.contents.others]
    facts = {each.revision: script.inspect(ready.file(each), function) for each in read}
    for name, found in facts.items():
        warn(*script.leaving(name, found))
    warn(*script.not_read({each.revision: facts[each.revision] for each in read if each.location != core}))
    needs = script.demands(facts.values())
    creates, option = needs.creates or function == "upgrade", ready.request.database_option
    warn(*judge_writable(ready.contents, needs.altered, needs.referenced, option=option, creates=creates))
    return replace(
        ready,
        leaving=frozenset(name for name, found in facts.items() if found.leaves or found.unread),
        concurrent_indexes={index: name for name, found in facts.items() for index in found.concurrent_indexes},
    )


def _warn_of_order(seen: Observation, ready: Ready) -> None:
    """Warn of foreign keys that nothing but the order of the version locations provides for."""
    graph, core = ready.graph, ready.request.base.version_location
    names, pending = branch_names(ready.locations, graph), [each.revision for each in ready.plan.pending]
    waiting = dict.fromkeys(each.location for each in ready.plan.pending if each.location != core)
    revisions = (each for each in graph.revisions.values() if each.location in waiting)
    facts = {each.path: script.inspect(ready.file(each)) for each in revisions}
    for location in waiting:
        warning = script.unordered_foreign_keys(graph, facts, location, names[location], pending)
        seen.warnings += [warning] if warning else []


def cannot_be_rehearsed(why: str) -> Refused:
    """The refusal (``rehearsal_impossible``) of an upgrade that does not stay in one transaction."""
    return Refused(
        "rehearsal_impossible",
        f"The upgrade cannot be rehearsed in a transaction: {why}.",
        "Set rattail_schema_ext_rehearsal: clone, which runs it on a copy.",
    )
