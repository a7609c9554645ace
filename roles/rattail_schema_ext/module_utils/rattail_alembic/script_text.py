# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The text of a revision script: the imports that it needs, and no others."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Iterator


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
