"""Fixtures: a PostgreSQL server for all tests, and for each its own database, environment, repository and server."""

from __future__ import annotations

import compileall
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from adversary.arena import Arena, template
from ansible.module_utils.rattail_alembic.copies.programs import Program
from ansible.module_utils.rattail_alembic.postgres.url import Target
from support import environments, old_postgres, spare
from support import postgres as embedded
from support.places import ROLE
from support.postgres import Database, Postgres
from support.repository import Repository
from support.server import Server, core_template, poser_template

# REASSIGN OWNED would take every database of the server's along.
_GIVE_AWAY = """
do $$
declare
  name text;
begin
  for name in
    select c.oid::regclass from pg_class c
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'S') and not exists (
      select from pg_depend d where d.objid = c.oid and d.classid = 'pg_class'::regclass and d.deptype in ('a', 'i'))
  loop
    execute format('alter table %s owner to {role}', name);
  end loop;
end $$
"""


# Of the longest tests there are some in these: whoever is given one last lets all others wait.
_LONG = ("test_chapter", "test_demo", "test_partial_failure", "test_revision_layouts", "test_secrets")


def pytest_configure(config: pytest.Config) -> None:
    """Compile the role once, or where PYTHONDONTWRITEBYTECODE is set each process would."""
    if not hasattr(config, "workerinput"):
        compileall.compile_dir(ROLE, quiet=2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest."""
    items.sort(key=lambda item: item.path.stem not in _LONG)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop PostgreSQL with the last process of the run; workers leave it to their controller."""
    if not hasattr(config, "workerinput"):
        embedded.stop_unless_used()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The server; ``postgres.admin`` is its superuser's database."""
    with embedded.running() as server:
        yield server


@pytest.fixture(scope="module")
def old_server() -> Iterator[tuple[Program, Target]]:
    """A server of an older release: its ``initdb``, and where the role ``olga`` has a database."""
    with old_postgres.running() as found:
        yield found


@pytest.fixture
def make_database(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Database]]:
    """Make databases: ``empty``, with all of ``core``, with ``wutta``'s core, or with core and ``poser``."""
    made: list[Database] = []

    def make(content: str = "empty") -> Database:
        scratch = tmp_path_factory.mktemp("templates")
        if content == "empty":
            template = "template0"
        elif content == "poser":
            template = poser_template(postgres, scratch)
        else:
            template = core_template(postgres, scratch, {"core": "rattail"}.get(content, content))
        made.append(postgres.create(template))
        return made[-1]

    yield make
    for database in made:
        postgres.drop(database)


@pytest.fixture
def database(make_database: Callable[..., Database]) -> Database:
    """A database with all of Rattail's core."""
    return make_database("core")


@pytest.fixture
def wutta_env(tmp_path: Path) -> Path:
    """An environment with Sideshow on WuttJamaican."""
    environments.make_light(tmp_path / "wutta_env", "wutta")
    return tmp_path / "wutta_env"


@pytest.fixture
def make_server(make_database: Callable[..., Database], tmp_path: Path) -> Callable[..., Server]:
    """Make servers, each with a database, a repository of poser's and a light environment of its own.

    ``content`` says what the database holds (see ``make_database``); a Database may be given, too.
    ``deployed=True``: the app is there as if the role had run before, and ``content`` is ``poser``.
    ``repository=None``: a released package, no source.
    """

    def make(
        name: str = "server",
        *,
        content: str | Database = "core",
        deployed: bool = False,
        app: str = "poser",
        core: str = "rattail",
        repository: Repository | str | None = "new",
        **options: Any,
    ) -> Server:
        root = tmp_path / name
        root.mkdir()
        if deployed and content == "core":
            content = "poser"
        if isinstance(repository, str):
            repository = Repository.of_poser(root / f"{app}.git", app, on_wutta=core == "wutta")
        database = content if isinstance(content, Database) else make_database(content)
        server = Server.make(root, database, repository=repository, app=app, core=core, **options)
        if deployed:
            server.deploy()
        return server

    return make


@pytest.fixture
def server(make_server: Callable[..., Server]) -> Server:
    """A server with core's schema on which the app is to arrive."""
    return make_server()


@pytest.fixture
def deployed(make_server: Callable[..., Server]) -> Server:
    """A server with everything applied: nothing is to be done until something is committed."""
    return make_server(deployed=True)


@pytest.fixture
def few(postgres: Postgres, make_server: Callable[..., Server], tmp_path: Path) -> Iterator[Server]:
    """The same with few of core's tables."""
    database = postgres.create(template(postgres, tmp_path, whole=False))
    yield make_server(deployed=True, content=database)
    postgres.drop(database)


@pytest.fixture
def cloning(
    postgres: Postgres, make_server: Callable[..., Server], make_database: Callable[..., Database]
) -> Iterator[Server]:
    """A server with everything applied, whose role may create databases."""
    role = f"r{os.getpid()}"
    database = make_database("poser")
    postgres.admin.sql(f"create role {role} login createdb")
    postgres.admin.sql(f'alter database "{database.name}" owner to {role}')
    database.sql(_GIVE_AWAY.format(role=role), user="postgres")
    yield make_server(deployed=True, content=replace(database, user=role))
    # what it owns goes before it
    postgres.drop(database)
    postgres.admin.sql(f"drop role {role}")


def _arena(postgres: Postgres, root: Path, *, whole: bool = False, **more: Any) -> Arena:
    return Arena(postgres, root, template(postgres, root, whole=whole), **more)


@pytest.fixture(scope="session")
def arena(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """Where one revision after another is tried."""
    with closing(_arena(postgres, tmp_path_factory.mktemp("arena"))) as found:
        yield found


@pytest.fixture(scope="session")
def whole_arena(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """The same with all of core's tables."""
    with closing(_arena(postgres, tmp_path_factory.mktemp("whole"), whole=True)) as found:
        yield found


@pytest.fixture(scope="session")
def shadowed(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """The same, where each session looks into a schema ``poser`` first, which is not there yet."""
    with closing(_arena(postgres, tmp_path_factory.mktemp("shadowed"), search_path="poser, public")) as found:
        yield found


@pytest.fixture(scope="session")
def reverting(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """The same, where each revision is applied already and is undone."""
    with closing(_arena(postgres, tmp_path_factory.mktemp("reverting"), downward=True)) as found:
        yield found


@pytest.fixture(scope="session")
def superuser(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """The same on a server of its own, whose superuser the app is."""
    root = tmp_path_factory.mktemp("superuser")
    name = template(postgres, root, whole=False)
    with (
        spare.running(postgres, name) as own,
        closing(Arena(Postgres(own.server), root, name, user="postgres")) as found,
    ):
        yield found
