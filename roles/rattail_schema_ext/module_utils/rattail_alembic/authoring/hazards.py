# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What statements of a revision do to a store in operation: who has to wait, what is rewritten, what is lost.

The rules are those that Squawk and strong_migrations are known for, as far as PostgreSQL's manual bears them out
(ALTER TABLE, "Notes"; "Explicit Locking"). Tables that hold no rows are no hazard, and what a lock timeout covers,
the upgrade has.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from ..observe.answer import Finding

FAILS, BLOCKS, LOSES, BREAKS = "fails", "blocks", "loses", "breaks"

_NAME = r'(?:"(?:[^"]|"")*"|[\w$]+)'
_TABLE = rf"(?P<table>{_NAME}(?:\.{_NAME})?)"
_ALTER = rf"alter table (?:if exists )?(?:only )?{_TABLE}"


@dataclass(frozen=True)
class _Rule:
    name: str
    pattern: str
    effect: str
    message: str
    safer: str
    unless: str = "(?!)"


_CONCURRENTLY = (
    "Build it in a revision of its own, inside `with op.get_context().autocommit_block():`, "
    "with postgresql_concurrently=True."
)
_RULES = (
    _Rule(
        "index-not-concurrent",
        rf"create (?:unique )?index (?!concurrently\b)(?:if not exists )?(?:{_NAME} )?on (?:only )?{_TABLE}",
        BLOCKS,
        "Nobody can write to {table} as long as the index is built.",
        _CONCURRENTLY,
    ),
    _Rule(
        "unique-constraint",
        rf"{_ALTER} add (?:constraint {_NAME} )?(?:unique|primary key) ?\(",
        BLOCKS,
        "Nobody can use {table} as long as the index of the constraint is built.",
        "Build a unique index concurrently in a revision of its own, then add the constraint USING INDEX.",
    ),
    _Rule(
        "foreign-key-validates",
        rf"{_ALTER} add (?:constraint {_NAME} )?foreign key",
        BLOCKS,
        "Nobody can write to {table}, nor to the table that it refers to, as long as its rows are checked.",
        "Create it with postgresql_not_valid=True, and VALIDATE CONSTRAINT in the next revision.",
        r"not valid$",
    ),
    _Rule(
        "check-validates",
        rf"{_ALTER} add (?:constraint {_NAME} )?check ?\(",
        BLOCKS,
        "Nobody can use {table} as long as its rows are checked.",
        "Create it with NOT VALID, and VALIDATE CONSTRAINT in the next revision.",
        r"not valid$",
    ),
    _Rule(
        "not-null-without-default",
        rf"{_ALTER} add (?:column )?(?:if not exists )?(?P<column>{_NAME}) .*\bnot null\b",
        FAILS,
        "{table} holds rows, which have no value for {column}: the upgrade will fail there.",
        "Give it a server_default, or add it nullable, fill it, and make it NOT NULL in the next revision.",
        r"\b(?:default|generated|constraint|foreign key|check)\b",
    ),
    _Rule(
        "set-not-null",
        rf"{_ALTER} alter (?:column )?(?P<column>{_NAME}) set not null",
        BLOCKS,
        "Nobody can use {table} as long as its rows are looked through for NULL in {column}; one is enough to fail.",
        "Fill the column first; on a large table add a CHECK (… IS NOT NULL) NOT VALID and validate it before.",
    ),
    _Rule(
        "column-type",
        rf"{_ALTER} alter (?:column )?(?P<column>{_NAME}) (?:set data )?type\b",
        BLOCKS,
        "Nobody can use {table} while {column} gets another type, and the app that runs knows the old one.",
        "Add a column of the new type, have the app write both, copy, and drop the old one later.",
    ),
    _Rule(
        "drop-column",
        rf"{_ALTER} drop (?:column )?(?!constraint\b)(?:if exists )?(?P<column>{_NAME})",
        LOSES,
        "What {table}.{column} holds is lost, and the app that runs may still read it.",
        "Have the app do without it in one release, and drop it in the next.",
    ),
    _Rule(
        "drop-table",
        rf"drop table (?:if exists )?{_TABLE}",
        LOSES,
        "The rows of {table} are lost, and the app that runs may still read them.",
        "Have the app do without it in one release, and drop it in the next.",
    ),
    _Rule(
        "rename-table",
        rf"{_ALTER} rename to {_NAME}",
        BREAKS,
        "The app that runs still looks for {table}.",
        "Stop it around the upgrade (rattail_schema_ext_before_tasks), or leave a view of the old name.",
    ),
    _Rule(
        "rename-column",
        rf"{_ALTER} rename (?:column )?(?!to\b|constraint\b)(?P<column>{_NAME}) to {_NAME}",
        BREAKS,
        "The app that runs still looks for {table}.{column}.",
        "Stop it around the upgrade (rattail_schema_ext_before_tasks), or add a column and copy.",
    ),
)


def find(statements: Iterable[str], filled: Collection[str], rewritten: Collection[str]) -> list[Finding]:
    """The hazards of what a revision executed.

    :param statements: in order.
    :param filled: the tables that hold rows in the real database, bare names.
    :param rewritten: the tables whose rows were written anew.
    """
    found: dict[tuple[str, str], Finding] = {}
    for statement in statements:
        text = " ".join(statement.split()).rstrip("; ")
        for rule in _RULES:
            match = re.match(rule.pattern, text, re.IGNORECASE)
            if match is None or re.search(rule.unless, text, re.IGNORECASE):
                continue
            table = bare(match["table"])
            if table in filled:
                words = {"table": table, "column": bare(match.groupdict().get("column") or "")}
                thing = ".".join(word for word in words.values() if word)
                found.setdefault((rule.name, thing), _finding(rule, thing, words))
    for table in rewritten:
        if table in filled:
            found.setdefault(
                ("table-rewrite", table),
                Finding(
                    "table-rewrite",
                    BLOCKS,
                    table,
                    f"All rows of {table} are written anew, and nobody can use it meanwhile.",
                    "Add the column without a volatile default and fill it in batches, "
                    "or do it when the store is closed.",
                ),
            )
    return list(found.values())


def of_downgrade(statements: Iterable[str], filled: Collection[str]) -> list[Finding]:
    """Where the way back will fail, which an empty scratch database does not show. Parameters as for :func:`find`."""
    found = []
    for each in find(statements, filled, ()):
        if each.rule == "not-null-without-default":
            table, _, column = each.object.partition(".")
            message = f"{table} holds rows, which will have no value for {column}: the downgrade will fail there."
            safer = "Have downgrade() add it with a server_default, or nullable."
            found.append(Finding("downgrade-not-null", FAILS, each.object, message, safer))
    return found


def held(locks: Mapping[str, str], filled: Collection[str], known: Iterable[Finding]) -> list[Finding]:
    """Tables that nobody can use meanwhile, and that no other finding speaks of.

    :param locks: table → the strongest lock that it was held with, in PostgreSQL's words (``AccessExclusiveLock``).
    """
    named = {each.object.partition(".")[0] for each in known}
    return [
        Finding(
            "lock",
            BLOCKS,
            table,
            f"Nobody can use {table} from the statement that needs it to the end of the upgrade ({mode}).",
            "Keep such a revision short, and apart from those that take long.",
        )
        for table, mode in sorted(locks.items())
        if table in filled and table not in named and mode == "AccessExclusiveLock"
    ]


def _finding(rule: _Rule, thing: str, words: Mapping[str, str]) -> Finding:
    return Finding(rule.name, rule.effect, thing, rule.message.format(**words), rule.safer)


def bare(name: str) -> str:
    """A table's name without its schema and its quotes."""
    last = re.findall(_NAME, name)[-1:] or [""]
    text = str(last[0])
    return text[1:-1].replace('""', '"') if text.startswith('"') else text.lower()
