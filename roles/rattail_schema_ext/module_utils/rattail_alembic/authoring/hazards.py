# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the statements of a revision do to a store in operation: who has to wait, what is rewritten, what is lost.

The rules are those that Squawk and strong_migrations are known for, where PostgreSQL's manual confirms them
(ALTER TABLE, "Notes"; "Explicit Locking"). A table without rows is never in danger.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from ..observe.answer import Finding, Review

FAILS, BLOCKS, LOSES, BREAKS = "fails", "blocks", "loses", "breaks"

_NAME = r'(?:"(?:[^"]|"")*"|[\w$]+)'
_TABLE = rf"(?P<table>{_NAME}(?:\.{_NAME})?)"
_ALTER = rf"alter table (?:if exists )?(?:only )?{_TABLE}"
_ADD_NOT_NULL = (
    r"(?!.*\b(?:default|generated|constraint|foreign key|check)\b)"
    rf"{_ALTER} add (?:column )?(?:if not exists )?(?P<column>{_NAME}) .*\bnot null\b"
)
_NEXT_RELEASE = "Have the app do without it in one release, and drop it in the next."


class _Rule(NamedTuple):
    """A hazard; ``pattern`` matches the beginning of the statements that have it, where a statement shows it."""

    name: str
    effect: str
    message: str
    safer: str
    pattern: str = ""


_RULES = (
    _Rule(
        "index-not-concurrent",
        BLOCKS,
        "Nobody can write to {table} as long as the index is built.",
        "Build it in a revision of its own, in an autocommit_block(), with postgresql_concurrently=True.",
        rf"create (?:unique )?index (?!concurrently\b)(?:if not exists )?(?:{_NAME} )?on (?:only )?{_TABLE}",
    ),
    _Rule(
        "unique-constraint",
        BLOCKS,
        "Nobody can use {table} as long as the index of the constraint is built.",
        "Build a unique index concurrently in a revision of its own, then add the constraint USING INDEX.",
        rf"{_ALTER} add (?:constraint {_NAME} )?(?:unique|primary key) ?\(",
    ),
    _Rule(
        "foreign-key-validates",
        BLOCKS,
        "Nobody can write to {table}, nor to the table that it refers to, as long as its rows are checked.",
        "Create it with postgresql_not_valid=True, and VALIDATE CONSTRAINT in the next revision.",
        rf"(?!.*not valid$){_ALTER} add (?:constraint {_NAME} )?foreign key",
    ),
    _Rule(
        "check-validates",
        BLOCKS,
        "Nobody can use {table} as long as its rows are checked.",
        "Create it with NOT VALID, and VALIDATE CONSTRAINT in the next revision.",
        rf"(?!.*not valid$){_ALTER} add (?:constraint {_NAME} )?check ?\(",
    ),
    _Rule(
        "not-null-without-default",
        FAILS,
        "{table} holds rows, which have no value for {column}: the upgrade will fail there.",
        "Give it a server_default, or add it nullable, fill it, and make it NOT NULL in the next revision.",
        _ADD_NOT_NULL,
    ),
    _Rule(
        "set-not-null",
        BLOCKS,
        "Nobody can use {table} as long as its rows are checked for NULL in {column}; a single one makes it fail.",
        "Fill the column first; on a large table add a CHECK (… IS NOT NULL) NOT VALID and validate it before.",
        rf"{_ALTER} alter (?:column )?(?P<column>{_NAME}) set not null",
    ),
    _Rule(
        "column-type",
        BLOCKS,
        "Nobody can use {table} while {column} gets another type, and the app that runs knows the old one.",
        "Add a column of the new type, have the app write both, copy, and drop the old one later.",
        rf"{_ALTER} alter (?:column )?(?P<column>{_NAME}) (?:set data )?type\b",
    ),
    _Rule(
        "drop-column",
        LOSES,
        "What {table}.{column} holds is lost, and the app that runs may still read it.",
        _NEXT_RELEASE,
        rf"{_ALTER} drop (?:column )?(?!constraint\b)(?:if exists )?(?P<column>{_NAME})",
    ),
    _Rule(
        "drop-table",
        LOSES,
        "The rows of {table} are lost, and the app that runs may still read them.",
        _NEXT_RELEASE,
        rf"drop table (?:if exists )?{_TABLE}",
    ),
    _Rule(
        "rename-table",
        BREAKS,
        "The app that runs still looks for {table}.",
        "Stop the app during the upgrade (rattail_schema_ext_before_tasks), or leave a view of the old name.",
        rf"{_ALTER} rename to {_NAME}",
    ),
    _Rule(
        "rename-column",
        BREAKS,
        "The app that runs still looks for {table}.{column}.",
        "Stop the app during the upgrade (rattail_schema_ext_before_tasks), or add a column and copy.",
        rf"{_ALTER} rename (?:column )?(?!to\b|constraint\b)(?P<column>{_NAME}) to {_NAME}",
    ),
)
_REWRITE = _Rule(
    "table-rewrite",
    BLOCKS,
    "PostgreSQL rewrites all rows of {table}, and nobody can use it meanwhile.",
    "Add the column without a volatile default and fill it in batches, or do it when the store is closed.",
)
_LOCK = _Rule(
    "lock",
    BLOCKS,
    "Nobody can use {table} from the statement that needs it to the end of the upgrade (AccessExclusiveLock).",
    "Keep such a revision short, and separate from those that take long.",
    rf"accessexclusivelock on {_TABLE}",
)
_DOWNGRADE_NOT_NULL = _Rule(
    "downgrade-not-null",
    FAILS,
    "{table} holds rows, which will have no value for {column}: the downgrade will fail there.",
    "Have downgrade() add it with a server_default, or nullable.",
    _ADD_NOT_NULL,
)


def find(review: Review, filled: Collection[str]) -> list[Finding]:
    """The hazards of what a revision executed, and where its downgrade will fail, which an empty copy does not show.

    A lock is told of where nothing else is told of the table.

    :param filled: the tables that hold rows in the real database, bare names.
    """
    hits = [*_hits(_RULES, review.sql), *((_REWRITE, table, "") for table in review.rewrites)]
    hits += _hits([_DOWNGRADE_NOT_NULL], review.down_sql)
    named = {table for _, table, _ in hits}
    hits += [hit for hit in sorted(_hits([_LOCK], review.locks)) if hit[1] not in named]
    found = []
    for rule, table, column in dict.fromkeys(hits):
        if table in filled:
            message = rule.message.format(table=table, column=column)
            thing = f"{table}.{column}" if column else table
            found.append(Finding(rule.name, rule.effect, thing, message, rule.safer))
    return found


def _hits(rules: Iterable[_Rule], statements: Iterable[str]) -> Iterator[tuple[_Rule, str, str]]:
    """The rules that statements fall under, each with the table and the column that it is about."""
    for statement in statements:
        text = " ".join(statement.split()).rstrip("; ")
        for rule in rules:
            match = re.match(rule.pattern, text, re.IGNORECASE)
            if match:
                yield rule, bare(match["table"]), bare(match.groupdict().get("column") or "")


def bare(name: str) -> str:
    """A table's name without its schema and its quotes."""
    last: str = re.findall(_NAME, name)[-1] if name else ""
    return last[1:-1].replace('""', '"') if last.startswith('"') else last.lower()
