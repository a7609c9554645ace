# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a text of SQL does to tables and to its transaction, as far as its words tell.

Best effort, for warnings and for early refusals: what happens in the end is told by the catalog. Code
inside dollar quotes (``DO``, functions) is not looked into.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Step:
    """One thing that is done. ``name`` is that of a table, as ``schema.name`` where a schema was given.

    For ``TRANSACTION`` and ``OUTSIDE`` it is the statement's first words in capitals, and for
    ``CONCURRENT_INDEX`` the index's name, empty where PostgreSQL is to choose it. ``to`` is the new
    name after ``RENAME``.
    """

    verb: str
    name: str
    to: str = ""
    line: int = 0


@dataclass(frozen=True)
class _Token:
    """A word (lower case), a name that was in quotes (as it was), or one other character."""

    text: str
    quoted: bool = False


_TOKEN = re.compile(
    r"""
    (?P<space> \s+ | --[^\n]* )
    | (?P<comment> /\* )
    | (?P<literal> [eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | \$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$ )
    | "(?P<quoted> (?:[^"]|"")* )"
    | (?P<word> [^\W\d][\w$]* )
    | (?P<other> . )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_MARK = re.compile(r"/\*|\*/")


def steps(text: str) -> list[Step]:
    """What the statements in ``text`` do, in order; what is not understood does nothing."""
    return [step for statement in _statements(text) for step in _steps_of(_Statement(statement))]


def _tokens(text: str) -> Iterator[_Token]:
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        assert match is not None, "the last alternative matches anything"
        position = match.end()
        if match["comment"]:
            position = _end_of_comment(text, position)
        elif match["quoted"] is not None:
            yield _Token(match["quoted"].replace('""', '"'), quoted=True)
        elif match["word"]:
            yield _Token(match["word"].lower())
        elif match["literal"]:
            yield _Token("'")
        elif match["other"]:
            yield _Token(match["other"])


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


def _statements(text: str) -> Iterator[list[_Token]]:
    """The statements between semicolons; a routine's BEGIN ATOMIC … END belongs to one."""
    statement: list[_Token] = []
    depth = 0
    for token in _tokens(text):
        word = "" if token.quoted else token.text
        if depth and word in ("begin", "case"):
            depth += 1
        elif depth and word == "end":
            depth -= 1
        elif word == "atomic" and statement and statement[-1] == _Token("begin"):
            depth = 1
        if word == ";" and not depth:
            yield statement
            statement = []
        else:
            statement.append(token)
    yield statement


class _Statement:
    """A statement, read from its beginning."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0

    def take(self, *words: str) -> bool:
        """Whether these words come next; then they are behind us."""
        following = self._tokens[self._at : self._at + len(words)]
        if [token.text for token in following] != list(words) or any(token.quoted for token in following):
            return False
        self._at += len(words)
        return True

    def take_any(self, *words: str) -> str:
        """The one of these words that comes next, or nothing."""
        return next((word for word in words if self.take(word)), "")

    def name(self) -> str:
        """The name that comes next, with its schema where it has one; empty where none does."""
        self.take("only")
        parts = []
        while self._at < len(self._tokens):
            token = self._tokens[self._at]
            if not token.quoted and not re.match(r"[^\W\d]", token.text):
                break
            parts.append(token.text)
            self._at += 1
            if not self.take("."):
                break
        self.take("*")
        return ".".join(parts[-2:])

    def names(self) -> Iterator[str]:
        """Names with commas between."""
        yield self.name()
        while self.take(","):
            yield self.name()

    def skip_to(self, *words: str) -> bool:
        """Go behind the next appearance of these words; False, and no further, where there is none."""
        begin = self._at
        while self._at < len(self._tokens):
            if self.take(*words):
                return True
            self._at += 1
        self._at = begin
        return False

    def has(self, *words: str) -> bool:
        """Whether these words are still to come."""
        begin = self._at
        found = self.skip_to(*words)
        self._at = begin
        return found

    def references(self) -> Iterator[Step]:
        """The tables that the foreign keys in the rest of the statement lead to."""
        while self.skip_to("references"):
            yield Step(REFERENCE, self.name())


def _steps_of(statement: _Statement) -> Iterator[Step]:
    for verb, analyse in _ANALYSES.items():
        if statement.take(verb):
            yield from (step for step in analyse(statement) if step.name or step.verb == CONCURRENT_INDEX)
            return


def _transaction(word: str) -> Iterator[Step]:
    yield Step(TRANSACTION, word.upper())


def _begin(_: _Statement) -> Iterator[Step]:
    return _transaction("begin")


def _start(statement: _Statement) -> Iterator[Step]:
    if statement.take("transaction"):
        yield from _transaction("start transaction")


def _commit(statement: _Statement) -> Iterator[Step]:
    if statement.take("prepared"):
        yield Step(OUTSIDE, "COMMIT PREPARED")
    else:
        yield from _transaction("commit")


def _rollback(statement: _Statement) -> Iterator[Step]:
    if statement.take("prepared"):
        yield Step(OUTSIDE, "ROLLBACK PREPARED")
        return
    statement.take_any("work", "transaction")
    if not statement.take("to"):
        yield from _transaction("rollback")


def _prepare(statement: _Statement) -> Iterator[Step]:
    if statement.take("transaction"):
        yield from _transaction("prepare transaction")


def _create(statement: _Statement) -> Iterator[Step]:
    statement.take("or", "replace")
    statement.take_any("global", "local")
    if statement.take_any("temp", "temporary"):
        return
    statement.take("unlogged")
    if statement.take("table"):
        statement.take("if", "not", "exists")
        yield Step(CREATE, statement.name())
        if statement.take("partition", "of"):
            yield Step(ALTER, statement.name())
        yield from statement.references()
    elif statement.take("index") or statement.take("unique", "index"):
        yield from _create_index(statement)
    elif word := statement.take_any("database", "tablespace"):
        yield Step(OUTSIDE, f"CREATE {word.upper()}")
    elif statement.take("policy"):
        statement.name()
        if statement.take("on"):
            yield Step(ALTER, statement.name())
    elif statement.take("rule") and statement.skip_to("to"):
        yield Step(ALTER, statement.name())


def _create_index(statement: _Statement) -> Iterator[Step]:
    concurrently = statement.take("concurrently")
    statement.take("if", "not", "exists")
    name = "" if statement.take("on") else statement.name()
    if name:
        statement.take("on")
    if concurrently:
        yield Step(OUTSIDE, "CREATE INDEX CONCURRENTLY")
        yield Step(CONCURRENT_INDEX, name)
    yield Step(ALTER, statement.name())


def _alter(statement: _Statement) -> Iterator[Step]:
    if statement.take("system"):
        yield Step(OUTSIDE, "ALTER SYSTEM")
    elif statement.take("policy"):
        statement.name()
        if statement.take("on"):
            yield Step(ALTER, statement.name())
    elif statement.take("table") and not statement.take("all"):
        yield from _alter_table(statement)


def _alter_table(statement: _Statement) -> Iterator[Step]:
    statement.take("if", "exists")
    table = statement.name()
    schema, dot, bare = table.rpartition(".")
    if statement.take("rename", "to"):
        yield Step(RENAME, table, f"{schema}{dot}{statement.name()}")
    elif statement.take("set", "schema"):
        yield Step(RENAME, table, f"{statement.name()}.{bare}")
    else:
        yield Step(ALTER, table)
        if statement.has("attach", "partition"):
            statement.skip_to("attach", "partition")
            yield Step(ALTER, statement.name())
        elif statement.has("detach", "partition"):
            if statement.has("concurrently"):
                yield Step(OUTSIDE, "DETACH PARTITION CONCURRENTLY")
        else:
            yield from statement.references()


def _drop(statement: _Statement) -> Iterator[Step]:
    if statement.take("table"):
        statement.take("if", "exists")
        for name in statement.names():
            yield Step(DROP, name)
    elif statement.take("index"):
        if statement.take("concurrently"):
            yield Step(OUTSIDE, "DROP INDEX CONCURRENTLY")
    elif word := statement.take_any("database", "tablespace"):
        yield Step(OUTSIDE, f"DROP {word.upper()}")
    elif statement.take_any("trigger", "policy", "rule"):
        statement.take("if", "exists")
        statement.name()
        if statement.take("on"):
            yield Step(ALTER, statement.name())


def _comment(statement: _Statement) -> Iterator[Step]:
    statement.take("on")
    if statement.take("table"):
        yield Step(ALTER, statement.name())
    elif statement.take("column"):
        yield Step(ALTER, statement.name().rpartition(".")[0])
    elif (
        statement.take_any("constraint", "trigger", "policy", "rule")
        and statement.skip_to("on")
        and not statement.take("domain")
    ):
        yield Step(ALTER, statement.name())


def _vacuum(_: _Statement) -> Iterator[Step]:
    yield Step(OUTSIDE, "VACUUM")


def _reindex(statement: _Statement) -> Iterator[Step]:
    if statement.has("concurrently"):
        yield Step(OUTSIDE, "REINDEX CONCURRENTLY")
    elif word := statement.take_any("schema", "database", "system"):
        yield Step(OUTSIDE, f"REINDEX {word.upper()}")


_ANALYSES = {
    "begin": _begin,
    "start": _start,
    "commit": _commit,
    "end": _commit,
    "abort": _rollback,
    "rollback": _rollback,
    "prepare": _prepare,
    "create": _create,
    "alter": _alter,
    "drop": _drop,
    "comment": _comment,
    "vacuum": _vacuum,
    "reindex": _reindex,
}

_ENDS = ("COMMIT", "ROLLBACK", "PREPARE TRANSACTION")
# A text without any of these words is not read: it may be long.
_MAY_END = re.compile(r"\b(?:commit|end|rollback|abort|prepare)\b", re.IGNORECASE)
_ROWS = ("insert", "update", "delete", "merge")


def ends_transaction(text: str) -> str:
    """The first of ``_ENDS`` that is a statement in ``text``; empty where none is."""
    found = steps(text) if _MAY_END.search(text) else []
    return next((step.name for step in found if step.verb == TRANSACTION and step.name in _ENDS), "")


def writes_rows(text: str) -> str:
    """The kind of the first statement in ``text`` that can write rows, in capitals; empty where none can.

    Told by the statement's words. A SELECT passes, although a function that it calls may write rows.
    """
    return next(filter(None, (_kind_of_write(_Statement(statement)) for statement in _statements(text))), "")


def _kind_of_write(statement: _Statement) -> str:
    while statement.take("("):
        pass
    if word := statement.take_any(*_ROWS, "truncate", "do", "call", "execute"):
        return word.upper()
    word = statement.take_any("with", "explain", "copy")
    if word == "copy" and not statement.take("("):
        return "COPY FROM" if statement.has("from") else ""
    if not word or (word == "explain" and not statement.has("analyze")):
        return ""
    inner = next((each for each in (*_ROWS, "execute") if statement.has(each)), "")
    return f"{word.upper()} … {inner.upper()}" if inner else ""
