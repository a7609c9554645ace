# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a text of SQL does to tables and to its transaction, as far as its words tell.

Best effort, for warnings and for early refusals: what happens in the end is told by the catalog. Code
inside dollar quotes (``DO``, functions) is not looked into.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

CREATE = "create"
DROP = "drop"
RENAME = "rename"
# Anything else that only a table's owner may do.
ALTER = "alter"
# A foreign key to the table.
REFERENCE = "reference"
# Ends or begins a transaction.
TRANSACTION = "transaction"
# Cannot run inside a transaction.
OUTSIDE = "outside"
# Builds an index without holding up writers, and leaves an invalid one behind where it fails.
CONCURRENT_INDEX = "concurrent index"


class Step(NamedTuple):
    """One thing that is done. ``name`` is that of a table, as ``schema.name`` where a schema was given.

    For ``TRANSACTION`` and ``OUTSIDE`` it is the statement in capitals, and for ``CONCURRENT_INDEX`` the index's
    name, empty where PostgreSQL is to choose it. ``to`` is the new name after ``RENAME``.
    """

    verb: str
    name: str
    to: str = ""
    line: int = 0


_TOKEN = re.compile(
    r"""
    (?P<space> \s+ | --[^\n]* )
    | (?P<comment> /\* )
    | (?P<literal> [eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | \$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$ )
    | "(?P<quoted> (?:[^"]|"")* )"
    | [^\W\d][\w$]*
    | .
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_MARK = re.compile(r"/\*|\*/")


def _tokens(text: str) -> Iterator[str]:
    """Words in lower case, names in quotes as they are but with NUL for a blank, ``'`` for a literal; other characters.

    None of them has a blank in it.
    """
    position = 0
    while match := _TOKEN.match(text, position):
        position = match.end()
        if match["comment"]:
            position = _end_of_comment(text, position)
        elif match["quoted"] is not None:
            name = match["quoted"].replace('""', '"').replace(" ", "\0")
            yield f'"{name}"'
        elif match["literal"]:
            yield "'"
        elif not match["space"]:
            yield match[0].lower()


def _end_of_comment(text: str, position: int) -> int:
    """Where a comment that began before ``position`` ends: SQL's comments nest."""
    depth = 1
    while depth:
        mark = _COMMENT_MARK.search(text, position)
        if mark is None:
            return len(text)
        depth += 1 if mark[0] == "/*" else -1
        position = mark.end()
    return position


def _statements(text: str) -> Iterator[str]:
    """The statements between semicolons, one blank between tokens; a routine's BEGIN ATOMIC … END belongs to one."""
    statement: list[str] = []
    depth = 0
    for token in _tokens(text):
        if depth and token in ("begin", "case"):
            depth += 1
        elif depth and token == "end":
            depth -= 1
        elif token == "atomic" and statement[-1:] == ["begin"]:
            depth = 1
        if token == ";" and not depth:
            yield " ".join(statement)
            statement = []
        else:
            statement.append(token)
    yield " ".join(statement)


_PART = r'(?:"[^ ]*"|[^\W\d][\w$]*)'
_NAME = rf"(?:only )?({_PART}(?: \. {_PART})*)"
_INDEX = r"create (?:unique )?index"
_TABLE = r"alter table (?!all in )(?:if exists )?"


def _rules(*rules: tuple[str, str]) -> list[tuple[str, re.Pattern[str]]]:
    """Verbs, and patterns of whole tokens."""
    return [(verb, re.compile(rf"{pattern}(?!\S)", re.DOTALL)) for verb, pattern in rules]


# How commands begin; the groups are the command's name. The first that matches counts.
_COMMANDS = _rules(
    (TRANSACTION, "(begin|start transaction|prepare transaction)"),
    (TRANSACTION, "(commit|end)(?! prepared)"),
    (TRANSACTION, "(rollback|abort)(?! prepared)(?!(?: work| transaction)? to)"),
    (OUTSIDE, "(commit prepared|rollback prepared|vacuum|alter system|drop index concurrently)"),
    (OUTSIDE, "((?:create|drop) (?:database|tablespace))"),
    (OUTSIDE, "(create )(?:unique )?(index concurrently)"),
    (OUTSIDE, rf"{_TABLE}.* (detach partition ).* (concurrently)"),
    (OUTSIDE, "(reindex )(?:.* )?(concurrently)"),
    (OUTSIDE, "(reindex (?:schema|database|system))"),
)
_SAME = {"END": "COMMIT", "ABORT": "ROLLBACK"}
# How statements begin; the group is a name, or several with commas between. Each that matches counts.
_NAMES = _rules(
    (CREATE, rf"create (?:unlogged )?table (?:if not exists )?{_NAME}"),
    (ALTER, rf"create (?:unlogged )?table .* partition of {_NAME}"),
    (CONCURRENT_INDEX, rf"{_INDEX} concurrently (?:if not exists )?(?:{_NAME} )?on"),
    (ALTER, rf"{_INDEX} (?:concurrently )?(?:if not exists )?(?:{_PART} )?on {_NAME}"),
    (ALTER, rf"(?:create|alter|drop) (?:policy|rule|trigger) (?:if exists )?{_PART} on {_NAME}"),
    (ALTER, rf"create (?:or replace )?rule .*? to {_NAME}"),
    (ALTER, rf"{_TABLE}{_NAME}"),
    (ALTER, rf"{_TABLE}.* attach partition {_NAME}"),
    (DROP, rf"drop table (?:if exists )?({_NAME}(?: , {_NAME})*)"),
    (ALTER, rf"comment on table {_NAME}"),
    (ALTER, rf"comment on column {_NAME} \. {_PART}"),
    (ALTER, rf"comment on (?:constraint|policy|rule|trigger) .*? on (?!domain ){_NAME}"),
)
_RENAME = re.compile(rf"{_TABLE}{_NAME} (rename to|set schema) {_NAME}")
_HAS_KEYS = re.compile(r"(?:create (?:unlogged )?table|alter table) ")
_KEY = re.compile(rf" references {_NAME}")


def steps(text: str) -> list[Step]:
    """What the statements in ``text`` do, in order; what is not understood does nothing."""
    return [step for statement in _statements(text) for step in _steps_of(statement)]


def _steps_of(statement: str) -> Iterator[Step]:
    for verb, pattern in _COMMANDS:
        if found := pattern.match(statement):
            command = "".join(found.groups()).upper()
            yield Step(verb, _SAME.get(command, command))
            break
    if found := _RENAME.match(statement):
        table, new = _name(found[1]), _name(found[3])
        schema, dot, bare = table.rpartition(".")
        yield Step(RENAME, table, f"{new}.{bare}" if found[2] == "set schema" else f"{schema}{dot}{new}")
        return
    for verb, pattern in _NAMES:
        if found := pattern.match(statement):
            yield from (Step(verb, _name(each)) for each in (found[1] or "").split(" , "))
    if _HAS_KEYS.match(statement):
        yield from (Step(REFERENCE, _name(each)) for each in _KEY.findall(statement))


def _name(found: str) -> str:
    """A name out of a statement, with its schema where it has one."""
    parts = found.split(" . ")[-2:]
    return ".".join(part[1:-1].replace("\0", " ") if part.startswith('"') else part for part in parts)


_ENDS = ("COMMIT", "ROLLBACK", "PREPARE TRANSACTION")
# A text without any of these words is not read: it may be long.
_MAY_END = re.compile(r"\b(?:commit|end|rollback|abort|prepare)\b", re.IGNORECASE)


def ends_transaction(text: str) -> str:
    """The first of ``_ENDS`` that is a statement in ``text``; empty where none is."""
    found = steps(text) if _MAY_END.search(text) else []
    return next((step.name for step in found if step.verb == TRANSACTION and step.name in _ENDS), "")


# No code of anybody's runs in them: they have at most one pair of brackets, around columns.
_ALTERS_ONLY = re.compile(
    r"create (?:unique )?index concurrently [^()]*\( [^()]* \)[^()]*$|drop index concurrently "
    r"|vacuum(?! .*(?:analyze|full))(?!\S)|alter type [^()]* add value |(?:set|reset) [^()]*$|$",
    re.DOTALL,
)


def alters_only(text: str) -> bool:
    """Whether the statements in ``text`` alter nothing but indexes and enumerations."""
    return all(map(_ALTERS_ONLY.match, _statements(text)))


_ROWS = "insert|update|delete|merge|execute"
# What is said of a statement that can write rows, and how it begins
_WRITES = _rules(
    ("{}", rf"(?:\( )*({_ROWS}|truncate|do|call)"),
    ("{} FROM", r"(copy) (?!\().* from"),
    ("{} … {}", rf"(?:\( )*(with|copy(?= \()|explain(?=.* analyze )) .*?(?<!\S)({_ROWS})"),
)


def writes_rows(text: str) -> str:
    """The kind of the first statement in ``text`` that can write rows, in capitals; empty where none can.

    Told by the statement's words. A SELECT passes, although a function that it calls may write rows.
    """
    for statement in _statements(text):
        for kind, pattern in _WRITES:
            if found := pattern.match(statement):
                return kind.format(*found.groups()).upper()
    return ""
