# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A new revision put to the proof on a scratch database: up, down, and up again."""

from __future__ import annotations

import difflib
import re
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..copies import programs, scratch
from ..copies.credentials import Login, connected
from ..migration import runner
from ..migration.child import Outcome
from ..migration.job import CLONE, Job
from ..observe import owners
from ..observe.answer import Answer, Review
from ..observe.observation import Ready
from ..postgres import catalog
from ..postgres.catalog_changes import rewritten
from ..postgres.connection import run
from ..postgres.contents import VERSION_TABLE
from ..postgres.limits import Limits
from ..postgres.url import Target
from ..problem import Refused
from ..revisions.locations import standard
from . import hazards

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"

# Weak to strong (PostgreSQL, "Explicit Locking").
_MODES = (
    "RowExclusiveLock", "ShareUpdateExclusiveLock", "ShareLock", "ShareRowExclusiveLock", "ExclusiveLock",
    "AccessExclusiveLock",
)  # fmt: skip
_SHOWN = 10
# Lines of pg_dump's that differ each time: comments, its key since August 2025, what PostgreSQL 15.20 counts by itself.
_ARBITRARY = re.compile(r"^\\(?:un)?restrict |^--|^$|SET \(pg_attver=\d+\);$")


@dataclass(frozen=True)
class Subject:
    """The script to be reviewed. ``directories`` are all version locations, its own among them; ``back`` is Alembic's
    destination without it.
    """

    revision: str
    path: str
    directories: tuple[str, ...]
    back: str


def skipped(reason: str) -> Review:
    """A review that was not held."""
    return Review(result=SKIPPED, reason=reason)


def hold(ready: Ready, subject: Subject, answer: Answer) -> Review:
    """Run the revision up, down and up again on a copy of the database's schema.

    :param answer: takes warnings.
    :raises Refused: where no such copy can be had.
    """
    review = Review(result=PASSED)
    bin_dir = ready.request.postgresql_bin_dir
    with scratch.database(ready.way, content=scratch.SCHEMA, bin_dir=bin_dir) as copy:
        review.place = copy.place
        answer.warn(*copy.warnings)
        try:
            _prove(ready, subject, copy.target, review)
        except _Failed as failed:
            review.result, review.reason = FAILED, str(failed)
    _look_for_hazards(ready, review)
    return review


class _Failed(Exception):
    """What the revision did not stand."""


def _prove(ready: Ready, subject: Subject, copy: Target, review: Review) -> None:
    print_ = _Print(copy, ready.request.postgresql_bin_dir)
    before, found = print_.take(), print_.catalog()
    # a role that somebody makes on the same server meanwhile is not the revision's
    up = replace(_job(ready, subject, copy), catalog=found)
    # of what a downgrade may do the policy of the upgrade says nothing more
    down = replace(up, destination=subject.back, downward=True, compare=False)
    upgraded = ""

    def up_first(outcome: Outcome) -> None:
        nonlocal upgraded
        _ran(outcome, "upgrade()")
        _tell(review, outcome, subject.revision)
        review.rewrites = sorted({owner.name for owner in rewritten(found, print_.catalog()) if owner.kind == "table"})
        compared = outcome.last("drift") or {"differences": [], "error": "nothing was compared"}
        if compared["error"]:
            raise _Failed(f"The models cannot be held against the database: {compared['error']}.")
        if compared["differences"]:
            raise _Failed(f"Models and database differ after it: {' '.join(compared['differences'][:_SHOWN])}")
        upgraded = print_.take()

    def down_again(outcome: Outcome) -> None:
        review.down_sql = _statements(_ran(outcome, "downgrade()"), subject.revision)
        _same(before, print_.take(), "After downgrade() the schema is not what it was")

    def up_again(outcome: Outcome) -> None:
        _ran(outcome, "upgrade(), run again after downgrade(),")
        _same(upgraded, print_.take(), "After upgrade() run again the schema is not what it was after the first")

    runner.in_turn([(up, up_first), (down, down_again), (replace(up, compare=False), up_again)])


def _job(ready: Ready, subject: Subject, copy: Target) -> Job:
    request = ready.request
    own = owners.of_locations(ready)[standard(request.app)]
    return Job(
        app=request.app,
        config_file=request.config_file,
        target=ready.target,
        database=copy.dbname,
        redirect=copy,
        only=(subject.revision,),
        limits=Limits(0, request.statement_timeout_seconds),
        rehearsal=CLONE,
        prefixes={subject.revision: own},
        own=own,
        directories=subject.directories,
        compare=True,
    )


def _ran(outcome: Outcome, what: str) -> Outcome:
    error = outcome.error
    if error is None and not outcome.ending:
        return outcome
    if error is None:
        raise _Failed(f"In {what} the app's process {outcome.ending}.")
    if error["type"] == "Violated":
        found = [each for event in outcome.events if event["event"] == "violations" for each in event["violations"]]
        why = f"{found[0]['object']}: {found[0]['rule']}" if found else error["message"]
        raise _Failed(f"{what} is against the policy: {why}")
    statement = " ".join((error.get("statement") or "").split())
    where = f" in the statement: {statement[:500]}" if statement else ""
    raise _Failed(f"{what} fails: {error['type']}: {error['message'].rstrip('.')}{where}.")


def _statements(outcome: Outcome, revision: str) -> list[str]:
    told = [each for each in outcome.events if each["event"] == "rehearsed" and each["revision"] == revision]
    return [statement for each in told for statement in each["sql"] if not _ours(statement)]


def _ours(statement: str) -> bool:
    """Statements that ask, and change nothing: of the guard, of SQLAlchemy's checks."""
    return bool(re.match(r"(?:select|show|set local|savepoint|release)\b", statement, re.IGNORECASE))


def _tell(review: Review, outcome: Outcome, revision: str) -> None:
    review.sql = _statements(outcome, revision)
    for event in outcome.events:
        if event["event"] == "rehearsed" and event["revision"] == revision:
            review.locks = list(event["locks"])
        elif event["event"] == "applied" and event["revision"] == revision:
            review.seconds = event["seconds"]


def _same(wanted: str, found: str, what: str) -> None:
    if wanted == found:
        return
    lines = list(difflib.unified_diff(wanted.splitlines(), found.splitlines(), "wanted", "found", lineterm="", n=0))
    changed = [line for line in lines[2:] if not line.startswith("@@") and len(line) > 1]
    raise _Failed(f"{what}: {'; '.join(changed[:_SHOWN])}")


class _Print:
    """The schema of the scratch database as pg_dump writes it, and its version rows: two that are alike are equal."""

    def __init__(self, target: Target, bin_dir: str) -> None:
        self._target = target
        with connected(target) as connection:
            self._login = Login.of(connection)
            self._program = programs.choose("pg_dump", connection.info.server_version // 10000, bin_dir)

    def take(self) -> str:
        with tempfile.TemporaryFile() as file:
            arguments = ["--schema-only", "--no-owner", *programs.TO_DATABASE]
            said = programs.run(self._program, arguments, self._login, stdout=file.fileno())
            if not said.ok:
                raise Refused("review_failed", f"pg_dump of the scratch database failed: {said.reason}.", "Run again.")
            file.seek(0)
            lines = file.read().decode().splitlines()
        # in no order, for a column that was dropped and added again is the last one
        text = "\n".join(sorted(_named(line for line in lines if not _ARBITRARY.search(line))))
        with connected(self._target) as connection, connection.cursor() as cursor:
            [(table,)] = run(cursor, "select to_regclass(%s)::text", (VERSION_TABLE,))
            rows = run(cursor, f"select version_num from {table} order by 1") if table else []
        return "\n".join([text, *(f"version row {row}" for (row,) in rows)])

    def catalog(self) -> catalog.Catalog:
        with connected(self._target) as connection, connection.cursor() as cursor:
            return catalog.snapshot(cursor)


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
    """Hold what the upgrade did against the tables that hold rows in the real database."""
    held = _strongest(review.locks)
    touched = {*held, *review.rewrites, *_words((*review.sql, *review.down_sql))}
    with connected(ready.way) as connection, connection.cursor() as cursor:
        filled = _filled(cursor, touched)
    review.findings = hazards.find(review.sql, filled, review.rewrites)
    review.findings += hazards.of_downgrade(review.down_sql, filled)
    review.findings += hazards.held(held, filled, review.findings)


def _words(statements: Iterable[str]) -> Iterator[str]:
    return (name for each in statements for name in re.findall(r"[\w$]+", each))


def _strongest(locks: Sequence[str]) -> dict[str, str]:
    """Table → the strongest lock, out of ``AccessExclusiveLock on poser_widget``."""
    found: dict[str, str] = {}
    for each in locks:
        mode, _, table = each.partition(" on ")
        name = hazards.bare(table)
        if mode in _MODES and (name not in found or _MODES.index(mode) > _MODES.index(found[name])):
            found[name] = mode
    return found


def _filled(cursor: Any, names: Collection[str]) -> set[str]:
    """Those tables among ``names`` that hold a row; one that may not be read is taken to hold some."""
    found = run(
        cursor,
        "select relname, oid::regclass::text, has_table_privilege(oid, 'SELECT') from pg_class"
        " where relkind in ('r', 'p') and relname = any(%s) and pg_table_is_visible(oid)",
        (list(names),),
    )
    holds = "select exists (select from {})"
    return {name for name, table, readable in found if not readable or run(cursor, holds.format(table))[0][0]}
