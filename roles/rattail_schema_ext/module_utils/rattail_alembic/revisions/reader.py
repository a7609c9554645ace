# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads the statements of a revision's function, as far as they are written out.

That is: operations with literal names, and SQL that is one literal string. All branches of an ``if`` are taken
for run. A computed name, an f-string, a call of a helper and whatever else cannot be read is "not read": its
line is kept.
"""

from __future__ import annotations

import ast
import builtins
from typing import NamedTuple

from . import sql
from .sql import ALTER, CONCURRENT_INDEX, CREATE, DROP, OUTSIDE, REFERENCE, RENAME, TRANSACTION, Step

AUTOCOMMIT_BLOCK = "autocommit_block"


class _Thing(NamedTuple):
    """Something of Alembic's: ``op``, a ``batch`` of a table, a migration ``context`` or a ``bind`` (connection)."""

    kind: str
    table: str = ""


# Operations on tables, by where the table's name is among the arguments (alembic/operations/ops.py). In a batch it is
# none of them. What is not named here alters the table.
_VERBS = {"create_table": CREATE, "drop_table": DROP, "rename_table": RENAME}
_AT_FIRST = {"add_column", "alter_column", "drop_column", "create_table_comment", "drop_table_comment", *_VERBS}
_CONSTRAINTS = ("foreign_key", "primary_key", "check_constraint", "exclude_constraint", "unique_constraint")
_AT_SECOND = {"create_index", "drop_index", "drop_constraint", *(f"create_{each}" for each in _CONSTRAINTS)}
_OPERATIONS = {"batch_alter_table": 0, **dict.fromkeys(_AT_FIRST, 0), **dict.fromkeys(_AT_SECOND, 1)}
_KEYS = {"ForeignKey": (0, "column"), "ForeignKeyConstraint": (1, "refcolumns")}
_TABLE_NAMES = ("table_name", "tablename", "old_table_name", "source_table", "source")
# Attributes that lead from one thing to another, and those that do nothing to tables or to the transaction.
_GIVES = {"get_bind": "bind", "get_context": "context", "execution_options": "bind", "cursor": "bind"}
_GIVES |= {"bind": "bind", "connection": "bind"}
_DOES_NOTHING = {"f", "bulk_insert", "inline_literal", "begin_nested", "close", "dialect", "fetchall", "fetchone"}
_DOES_NOTHING |= {"in_transaction", "is_offline_mode", "as_sql", AUTOCOMMIT_BLOCK}
_RUN_SQL = {"execute", "executemany", "exec_driver_sql", "scalar", "scalars"}
# Calls whose argument, or whose owner, is the SQL; statements about rows, and the modules that reach no database.
_SAME_SQL = {"text", "DDL", "SQL", "dedent"}
_SQL_WITH = {"bindparams", "columns", "execution_options"}
_ABOUT_ROWS = {"insert", "update", "delete", "select"}
_HARMLESS = {"alembic", "sqlalchemy", "logging", "warnings", "time"}


class Reader(ast.NodeVisitor):
    """Goes through the statements of one function, and takes down what is written out in them."""

    def __init__(self, tree: ast.Module) -> None:
        self.steps: list[Step] = []
        self.leaves: list[tuple[int, str]] = []
        self.fails: list[tuple[int, str]] = []
        self.indexes: list[str] = []
        self.unread: list[int] = []
        self._autocommit = 0
        self._things: dict[str, _Thing | None] = {}
        self._imports: dict[str, str] = {}
        self._helpers = {each.name for each in ast.walk(tree) if isinstance(each, ast.FunctionDef)}
        for each in ast.walk(tree):
            if isinstance(each, (ast.Import, ast.ImportFrom)):
                origin = f"{each.module}." if isinstance(each, ast.ImportFrom) else ""
                for alias in each.names:
                    name = alias.asname or alias.name.partition(".")[0]
                    self._imports[name] = origin + (alias.name if origin or alias.asname else name)

    def read(self, statements: list[ast.stmt]) -> None:
        """Read these statements after those before."""
        for statement in statements:
            self.visit(statement)

    # Names

    def _full_name(self, node: ast.expr) -> str:
        """``alembic.op.execute`` and the like by way of the imports; of anything else at least the last part."""
        if isinstance(node, ast.Name):
            return self._imports.get(node.id, node.id)
        return f"{self._full_name(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ""

    def _last_name(self, node: ast.expr) -> str:
        return self._full_name(node).rpartition(".")[2]

    def _thing(self, node: ast.expr) -> _Thing | None:
        """What of Alembic's an expression is."""
        name = self._full_name(node)
        if name in ("alembic.op", "alembic.context"):
            return _Thing(name.rpartition(".")[2])
        if isinstance(node, ast.Name):
            return self._things.get(node.id)
        source = node.func if isinstance(node, ast.Call) else node
        if not isinstance(source, ast.Attribute) or self._thing(source.value) is None:
            return None
        if isinstance(node, ast.Call) and source.attr == "batch_alter_table":
            return _Thing("batch", self._table(node, _argument(node, 0, *_TABLE_NAMES)))
        return _Thing(_GIVES[source.attr]) if source.attr in _GIVES else None

    def _bind(self, target: ast.expr | None, value: ast.expr) -> None:
        if isinstance(target, ast.Name):
            self._things[target.id] = self._thing(value)

    def _literal(self, node: ast.expr | None) -> str:
        """A string that is written out, maybe in ``op.f()``; empty for anything else."""
        if isinstance(node, ast.Call) and self._full_name(node.func) == "alembic.op.f":
            node = _argument(node, 0, "name")
        return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""

    def _table(self, call: ast.Call, node: ast.expr | None, schema: str = "schema") -> str:
        """A table (or an index) by its literal name, with its literal schema; empty where one of them is none."""
        name, given = self._literal(node), _keyword(call, schema)
        if not name or given is None or (isinstance(given, ast.Constant) and given.value is None):
            return name
        where = self._literal(given)
        return f"{where}.{name}" if where else ""

    # Statements

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """What is in a helper counts only where it is called, which is not followed."""

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            self._bind(target, node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value:
            self.visit(node.value)
            self._bind(node.target, node.value)

    def visit_With(self, node: ast.With) -> None:
        before = self._autocommit
        for item in node.items:
            value = item.context_expr
            self.visit(value)
            self._bind(item.optional_vars, value)
            if isinstance(value, ast.Call) and self._last_name(value.func) == AUTOCOMMIT_BLOCK:
                self._autocommit += 1
        self.read(node.body)
        self._autocommit = before

    def visit_Expr(self, node: ast.Expr) -> None:
        """A call that stands alone: what it does cannot be told where it leads to another name or module."""
        self.visit(node.value)
        base = node.value.func if isinstance(node.value, ast.Call) else None
        bare = isinstance(base, ast.Name)
        while isinstance(base, ast.Attribute):
            base = base.value
        if isinstance(base, ast.Name):
            package = self._imports.get(base.id, "").partition(".")[0]
            if package not in _HARMLESS if package else bare and not hasattr(builtins, base.id):
                self.unread.append(node.lineno)

    # Expressions

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if self._thing(node.value) and node.attr not in _GIVES and node.attr not in _DOES_NOTHING:
            self.unread.append(node.lineno)
        self.visit(node.value)

    def visit_Call(self, node: ast.Call) -> None:
        function, name = node.func, self._last_name(node.func)
        owner = self._thing(function.value) if isinstance(function, ast.Attribute) else None
        if owner and owner.kind in ("op", "batch") and name in _OPERATIONS:
            self._operation(owner, name, node)
        elif name in _RUN_SQL:
            self._run_sql(node)
        elif name == AUTOCOMMIT_BLOCK:
            self.leaves.append((node.lineno, name))
        elif owner == _Thing("bind") and name in ("commit", "rollback"):
            self.leaves.append((node.lineno, f"{name}()"))
        elif owner and name == "execution_options" and (level := _keyword(node, "isolation_level")):
            if self._literal(level) == "AUTOCOMMIT":
                self.leaves.append((node.lineno, "isolation_level AUTOCOMMIT"))
            else:
                self.unread.append(node.lineno)
        elif (owner and name not in _GIVES and name not in _DOES_NOTHING) or name in self._helpers or not name:
            self.unread.append(node.lineno)
        self.visit(function.value if isinstance(function, ast.Attribute) else function)
        for argument in (*node.args, *(each.value for each in node.keywords)):
            if self._thing(argument) and name != "inspect":
                self.unread.append(node.lineno)
            self.visit(argument)

    def _operation(self, owner: _Thing, name: str, call: ast.Call) -> None:
        """An operation; in a batch, whose table is none of its arguments, these are one fewer."""
        verb = _VERBS.get(name, ALTER)
        in_batch, key = owner.kind == "batch", name == "create_foreign_key"
        if any(each.arg is None for each in call.keywords):
            self.unread.append(call.lineno)
            return
        node = _argument(call, _OPERATIONS[name], *_TABLE_NAMES)
        table = owner.table if in_batch else self._table(call, node, "source_schema" if key else "schema")
        if name.endswith("_index") and (value := _keyword(call, "postgresql_concurrently")):
            self._concurrent_index(name, call, value)
        if verb == RENAME:
            to = self._table(call, _argument(call, 1, "new_table_name"))
            self._step(verb, call, table if to else "", to)
        elif in_batch or node is not None or name != "drop_index":
            self._step(verb, call, table)
        if key:
            node = _argument(call, 1 if in_batch else 2, "referent_table", "referent")
            self._step(REFERENCE, call, self._table(call, node, "referent_schema"))
        if name in ("create_table", "add_column"):
            column = _keyword(call, "column")
            self._columns(call, [*call.args[0 if in_batch else 1 :], *([column] if column else [])])

    def _columns(self, call: ast.Call, parts: list[ast.expr]) -> None:
        """Columns and constraints, for the foreign keys in them."""
        for part in parts:
            name = self._last_name(part.func) if isinstance(part, ast.Call) else ""
            if name not in ("Column", "Index") and not name.endswith("Constraint"):
                self.unread.append(part.lineno)
            for each in ast.walk(part):
                kind = self._last_name(each.func) if isinstance(each, ast.Call) else ""
                if isinstance(each, ast.Call) and kind in _KEYS:
                    to = _argument(each, *_KEYS[kind])
                    for column in to.elts if isinstance(to, (ast.List, ast.Tuple)) else [to]:
                        self._step(REFERENCE, call, self._literal(column).rpartition(".")[0])

    def _concurrent_index(self, name: str, call: ast.Call, value: ast.expr) -> None:
        index = self._table(call, _argument(call, 0, "index_name", "name"))
        if not isinstance(value, ast.Constant) or not index:
            self.unread.append(call.lineno)
        elif value.value:
            self._outside(call.lineno, f"{name[:-6].upper()} INDEX CONCURRENTLY")
            self.indexes += [index] * (name == "create_index")

    def _step(self, verb: str, call: ast.Call, table: str, to: str = "") -> None:
        if table:
            self.steps.append(Step(verb, table, to, call.lineno))
        else:
            self.unread.append(call.lineno)

    def _run_sql(self, call: ast.Call) -> None:
        node = _argument(call, 0, "sqltext", "statement", "sql")
        text = self._sql(node)
        if node is not None and not text and not self._is_about_rows(node):
            self.unread.append(call.lineno)
        for step in sql.steps(text):
            if step.verb == TRANSACTION:
                self.leaves.append((call.lineno, step.name))
            elif step.verb == OUTSIDE:
                self._outside(call.lineno, step.name)
            elif step.verb == CONCURRENT_INDEX:
                self.indexes.append(step.name)
            else:
                self.steps.append(step._replace(line=call.lineno))

    def _sql(self, node: ast.expr | None) -> str:
        """SQL that is one literal string, maybe in ``sa.text()``; empty for anything else."""
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _SQL_WITH:
            return self._sql(node.func.value)
        if isinstance(node, ast.Call) and self._last_name(node.func) in _SAME_SQL:
            return self._sql(_argument(node, 0, "text", "statement"))
        return self._literal(node)

    def _is_about_rows(self, node: ast.expr) -> bool:
        """Whether this is a statement like ``table.update().where()``, which changes no table itself."""
        if isinstance(node, ast.Call):
            return self._last_name(node.func) in _ABOUT_ROWS or self._is_about_rows(node.func)
        return isinstance(node, ast.Attribute) and self._is_about_rows(node.value)

    def _outside(self, line: int, words: str) -> None:
        if not self._autocommit:
            self.fails.append((line, words))


def _keyword(call: ast.Call, *names: str) -> ast.expr | None:
    return next((each.value for each in call.keywords if each.arg in names), None)


def _argument(call: ast.Call, position: int, *names: str) -> ast.expr | None:
    """An argument by position or by one of its names; None where it was left out."""
    return call.args[position] if position < len(call.args) else _keyword(call, *names)
