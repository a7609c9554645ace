# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a run has changed in the end, seen by the lock's connection, which no revision has touched."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from ..migration.child import as_found
from ..migration.job import ENFORCE, OFF, REFUSE, Job
from ..observe.answer import Violation
from ..policy import rules
from ..postgres import catalog
from ..postgres.catalog import Catalog, Key
from ..postgres.catalog_changes import ALTERED, Change, difference, owner_of
from ..postgres.catalog_sources import CLASS, SOURCES
from ..postgres.connection import run
from ..postgres.kinds import ALTERED_OUTSIDE
from .retry import Attempts, is_committed

_PATIENCE_SECONDS = 5.0
# One that somebody is altering is left out: it could not be read before that ends.
_SEQUENCES = """
select s.seqrelid, pg_sequence_last_value(s.seqrelid) from pg_sequence s join pg_class c on c.oid = s.seqrelid
where c.relpersistence <> 't' and has_sequence_privilege(s.seqrelid, 'USAGE, SELECT')
and not exists (select from pg_locks l where l.relation = s.seqrelid and l.mode = 'AccessExclusiveLock')
"""
_PREPARED = """
select gid, transaction::text::bigint, owner = current_user, format('ROLLBACK PREPARED %L', gid)
from pg_prepared_xacts where database = current_database()
"""


@dataclass(frozen=True)
class Seen:
    """What the database held; ``sequences`` are oid → last value."""

    catalog: Catalog
    sequences: dict[int, int | None]
    prepared: frozenset[str]


@dataclass
class Found:
    """What differs after a run, in words; ``others`` is what another session did, as far as can be told.

    ``violations`` are what the policy forbids and nobody has reported yet. Of which revision they are is not known.
    """

    ours: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def look(cursor: Any) -> Seen:
    """What is there now, committed or prepared."""
    prepared = frozenset(name for name, *_ in run(cursor, _PREPARED))
    return Seen(catalog.snapshot(cursor), dict(run(cursor, _SEQUENCES)), prepared)


def compare(cursor: Any, before: Seen, job: Job, tried: Attempts) -> Found:
    """What differs from ``before``, now that the child of ``job`` has ended, however it ended.

    Prepared transactions that it left are rolled back, since they keep their locks.
    """
    found, deadline = Found(), time.monotonic() + _PATIENCE_SECONDS
    pids = [event["pid"] for event in tried.every("connected")]
    # The server may not have noticed yet.
    while run(cursor, "select from pg_stat_activity where pid = any(%s)", (pids,)) and time.monotonic() < deadline:
        time.sleep(0.02)
    transactions = {event["transaction"] for event in tried.every("began")}
    for name, transaction, own, rollback in run(cursor, _PREPARED):
        if own and name not in before.prepared and transaction in {each % 2**32 for each in transactions}:
            cursor.execute(rollback)
            found.warnings.append(f"A revision left the prepared transaction {name!r}: it was rolled back.")
        elif name not in before.prepared:
            found.warnings.append(f"A transaction was prepared meanwhile, and keeps its locks until {rollback}.")
    after = look(cursor)
    changes = difference(before.catalog, after.catalog)
    names = job.only if job.policy != OFF else ()
    whose = list(dict.fromkeys(job.prefixes[name] for name in names if name in job.prefixes))
    foreign = _guarded_changes(cursor, before.catalog, after.catalog, job, tried) if whose else []
    for prefixes in whose:
        foreign = [each for each in foreign if rules.violations("", [each], prefixes)]
    told = {name for event in tried.every("others") if not event["beside"] for name in event["objects"]}
    others = {each.key for each in changes if each.identity in told} | apart(changes, tried)
    others -= written_by(cursor, changes, transactions)
    for each in changes:
        (found.others if each.key in others else found.ours).append(str(each))
    reported = {(each.action, each.object) for each in tried.violations}
    for each in foreign:
        [entry] = rules.violations("", [each], whose[0])
        if each.identity in told or (entry["action"], entry["object"]) in reported:
            continue
        if each.key not in others:
            found.violations.append(Violation(**entry))
        else:
            found.warnings.append(f"While it ran, another session, as far as can be told, {each}.")
    counted = {each.table for each in tried.data}
    moved = [oid for oid, value in after.sequences.items() if before.sequences.get(oid, value) != value]
    for key in ((CLASS, oid, 0, 0) for oid in moved):
        owner = owner_of(after.catalog, key)
        if not any(each.owns(owner.schema, owner.name) for each in whose):
            name = f"{owner.schema}.{after.catalog[key].name}"
            what = f"value of sequence {name}"
            known = tried.every("anything") or name in counted
            found.ours.append(f"altered {what}" + ("" if known else " (by it or by another session)"))
            if whose and known and job.policy == ENFORCE and job.policy_data == REFUSE:
                rule = "It is not this extension's, and no rollback sets it back: leave it as it is."
                found.violations.append(Violation("", ALTERED, "sequence", what, rule))
    return found


def version_rows(cursor: Any, before: Collection[str], after: Collection[str], tried: Attempts) -> list[Violation]:
    """Violations for version rows that are as neither ``before`` nor as Alembic has written and committed them."""
    began = {event["revision"]: event["transaction"] for event in tried.every("began")}
    written = [each for each in tried.every("written") if is_committed(cursor, began[each["revision"]])]
    known = [set(before), *(set(each["heads"]) for each in written)]
    strange = sorted(known[-1] ^ set(after)) if set(after) not in known else []
    rule = "Alembic alone writes version rows: leave them to it."
    return [Violation("", ALTERED, "version row", f"version row of {each}", rule) for each in strange]


def apart(changes: Iterable[Change], tried: Attempts) -> set[Key]:
    """The keys of what others did, apart from what revisions may have done outside of the transactions of theirs."""
    left = {event["how"] for event in tried.every("left")}
    if tried.every("anything") or left - {"autocommit_block"}:
        return set()
    return {each.key for each in changes if not left or each.kind not in ALTERED_OUTSIDE}


def written_by(cursor: Any, changes: Iterable[Change], transactions: Collection[int]) -> set[Key]:
    """The keys of those that one of these transactions wrote last, outside of its savepoints."""
    keys = {each.key for each in changes}
    found: set[Key] = set()
    for source in SOURCES:
        rows = ", ".join(f"{key[1:]}" for key in keys if key[0] == source.oid)
        if rows and source.signed:
            query = f"select {source.key} from pg_catalog.{source.catalog} x where ({source.key}) in (values {rows})"
            of_these = [each % 2**32 for each in transactions]
            written = run(cursor, f"{query} and x.xmin::text::bigint = any(%s::bigint[])", (of_these,))
            found |= {(source.oid, a, b, c) for a, b, c in written}
    return found


def _guarded_changes(cursor: Any, before: Catalog, after: Catalog, job: Job, tried: Attempts) -> list[Change]:
    """What changed, apart from what did while revisions ran that are free to do what they like, and committed it."""
    start: Catalog | None = before
    changes: list[Change] = []
    began = tried.every("began")
    committed = {each for each in {event["transaction"] for event in began} if is_committed(cursor, each)}
    for event in (each for each in began if each["transaction"] in committed):
        at = as_found(event)
        if event["revision"] in job.prefixes:
            start = start or at
        else:
            changes += difference(start, at) if start and at else []
            start = None
    return changes + (difference(start, after) if start else [])
