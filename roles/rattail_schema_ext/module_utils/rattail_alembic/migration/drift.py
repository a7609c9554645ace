# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What Alembic's comparison of models and database found, in words."""

from __future__ import annotations

from typing import Any

_MODIFIED = {
    "modify_type": "type",
    "modify_nullable": "nullable",
    "modify_default": "server default",
    "modify_comment": "comment",
}


def words(difference: Any) -> list[str]:
    """Sentences about one entry of ``compare_metadata``: a tuple, or the list of what differs in one column.

    Its shapes are described with ``alembic.autogenerate.compare_metadata``.
    """
    if isinstance(difference, list):
        return [_column(each) for each in difference]
    what, *rest = difference
    subject = rest[-1]
    if what in ("add_column", "remove_column"):
        _schema, table, column = rest
        return [_missing(what, f"column {table}.{column.name}")]
    if what in ("add_table", "remove_table"):
        return [_missing(what, f"table {subject.name}")]
    kind = what.partition("_")[2]
    name = {"fk": "foreign key", "constraint": "constraint", "index": "index"}.get(kind, kind)
    table = getattr(getattr(subject, "table", None), "name", "")
    named = subject.name or f"on ({', '.join(column.name for column in subject.columns)})"
    return [_missing(what, f"{name} {named}" + (f" of table {table}" if table else ""))]


def _missing(what: str, thing: str) -> str:
    if what.startswith("add_"):
        return f"The models have the {thing}, the database has not."
    return f"The database has the {thing}, the models have not."


def _column(difference: Any) -> str:
    what, _schema, table, column, _existing, there, wanted = difference
    detail = _MODIFIED.get(what, what)
    return (
        f"Column {table}.{column} differs in {detail}: {_plain(there)} in the database, {_plain(wanted)} in the models."
    )


def _plain(value: Any) -> str:
    text = getattr(value, "arg", value)
    return " ".join(str(text).split())
