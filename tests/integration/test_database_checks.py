"""Whether a look tells the right database from a wrong one, on real servers, standbys and poolers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import psycopg2
import pytest
from ansible.module_utils.rattail_alembic.observe import database_checks, writable
from ansible.module_utils.rattail_alembic.postgres.contents import Contents, OthersTable, VersionTable, look_at
from ansible.module_utils.rattail_alembic.postgres.url import parse_url
from ansible.module_utils.rattail_alembic.problem import Problem, Refused
from ansible.module_utils.rattail_alembic.revisions.file import RevisionFile
from ansible.module_utils.rattail_alembic.revisions.graph import Graph
from ansible.module_utils.rattail_alembic.revisions.script import demands, inspect, tables_created
from support import pgbouncer, standby
from support.places import POSER
from support.postgres import GUARDED, OWNER, PASSWORD, Database, Postgres
from support.server import Server

TABLES = ("setting", "person", "product", "employee")
KNOWN = {"c1", "c2"}
MakeDatabase = Callable[..., Database]


def look(url: str) -> Contents:
    return look_at(parse_url(url), TABLES)


def guarded(database: Database) -> str:
    """The URL of ``database`` for the role that owns nothing in it."""
    return database.server.url(database.name, GUARDED).replace(f"{GUARDED}@", f"{GUARDED}:{PASSWORD}@")


def refusal(contents: Contents, *, altered: Collection[str] = (), referenced: Collection[str] = ()) -> Problem:
    """What is refused of the database as it is, or else of an upgrade."""
    with pytest.raises(Refused) as caught:
        database_checks.judge_schemas(contents, KNOWN)
        writable.judge_writable(contents, altered=altered, referenced=referenced)
    return caught.value.problem


def stamped(database: Database, schema: str = "public", *rows: str) -> None:
    """A version table with ``rows``."""
    database.sql(f"create table {schema}.alembic_version (version_num varchar(32) primary key)")
    for row in rows:
        database.sql(f"insert into {schema}.alembic_version values (%s)", row)


@pytest.fixture
def empty(make_database: MakeDatabase) -> Database:
    """A database with nothing in it but a stamped version table."""
    database = make_database("empty")
    stamped(database, "public", "c2")
    return database


def superuser(database: Database) -> Callable[[str], object]:
    """What runs SQL in ``database`` as its superuser does."""
    return partial(database.sql, user="postgres")


def test_the_facts_of_a_database_in_which_all_is_right(database: Database) -> None:
    contents = look(database.url)
    assert contents.rows == tuple(database.heads()) and contents.core_tables
    assert (contents.schema, contents.version_schema, contents.may_create) == ("public", "public", True)
    assert contents.version_rights == ("SELECT", "INSERT", "UPDATE", "DELETE")
    assert (contents.other_version_tables, contents.others) == ((), ())
    assert not contents.standby and not contents.read_only and contents.pooling == ""
    database_checks.refuse_unexpected(contents, database.name)
    assert database_checks.judge_schemas(contents, contents.rows) == []
    assert writable.judge_writable(contents, altered={"product"}, referenced={"user"}) == []


def test_the_same_database_is_known_again_and_another_is_not(empty: Database, make_database: MakeDatabase) -> None:
    empty.sql(f"grant select on alembic_version to {GUARDED}")
    app, direct, other = look(empty.url), look(guarded(empty)), look(make_database("empty").url)
    assert app.incarnation == direct.incarnation != other.incarnation
    writable.refuse_another_place(app, direct, "a:b")
    with pytest.raises(Refused, match="leads to another database"):
        writable.refuse_another_place(app, other, "a:b")


# Rights


def test_the_right_to_create(empty: Database) -> None:
    run = superuser(empty)
    run(f"grant all on alembic_version to {GUARDED}")
    contents = look(guarded(empty))
    assert not contents.may_create
    problem = refusal(contents)
    assert "CREATE on schema public" in problem.cause
    run(problem.remedy.partition(": ")[2].rstrip("."))
    contents = look(guarded(empty))
    assert writable.judge_writable(contents) == []


def test_rights_on_the_version_table(empty: Database) -> None:
    run = superuser(empty)
    run(f"grant create on schema public to {GUARDED}")
    with pytest.raises(Refused, match="may not read the version table") as caught:
        look(guarded(empty))
    assert caught.value.problem.code == "database_unreadable"
    run(f"grant select, update on alembic_version to {GUARDED}")
    contents = look(guarded(empty))
    assert (contents.rows, contents.version_rights) == (("c2",), ("SELECT", "UPDATE"))
    assert database_checks.judge_schemas(contents, KNOWN) == []
    problem = refusal(contents)
    assert "INSERT, DELETE on the version table public.alembic_version" in problem.cause
    run(problem.remedy.partition(": ")[2].rstrip("."))
    assert writable.judge_writable(look(guarded(empty))) == []


def test_tables_of_another_role(empty: Database) -> None:
    """What the remedy says to run is enough, for the real ALTER TABLE and foreign key, too."""
    run = superuser(empty)
    for name in ("product", '"user"', '"Odd one"'):
        run(f"create table {name} (uuid varchar(32) primary key)")
    run("create schema store; create table store.tender (uuid text primary key)")
    contents = look(empty.url)
    assert contents.others == (
        OthersTable("public", "Odd one", "postgres", False),
        OthersTable("public", "product", "postgres", False),
        OthersTable("public", "user", "postgres", False),
    )
    assert writable.judge_writable(contents, altered={"poser_x"}) == []
    altered, referenced = {"product", "Odd one"}, {"user", "poser_x"}
    change = 'alter table product add a int; alter table "Odd one" add b varchar(32) references "user" (uuid)'
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        empty.sql(change)
    problem = refusal(contents, altered=altered, referenced=referenced)
    assert "ownership of Odd one, product, which belong to postgres; REFERENCES on user" in problem.cause
    run(problem.remedy.partition(": ")[2].rstrip("."))
    assert writable.judge_writable(look(empty.url), altered=altered, referenced=referenced) == []
    empty.sql(change)


def test_a_member_of_the_owner_owns_and_one_that_inherits_nothing_does_not(empty: Database) -> None:
    run = superuser(empty)
    try:
        run("create role keeper")
        run("create table product (uuid text)")
        run("alter table product owner to keeper")
        assert look(empty.url).others == (OthersTable("public", "product", "keeper", False),)
        run(f"grant keeper to {OWNER} with inherit true")
        assert look(empty.url).others == ()
        empty.sql("alter table product add a int")
        run(f"grant keeper to {OWNER} with inherit false")
        assert [table.name for table in look(empty.url).others] == ["product"]
    finally:
        run("drop table product; drop role keeper")


# Schemas


def wrong_by_role(database: Database) -> str:
    database.sql(f'alter role {OWNER} in database "{database.name}" set search_path = store', user="postgres")
    return database.url


def wrong_by_database(database: Database) -> str:
    database.sql(f'alter database "{database.name}" set search_path = store', user="postgres")
    return database.url


def wrong_by_url(database: Database) -> str:
    return f"{database.url}&options=-csearch_path%3Dstore"


WRONG = {
    "by ALTER ROLE IN DATABASE": wrong_by_role,
    "by ALTER DATABASE": wrong_by_database,
    "by the options of the database URL": wrong_by_url,
}


@pytest.mark.parametrize("source", WRONG)
def test_a_wrong_search_path(empty: Database, source: str) -> None:
    """There alembic would see no version table, and build everything again."""
    empty.sql("create schema store")
    url = WRONG[source](empty)
    contents = look(url)
    assert (contents.rows, contents.schema, contents.version_schema) == ((), "store", "")
    assert contents.other_version_tables == (VersionTable("public", ("c2",)),)
    problem = refusal(contents)
    assert problem.code == "version_table_elsewhere"
    assert f"store as set {source}, leads to schema store, which has none" in problem.cause
    assert "holds revisions of this code (c2)" in problem.cause
    if "URL" not in source:
        empty.sql(problem.remedy.partition("(")[2].partition(")")[0], user="postgres")
        assert database_checks.judge_schemas(look(url), KNOWN) == []


@pytest.mark.parametrize("source", WRONG)
def test_a_search_path_that_leads_nowhere(make_database: MakeDatabase, source: str) -> None:
    contents = look(WRONG[source](make_database("empty")))
    assert (contents.rows, contents.schema) == ((), "")
    problem = refusal(contents)
    assert problem.code == "schema_missing" and f"store as set {source}, leads to no schema" in problem.cause


def test_a_schema_that_the_role_may_not_use(empty: Database) -> None:
    run = superuser(empty)
    run("revoke usage on schema public from public")
    run(f"revoke create on schema public from {GUARDED}")
    contents = look(guarded(empty))
    assert (contents.schema, contents.rows) == ("", ())
    problem = refusal(contents)
    assert problem.code == "schema_missing"
    run(problem.remedy.partition("(")[2].partition(")")[0])
    run(f"grant select on alembic_version to {GUARDED}")
    assert look(guarded(empty)).rows == ("c2",)


OTHERS = {
    "one that knows our revisions": (("c1",), "holds revisions of this code (c1)"),
    "an empty one": ((), "is empty"),
    "somebody else's": (("x1", "x2"), ""),
}


@pytest.mark.parametrize(("rows", "says"), OTHERS.values(), ids=list(OTHERS))
def test_a_second_version_table_beside_ours(empty: Database, rows: tuple[str, ...], says: str) -> None:
    empty.sql("create schema store")
    stamped(empty, "store", *rows)
    contents = look(empty.url)
    assert (contents.rows, contents.other_version_tables) == (("c2",), (VersionTable("store", rows),))
    if says:
        assert says in refusal(contents).cause
    else:
        [warning] = database_checks.judge_schemas(contents, KNOWN)
        assert "another version table, store.alembic_version" in warning and "(x1, x2)" in warning


def test_a_second_version_table_that_cannot_be_read(empty: Database) -> None:
    run = superuser(empty)
    run("create schema store; create table store.alembic_version (version_num text)")
    assert look(empty.url).other_version_tables == (VersionTable("store", None),)
    run(f"grant usage on schema store to {OWNER}")
    assert look(empty.url).other_version_tables == (VersionTable("store", None),)
    assert "cannot be read" in refusal(look(empty.url)).cause
    run(f"grant select on store.alembic_version to {OWNER}")
    assert look(empty.url).other_version_tables == (VersionTable("store", ()),)
    run("alter table store.alembic_version rename version_num to something")
    assert look(empty.url).other_version_tables == (VersionTable("store", None),)


def test_only_a_table_of_rows_is_a_version_table(empty: Database) -> None:
    """Not a view of it, for reports, nor somebody's temporary table."""
    with empty.connect() as connection, connection.cursor() as cursor:
        cursor.execute("create schema reports; create view reports.alembic_version as select * from alembic_version")
        cursor.execute("create temp table alembic_version (version_num text)")
        contents = look(empty.url)
    assert (contents.rows, contents.other_version_tables) == (("c2",), ())


def test_new_tables_in_another_schema_than_the_version_table(empty: Database) -> None:
    """As when somebody makes a schema with the role's name, which comes first in the default search_path."""
    empty.sql(f"create schema {OWNER}")
    contents = look(empty.url)
    assert (contents.rows, contents.schema, contents.version_schema) == (("c2",), OWNER, "public")
    assert database_checks.judge_schemas(contents, KNOWN) == []
    [warning] = writable.judge_writable(contents)
    assert f"new tables will be made in {OWNER}" in warning
    empty.sql("create table where_it_goes (a int)")
    assert empty.sql("select schemaname from pg_tables where tablename = 'where_it_goes'") == [(OWNER,)]


# Servers that take no changes


@pytest.mark.parametrize("source", ["database", "role", "url"])
def test_a_database_that_is_set_to_read_only(empty: Database, source: str) -> None:
    setting, url = "default_transaction_read_only", empty.url
    if source == "database":
        empty.sql(f'alter database "{empty.name}" set {setting} = on', user="postgres")
    elif source == "role":
        empty.sql(f'alter role {OWNER} in database "{empty.name}" set {setting} = on', user="postgres")
    else:
        url += f"&options=-c{setting}%3Don"
    contents = look(url)
    assert (contents.rows, contents.read_only, contents.standby) == (("c2",), True, False)
    assert database_checks.judge_schemas(contents, KNOWN) == []
    assert refusal(contents).code == "database_read_only"


@pytest.fixture(scope="module")
def pair(postgres: Postgres) -> Iterator[standby.Pair]:
    with standby.running(postgres) as made:
        yield made


def test_a_standby_can_be_looked_at_and_not_upgraded(pair: standby.Pair) -> None:
    pair.sql("create table if not exists alembic_version (version_num text); insert into alembic_version values ('c2')")
    primary, replica = look(pair.url(standby.PRIMARY)), look(pair.url(standby.STANDBY))
    assert (primary.standby, primary.read_only, replica.standby, replica.read_only) == (False, False, True, True)
    assert primary.rows == replica.rows == ("c2",)
    assert database_checks.judge_schemas(replica, KNOWN) == []
    assert writable.judge_writable(primary) == []
    problem = refusal(replica)
    assert problem.code == "database_read_only" and "is a standby" in problem.cause
    with pytest.raises(Refused, match="another database"):
        writable.refuse_another_place(primary, replica, "a:b")


def test_the_remedy_for_a_standby_finds_the_primary(pair: standby.Pair) -> None:
    directory = pair.directory
    url = (
        f"postgresql://{OWNER}@/store?host={directory},{directory}&port={standby.STANDBY},{standby.PRIMARY}"
        "&target_session_attrs=read-write"
    )
    assert not look(url).standby


# Poolers


@contextmanager
def busy(url: str, clients: int, *, transactions: bool) -> Iterator[None]:
    """Others who use the pool all the while: in short transactions, or by keeping a connection each."""
    done = threading.Event()
    ready = threading.Barrier(clients + 1)

    def work() -> None:
        connection = psycopg2.connect(url)
        with connection, connection.cursor() as cursor:
            cursor.execute("select 1")
        ready.wait(30)
        while not done.is_set():
            if transactions:
                with connection, connection.cursor() as cursor:
                    cursor.execute("select pg_sleep(0.001)")
            else:
                done.wait(0.1)
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        ready.wait(30)
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("pool_size", [1, 5])
@pytest.mark.parametrize("pool_mode", ["session", "transaction", "statement"])
def test_how_a_pooler_works_is_told(postgres: Postgres, empty: Database, pool_mode: str, pool_size: int) -> None:
    expected = "session" if pool_mode == "session" else "transaction"
    with pgbouncer.running(postgres, pool_mode, pool_size) as pooler:
        for _ in range(5):
            contents = look(pooler.url(empty))
            assert (contents.pooling, contents.rows) == (expected, ("c2",))
        assert database_checks.judge_schemas(contents, KNOWN) == []
        if expected == "session":
            assert writable.judge_writable(contents) == []
        else:
            assert refusal(contents).code == "database_pooled"
            assert "pool_mode = transaction" in database_checks.warn_pooled(contents)[0]
        writable.refuse_another_place(contents, look(empty.url), "a:b")


@pytest.mark.parametrize("settings", [{}, {"server_round_robin": "1"}], ids=["last first", "in turn"])
def test_it_is_told_while_others_use_the_pool(postgres: Postgres, empty: Database, settings: dict[str, str]) -> None:
    with ExitStack() as stack:
        pooler = stack.enter_context(pgbouncer.running(postgres, "transaction", 5, settings))
        stack.enter_context(busy(pooler.url(empty), 8, transactions=True))
        assert [look(pooler.url(empty)).pooling for _ in range(10)] == ["transaction"] * 10


def test_it_is_told_when_one_server_connection_is_left_in_session_mode(postgres: Postgres, empty: Database) -> None:
    with pgbouncer.running(postgres, "session", 4) as pooler, busy(pooler.url(empty), 3, transactions=False):
        assert look(pooler.url(empty)).pooling == "session"


def test_a_pool_that_is_used_up_is_said_so(postgres: Postgres, empty: Database) -> None:
    settings = {"query_wait_timeout": "1"}
    with pgbouncer.running(postgres, "session", 1, settings) as pooler, busy(pooler.url(empty), 1, transactions=False):
        with pytest.raises(Refused) as caught:
            look(pooler.url(empty))
        assert "server closed the connection" in caught.value.problem.cause
        assert "of the pooler" in caught.value.problem.remedy


def test_a_look_leaves_no_setting_with_the_pooler_s_next_client(postgres: Postgres, empty: Database) -> None:
    """In transaction mode a SET stays with the server connection, and would be somebody else's from then on."""
    with pgbouncer.running(postgres, "transaction", 1) as pooler:
        look(pooler.url(empty))
        connection = psycopg2.connect(pooler.url(empty))
        with connection, connection.cursor() as cursor:
            cursor.execute("show transaction_read_only")
            assert cursor.fetchone() == ("off",)
            cursor.execute("select name from pg_settings where source = 'session'")
            assert cursor.fetchall() == []
        connection.close()


# Revisions


def lineage(*locations: tuple[str, Path]) -> tuple[Graph, list[RevisionFile]]:
    files = [
        RevisionFile(str(path), name, path.read_text())
        for name, directory in locations
        for path in sorted(directory.glob("*.py"))
    ]
    return Graph.from_files(files), files


def versions(package: str) -> Path:
    return Path(str(pytest.importorskip(f"{package}.db").__file__)).parent / "alembic" / "versions"


@pytest.mark.parametrize("content", ["core", "poser"])
def test_the_tables_that_revisions_create_are_those_that_are_there(make_database: MakeDatabase, content: str) -> None:
    """Told from the text of core's 273 revisions, to the last table, and of the demo app's."""
    locations = [("core", versions("rattail"))]
    if content == "poser":
        locations.insert(0, ("poser", POSER / "poser/db/alembic/versions"))
    graph, files = lineage(*locations)
    facts = {file.path: inspect(file) for file in files}
    told = tables_created(facts[revision.path] for revision in graph.ordered([]))
    assert told == set(make_database(content).tables()) - {"alembic_version"}
    assert len(told) > 150


def test_the_tables_of_an_integration_package(database: Database, tmp_path: Path) -> None:
    """Held against what the package's revisions really leave in a database."""
    before = set(database.tables())
    server = Server.make(tmp_path, database, app="store")
    locations = "rattail_corepos.db:alembic/versions rattail.db:alembic/versions"
    server.write_config(alembic=f"\n[alembic]\nscript_location = rattail.db:alembic\nversion_locations = {locations}\n")
    server.alembic("upgrade", "heads")
    graph, files = lineage(("corepos", versions("rattail_corepos")), ("core", versions("rattail")))
    facts = {file.path: inspect(file) for file in files}
    order = [revision for revision in graph.ordered([]) if revision.location == "corepos"]
    assert len(order) == 18
    assert tables_created(facts[revision.path] for revision in order) == set(database.tables()) - before
    assert demands(facts[revision.path] for revision in order).referenced <= before
