# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""PostgreSQL's enumerations in a revision: made before what uses them, once, and dropped after it.

Alembic leaves them to SQLAlchemy, which makes the type with every table that uses it (a second one fails), not
with an added column (which fails), and never drops it (so that an upgrade after a downgrade fails).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any

from ..postgres.connection import run
from ..postgres.contents import quoted
from .operations import flat

_LABELS = """
select n.nspname, t.typname, array_agg(e.enumlabel::text order by e.enumsortorder), pg_type_is_visible(t.oid)
from pg_type t join pg_namespace n on n.oid = t.typnamespace join pg_enum e on e.enumtypid = t.oid group by t.oid, 1, 2
"""
# It makes operations of its own for enumerations, where an app's env.py has loaded it.
_PLUGIN = "alembic_postgresql_enum"


def provide(script: Any, cursor: Any) -> dict[str, str]:
    """Have a ``MigrationScript`` make and drop the enumerations that its columns use and the database does not have.

    :returns: their names, each with a table that has a column of it.
    """
    from alembic.operations.ops import ExecuteSQLOp

    found = run(cursor, _LABELS)
    there = {(schema, name) for schema, name, *_ in found} | {("", name) for _, name, _, visible in found if visible}
    uses = list(_uses(script.upgrade_ops))
    new = {_sql_name(kind): kind for *_, kind in uses if (kind.schema or "", kind.name) not in there}
    if _PLUGIN not in sys.modules:
        for _, holder, attribute, _ in [*uses, *_uses(script.downgrade_ops)]:
            setattr(holder, attribute, _existing(getattr(holder, attribute)))
        create = [f"CREATE TYPE {name} AS ENUM ({', '.join(map(_literal, kind.enums))})" for name, kind in new.items()]
        script.upgrade_ops.ops[:0] = [ExecuteSQLOp(statement) for statement in create]
        script.downgrade_ops.ops += [ExecuteSQLOp(f"DROP TYPE {name}") for name in reversed(list(new))]
    return {str(kind.name): table for table, *_, kind in uses if _sql_name(kind) in new}


def hints(tables: Iterable[Any], cursor: Any) -> list[str]:
    """How the labels of enumerations differ between models and database, which Alembic does not compare."""
    there = {name: labels for _, name, labels, visible in run(cursor, _LABELS) if visible}
    kinds = (_enumeration(column.type) for table in tables for column in table.columns)
    found = []
    for name, kind in {str(kind.name): kind for kind in kinds if kind is not None}.items():
        labels = there.get(name, list(kind.enums))
        if labels != list(kind.enums):
            more = [_literal(label) for label in kind.enums if label not in labels]
            adds = " ".join(f"ALTER TYPE {_sql_name(kind)} ADD VALUE {label};" for label in more)
            found.append(
                f"The enumeration {name} has the labels {', '.join(kind.enums)} in the models and {', '.join(labels)} "
                f"in the database, which Alembic does not compare: write it by hand{adds and f' ({adds})'}."
            )
    return found


def _uses(container: Any) -> Iterator[tuple[str, Any, str, Any]]:
    """Where an enumeration is used: the table, what holds the type, by which attribute, and the enumeration."""
    for operation in flat(container, "CreateTableOp", "AddColumnOp", "AlterColumnOp"):
        columns = [*getattr(operation, "columns", ()), getattr(operation, "column", None)]
        holders = [(column, "type") for column in columns]
        holders += [(operation, "modify_type"), (operation, "existing_type")]
        for holder, attribute in holders:
            kind = _enumeration(getattr(holder, attribute, None))
            if kind is not None:
                yield operation.table_name, holder, attribute, kind


def _enumeration(kind: Any) -> Any:
    """The native enumeration that a type is, or is an array of; None where it is none."""
    from sqlalchemy import ARRAY, Enum

    if isinstance(kind, ARRAY):
        kind = kind.item_type
    return kind if isinstance(kind, Enum) and kind.native_enum and kind.name else None


def _existing(kind: Any) -> Any:
    """The same type, marked as existing: rendered as ``postgresql.ENUM(…, create_type=False)``."""
    from sqlalchemy import ARRAY
    from sqlalchemy.dialects import postgresql

    if isinstance(kind, ARRAY):
        return type(kind)(_existing(kind.item_type), dimensions=kind.dimensions)

    class ENUM(postgresql.ENUM):  # type: ignore[misc]  # SQLAlchemy 1.4 has no types
        # by which Alembic knows what to import
        __module__ = postgresql.ENUM.__module__

        def __repr__(self) -> str:
            schema = f", schema={self.schema!r}" if self.schema else ""
            return f"ENUM({', '.join(map(repr, self.enums))}, name={str(self.name)!r}{schema}, create_type=False)"

    return ENUM(*kind.enums, name=str(kind.name), schema=kind.schema, create_type=False)


def _sql_name(kind: Any) -> str:
    return f"{quoted(kind.schema)}.{quoted(kind.name)}" if kind.schema else quoted(kind.name)


def _literal(text: str) -> str:
    # as SQLAlchemy's text() and psycopg2 hand it on: op.execute of a string takes a colon for a parameter
    return "'" + text.replace("'", "''").replace(":", "\\:") + "'"
