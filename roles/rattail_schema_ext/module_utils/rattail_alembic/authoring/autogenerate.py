# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From what Alembic's autogenerate found to what is to be written. Runs where the app is loaded, in a child."""

from __future__ import annotations

import ast
import builtins
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ..migration.alembic_api import alembic_config, run_env, run_hooks, script_directory
from ..migration.ask_app import answer
from ..migration.child import Report, in_child
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
    metadata = context.opts["target_metadata"]
    tables = [table for each in _as_list(metadata) for table in each.tables.values()]
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
    found["hints"] = [
        *operations.renames(script.upgrade_ops),
        *enums.changes(tables, cursor, own),
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
                f"The models of {wanted.app} have the enumeration {name} (in {used[name]}), which is not named {own}.",
                f"Name it: sa.Enum(…, name={f'{own.own[0]}_{name}'!r}).",
            )
    others = [(table, to) for table, to in operations.references(script.upgrade_ops) if not own.owns("", to)]
    found["depends_on"] = [vars(each) for each in wanted.depends_on(others)]
    script.depends_on = [each["revision"] for each in found["depends_on"]] or None
    found["tables"] = operations.tables_created(script.upgrade_ops)
    found["left_out"] = [vars(each) for each in operations.left_out(taken, wanted.owner)]
    found["something"] = not script.upgrade_ops.is_empty()
    return found


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


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value] if value is not None else []


def _refuse_models(wanted: Draft, tables: Iterable[Any]) -> None:
    defined = _defined_tables(wanted.app)
    if f"{wanted.app}.db.model" not in sys.modules and not any(table.name in defined for table in tables):
        raise Refused(
            "model_unused",
            f"The models that env.py compares do not have {wanted.app}.db.model among them.",
            f"Name it in the config file (model_spec = {wanted.app}.db.model in the core's section) or in the app's "
            "config extension (entry point group wutta.config.extensions), then run again.",
        )
    for table in tables:
        if table.name in defined and not wanted.own.owns(table.schema or "", table.name):
            raise Refused(
                "model_without_prefix",
                f"The model {defined[table.name]} has the table {table.name}, and what {wanted.app} creates must be "
                f"named {wanted.own}.",
                f"Rename it (__tablename__ = {f'{wanted.own.own[0]}_{table.name}'!r}), or add its prefix to "
                "rattail_schema_ext_prefixes.",
            )


def _defined_tables(app: str) -> dict[str, str]:
    """The tables that the app's own modules define, and where (``poser.db.model.PoserWidget``).

    A class belongs to the module that it names; a bare Table is the app's where no other package has it as well.
    """
    from sqlalchemy import Table

    top = app.partition(".")[0]
    classes: dict[str, str] = {}
    bare: dict[int, tuple[str, str]] = {}
    foreign: set[int] = set()
    for name, module in list(sys.modules.items()):
        ours = name.partition(".")[0] == top
        for attribute, value in list(getattr(module, "__dict__", {}).items()):
            if isinstance(value, Table):
                if ours:
                    bare[id(value)] = (value.name, f"{name}.{attribute}")
                else:
                    foreign.add(id(value))
            elif ours and isinstance(value, type) and value.__module__.partition(".")[0] == top:
                table = vars(value).get("__table__")
                if isinstance(table, Table):
                    classes[table.name] = f"{value.__module__}.{value.__qualname__}"
    return {**{name: where for key, (name, where) in bare.items() if key not in foreign}, **classes}


def draft(wanted: Draft) -> Drafted:
    """``alembic revision --autogenerate``, of which only what is the app's own is written.

    :raises Refused: where the models are not the app's, have tables or enumerations without its prefix, or
        ``env.py`` fails.
    """

    def work(report: Report) -> None:
        from alembic.autogenerate import RevisionContext

        lead_connections(wanted.target, wanted.direct)
        config = alembic_config(wanted.config_file, {})
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
        revisions = RevisionContext(config, _scripts(wanted), arguments)
        chosen: dict[str, Any] = {}

        def compare(_script: Any, rows: Any, context: Any) -> list[Any]:
            revisions.run_autogenerate(rows, context)
            chosen.update(choose(revisions.generated_revisions, context, wanted))
            return []

        more = {"template_args": revisions.template_args, "revision_context": revisions}
        run_env(config, compare, dont_mutate=True, directories=wanted.directories, **more)
        if chosen.pop("something"):
            chosen.update(_made(next(revisions.generate_scripts()), wanted))
        report({"event": "drafted", **chosen})

    said = _drafted(work, "The app's env.py", wanted)
    said["depends_on"] = [Dependency(**each) for each in said["depends_on"]]
    said["left_out"] = [LeftOut(**each) for each in said["left_out"]]
    return Drafted(**said)


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

    return Drafted(**_drafted(work, "The merge", wanted))


def _scripts(wanted: Draft) -> Any:
    script = script_directory(alembic_config(wanted.config_file, {}), wanted.directories)
    # they run once the script is in its place
    script.hooks = []
    script.dir = wanted.template_dir or script.dir
    return script


def _made(script: Any, wanted: Draft) -> dict[str, str]:
    """A script that Alembic has just written, with its imports in order: fields of :class:`draft.Drafted`."""
    path = Path(script.path)
    text = tidy(path.read_text(encoding="utf-8"), lambda name: name in sys.modules, trim=wanted.trim)
    path.write_text(text, encoding="utf-8")
    return {"revision": script.revision, "path": str(path), "text": text}


def _drafted(work: Callable[[Report], None], what: str, wanted: Draft) -> dict[str, Any]:
    outcome = in_child(work)
    if outcome.error and outcome.error["problem"]:
        raise Refused(**outcome.error["problem"])
    event = answer(outcome, "drafted", what, wanted.config_file)
    return {name: value for name, value in event.items() if name != "event"}


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
