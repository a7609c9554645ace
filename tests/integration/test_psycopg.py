"""psycopg 3 in the place of psycopg2: which of them it is, what is heard of it, and the role's work with it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from support import environments, upgrades
from support.places import ROLE
from support.postgres import Database, Postgres
from support.repository import Repository
from support.server import HOST, Server
from support.states import check, settled

# Which driver it is

_ASK = """
import json, sys
sys.path.insert(0, sys.argv[1])
from rattail_alembic.postgres import driver
ours = {"": driver.default(), **{name: bool(driver._dialects(name)) for name in driver.NAMES}}
assert "sqlalchemy" not in sys.modules
from sqlalchemy.engine import make_url
from sqlalchemy.exc import NoSuchModuleError

def knows(name):
    try:
        return make_url(f"postgresql+{name}://").get_dialect().driver == name
    except NoSuchModuleError:
        return False

theirs = {"": make_url("postgresql://").get_dialect().driver, **{name: knows(name) for name in driver.NAMES}}
print(json.dumps([ours, theirs]))
"""


def ask(packages: str, program: str, *arguments: str) -> Any:
    """What a program says, run with the packages of an environment."""
    command = [str(environments.base(packages) / "bin" / "python"), "-c", program, str(ROLE / "module_utils")]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("packages", "default", "knows_both"),
    [("rattail", "psycopg2", False), ("sqlalchemy20", "psycopg2", True), ("psycopg", "psycopg", True)],
    ids=["1.4", "2.0", "2.1"],
)
def test_it_is_the_one_that_sqlalchemy_takes(packages: str, default: str, knows_both: bool) -> None:
    ours, theirs = ask(packages, _ASK)
    assert ours == theirs == {"": default, "psycopg2": True, "psycopg": knows_both}


# What is heard

_DOORS = """
import asyncio, json, sys
sys.path.insert(0, sys.argv[1])
import psycopg
from psycopg import sql
from rattail_alembic.migration import connect_hook
from rattail_alembic.postgres import driver

WORD, URL = "poser_door", sys.argv[2]
CREATE, INSERT = f"create table {WORD} ()", f"insert into {WORD}_t values (1) returning 1"
said, opened = [], []

class Stopped(Exception):
    pass

def hear(connection, text):
    said.append(text)
    if WORD in text or text in ("commit", "prepare transaction"):
        raise Stopped

connect_hook.intercept(lambda arguments: arguments, opened.append, lambda connection: None, hear)

class Own(psycopg.Connection):
    pass

class OwnCursor(psycopg.Cursor):
    def execute(self, query, *more):
        return super().execute(query, *more)

def written(connection):
    connection.execute("create temporary table mine ()")
    return connection

def many(c):
    c.cursor().executemany(f"insert into {WORD}_t values (%s)", [(1,), (2,)])

def copied(c):
    with c.cursor().copy(f"copy {WORD}_t from stdin") as copy:
        copy.write_row((1,))

def streamed(c):
    list(c.cursor().stream(INSERT))

def piped(c):
    with c.pipeline():
        c.execute(CREATE)

def piped_many(c):
    with c.pipeline():
        many(c)

def in_a_with(c):
    with written(c):
        pass

def in_a_transaction(c):
    with c.transaction():
        c.cursor(row_factory=psycopg.rows.dict_row).execute("create temporary table mine ()")

def in_a_named_transaction(c):
    with c.transaction("poser"):
        c.execute("create temporary table mine ()")

def prepared(c):
    c.tpc_begin("poser")
    c.tpc_prepare()

def one_phase(c):
    c.tpc_begin("poser")
    c.tpc_commit()

async def waiting():
    c = await psycopg.AsyncConnection.connect(URL)
    try:
        await c.execute(CREATE)
    finally:
        await c.close()

async def waiting_for_copy():
    c = await psycopg.AsyncConnection.connect(URL)
    try:
        async with c.cursor().copy(f"copy {WORD}_t from stdin"):
            pass
    finally:
        await c.close()

DOORS = {
    "cursor": lambda c: c.cursor().execute(CREATE),
    "connection": lambda c: c.execute(CREATE),
    "by name": lambda c: c.execute(query=CREATE),
    "with parameters": lambda c: c.execute(f"insert into {WORD}_t values (%s)", (1,)),
    "prepared": lambda c: c.execute(CREATE, prepare=True),
    "bytes": lambda c: c.execute(CREATE.encode()),
    "composed": lambda c: c.execute(sql.SQL("create table {} ()").format(sql.Identifier(WORD))),
    "client-side binding": lambda c: psycopg.ClientCursor(c).execute(CREATE),
    "raw": lambda c: psycopg.RawCursor(c).execute(CREATE),
    "cursor class of its own": lambda c: OwnCursor(c).execute(CREATE),
    "server-side cursor": lambda c: c.cursor("x").execute(f"select 1 as {WORD}"),
    "executemany": many,
    "copy": copied,
    "stream": streamed,
    "pipeline": piped,
    "executemany in a pipeline": piped_many,
    "several statements": lambda c: c.execute(f"select 1; {CREATE}"),
    "commit": lambda c: written(c).commit(),
    "with": in_a_with,
    "transaction": in_a_transaction,
    "named transaction": in_a_named_transaction,
    "tpc_prepare": prepared,
    "tpc_commit": one_phase,
    "connection class of its own": lambda c: Own.connect(URL).execute(CREATE),
    "connect by keywords": lambda c: psycopg.connect(**psycopg.conninfo.conninfo_to_dict(URL)).execute(CREATE),
    "asynchronous": lambda c: asyncio.run(waiting()),
    "asynchronous copy": lambda c: asyncio.run(waiting_for_copy()),
}

found = {}
for name, door in DOORS.items():
    del said[:], opened[:]
    connection = psycopg.connect(URL, autocommit=name.endswith("transaction"))
    try:
        door(connection)
        found[name] = f"was not stopped: {said}"
    except Stopped:
        found[name] = "stopped" if opened else "not seen to be opened"
    driver.end(connection)
del said[:]
cursor = driver.plain_cursor(psycopg.connect(URL))
cursor.execute("select 1; select %s", (2,))
found["ours"] = f"{cursor.fetchall()} {said}"
print(json.dumps(found))
"""


def test_every_statement_is_heard_before_it_is_executed(make_database: Callable[..., Database]) -> None:
    database = make_database("empty")
    database.sql("create table poser_door_t (a integer)")
    found = ask("psycopg", _DOORS, database.url)
    assert found.pop("ours") == "[(2,)] []"
    assert {name: came for name, came in found.items() if came != "stopped"} == {} and len(found) > 20
    assert database.tables() == ["poser_door_t"] and database.sql("select count(*) from poser_door_t") == [(0,)]


# The role's work with it


@pytest.fixture
def server(postgres: Postgres, make_server: Callable[..., Server]) -> Iterator[Server]:
    """A server on which the app is to arrive, with nothing in its database, whose role may create databases."""
    role = f"p{os.getpid()}"
    postgres.admin.sql(f"create role {role} login createdb")
    database = replace(postgres.create(), user=role)
    postgres.admin.sql(f'alter database "{database.name}" owner to {role}')
    yield make_server(core="wutta", packages="psycopg", content=database, repository="poser")
    # what it owns goes before it
    postgres.drop(database)
    postgres.admin.sql(f"drop role {role}")


def with_psycopg2(server: Server, *, alone: bool = False) -> None:
    """Put psycopg2 into the server's environment, beside psycopg or in its place."""
    here = environments.site_packages(server.env_dir)
    for path in environments.site_packages(environments.base("rattail")).glob("psycopg2*"):
        (here / path.name).symlink_to(path)
    if alone:
        (here / "_packages_of_base.pth").unlink()
        for path in environments.site_packages(environments.base("psycopg")).iterdir():
            if not path.name.startswith("psycopg") and not (here / path.name).exists():
                (here / path.name).symlink_to(path)


def test_an_app_comes_up_is_checked_reverted_and_given_a_revision(server: Server) -> None:
    promised = check(server, diff=True)
    assert promised.result["state"] == "empty"
    run = server.run_role({"rattail_schema_ext_rehearsal": "transaction"})
    assert run.rc == 0 and run.recaps[HOST].changed > 0, run.output
    assert [each["revision"] for each in run.result["applied"]] == [e["revision"] for e in promised.result["pending"]]
    assert server.current() == server.database.heads()
    settled(server)

    reverted = upgrades.revert(server, "a010a6c92761")
    assert (reverted["failure"], server.database.tables("poser%")) == ("", ["poser_person"])
    assert upgrades.upgrade(server, backup="full", rehearsal="clone")["failure"] == ""
    assert server.database.tables("poser%") == ["poser_person", "poser_widget"]

    model = server.source_dir / "poser" / "db" / "model" / "widgets.py"
    model.write_text(f"{model.read_text()}    colour = sa.Column(sa.String(length=20), nullable=True)\n")
    wrote = server.run_role({"rattail_schema_ext_revision_message": "add colour"}, playbook="revision")
    assert wrote.rc == 0 and wrote.result["review"]["place"], wrote.output


_RAW = "raw = op.get_bind().connection.dbapi_connection\n"
_BESIDE = "import psycopg\nbeside = psycopg.connect('@URL@')\n"
_COLUMN = "'alter table person add poser_x integer'"
_ROW = "\"insert into person (uuid, full_name) values (gen_random_uuid(), 'Olga')\""
_COPY = "copy person (uuid, full_name) from stdin"
_COPIED = f"import uuid\nwith raw.cursor().copy('{_COPY}') as copy:\n    copy.write_row((uuid.uuid4(), 'Olga'))\n"
_BLOCK = "with op.get_context().autocommit_block():\n    "
_REFUSE = {"policy_data": "refuse"}
# The body of a revision, what is said of it (nothing where it is honest), and options
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "fails": ("op.execute('drop table poser_nothing')", "does not exist.*as it was", {}),
    "a column of core's": ("op.add_column('person', sa.Column('poser_x', sa.Integer()))", "person", {}),
    "in a pipeline": (_RAW + f"with raw.pipeline():\n    raw.execute({_COLUMN})", "person", {}),
    "prepared": (_RAW + f"raw.execute({_COLUMN}, prepare=True)", "person", {}),
    "rows": (f"op.execute({_ROW})", "rows of public.person", _REFUSE),
    "rows of many": (_RAW + f"raw.cursor().executemany({_ROW[:-8]}%s)\", [('a',), ('b',)])", "2 inserted", _REFUSE),
    "rows by COPY": (_RAW + _COPIED, "rows of public.person", _REFUSE),
    "rows outside": (_BLOCK + f"op.execute({_ROW})", "INSERT outside of its transaction", _REFUSE),
    "COPY outside": (_BLOCK + (_RAW + _COPIED).replace("\n", "\n    "), "COPY FROM outside", _REFUSE),
    "its own COMMIT": (_RAW + f"raw.execute({_ROW})\nraw.commit()", "rows of public.person", _REFUSE),
    "COMMIT in a pipeline": (
        _RAW + f"with raw.pipeline():\n    raw.execute({_ROW})\n    raw.execute('commit')", "in pipeline mode", _REFUSE
    ),
    "beside": (_BESIDE + f"beside.execute({_COLUMN})\nbeside.commit()", "may only read", {}),
    "beside, autocommit": (_BESIDE + f"beside.autocommit = True\nbeside.execute({_COLUMN})", "may only read", {}),
    "beside, in a transaction": (
        _BESIDE + f"with beside.transaction():\n    beside.execute({_COLUMN})", "may only read", {}
    ),
    "beside, by psycopg2": (
        (_BESIDE + f"beside.cursor().execute({_COLUMN})\nbeside.commit()").replace("psycopg", "psycopg2"),
        "may only read", {}
    ),
    "beside, asynchronous": (
        "import asyncio, psycopg\nasync def work():\n    beside = await psycopg.AsyncConnection.connect('@URL@')\n"
        f"    await beside.execute({_COLUMN})\n    await beside.commit()\nasyncio.run(work())",
        "an asynchronous connection", {}
    ),
    "an index of its own": (
        _BLOCK + "op.create_index('poser_i', 'poser_widget', ['code'], postgresql_concurrently=True)", "", {}
    ),
    "what psycopg prepares": (
        "write = sa.text('insert into poser_widget values (gen_random_uuid(), :n)')\n"
        "for n in range(20):\n    op.get_bind().execute(write, {'n': str(n)})", "", _REFUSE
    ),
}  # fmt: skip

# As docs/security.md says, a rehearsal in a transaction can be led past its COMMIT: it fails then.
_TAKE_AWAY = "delete from pg_temp.rattail_schema_ext_rehearsal; commit"
_LITERAL = f"""r"select 'a\\''; {_TAKE_AWAY}; select ''\""""
GONE_ABOUT = (
    _RAW + f"raw.pgconn.exec_(b'{_TAKE_AWAY}')",
    _RAW + f"raw.execute('set standard_conforming_strings = off')\nraw.execute({_LITERAL})",
)


def test_the_guard_hears_and_holds_it(server: Server) -> None:
    with_psycopg2(server)
    assert server.run_role().rc == 0
    trying = upgrades.Upgrades(server)
    came = dict[str, str]()
    columns = "select attname from pg_attribute where attrelid = 'person'::regclass and attnum > 0"
    there, head = server.sql(columns), "b084beb32f02"
    for name, (python, _, options) in CASES.items():
        checkout = Repository(server.source_dir)
        revision = f"poser{len(came):04}"
        text = python.replace("@URL@", server.database.url)
        checkout.add_revision("case", upgrade=text, revision=revision, down_revision=head, commit=False)
        answer = trying(allow_uncommitted_revisions=True, lock_retries=0, **options)
        came[name] = answer["failure"]
        if answer["failure"]:
            next(server.versions.glob(f"{revision}*.py")).unlink()
            assert server.database.tables("poser%") == ["poser_person", "poser_widget"], name
        else:
            head = revision
        assert (server.sql(columns), server.sql("select count(*) from person")) == (there, [(0,)]), name
    for python in GONE_ABOUT:
        text = f"op.execute('create table poser_crate ()')\n{python}"
        checkout.add_revision("case", upgrade=text, revision="poser9999", down_revision=head, commit=False)
        answer = trying(allow_uncommitted_revisions=True, rehearsal="transaction")
        next(server.versions.glob("poser9999*.py")).unlink()
        assert "cannot be rehearsed in a transaction" in answer["failure"], answer["failure"]
        server.sql("drop table poser_crate")
    trying.close()
    said = {name: word for name, (_, word, _) in CASES.items()}
    unlike = [f"{name}: {came[name]}" for name, word in said.items() if not re.search(word or "^$", came[name])]
    assert not unlike, "\n".join(unlike)


def look(server: Server) -> dict[str, Any]:
    """What a look finds."""
    return server.module("rattail_alembic_info", server.parameters({"source_enabled": False}))


def test_what_is_missing_is_said_and_what_is_there_is_offered(server: Server) -> None:
    server.write_config(url=server.database.url)
    with_psycopg2(server, alone=True)
    [problem] = [each for each in look(server)["problems"] if each["code"] == "driver_missing"]
    assert "is one for psycopg, which" in problem["cause"] and "No module named 'psycopg'" in problem["cause"]
    assert f"{server.python} -m pip install --upgrade 'psycopg[binary]'" in problem["remedy"]
    # to the letter
    server.write_config(url=server.database.url.replace("postgresql://", "postgresql+psycopg2://"))
    assert "postgresql+psycopg2://" in problem["remedy"]
    run = server.run_role()
    assert (run.rc, run.result["state"]) == (0, "current"), run.output


NEXT = {"rattail_schema_ext_source_repo": "", "rattail_schema_ext_allow_uncommitted_revisions": True}
_ASYNCHRONOUS = """\
else:
    import asyncio
    from sqlalchemy.ext.asyncio import create_async_engine

    def work(connection):
        context.configure(connection=connection, target_metadata=target_metadata)
        with context.begin_transaction():
            context.run_migrations()

    async def main():
        async with create_async_engine(wutta_config.appdb_engine.url).connect() as connection:
            await connection.run_sync(work)

    asyncio.run(main())
"""


def test_by_name_and_where_another_driver_comes_in(server: Server) -> None:
    server.write_config(url=server.database.url.replace("postgresql://", "postgresql+psycopg://"))
    run = server.run_role()
    assert (run.rc, run.result["state"]) == (0, "current"), run.output
    here, name = environments.site_packages(server.env_dir), "greenlet"
    (here / name).symlink_to(environments.site_packages(environments.base("rattail")) / name)
    server.own_env("else:\n    run_migrations_online()\n", _ASYNCHRONOUS)
    Repository(server.source_dir).add_revision("next", commit=False)
    # by hand it works
    assert server.current() == server.database.heads()
    for run in (check(server, NEXT, rc=2), server.run_role(NEXT)):
        assert run.rc == 2 and "env.py connects by psycopg, asynchronously" in run.result["msg"], run.output
