"""What the guard stands on: nothing that a revision can prepare, and nothing that comes after its look."""

from __future__ import annotations

import py_compile
from collections.abc import Callable
from importlib.util import cache_from_source
from pathlib import Path
from py_compile import PycInvalidationMode

import pytest
from support.catalogs import everything
from support.postgres import GUARDED, Database
from support.repository import Repository
from support.server import Server
from support.upgrades import revert, upgrade
from test_policy import CORE_HEAD, POSER_HEAD, Shared, own_env, refused, shared, use_own_env  # noqa: F401  a fixture

# A function of the app's own that changes core's table when it is called.
DO = """
create function poser_do() returns trigger language plpgsql as $$ begin {sql}; return null; end $$;
create table poser_q (id integer);
create constraint trigger poser_t after insert on poser_q deferrable initially deferred
    for each row execute function poser_do();
insert into poser_q values (1);
"""
COLUMN = "alter table product add column poser_x integer"
TWICE = """
create sequence poser_times;
create function poser_do() returns trigger language plpgsql as $$ begin
    if nextval('poser_times') > {times} then {sql}; {end}; return null;
end $$;
create table poser_q (id integer);
create constraint trigger poser_t after insert on poser_q deferrable initially deferred
    for each row execute function poser_do();
insert into poser_q values (1);
"""
FUNCTION = """
create function poser_run() returns integer language plpgsql as $$ begin {sql}; return 1; end $$;
"""
DEFERRED = {
    "a constraint trigger": DO.format(sql=COLUMN),
    "one that is made immediate and deferred again": DO.format(sql=COLUMN) + "set constraints all deferred;",
    "one that goes off at its second time": TWICE.format(times=1, sql=COLUMN, end="end if"),
    "one that fails before": TWICE.format(times=1, sql=COLUMN, end="else raise unique_violation; end if"),
    "one on a temporary table": DO.format(sql=COLUMN).replace("create table poser_q", "create temp table poser_q"),
    "a cursor": FUNCTION.format(sql=COLUMN) + "declare poser_c cursor with hold for select poser_run();",
    "a cursor that is scrolled, with a name to be quoted": FUNCTION.format(sql=COLUMN)
    + 'declare "poser; ""c" scroll cursor with hold for select poser_run();',
    "a cursor that a trigger opens": FUNCTION.format(sql=COLUMN)
    + DO.format(sql="execute 'declare poser_c cursor with hold for select poser_run()'"),
}


@pytest.mark.parametrize("how", DEFERRED)
def test_what_postgresql_runs_at_commit_is_judged(shared: Shared, how: str) -> None:  # noqa: F811  the fixture
    answer = refused(shared, how, sql=DEFERRED[how])
    assert "column public.product.poser_x" in answer["failure"], answer["failure"]


WRITE = "insert into setting (name, value) values ('poser.x', '1')"


@pytest.mark.parametrize(
    "sql",
    [DO.format(sql=WRITE), FUNCTION.format(sql=WRITE) + "declare poser_c cursor with hold for select poser_run()",
     TWICE.format(times=1, sql=WRITE, end="end if")],
    ids=["a constraint trigger", "a cursor", "at its second time"],
)  # fmt: skip
def test_rows_that_are_written_at_commit_count(shared: Shared, sql: str) -> None:  # noqa: F811  the fixture
    answer = refused(shared, "rows", sql=sql, policy_data="refuse")
    assert [(each["table"], each["inserted"]) for each in answer["data"]] == [("public.setting", 1)]


SHADOWS = {
    "a prepared statement": """
do $$ declare name text; begin
    for name in select p.name from pg_prepared_statements p where p.name ~ 'rattail_schema_ext' loop
        execute format('create temp table poser_saved (a, b, c, d, e, f, g, h, i, j, k, l, m, n) as execute %I', name);
        execute format('deallocate %I', name);
        execute format('prepare %I as select * from pg_temp.poser_saved', name);
    end loop;
end $$;
""",
    "no prepared statement": "deallocate all;",
    "a search_path without pg_catalog": """
create schema poser_s;
create view poser_s.pg_class as select * from pg_catalog.pg_class where false;
create view poser_s.pg_attribute as select attrelid, attname, attnum from pg_catalog.pg_attribute where false;
create function poser_s.txid_status(bigint) returns text language sql as 'select ''in progress''::text';
set search_path = poser_s, public, pg_catalog;
""",
    "temporary tables": """
create temp table pg_class as select * from pg_catalog.pg_class where false;
create temp table pg_attribute as select attrelid, attname, attnum from pg_catalog.pg_attribute where false;
create temp table pg_prepared_statements as select * from pg_catalog.pg_prepared_statements;
""",
    "operators": """
create schema poser_s;
create function poser_s.never(oid, integer) returns boolean language sql immutable as 'select false';
create operator poser_s.>= (leftarg = oid, rightarg = integer, function = poser_s.never);
create function poser_s.no(oid, oid) returns boolean language sql immutable as 'select false';
create operator poser_s.= (leftarg = oid, rightarg = oid, function = poser_s.no);
set search_path = poser_s, public, pg_catalog;
deallocate all;
""",
    "types": """
create domain pg_temp.oid as integer; create domain pg_temp.text as varchar(1);
deallocate all;
""",
    "settings": """
set quote_all_identifiers = on; set datestyle = 'SQL, DMY'; set extra_float_digits = -10; set bytea_output = 'escape';
set timezone = 'Asia/Tokyo'; set enable_seqscan = off; set row_security = off; set plan_cache_mode = force_generic_plan;
set intervalstyle = 'iso_8601';
""",
}


@pytest.mark.parametrize("what", SHADOWS)
def test_what_a_session_carries_hides_nothing(shared: Shared, what: str) -> None:  # noqa: F811  the fixture
    answer = refused(shared, what, sql=f"{SHADOWS[what]} alter table public.product add column poser_x integer")
    found = [f"{each['action']} {each['object']}" for each in answer["violations"]]
    assert found == ["created column public.product.poser_x"], found


ROWS = {
    "deleted": "delete from alembic_version where version_num = 'c2ef84c99c93'",
    "added": "insert into alembic_version values ('of nobody')",
    "hidden by a temporary table": "create temp table alembic_version as select * from public.alembic_version",
    "hidden by a temporary view": "create temp view alembic_version as select * from public.alembic_version",
    "changed to what it becomes": "update alembic_version set version_num = '{new}' where version_num = '{old}'",
    "hidden by a table of its own": "create schema poser_s; create table poser_s.alembic_version"
    " as select * from alembic_version; set search_path = poser_s, public",
    "doubled": "alter table alembic_version drop constraint alembic_version_pkc;"
    "insert into alembic_version select * from alembic_version",
}


@pytest.mark.parametrize("what", ROWS)
def test_version_rows_are_alembic_s(shared: Shared, what: str) -> None:  # noqa: F811  the fixture
    statement = f"{ROWS[what]!r}.replace('{{new}}', revision).replace('{{old}}', down_revision)"
    python = f"op.execute({statement})"
    answer = refused(shared, what, python=python)
    kinds = {each["kind"] for each in answer["violations"]}
    assert "version rows" in kinds, answer["violations"]
    assert "public.alembic_version" in answer["failure"]


AFTERWARDS = {
    "a callback": "op.get_context().on_version_apply_callbacks += (lambda **_: bind.execute(sql),)",
    "a list of callbacks": "op.get_context().on_version_apply_callbacks = [lambda **_: bind.execute(sql)]",
    "an event of the version row's statement": "bind.engine\nfrom sqlalchemy import event\ndone = []\n"
    "event.listen(bind, 'after_cursor_execute', lambda c, k, s, *_: s.startswith('UPDATE') and not done"
    " and (done.append(1), bind.execute(sql)))",
}


# However near it comes to how Alembic writes a version row.
REGISTERED = [WRITE.replace("insert into setting", f"INSERT INTO {table}") for table in ("setting", '"setting"')]


@pytest.mark.parametrize("sql", REGISTERED)
def test_rows_that_it_registers_count_too(shared: Shared, sql: str) -> None:  # noqa: F811  the fixture
    python = f"bind, sql = op.get_bind(), sa.text({sql!r})\n"
    answer = refused(shared, "registered rows", python=python + AFTERWARDS["a callback"], policy_data="refuse")
    assert [(each["table"], each["inserted"]) for each in answer["data"]] == [("public.setting", 1)]


@pytest.mark.parametrize("how", ["a callback", "a list of callbacks"])
def test_version_rows_that_it_registers_are_alembic_s_too(shared: Shared, how: str) -> None:  # noqa: F811  the fixture
    """Written just as Alembic writes them, so that they are not told from its own when they are executed."""
    sql = "DELETE FROM alembic_version WHERE alembic_version.version_num = 'c2ef84c99c93'"
    answer = refused(shared, how, python=f"bind, sql = op.get_bind(), sa.text({sql!r})\n{AFTERWARDS[how]}")
    assert [each["kind"] for each in answer["violations"]] == ["version rows"], answer["violations"]


@pytest.mark.parametrize("sql", REGISTERED)
def test_rows_that_it_registers_for_the_commit_count_too(shared: Shared, sql: str) -> None:  # noqa: F811  the fixture
    before = everything(shared.server.database)
    python = f"sa.event.listen(op.get_bind().engine, 'commit', lambda c: c.execute(sa.text({sql!r})))"
    new, answer = shared.upgrade("at the COMMIT", python=python, policy_data="refuse")
    assert answer["failure"].startswith(f"Revision {new} (") and "by hand" not in answer["failure"], answer["failure"]
    assert answer["failed_revision"]["revision"] == new
    assert "it wrote rows of public.setting, which is not this extension's: 1 inserted" in answer["failure"]
    assert everything(shared.server.database) == before


@pytest.mark.parametrize("how", AFTERWARDS)
def test_what_a_revision_registers_is_looked_at_too(shared: Shared, how: str) -> None:  # noqa: F811  the fixture
    python = f"bind, sql = op.get_bind(), sa.text({COLUMN!r})\n{AFTERWARDS[how]}"
    answer = refused(shared, how, python=python)
    assert "column public.product.poser_x" in answer["failure"], answer["failure"]


def test_whoever_the_sessions_of_its_user_are_may_go_on_being_it(cloning: Server) -> None:
    """PostgreSQL's SET ROLE takes a name as an identifier."""
    owner, name = cloning.database.user, cloning.database.name
    role, login = f"Clerks of {owner}", f"{owner}_login"
    admin = cloning.database.server
    cloning.database.sql(
        f'create role "{role}"; grant {owner} to "{role}"; create role {login} login; grant "{role}" to {login};'
        f'alter role {login} in database "{name}" set role = "{role}"',
        user="postgres",
    )
    try:
        cloning.write_config(url=admin.url(name, login), alembic=cloning.alembic_section())
        cloning.repository.add_revision("own", upgrade_sql="create table poser_own (id integer)")
        cloning.git("pull", "--quiet")
        answer = upgrade(cloning)
        assert (answer["failure"], answer["violations"], answer["state"]) == ("", [], "current")
    finally:
        cloning.database.sql(f'drop owned by "{role}", {login}; drop role "{role}", {login}', user="postgres")


def test_rows_that_another_role_does_not_see_count_too(cloning: Server) -> None:
    readers = f"grant select, update on alembic_version to {GUARDED}; grant select on setting to {GUARDED}"
    cloning.sql(f"alter table setting enable row level security; {readers}")
    cloning.database.sql(f"grant {GUARDED} to {cloning.database.user}", user="postgres")
    new = cloning.repository.add_revision("unseen", upgrade_sql=f"{WRITE}; set role {GUARDED}")
    cloning.git("pull", "--quiet")
    answer = upgrade(cloning, policy_data="refuse")
    assert answer["failure"].startswith(f"Revision {new} ("), answer["failure"]
    assert [(each["table"], each["inserted"]) for each in answer["data"]] == [("public.setting", 1)]


# What an extension may well do, and must go on to: by the SQL of one revision after another.
ALLOWED: dict[str, list[str]] = {
    "a deferred trigger of its own": [
        "create table poser_log (note text);" + DO.format(sql="insert into poser_log values ('done')"),
        "insert into poser_q values (2)",
    ],
    "a deferred foreign key that the next revision satisfies": [
        "create table poser_a (id integer primary key);"
        "create table poser_b (a integer references poser_a deferrable initially deferred);"
        "insert into poser_b values (1)",
        "insert into poser_a values (1)",
    ],
    "numbers that change places": [
        "create table poser_n (n integer unique deferrable initially deferred); insert into poser_n values (1), (2);"
        "update poser_n set n = 3 - n"
    ],
    "a cursor that it leaves open": ["declare poser_c cursor with hold for select * from product"],
    "settings": [
        "set datestyle = 'SQL, DMY'; set local work_mem = '8MB'; set quote_all_identifiers = on; set lock_timeout = 0",
        "do $$ begin assert current_setting('lock_timeout') <> '0'; end $$",
    ],
    "rows that it takes back": [
        f"savepoint a; {WRITE}; update product set size = 'x'; rollback to a",
        "do $$ begin begin delete from setting; raise 'no'; exception when others then null; end; end $$",
    ],
    "sequences of its own": [
        "create sequence poser_s; select nextval('poser_s'); create table poser_n (n serial, m integer);"
        "create sequence numbers owned by poser_n.m; select setval('numbers', 5); insert into poser_n (m) values (1);"
        "drop table poser_n; drop sequence poser_s"
    ],
}


@pytest.mark.parametrize(
    ("what", "rehearsal"), [*((what, "none") for what in ALLOWED), ("a deferred trigger of its own", "transaction")]
)
def test_what_it_may_do_it_may_go_on_to(deployed: Server, what: str, rehearsal: str) -> None:
    for number, sql in enumerate(ALLOWED[what]):
        deployed.repository.add_revision(f"{what} {number}", upgrade_sql=sql)
    deployed.git("pull", "--quiet")
    answer = upgrade(deployed, policy_data="refuse", rehearsal=rehearsal)
    assert (answer["failure"], answer["violations"], answer["data"]) == ("", [], []), answer["failure"]
    assert (answer["state"], len(answer["applied"])) == ("current", len(ALLOWED[what]))


@pytest.mark.parametrize("sql", [DEFERRED["a constraint trigger"], DEFERRED["a cursor"], ROWS["deleted"]])
def test_a_downgrade_is_judged_alike(deployed: Server, sql: str) -> None:
    new = deployed.repository.add_revision("undone", upgrade_sql="select 1", downgrade_sql=sql)
    deployed.git("pull", "--quiet")
    assert upgrade(deployed)["state"] == "current"
    before = everything(deployed.database)
    answer = revert(deployed, POSER_HEAD)
    assert answer["failure"].startswith(f"Revision {new} (") and "against the policy" in answer["failure"]
    assert answer["violations"] and everything(deployed.database) == before


# Code at the top of a revision file, and what of the refusal names it.
LOADED = {
    "a connection": (
        "import psycopg2\nc = psycopg2.connect({url!r})\nc.cursor().execute({sql!r}); c.commit()",
        "read-only",
    ),
    "one that commits by itself": (
        "import psycopg2\nc = psycopg2.connect({url!r})\nc.autocommit = True\nc.cursor().execute({sql!r})",
        "read-only",
    ),
    "an engine": ("with sa.create_engine({url!r}).begin() as c:\n    c.execute(sa.text({sql!r}))", "read-only"),
    "the migration's own connection": ("op.execute({sql!r})", "uses the connection that migrates"),
}


def loads(server: Server, how: str, sql: str = COLUMN) -> None:
    """A revision file that does something when it is loaded."""
    code = LOADED[how][0].format(url=server.database.url, sql=sql)
    new = Repository(server.source_dir).add_revision("loaded", upgrade="pass", commit=False)
    file = next(server.versions.glob(f"{new}*"))
    file.write_text(file.read_text().replace("\ndef upgrade", f"{code}\n\ndef upgrade"))


@pytest.mark.parametrize("how", LOADED)
def test_loading_a_revision_file_does_nothing_to_the_database(deployed: Server, how: str) -> None:
    loads(deployed, how)
    before = everything(deployed.database)
    answer = upgrade(deployed, allow_uncommitted_revisions=True)
    assert "when it is only loaded" in answer["failure"] and LOADED[how][1] in answer["failure"], answer["failure"]
    assert everything(deployed.database) == before


def test_where_the_policy_warns_it_does_nothing_where_it_is_only_rehearsed(deployed: Server) -> None:
    loads(deployed, "a connection", "create table if not exists poser_loaded ()")
    before = everything(deployed.database)
    answer = upgrade(deployed, allow_uncommitted_revisions=True, policy="warn", rehearsal="transaction")
    assert "when it is only loaded" in answer["failure"] and "read-only" in answer["failure"], answer["failure"]
    assert everything(deployed.database) == before
    answer = upgrade(deployed, allow_uncommitted_revisions=True, policy="warn")
    assert (answer["failure"], answer["state"]) == ("", "current")
    assert deployed.database.tables("poser\\_loaded") == ["poser_loaded"]


@pytest.mark.parametrize("number", [0, 1])
def test_an_env_py_that_leads_to_another_database_is_refused(
    make_server: Callable[..., Server], make_database: Callable[..., Database], tmp_path: Path, number: int
) -> None:
    both = sorted((make_database("poser"), make_database("poser")), key=lambda each: each.name)
    right, wrong = both[number], both[1 - number]
    repository = Repository.of_poser(tmp_path / "poser.git")
    own_env(repository, "engine.connect()", f"__import__('sqlalchemy').create_engine({wrong.url!r}).connect()")
    repository.add_revision("crates", upgrade_sql="create table poser_crate ()")
    server = make_server(content=right, repository=repository)
    server.deploy()
    use_own_env(server)
    before = [everything(each) for each in both]
    answer = upgrade(server)
    assert f"connects to '{wrong.name}', not to '{right.name}'" in answer["failure"], answer["failure"]
    assert [everything(each) for each in both] == before


OWN_ROW = "update alembic_version set version_num = '{new}' where version_num = '{old}'"
# What a revision does after it has committed its own version row together with a trespass.
ENDINGS = {
    "nothing": ("", "against the policy"),
    "leaves": ("import os; os._exit(0)", "left with exit code 0"),
    "exits": ("import sys; sys.exit(0)", "SystemExit"),
    "is killed": ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL"),
    "fails": ("raise ValueError('no crates')", "no crates"),
}


@pytest.mark.parametrize("how", ENDINGS)
def test_its_own_version_row_does_not_make_a_success(deployed: Server, how: str) -> None:
    ending, words = ENDINGS[how]
    row = f"{OWN_ROW!r}.format(new=revision, old=down_revision)"
    python = f"op.execute({COLUMN!r})\nop.execute({row})\nop.execute('commit')\n{ending}"
    new = deployed.repository.add_revision("own row", upgrade=python)
    deployed.git("pull", "--quiet")
    answer = upgrade(deployed)
    assert answer["failure"].startswith(f"Revision {new} (") and words in answer["failure"], answer["failure"]
    assert answer["applied"] == []
    [statement] = [each for each in answer["failure"].split(": ") if each.startswith("UPDATE ")]
    # the remedy, followed to the letter
    deployed.sql(statement.partition(";")[0])
    deployed.sql("alter table product drop column poser_x")
    assert deployed.database.heads() == {CORE_HEAD, POSER_HEAD}
    file = next(deployed.versions.glob(f"{new}*"))
    file.write_text(
        file.read_text().partition("def upgrade")[0] + "def upgrade():\n    op.execute('create table poser_x ()')\n"
    )
    answer = upgrade(deployed, allow_uncommitted_revisions=True)
    assert (answer["failure"], answer["state"]) == ("", "current")


def test_an_end_after_the_commit_fails_and_says_that_the_database_has_followed(deployed: Server) -> None:
    ends = "import os; from sqlalchemy import event, pool; event.listen(pool.Pool, 'checkin', lambda *_: os._exit(0))"
    new = deployed.repository.add_revision("ends", upgrade=f"op.execute('create table poser_x ()')\n{ends}")
    deployed.git("pull", "--quiet")
    answer = upgrade(deployed)
    assert "left with exit code 0" in answer["failure"] and "the database has followed" in answer["failure"]
    assert [each["revision"] for each in answer["applied"]] == [new]
    assert (answer["changed"], answer["state"]) == (True, "current")
    assert deployed.database.heads() == {CORE_HEAD, new}
    assert upgrade(deployed)["failure"] == ""


PREPARED = {
    "by SQL": "op.execute(sql + \"; prepare transaction 'poser'\")",
    "by the driver": "c = op.get_bind().connection.dbapi_connection\nc.rollback()\nc.tpc_begin('poser')\n"
    "c.cursor().execute(sql)\nc.tpc_prepare()",
}


@pytest.mark.parametrize("how", PREPARED)
def test_no_transaction_is_left_prepared(deployed: Server, how: str) -> None:
    before = everything(deployed.database)
    new = deployed.repository.add_revision("prepares", upgrade=f"sql = {COLUMN!r}\n{PREPARED[how]}")
    deployed.git("pull", "--quiet")
    answer = upgrade(deployed)
    assert answer["failure"].startswith(f"Revision {new} ("), answer["failure"]
    assert deployed.sql("select gid from pg_prepared_xacts where database = current_database()") == []
    assert everything(deployed.database) == before


def test_the_text_of_a_revision_runs_and_no_bytecode_beside_it(deployed: Server) -> None:
    """Bytecode can be under version control, and can say of itself that nobody is to compare it with the text."""
    new = deployed.repository.add_revision("add cotton", upgrade_sql="alter table poser_widget add cotton text")
    [file] = deployed.repository.versions.glob(f"{new}*.py")
    other = file.with_name("other.txt")
    other.write_text(file.read_text().replace("cotton text", "linen text"))
    bytecode = py_compile.compile(
        str(other), cache_from_source(str(file)), doraise=True, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH
    )
    other.unlink()
    deployed.repository.git("add", "--force", str(bytecode))
    deployed.repository.commit({}, "Add bytecode")
    deployed.git("pull", "--quiet")
    answer = upgrade(deployed)
    assert (answer["failure"], answer["state"]) == ("", "current")
    columns = "select column_name from information_schema.columns where table_name = 'poser_widget'"
    assert ("cotton",) in deployed.sql(columns) and ("linen",) not in deployed.sql(columns)
    # nothing was compiled anew, which git would take for a change
    assert deployed.git("status", "--porcelain") == ""
