# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From what Alembic's autogenerate found to what is to be written. Runs where the app is loaded, in a child."""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import suppress
from importlib import metadata
from itertools import accumulate
from pathlib import Path
from typing import Any

from ..migration.alembic_api import alembic_config, run_env, run_hooks, script_directory, take_hooks
from ..migration.ask_app import answer
from ..migration.child import Report, in_child
from ..migration.runner import lead_connections
from ..observe.answer import Dependency, LeftOut, NewRevision
from ..problem import Refused
from . import enums, operations, uncompared
from .draft import Draft, branch, place

# The revision, whose path is empty where there is nothing to write; the text of its script; what it leaves to others.
Drafted = tuple[NewRevision, str, list[LeftOut]]

# What Rattail read before it stood on WuttJamaican, and its project generator still writes.
_UNREAD = "rattail.config.extensions"
# What SQLAlchemy's text() takes for a parameter.
_PARAMETER = re.compile(r"(?<![:\w\\]):(?=\w+(?!:))")


def choose(scripts: Any, context: Any, wanted: Draft) -> dict[str, Any]:
    """Make of Alembic's ``MigrationScript`` (of ``scripts`` the only one) what is to be written.

    :returns: ``tables``, ``depends_on``, ``hints`` and ``left_out``, as results have them.
    :raises Refused: where the app's models are not among those compared, or have names that they must not have.
    """
    from alembic.autogenerate.api import AutogenContext

    if not scripts:  # taken away by a hook of the app's
        return {}
    script, own, cursor = scripts[0], wanted.own, context.connection.connection.cursor()
    metadata = context.opts["target_metadata"]
    metadata = metadata if isinstance(metadata, (list, tuple)) else [metadata]
    tables = [table for each in metadata for table in each.tables.values()]
    _refuse_models(wanted, tables)
    # the app's own, in the default schema, that its env.py has Alembic compare
    included = AutogenContext(context).run_object_filters
    theirs = [table for table in tables if not table.schema and own.owns("", table.name)]
    theirs = [table for table in theirs if included(table, table.name, "table", False, None)]
    taken = operations.keep_own(script.upgrade_ops, own)
    operations.keep_own(script.downgrade_ops, own)
    operations.untie(script.upgrade_ops)
    uncompared.add_indexes(script.upgrade_ops, theirs, cursor)
    # where a hook has added an operation that cannot be reversed, it has written the downgrade as well
    with suppress(NotImplementedError):
        script.upgrade_ops.reverse_into(script.downgrade_ops)
    operations.keep_details(script.upgrade_ops)
    operations.keep_details(script.downgrade_ops)
    # foreign keys between tables that refer to each other are dropped before the tables
    script.upgrade_ops.ops[:0] = [key.reverse() for key in operations.untie(script.downgrade_ops)]
    hints = [
        *operations.renames(script.upgrade_ops),
        *enums.hints(theirs, cursor),
        *uncompared.hints(script.upgrade_ops, theirs, context.dialect, cursor),
    ]
    uncompared.restore_indexes(script, cursor)
    _render_as_written(context)
    for name, table in enums.provide(script, cursor).items():
        if not own.owns("", name):
            raise Refused(
                "enum_without_prefix",
                f"The models of {wanted.ready.request.app} have the enumeration {name} (in {table}), "
                f"which is not named {own}.",
                f"Name it: sa.Enum(…, name={f'{own.own[0]}_{name}'!r}).",
            )
    others = [(table, to) for table, to in operations.references(script.upgrade_ops) if not own.owns("", to)]
    needed = wanted.depends_on(others)
    script.depends_on = [each.revision for each in needed] or None
    return {
        "tables": operations.tables_created(script.upgrade_ops),
        "depends_on": [vars(each) for each in needed],
        "hints": hints,
        "left_out": [vars(each) for each in operations.left_out(taken, wanted.owner)],
    }


def _render_as_written(context: Any) -> None:
    """Render SQL (a check, a default, the condition of an index) as it is in the models or the database.

    Alembic compiles it as for the driver: ``%`` is doubled, and once more when the script runs, and what looks like
    a parameter (``:x``) becomes NULL. There are no parameters in DDL.
    """
    from sqlalchemy.sql.elements import TextClause

    render = context.impl.render_ddl_sql_expr

    def as_written(expression: Any, **how: Any) -> str:
        # Alembic wraps that of an index
        clause = expression if isinstance(expression, TextClause) else getattr(expression, "text", None)
        text = str(clause.text) if isinstance(clause, TextClause) else render(expression, **how).replace("%%", "%")
        # an index's is put into literal_column(), which knows no parameters
        return text.replace("\\:", ":") if how.get("is_index") else _PARAMETER.sub(r"\\:", text)

    context.impl.render_ddl_sql_expr = as_written


def _refuse_models(wanted: Draft, tables: Iterable[Any]) -> None:
    app, own = wanted.ready.request.app, wanted.own
    defined = _defined_tables(app)
    if f"{app}.db.model" not in sys.modules and not any(table.name in defined for table in tables):
        unread = _extensions(app, _UNREAD)
        why = f": its config extension ({unread[0]}) is in the group {_UNREAD}, which nothing reads" if unread else ""
        raise Refused(
            "model_unused",
            f"The models that env.py compares do not have {app}.db.model among them{why}.",
            f"Name it in the config file (model_spec = {app}.db.model in the core's section) or in the app's "
            "config extension (entry point group wutta.config.extensions), then run again.",
        )
    for table in tables:
        if table.name in defined and not own.owns(table.schema or "", table.name):
            raise Refused(
                "model_without_prefix",
                f"The model {defined[table.name]} has the table {table.name}, and what {app} creates must be "
                f"named {own}.",
                f"Rename it (__tablename__ = {f'{own.own[0]}_{table.name}'!r}), or add its prefix to "
                "rattail_schema_ext_prefixes.",
            )


def _extensions(app: str, group: str) -> list[str]:
    """The app's entry points of a group."""
    named = [each for found in metadata.distributions() for each in found.entry_points if each.group == group]
    return [each.value for each in named if re.match(rf"{re.escape(app)}[.:]", each.value)]


def _defined_tables(app: str) -> dict[str, str]:
    """The tables that the app's own modules define, and where (``poser.db.model.PoserWidget``).

    A class belongs to the module that it names; a bare Table is the app's where no other package has it as well.
    """
    from sqlalchemy import Table

    ours: dict[Any, str] = {}
    others: dict[Any, str] = {}
    for name, module in list(sys.modules.items()):
        for attribute, value in list(getattr(module, "__dict__", {}).items()):
            table, where = value, f"{name}.{attribute}"
            if isinstance(value, type):
                table, where = vars(value).get("__table__"), f"{value.__module__}.{value.__qualname__}"
            if isinstance(table, Table):
                (ours if where.partition(".")[0] == app.partition(".")[0] else others)[table] = where
    return {table.name: where for table, where in ours.items() if table not in others}


def draft(wanted: Draft) -> Drafted:
    """``alembic revision --autogenerate``, of which only what is the app's own is written.

    :raises Refused: as :func:`choose` does, and where ``env.py`` fails.
    """

    def work(report: Report) -> None:
        from alembic.autogenerate import RevisionContext

        lead_connections(wanted.ready.target, wanted.ready.redirect)
        config = alembic_config(wanted.ready.request.config_file, {})
        arguments = {
            **dict.fromkeys(("sql", "splice", "rev_id", "depends_on")),
            "autogenerate": True,
            "message": wanted.message,
            "head": wanted.head or "base",
            "branch_label": wanted.label or None,
            "version_path": wanted.version_path,
        }
        scripts = _scripts(wanted)
        revisions: Any = RevisionContext(config, scripts, arguments)
        chosen: dict[str, Any] = {}

        def compare(_script: Any, rows: Any, context: Any) -> list[Any]:
            revisions.run_autogenerate(rows, context)
            chosen.update(choose(revisions.generated_revisions, context, wanted))
            return []

        more = {"template_args": revisions.template_args, "revision_context": revisions}
        run_env(config, compare, dont_mutate=True, directories=wanted.directories, **more)
        if any(not each.upgrade_ops.is_empty() for each in revisions.generated_revisions):
            chosen.update(_made(next(revisions.generate_scripts()), scripts, wanted))
        report({"event": "drafted", **chosen})

    return _drafted(work, "The app's env.py", wanted)


def merge(wanted: Draft) -> Drafted:
    """``alembic merge`` of the revisions in ``wanted.head``: a script that follows all of them and does nothing."""

    def work(report: Report) -> None:
        from alembic.util import rev_id

        scripts = _scripts(wanted)
        made = scripts.generate_revision(
            rev_id(), wanted.message, refresh=True, head=wanted.head, version_path=wanted.version_path, imports=""
        )
        report({"event": "drafted", **_made(made, scripts, wanted)})

    return _drafted(work, "The merge", wanted)


def _scripts(wanted: Draft) -> Any:
    script = script_directory(alembic_config(wanted.ready.request.config_file, {}), wanted.directories)
    take_hooks(script)  # they run once the script is in its place
    return script


def _made(made: Any, scripts: Any, wanted: Draft) -> dict[str, str]:
    """The ``revision`` and the ``text``, with its imports in order, of a script that Alembic made; and its ``file``."""
    recursive = getattr(scripts, "recursive_version_locations", False)
    text = tidy(Path(made.path).read_text(encoding="utf-8"), sys.modules, trim=wanted.trim)
    Path(made.path).write_text(text, encoding="utf-8")
    # A file_template may have directories in it, in which Alembic finds a file only where it looks there.
    below = wanted.version_path if recursive else os.path.dirname(made.path)
    return {"revision": made.revision, "file": os.path.relpath(made.path, below), "text": text}


def _drafted(work: Callable[[Report], None], what: str, wanted: Draft) -> Drafted:
    outcome = in_child(work)
    if outcome.error and outcome.error["problem"]:
        raise Refused(**outcome.error["problem"])
    said = answer(outcome, "drafted", what, wanted.ready.request.config_file)
    revision = NewRevision(
        revision=said.get("revision", ""),
        branch=branch(wanted.ready),
        message=wanted.message,
        path=os.path.join(place(wanted.ready), said["file"]) if "file" in said else "",
        down_revision=list(wanted.head),
        branch_labels=[wanted.label] if wanted.label else [],
        depends_on=[Dependency(**each) for each in said.get("depends_on", ())],
        tables=said.get("tables", []),
        hints=said.get("hints", []),
    )
    return revision, said.get("text", ""), [LeftOut(**each) for each in said.get("left_out", ())]


def post_write_hooks(config_file: str, path: str) -> list[str]:
    """Run the hooks of ``[post_write_hooks]`` on a script, as ``alembic revision`` does; returns their names.

    :raises Refused: where one cannot be run, or leaves what is no longer Python.
    """

    def work(report: Report) -> None:
        config = alembic_config(config_file, {})
        hooks = config.get_section("post_write_hooks", {}).get("hooks", "")
        run_hooks(path, take_hooks(script_directory(config)))
        report({"event": "hooks", "names": hooks.replace(",", " ").split()})

    outcome = in_child(work)
    said, error = outcome.last("hooks"), outcome.error
    cause = ""
    if said is None:
        words = f"{error['type']}: {error['message']}" if error else f"the process {outcome.ending}"
        cause = f"A hook of [post_write_hooks] in {config_file} cannot be run: {words.rstrip('.')}."
    else:
        try:
            compile(Path(path).read_bytes(), path, "exec", dont_inherit=True)
        except (SyntaxError, ValueError, OSError) as failed:
            cause = f"After the hooks of [post_write_hooks] the script {path} cannot be read: {failed}."
    if cause:
        raise Refused("hook_failed", cause, "Correct the hook or remove it, then run again.")
    names: list[str] = said["names"] if said else []
    return names


def tidy(text: str, modules: Container[str], *, trim: bool = True) -> str:
    """``text`` with the imports added that its names need, and, to ``trim`` it, without those that nothing uses.

    Alembic renders a type that is not SQLAlchemy's own by its whole name (``sqlalchemy_utils.types.…``), and leaves
    its import to the template. ``modules`` are the names of the loaded ones, which are all that it needs.
    """
    tree = ast.parse(text)
    # of a.b.c: a, a.b, a.b.c
    begun = [list(accumulate(chain.split("."), "{}.{}".format)) for chain in _chains(tree)]
    used = {name for names in begun for name in names}
    known = {name for node in ast.walk(tree) for name in _bound(node)}
    missing: set[str] = set()
    for names in begun:
        if len(names) > 1 and known.isdisjoint(names):
            missing.update([name for name in names if name in modules][-1:])
    lines = ["", *text.splitlines(keepends=True)]
    last = 0
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            end = node.end_lineno or node.lineno
            if trim and getattr(node, "module", "") != "__future__" and used.isdisjoint(_bound(node)):
                lines[node.lineno : end + 1] = [""] * (end + 1 - node.lineno)
            else:
                last = end
    lines[last] += "".join(f"import {module}\n" for module in sorted(missing))
    return "".join(lines)


def _chains(node: ast.AST) -> Iterator[str]:
    """Dotted names that are read, each as long as it is written: ``rattail.db.types.GPCType``."""
    name = ast.unparse(node) if isinstance(node, (ast.Name, ast.Attribute)) else ""
    if re.fullmatch(r"[\w.]+", name):
        yield name
    else:
        for each in ast.iter_child_nodes(node):
            yield from _chains(each)


def _bound(node: ast.AST) -> list[str]:
    """The names that a node gives a meaning to; an import without an alias, the whole name that it imports."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [alias.asname or alias.name for alias in node.names]
    if isinstance(node, ast.arg):
        return [node.arg]
    return [node.id] if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) else []
