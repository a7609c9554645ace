"""What is done in a cell: the role on a server of that kind, step by step, held against what is there afterwards."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import cells
import making
import wutta_app
from cells import Cell
from support import states
from support.places import BIN, ROOT, locked
from support.postgres import Database
from support.repository import Repository
from support.revisions import edit, scripts
from support.runs import Run, ansible
from support.server import CORE_LOCATIONS, HOST, Server

HEAD = "b084beb32f02"
COLOUR = "    colour = sa.Column(sa.String(length=20), nullable=True)\n\n"
# a program of the environment's, so that it is in any of them
HOOKS = """
[post_write_hooks]
hooks = touch
touch.type = console_scripts
touch.entrypoint = pip
touch.options = --version
"""
UNPUSHED = {"rattail_schema_ext_source_repo": "", "rattail_schema_ext_source_version": None}
CLONE = {"rattail_schema_ext_rehearsal": "clone", "rattail_schema_ext_backup": "schema"}


class CellServer(Server):
    """A server of a cell's kind, run from a controller of its kind."""

    controller: Path = BIN

    def alembic(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the app's own ``bin/alembic``, as its people do by hand."""
        return self._run([str(self.env_dir / "bin" / "alembic"), "-c", str(self.config), *args], check)

    def _ansible(self, program: str, args: list[str], env: Mapping[str, str] | None) -> Run:
        scratch = self.root / "ansible"
        return ansible(program, args, cwd=ROOT, scratch=scratch, env=env, controller=self.controller)


def run(cell: Cell, root: Path) -> None:
    """Do the job of a cell.

    :raises making.Unmade: where the cell cannot be made.
    :raises AssertionError: where the role does not do what it should.
    """
    root.mkdir()
    # other cells share the server, one after another of each process
    name = f"cell_{os.getpid()}"
    postgres = making.postgres(cell["PostgreSQL"])
    admin = Database(postgres, "postgres", "postgres")
    admin.sql(f'drop database if exists "{name}"')
    template = _core(admin, cell, root) if cell.job == cells.SHORT else "template0"
    admin.sql(f'create database "{name}" owner rattail template {template}')
    try:
        _JOBS[cell.job](cell, root, Database(postgres, name))
    finally:
        with suppress(Exception):
            admin.sql(f'drop database if exists "{name}"')


def _core(admin: Database, cell: Cell, root: Path) -> str:
    """A database to copy, with the core's schema as its own Alembic makes it; made once on each server."""
    name = f"core_{cell.core}_{making.pinned()}"
    with locked(making.KEPT / f"{cell['PostgreSQL']}_{name}.lock"):
        if not admin.sql("select 1 from pg_database where datname = %s and datistemplate", name):
            admin.sql(f"drop database if exists {name}")
            admin.sql(f"create database {name} owner rattail template template0")
            server = _server(cell, root / "core", Database(admin.server, name), _packages(cell))
            core = CORE_LOCATIONS[cell.core]
            server.write_config(alembic=f"\n[alembic]\nscript_location = {core}\nversion_locations = {core}/versions\n")
            server.alembic("upgrade", "heads")
            admin.sql(f"alter database {name} is_template true")
    return name


def _server(cell: Cell, root: Path, database: Database, packages: Path, *, app: str = "poser") -> CellServer:
    root.mkdir(exist_ok=True)
    released = bool(cell["package"])
    repository = None if released else _repository(cell, root / "poser.git")
    url = database.url
    if cell.core == "wutta" and (cell["driver"], cell["SQLAlchemy"]) != ("psycopg", "2.1"):
        url = url.replace("postgresql:", f"postgresql+{cell['driver']}:")
    server = CellServer.make(root, database, repository=repository, app=app, core=cell.core, url=url, packages=packages)
    if cell["ansible-core"] != cells.BASE["ansible-core"]:
        server.controller = making.controller(cell["ansible-core"])
    return server


def _repository(cell: Cell, path: Path) -> Repository:
    """``examples/poser``, or the same for what else the cell stands on."""
    repository = Repository.of_poser(path)
    project = (path / "pyproject.toml").read_text()
    if cell.core == "wutta":
        repository.commit(wutta_app.FILES)
        project = project.replace("rattail[db]", "WuttJamaican[db]")
    if cell["driver"] == "psycopg":
        project = project.replace("psycopg2-binary", "psycopg[binary]")
    backend = cells.BACKENDS.get(cell["built by"])
    if backend:
        required = _BACKEND_PACKAGES[cell["built by"]]
        project = project.replace('"hatchling"', f'"{required}"').replace("hatchling.build", backend)
        project = project.partition("[tool.hatch")[0] + _BACKEND_SETTINGS.get(cell["built by"], "")
        project = project.replace('name = "Poser"', 'name = "poser"') if cell["built by"] == "flit" else project
    if project != (path / "pyproject.toml").read_text():
        repository.commit({"pyproject.toml": project})
    return repository


_BACKEND_PACKAGES = {
    "setuptools": "setuptools",
    "poetry": "poetry-core",
    "flit": "flit_core",
    "pdm": "pdm-backend",
    "uv_build": "uv_build",
}
_BACKEND_SETTINGS = {
    "setuptools": '\n[tool.setuptools.packages.find]\ninclude = ["poser*"]\n',
    "poetry": '\n[tool.poetry]\npackages = [{include = "poser"}]\n',
    "pdm": '\n[tool.pdm.build]\nincludes = ["poser"]\n',
    "uv_build": '\n[tool.uv.build-backend]\nmodule-root = ""\n',
}


def _packages(cell: Cell, *more: str) -> Path:
    """The environment of a cell."""
    wanted = ["WuttJamaican[db]" if cell.core == "wutta" else "rattail[db]", "hatchling", "editables", *more]
    overriding = []
    if cell["built by"]:
        wanted.append(_BACKEND_PACKAGES[cell["built by"]])
    driver = {"psycopg2": "psycopg2-binary", "psycopg": "psycopg[binary]"}[cell["driver"]]
    axes = {"SQLAlchemy": "SQLAlchemy", "Alembic": "alembic", "pip": "pip", cell["driver"]: driver}
    for axis, package in axes.items():
        release = cell.differs.get(axis, "") if cell.newest else cell[axis]
        if release.startswith("<"):
            overriding.append(f"{package}{release}")
        if release != "none":
            wanted.append(f"{package}=={release}.*" if release[:1].isdigit() else package)
    like = [] if cell.newest else ["requirements-rattail.txt", "requirements-build.txt"]
    return making.environment(cell["Python"], wanted, like=like, overriding=overriding)


def _fresh(server: CellServer) -> None:
    """From nothing, as check mode said; and again, with nothing to do."""
    states.brought(server, {"rattail_schema_ext_backup": "schema"})


def _revision(server: CellServer) -> str:
    """A revision is written, its hooks are run, it is reviewed and applied, and Alembic agrees; its id."""
    server.config.write_text(server.config.read_text() + HOOKS)
    edit(server, "db/model/widgets.py", "    active = sa.Column(", f"{COLOUR}    active = sa.Column(")
    before = scripts(server)
    message = {"rattail_schema_ext_revision_message": "add widget colour"}
    run = server.run_role(message, playbook="revision")
    assert (run.rc, run.recaps[HOST].changed) == (0, 1), run.output
    assert run.result["review"]["result"] == "passed", run.result["review"]
    assert run.result["revision"]["hooks"] == ["touch"], run.result["revision"]
    assert len(scripts(server).keys() - before.keys()) == 1
    revision = str(run.result["revision"]["revision"])
    applied = server.run_role(UNPUSHED)
    assert [each["revision"] for each in applied.result["applied"]] == [revision], applied.output
    assert applied.result["drift"] == [], applied.result["drift"]
    _by_hand(server, revision)
    states.settled(server, UNPUSHED)
    return revision


def _by_hand(server: CellServer, revision: str) -> None:
    """The app's own Alembic is at that revision, and finds nothing to do."""
    assert revision in server.current() and server.current() == server.database.heads()
    assert "Running upgrade" not in server.alembic("upgrade", "heads").stderr


def _short(cell: Cell, root: Path, database: Database) -> CellServer:
    server = _server(cell, root, database, _packages(cell))
    _fresh(server)
    _revision(server)
    return server


def _full(cell: Cell, root: Path, database: Database) -> None:
    server = _server(cell, root, database, _packages(cell))
    _fresh(server)
    # what is pushed is tried on a copy, then applied
    crate = server.repository.add_revision(
        "add crates", upgrade_sql="create view poser_crate as select 1 a", downgrade_sql="drop view poser_crate"
    )
    tried = server.run_role(CLONE)
    assert [each["revision"] for each in tried.result["applied"]] == [crate], tried.output
    assert [each["revision"] for each in tried.result["rehearsal"]["revisions"]] == [crate], tried.output
    # what fails is undone
    at = server.git("rev-parse", "HEAD")
    server.repository.add_revision("fail", upgrade="op.execute('create table poser_box (id int)'); op.execute('oops')")
    failed = server.run_role()
    assert failed.rc == 2 and 'near "oops"' in failed.message, failed.output
    assert (server.git("rev-parse", "HEAD"), server.database.tables("poser\\_box")) == (at, [])
    server.repository.git("reset", "--quiet", "--hard", "HEAD~1")
    status = server.run_role(playbook="status")
    assert (status.rc, status.result["state"]) == (0, "current"), status.output
    _revision(server)
    back = {"rattail_schema_ext_revert_to": HEAD, "rattail_schema_ext_revert_confirm": f"poser@{HEAD}"}
    reverted = server.run_role({**UNPUSHED, **back, "rattail_schema_ext_backup": "full"}, playbook="revert")
    assert reverted.rc == 0 and len(reverted.result["reverted"]) == 2, reverted.output
    assert HEAD in server.current() and server.current() == server.database.heads()


def _package(cell: Cell, root: Path, database: Database) -> None:
    """A published package, from nothing, as check mode said."""
    name = cell["package"]
    packages = _packages(cell, name.replace("_", "-"))
    server = _server(cell, root, database, packages, app=name)
    promised = states.check(server)
    done = server.run_role()
    assert (done.rc, done.result["state"]) == (0, "current"), done.message or done.output
    announced = [each["revision"] for each in promised.result["pending"]]
    assert [each["revision"] for each in done.result["applied"]] == announced, done.output
    states.settled(server)
    assert server.current() == server.database.heads()


def _upgraded(cell: Cell, root: Path, database: Database) -> None:
    """A Rattail of 2024 is deployed to, then pip brings it to today's."""
    server = _server(cell, root, database, _packages(cell, cells.OF_2024))
    _fresh(server)
    before = server.database.heads()
    server.pip("install", "--quiet", "--upgrade", "--upgrade-strategy", "eager", "rattail[db]")
    states.brought(server)
    assert server.database.heads() != before
    _revision(server)


def _refused(cell: Cell, root: Path, database: Database) -> None:
    """What is too old is refused, in check mode as in a real run, before anything is changed."""
    server = _server(cell, root, database, _packages(cell))
    states.refused(server, "is older than" if cell["pip"] != "none" else "has no package 'pip'")


_JOBS: dict[str, Callable[[Cell, Path, Database], object]] = {
    cells.FULL: _full,
    cells.SHORT: _short,
    cells.PACKAGE: _package,
    cells.UPGRADED: _upgraded,
    cells.TOO_OLD: _refused,
}
