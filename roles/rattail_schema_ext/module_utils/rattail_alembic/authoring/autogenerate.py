# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From what Alembic's autogenerate found to what is to be written. Runs where the app is loaded, in a child."""

from __future__ import annotations

import ast
import builtins
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..migration.alembic_api import alembic_config, run_env, run_hooks, script_directory
from ..migration.ask_app import answer
from ..migration.child import Outcome, Report, in_child
from ..migration.runner import lead_connections
from ..observe.answer import Dependency, LeftOut
from ..problem import Refused
from . import enums, operations, uncompared
from .draft import Draft, Drafted

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
    theirs = uncompared.compared(tables, context, own)
    uncompared.add_indexes(script.upgrade_ops, theirs, cursor)
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
        *uncompared.hints(script.upgrade_ops, theirs, context.dialect, cursor),
    ]
    uncompared.restore_indexes(script, cursor)
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
    needed = wanted.depends_on(others)
    found["depends_on"] = [dict(vars(each)) for each in needed]
    script.depends_on = [each.revision for each in needed] or None
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


def draft(wanted: Draft) -> Drafted:
    """``alembic revision --autogenerate``, of which only what is the app's own is written.

    :raises Refused: where the models are not the app's, have tables or enumerations without its prefix, or
        ``env.py`` fails.
    """

    def work(report: Report) -> None:
        from alembic.autogenerate import RevisionContext

        lead_connections(wanted.target, wanted.direct)
        config = alembic_config(wanted.config_file, {})
        script = script_directory(config, wanted.directories)
        # they run when the script is where it belongs
        script.hooks = []
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
        revisions = RevisionContext(config, script, arguments)
        chosen: dict[str, Any] = {}

        def compare(_script: Any, rows: Any, context: Any) -> list[Any]:
            revisions.run_autogenerate(rows, context)
            chosen.update(choose(revisions.generated_revisions, context, wanted))
            return []

        try:
            more = {"template_args": revisions.template_args, "revision_context": revisions, "script": script}
            run_env(config, compare, dont_mutate=True, **more)
        except Refused as refused:
            report({"event": "refused", **refused.problem.as_dict()})
            return
        if chosen["something"]:
            if wanted.template_dir:
                script.dir = wanted.template_dir
            made: Any = next(revisions.generate_scripts())
            path = Path(made.path)
            text = tidy(path.read_text(encoding="utf-8"), lambda name: name in sys.modules, trim=wanted.trim)
            path.write_text(text, encoding="utf-8")
            chosen.update(revision=made.revision, path=str(path), text=text)
        report({"event": "drafted", **chosen})

    outcome = in_child(work)
    _raise_refused(outcome)
    said = answer(outcome, "drafted", "The app's env.py", wanted.config_file)
    return Drafted(
        revision=said.get("revision", ""),
        path=said.get("path", ""),
        text=said.get("text", ""),
        tables=tuple(said["tables"]),
        depends_on=tuple(Dependency(**each) for each in said["depends_on"]),
        left_out=tuple(LeftOut(**each) for each in said["left_out"]),
        hints=tuple(said["hints"]),
    )


def merge(wanted: Draft) -> Drafted:
    """``alembic merge`` of the revisions in ``wanted.head``: a script that follows all of them and does nothing.

    :raises Refused: where it cannot be written.
    """

    def work(report: Report) -> None:
        from alembic.util import rev_id

        script = script_directory(alembic_config(wanted.config_file, {}), wanted.directories)
        script.hooks = []
        if wanted.template_dir:
            script.dir = wanted.template_dir
        made = script.generate_revision(
            rev_id(), wanted.message, refresh=True, head=wanted.head, version_path=wanted.version_path, imports=""
        )
        path = Path(made.path)
        text = tidy(path.read_text(encoding="utf-8"), lambda _name: False, trim=wanted.trim)
        path.write_text(text, encoding="utf-8")
        report({"event": "drafted", "revision": made.revision, "path": str(path), "text": text})

    said = answer(in_child(work), "drafted", "The merge", wanted.config_file)
    return Drafted(said["revision"], said["path"], said["text"])


def post_write_hooks(config_file: str, path: str) -> list[str]:
    """Run the hooks of ``[post_write_hooks]`` on a script, as ``alembic revision`` does; returns their names.

    :raises Refused: where one cannot be run.
    """

    def work(report: Report) -> None:
        hooks = script_directory(alembic_config(config_file, {})).hooks
        # of a list of them Alembic has changed the type
        names = [hook["_hook_name"] for hook in hooks] if isinstance(hooks, list) else _hook_names(hooks)
        if names:
            run_hooks(path, hooks)
        report({"event": "hooks", "names": names})

    names: list[str] = answer(in_child(work), "hooks", "A hook of [post_write_hooks]", config_file)["names"]
    return names


def _hook_names(section: Mapping[str, str]) -> list[str]:
    return [name for name in section.get("hooks", "").replace(",", " ").split() if name]


def _raise_refused(outcome: Outcome) -> None:
    said = outcome.last("refused")
    if said is not None:
        raise Refused(said["code"], said["cause"], said["remedy"])


def tidy(text: str, is_module: Callable[[str], bool], *, trim: bool = True) -> str:
    """``text`` with the imports added that its names need, and, to ``trim`` it, without those that nothing uses.

    Alembic renders a type that is not SQLAlchemy's own by its whole name (``sqlalchemy_utils.types.…``), and
    leaves its import to the template.

    :param is_module: whether a dotted name is a module; asked where all of them are loaded.
    :raises SyntaxError: where ``text`` is not Python.
    """
    tree = ast.parse(text)
    used = set(_chains(tree))
    lines = text.splitlines(keepends=True)
    removed: set[int] = set()
    last = 0
    for statement in tree.body:
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            future = getattr(statement, "module", "") == "__future__"
            if future or not trim or any(_is_used(each, used) for each in statement.names):
                last = statement.end_lineno or statement.lineno
            else:
                removed |= set(range(statement.lineno, (statement.end_lineno or statement.lineno) + 1))
    needed = sorted({module for chain in used for module in [_needed(chain, tree, is_module)] if module})
    kept = []
    for number, line in enumerate(lines, 1):
        if number not in removed:
            kept.append(line)
        if number == last:
            kept += [f"import {module}\n" for module in needed]
    return "".join(kept)


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


def _is_stored(name: ast.Name) -> bool:
    return isinstance(name.ctx, ast.Store)


def _is_used(name: ast.alias, used: set[str]) -> bool:
    """Whether an import's name is read; one without an alias binds its first part, and is used where it leads on."""
    bound = name.asname or name.name
    return any(chain == bound or chain.startswith(f"{bound}.") for chain in used)


def _needed(chain: str, tree: ast.Module, is_module: Callable[[str], bool]) -> str:
    """The module that has to be imported for a dotted name; empty where it is there."""
    root = chain.partition(".")[0]
    if hasattr(builtins, root) or "." not in chain:
        return ""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for name in node.names:
                bound = name.asname or name.name
                if chain == bound or chain.startswith(f"{bound}."):
                    return ""
        elif root in (getattr(node, "arg", ""), node.id if isinstance(node, ast.Name) and _is_stored(node) else ""):
            return ""
    module = chain
    while module and not is_module(module):
        module = module.rpartition(".")[0]
    return module
