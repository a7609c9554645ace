"""`graph` against Alembic on generated revision files and generated graphs of them."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import signal
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from alembic.script.revision import Revision as AlembicRevision
from alembic.script.revision import RevisionError, RevisionMap
from ansible.module_utils.rattail_alembic.problem import Refused
from ansible.module_utils.rattail_alembic.revisions.graph import (
    Graph,
    Revision,
    RevisionFile,
    Unreadable,
    read_revision,
)
from graph_oracle import (
    assert_same_graph,
    assert_same_upgrade,
    revision_files,
    row_sets,
    script_directory,
)
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.property


def examples(count: int) -> settings:
    return settings(max_examples=count, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@contextlib.contextmanager
def inside_a_new_directory() -> Iterator[Path]:
    """The current directory while it lasts; nothing imported from it leaves byte code behind."""
    before = Path.cwd()
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as name:
        patch.setattr(sys, "dont_write_bytecode", True)
        os.chdir(name)
        try:
            yield Path(name)
        finally:
            os.chdir(before)


# --- graphs


@dataclass
class Node:
    revision: str
    down: list[str]
    depends: list[str]
    labels: list[str]
    location: int
    slug: str

    def text(self, annotated: bool) -> str:
        fields = {
            "revision": self.revision,
            "down_revision": scalar(self.down),
            "branch_labels": scalar(self.labels),
            "depends_on": scalar(self.depends),
        }
        colon = ": object" if annotated else ""
        lines = [f"{name}{colon} = {value!r}" for name, value in fields.items()]
        return f'"""{self.slug}\n\nRevision ID: {self.revision}\n"""\n' + "\n".join(lines) + FUNCTIONS


FUNCTIONS = "\n\n\ndef upgrade():\n    pass\n\n\ndef downgrade():\n    pass\n"


def scalar(names: list[str]) -> str | tuple[str, ...] | None:
    return None if not names else names[0] if len(names) == 1 else tuple(names)


@st.composite
def graphs(draw: st.DrawFn, redundant: bool = False) -> list[Node]:
    """A history as people make it: each revision starts a branch, continues one, forks, or merges heads.

    With ``redundant``, one of the revisions it needs may also imply another; Alembic sorts such graphs,
    but upgrading them fails in its HeadMaintainer now and then (KeyError in _delete_version, 1.19).
    """
    size = draw(st.integers(1, 14))
    hexes = st.text("0123456789abcdef", min_size=6, max_size=6)
    ids = [f"{prefix}{number:02x}" for number, prefix in enumerate(draw(st.lists(hexes, min_size=size, max_size=size)))]
    older: dict[str, set[str]] = {}
    labels: list[str] = []
    nodes: list[Node] = []
    for name in ids:
        kind = draw(st.sampled_from(["base", "next", "next", "next", "fork", "merge"])) if nodes else "base"
        known = [node.revision for node in nodes]
        heads = [other for other in known if not any(other in node.down for node in nodes)]
        if kind == "base":
            down = []
        elif kind == "merge":
            picked = draw(st.lists(st.sampled_from(heads), min_size=1, max_size=3, unique=True))
            down = [one for one in picked if not any(one in older[other] for other in picked)]
        else:
            down = [draw(st.sampled_from(known if kind == "fork" else heads))]
        depends = draw(st.lists(st.sampled_from(known + labels), max_size=2, unique=True)) if known else []
        depends = depends if draw(st.integers(0, 2)) == 0 else []
        own = [f"label{len(labels) + i}" for i in range(draw(st.sampled_from([0, 0, 1, 2])))]
        owner = {label: node.revision for node in nodes for label in node.labels}
        if not redundant:
            needs = {*down, *(owner.get(one, one) for one in depends)}
            implied = set(down).union(*(older[need] for need in needs))
            depends = [
                one
                for one in depends
                if owner.get(one, one) not in implied and older[owner.get(one, one)].isdisjoint(down)
            ]
        needs = {*down, *(owner.get(one, one) for one in depends)}
        older[name] = needs.union(*(older[need] for need in needs))
        labels += own
        nodes.append(Node(name, down, depends, own, draw(st.integers(0, 2)), draw(st.sampled_from("abc"))))
    return nodes


@examples(100)
@given(nodes=graphs(), order=st.permutations([0, 1, 2]), absolute=st.integers(0, 7), annotated=st.booleans())
def test_generated_graphs_give_the_same_answers(
    nodes: list[Node], order: list[int], absolute: int, annotated: bool
) -> None:
    with inside_a_new_directory() as home:
        for number in order:
            (home / f"versions{number}").mkdir()
        for node in nodes:
            path = home / f"versions{node.location}" / f"{node.slug}_{node.revision}.py"
            path.write_text(node.text(annotated))
        locations = [
            str(home / f"versions{number}") if absolute & (1 << number) else f"versions{number}" for number in order
        ]
        graph = Graph.from_files(file for spec in locations for file in revision_files(spec, Path(spec)))
        scripts = script_directory(home, locations)
        assert_same_graph(graph, scripts)
        rows_on_the_way = row_sets(scripts)
        for rows in rows_on_the_way:
            assert_same_upgrade(graph, scripts, rows)
        assert graph.pending(rows_on_the_way[-1]) == frozenset()
        for spec in locations:
            assert graph.current_in(spec, rows_on_the_way[-1]) == graph.heads_in(spec)
        event(f"{len(graph.heads)} heads")


@examples(100)
@given(nodes=graphs(redundant=True), data=st.data())
def test_any_rows_give_the_same_pending_set(nodes: list[Node], data: st.DataObject) -> None:
    """Rows that people stamped, and no upgrade would leave."""
    graph = Graph(
        Revision(n.revision, tuple(n.down), tuple(n.labels), tuple(n.depends), "", n.revision, "v") for n in nodes
    )
    rows = tuple(data.draw(st.lists(st.sampled_from(list(graph.revisions)), unique=True, max_size=4)))
    alembic = alembic_map(nodes)
    try:
        order = [found.revision for found in alembic.iterate_revisions("heads", rows, implicit_base=True)][::-1]
    except RevisionError as error:
        assert "overlaps" in str(error)
        assert graph.overlapping(rows)
        with pytest.raises(Refused, match="already implies it"):
            graph.ordered(rows)
    else:
        assert not graph.overlapping(rows)
        assert [revision.revision for revision in graph.ordered(rows)] == order
        assert graph.pending(rows) == frozenset(order)


def alembic_map(nodes: list[Node]) -> RevisionMap:
    return RevisionMap(
        lambda: [AlembicRevision(n.revision, scalar(n.down), scalar(n.depends), scalar(n.labels)) for n in nodes]
    )


@contextmanager
def ended_after(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in what is inside, once it has taken that long."""

    def end(_number: int, _frame: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@examples(300)
@given(data=st.data())
def test_what_alembic_refuses_is_refused(data: st.DataObject) -> None:
    """Names drawn at random: missing ones, prefixes, labels in the wrong place, circles, duplicates."""
    names = ["aaaa1", "aaaa2", "bbbb1", "cccc1"]
    chosen = names[: data.draw(st.integers(1, 4))]
    nodes = []
    for name in chosen:
        others = [*(other for other in chosen if other != name), "label"] * 3 + [*names, "aaaa", "bbbb"]
        some = st.lists(st.sampled_from(others), max_size=2, unique=True)
        identifier = data.draw(st.sampled_from([name] * 7 + ["bbbb1"]))
        labels = data.draw(st.sampled_from([[], [], [], ["label"], ["other"], ["cccc1"]]))
        nodes.append(Node(identifier, data.draw(st.just([]) | some), data.draw(st.just([]) | some), labels, 0, "a"))
    revisions = [
        Revision(n.revision, tuple(n.down), tuple(n.labels), tuple(n.depends), "", n.revision, "v") for n in nodes
    ]
    try:
        # where a label lies on some circles, Alembic goes round for ever
        with warnings.catch_warnings(), ended_after(2):
            warnings.simplefilter("ignore")
            heads = alembic_map(nodes).heads
    except (RevisionError, KeyError, TimeoutError) as error:
        event(f"alembic: {type(error).__name__}")
        with pytest.raises(Refused):
            Graph(revisions)
        return
    try:
        assert Graph(revisions).heads == heads
        event("both read it")
    except Refused as refused:
        # the two where Alembic goes on with a graph that is not the one in the files
        assert refused.problem.code in ("revision_duplicate", "revision_cycle")
        event(f"only we: {refused.problem.code}")


# --- texts

FIELDS = ["revision", "down_revision", "branch_labels", "depends_on"]
names = st.sampled_from(["a1", "b2", "c3"])
others = st.sampled_from(["d4", "e5", "f6"])  # no revision is its own parent: that is another test's
fields = st.sampled_from([*FIELDS, "revision", "down_revision"])
names_or_none = st.one_of(
    st.none(),
    others,
    st.tuples(others),
    st.tuples(others, others),
    st.lists(others, max_size=2),
)


@st.composite
def plain(draw: st.DrawFn, field: str) -> str:
    """An assignment that ought to be readable."""
    value = draw(names) if field == "revision" else draw(names_or_none)
    written = repr(value)
    if isinstance(value, str):
        one, two = value[:1], value[1:]
        written = draw(
            st.sampled_from(
                [written, f'"{value}"', f"u'{value}'", f"r'''{value}'''", f"'{one}' '{two}'", f"'\\x{ord(one):x}{two}'"]
            )
        )
    target = draw(st.sampled_from([field, f"{field}: str", f"{field}: 'str | None'", f"({field})"]))
    form = draw(
        st.sampled_from(
            [
                "{} = {}",
                "{}={}",
                "{} = (\n{}\n)",
                "{} = \\\n  {}",
                "{} = {}  # revision = 'c3'",
                "{} = {};",
                "x = 1; {} = {}",
            ]
        )
    )
    return form.format(target, written)


ODD = [
    "if True:\n    {f} = {v}",
    "if False:\n    {f} = {v}",
    "try:\n    {f} = {v}\nexcept Exception:\n    pass",
    "x = {f} = {v}",
    "{f}, x = {v}, 1",
    "[{f}] = [{v}]",
    "{f} += {v}",
    "{f} = {v} + ''",
    "{f} = str({v})",
    "{f} = f{v}",
    "{f}: str",
    "{f} = {{v}}",
    "print({f} := {v}, end='')",
    "[x for x in [1] if ({f} := {v})]",
    "for {f} in [{v}]: pass",
    "with __import__('io').StringIO({v}) as {f}: pass",
    "import os.path as {f}",
    "from os import sep as {f}",
    "from os.path import *",
    "class {f}: pass",
    "def {f}(): pass",
    "async def {f}(): pass",
    "del {f}",
    "globals()['{f}'] = {v}",
    "globals().update({f}={v})",
    "vars()['{f}'] = {v}",
    'exec("{f} = {v}")',
    'import builtins as b; b.exec("{f} = {v}")',
    "x = lambda y=({f} := {v}): y",
    "class X:\n    global {f}\n    {f} = {v}",
    "class X:\n    {f} = {v}",
    "def g(x=({f} := {v})): pass",
    "@(lambda g, x=({f} := {v}): g)\ndef g(): pass",
    "def g():\n    global {f}\n    {f} = {v}\ng()",
    "def __getattr__(name): return {v}",
    "__doc__ = {v}",
    "try:\n    1 / 0\nexcept ZeroDivisionError as {f}: pass",
    "match {v}:\n    case {f}: pass",
    "{f_in_full_width} = {v}",
    "\x0c{f} = {v}",
    "if True:\n  x = 1\n \x0c{f} = {v}",
]
HARMLESS = [
    "# {f} = {v}",
    "from __main__ import __name__ as x",
    "import os",
    "x = '''\n{f} = {v}\ndef upgrade():\n'''",
    "x = dict(\n{f} = {v}\n)",
    "x = '{f} = \\\n{f} = 1'",
    "\n\n\n",
    "if True: x = 1",
    "def g(): pass",
    "def g(a, b) -> None:\n    x = '''\n{f} = {v}\n'''",
    "def g(\n    {f},\n):\n    return {f}",
]
NOISE = [
    *HARMLESS,
    "def g():\n    {f} = {v}",
    "def g():\n    global {f}\n    {f} = {v}",
    "def g():\n    def {f}(): pass",
    "class X:\n    def g(self):\n        {f} = {v}",
]
DOCSTRINGS = [
    "",
    "'add widgets'",
    '"""add widgets\n\nRevision ID: a1\n"""',
    '"""\n    add widgets\n    to the shop\n\n    Revises: b2\n"""',
    '"""add\nrevision = \'zz\'\n\ndown_revision = \'yy\'\ndef upgrade():\n    pass\n"""',
    "r'add \\d'",
    "'''add'''  ' widgets'",
    "f'add {1}'",
    "b'add'",
    "u'größer \\u2603'",
    "''",
    "x = 1; 'not a docstring'",
]
FIRST_LINES = ["", "# -*- coding: utf-8; -*-", "#!/x\n# coding=utf8", "# coding: latin-1", "\n# vim:fileencoding=ascii"]


def fill(form: str, field: str, value: str) -> str:
    full_width = chr(ord(field[0]) + 0xFEE0) + field[1:]  # the same name, to Python
    return form.replace("{f}", field).replace("{f_in_full_width}", full_width).replace("{v}", repr(value))


@st.composite
def texts(draw: st.DrawFn) -> str:
    def filled(forms: list[str]) -> st.SearchStrategy[str]:
        field_and_value = fields.flatmap(lambda f: st.tuples(st.just(f), names if f == "revision" else others))
        return st.builds(lambda form, pair: fill(form, *pair), st.sampled_from(forms), field_and_value)

    chunks = [draw(plain(field)) for field in FIELDS if field in FIELDS[:2] or draw(st.booleans())]
    chunks += draw(st.lists(filled(NOISE), max_size=4))
    if draw(st.booleans()):
        chunks += draw(st.lists(filled(ODD) | fields.flatmap(plain), max_size=2))
    chunks = draw(st.permutations(chunks))
    chunks.insert(draw(st.integers(0, len(chunks))), "def upgrade():\n    pass\n\n\ndef downgrade():\n    pass")
    start = [draw(st.sampled_from(FIRST_LINES)), draw(st.sampled_from(DOCSTRINGS))]
    text = "\n".join([*(line for line in start if line), *chunks, ""])
    bom = draw(st.sampled_from(["", "", "", "\ufeff"]))
    return bom + text.replace("\n", draw(st.sampled_from(["\n", "\n", "\r\n", "\r"])))


@examples(600)
@given(text=texts())
def test_generated_texts_are_read_as_imported_or_not_at_all(text: str) -> None:
    with inside_a_new_directory() as home, contextlib.redirect_stdout(io.StringIO()):
        path = home / "odd_name.py"
        path.write_bytes(text.encode())
        scripts = script_directory(home, [home])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                (script,) = scripts._load_revisions()
        except Exception as error:
            event(f"alembic: {type(error).__name__}")
            with pytest.raises(Unreadable):
                read_revision(RevisionFile(str(path), "v", text))
            return
        try:
            found = read_revision(RevisionFile(str(path), "v", text))
        except Unreadable:
            event("unreadable")
            return
        event("read")
        dependencies = script.dependencies or ()
        assert found == Revision(
            revision=script.revision,
            down_revision=script._versioned_down_revisions,
            branch_labels=tuple(script._orig_branch_labels),
            depends_on=(dependencies,) if isinstance(dependencies, str) else tuple(dependencies),
            message=script.doc,
            path=str(path),
            location="v",
        )


@examples(300)
@given(data=st.data())
def test_plain_texts_are_always_readable(data: st.DataObject) -> None:
    """So that the test above cannot pass by reading nothing."""
    header = [data.draw(plain(field)) for field in FIELDS]
    noise = data.draw(st.lists(st.sampled_from(HARMLESS), max_size=3))
    chunks = [fill(form, "depends_on", "zz") for form in noise]
    text = "\n".join(data.draw(st.permutations(header + chunks))) + FUNCTIONS
    assert read_revision(RevisionFile("x.py", "v", text)).revision in ("a1", "b2", "c3")


def test_the_forms_are_all_tried() -> None:
    """Each form of the lists above is real Python by itself: a misspelt one would test nothing."""
    for form in itertools.chain(ODD, NOISE):
        if "match" in form and sys.version_info < (3, 10):
            continue
        compile(f"x = 1\n{fill(form, 'revision', 'a1')}\n", form, "exec")
