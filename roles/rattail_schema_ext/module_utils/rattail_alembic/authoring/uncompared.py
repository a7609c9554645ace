# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What Alembic's autogenerate does not compare: indexes on expressions, check constraints, whether there is a default.

Under SQLAlchemy 1.4 it leaves an index on an expression out, even of a table that it creates. What is certain is
written; everything else becomes a hint for a person. A ``cursor`` is a plain DBAPI cursor of psycopg2's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..postgres.connection import run
from .operations import flat, tables_created

_INDEXES = """
select c.relname, i.relname, x.indexprs is not null, pg_get_indexdef(i.oid) from pg_index x
join pg_class c on c.oid = x.indrelid join pg_class i on i.oid = x.indexrelid where pg_table_is_visible(c.oid)
order by 1, 2
"""
_CHECKS = """
select c.relname, k.conname from pg_constraint k join pg_class c on c.oid = k.conrelid
where k.contype = 'c' and pg_table_is_visible(c.oid)
"""
# Not those that the database fills by itself: generated columns, and the numbers of a serial one.
_DEFAULTS = """
select c.relname, a.attname, d.oid is not null from pg_attribute a join pg_class c on c.oid = a.attrelid
left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
where c.relkind in ('r', 'p') and pg_table_is_visible(c.oid) and a.attnum > 0 and not a.attisdropped
and a.attgenerated = '' and a.attidentity = '' and coalesce(pg_get_expr(d.adbin, d.adrelid), '') not like 'nextval(%'
"""


def add_indexes(container: Any, tables: Iterable[Any], cursor: Any) -> None:
    """Put the creation of an index on an expression into an ``UpgradeOps``, where the database has none of its name."""
    from alembic.operations.ops import CreateIndexOp

    there = {index for _, index, *_ in run(cursor, _INDEXES)}
    there |= {each.index_name for each in flat(container, "CreateIndexOp")}
    for table in tables:
        for index in sorted(table.indexes, key=lambda each: str(each.name)):
            if index.name and _is_on_expression(index) and str(index.name) not in there:
                container.ops.append(CreateIndexOp.from_index(index))


def _is_on_expression(index: Any) -> bool:
    from sqlalchemy import Column
    from sqlalchemy.sql.elements import UnaryExpression

    for expression in index.expressions:
        while isinstance(expression, UnaryExpression):
            expression = expression.element
        if not isinstance(expression, Column):
            return True
    return False


def restore_indexes(script: Any, cursor: Any) -> None:
    """Have the downgrade of a ``MigrationScript`` make the indexes on expressions of tables that it drops again."""
    from alembic.operations.ops import ExecuteSQLOp

    dropped = {each.table_name for each in flat(script.upgrade_ops, "DropTableOp")}
    for table, _, expression, definition in run(cursor, _INDEXES):
        if table in dropped and expression:
            # op.execute of a string takes a colon for a parameter
            script.downgrade_ops.ops.append(ExecuteSQLOp(definition.replace(":", "\\:")))


def hints(container: Any, tables: Iterable[Any], dialect: Any, cursor: Any) -> list[str]:
    """What models and database do not agree on in tables that both have, in sentences.

    :param container: an ``UpgradeOps``; there are no sentences about what it creates and adds.
    """
    from sqlalchemy import CheckConstraint

    created, found = tables_created(container), []
    both = {table.name: table for table in tables if table.name not in created}
    for table, index, expression, _ in run(cursor, _INDEXES):
        if expression and table in both and index not in {str(each.name) for each in both[table].indexes}:
            found.append(_hint(f"the index {index} on {table}", f"op.drop_index({index!r})", modelled=False))
    # under the name in the database: by convention, and no longer than names may be
    checks = {
        (table.name, str(dialect.identifier_preparer.format_constraint(each) or "").strip('"')): each
        for table in both.values()
        for each in table.constraints
        if isinstance(each, CheckConstraint) and each.name is not None
    }
    # the check of a type (Boolean, Enum) is made only where the type wants it
    made = {key for key, check in checks.items() if getattr(check, "_create_rule", None) is None}
    there = {(table, name) for table, name in run(cursor, _CHECKS) if table in both}
    for table, name in sorted(made - there):
        line = f"op.create_check_constraint(op.f({name!r}), {table!r}, …)"
        found.append(_hint(f"the check constraint {name} of {table}", line, modelled=True))
    for table, name in sorted(there - checks.keys()):
        line = f"op.drop_constraint(op.f({name!r}), {table!r})"
        found.append(_hint(f"the check constraint {name} of {table}", line, modelled=False))
    defaults = {(table, column): default for table, column, default in run(cursor, _DEFAULTS)}
    for table in both.values():
        for column in table.columns:
            modelled = column.server_default is not None
            if defaults.get((table.name, column.name), modelled) != modelled:
                default = "…" if modelled else "None"
                line = f"op.alter_column({table.name!r}, {column.name!r}, server_default={default})"
                found.append(_hint(f"a default of {table.name}.{column.name}", line, modelled=modelled))
    return found


def _hint(thing: str, line: str, *, modelled: bool) -> str:
    """A sentence about what only one side has: the models, or else the database. ``line`` makes or drops it."""
    sides, remedy = ("models have", "database has"), "write it"
    if not modelled:
        sides, remedy = ("database has", "models have"), "add it to the model, or drop it"
    return f"The {sides[0]} {thing}, the {sides[1]} not, which Alembic does not compare: {remedy} by hand ({line})."
