# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a revision does to tables and to its transaction, read from its text and never by running it.

Best effort: loops over literals, helpers of the same file and strings put together from constants
are followed, all branches of an ``if`` are taken for run, and what cannot be told is given as
``Facts.unread``. It serves warnings and early refusals; the catalog tells what happened in the end.
"""

from __future__ import annotations

import ast
import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from . import sql
from .file import RevisionFile
from .graph import Graph
from .sql import ALTER, CONCURRENT_INDEX, CREATE, DROP, OUTSIDE, REFERENCE, RENAME, TRANSACTION, Step

__all__ = ["Demands", "Facts", "Step", "demands", "inspect", "leaving", "tables_created", "unordered_foreign_keys"]

AUTOCOMMIT_BLOCK = "autocommit_block"


@dataclass(frozen=True)
class Facts:
    """What one revision file's ``upgrade()`` does, as far as its text tells.

    ``steps`` are in the order of the text; names of tables are as written, ``schema.name`` where a
    schema was given. ``leaves`` and ``fails`` are pairs of a line and what is there: where it leaves
    its transaction, and what PostgreSQL refuses to run in one. ``concurrent_indexes`` are those that
    it builds concurrently. ``unread`` are the lines of which it could not be told what they do.
    """

    path: str
    steps: tuple[Step, ...] = ()
    leaves: tuple[tuple[int, str], ...] = ()
    fails: tuple[tuple[int, str], ...] = ()
    concurrent_indexes: tuple[str, ...] = ()
    unread: tuple[int, ...] = ()

    @property
    def created(self) -> frozenset[str]:
        return self._names(CREATE)

    @property
    def dropped(self) -> frozenset[str]:
        return self._names(DROP)

    @property
    def renamed(self) -> dict[str, str]:
        """Old names to new ones."""
        return {step.name: step.to for step in self.steps if step.verb == RENAME}

    @property
    def altered(self) -> frozenset[str]:
        """Tables that it changes in a way that only their owner may."""
        return self._names(ALTER)

    @property
    def referenced(self) -> frozenset[str]:
        """Tables that it makes foreign keys to."""
        return self._names(REFERENCE)

    def _names(self, verb: str) -> frozenset[str]:
        return frozenset(step.name for step in self.steps if step.verb == verb)


@dataclass(frozen=True)
class Demands:
    """Tables that have to be there before: those to own, and those to make foreign keys to.

    ``creates`` is whether a table is made or gets another name, which takes the right to create in its schema.
    """

    altered: frozenset[str]
    referenced: frozenset[str]
    creates: bool = False


def inspect(file: RevisionFile, function: str = "upgrade") -> Facts:
    """What ``function`` of a revision file does. Raises nothing: a file that is not Python is unread."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in somebody's docstring are no news of ours
            tree = ast.parse(file.text.lstrip("\ufeff"))
        reading = _Reading(tree)
        reading.call(function)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return Facts(file.path, unread=(getattr(error, "lineno", None) or 1,))
    return Facts(
        file.path,
        tuple(reading.steps),
        tuple(dict.fromkeys(reading.leaves)),
        tuple(dict.fromkeys(reading.fails)),
        tuple(dict.fromkeys(name for name in reading.indexes if name)),
        tuple(sorted(set(reading.unread))),
    )


def tables_created(facts: Iterable[Facts]) -> set[str]:
    """The tables that are there after revisions, given in the order of their application, on an empty database."""
    tables: set[str] = set()
    for step in _steps(facts):
        if step.verb == CREATE:
            tables.add(step.name)
        elif step.verb == DROP:
            tables.discard(step.name)
        elif step.verb == RENAME and step.name in tables:
            tables.discard(step.name)
            tables.add(step.to)
    return tables


def demands(facts: Iterable[Facts]) -> Demands:
    """What pending revisions, given in the order of their application, want of tables that are there already."""
    own: set[str] = set()
    altered: set[str] = set()
    referenced: set[str] = set()
    creates = False
    for step in _steps(facts):
        creates = creates or step.verb in (CREATE, RENAME)
        if step.verb == CREATE:
            own.add(step.name)
        elif step.verb == REFERENCE:
            referenced |= {step.name} - own
        else:
            altered |= {step.name} - own
            if step.verb == DROP:
                own.discard(step.name)
            elif step.verb == RENAME:
                own.add(step.to)
    return Demands(frozenset(altered), frozenset(referenced), creates)


def _steps(facts: Iterable[Facts]) -> Iterator[Step]:
    return (step for each in facts for step in each.steps)


def leaving(revision: str, facts: Facts) -> list[str]:
    """Warnings about a revision to run that leaves its transaction, or cannot run in one."""
    named = f"Revision {revision} ({facts.path})"
    said = []
    raw = _at(each for each in facts.leaves if each[1] != AUTOCOMMIT_BLOCK)
    if raw:
        said.append(
            f"{named} ends its transaction by itself ({raw}): what ran before is committed, what comes after it "
            "commits by itself, and none of it is rolled back if the run fails."
        )
    elif facts.leaves:
        said.append(
            f"{named} leaves its transaction ({_at(facts.leaves)}): what ran before is committed, "
            "and is not rolled back if the run fails."
        )
    if facts.fails:
        said.append(
            f"{named} runs what PostgreSQL refuses inside a transaction ({_at(facts.fails)}): "
            "put it into `with op.get_context().autocommit_block():`."
        )
    return said


def _at(places: Iterable[tuple[int, str]]) -> str:
    return ", ".join(f"{words} in line {line}" for line, words in places)


def unordered_foreign_keys(
    graph: Graph, facts: Mapping[str, Facts], location: str, branch: str, pending: Iterable[str]
) -> str:
    """A warning about the first foreign key out of a branch that nothing but the order of locations provides for.

    That is one to a table which no revision of ``location`` makes, in a pending revision that has
    nothing of another location among its ancestors, by ``depends_on`` or otherwise. Empty where
    there is none.

    :param facts: of all revision files of ``location``, by path.
    :param branch: what people call it.
    :param pending: the pending revisions, in order.
    """
    revisions = [revision for revision in graph.revisions.values() if revision.location == location]
    known = [facts[revision.path] for revision in revisions if revision.path in facts]
    own = {step.to or step.name for step in _steps(known) if step.verb in (CREATE, RENAME)}
    for revision in (graph.revisions[name] for name in pending):
        if revision.location != location or revision.path not in facts:
            continue
        away = sorted(facts[revision.path].referenced - own)
        if away and all(graph.revisions[name].location == location for name in graph.ancestors([revision.revision])):
            return (
                f"Revision {revision.revision} of {branch} ({revision.path}) makes a foreign key to {', '.join(away)}, "
                "which another branch makes, and has no depends_on: only the order of version_locations puts that "
                "branch first. Name in depends_on the revision that it needs."
            )
    return ""


class _Unknown:
    """A value that the text does not tell. ``references``: the tables of the foreign keys in it."""

    def __init__(self, references: Sequence[str] = ()) -> None:
        self.references = tuple(references)


@dataclass(frozen=True)
class _Thing:
    """Something of Alembic's: ``alembic``, ``op``, ``batch`` (of a table), ``context``, ``bind`` or ``autocommit``."""

    kind: str
    table: str = ""


@dataclass(frozen=True)
class _Method:
    """An attribute of a value, as yet uncalled."""

    owner: Any
    name: str


_UNKNOWN = _Unknown()
# Stands for what is not known inside a string. It is a letter to the SQL reader, and in nobody's names.
_HOLE = "\u02ad"
# Further than this no loop or chain of helpers is followed.
_LOOPS = 1000
_CALLS = 20

# Where the table's name is among the positional arguments of an operation (alembic/operations/ops.py).
_TABLE_AT = {
    "add_column": 0,
    "alter_column": 0,
    "create_check_constraint": 1,
    "create_exclude_constraint": 1,
    "create_index": 1,
    "create_primary_key": 1,
    "create_table_comment": 0,
    "create_unique_constraint": 1,
    "drop_column": 0,
    "drop_constraint": 1,
    "drop_index": 1,
    "drop_table_comment": 0,
}
_NO_TABLE = frozenset(("bulk_insert", "inline_literal"))
_RUN_SQL = frozenset(("execute", "executemany", "exec_driver_sql", "scalar", "scalars"))
_OF_STRINGS = frozenset(("format", "join", "lower", "lstrip", "replace", "rstrip", "strip", "upper"))
_SAME_TEXT = frozenset(("text", "DDL", "SQL", "quoted_name"))


class _Reading:
    """One run through a file's statements, in which values are followed as far as they are literal."""

    def __init__(self, tree: ast.Module) -> None:
        self.steps: list[Step] = []
        self.leaves: list[tuple[int, str]] = []
        self.fails: list[tuple[int, str]] = []
        self.indexes: list[str] = []
        self.unread: list[int] = []
        self._autocommit = 0
        self._callers: list[str] = []
        self._module: dict[str, Any] = {}
        self._functions = {each.name: each for each in tree.body if isinstance(each, ast.FunctionDef)}
        self._body(tree.body, self._module)

    def call(self, name: str, arguments: Sequence[Any] = (), named: Mapping[str, Any] | None = None) -> Any:
        """Follow a function of the file; returns what it returns last."""
        function = self._functions.get(name)
        if function is None or name in self._callers or len(self._callers) >= _CALLS:
            return _UNKNOWN
        parameters = [each.arg for each in (*function.args.posonlyargs, *function.args.args)]
        scope: dict[str, Any] = dict.fromkeys((*parameters, *(each.arg for each in function.args.kwonlyargs)), _UNKNOWN)
        defaults = function.args.defaults
        for parameter, default in zip(parameters[len(parameters) - len(defaults) :], defaults):
            scope[parameter] = self._value(default, self._module)
        for key, value in zip(function.args.kwonlyargs, function.args.kw_defaults):
            if value is not None:
                scope[key.arg] = self._value(value, self._module)
        scope.update(zip(parameters, arguments))
        scope.update(named or {})
        self._callers.append(name)
        result = self._body(function.body, scope)
        self._callers.pop()
        return result

    # Statements

    def _body(self, statements: Iterable[ast.stmt], scope: dict[str, Any]) -> Any:
        result: Any = _UNKNOWN
        for statement in statements:
            found = self._statement(statement, scope)
            if found is not _UNKNOWN:
                result = found
        return result

    def _statement(self, statement: ast.stmt, scope: dict[str, Any]) -> Any:
        """Follow one statement; returns what it returns, where it does."""
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            self._import(statement, scope)
        elif isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            if isinstance(statement, ast.FunctionDef):
                self._functions.setdefault(statement.name, statement)
        elif isinstance(statement, ast.Return):
            return self._value(statement.value, scope) if statement.value else _UNKNOWN
        elif isinstance(statement, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            self._assign(statement, scope)
        elif isinstance(statement, (ast.For, ast.AsyncFor)):
            return self._loop(statement.target, self._value(statement.iter, scope), scope,
                              lambda: self._body([*statement.body, *statement.orelse], scope))  # fmt: skip
        elif isinstance(statement, (ast.With, ast.AsyncWith)):
            return self._with(statement, scope)
        else:
            return self._anything(statement, scope)
        return _UNKNOWN

    def _anything(self, statement: ast.AST, scope: dict[str, Any]) -> Any:
        """Any other statement: all that is in it, in its order."""
        result: Any = _UNKNOWN
        for child in ast.iter_child_nodes(statement):
            if isinstance(child, ast.expr):
                self._value(child, scope)
            elif isinstance(child, ast.stmt):
                found = self._statement(child, scope)
                result = result if found is _UNKNOWN else found
            else:
                result = self._anything(child, scope)
        return result

    def _import(self, statement: ast.Import | ast.ImportFrom, scope: dict[str, Any]) -> None:
        for alias in statement.names:
            name = alias.asname or alias.name.partition(".")[0]
            scope[name] = _UNKNOWN
            if isinstance(statement, ast.ImportFrom):
                if statement.module == "alembic" and alias.name in ("op", "context"):
                    scope[name] = _Thing(alias.name)
                else:
                    # `text`, `dedent`, `ForeignKey` under whatever name
                    scope[name] = _Method(_UNKNOWN, alias.name)
            elif alias.name == "alembic" or (alias.name.startswith("alembic.") and not alias.asname):
                scope[name] = _Thing("alembic")
            elif alias.name == "alembic.op":
                scope[name] = _Thing("op")

    def _assign(self, statement: ast.Assign | ast.AnnAssign | ast.AugAssign, scope: dict[str, Any]) -> None:
        value = self._value(statement.value, scope) if statement.value else _UNKNOWN
        if isinstance(statement, ast.AugAssign):
            before = self._value(statement.target, scope)
            value = _calculated(statement.op, before, value)
        for target in statement.targets if isinstance(statement, ast.Assign) else [statement.target]:
            self._bind(target, value, scope)

    def _bind(self, target: ast.expr, value: Any, scope: dict[str, Any]) -> None:
        if isinstance(target, ast.Name):
            scope[target.id] = value
        elif isinstance(target, (ast.Tuple, ast.List)):
            fits = isinstance(value, (tuple, list)) and len(value) == len(target.elts)
            for each, part in zip(target.elts, value if fits else [_UNKNOWN] * len(target.elts)):
                self._bind(each, part, scope)

    def _loop(self, target: ast.expr, values: Any, scope: dict[str, Any], body: Callable[[], Any]) -> Any:
        """Follow a loop's body for each value where these are known, else once."""
        result: Any = _UNKNOWN
        known = isinstance(values, (tuple, list, dict)) and len(values) <= _LOOPS
        for value in list(values) if known else [_UNKNOWN]:
            self._bind(target, value, scope)
            result = body()
        return result

    def _with(self, statement: ast.With | ast.AsyncWith, scope: dict[str, Any]) -> Any:
        before = self._autocommit
        for item in statement.items:
            value = self._value(item.context_expr, scope)
            if value == _Thing("autocommit"):
                self._autocommit += 1
                self.leaves.append((statement.lineno, AUTOCOMMIT_BLOCK))
            if item.optional_vars is not None:
                self._bind(item.optional_vars, value, scope)
        result = self._body(statement.body, scope)
        self._autocommit = before
        return result

    # Expressions

    def _value(self, node: ast.expr, scope: dict[str, Any]) -> Any:
        """What an expression comes to, all operations in it followed on the way."""
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            return scope.get(node.id, self._module.get(node.id, _UNKNOWN))
        if isinstance(node, ast.Attribute):
            return _attribute(self._value(node.value, scope), node.attr)
        if isinstance(node, ast.Call):
            return self._called(node, scope)
        if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
            return self._elements(node.elts, scope)
        if isinstance(node, ast.Dict):
            return self._dictionary(node, scope)
        if isinstance(node, ast.JoinedStr):
            return self._joined(node, scope)
        if isinstance(node, ast.BinOp):
            return _calculated(node.op, self._value(node.left, scope), self._value(node.right, scope))
        if isinstance(node, (ast.ListComp, ast.SetComp, ast.GeneratorExp)):
            return self._comprehension(node, scope)
        if isinstance(node, ast.Subscript):
            return _item(self._value(node.value, scope), self._value(node.slice, scope))
        parts = [self._value(child, scope) for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
        return _Unknown(_references(parts))

    def _elements(self, nodes: Iterable[ast.expr], scope: dict[str, Any]) -> list[Any]:
        values: list[Any] = []
        for node in nodes:
            if isinstance(node, ast.Starred):
                value = self._value(node.value, scope)
                values += list(value) if isinstance(value, (tuple, list)) else [value]
            else:
                values.append(self._value(node, scope))
        return values

    def _dictionary(self, node: ast.Dict, scope: dict[str, Any]) -> dict[Any, Any]:
        found = {}
        for key, value in zip(node.keys, node.values):
            name = self._value(key, scope) if key else _UNKNOWN
            content = self._value(value, scope)
            if isinstance(name, (str, int)):
                found[name] = content
        return found

    def _joined(self, node: ast.JoinedStr, scope: dict[str, Any]) -> str:
        text = ""
        for part in node.values:
            value = self._value(part.value if isinstance(part, ast.FormattedValue) else part, scope)
            plain = not isinstance(part, ast.FormattedValue) or (part.format_spec is None and part.conversion == -1)
            text += str(value) if plain and isinstance(value, (str, int)) else _HOLE
        return text

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp, scope: dict[str, Any]) -> Any:
        if len(node.generators) != 1:
            return _UNKNOWN
        [generator] = node.generators
        inner = dict(scope)
        values: list[Any] = []
        source = self._value(generator.iter, scope)
        self._loop(generator.target, source, inner, lambda: values.append(self._value(node.elt, inner)))
        known = isinstance(source, (tuple, list, dict)) and not generator.ifs
        return values if known else _Unknown(_references(values))

    def _called(self, node: ast.Call, scope: dict[str, Any]) -> Any:
        function = self._value(node.func, scope)
        arguments = self._elements(node.args, scope)
        named = {each.arg: self._value(each.value, scope) for each in node.keywords if each.arg}
        for each in node.keywords:
            if not each.arg:
                self._value(each.value, scope)
        if isinstance(node.func, ast.Name) and node.func.id in self._functions:
            return self.call(node.func.id, arguments, named)
        if not isinstance(function, _Method):
            if isinstance(node.func, ast.Name) and not isinstance(function, _Thing):
                function = _Method(_UNKNOWN, node.func.id)
            else:
                return _Unknown(_references([*arguments, *named.values()]))
        return self._method(function.owner, function.name, _Arguments(arguments, named, node.lineno))

    def _method(self, owner: Any, name: str, given: _Arguments) -> Any:
        if isinstance(owner, _Thing) and owner.kind in ("op", "batch"):
            return self._operation(owner, name, given)
        if name == "autocommit_block":
            return _Thing("autocommit")
        if name in _RUN_SQL:
            self._run_sql(given)
            return _UNKNOWN
        if owner == _Thing("bind"):
            return self._on_connection(name, given)
        if owner == _Thing("context") and name in ("get_bind", "get_context"):
            return _Thing(name[4:])
        if isinstance(owner, str) and name in _OF_STRINGS:
            return _of_string(owner, name, given)
        if isinstance(owner, dict) and name in ("items", "keys", "values"):
            return [list(each) if name == "items" else each for each in getattr(owner, name)()]
        if name == "ForeignKey":
            return _Unknown(_tables_of([given.value(0, "column")]))
        if name == "ForeignKeyConstraint":
            return _Unknown(_tables_of(given.value(1, "refcolumns")))
        if name in ("create_all", "drop_all"):
            self.unread.append(given.line)
        if name in _SAME_TEXT or name in ("dedent", "str", "tuple", "list", "sorted", "cleandoc"):
            return _same(name, given.value(0, "text"))
        return _Unknown(_references(given.everything))

    def _on_connection(self, name: str, given: _Arguments) -> Any:
        if name in ("commit", "rollback"):
            self.leaves.append((given.line, f"{name}()"))
        elif name == "execution_options" and given.named.get("isolation_level") == "AUTOCOMMIT":
            self.leaves.append((given.line, "isolation_level AUTOCOMMIT"))
            return _Thing("bind")
        elif name in ("execution_options", "cursor"):
            return _Thing("bind")
        return _UNKNOWN

    # Operations

    def _operation(self, owner: _Thing, name: str, given: _Arguments) -> Any:
        """A directive of ``op``, or of a batch, whose table is none of its arguments."""
        if name in ("get_bind", "get_context"):
            return _Thing(name[4:])
        if name == "f":
            return given.value(0, "name")
        if name == "execute":
            self._run_sql(given)
        elif name == "batch_alter_table":
            table = self._step(ALTER, given, given.value(0, "table_name"))
            return _Thing("batch", table)
        elif name == "create_table":
            self._step(CREATE, given, given.value(0, "table_name"))
            self._refer(given)
        elif name == "drop_table":
            self._step(DROP, given, given.value(0, "table_name"))
        elif name == "rename_table":
            new = given.value(1, "new_table_name")
            self._step(RENAME, given, given.value(0, "old_table_name"), to=new)
        elif name == "create_foreign_key":
            shift = 0 if owner.kind == "op" else 1
            source = given.value(1, "source_table", "source") if owner.kind == "op" else owner.table
            self._step(ALTER, given, source, schema="source_schema")
            referent = given.value(2 - shift, "referent_table", "referent")
            self._step(REFERENCE, given, referent, schema="referent_schema")
        elif name in _TABLE_AT:
            self._on_table(owner, name, given)
        elif name not in _NO_TABLE:
            self.unread.append(given.line)
        return _UNKNOWN

    def _on_table(self, owner: _Thing, name: str, given: _Arguments) -> None:
        table = owner.table if owner.kind == "batch" else given.value(_TABLE_AT[name], "table_name", "tablename")
        if name.endswith("_index"):
            if given.named.get("postgresql_concurrently"):
                self._outside(given.line, f"{name[:-6].upper()} INDEX CONCURRENTLY")
                if name == "create_index":
                    index = given.value(0, "index_name", "name")
                    self.indexes.append(_in_schema(index, given.named.get("schema")))
            if name == "drop_index" and not table:
                return
        self._step(ALTER, given, table)
        self._refer(given)

    def _refer(self, given: _Arguments) -> None:
        for table in _references(given.everything):
            self._step(REFERENCE, given, table, schema="")

    def _step(self, verb: str, given: _Arguments, table: Any, to: Any = "", schema: str = "schema") -> str:
        """Note a step; returns the table's name, empty where it is not known."""
        where = given.named.get(schema)
        if not _is_name(table) or (to and not _is_name(to)) or isinstance(where, _Unknown):
            # A foreign key to a table of unknown name is made of an unknown column, of which there is no end.
            self.unread.append(given.line)
            return ""
        self.steps.append(Step(verb, _in_schema(table, where), _in_schema(to, where) if to else "", given.line))
        return self.steps[-1].name

    def _run_sql(self, given: _Arguments) -> None:
        text = given.value(0, "sqltext", "statement", "sql")
        if not isinstance(text, str):
            return
        for step in sql.steps(text):
            if step.verb == TRANSACTION:
                self.leaves.append((given.line, step.name))
            elif step.verb == OUTSIDE:
                self._outside(given.line, step.name)
            elif step.verb == CONCURRENT_INDEX:
                self.indexes.append(step.name)
            elif _HOLE in step.name + step.to:
                self.unread.append(given.line)
            else:
                self.steps.append(replace(step, line=given.line))

    def _outside(self, line: int, words: str) -> None:
        if not self._autocommit:
            self.fails.append((line, words))


@dataclass(frozen=True)
class _Arguments:
    """What a call was given."""

    positional: list[Any]
    named: dict[str, Any]
    line: int

    @property
    def everything(self) -> list[Any]:
        return [*self.positional, *self.named.values()]

    def value(self, position: int, *names: str) -> Any:
        """An argument by position or by one of its names; None where it was left out."""
        if position < len(self.positional):
            return self.positional[position]
        return next((self.named[name] for name in names if name in self.named), None)


def _attribute(owner: Any, name: str) -> Any:
    if isinstance(owner, _Thing):
        if owner.kind == "alembic" and name in ("op", "context"):
            return _Thing(name)
        if owner.kind in ("context", "bind") and name in ("bind", "connection"):
            return _Thing("bind")
    return _Method(owner, name)


def _calculated(operator: ast.operator, left: Any, right: Any) -> Any:
    """``+`` of strings and lists, ``%`` of a string; a hole where a part is not known."""
    if isinstance(operator, ast.Add):
        if isinstance(left, str) or isinstance(right, str):
            return "".join(each if isinstance(each, str) else _HOLE for each in (left, right))
        if isinstance(left, list) and isinstance(right, list):
            return left + right
    if isinstance(operator, ast.Mod) and isinstance(left, str):
        try:
            return left % _plain(right)
        except (TypeError, ValueError, KeyError):
            return _HOLE
    return _Unknown(_references([left, right]))


def _of_string(text: str, name: str, given: _Arguments) -> str:
    try:
        positional = [_plain(value) for value in given.positional]
        named = {key: _plain(value) for key, value in given.named.items()}
        return str(getattr(text, name)(*positional, **named))
    except (TypeError, ValueError, LookupError, AttributeError):
        return _HOLE


def _plain(value: Any) -> Any:
    """``value`` as Python's own operations take it, with holes for what is not known."""
    if isinstance(value, (str, int, float, type(None))):
        return value
    if isinstance(value, list):
        return tuple(_plain(each) for each in value)
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return _HOLE


def _same(name: str, value: Any) -> Any:
    """What a call gives back that changes nothing about its argument, or only its shape."""
    if isinstance(value, str) and name in ("dedent", "cleandoc"):
        return textwrap.dedent(value)
    if name in _SAME_TEXT and not isinstance(value, str):
        return _HOLE
    return value


def _item(value: Any, key: Any) -> Any:
    try:
        return value[key] if isinstance(value, (list, tuple, dict)) else _UNKNOWN
    except (LookupError, TypeError):
        return _UNKNOWN


def _references(values: Iterable[Any]) -> list[str]:
    """The tables that foreign keys anywhere in ``values`` lead to."""
    found: list[str] = []
    for value in values:
        if isinstance(value, _Unknown):
            found += value.references
        elif isinstance(value, (list, tuple)):
            found += _references(value)
    return found


def _tables_of(columns: Any) -> list[str]:
    """``table`` and ``schema.table`` out of ``table.column`` and ``schema.table.column``."""
    known = [column for column in columns if isinstance(column, str)] if isinstance(columns, list) else []
    return [column.rpartition(".")[0] for column in known if "." in column and _HOLE not in column]


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value) and _HOLE not in value


def _in_schema(name: Any, schema: Any) -> str:
    if not _is_name(name):
        return ""
    return f"{schema}.{name}" if _is_name(schema) else str(name)
