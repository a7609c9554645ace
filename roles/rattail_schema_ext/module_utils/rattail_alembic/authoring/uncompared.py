# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What Alembic's autogenerate does not compare: indexes on expressions, check constraints, whether there is a default.

Under SQLAlchemy 1.4 it leaves an index on an expression out, even of a table that it creates. What is certain is
written; everything else becomes a hint for a person.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..policy.prefixes import Prefixes
from ..postgres.connection import run
from .operations import flat, tables_created

_INDEXES = """
select c.relname, i.relname, x.indexprs is not null, pg_get_indexdef(i.oid) from pg_index x
join pg_class c on c.oid = x.indrelid join pg_class i on i.oid = x.indexrelid where pg_table_is_visible(c.oid)
"""
_CHECKS = """
select c.relname, k.conname from pg_constraint k join pg_class c on c.oid = k.conrelid
where k.contype = 'c' and pg_table_is_visible(c.oid)
"""
# Not those that the database fills by itself: generated columns, and the numbers of a serial one.
_DEFAULTS = """
select c.relname, a.attname, pg_get_expr(d.adbin, d.adrelid) from pg_attribute a join pg_class c on c.oid = a.attrelid
left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
where c.relkind in ('r', 'p') and pg_table_is_visible(c.oid) and a.attnum > 0 and not a.attisdropped
and a.attgenerated = '' and a.attidentity = '' and coalesce(pg_get_expr(d.adbin, d.adrelid), '') not like 'nextval(%'
"""


def compared(tables: Iterable[Any], context: Any, own: Prefixes) -> list[Any]:
    """The app's own among ``tables`` that its ``env.py`` has Alembic compare, in the default schema.

    :param context: Alembic's MigrationContext.
    """
    from alembic.autogenerate.api import AutogenContext

    wanted = AutogenContext(context)
    return [
        table
        for table in tables
        if not table.schema
        and own.owns("", table.name)
        and wanted.run_object_filters(table, table.name, "table", False, None)
    ]


def add_indexes(container: Any, tables: Iterable[Any], cursor: Any) -> None:
    """Put the creation of an index on an expression into an ``UpgradeOps``, where the database has none of its name.

    :param cursor: a plain DBAPI cursor of psycopg2's.
    """
    from alembic.operations.ops import CreateIndexOp

    there = {index for _, index, *_ in run(cursor, _INDEXES)}
    there |= {each.index_name for each in flat(container, "CreateIndexOp")}
    for table in tables:
        for index in sorted(table.indexes, key=lambda each: str(each.name)):
            if index.name and _is_on_expression(index) and str(index.name) not in there:
                container.ops.append(CreateIndexOp.from_index(index))


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
    known = [table for table in tables if table.name not in tables_created(container)]
    return [
        *_of_indexes(known, run(cursor, _INDEXES)),
        *_of_checks(known, dialect, run(cursor, _CHECKS)),
        *_of_defaults(known, run(cursor, _DEFAULTS)),
    ]


def _hint(thing: str, line: str, *, modelled: bool) -> str:
    """A sentence about what only one side has: the models, or else the database. ``line`` makes or drops it."""
    sides, remedy = ("models have", "database has"), "write it"
    if not modelled:
        sides, remedy = ("database has", "models have"), "add it to the model, or drop it"
    return f"The {sides[0]} {thing}, the {sides[1]} not, which Alembic does not compare: {remedy} by hand ({line})."


def _of_indexes(tables: Iterable[Any], found: Sequence[tuple[str, str, bool, str]]) -> Iterator[str]:
    for table in tables:
        there = {index for on, index, expression, _ in found if on == table.name and expression}
        for name in sorted(there - {str(index.name) for index in table.indexes}):
            yield _hint(f"the index {name} on {table.name}", f"op.drop_index({name!r})", modelled=False)


def _of_checks(tables: Iterable[Any], dialect: Any, found: Sequence[tuple[str, str]]) -> Iterator[str]:
    from sqlalchemy import CheckConstraint

    for table in tables:
        there = {name for on, name in found if on == table.name}
        checks = [each for each in table.constraints if isinstance(each, CheckConstraint) and each.name is not None]
        # the check of a type (Boolean, Enum) is made only where the type wants it
        made = {_name(each, dialect) for each in checks if getattr(each, "_create_rule", None) is None}
        for name in sorted(made - there):
            line = f"op.create_check_constraint(op.f({name!r}), {table.name!r}, …)"
            yield _hint(f"the check constraint {name} of {table.name}", line, modelled=True)
        for name in sorted(there - {_name(each, dialect) for each in checks}):
            line = f"op.drop_constraint(op.f({name!r}), {table.name!r})"
            yield _hint(f"the check constraint {name} of {table.name}", line, modelled=False)


def _of_defaults(tables: Iterable[Any], found: Iterable[tuple[str, str, str | None]]) -> Iterator[str]:
    there = {(table, column): default is not None for table, column, default in found}
    for table in tables:
        for column in table.columns:
            modelled = column.server_default is not None
            if there.get((table.name, column.name), modelled) != modelled:
                default = "…" if modelled else "None"
                line = f"op.alter_column({table.name!r}, {column.name!r}, server_default={default})"
                yield _hint(f"a default of {table.name}.{column.name}", line, modelled=modelled)


def _is_on_expression(index: Any) -> bool:
    from sqlalchemy import Column
    from sqlalchemy.sql.elements import UnaryExpression

    for expression in index.expressions:
        while isinstance(expression, UnaryExpression):
            expression = expression.element
        if not isinstance(expression, Column):
            return True
    return False


def _name(constraint: Any, dialect: Any) -> str:
    """The name that it gets in the database: by convention, and no longer than names may be."""
    return str(dialect.identifier_preparer.format_constraint(constraint) or "").strip('"')
