# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What stays in a database of a revision that left its transaction and failed."""

from __future__ import annotations

import re
from typing import Any

from ..migration.child import as_found
from ..migration.job import Job
from ..observe import owners
from ..observe.answer import Answer, Partial
from ..observe.observation import Ready
from ..policy import rules
from ..postgres import catalog
from ..postgres.catalog_changes import difference, undo_sql
from ..postgres.connection import run
from .net import apart, written_by
from .retry import Attempts

# Indexes that no other session is building: CREATE INDEX CONCURRENTLY locks both, index and table.
_INDEXES = """
select c.oid::regclass::text, c.relname, n.nspname, t.relname, i.indisvalid
from pg_index i join pg_class c on c.oid = i.indexrelid join pg_class t on t.oid = i.indrelid
join pg_namespace n on n.oid = t.relnamespace
where c.relname = any (%s) and c.relkind = 'i'
and not exists (select from pg_locks l where l.relation = i.indexrelid and l.pid <> pg_backend_pid())
"""
# in a revision that can be run although its index is there
_AGAIN = re.compile(r"if[_\s]+not[_\s]+exists|drop[_\s]+index", re.IGNORECASE)


def clear(cursor: Any, ready: Ready) -> list[str]:
    """Drop indexes that an interrupted CREATE INDEX CONCURRENTLY has left, so that it can be run again.

    Only those that a pending revision builds concurrently, and on a table that is its own. A finished one
    stays where the revision allows for it (IF NOT EXISTS) or drops it itself.

    :returns: warnings that say so.
    """
    if not ready.concurrent_indexes:
        return []
    whose = owners.of_locations(ready)
    warnings = []
    for index, name, schema, table, valid in run(cursor, _INDEXES, (list(ready.concurrent_indexes),)):
        revision = ready.graph.revisions[ready.concurrent_indexes[name]]
        if revision.location not in whose or not whose[revision.location].owns(schema, table):
            continue
        text = ready.file(revision).text.split("def upgrade", 1)[-1].split("def downgrade", 1)[0]
        if valid and _AGAIN.search(text):
            continue
        cursor.execute(f"drop index concurrently {index}")
        state = "finished" if valid else "invalid"
        left = f"The index {index} was left {state} when revision {revision.revision} was interrupted"
        warnings.append(f"{left}: it was dropped, and is built again.")
    return warnings


def report(cursor: Any, answer: Answer, tried: Attempts, job: Job) -> None:
    """Put into ``answer`` what a revision committed although it failed, and how to undo what is its own of that.

    :param cursor: of a session that sees only what is committed.
    """
    begun = tried.outcome.unfinished
    done = {each.revision for each in [*answer.applied, *answer.reverted]}
    left = [event for event in tried.every("left") if begun and event["revision"] == begun["revision"]]
    if not left or left[0]["revision"] in done:
        return
    before = as_found(left[0]) or job.catalog
    assert before is not None
    changes, revision = difference(before, catalog.snapshot(cursor)), left[0]["revision"]
    began = [event["transaction"] for event in tried.every("began") if event["revision"] == revision]
    prefixes = job.prefixes.get(revision)
    foreign = [each for each in changes if prefixes is None or rules.violations(revision, [each], prefixes)]
    theirs = apart(foreign, tried) - written_by(cursor, foreign, began)
    changes = [each for each in changes if each.key not in theirs]
    answer.partial = Partial(
        revision=revision,
        how=left[0]["how"],
        objects=[f"{change.action} {change.identity}" for change in changes],
        undo=[f"{statement.rstrip(';')};" for statement in undo_sql(each for each in changes if each not in foreign)],
        invalid_indexes=catalog.invalid_indexes(cursor),
    )
