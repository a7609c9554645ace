"""`graph` on every odd form of revision file, on bad graphs, and on the whole of Rattail."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from alembic.script.revision import RevisionError
from alembic.util import CommandError
from ansible.module_utils.rattail_alembic.problem import Refused
from ansible.module_utils.rattail_alembic.revisions import graph as graph_module
from ansible.module_utils.rattail_alembic.revisions.graph import (
    Graph,
    Revision,
    RevisionFile,
    Unreadable,
    is_revision_file,
    read_revision,
)
from graph_oracle import (
    assert_same_graph,
    assert_same_upgrade,
    revision_files,
    row_sets,
    script_directory,
    upgrade_order,
)

POSER = "poser.db:alembic/versions"
COREPOS = "rattail_corepos.db:alembic/versions"
CORE = "rattail.db:alembic/versions"

FUNCTIONS = "\n\ndef upgrade():\n    pass\n\n\ndef downgrade():\n    pass\n"


def read(text: str, path: str = "versions/x.py") -> Revision:
    return read_revision(RevisionFile(path, POSER, text))


def declared(revision: Revision) -> tuple[object, ...]:
    return (revision.revision, revision.down_revision, revision.branch_labels, revision.depends_on)


READABLE = {
    "as alembic writes it": (
        '"""add widgets\n\nRevision ID: a1\nRevises: b2\n\n"""\nfrom alembic import op\n\n'
        "# revision identifiers, used by Alembic.\nrevision = 'a1'\ndown_revision = 'b2'\n"
        "branch_labels = ('poser',)\ndepends_on = None\n" + FUNCTIONS,
        ("a1", ("b2",), ("poser",), ()),
    ),
    "annotated, as newer templates are": (
        "from typing import Sequence, Union\n\nrevision: str = 'a1'\n"
        "down_revision: Union[str, Sequence[str], None] = None\n"
        "branch_labels: Union[str, Sequence[str], None] = 'poser'\n"
        "depends_on: Union[str, Sequence[str], None] = ['c3', 'd4']\n\n\n"
        "def upgrade() -> None:\n    pass\n",
        ("a1", (), ("poser",), ("c3", "d4")),
    ),
    "declared, then set": ("revision: str\nrevision = 'a1'\ndown_revision = None\n", ("a1", (), (), ())),
    "set, then declared": ("revision = 'a1'\nrevision: str\ndown_revision = None\n", ("a1", (), (), ())),
    "a merge over several lines": (
        "revision = 'a1'\ndown_revision = (\n    'b2',  # ours\n\n    u'c3'\n)\n" + FUNCTIONS,
        ("a1", ("b2", "c3"), (), ()),
    ),
    "empty tuples": (
        "revision = 'a1'\ndown_revision = ()\nbranch_labels = []\ndepends_on = ()\n",
        ("a1", (), (), ()),
    ),
    "odd quoting": (
        "revision = (r'''a1''')\ndown_revision = 'b' \"2\" \\\n 'c'\n",
        ("a1", ("b2c",), (), ()),
    ),
    "semicolons": ("revision = 'a1'; down_revision = None\n", ("a1", (), (), ())),
    "the last one counts": (
        "revision = 'zz'\ndown_revision = None\n" + FUNCTIONS + "revision = 'a1'\n",
        ("a1", (), (), ()),
    ),
    "code after the functions": (
        "revision = 'a1'\ndown_revision = None\n" + FUNCTIONS + "if True:\n    ANSWER = 42\n",
        ("a1", (), (), ()),
    ),
    "set after the functions only": (FUNCTIONS + "revision = 'a1'\ndown_revision = 'b2'\n", ("a1", ("b2",), (), ())),
    "a docstring that looks like code": (
        '"""odd\n\nrevision = \'zz\'\ndef upgrade():\n"""\nrevision = \'a1\'\ndown_revision = None\n' + FUNCTIONS,
        ("a1", (), (), ()),
    ),
    "a comment that looks like code": (
        "# revision = 'zz'\nrevision = 'a1'  # revision = 'yy'\ndown_revision = None\n" + FUNCTIONS,
        ("a1", (), (), ()),
    ),
    "an argument at column 0": (
        "options = dict(\nrevision = 'zz'\n)\nrevision = 'a1'\ndown_revision = None\n" + FUNCTIONS,
        ("a1", (), (), ()),
    ),
    "SQL at column 0": (
        "revision = 'a1'\ndown_revision = None\n\n\ndef upgrade():\n    sql = '''\nrevision = 2\n'''\n",
        ("a1", (), (), ()),
    ),
    "a decorated function": (
        "import functools\nrevision = 'a1'\ndown_revision = None\n\n\n"
        "@functools.lru_cache()\ndef upgrade():\n    pass\n",
        ("a1", (), (), ()),
    ),
    "locals of the same name": (
        "revision = 'a1'\ndown_revision = None\n\n\ndef upgrade():\n    revision = 'zz'\n",
        ("a1", (), (), ()),
    ),
    "a global statement that never runs": (
        "revision = 'a1'\ndown_revision = None\n\n\ndef upgrade():\n    global revision\n    revision = 'zz'\n",
        ("a1", (), (), ()),
    ),
    "CRLF": ("revision = 'a1'\r\ndown_revision = '''b\r\n2'''\r\n", ("a1", ("b\n2",), (), ())),
    "CR": ("# x\rrevision = 'a1'\rdown_revision = None\r\rdef upgrade():\r    pass\r", ("a1", (), (), ())),
    "a CR among LFs": (
        "revision = 'zz'\ndown_revision = None\n\n\ndef upgrade():\n    pass\n    # x\rrevision = 'a1'\n",
        ("a1", (), (), ()),
    ),
    "a form feed": ("revision = 'a1'\n\x0cdown_revision = 'b2'\n" + FUNCTIONS, ("a1", ("b2",), (), ())),
    "a form feed after the functions": (
        "revision = 'a1'\ndown_revision = None\n" + FUNCTIONS + " \x0cdepends_on = 'c3'\n",
        ("a1", (), (), ("c3",)),
    ),
    "a byte order mark": ("\ufeff# -*- coding: utf-8 -*-\nrevision = 'a1'\ndown_revision = None\n", ("a1", (), (), ())),
    "a coding line": (
        "#!/bin/x\n# vim: fileencoding=utf8 :\nrevision = 'ä1'\ndown_revision = None\n",
        ("ä1", (), (), ()),
    ),
    "a coding line too late to count": (
        "\n\n# coding: klingon\nrevision = 'a1'\ndown_revision = None\n",
        ("a1", (), (), ()),
    ),
    "a full-width name": ("\uff52evision = 'a1'\ndown_revision = None\n", ("a1", (), (), ())),
}

UNREADABLE = {
    "computed": "revision = 'a' + '1'\ndown_revision = None\n",
    "another name": "x = 'b2'\nrevision = 'a1'\ndown_revision = x\n",
    "an f-string": "revision = f'a1'\ndown_revision = None\n",
    "bytes": "revision = b'a1'\ndown_revision = None\n",
    "a list for a revision": "revision = ['a1']\ndown_revision = None\n",
    "a number": "revision = 'a1'\ndown_revision = 7\n",
    "a number among names": "revision = 'a1'\ndown_revision = ('b2', 7)\n",
    "an empty name": "revision = 'a1'\ndown_revision = ''\n",
    "a set": "revision = 'a1'\ndown_revision = {'b2'}\n",
    "None for a revision": "revision = None\ndown_revision = None\n",
    "no revision": "down_revision = None\n",
    "no down_revision": "revision = 'a1'\n",
    "an empty file": "",
    "a symbol": "revision = 'head'\ndown_revision = None\n",
    "an illegal character": "revision = 'a-1'\ndown_revision = None\n",
    "a condition": "revision = 'a1'\ndown_revision = None\nif 1:\n    revision = 'b2'\n",
    "a condition after the functions": f"revision = 'a1'\ndown_revision = None{FUNCTIONS}if 1:\n    revision = 'b2'\n",
    "augmented": "revision = 'a1'\ndown_revision = None\nrevision += 'b2'\n",
    "chained": "down_revision = None\nx = revision = 'a1'\n",
    "unpacked": "revision, down_revision = 'a1', None\n",
    "deleted": "revision = 'a1'\ndown_revision = None\ndel revision\n",
    "a loop": "revision = 'a1'\ndown_revision = None\nfor revision in 'b', 'c':\n    pass\n",
    "a with": "import io\nrevision = 'a1'\ndown_revision = None\nwith io.StringIO() as depends_on:\n    pass\n",
    "an exception": "revision = 'a1'\ndown_revision = None\ntry:\n    1/0\nexcept Exception as revision:\n    pass\n",
    "a walrus": "revision = 'a1'\ndown_revision = None\nprint(revision := 'b2')\n",
    "a walrus in an annotation": "revision: (revision := 'b2') = 'a1'\ndown_revision = None\n",
    "a walrus in a default": "revision = 'a1'\ndown_revision = None\n\n\ndef f(x=(revision := 'b2')):\n    pass\n",
    "a walrus in a decorator": (
        "revision = 'a1'\ndown_revision = None\n\n\n@(lambda f, x=(revision := 'b2'): f)\ndef upgrade():\n    pass\n"
    ),
    "an import": "revision = 'a1'\ndown_revision = None\nfrom alembic.script import revision\n",
    "an import from a package of that name": "revision = 'a1'\ndown_revision = None\nimport revision.models\n",
    "a match": "revision = 'a1'\ndown_revision = None\nmatch {'x': 1}:\n    case {**depends_on}:\n        pass\n",
    "an import under that name": "revision = 'a1'\ndown_revision = None\nimport os as revision\n",
    "a star import": "revision = 'a1'\ndown_revision = None\nfrom os.path import *\n",
    "a function of that name": "revision = 'a1'\ndown_revision = None\n\n\ndef revision():\n    pass\n",
    "a function of that name in full width": "revision = 'a1'\ndown_revision = None\n\n\ndef \uff52evision():\n    1\n",
    "a class of that name": "revision = 'a1'\ndown_revision = None\n\n\nclass revision:\n    pass\n",
    "a module __getattr__": "revision = 'a1'\ndown_revision = None\n\n\ndef __getattr__(name):\n    return 'b2'\n",
    "a docstring set later": "revision = 'a1'\ndown_revision = None\n__doc__ = 'x'\n",
    "globals()": "revision = 'a1'\ndown_revision = None\nglobals()['revision'] = 'b2'\n",
    "vars()": f"revision = 'a1'\ndown_revision = None{FUNCTIONS}vars().update(revision='b2')\n",
    "exec": "revision = 'a1'\ndown_revision = None\nexec('revision = 2')\n",
    "setattr": "import sys\nrevision = 'a1'\ndown_revision = None\nsetattr(sys.modules[__name__], 'revision', 'b2')\n",
    "the module's own attribute": (
        "import sys\nrevision = 'a1'\ndown_revision = None\nsys.modules[__name__].revision = 'b2'\n"
    ),
    "a global statement": (
        "revision = 'a1'\ndown_revision = None\n\n\ndef f():\n    global revision\n    revision = 'b2'\n\n\nf()\n"
    ),
    "not Python": "revision = 'a1'\ndown_revision = None\n?\n",
    "a NUL": "revision = 'a1'\ndown_revision = None\n\0\n",
    "an encoding that is not UTF-8": "# -*- coding: latin-1 -*-\nrevision = 'a1'\ndown_revision = None\n",
    "a spelling that Python refuses": "\ufeff# coding: utf8\nrevision = 'a1'\ndown_revision = None\n",
    "an unknown encoding": "\n# coding: klingon\nrevision = 'a1'\ndown_revision = None\n",
    "bytes that are not UTF-8": "revision = 'a1'\ndown_revision = None\n\n\ndef upgrade():\n    '\udcff'\n",
    "far too deep": "revision = 'a1'\ndown_revision = None\nx = " + "(" * 5000 + ")" * 5000 + "\n",
}


@pytest.mark.parametrize("name", READABLE)
def test_readable_forms_are_read_as_alembic_reads_them(name: str, tmp_path: Path) -> None:
    text, expected = READABLE[name]
    revision = read(text)
    assert declared(revision) == expected
    (tmp_path / "x.py").write_bytes(text.encode())
    (script,) = script_directory(tmp_path, [tmp_path])._load_revisions()
    assert declared(revision) == (
        script.revision,
        script._versioned_down_revisions,
        script._orig_branch_labels,
        (script.dependencies,) if isinstance(script.dependencies, str) else tuple(script.dependencies or ()),
    )
    assert revision.message == script.doc


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_is_not_certain_is_unreadable(name: str) -> None:
    with pytest.raises(Unreadable):
        read(UNREADABLE[name])


@pytest.mark.parametrize(
    ("docstring", "message"),
    [
        ('"""add widgets"""', "add widgets"),
        ('"""\n  add widgets\n"""', "add widgets"),
        ("'add ' 'widgets'", "add widgets"),
        ('"""add widgets\nand more\n\nRevision ID: a1\n"""', "add widgets\nand more"),
        ('"""add widgets\r\n\r\nRevision ID: a1\r\n"""', "add widgets"),
        ('r"""a \\d"""', "a \\d"),
        ('"""a \\d"""', "a \\d"),
        ('"""größer ☃"""', "größer ☃"),
        ("# only a comment", ""),
        ("''", ""),
        ("f'add widgets'", ""),
        ("b'add widgets'", ""),
        ("x = 1\n'add widgets'", ""),
    ],
)
@pytest.mark.filterwarnings("error")
def test_the_message_is_the_first_paragraph_of_the_docstring(docstring: str, message: str) -> None:
    assert read(f"{docstring}\nrevision = 'a1'\ndown_revision = None\n").message == message


def test_a_file_of_alembic_0_1_with_its_revision_in_its_name_is_alembic_s_to_read() -> None:
    with pytest.raises(Unreadable):
        read("down_revision = None\n", "versions/1f2e.py")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a1_add_widgets.py", True),
        (".hidden.py", True),
        ("a1.py.orig", False),
        ("a1.py~", False),
        (".#a1.py", False),
        ("#a1.py#", False),
        ("__init__.py", False),
        ("__init___a1.py", False),
        ("a1.pyc", False),
        ("README", False),
    ],
)
def test_which_files_are_revisions(name: str, expected: bool, tmp_path: Path) -> None:
    assert is_revision_file(name) is expected
    (tmp_path / name).write_text("revision = 'a1'\ndown_revision = None\n")
    assert len(list(script_directory(tmp_path, [tmp_path])._load_revisions())) == expected


def graph(*rows: tuple[str, str, str, str]) -> Graph:
    """A graph of (revision, down_revision, depends_on, branch_labels), names separated by blanks."""
    return Graph(
        Revision(name, tuple(down.split()), tuple(labels.split()), tuple(depends.split()), "", f"v/{name}.py", POSER)
        for name, down, depends, labels in rows
    )


BAD = {
    "duplicate": ([("a1", "", "", ""), ("a1", "", "", "")], "revision_duplicate", "The revision a1 is in two files"),
    "no such down_revision": (
        [("a1", "b2", "", "")],
        "revision_missing",
        "v/a1.py has down_revision b2, which no version location holds. Add the location",
    ),
    "no such dependency": ([("a1", "", "b2", "")], "revision_missing", "v/a1.py has depends_on b2, which no"),
    "a prefix": ([("abcdef", "", "", ""), ("b2", "", "abcd", "")], "revision_missing", "Write abcdef in full."),
    "a label as down_revision": (
        [("a1", "", "", "poser"), ("b2", "poser", "", "")],
        "revision_missing",
        "Write a1 in full.",
    ),
    "label twice": (
        [("a1", "", "", "x"), ("b2", "", "", "x")],
        "label_duplicate",
        "in v/b2.py is already a name in v/a1",
    ),
    "label twice in a file": ([("a1", "", "", "x x")], "label_duplicate", "The branch label x in v/a1.py"),
    "label that is a revision": ([("a1", "", "", "b2"), ("b2", "", "", "")], "label_duplicate", "in v/a1.py"),
    "itself": ([("a1", "a1", "", "")], "revision_cycle", "The revisions a1 need"),
    "its own label": ([("a1", "", "x", "x")], "revision_cycle", "The revisions a1 need"),
    "a circle": ([("a1", "b2", "", ""), ("b2", "a1", "", ""), ("c3", "", "", "")], "revision_cycle", "a1, b2 need"),
    "a circle that alembic overlooks": (
        [("a1", "", "", ""), ("b2", "a1 c3", "", ""), ("c3", "b2", "", ""), ("d4", "c3", "", "")],
        "revision_cycle",
        "v/b2.py or v/c3.py",
    ),
    "a circle through a dependency": (
        [("a1", "", "b2", ""), ("b2", "", "c3", ""), ("c3", "a1", "", "")],
        "revision_cycle",
        "a1, b2, c3 need",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_graphs_are_refused(name: str) -> None:
    rows, code, sentence = BAD[name]
    with pytest.raises(Refused) as caught:
        graph(*rows)
    assert caught.value.problem.code == code
    assert sentence in str(caught.value)


def test_a_duplicate_names_both_files() -> None:
    with pytest.raises(Refused, match=r"v/one\.py and w/two\.py"):
        Graph(Revision("a1", (), (), (), "", path, POSER) for path in ("v/one.py", "w/two.py"))


def test_a_path_that_comes_again_is_read_once() -> None:
    files = [
        RevisionFile(f"v/{name}.py", location, f"revision = '{name}'\ndown_revision = None\n")
        for name, location in [("b2", POSER), ("a1", POSER), ("b2", CORE)]
    ]
    found = Graph.from_files(files)
    assert found.heads == ("b2", "a1")
    assert found.revisions["b2"].location == POSER


def test_no_revisions_at_all() -> None:
    empty = Graph([])
    assert (empty.heads, empty.ordered([]), empty.pending(["a1"])) == ((), [], frozenset())
    assert empty.unknown(["a1"]) == ("a1",)


def test_dependencies_are_resolved_by_identifier_or_label() -> None:
    found = graph(("abcdef", "", "", "poser"), ("b2", "abcdef", "", ""))
    assert found.resolve("abcdef") == "abcdef"
    assert found.resolve("poser") == "abcdef"
    with pytest.raises(Refused, match=r"abcd is neither .* Write abcdef in full\."):
        found.resolve("abcd")
    with pytest.raises(Refused, match="Add the location"):
        found.resolve("")


def test_unknown_rows_are_told_apart() -> None:
    found = graph(("a1", "", "", ""), ("b2", "a1", "", ""))
    assert found.unknown(["zz", "a1", "yy"]) == ("zz", "yy")
    assert found.pending(["zz", "a1"]) == {"b2"}
    assert found.applied(["zz", "a1"]) == {"a1"}
    assert [revision.revision for revision in found.ordered(["zz", "a1"])] == ["b2"]


def test_rows_that_imply_each_other_are_refused_as_by_alembic(tmp_path: Path) -> None:
    for name, down in (("a1", "None"), ("b2", "'a1'"), ("c3", "'b2'")):
        (tmp_path / f"{name}.py").write_text(f"revision = '{name}'\ndown_revision = {down}\n")
    found = Graph.from_files(revision_files(POSER, tmp_path))
    assert found.overlapping(["a1", "b2", "zz"]) == ("a1",)
    assert found.pending(["a1", "b2"]) == {"c3"}
    with pytest.raises(Refused) as caught:
        found.ordered(["a1", "b2"])
    assert caught.value.problem.code == "rows_overlap"
    with pytest.raises(CommandError, match="overlaps"):
        upgrade_order(script_directory(tmp_path, [tmp_path]), ["a1", "b2"])


def test_heads_and_current_of_one_location() -> None:
    """A branch that grows out of core, and back into it, is told apart by where its files lie."""
    found = Graph(
        Revision(name, tuple(down.split()), (), tuple(depends.split()), "", name, location)
        for name, down, depends, location in [
            ("p1", "c1", "", POSER),
            ("p2", "c2", "", POSER),
            ("p3", "", "p1", POSER),
            ("c1", "", "", CORE),
            ("c2", "p1", "", CORE),
        ]
    )
    assert found.heads == ("p2", "p3")
    assert found.heads_in(POSER) == ("p2", "p3")
    assert found.heads_in(CORE) == ("c2",)
    assert found.heads_in(COREPOS) == ()
    assert found.current_in(CORE, ["p1"]) == ("c1",)
    assert found.current_in(POSER, ["c2", "zz"]) == ("p1",)
    assert found.current_in(POSER, ["p2", "p3"]) == found.heads_in(POSER)


def installed(location: str) -> Path:
    """The directory of a `package:path` location, looked up as Alembic does not: without importing."""
    package, path = location.split(":")
    spec = importlib.util.find_spec(package.partition(".")[0])
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0], *package.split(".")[1:], path)


@pytest.fixture(scope="module")
def rattail(tmp_path_factory: pytest.TempPathFactory) -> tuple[Graph, ScriptDirectory]:
    """An app upon an integration upon the whole of core, for us and for Alembic."""
    home = tmp_path_factory.mktemp("poser")
    versions = home / "versions"
    versions.mkdir()
    for name, down, depends, labels in [
        ("f00d00000001", None, "rattail", "poser"),
        ("f00d00000002", "f00d00000001", None, None),
        ("f00d00000003", "f00d00000002", ("b43e93d32275", "rattail_corepos"), None),
        ("f00d00000004", "f00d00000002", "017daa26c36c", None),
        ("f00d00000005", ("f00d00000003", "f00d00000004"), None, ["poser_merged"]),
        ("f00d00000006", "f00d00000003", None, None),
        ("0f00d0000007", "04f17c46b42f", None, "poser_on_core"),
    ]:
        (versions / f"{name}_widgets.py").write_text(
            f'"""step {name}\n\nand so on\n"""\nrevision = {name!r}\ndown_revision = {down!r}\n'
            f"branch_labels = {labels!r}\ndepends_on = {depends!r}\n\n\ndef upgrade():\n    pass\n"
        )
    files = [file for spec in (COREPOS, CORE) for file in revision_files(spec, installed(spec))]
    found = Graph.from_files([*revision_files(POSER, versions), *files])
    return found, script_directory(home, [versions, COREPOS, CORE])


def test_rattail_is_all_there(rattail: tuple[Graph, ScriptDirectory]) -> None:
    found, _ = rattail
    locations = [revision.location for revision in found.revisions.values()]
    assert locations.count(CORE) >= 273
    assert locations.count(COREPOS) >= 18
    assert len(found.heads_in(CORE)) == len(found.heads_in(COREPOS)) == 1
    assert found.heads_in(POSER) == ("0f00d0000007", "f00d00000005", "f00d00000006")


def test_rattail_gives_the_same_graph(rattail: tuple[Graph, ScriptDirectory]) -> None:
    assert_same_graph(*rattail)


def test_rattail_gives_the_same_upgrades(rattail: tuple[Graph, ScriptDirectory]) -> None:
    """From row sets on the way up, and from those of a database that only has some of the branches."""
    found, scripts = rattail
    on_the_way = row_sets(scripts, every=15)
    assert len(on_the_way) > 15
    heads = {location: found.heads_in(location) for location in (POSER, COREPOS, CORE)}
    some = [heads[CORE], heads[COREPOS], (*heads[CORE], *heads[COREPOS]), heads[CORE] + ("f00d00000001",)]
    for rows in [*on_the_way, *some]:
        assert_same_upgrade(found, scripts, rows)
    assert found.pending(on_the_way[-1]) == frozenset()
    assert found.current_in(CORE, on_the_way[-1]) == heads[CORE]


def test_reading_all_of_rattail_is_quick() -> None:
    """Cheaper than compiling the same files, which parsing the whole of them would not be."""
    files = [file for spec in (COREPOS, CORE) for file in revision_files(spec, installed(spec))]

    def seconds(work: Callable[[], object]) -> float:
        before = time.process_time()
        work()
        return time.process_time() - before

    ours = min(seconds(lambda: Graph.from_files(files).pending(())) for _ in range(5))
    compiling = min(seconds(lambda: [compile(file.text, file.path, "exec") for file in files]) for _ in range(3))
    assert ours < compiling


def test_alembic_is_not_imported_unless_asked_for_the_order() -> None:
    program = (
        "import sys, ansible.module_utils as m; m.__path__.append(sys.argv[1])\n"
        "from ansible.module_utils.rattail_alembic.revisions.graph import Graph, Revision\n"
        "g = Graph([Revision('a1', (), ('x',), (), '', 'a1.py', 'v')])\n"
        "assert g.heads and g.pending([]) and g.current_in('v', ['a1'])\n"
        "assert not {'alembic', 'sqlalchemy'} & set(sys.modules)\n"
        "assert g.ordered([]) and 'alembic' in sys.modules\n"
    )
    module_utils = Path(str(graph_module.__file__)).parents[2]
    subprocess.run([sys.executable, "-c", program, str(module_utils)], check=True)


def test_alembic_looks_up_no_prefix_and_no_label_where_we_do_not(tmp_path: Path) -> None:
    """The two forms that its documentation leaves open, held against the real thing."""
    (tmp_path / "a.py").write_text("revision = 'abcdef'\ndown_revision = None\nbranch_labels = 'poser'\n")
    for line in ("down_revision = None\ndepends_on = 'abcd'", "down_revision = 'poser'"):
        (tmp_path / "b.py").write_text(f"revision = 'b2'\n{line}\n")
        with pytest.raises((KeyError, RevisionError)):
            _ = script_directory(tmp_path, [tmp_path]).revision_map._revision_map
