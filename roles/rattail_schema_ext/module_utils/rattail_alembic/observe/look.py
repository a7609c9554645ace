# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A whole look: it asks the app what only the app knows, and sees whether what is pending can be applied."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace

from ..copies import scratch
from ..host import commits, git
from ..migration import ask_app
from ..problem import Refused
from ..revisions import script
from ..revisions.graph import Revision
from . import first_look
from .observation import Observation, Ready
from .report import branch_names
from .request import Request
from .writable import judge_writable, refuse_without_backup, refuse_without_history, to_write


class _Deeper:
    """See :class:`observation.Deeper`."""

    database_url = staticmethod(ask_app.database_url)
    version_table = staticmethod(ask_app.version_table)
    revisions = staticmethod(ask_app.revisions)

    def look_at_commit(
        self, seen: Observation, repository: git.Repository, wanted: git.Wanted, stack: ExitStack
    ) -> None:
        """Bring the commit wanted, and see whether the checkout can be moved to it."""
        coming = stack.enter_context(commits.Commits(repository, seen.checkout))
        target = coming.bring(wanted)
        if seen.checkout.commit:
            coming.refuse_unpushed(target)
            coming.refuse_overwriting(target)
            seen.moved_tags = coming.moved_tags()
        seen.commits, seen.wanted = coming, target

    def look_at_pending(self, seen: Observation) -> None:
        """Read the pending revisions, warn, and see whether what they need is there.

        ``seen.direct`` and ``seen.contents`` are of the way past a pooler afterwards, where the host's config has one.

        :raises Refused: where the server, the role's rights, the backup or the history stand in the way.
        """
        ready = to_write(seen.ready())
        seen.direct, seen.contents = ready.redirect, ready.contents
        request = ready.request
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
        refuse_without_history(request.history_dir)


def look(request: Request) -> Observation:
    """Look at everything, as the user who owns the environment, with the environment's own Python."""
    return first_look.look(request, _Deeper())


def judge_revisions(
    ready: Ready, revisions: Sequence[Revision], warn: Callable[..., None], function: str = "upgrade"
) -> Ready:
    """Read the revisions that are to run, and see whether the role may do what they do.

    :param warn: takes warnings.
    :param function: the one that is to run, ``upgrade`` or ``downgrade``.
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
    warn(
        *judge_writable(
            ready.contents,
            altered=needs.altered,
            referenced=needs.referenced,
            option=ready.request.database_option,
            creates=needs.creates or function == "upgrade",
        )
    )
    return replace(
        ready,
        leaving=frozenset(name for name, found in facts.items() if found.leaves or found.unread),
        concurrent_indexes={index: name for name, found in facts.items() for index in found.concurrent_indexes},
    )


def _warn_of_order(seen: Observation, ready: Ready) -> None:
    """Warn of foreign keys that nothing but the order of the version locations provides for."""
    graph, pending = ready.graph, ready.plan.pending
    names = branch_names(ready.locations, graph)
    for location in dict.fromkeys(each.location for each in pending):
        if location == ready.request.base.version_location:
            continue
        revisions = [each for each in graph.revisions.values() if each.location == location]
        facts = {each.path: script.inspect(ready.file(each)) for each in revisions}
        warning = script.unordered_foreign_keys(
            graph, facts, location, names[location], [each.revision for each in pending]
        )
        seen.warnings += [warning] if warning else []


def cannot_be_rehearsed(why: str) -> Refused:
    """The refusal (``rehearsal_impossible``) of an upgrade that does not stay in one transaction."""
    return Refused(
        "rehearsal_impossible",
        f"The upgrade cannot be rehearsed in a transaction: {why}.",
        "Set rattail_schema_ext_rehearsal: clone, which runs it on a copy.",
    )
