# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What Alembic's autogenerate does not compare: indexes on expressions, check constraints, whether there is a default.

Under SQLAlchemy 1.4 it leaves an index on an expression out, even of a table that it creates. What is certain is
written; of everything else a person is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
    made = {each.index_name for each in flat(container) if type(each).__name__ == "CreateIndexOp"}
    for table in tables:
        for index in sorted(table.indexes, key=lambda each: str(each.name)):
            if index.name and _is_on_expression(index) and str(index.name) not in there | made:
                container.ops.append(CreateIndexOp.from_index(index))


def restore_indexes(script: Any, cursor: Any) -> None:
    """Have the downgrade of a ``MigrationScript`` make the indexes on expressions of tables that it drops again."""
    from alembic.operations.ops import ExecuteSQLOp

    dropped = {each.table_name for each in flat(script.upgrade_ops) if type(each).__name__ == "DropTableOp"}
    for table, _, expression, definition in run(cursor, _INDEXES):
        if table in dropped and expression:
            # op.execute of a string takes a colon for a parameter
            script.downgrade_ops.ops.append(ExecuteSQLOp(definition.replace(":", "\\:")))


def hints(container: Any, tables: Iterable[Any], dialect: Any, cursor: Any) -> list[str]:
    """What models and database do not agree on in tables that both have, in sentences.

    :param container: an ``UpgradeOps``; what it creates and adds is not told again.
    """
    known = [table for table in tables if table.name not in tables_created(container)]
    return [
        *_of_indexes(known, run(cursor, _INDEXES)),
        *_of_checks(known, dialect, run(cursor, _CHECKS)),
        *_of_defaults(known, run(cursor, _DEFAULTS)),
    ]


_UNSEEN = "which Alembic does not compare"


def _of_indexes(tables: Iterable[Any], found: Iterable[tuple[str, str, bool, str]]) -> Iterator[str]:
    there = list(found)
    for table in tables:
        modelled = {str(index.name) for index in table.indexes}
        for name in sorted(index for on, index, expression, _ in there if on == table.name and expression):
            if name not in modelled:
                yield (
                    f"The database has the index {name} on {table.name}, the models have not, {_UNSEEN}: add it to the "
                    f"model, or drop it by hand (op.drop_index({name!r}))."
                )


def _of_checks(tables: Iterable[Any], dialect: Any, found: Iterable[tuple[str, str]]) -> Iterator[str]:
    from sqlalchemy import CheckConstraint

    there = list(found)
    for table in tables:
        names = {name for on, name in there if on == table.name}
        checks = {each for each in table.constraints if isinstance(each, CheckConstraint) and each.name is not None}
        modelled = {_name(each, dialect): each for each in checks if _is_made(each)}
        for name in sorted(modelled.keys() - names):
            yield (
                f"The models have the check constraint {name} of {table.name}, the database has not, {_UNSEEN}: write "
                f"it by hand (op.create_check_constraint(op.f({name!r}), {table.name!r}, …))."
            )
        for name in sorted(names - {_name(each, dialect) for each in checks}):
            yield (
                f"The database has the check constraint {name} of {table.name}, the models have not, {_UNSEEN}: add it "
                f"to the model, or drop it by hand (op.drop_constraint(op.f({name!r}), {table.name!r}))."
            )


def _of_defaults(tables: Iterable[Any], found: Iterable[tuple[str, str, str | None]]) -> Iterator[str]:
    there = {(table, column): default for table, column, default in found}
    for table in tables:
        for column in table.columns:
            at = (table.name, column.name)
            if at not in there or (column.server_default is not None) == (there[at] is not None):
                continue
            which = (
                ("The models have", "the database has")
                if there[at] is None
                else ("The database has", "the models have")
            )
            yield (
                f"{which[0]} a default of {table.name}.{column.name}, {which[1]} not, {_UNSEEN}: write it by hand "
                f"(op.alter_column({table.name!r}, {column.name!r}, server_default=…))."
            )


def _is_on_expression(index: Any) -> bool:
    from sqlalchemy import Column
    from sqlalchemy.sql.elements import UnaryExpression

    def bare(expression: Any) -> Any:
        while isinstance(expression, UnaryExpression):
            expression = expression.element
        return expression

    return any(not isinstance(bare(each), Column) for each in index.expressions)


def _is_made(check: Any) -> bool:
    """Whether a check is the table's own: that of a type (Boolean, Enum) is made only where the type wants it."""
    return getattr(check, "_create_rule", None) is None


def _name(constraint: Any, dialect: Any) -> str:
    """The name that it gets in the database: by convention, and no longer than names may be."""
    preparer = dialect.identifier_preparer
    return str(preparer.format_constraint(constraint) or "").strip('"')
