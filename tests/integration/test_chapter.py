"""docs/extending-the-schema.md, done by the letter in a copy of the project.

What a fenced block is, its first word says:

``sh``      is run by ``bash -eu -o pipefail`` in the top directory, and must succeed.
``text``    is what the ``sh`` block before it prints, among other things: these lines in this order. White space counts
            as one space, ``…`` stands for any word or part of one, and the name of a revision for any other.
``diff``    is an edit of the file in its first line (``+++ FILE``, which may have a ``*``): the lines with ``-`` or a
            space must be in it together, once; ``@@`` stands for lines between.
others      (``python``, ``yaml``) are a file, whole; its first line is a comment with the name.

After a section whose name is in ``PROMISES``, what it promises is looked at with SQL, git and the app's own Alembic.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest
from support import environments
from support.demo import copy_project, query, run
from support.places import ROOT

CHAPTER = ROOT / "docs" / "extending-the-schema.md"
_FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_REVISION = re.compile(r"(?<![0-9a-f])(?=[a-f]*\d)[0-9a-f]{12}(?![0-9a-f])")
# Everything that is in the schema and not Poser's, a line each.
_CORE = """
select concat_ws(' ', table_name, column_name, data_type, is_nullable, column_default)
  from information_schema.columns where table_schema = 'public' and table_name !~ '^poser_'
union all select indexdef from pg_indexes where schemaname = 'public' and tablename !~ '^poser_'
union all select concat_ws(' ', conrelid::regclass, conname, pg_get_constraintdef(oid)) from pg_constraint
  where conrelid::regclass::text !~ '^poser_' order by 1
"""


class Block(NamedTuple):
    section: str
    kind: str
    text: str


@dataclass
class Scene:
    """The copy of the project in which the chapter is played."""

    top: Path
    core: list[tuple[object, ...]]

    def sql(self, where: str, sql: str) -> list[tuple[object, ...]]:
        return query((self.top / ".demo" / where).read_text().strip(), sql)

    def store(self, sql: str) -> list[tuple[object, ...]]:
        return self.sql("dsn", sql)

    def dev(self, sql: str) -> list[tuple[object, ...]]:
        return self.sql("dsn_dev", sql)

    def alembic(self, environment: str, command: str) -> str:
        """What the app's own Alembic says of ``env`` (the store) or ``dev``."""
        directory = self.top / ".demo" / environment
        return run(directory, "bin/alembic", "-c", "app/rattail.conf", command)

    def git(self, *command: str, at: str = "poser") -> str:
        return run(self.top / ".demo" / at, "git", *command).strip()

    def script(self, slug: str) -> tuple[str, str]:
        """The revision and the text of the script with that slug."""
        [path] = (self.top / ".demo/poser/poser/db/alembic/versions").glob(f"*_{slug}.py")
        return path.name.partition("_")[0], path.read_text()


def blocks(chapter: str) -> Iterator[Block]:
    section = ""
    for part in re.split(r"^## ", chapter, flags=re.MULTILINE):
        section = part.partition("\n")[0]
        for found in _FENCED.finditer(part):
            yield Block(section, found[1], found[2])


def missing(shown: str, printed: str) -> str:
    """The first line of ``shown`` that is not in ``printed`` after those before it; empty where all are."""
    flat, at = " ".join(printed.split()), 0
    for line in shown.splitlines():
        pattern = _REVISION.sub("[0-9a-f]{12}", re.escape(" ".join(line.split())).replace("…", r"\S*"))
        match = re.compile(pattern).search(flat, at)
        if match is None:
            return line
        at = match.end()
    return ""


def edit(top: Path, text: str) -> None:
    first, _, hunks = text.partition("\n")
    [path] = top.glob(first.removeprefix("+++ "))
    content = path.read_text()
    for hunk in hunks.split("@@\n"):
        lines = hunk.splitlines()
        before = "".join(f"{line[1:]}\n" for line in lines if line[:1] != "+")
        after = "".join(f"{line[1:]}\n" for line in lines if line[:1] != "-")
        assert content.count(before) == 1, f"{path} does not have, or has not once:\n{before}\nIt has:\n{content}"
        content = content.replace(before, after)
    path.write_text(content)


def play(top: Path, block: Block, printed: str) -> str:
    """Do what the block says; what it printed, or ``printed`` where it is not to be run."""
    if block.kind == "sh":
        return run(top, "bash", "-eu", "-o", "pipefail", "-c", block.text)
    if block.kind == "text":
        assert not missing(block.text, printed), f"not printed: {missing(block.text, printed)}\n\n{printed}"
    elif block.kind == "diff":
        edit(top, block.text)
    else:
        name, _, content = block.text.partition("\n")
        path = top / name.removeprefix("# ")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return printed


def promise_before_you_begin(scene: Scene) -> None:
    assert scene.store("select to_regclass('poser_product'), to_regclass('poser_widget')") == [(None, None)]
    scene.core = scene.store(_CORE)
    assert len(scene.core) > 1000
    assert scene.dev(_CORE) == scene.core


def promise_the_first_revision(scene: Scene) -> None:
    revision, text = scene.script("initial_poser_tables")
    tables = re.findall(r"op\.(?:create|drop)_table\('(\w+)'|, '(\w+)', \[|table_name='(\w+)'", text)
    assert {"".join(names) for names in tables} == {"poser_product", "poser_product_version"}
    assert "branch_labels = ('poser',)" in text
    assert "**Passed**" in (scene.top / f".demo/dev/app/schema-reviews/{revision}.md").read_text()
    assert scene.dev("select to_regclass('poser_product')") == [(None,)], "it is only written"


def promise_to_the_store(scene: Scene) -> None:
    revision, _ = scene.script("initial_poser_tables")
    assert revision in scene.alembic("env", "current")
    assert scene.store("select p.description, x.grower from product p join poser_product x using (uuid)") == [
        ("Apples", "Hill Farm")
    ]
    assert scene.git("rev-parse", "HEAD", at="env/src/poser") == scene.git("rev-parse", "main", at="poser.git")
    assert scene.git("status", "--porcelain") == ""


def promise_fill_it(scene: Scene) -> None:
    column, text = scene.script("say_what_is_local")
    assert f"down_revision = '{scene.script('initial_poser_tables')[0]}'" in text
    assert f"down_revision = '{column}'" in scene.script("mark_the_local_farms")[1]
    assert scene.dev("select grower, local from poser_product") == [("Hill Farm", True)]
    assert scene.dev("select value from setting where name = 'poser.show_local'") == [("true",)]


def promise_a_rename(scene: Scene) -> None:
    _, text = scene.script("call_the_grower_farm")
    assert "drop_column" not in text and "add_column" not in text
    assert scene.dev("select farm from poser_product") == [("Hill Farm",)]
    assert scene.dev("select farm from poser_product_version") == [("Hill Farm",)]


_INDEX = "select indisvalid from pg_index where indexrelid = to_regclass('poser_product_ix_farm')"


def promise_an_index(scene: Scene) -> None:
    assert scene.store(_INDEX) == [(True,)]
    assert scene.store("select farm, local from poser_product") == [("Hill Farm", True)]
    assert scene.script("find_products_by_farm")[0] in scene.alembic("env", "current")


def promise_going_back(scene: Scene) -> None:
    assert scene.store(_INDEX) == []
    assert scene.script("call_the_grower_farm")[0] in scene.alembic("env", "current")
    assert scene.git("rev-parse", "HEAD", at="env/src/poser") == scene.git("rev-parse", "HEAD~1")
    assert scene.store("select farm from poser_product") == [("Hill Farm",)]


def promise_two_people(scene: Scene) -> None:
    merge, text = scene.script("join_the_two")
    parents = {scene.script(slug)[0] for slug in ("find_products_by_farm", "what_the_colleague_did")}
    [line] = re.findall(r"^down_revision = .*", text, re.M)
    assert parents <= set(re.findall(r"\w+", line))
    for environment in ("env", "dev"):
        assert re.findall(r"^\w{12}(?= \(poser\) \(head\))", scene.alembic(environment, "heads"), re.M) == [merge]
    assert merge in scene.alembic("env", "current")
    assert scene.store(_INDEX) == [(True,)]
    assert scene.store("select farm, local from poser_product") == [("Hill Farm", True)]
    assert scene.git("rev-parse", "HEAD", at="env/src/poser") == scene.git("rev-parse", "main", at="poser.git")
    assert scene.store(_CORE) == scene.core, "Rattail's own tables are as they were"


PROMISES = {
    "Before you begin": promise_before_you_begin,
    "The first revision": promise_the_first_revision,
    "To the store": promise_to_the_store,
    "Fill it: rows instead of tables": promise_fill_it,
    "A rename": promise_a_rename,
    "An index on a big table": promise_an_index,
    "Going back": promise_going_back,
    "Two people at once": promise_two_people,
}


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the project, with what `make demo` would download there already."""
    copy = tmp_path / "project"
    copy_project(copy)
    (copy / ".venv").mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (copy / ".venv" / name).symlink_to(Path(sys.prefix) / name)
    (copy / ".venv" / ".made").touch()
    for name in ("env", "dev"):
        environments.make_light(copy / ".demo" / name, "rattail")
    monkeypatch.setenv("PYTHON", os.path.realpath(sys.executable))
    yield copy
    run(copy, "make", "clean-demo")


def test_the_chapter(top: Path) -> None:
    script = list(blocks(CHAPTER.read_text()))
    assert PROMISES.keys() <= {block.section for block in script}
    scene, printed = Scene(top, []), ""
    for block, following in zip(script, [*script[1:], None]):
        printed = play(top, block, printed)
        if block.section in PROMISES and (following is None or following.section != block.section):
            PROMISES[block.section](scene)


@pytest.mark.parametrize(
    ("shown", "printed", "line"),
    [
        ("one\nthree", "one\n  two\nthree\n", ""),
        ("one two", "one\n  two\n", ""),
        ("three\none", "one\nthree\n", "one"),
        ("….demo/a", "/somewhere/.demo/a", ""),
        ("ok=… changed=0", "ok=3  changed=1\nok=1  changed=0\n".replace("ok=1", "x"), "ok=… changed=0"),
        ("a010a6c92761 first", "0123456789ab first", ""),
        ("a010a6c92761 first", "0123456789 first", "a010a6c92761 first"),
    ],
)
def test_what_is_shown_is_what_was_printed(shown: str, printed: str, line: str) -> None:
    assert missing(shown, printed) == line
