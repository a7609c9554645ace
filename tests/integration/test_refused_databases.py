"""What the role does on a database that is not the right one, or not open to the upgrade: as its users see it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import psycopg2
import pytest
from support import environments, pgbouncer, standby
from support.postgres import GUARDED, PASSWORD, Database, Postgres
from support.runs import Run
from support.server import Server
from support.states import brought, difference, refused, settled, state
from support.upgrades import upgrade

CORE_HEAD = "c2ef84c99c93"
POSER_FIRST = "a010a6c92761"
POSER_HEAD = "b084beb32f02"
CRATE = "create table poser_crate (product_uuid varchar(32) references product (uuid))"
OPTION = "rattail.db:migration.url"


def crates(server: Server, sql: str = CRATE) -> str:
    """Commit a revision: something is pending, and a refusal has a work tree that it must not move."""
    return server.repository.add_revision("add crates", upgrade_sql=sql)


def lead(server: Server, url: str, migration: str = "") -> None:
    """Have the app's config lead to ``url``, and ``migration`` be the URL for upgrades there."""
    more = f"\n[rattail.db]\nmigration.url = {migration}\n" if migration else ""
    server.write_config(url=url, alembic=server.alembic_section())
    text = server.config.read_text().replace("\n[rattail.db]\n", more or "\n[rattail.db]\n", 1)
    server.config.write_text(text)


REVERT = {
    "rattail_schema_ext_revert_to": POSER_FIRST,
    "rattail_schema_ext_revert_confirm": f"poser@{POSER_FIRST}",
    "rattail_schema_ext_backup": "full",
}
BASELINE = {"rattail_schema_ext_baseline_revision": ["heads"]}


def entry(server: Server, playbook: str, *words: str, rc: int = 2, **variables: str) -> Run:
    """An undo of the newest revision, or version rows for everything; where that is refused, nothing is touched."""
    before = state(server)
    run = server.run_role({**(REVERT if playbook == "revert" else BASELINE), **variables}, playbook=playbook)
    assert run.rc == rc, run.output
    assert all(word in run.message for word in words), run.message
    assert rc == 0 or difference(before, state(server)) == [], run.output
    return run


def status(server: Server, **variables: str) -> Run:
    run = server.run_role(variables or None, playbook="status")
    assert run.rc == 0 and run.recap.changed == 0, run.output
    return run


def test_a_database_that_is_not_the_expected_one(deployed: Server) -> None:
    settled(deployed, {"rattail_schema_ext_expected_database": deployed.database.name})
    crates(deployed)
    expected = {"rattail_schema_ext_expected_database": "poser"}
    refused(deployed, deployed.database.name, "not to 'poser', which is expected", vars=expected)


def test_a_wrong_search_path(deployed: Server) -> None:
    """Alembic would build everything again."""
    deployed.sql("create schema store")
    crates(deployed)
    lead(deployed, f"{deployed.database.url}&options=-csearch_path%%3Dstore")
    refused(deployed, "public.alembic_version", "holds revisions of this code", "leads to schema store")
    assert status(deployed).result["state"] == "unknown"


def test_a_second_version_table(deployed: Server) -> None:
    deployed.sql("create schema store; create table store.alembic_version (version_num varchar(32) not null)")
    new = crates(deployed)
    refused(deployed, "store.alembic_version", "is empty")
    deployed.sql("insert into store.alembic_version values ('of another application')")
    run = deployed.run_role()
    assert [each["revision"] for each in run.result["applied"]] == [new], run.output
    assert any("another version table, store.alembic_version" in each for each in run.result["warnings"])


def test_a_read_only_database(deployed: Server) -> None:
    lead(deployed, f"{deployed.database.url}&options=-cdefault_transaction_read_only%%3Don")
    settled(deployed)
    new = crates(deployed)
    refused(deployed, "read-only", "default_transaction_read_only")
    seen = status(deployed).result
    assert (seen["state"], [each["revision"] for each in seen["pending"]]) == ("behind", [new])


@pytest.fixture(scope="module")
def pair(postgres: Postgres) -> Iterator[standby.Pair]:
    with standby.running(postgres) as made:
        yield made


def test_a_standby(deployed: Server, pair: standby.Pair) -> None:
    lead(deployed, pair.url(standby.STANDBY))
    crates(deployed)
    refused(deployed, "'store' on", "is a standby")
    assert status(deployed).result["state"] == "empty"


def test_no_revert_and_no_baseline_on_a_standby(deployed: Server, pair: standby.Pair) -> None:
    lead(deployed, pair.url(standby.STANDBY))
    pair.sql("create table setting (); create table alembic_version (version_num varchar(32) primary key)")
    try:
        entry(deployed, "baseline", "'store' on", "is a standby")
        pair.sql(f"insert into alembic_version values ('{CORE_HEAD}'), ('{POSER_HEAD}')")
        entry(deployed, "revert", "'store' on", "is a standby")
    finally:
        pair.sql("drop table setting, alembic_version")


def test_no_revert_and_no_baseline_on_a_read_only_database(deployed: Server) -> None:
    lead(deployed, f"{deployed.database.url}&options=-cdefault_transaction_read_only%%3Don")
    entry(deployed, "revert", "read-only", "default_transaction_read_only")
    deployed.sql("delete from alembic_version")
    entry(deployed, "baseline", "read-only", "default_transaction_read_only")


def test_what_a_revert_and_a_baseline_need_is_asked_for_before(deployed: Server) -> None:
    """The backup of the one, the history of both, and the rights."""
    deployed.database.forbid_schemas()
    nowhere = str(deployed.env_dir / "bin" / "python")
    entry(deployed, "revert", "pg_dump", rattail_schema_ext_postgresql_bin_dir="/nowhere")
    entry(deployed, "revert", nowhere, rattail_schema_ext_history_dir=f"{nowhere}/history")
    lead(deployed, deployed.database.url.replace(f"//{deployed.database.user}@", f"//{GUARDED}:{PASSWORD}@"))
    as_superuser = partial(deployed.database.sql, user="postgres")
    as_superuser(f"grant select on alembic_version to {GUARDED}")
    run = entry(deployed, "revert", "INSERT, UPDATE, DELETE on the version table", "ownership of poser_widget")
    assert "CREATE" not in run.message, run.message
    as_superuser("delete from alembic_version")
    run = entry(deployed, "baseline", "lacks what is needed in", ": INSERT on the version table")
    assert "CREATE" not in run.message and run.message.count("GRANT") == 1, run.message
    as_superuser(f"grant insert on alembic_version to {GUARDED}")
    entry(deployed, "baseline", rc=0)
    assert deployed.database.heads() == {CORE_HEAD, POSER_HEAD}
    as_superuser(f"grant update, delete on alembic_version to {GUARDED}")
    for kind in ("tables", "sequences"):
        as_superuser(f"grant select on all {kind} in schema public to {GUARDED}")
    for table in ("poser_widget", "poser_widget_version"):
        as_superuser(f"alter table {table} owner to {GUARDED}")
    entry(deployed, "revert", rc=0)
    assert deployed.database.heads() == {CORE_HEAD, POSER_FIRST}
    as_superuser("delete from alembic_version where version_num = %s", POSER_FIRST)
    message = entry(deployed, "baseline", "poser_widget").message
    assert "lacks tables" in message, message
    lead(deployed, deployed.database.url)
    entry(deployed, "baseline", nowhere, rattail_schema_ext_history_dir=f"{nowhere}/history")


def test_rights_that_are_missing(deployed: Server) -> None:
    """What the remedy says is enough for the upgrade."""
    lead(deployed, deployed.database.url.replace(f"//{deployed.database.user}@", f"//{GUARDED}:{PASSWORD}@"))
    as_superuser = partial(deployed.database.sql, user="postgres")
    as_superuser(f"grant select on alembic_version to {GUARDED}")
    settled(deployed)
    crates(deployed, CRATE + "; alter table poser_widget add crates integer")
    words = ["CREATE on schema public", "INSERT, UPDATE, DELETE", "poser_widget", "REFERENCES on product"]
    message = refused(deployed, *words)
    as_superuser(message.partition("as a superuser: ")[2].rstrip().rstrip("."))
    brought(deployed)


@pytest.fixture
def pooler(postgres: Postgres) -> Iterator[pgbouncer.PgBouncer]:
    with pgbouncer.running(postgres, "transaction", 5) as made:
        yield made


def test_a_pooler_in_transaction_mode(deployed: Server, pooler: pgbouncer.PgBouncer) -> None:
    url = pooler.url(deployed.database)
    lead(deployed, url)
    run = settled(deployed)
    assert any("pool_mode = transaction" in each for each in run.result["warnings"])
    crates(deployed)
    refused(deployed, "pool_mode = transaction", "rattail_schema_ext_database_option")
    option = {"rattail_schema_ext_database_option": OPTION}
    lead(deployed, url, deployed.database.server.url("postgres", "postgres"))
    refused(deployed, f"The URL in {OPTION} leads to another database", vars=option)
    lead(deployed, url, deployed.database.url)
    brought(deployed, option)


def test_no_revert_and_no_baseline_by_way_of_a_pooler_in_transaction_mode(
    deployed: Server, pooler: pgbouncer.PgBouncer
) -> None:
    """Done past it, they leave no lock with a server connection of the pooler's."""
    url, direct = pooler.url(deployed.database), deployed.database.url
    elsewhere = deployed.database.server.url("postgres", "postgres")
    option: dict[str, Any] = {"rattail_schema_ext_database_option": OPTION}
    locks = "select count(*) from pg_locks l join pg_database d on d.oid = l.database"
    locks += " where locktype = 'advisory' and datname = current_database()"
    deployed.sql("delete from alembic_version")
    for playbook, rows in (("baseline", {CORE_HEAD, POSER_HEAD}), ("revert", {CORE_HEAD, POSER_FIRST})):
        lead(deployed, url, elsewhere)
        entry(deployed, playbook, "pool_mode = transaction", "rattail_schema_ext_database_option")
        entry(deployed, playbook, f"The URL in {OPTION} leads to another database", **option)
        lead(deployed, url, direct)
        entry(deployed, playbook, rc=0, **option)
        assert deployed.database.heads() == rows
        assert deployed.sql(locks) == [(0,)]


# What a revision sees of its own connection, and what stands in the pool: the settings that somebody else would get.
SEEN = "create table poser_seen as select pg_backend_pid() as pid, current_setting('lock_timeout') as lock_timeout"
POOLED = "select pid, application_name from pg_stat_activity where datname = current_database() and pid <> all (%s)"


def test_with_a_url_for_migrations_these_do_not_pass_through_the_pooler(
    deployed: Server, pooler: pgbouncer.PgBouncer
) -> None:
    url = pooler.url(deployed.database)
    lead(deployed, url, deployed.database.url)
    crates(deployed, SEEN)
    deployed.git("pull", "--quiet")
    answer = upgrade(deployed, database_option=OPTION, lock_timeout_seconds=7)
    assert (answer["failure"], answer["state"]) == ("", "current")
    [(pid, lock_timeout)] = deployed.sql("select * from poser_seen")
    with deployed.database.connect() as direct, direct.cursor() as cursor:
        cursor.execute(POOLED, ([direct.info.backend_pid],))
        pool = dict(cursor.fetchall())
    assert pool and pid not in pool and lock_timeout == "7s"
    assert [name for name in pool.values() if name.startswith("rattail_schema_ext")] == []
    with psycopg2.connect(url) as client, client.cursor() as cursor:
        cursor.execute("select current_setting('lock_timeout'), current_setting('client_connection_check_interval')")
        assert cursor.fetchone() == ("0", "0")
    client.close()


def test_what_a_revision_does_through_a_pooler_is_its_own_all_the_same(
    deployed: Server, pooler: pgbouncer.PgBouncer
) -> None:
    """There it cannot be kept from writing, since what is set there is somebody else's next."""
    url = pooler.url(deployed.database)
    beside = f"import psycopg2\nbeside = psycopg2.connect({url!r})\nbeside.cursor().execute('create table gadget ()')"
    new = deployed.repository.add_revision("beside", upgrade=f"{beside}\nbeside.commit()")
    deployed.git("pull", "--quiet")
    answer = upgrade(deployed)
    assert answer["failure"].startswith(f"Revision {new} ("), answer["failure"]
    assert [name for _, name in deployed.sql(POOLED, [0]) if name.startswith("rattail_schema_ext")] == []
    assert [each["object"] for each in answer["violations"]] == ["table public.gadget"], answer["failure"]
    assert not answer["applied"] and deployed.database.heads() == {CORE_HEAD, POSER_HEAD}


def test_a_migration_that_comes_through_a_pooler_all_the_same_is_refused(
    deployed: Server, pooler: pgbouncer.PgBouncer
) -> None:
    """The app's env.py knows a way of its own."""
    url = pooler.url(deployed.database)
    packaged = environments.site_packages(environments.base("rattail")) / "rattail" / "db" / "alembic" / "env.py"
    own = packaged.read_text().replace(
        "    engine = rattail_config.appdb_engine\n    connection",
        f"    import sqlalchemy\n    engine = sqlalchemy.create_engine({url!r})\n    connection",
    )
    deployed.repository.commit({"poser/db/alembic/env.py": own})
    crates(deployed, SEEN)
    deployed.git("pull", "--quiet")
    deployed.write_config(alembic=deployed.alembic_section().replace("= rattail.db:alembic\n", "= poser.db:alembic\n"))
    answer = upgrade(deployed)
    assert "through a pooler" in answer["failure"] and "by hand" not in answer["failure"], answer["failure"]
    assert not answer["changed"] and deployed.database.tables("poser\\_seen") == []
    assert [name for _, name in deployed.sql(POOLED, [0]) if name.startswith("rattail_schema_ext")] == []


def test_a_pooler_in_session_mode_is_passed_through(deployed: Server, postgres: Postgres) -> None:
    with pgbouncer.running(postgres, "session", 5) as pooler:
        lead(deployed, pooler.url(deployed.database))
        crates(deployed, SEEN)
        deployed.git("pull", "--quiet")
        answer = upgrade(deployed, lock_timeout_seconds=7)
        assert (answer["failure"], answer["state"]) == ("", "current")
        assert deployed.sql("select lock_timeout from poser_seen") == [("7s",)]


LONG = "feedfacecafe_add_crates_to_the_warehouse"


def test_a_revision_that_the_version_table_has_no_room_for(deployed: Server) -> None:
    deployed.repository.add_revision("add crates", upgrade_sql=CRATE, revision=LONG)
    message = refused(deployed, LONG, "takes revisions of 32 characters")
    # the remedy helps
    deployed.sql(message.partition("as its owner: ")[2].rstrip("."))
    brought(deployed)
    assert deployed.database.heads() == {CORE_HEAD, LONG}
    deployed.repository.add_revision("boxes", upgrade_sql="select 1", revision=f"{LONG}_and_more")
    refused(deployed, f"{LONG}_and_more", f"takes revisions of {len(LONG)} characters")


def test_one_that_is_too_long_for_a_table_that_is_not_there_yet(make_server: Callable[..., Server]) -> None:
    server = make_server(content="empty")
    server.repository.add_revision("add crates", upgrade_sql=CRATE, revision=LONG)
    message = refused(server, LONG, "takes revisions of 32 characters")
    server.sql(message.partition("as its owner: ")[2].rstrip("."))
    assert server.run_role().rc == 0
    assert server.database.heads() == {CORE_HEAD, LONG}


@pytest.mark.parametrize("width", ["varchar(32)", "text"])
def test_an_env_py_s_own_table_has_a_width_of_its_own(deployed: Server, width: str) -> None:
    deployed.sql(f"alter table alembic_version alter version_num type {width}")
    deployed.sql("alter table alembic_version rename to poser_rows")
    deployed.own_env("target_metadata=target_metadata)", "target_metadata=target_metadata, version_table='poser_rows')")
    deployed.repository.add_revision("add crates", upgrade_sql=CRATE, revision=LONG)
    if width == "text":
        brought(deployed)
    else:
        refused(deployed, LONG, "32 characters", f"ALTER TABLE poser_rows ALTER version_num TYPE varchar({len(LONG)})")


def test_no_baseline_of_a_revision_that_there_is_no_room_for(deployed: Server) -> None:
    deployed.repository.add_revision("add crates", upgrade_sql="create table poser_crate ()", revision=LONG)
    deployed.git("pull", "--quiet")
    deployed.sql("delete from alembic_version; create table poser_crate ()")
    entry(deployed, "baseline", "takes revisions of 32 characters")


ELSEWHERE = """\
    import sqlalchemy
    engine = sqlalchemy.create_engine({url!r})
    connection"""


@pytest.mark.parametrize("where", ["another database", "a database of that name on another server"])
def test_an_env_py_that_leads_to_another_database(
    deployed: Server, make_database: Callable[..., Database], pair: standby.Pair, where: str
) -> None:
    name = deployed.database.name
    if where == "another database":
        other = make_database("poser")
        url, words = other.url, f"connects to {other.name!r}, not to {name!r}"
    else:
        pair.sql(f'create database "{name}"', "postgres", "postgres")
        url, words = pair.url(standby.PRIMARY, database=name), f"a database {name!r} of another server"
    deployed.own_env("    engine = rattail_config.appdb_engine\n    connection", ELSEWHERE.format(url=url))
    crates(deployed)
    refused(deployed, "The app's env.py", words, "as Rattail's own does")


def test_what_revision_files_give_away_is_said_before_the_run(deployed: Server) -> None:
    deployed.repository.add_revision("ends it", upgrade_sql="COMMIT")
    run = deployed.run_role(check=True)
    assert any("ends its transaction by itself (COMMIT in line" in each for each in run.result["warnings"]), run.output
