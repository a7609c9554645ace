# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A new revision tried on a scratch database: up, down, and up again."""

from __future__ import annotations

import difflib
import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from ..copies import programs, scratch
from ..copies.credentials import Login, connected, query
from ..migration import runner
from ..migration.child import Outcome
from ..migration.job import CLONE, Job
from ..observe import owners
from ..observe.answer import Answer, NewRevision, Review
from ..observe.observation import Ready
from ..postgres import catalog
from ..postgres.catalog_changes import rewritten
from ..postgres.connection import Limits
from ..postgres.contents import VERSION_TABLE
from ..problem import Refused
from ..revisions.locations import standard
from . import hazards

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"

_SHOWN = 10
# Lines of pg_dump's that differ each time: comments, its key since August 2025, what PostgreSQL 15.20 counts by itself.
_ARBITRARY = re.compile(r"^\\(?:un)?restrict |^--|^$|SET \(pg_attver=\d+\);$")
# Statements that only read: of the guard, of SQLAlchemy's checks.
_READING = re.compile(r"(?:select|show|set local|savepoint|release)\b", re.IGNORECASE)
# A table that may not be read counts as one that holds rows.
_TABLES = """
select relname, oid::regclass::text, has_table_privilege(oid, 'SELECT') from pg_class
where relkind in ('r', 'p') and relname = any(%s) and pg_table_is_visible(oid)
"""


class _Failed(Exception):
    """Why the revision does not pass."""


def hold(ready: Ready, revision: NewRevision, directories: tuple[str, ...], answer: Answer) -> Review:
    """Run the revision up, down and up again on a copy of the database's schema.

    :param directories: all version locations, that of the script among them.
    :raises Refused: where there can be no such copy.
    """
    request, review = ready.request, Review(result=PASSED)
    own = owners.of_locations(ready)[standard(request.app)]
    with scratch.database(ready.way, content=scratch.SCHEMA, bin_dir=request.postgresql_bin_dir) as copy:
        review.place = copy.place
        answer.warn(*copy.warnings)
        job = Job(
            app=request.app,
            config_file=request.config_file,
            target=ready.target,
            database=copy.target.dbname,
            redirect=copy.target,
            only=(revision.revision,),
            limits=Limits(0, request.statement_timeout_seconds),
            rehearsal=CLONE,
            prefixes={revision.revision: own},
            own=own,
            directories=directories,
            compare=True,
        )
        [back, *_] = revision.down_revision or [f"{next(iter(revision.branch_labels), revision.branch)}@base"]
        try:
            with connected(copy.target) as connection:
                _try(job, back, connection, request.postgresql_bin_dir, review)
        except _Failed as failed:
            review.result, review.reason = FAILED, str(failed)
    _look_for_hazards(ready, review)
    return review


def _try(job: Job, back: str, copy: Any, bin_dir: str, review: Review) -> None:
    """Go up, down to ``back`` (Alembic's destination without the revision), and up again.

    :param copy: a connection to the scratch database.
    :raises _Failed: where one of them fails, or leaves something else than it should.
    """
    pg_dump = programs.choose("pg_dump", copy.info.server_version // 10000, bin_dir)
    before, found = _dump(copy, pg_dump), catalog.snapshot(copy.cursor())
    # a role that somebody makes on the same server meanwhile is not the revision's
    up = replace(job, catalog=found)
    # the policy has nothing more to say about a downgrade
    down = replace(up, destination=back, downward=True, compare=False)
    upgraded = ""

    def up_first(outcome: Outcome) -> None:
        nonlocal upgraded
        review.sql, review.locks = _rehearsed(outcome, "upgrade()")
        review.seconds = (outcome.last("applied") or {}).get("seconds")
        changed = rewritten(found, catalog.snapshot(copy.cursor()))
        review.rewrites = sorted({owner.name for owner in changed if owner.kind == "table"})
        compared = outcome.last("drift") or {"differences": [], "error": "nothing was compared"}
        if compared["error"]:
            raise _Failed(f"The models cannot be compared with the database: {compared['error']}.")
        if compared["differences"]:
            raise _Failed(f"Models and database differ after it: {' '.join(compared['differences'][:_SHOWN])}")
        upgraded = _dump(copy, pg_dump)

    def down_again(outcome: Outcome) -> None:
        review.down_sql, _ = _rehearsed(outcome, "downgrade()")
        _same(before, _dump(copy, pg_dump), "After downgrade() the schema is not what it was")

    def up_again(outcome: Outcome) -> None:
        _rehearsed(outcome, "upgrade(), run again after downgrade(),")
        again = _dump(copy, pg_dump)
        _same(upgraded, again, "After upgrade() run again the schema is not what it was after the first")

    runner.in_turn([(up, up_first), (down, down_again), (replace(up, compare=False), up_again)])


def _rehearsed(outcome: Outcome, what: str) -> tuple[list[str], list[str]]:
    """The statements, without those that only read, and the locks of the one revision that ran."""
    error = outcome.error
    if error is None:
        if outcome.ending:
            raise _Failed(f"In {what} the app's process {outcome.ending}.")
        said = outcome.last("rehearsed") or {"sql": [], "locks": []}
        return [statement for statement in said["sql"] if not _READING.match(statement)], said["locks"]
    if error["type"] == "Violated":
        found = (outcome.last("violations") or {"violations": []})["violations"]
        why = next((f"{each['object']}: {each['rule']}" for each in found), error["message"])
        raise _Failed(f"{what} is against the policy: {why}")
    statement = " ".join((error.get("statement") or "").split())
    where = f" in the statement: {statement[:500]}" if statement else ""
    raise _Failed(f"{what} fails: {error['type']}: {error['message'].rstrip('.')}{where}.")


def _same(wanted: str, found: str, what: str) -> None:
    if wanted == found:
        return
    lines = list(difflib.unified_diff(wanted.splitlines(), found.splitlines(), "wanted", "found", lineterm="", n=0))
    changed = [line for line in lines[2:] if not line.startswith("@@") and len(line) > 1]
    raise _Failed(f"{what}: {'; '.join(changed[:_SHOWN])}")


def _dump(copy: Any, pg_dump: programs.Program) -> str:
    """The schema as pg_dump writes it, and the version rows: of two schemas that are alike the text is equal."""
    with tempfile.TemporaryFile() as file:
        arguments = ["--schema-only", "--no-owner", *programs.TO_DATABASE]
        said = programs.run(pg_dump, arguments, Login.of(copy), stdout=file.fileno())
        if not said.ok:
            raise Refused("dump_failed", f"pg_dump of the scratch database failed: {said.reason}.", "Run again.")
        file.seek(0)
        lines = file.read().decode().splitlines()
    [(table,)] = query(copy, "select to_regclass(%s)::text", (VERSION_TABLE,))
    rows = query(copy, f"select version_num from {table} order by 1") if table else []
    # in no order, for a column that was dropped and added again is the last one
    text = sorted(_named(line for line in lines if not _ARBITRARY.search(line)))
    return "\n".join([*text, *(f"version row {row}" for (row,) in rows)])


def _named(lines: Iterable[str]) -> Iterator[str]:
    """Lines of a dump; one inside of a statement says whose it is (``TABLE public.poser_widget: code text``)."""
    whole = ""
    for line in lines:
        if line.startswith(" "):
            yield f"{whole}: {line.strip().rstrip(',')}"
        else:
            whole = line.rstrip(" (").partition("CREATE ")[2] or line
            yield line


def _look_for_hazards(ready: Ready, review: Review) -> None:
    """Compare what the revision did with the tables that hold rows in the real database."""
    names = set(re.findall(r"[\w$]+", " ".join([*review.sql, *review.down_sql, *review.locks, *review.rewrites])))
    with connected(ready.way) as connection:
        filled = {
            name
            for name, table, readable in query(connection, _TABLES, (list(names),))
            if not readable or query(connection, f"select exists (select from {table})")[0][0]
        }
    review.findings = hazards.find(review, filled)
