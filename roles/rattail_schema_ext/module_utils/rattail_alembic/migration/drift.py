# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What Alembic's comparison of models and database found, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_KINDS = {"fk": "foreign key", "table_comment": "comment of table"}


def sentences(differences: Sequence[Any]) -> list[str]:
    """Sentences about what ``compare_metadata`` found; of a table that is missing altogether, that alone."""
    missing = {each[1].fullname for each in differences if each[0] in ("add_table", "remove_table")}
    return [said for each in differences if _table_of(each) not in missing for said in words(each)]


def _table_of(difference: Any) -> str:
    """The table of an index or a constraint; empty for other differences."""
    subject = difference[1] if isinstance(difference, tuple) else None
    return getattr(getattr(subject, "table", None), "fullname", "")


def words(difference: Any) -> list[str]:
    """Sentences about one entry of ``compare_metadata``, a tuple or a list: Alembic's manual has their shapes."""
    if isinstance(difference, list):
        return [_altered(*each) for each in difference]
    action, _, kind = difference[0].partition("_")
    if kind == "column":
        schema, table, column = difference[1:]
        thing = f"column {_named(schema, table)}.{column.name}"
    else:
        subject = difference[1]
        table = getattr(getattr(subject, "table", None), "fullname", "")
        name = getattr(subject, "fullname", subject.name)
        named = name or f"on ({', '.join(column.name for column in subject.columns)})"
        thing = f"{_KINDS.get(kind, kind)} {named}" + (f" of table {table}" if table else "")
    if action == "add":
        return [f"The models have the {thing}, the database has not."]
    return [only_there(thing)]


def only_there(thing: str) -> str:
    """The sentence about what no model has."""
    return f"The database has the {thing}, the models have not."


def _named(schema: str | None, table: str) -> str:
    return f"{schema}.{table}" if schema else table


def _altered(what: str, schema: str | None, table: str, column: str, _existing: Any, *values: Any) -> str:
    detail = what.partition("_")[2].replace("default", "server default")
    there, wanted = (" ".join(str(getattr(value, "arg", value)).split()) for value in values)
    place = f"{_named(schema, table)}.{column}"
    return f"Column {place} differs in {detail}: {there} in the database, {wanted} in the models."
