# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a revision does to tables and to its transaction, read from its text and never by running it.

It serves warnings and early refusals; the catalog tells what happened in the end. What could not be read
is ``Facts.unread``, and the warnings say so.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import NamedTuple

from .file import RevisionFile
from .graph import Graph
from .reader import AUTOCOMMIT_BLOCK, Reader
from .sql import CREATE, DROP, REFERENCE, RENAME, Step

_IF_NOT_EXISTS = re.compile(r"if[ _]not[ _]exists|checkfirst", re.IGNORECASE)
_BRANCHES = (ast.If, ast.IfExp, ast.For, ast.While, ast.Try)
# More than these are only counted in a warning.
_NAMED = 5


class Facts(NamedTuple):
    """What one function of a revision file does, as far as its text tells.

    ``steps`` are in the order of the text; names of tables are as written, ``schema.name`` where a
    schema was given. ``leaves`` and ``fails`` are pairs of a line and what is there: where it leaves
    its transaction, and what PostgreSQL refuses to run in one. ``concurrent_indexes`` are those that
    it builds concurrently. ``unread`` are the lines of which it could not be told what they do. ``depends`` is whether
    what it does may depend on what is there.
    """

    path: str
    steps: tuple[Step, ...] = ()
    leaves: tuple[tuple[int, str], ...] = ()
    fails: tuple[tuple[int, str], ...] = ()
    concurrent_indexes: tuple[str, ...] = ()
    unread: tuple[int, ...] = ()
    depends: bool = False

    @property
    def created(self) -> frozenset[str]:
        return frozenset(step.name for step in self.steps if step.verb == CREATE)

    @property
    def renamed(self) -> dict[str, str]:
        """Old names to new ones."""
        return {step.name: step.to for step in self.steps if step.verb == RENAME}


class Demands(NamedTuple):
    """Tables that have to be there before: those to own, and those to make foreign keys to.

    ``creates`` is whether a table is made or gets another name, which takes the right to create in its schema.
    """

    altered: set[str]
    referenced: set[str]
    creates: bool


def inspect(file: RevisionFile, function: str = "upgrade") -> Facts:
    """What ``function`` of a revision file does. Raises nothing: a file that is not Python is unread."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in somebody's docstring are no news of ours
            tree = ast.parse(file.text.lstrip("\ufeff"))
        reader, depends = Reader(tree), bool(_IF_NOT_EXISTS.search(file.text))
        for each in tree.body:
            if isinstance(each, ast.FunctionDef) and each.name == function:
                reader.read(each.body)
                depends = depends or any(isinstance(node, _BRANCHES) for node in ast.walk(each))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return Facts(file.path, unread=(getattr(error, "lineno", None) or 1,))
    return Facts(
        file.path,
        tuple(reader.steps),
        tuple(dict.fromkeys(reader.leaves)),
        tuple(dict.fromkeys(reader.fails)),
        tuple(dict.fromkeys(name for name in reader.indexes if name)),
        tuple(sorted(set(reader.unread))),
        depends,
    )


def _steps(facts: Iterable[Facts]) -> Iterator[Step]:
    return (step for each in facts for step in each.steps)


def tables_created(facts: Iterable[Facts]) -> set[str]:
    """The tables that are there after revisions, given in the order of their application, on an empty database."""
    tables: set[str] = set()
    for step in _steps(facts):
        if step.verb == CREATE:
            tables.add(step.name)
        elif step.verb == RENAME and step.name in tables:
            tables.add(step.to)
        if step.verb in (DROP, RENAME):
            tables.discard(step.name)
    return tables


def in_the_way(facts: Iterable[Facts], tables: Container[str]) -> list[str]:
    """Those of ``tables``, all there, that revisions to run, given in order, are sure to make once more."""
    found, gone = [], set[str]()
    for each in facts:
        if each.unread or each.depends:
            break
        found += [step.name for step in each.steps if step.verb == CREATE and step.name in tables]
        gone |= {step.name for step in each.steps if step.verb in (DROP, RENAME)}
        found = [name for name in found if name not in gone]
    return found


def demands(facts: Iterable[Facts]) -> Demands:
    """What pending revisions, given in the order of their application, want of tables that are there already."""
    own: set[str] = set()
    altered: set[str] = set()
    referenced: set[str] = set()
    creates = False
    for step in _steps(facts):
        if step.verb in (CREATE, RENAME):
            creates = True
            own.add(step.to or step.name)
        if step.verb == REFERENCE:
            referenced |= {step.name} - own
        elif step.verb != CREATE:
            altered |= {step.name} - own
        if step.verb == DROP:
            own.discard(step.name)
    return Demands(altered, referenced, creates)


def leaving(revision: str, facts: Facts) -> list[str]:
    """Warnings about a revision to run that leaves its transaction, or cannot run in one."""
    named = f"Revision {revision} ({facts.path})"
    said = []
    raw = [each for each in facts.leaves if each[1] != AUTOCOMMIT_BLOCK]
    if raw:
        said.append(
            f"{named} ends its transaction by itself ({_at(raw)}): what ran before is committed, what comes after it "
            "commits by itself, and none of it is rolled back if the run fails."
        )
    elif facts.leaves:
        said.append(
            f"{named} leaves its transaction ({_at(facts.leaves)}): what ran before is committed, "
            "and is not rolled back if the run fails."
        )
    if facts.fails:
        said.append(
            f"{named} runs what PostgreSQL refuses inside a transaction ({_at(facts.fails)}): "
            "put it into `with op.get_context().autocommit_block():`."
        )
    return said


def _at(places: Iterable[tuple[int, str]]) -> str:
    return ", ".join(f"{words} in line {line}" for line, words in places)


def not_read(facts: Mapping[str, Facts]) -> list[str]:
    """A warning that names those of the revisions to run that could not be read as a whole, where there are any.

    :param facts: by revision.
    """
    unread = [f"{name} ({each.path}, {_lines(each)})" for name, each in facts.items() if each.unread]
    if not unread:
        return []
    more = f" and {len(unread) - _NAMED} more" if len(unread) > _NAMED else ""
    named = f"{', '.join(unread[:_NAMED])}{more} could not be read as a whole"
    if len(unread) == 1:
        return [f"Revision {named}: what it does there is seen when it runs."]
    return [f"Revisions {named}: what they do there is seen when they run."]


def _lines(facts: Facts) -> str:
    """The lines that were not read, in words: ``lines 3, 9``."""
    shown = [str(line) for line in facts.unread[:_NAMED]] + ["…"] * (len(facts.unread) > _NAMED)
    return f"line{'s' if len(facts.unread) > 1 else ''} {', '.join(shown)}"


def unordered_foreign_keys(
    graph: Graph, facts: Mapping[str, Facts], location: str, branch: str, pending: Iterable[str]
) -> str:
    """A warning about the first foreign key out of a branch that nothing but the order of locations provides for.

    That is one to a table which no revision of ``location`` makes, in a pending revision that has
    nothing of another location among its ancestors, by ``depends_on`` or otherwise. Empty where
    there is none.

    :param facts: of all revision files of ``location``, by path.
    :param branch: what people call it.
    :param pending: the pending revisions, in order.
    """
    own = {step.to or step.name for step in _steps(facts.values()) if step.verb in (CREATE, RENAME)}
    unread = any(each.unread for each in facts.values())
    unsure = " (or a revision of its own that could not be read as a whole)" if unread else ""
    for revision in (graph.revisions[name] for name in pending):
        if revision.location != location:
            continue
        keys = {step.name for step in facts[revision.path].steps if step.verb == REFERENCE}
        away = sorted(keys - own)
        if away and all(graph.revisions[name].location == location for name in graph.ancestors([revision.revision])):
            return (
                f"Revision {revision.revision} of {branch} ({revision.path}) makes a foreign key to {', '.join(away)}, "
                f"which another branch makes{unsure}, and has no depends_on: only the order of version_locations puts "
                "that branch first. Name in depends_on the revision that it needs."
            )
    return ""
