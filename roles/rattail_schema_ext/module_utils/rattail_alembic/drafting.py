# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From what Alembic's autogenerate found to what is to be written. Runs where the app is loaded, in a child."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from . import enums, operations, unseen
from .draft import Draft
from .problem import Refused

# What SQLAlchemy's text() takes for a parameter.
_PARAMETER = re.compile(r"(?<![:\w\\]):(?=\w+(?!:))")


def choose(scripts: Any, context: Any, wanted: Draft) -> dict[str, Any]:
    """Make of Alembic's ``MigrationScript`` (of ``scripts`` the only one) what is to be written.

    :param context: Alembic's MigrationContext.
    :returns: what a :class:`draft.Drafted` holds of it, and whether there is ``something``.
    :raises Refused: where the app's models are not among those compared, or have names that they must not have.
    """
    found: dict[str, Any] = {"tables": [], "depends_on": [], "left_out": [], "hints": [], "something": False}
    if not scripts:  # taken away by a hook of the app's
        return found
    script, own, cursor = scripts[0], wanted.own, context.connection.connection.cursor()
    tables = [table for each in _as_list(context.opts["target_metadata"]) for table in each.tables.values()]
    defined = _defined_tables(wanted.app)
    _refuse_models(wanted, tables, defined)
    left = operations.keep_own(script.upgrade_ops, own)
    operations.keep_own(script.downgrade_ops, own)
    operations.untie(script.upgrade_ops)
    theirs = unseen.compared(tables, context, own)
    unseen.add_indexes(script.upgrade_ops, theirs, cursor)
    operations.name_constraints(script.upgrade_ops)
    operations.keep_nullable(script.upgrade_ops)
    try:
        script.upgrade_ops.reverse_into(script.downgrade_ops)
    except NotImplementedError:
        operations.name_constraints(script.downgrade_ops)  # a hook has put something in that knows no way back
    operations.keep_names(script.downgrade_ops)
    # tables that refer to each other are let go of each other before they are dropped
    script.upgrade_ops.ops[:0] = [key.reverse() for key in operations.untie(script.downgrade_ops)]
    found["hints"] = [
        *operations.renames(script.upgrade_ops),
        *enums.changes(tables, cursor, own),
        *unseen.hints(script.upgrade_ops, theirs, context.dialect, cursor),
    ]
    unseen.restore_indexes(script, cursor)
    _render_as_written(context)
    used = dict(enums.named(script.upgrade_ops))
    new = enums.provide(script, cursor)
    for name in [*new, *(each.name for each in left)]:
        if name in used and not own.owns("", name):
            raise Refused(
                "enum_without_prefix",
                f"The models of {wanted.app} have the enumeration {name} (in {used[name]}), which is not named {own}.",
                f"Name it: sa.Enum(…, name={f'{own.own[0]}_{name}'!r}).",
            )
    others = [(table, to) for table, to in operations.references(script.upgrade_ops) if not own.owns("", to)]
    found["depends_on"] = wanted.depends_on(others)
    script.depends_on = [each.revision for each in found["depends_on"]] or None
    found["tables"] = operations.tables_created(script.upgrade_ops)
    found["left_out"] = operations.told(left, wanted.owner)
    found["something"] = not script.upgrade_ops.is_empty()
    return found


def _render_as_written(context: Any) -> None:
    """Have SQL (a check, a default, where an index holds) come into the script as it is in the models or the database.

    Alembic compiles it as for the driver: ``%`` is doubled, which is done once more when the script runs, and what
    looks like a parameter (``:x``) becomes NULL. There are no parameters in DDL.
    """
    render = context.impl.render_ddl_sql_expr

    def as_written(expression: Any, **how: Any) -> str:
        # Alembic wraps that of an index
        clause = next((each for each in (expression, getattr(expression, "text", None)) if _is_text(each)), None)
        if clause is not None:
            text = str(clause.text)
        else:
            text = render(expression, **how)
            if context.dialect.paramstyle in ("format", "pyformat"):
                text = text.replace("%%", "%")
        # an index's is put into literal_column(), which knows no parameters
        return text.replace("\\:", ":") if how.get("is_index") else _PARAMETER.sub(r"\\:", text)

    context.impl.render_ddl_sql_expr = as_written


def _is_text(value: Any) -> bool:
    from sqlalchemy.sql.elements import TextClause

    return isinstance(value, TextClause)


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value] if value is not None else []


def _refuse_models(wanted: Draft, tables: Iterable[Any], defined: Mapping[str, str]) -> None:
    known = {table.name for table in tables}
    if not known & set(defined) and f"{wanted.app}.db.model" not in sys.modules:
        raise Refused(
            "model_unused",
            f"The models that env.py compares do not have {wanted.app}.db.model among them.",
            f"Name it in the config file (model_spec = {wanted.app}.db.model in the core's section) or in the app's "
            "config extension (entry point group wutta.config.extensions), then run again.",
        )
    for name, where in operations.strangers(tables, wanted.own, defined):
        raise Refused(
            "model_without_prefix",
            f"The model {where} has the table {name}, and what {wanted.app} creates must be named {wanted.own}.",
            f"Rename it (__tablename__ = {f'{wanted.own.own[0]}_{name}'!r}), or add its prefix to "
            "rattail_schema_ext_prefixes.",
        )


def _defined_tables(app: str) -> dict[str, str]:
    """The tables of models that the app's own modules define, and where (``poser.db.model.PoserWidget``).

    A class is a module's that says so; a bare Table is the app's where no other package has it as well.
    """
    from sqlalchemy import Table

    top = app.partition(".")[0]
    classes: dict[str, str] = {}
    bare: dict[int, tuple[str, str]] = {}
    foreign: set[int] = set()
    for name, module in list(sys.modules.items()):
        ours = _is_in(name, top)
        for attribute, value in list(getattr(module, "__dict__", {}).items()):
            if isinstance(value, Table):
                if ours:
                    bare[id(value)] = (value.name, f"{name}.{attribute}")
                else:
                    foreign.add(id(value))
            elif ours and isinstance(value, type) and _is_in(value.__module__, top):
                table = vars(value).get("__table__")
                if isinstance(table, Table):
                    classes[table.name] = f"{value.__module__}.{value.__qualname__}"
    return {**{name: where for key, (name, where) in bare.items() if key not in foreign}, **classes}


def _is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")
