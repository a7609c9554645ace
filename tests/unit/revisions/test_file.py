"""The header of a revision file by pattern, where it has the usual form: the same as its syntax tree says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import rattail.db
from ansible.module_utils.rattail_alembic.revisions import file as revision_file
from ansible.module_utils.rattail_alembic.revisions.file import Unreadable
from hypothesis import given, settings
from hypothesis import strategies as st

USUAL = '''\
# -*- coding: utf-8; -*-
"""add foo

Revision ID: a1b2
Revises: c3d4
"""

from __future__ import unicode_literals

# revision identifiers, used by Alembic.
revision = 'a1b2'
down_revision = u'c3d4'
branch_labels = None
depends_on = None

from alembic import op
import sqlalchemy as sa
import rattail.db.types
from sqlalchemy.dialects import mysql, postgresql as pg  # both


def upgrade():
    pass
'''

# Each of these lines makes a file unusual, or looks as if it did.
LINES = [
    "", "   ", "\t", "# revision = 'commented'", "  # indented", "# ünusual", "# nul \0", "# feed \f",
    '"""add foo"""', '"""', '"""\nrevision = \'inside\'\n"""', '"""\n  indented\n"""', '"""tab\there"""',
    '"""q\\u0041"""',
    '"""\n\nfirst\nparagraph  \n\nsecond\n"""', "'''single'''", 'r"""raw"""', '"""one""" """two"""', '"""x""";',
    "revision = 'a1b2'", 'revision = "a1b2"', "revision: str = 'a1b2'", "revision = u'a1b2'", "revision = b'a1b2'",
    "revision = 'a' 'b'", "revision = 'base'", "revision = ''", "revision = 'a-b'", "revision = None", "revision='c3'",
    "revision = 'a1b2'  # why", "revision = 'a1b2'; down_revision = None", "revision = 'a\\x62'", "revision = f'a'",
    "down_revision = None", "down_revision = 'c3d4'", "down_revision = ('c3', 'd4')", "down_revision += 'x'",
    "down_revision: Union[str, None] = None", "branch_labels: Union[str, Sequence[str], None] = 'poser'",
    "depends_on: exec = 'x'", "branch_labels = ['poser']", "depends_on = 'c3d4'", "  depends_on = None",
    "import sqlalchemy as sa", "import revision", "import a.revision", "import x as depends_on", "import if",
    "from x import *", "from x import exec", "from x import y as revision", "from x import a, b as c",
    "from x import (a)",
    "from . import x", "import a, b", "from x import a \\", "sequence = sa.Sequence('x')",
    "revision = sa.Sequence('x')", "x = exec('y')", "if = sa.Sequence('x')", "x = sa.exec('y')", "x = sa.f('y') + 1",
    "x = sa.if('y')", "x = y", "x = __builtins__.vars('y')", "__doc__ = str('y')", "x = sa.Sequence('revision')",
    "@decorated", "if True:",
    "def revision():", "def helper():\n    pass", "class A:\n    pass", "async def x():\n    pass",
]  # fmt: skip


def by_tree(text: str, header: str) -> object:
    try:
        return revision_file._parsed(text, header)
    except Unreadable as unreadable:
        return unreadable


def assert_same(content: str) -> bool:
    """Whether the pattern matches; if so, the tree has to say the same."""
    try:
        text, header = revision_file._text_and_header(content)
    except Unreadable:
        return False
    found = revision_file._plain(header)
    if found is None or header is None:
        return False
    assert found == by_tree(text, header)
    return True


def test_the_usual_header_needs_no_parser() -> None:
    assert assert_same(USUAL)
    assert assert_same(USUAL.replace("\n", "\r\n"))


def test_nearly_all_of_cores_headers_are_usual() -> None:
    files = list((Path(rattail.db.__file__).parent / "alembic" / "versions").glob("*.py"))
    matched = [assert_same(path.read_text(encoding="utf-8")) for path in files]
    assert len(matched) > 250 and sum(matched) > 0.95 * len(matched)


@pytest.mark.parametrize("line", LINES)
def test_one_unusual_line(line: str) -> None:
    lines = USUAL.splitlines()
    for place in range(len(lines) + 1):
        assert_same("\n".join([*lines[:place], line, *lines[place:]]) + "\n")


@pytest.mark.property
@given(st.lists(st.sampled_from(LINES), max_size=8), st.sampled_from(["", "\n", "\ndef upgrade():\n    pass\n"]))
@settings(max_examples=400, deadline=None)
def test_any_lines(lines: list[str], end: str) -> None:
    assert_same("\n".join(lines) + end)


def test_no_pattern_where_docstrings_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    class Flags:
        optimize = 2

    monkeypatch.setattr(sys, "flags", Flags)
    assert not assert_same(USUAL)
