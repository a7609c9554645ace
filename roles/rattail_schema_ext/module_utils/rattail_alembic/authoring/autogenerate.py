# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From what Alembic's autogenerate found to what is to be written. Runs where the app is loaded, in a child."""

from __future__ import annotations

import ast
import builtins
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ..migration.alembic_api import alembic_config, run_env, run_hooks, script_directory
from ..migration.ask_app import answer
from ..migration.child import Report, in_child
from ..migration.runner import lead_connections
from ..observe.answer import Dependency, LeftOut, NewRevision
from ..problem import Refused
from . import enums, operations, uncompared
from .draft import Draft, Drafted, branch, place

# What SQLAlchemy's text() takes for a parameter.
_PARAMETER = re.compile(r"(?<![:\w\\]):(?=\w+(?!:))")


def choose(scripts: Any, context: Any, wanted: Draft) -> dict[str, Any]:
    """Make of Alembic's ``MigrationScript`` (of ``scripts`` the only one) what is to be written.

    :param context: Alembic's MigrationContext.
    :returns: ``tables``, ``depends_on``, ``hints`` and ``left_out`` as :class:`draft.Drafted` has them.
    :raises Refused: where the app's models are not among those compared, or have names that they must not have.
    """
    if not scripts:  # taken away by a hook of the app's
        return {}
    script, own, cursor = scripts[0], wanted.own, context.connection.connection.cursor()
    metadata = context.opts["target_metadata"]
    metadata = metadata if isinstance(metadata, (list, tuple)) else [metadata]
    tables = [table for each in metadata for table in each.tables.values()]
    _refuse_models(wanted, tables)
    taken = operations.keep_own(script.upgrade_ops, own)
    operations.keep_own(script.downgrade_ops, own)
    operations.untie(script.upgrade_ops)
    theirs = uncompared.compared(tables, context, own)
    uncompared.add_indexes(script.upgrade_ops, theirs, cursor)
    operations.name_constraints(script.upgrade_ops)
    operations.keep_nullable(script.upgrade_ops)
    try:
        script.upgrade_ops.reverse_into(script.downgrade_ops)
    except NotImplementedError:
        # a hook has added an operation that cannot be reversed
        operations.name_constraints(script.downgrade_ops)
    operations.keep_names(script.downgrade_ops)
    # foreign keys between tables that refer to each other are dropped before the tables
    script.upgrade_ops.ops[:0] = [key.reverse() for key in operations.untie(script.downgrade_ops)]
    hints = [
        *operations.renames(script.upgrade_ops),
        *enums.hints(theirs, cursor),
        *uncompared.hints(script.upgrade_ops, theirs, context.dialect, cursor),
    ]
    uncompared.restore_indexes(script, cursor)
    _render_as_written(context)
    used = enums.named(script.upgrade_ops)
    new = enums.provide(script, cursor)
    for name in [*new, *(operations.subject(each)[1] for each in taken)]:
        if name in used and not own.owns("", name):
            raise Refused(
                "enum_without_prefix",
                f"The models of {wanted.ready.request.app} have the enumeration {name} (in {used[name]}), "
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
        if isinstance(clause, TextClause):
            text = str(clause.text)
        else:
            text = render(expression, **how)
            if context.dialect.paramstyle in ("format", "pyformat"):
                text = text.replace("%%", "%")
        # an index's is put into literal_column(), which knows no parameters
        return text.replace("\\:", ":") if how.get("is_index") else _PARAMETER.sub(r"\\:", text)

    context.impl.render_ddl_sql_expr = as_written


def _refuse_models(wanted: Draft, tables: Iterable[Any]) -> None:
    app, own = wanted.ready.request.app, wanted.own
    defined = _defined_tables(app)
    if f"{app}.db.model" not in sys.modules and not any(table.name in defined for table in tables):
        raise Refused(
            "model_unused",
            f"The models that env.py compares do not have {app}.db.model among them.",
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

    :raises Refused: where the models are not the app's, have tables or enumerations without its prefix, or
        ``env.py`` fails.
    """

    def work(report: Report) -> None:
        from alembic.autogenerate import RevisionContext

        lead_connections(wanted.ready.target, wanted.ready.redirect)
        config = alembic_config(wanted.ready.request.config_file, {})
        arguments = {
            "message": wanted.message,
            "autogenerate": True,
            "sql": False,
            "head": wanted.head or "base",
            "splice": False,
            "branch_label": wanted.label or None,
            "version_path": wanted.version_path,
            "rev_id": None,
            "depends_on": None,
        }
        revisions: Any = RevisionContext(config, _scripts(wanted), arguments)
        chosen: dict[str, Any] = {}

        def compare(_script: Any, rows: Any, context: Any) -> list[Any]:
            revisions.run_autogenerate(rows, context)
            chosen.update(choose(revisions.generated_revisions, context, wanted))
            return []

        more = {"template_args": revisions.template_args, "revision_context": revisions}
        run_env(config, compare, dont_mutate=True, directories=wanted.directories, **more)
        if any(not each.upgrade_ops.is_empty() for each in revisions.generated_revisions):
            chosen.update(_made(next(revisions.generate_scripts()), wanted))
        report({"event": "drafted", **chosen})

    return _drafted(work, "The app's env.py", wanted)


def merge(wanted: Draft) -> Drafted:
    """``alembic merge`` of the revisions in ``wanted.head``: a script that follows all of them and does nothing.

    :raises Refused: where it cannot be written.
    """

    def work(report: Report) -> None:
        from alembic.util import rev_id

        made = _scripts(wanted).generate_revision(
            rev_id(), wanted.message, refresh=True, head=wanted.head, version_path=wanted.version_path, imports=""
        )
        report({"event": "drafted", **_made(made, wanted)})

    return _drafted(work, "The merge", wanted)


def _scripts(wanted: Draft) -> Any:
    script = script_directory(alembic_config(wanted.ready.request.config_file, {}), wanted.directories)
    # they run once the script is in its place
    script.hooks = []
    script.dir = wanted.template_dir or script.dir
    return script


def _made(made: Any, wanted: Draft) -> dict[str, str]:
    """The ``revision`` and the ``text``, with its imports in order, of a script that Alembic made; and its ``file``."""
    text = tidy(Path(made.path).read_text(encoding="utf-8"), lambda name: name in sys.modules, trim=wanted.trim)
    Path(made.path).write_text(text, encoding="utf-8")
    return {"revision": made.revision, "file": os.path.basename(made.path), "text": text}


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
    return Drafted(revision, said.get("text", ""), [LeftOut(**each) for each in said.get("left_out", ())])


def post_write_hooks(config_file: str, path: str) -> list[str]:
    """Run the hooks of ``[post_write_hooks]`` on a script, as ``alembic revision`` does; returns their names.

    :raises Refused: where one cannot be run.
    """

    def work(report: Report) -> None:
        config = alembic_config(config_file, {})
        hooks = config.get_section("post_write_hooks", {}).get("hooks", "")
        run_hooks(path, script_directory(config).hooks)
        report({"event": "hooks", "names": hooks.replace(",", " ").split()})

    names: list[str] = answer(in_child(work), "hooks", "A hook of [post_write_hooks]", config_file)["names"]
    return names


def tidy(text: str, is_module: Callable[[str], bool], *, trim: bool = True) -> str:
    """``text`` with the imports added that its names need, and, to ``trim`` it, without those that nothing uses.

    Alembic renders a type that is not SQLAlchemy's own by its whole name (``sqlalchemy_utils.types.…``), and
    leaves its import to the template.

    :param is_module: whether a dotted name is a module; asked where all of them are loaded.
    :raises SyntaxError: where ``text`` is not Python.
    """
    tree = ast.parse(text)
    used = set(_chains(tree))
    imports = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    unused = [
        node
        for node in imports
        if trim
        and getattr(node, "module", "") != "__future__"
        and not any(_begins(chain, _bound(node)) for chain in used)
    ]
    removed = {number for node in unused for number in range(node.lineno, (node.end_lineno or node.lineno) + 1)}
    last = max((node.end_lineno or 0 for node in imports if node not in unused), default=0)
    known = {*dir(builtins), *(name for node in ast.walk(tree) for name in _bound(node))}
    missing = {_module(chain, is_module) for chain in used if "." in chain and not _begins(chain, known)}
    lines = ["", *text.splitlines(keepends=True)]
    lines[last] += "".join(f"import {module}\n" for module in sorted(missing) if module)
    return "".join(line for number, line in enumerate(lines) if number not in removed)


def _chains(tree: ast.AST) -> Iterator[str]:
    """Dotted names that are read, each as long as it is written: ``rattail.db.types.GPCType``."""
    for node in ast.iter_child_nodes(tree):
        parts: list[str] = []
        inner: ast.AST = node
        while isinstance(inner, ast.Attribute):
            parts.append(inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name):
            yield ".".join([inner.id, *reversed(parts)])
        else:
            yield from _chains(inner if parts else node)


def _bound(node: ast.AST) -> list[str]:
    """The names that a node gives a meaning to; an import without an alias, the whole name that it imports."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [alias.asname or alias.name for alias in node.names]
    if isinstance(node, ast.arg):
        return [node.arg]
    return [node.id] if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) else []


def _begins(chain: str, names: Iterable[str]) -> bool:
    return any(chain == name or chain.startswith(f"{name}.") for name in names)


def _module(chain: str, is_module: Callable[[str], bool]) -> str:
    """The longest module that a dotted name begins with; empty where there is none."""
    while chain and not is_module(chain):
        chain = chain.rpartition(".")[0]
    return chain
