"""What a revision does, read from its text."""

from __future__ import annotations

import warnings
from pathlib import Path
from textwrap import dedent, indent

import pytest
from ansible.module_utils.rattail_alembic.revisions import sql
from ansible.module_utils.rattail_alembic.revisions.file import RevisionFile
from ansible.module_utils.rattail_alembic.revisions.graph import Graph
from ansible.module_utils.rattail_alembic.revisions.script import (
    Facts,
    demands,
    inspect,
    leaving,
    not_read,
    tables_created,
    unordered_foreign_keys,
)

HEADER = "import sqlalchemy as sa\nfrom alembic import op\n"


def read(body: str, before: str = "", function: str = "upgrade") -> Facts:
    """The facts of a revision whose ``upgrade`` has this body."""
    start = f"{HEADER}{dedent(before)}\n" if before else HEADER
    text = f"{start}def {function}():\n{indent(dedent(body), '    ')}\n"
    return inspect(RevisionFile("r.py", "poser", text), function)


def said(facts: Facts) -> list[str]:
    """The steps in short: ``create x``, ``rename x to y``."""
    return [f"{step.verb} {step.name}{' to ' + step.to if step.to else ''}" for step in facts.steps]


OPERATIONS = {
    "op.create_table('x', sa.Column('a', sa.Integer()))": ["create x"],
    "op.create_table('x', sa.Column('a', sa.Integer()), schema='s')": ["create s.x"],
    "op.create_table('x', sa.Column('a', sa.String(), sa.ForeignKey('y.uuid')))": ["create x", "reference y"],
    "op.create_table('x', sa.Column('a', sa.ForeignKey(column='s.y.uuid')))": ["create x", "reference s.y"],
    "op.create_table('x', sa.ForeignKeyConstraint(['a'], ['y.uuid'], name='f'))": ["create x", "reference y"],
    "op.create_table('x', sa.ForeignKeyConstraint(columns=['a'], refcolumns=['y.uuid']))": ["create x", "reference y"],
    "op.add_column('x', column=sa.Column('a', sa.ForeignKey('y.uuid')))": ["alter x", "reference y"],
    "op.drop_table('x')": ["drop x"],
    "op.drop_table(table_name='x', schema='s')": ["drop s.x"],
    "op.rename_table('x', 'y')": ["rename x to y"],
    "op.rename_table('x', 'y', schema='s')": ["rename s.x to s.y"],
    "op.add_column('x', sa.Column('a', sa.Integer()))": ["alter x"],
    "op.add_column('x', sa.Column('a', sa.String(), sa.ForeignKey('y.uuid')))": ["alter x", "reference y"],
    "op.alter_column('x', 'a', nullable=False)": ["alter x"],
    "op.drop_column('x', 'a')": ["alter x"],
    "op.create_index(op.f('ix_x_a'), 'x', ['a'])": ["alter x"],
    "op.create_index('ix_x_a', table_name='x', columns=['a'])": ["alter x"],
    "op.drop_index(op.f('ix_x_a'), table_name='x')": ["alter x"],
    "op.drop_index('ix_x_a')": [],
    "op.create_unique_constraint('uq', 'x', ['a'])": ["alter x"],
    "op.create_check_constraint('ck', 'x', 'a > 0')": ["alter x"],
    "op.create_primary_key('pk', 'x', ['a'])": ["alter x"],
    "op.create_exclude_constraint('ex', 'x', ('a', '='))": ["alter x"],
    "op.drop_constraint('uq', 'x', type_='unique')": ["alter x"],
    "op.create_table_comment('x', 'c')": ["alter x"],
    "op.drop_table_comment('x')": ["alter x"],
    "op.create_foreign_key('fk', 'x', 'y', ['a'], ['uuid'])": ["alter x", "reference y"],
    "op.create_foreign_key('fk', 'x', 'y', ['a'], ['b'], source_schema='s', referent_schema='t')": [
        "alter s.x",
        "reference t.y",
    ],
    "op.create_foreign_key('fk', source='x', referent='y', local_cols=['a'], remote_cols=['b'])": [
        "alter x",
        "reference y",
    ],
    "op.bulk_insert(x, [])": [],
    "op.get_bind().execute('alter table x add a int')": ["alter x"],
    "op.execute(sa.text('drop table x'))": ["drop x"],
    "op.execute(x.update().values(a=1))": [],
    "op.get_bind().connection.cursor().execute('drop table x')": ["drop x"],
    "op.get_context().connection.exec_driver_sql('drop table x')": ["drop x"],
}


@pytest.mark.parametrize(("body", "expected"), OPERATIONS.items(), ids=list(OPERATIONS))
def test_an_operation(body: str, expected: list[str]) -> None:
    facts = read(body)
    assert (said(facts), facts.unread, facts.leaves, facts.fails) == (expected, (), (), ())


FORMS = {
    "imported otherwise": (
        "o.drop_table('x')\nalembic.op.drop_table('y')\no.execute(t('drop table z'))",
        "import alembic\nfrom alembic import op as o\nfrom sqlalchemy import text as t",
        ["drop x", "drop y", "drop z"],
    ),
    "a connection by a name": (
        "conn = op.get_bind()\nconn.execute('drop table x')\nconn.execute(sa.text('drop table y'))",
        "",
        ["drop x", "drop y"],
    ),
    "SQL with parameters": (
        "op.execute(sa.text('alter table x add a int default :a').bindparams(a=1))",
        "",
        ["alter x"],
    ),
    "dedented SQL": (
        "op.execute(dedent('''\n    drop table x;\n    drop table y\n'''))",
        "from textwrap import dedent",
        ["drop x", "drop y"],
    ),
    "statements about rows": (
        "for row in op.get_bind().execute(x.select()).fetchall():\n    op.execute(x.insert().values(a=key(row['a'])))",
        "from poser import key\nx = sa.sql.table('x', sa.sql.column('a', sa.ForeignKey('y.uuid')))",
        [],
    ),
    "a batch": (
        """\
        with op.batch_alter_table('x', schema='s') as batch_op:
            batch_op.add_column(sa.Column('a', sa.Integer()))
        """,
        "",
        ["alter s.x", "alter s.x"],
    ),
    "a batch with foreign keys": (
        """\
        with op.batch_alter_table('x') as batch:
            batch.create_foreign_key('fk', 'y', ['a'], ['uuid'])
            batch.add_column(sa.Column('b', sa.ForeignKey('z.uuid')))
            batch.drop_constraint('uq')
        """,
        "",
        ["alter x", "alter x", "reference y", "alter x", "reference z", "alter x"],
    ),
    "all branches": (
        "if sa.inspect(op.get_bind()).has_table('x'):\n    op.drop_table('x')\nelse:\n    op.create_table('y')\n"
        "try:\n    op.drop_table('z')\nexcept Exception:\n    op.drop_table('w')",
        "",
        ["drop x", "create y", "drop z", "drop w"],
    ),
    "by dialect": ("if op.get_bind().dialect.name == 'postgresql':\n    op.drop_table('x')", "", ["drop x"]),
    "what changes no table": ("print('x')\nlog.info('y')\nwith op.get_bind().begin_nested():\n    pass",
                              "import logging\nlog = logging.getLogger()", []),
    "what another function does": ("pass", "def downgrade():\n    op.drop_table('x')", []),
    "a helper that is not called": ("def drop():\n    op.drop_table('x')", "", []),
}  # fmt: skip


@pytest.mark.parametrize(("body", "before", "expected"), FORMS.values(), ids=list(FORMS))
def test_a_form_that_is_read(body: str, before: str, expected: list[str]) -> None:
    facts = read(body, before)
    assert (said(facts), facts.unread) == (expected, ())


HELPER = "def drop(name='x'):\n    op.drop_table(name)"
# Each with the last line of its body as the one that is not read, and what is read all the same.
UNREAD = {
    "a name from elsewhere": ("op.drop_table(NAMES[0])", "NAMES = ['x']", []),
    "a constant": ("op.drop_table(NAME)", "NAME = 'x'", []),
    "a name in part": ("op.drop_table(f'{PREFIX}_x')", "PREFIX = 'poser'", []),
    "a name put together": ("op.drop_table('poser' + '_x')", "", []),
    "a new name": ("op.rename_table('x', name)", "name = 'y'", []),
    "a schema": ("op.drop_table('x', schema=SCHEMA)", "SCHEMA = 's'", []),
    "options": ("op.drop_table('x', **options)", "options = {'schema': 's'}", []),
    "a loop over names": ("for name in ('x', 'y'):\n    op.drop_table(name)", "", []),
    "a comprehension": ("[op.drop_table(name) for name in ('x', 'y')]", "", []),
    "a helper": ("drop('x')", HELPER, []),
    "a helper in a column": (
        "op.add_column('x', sa.Column('a', key()))",
        "def key():\n    return sa.ForeignKey('y.uuid')",
        ["alter x"],
    ),
    "a helper of another module": ("drop('x')", "from poser.helpers import drop", []),
    "another module": ("helpers.drop('x')", "from poser import helpers", []),
    "an operation under another name": ("drop('x')", "drop = op.drop_table", []),
    "an operation that is handed on": ("drop = op.drop_table", "", []),
    "op that is handed on": ("x = getattr(op, 'drop_table')", "", []),
    "the function by its name": ("globals()['drop']('x')", HELPER, []),
    "columns from elsewhere": ("op.create_table('x', *columns)", "columns = []", ["create x"]),
    "a column from elsewhere": ("op.add_column('x', column)", "column = sa.Column('a')", ["alter x"]),
    "a foreign key from elsewhere": (
        "op.add_column('x', sa.Column('a', sa.ForeignKey(KEY)))",
        "KEY = 'y.uuid'",
        ["alter x"],
    ),
    "SQL with a value": ("op.execute(f'alter table x alter a set default {sa.x()}')", "", []),
    "SQL that is filled in": ("op.execute('drop table {}'.format('x'))", "", []),
    "SQL from elsewhere": ("op.execute(sa.text(QUERY))", "QUERY = 'drop table x'", []),
    "SQL from elsewhere, through a connection": ("conn = op.get_bind()\nconn.execute(q)", "q = 'drop table x'", []),
    "other DDL": ("op.execute(CreateSequence(sa.Sequence('s')))", "from sqlalchemy.schema import CreateSequence", []),
    "an operation of somebody's": ("op.create_entity(x)", "", []),
    "the models": ("Base.metadata.create_all(op.get_bind())", "", []),
    "a session": ("session = Session(bind=op.get_bind())", "", []),
    "a batch of a table from elsewhere": ("with op.batch_alter_table(NAME) as batch: batch.drop_column('a')",
                                          "NAME = 'x'", []),
    "an index that may be built concurrently": (
        "op.create_index('i', 'x', ['a'], postgresql_concurrently=FAST)",
        "FAST = True",
        ["alter x"],
    ),
    "a concurrent index with a name from elsewhere": (
        "op.create_index(INDEX, 'x', ['a'], postgresql_concurrently=True)",
        "INDEX = 'i'",
        ["alter x"],
    ),
    "an isolation level": ("op.get_bind().execution_options(isolation_level=LEVEL)", "LEVEL = 'AUTOCOMMIT'", []),
    "what else a connection does": ("op.get_bind().begin()", "", []),
}  # fmt: skip


@pytest.mark.parametrize(("body", "before", "expected"), UNREAD.values(), ids=list(UNREAD))
def test_what_is_not_read_is_said(body: str, before: str, expected: list[str]) -> None:
    facts = read(body, before)
    first = HEADER.count("\n") + 2 + (before.count("\n") + 1 if before else 0)
    assert (facts.unread, said(facts)) == ((first + body.count("\n"),), expected)


def test_what_is_said_of_what_is_not_read() -> None:
    whole, helper = read("op.drop_table('x')"), read("drop('x')\nop.drop_table('y')\ndrop('z')", HELPER)
    assert not_read({"abc": whole}) == []
    [one] = not_read({"abc": whole, "def": helper})
    assert one == (
        "Revision def (r.py, lines 6, 8) could not be read as a whole: what it does there is seen when it runs."
    )
    [many] = not_read({"abc": helper, "def": read("drop()")})
    assert many == (
        "Revisions abc (r.py, lines 6, 8), def (r.py, line 4) could not be read as a whole: "
        "what they do there is seen when they run."
    )
    [too_many] = not_read({str(number): read("drop()\n" * 9) for number in range(7)})
    assert "4 (r.py, lines 4, 5, 6, 7, 8, …) and 2 more could not" in too_many


@pytest.mark.parametrize("text", ["def upgrade(:", "x = '\0'", "(" * 5000, "x = " + "-" * 50000 + "1"])
def test_what_is_not_python_is_unread(text: str) -> None:
    assert inspect(RevisionFile("r.py", "poser", text)).unread


def test_a_file_of_another_function_and_without_one() -> None:
    assert said(read("op.drop_table('x')", function="downgrade")) == ["drop x"]
    assert inspect(RevisionFile("r.py", "poser", "x = 1")) == Facts("r.py")


def test_says_nothing_of_its_own_about_somebody_s_docstring() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        inspect(RevisionFile("r.py", "poser", "def upgrade():\n    'a \\d'\n"))


SQL = {
    "CREATE TABLE x (a int)": ["create x"],
    'create table if not exists "S"."X y" (a int)': ["create S.X y"],
    "CREATE UNLOGGED TABLE d.s.x (a int)": ["create s.x"],
    "create temp table x (a int); create temporary table y as select 1": [],
    "create table x (a text references y (uuid), b text REFERENCES s.z)": ["create x", "reference y", "reference s.z"],
    "create table x partition of y default": ["create x", "alter y"],
    "create table x as select * from y": ["create x"],
    "create index on x (a)": ["alter x"],
    "create unique index if not exists i on only s.x using btree (a)": ["alter s.x"],
    "alter table if exists only x add a int": ["alter x"],
    "alter table x add constraint c foreign key (a) references y": ["alter x", "reference y"],
    "alter table s.x rename to y": ["rename s.x to s.y"],
    "alter table x rename column a to b": ["alter x"],
    "alter table x set schema s": ["rename x to s.x"],
    "alter table x attach partition y default": ["alter x", "alter y"],
    "alter table all in tablespace a set tablespace b": [],
    "drop table if exists x, s.y cascade": ["drop x", "drop s.y"],
    "drop trigger if exists t on x": ["alter x"],
    "create policy p on x": ["alter x"],
    "alter policy p on x": ["alter x"],
    "drop policy p on x": ["alter x"],
    "create or replace rule r as on insert to x do nothing": ["alter x"],
    "comment on table x is 'c'": ["alter x"],
    "comment on column x.a is 'c'": ["alter x"],
    "comment on column s.x.a is 'c'": ["alter s.x"],
    "comment on constraint c on x is 'c'": ["alter x"],
    "comment on constraint c on domain d is 'c'": [],
    "-- drop table y\ndrop table x": ["drop x"],
    "/* drop table y; /* nested */ drop table z; */ drop table x": ["drop x"],
    "insert into x values ('; drop table y; '''); drop table z": ["drop z"],
    r"insert into x values (E'\'; drop table y; --'); drop table z": ["drop z"],
    "do $$ begin drop table y; commit; end $$; drop table x": ["drop x"],
    "create function f() returns int as $body$ begin; $$ end $body$ language plpgsql; drop table x": ["drop x"],
    "create function f() returns int begin atomic select case 1 when 1 then 2 end; end; drop table x": ["drop x"],
    "truncate x; insert into x select 1; select 1; grant select on x to y; alter index i rename to j": [],
    "": [],
    ";;": [],
    "/* never closed": [],
    "create": [],
    "alter table": [],
    "begin": ["transaction BEGIN"],
    "BEGIN; START TRANSACTION; COMMIT; END": [
        "transaction BEGIN",
        "transaction START TRANSACTION",
        "transaction COMMIT",
        "transaction COMMIT",
    ],
    "rollback": ["transaction ROLLBACK"],
    "rollback work": ["transaction ROLLBACK"],
    "rollback to savepoint a; rollback transaction to a; savepoint a; release a": [],
    "abort": ["transaction ROLLBACK"],
    "prepare transaction 'a'; commit prepared 'a'; rollback prepared 'a'": [
        "transaction PREPARE TRANSACTION",
        "outside COMMIT PREPARED",
        "outside ROLLBACK PREPARED",
    ],
    "prepare a as select 1": [],
    "vacuum analyze x": ["outside VACUUM"],
    "create database a; drop database a; alter system set a = 1; create tablespace a": [
        "outside CREATE DATABASE",
        "outside DROP DATABASE",
        "outside ALTER SYSTEM",
        "outside CREATE TABLESPACE",
    ],
    "create index concurrently if not exists i on x (a)": [
        "outside CREATE INDEX CONCURRENTLY",
        "concurrent index i",
        "alter x",
    ],
    "create unique index concurrently on x (a)": ["outside CREATE INDEX CONCURRENTLY", "concurrent index ", "alter x"],
    "drop index concurrently i": ["outside DROP INDEX CONCURRENTLY"],
    "drop index i": [],
    "reindex (verbose) table concurrently x": ["outside REINDEX CONCURRENTLY"],
    "reindex schema s": ["outside REINDEX SCHEMA"],
    "alter table x detach partition y concurrently": ["outside DETACH PARTITION CONCURRENTLY", "alter x"],
}


@pytest.mark.parametrize(("text", "expected"), SQL.items(), ids=list(SQL))
def test_sql(text: str, expected: list[str]) -> None:
    found = [f"{step.verb} {step.name}{' to ' + step.to if step.to else ''}" for step in sql.steps(text)]
    assert found == expected


BLOCK = "with op.get_context().autocommit_block():\n    "
LEAVES = {
    "an autocommit_block": (BLOCK + "pass", [(4, "autocommit_block")]),
    "by way of a variable": ("context = op.get_context()\nwith context.autocommit_block():\n    pass",
                             [(5, "autocommit_block")]),
    "a raw COMMIT": ("op.execute('commit')", [(4, "COMMIT")]),
    "among others": ("op.execute('insert into x values (1); COMMIT; begin')", [(4, "COMMIT"), (4, "BEGIN")]),
    "through the connection": ("op.get_bind().execute(sa.text('ROLLBACK'))", [(4, "ROLLBACK")]),
    "by its commit()": ("bind = op.get_bind()\nbind.commit()", [(5, "commit()")]),
    "by the driver's rollback()": ("op.get_bind().connection.rollback()", [(4, "rollback()")]),
    "by isolation level": ("op.get_bind().execution_options(isolation_level='AUTOCOMMIT').execute('vacuum')",
                           [(4, "isolation_level AUTOCOMMIT")]),
    "in a savepoint": ("op.execute('savepoint a; rollback to a')", []),
    "through the connection's own commit": ("bind: Any = op.get_bind()\nbind.commit()", [(5, "commit()")]),
    "of something else": ("session.commit()", []),
    "by no code that runs": ("pass\n'COMMIT'  # commit", []),
}  # fmt: skip


@pytest.mark.parametrize(("body", "leaves"), LEAVES.values(), ids=list(LEAVES))
def test_where_it_leaves_its_transaction(body: str, leaves: list[tuple[int, str]]) -> None:
    facts = read(body)
    assert list(facts.leaves) == leaves


CONCURRENTLY = "'ix', 'x', ['a'], postgresql_concurrently=True"
FAILS = {
    "in a transaction": (f"op.create_index({CONCURRENTLY})", [(4, "CREATE INDEX CONCURRENTLY")], ("ix",)),
    "in a schema": (f"op.create_index({CONCURRENTLY}, schema='s')", [(4, "CREATE INDEX CONCURRENTLY")], ("s.ix",)),
    "in its block": (f"{BLOCK}op.create_index({CONCURRENTLY})", [], ("ix",)),
    "after its block": (f"{BLOCK}pass\nop.create_index({CONCURRENTLY})", [(6, "CREATE INDEX CONCURRENTLY")], ("ix",)),
    "raw": ("op.execute('create index concurrently ix on x (a)')", [(4, "CREATE INDEX CONCURRENTLY")], ("ix",)),
    "raw in its block": (f"{BLOCK}op.execute('create index concurrently on x (a)')", [], ()),
    "dropped": ("op.drop_index('ix', 'x', postgresql_concurrently=True)", [(4, "DROP INDEX CONCURRENTLY")], ()),
    "not concurrently": ("op.create_index('ix', 'x', ['a'], postgresql_concurrently=False)", [], ()),
    "vacuum": ("op.execute('VACUUM')", [(4, "VACUUM")], ()),
}


@pytest.mark.parametrize(("body", "fails", "indexes"), FAILS.values(), ids=list(FAILS))
def test_what_cannot_run_in_a_transaction(body: str, fails: list[tuple[int, str]], indexes: tuple[str, ...]) -> None:
    facts = read(body)
    assert (list(facts.fails), facts.concurrent_indexes) == (fails, indexes)


def test_what_is_said_of_leaving() -> None:
    [block] = leaving("abc", read(f"{BLOCK}op.create_index({CONCURRENTLY})"))
    assert "Revision abc (r.py) leaves its transaction (autocommit_block in line 4)" in block
    [raw] = leaving("abc", read(f"op.execute('COMMIT')\n{BLOCK}pass"))
    assert "ends its transaction by itself (COMMIT in line 4)" in raw and "none of it is rolled back" in raw
    [fails] = leaving("abc", read(f"op.create_index({CONCURRENTLY})"))
    assert "refuses inside a transaction (CREATE INDEX CONCURRENTLY in line 4)" in fails
    assert leaving("abc", read("op.drop_table('x')")) == []


def test_the_tables_of_a_lineage() -> None:
    lineage = [
        read("op.create_table('x')\nop.create_table('y')\nop.create_table('z', schema='s')"),
        read("op.rename_table('x', 'w')\nop.drop_table('y')\nop.rename_table('somebody_s', 'v')"),
        read("op.execute('create table y (a int); alter table y rename to u; drop table if exists t')"),
    ]
    assert tables_created(lineage) == {"w", "u", "s.z"}
    assert lineage[1].renamed == {"x": "w", "somebody_s": "v"}


def test_what_pending_revisions_want_of_tables_that_are_there() -> None:
    wanted = demands(
        [
            read("op.create_table('x', sa.Column('a', sa.ForeignKey('product.uuid')))"),
            read("op.add_column('x', sa.Column('b', sa.ForeignKey('x.uuid')))\nop.drop_column('vendor', 'a')"),
            read("op.rename_table('old', 'new')\nop.add_column('new', sa.Column('a'))\nop.drop_table('gone')"),
            read("op.drop_table('x')\nop.drop_table('x')"),
        ]
    )
    assert wanted.altered == {"vendor", "old", "gone", "x"}
    assert wanted.referenced == {"product"}


def branch(location: str, revision: str, down: str | None, depends_on: str | None, body: str) -> RevisionFile:
    text = (
        f"{HEADER}revision = {revision!r}\ndown_revision = {down!r}\ndepends_on = {depends_on!r}\n"
        f"def upgrade():\n    {body}\n"
    )
    return RevisionFile(f"{location}/{revision}.py", location, text)


CORE = branch("core", "c1", None, None, "op.create_table('product')")
MAKES = "op.create_table('poser_x')"
REFERS = "op.create_table('poser_y', sa.Column('a', sa.ForeignKey('product.uuid')))"
ITSELF = "op.create_table('poser_y', sa.Column('a', sa.ForeignKey('poser_x.uuid')))"
KEYS = {
    "without": ([branch("poser", "p1", None, None, REFERS)], ["p1"], "p1"),
    "with depends_on": ([branch("poser", "p1", None, "c1", REFERS)], ["p1"], ""),
    "with depends_on in an ancestor": (
        [branch("poser", "p1", None, "c1", MAKES), branch("poser", "p2", "p1", None, REFERS)],
        ["p1", "p2"],
        "",
    ),
    "with depends_on in a later one": (
        [branch("poser", "p1", None, None, REFERS), branch("poser", "p2", "p1", "c1", MAKES)],
        ["p1", "p2"],
        "p1",
    ),
    "in a branch grown from core": ([branch("poser", "p1", "c1", None, REFERS)], ["p1"], ""),
    "to a table of its own": (
        [branch("poser", "p1", None, None, MAKES), branch("poser", "p2", "p1", None, ITSELF)],
        ["p2"],
        "",
    ),
    "once, for the first in order": (
        [branch("poser", "p2", None, None, REFERS), branch("poser", "p1", "p2", None, REFERS)],
        ["p2", "p1"],
        "p2",
    ),
    "applied long ago": ([branch("poser", "p1", None, None, REFERS)], [], ""),
}


@pytest.mark.parametrize(("files", "pending", "named"), KEYS.values(), ids=list(KEYS))
def test_a_foreign_key_out_of_its_branch(files: list[RevisionFile], pending: list[str], named: str) -> None:
    graph = Graph.from_files([CORE, *files])
    facts = {file.path: inspect(file) for file in files}
    warning = unordered_foreign_keys(graph, facts, "poser", "poser", pending)
    assert bool(warning) == bool(named)
    if named:
        assert f"Revision {named} of poser (poser/{named}.py) makes a foreign key to product" in warning
        assert "depends_on" in warning


def test_a_foreign_key_to_what_may_be_its_own() -> None:
    """What a revision makes that could not be read may be the table that the key leads to."""
    unread = branch("poser", "p0", None, None, "make()")
    files = [unread, branch("poser", "p1", "p0", None, REFERS)]
    facts = {file.path: inspect(file) for file in files}
    warning = unordered_foreign_keys(Graph.from_files([CORE, *files]), facts, "poser", "poser", ["p1"])
    assert "which another branch makes (or a revision of its own that could not be read as a whole)" in warning


# The helpers of the same file that write rows (of permissions, of percentages), and CREATE SEQUENCE of SQLAlchemy's.
NOT_WHOLE = {
    "064f71d774ad",
    "11fe87e4cd5f",
    "24577b3bda93",
    "4d2c5bdfecff",
    "62cfde95d655",
    "dc28b97c33ff",
    "e838d0b930fc",
    "fd91ee24cead",
    "ffd65c52b0fd",
}


def test_nearly_every_revision_that_is_installed_here_is_read_whole() -> None:
    """Real ones, in many styles: Rattail's, and those of an integration package."""
    rattail, corepos = (pytest.importorskip(name) for name in ("rattail.db", "rattail_corepos.db"))
    paths = [
        path
        for package in (rattail, corepos)
        for path in sorted(Path(str(package.__file__)).parent.glob("alembic/versions/*.py"))
    ]
    assert len(paths) > 280
    unread = set()
    for path in paths:
        for function in ("upgrade", "downgrade"):
            facts = inspect(RevisionFile(str(path), "core", path.read_text()), function)
            assert (facts.leaves, facts.fails) == ((), ()), path
            unread |= {path.name.partition("_")[0]} if facts.unread else set()
    assert unread == NOT_WHOLE
