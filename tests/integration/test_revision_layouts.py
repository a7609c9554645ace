"""Apps of every layout: of Rattail's own generator, with an env.py of their own, grown from core, on WuttJamaican."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import rattail.db
from support.places import POSER
from support.repository import Repository, git
from support.revisions import add_model, edit, script, scripts, write
from support.server import HOST, Server
from support.states import brought, settled

CORE = Path(rattail.db.__file__).parent / "alembic"
GADGET = """
class PoserGadget(model.Base):
    __tablename__ = 'poser_gadget'
    uuid = model.uuid_column()
    name = sa.Column(sa.String(length=50), nullable=False)
"""
NAME = "    name = sa.Column(sa.String(length=50), nullable=False)\n"


def revise(server: Server, message: str, **vars: object) -> dict[str, object]:
    run = server.run_role({"rattail_schema_ext_revision_message": message, **vars}, playbook="revision")
    assert run.rc == 0, run.output
    return dict(run.result)


def generated(path: Path) -> Repository:
    """An app as Rattail's own project generator writes it, and what today's Rattail wants of it besides."""
    from rattail.config import make_config
    from rattail.projects.handler import ProjectHandler

    wishes = {"extends_config": True, "has_cli": True, "extends_db": True, "has_model": True, "has_db": True}
    others = ["has_web", "has_web_api", "has_datasync", "uses_fabric"]
    others += ["integrates_catapult", "integrates_corepos", "integrates_locsms"]
    names = {"name": "Poser", "pkg_name": "poser", "pypi_name": "Poser", "organization": "Posers"}
    handler = ProjectHandler(make_config([], usedb=False, versioning=False))
    handler.generate_project("rattail", output=str(path), context={**names, **wishes, **dict.fromkeys(others, False)})
    project = path / "pyproject.toml"
    text = project.read_text()
    # the group that Rattail reads since it stands on WuttJamaican; and the driver that is in the environment
    assert text.count('"rattail.config.extensions"') == 1 and text.count('"psycopg2"') == 1
    text = text.replace('"rattail.config.extensions"', '"wutta.config.extensions"')
    project.write_text(text.replace('"psycopg2"', '"psycopg2-binary"'))
    # it made a revision, and its .gitignore is silent on what Python compiles
    (path / ".gitignore").write_text("*.egg-info/\n__pycache__/\n")
    repository = Repository(path)
    repository.git("init", "--quiet", "--initial-branch=main")
    repository.git("add", "--all")
    repository.git("commit", "--quiet", "--message", "Start the app")
    return repository


def test_an_app_of_rattail_s_generator_from_the_first_table_to_the_second_release(
    make_server: Callable[..., Server], tmp_path: Path
) -> None:
    repository = generated(tmp_path / "generated")
    server = make_server(repository=repository)
    first_run = server.run_role()
    assert first_run.rc == 0, first_run.output
    settled(server)
    # the developer's work is done where the app runs
    server.git("config", "user.name", "Poser")
    server.git("config", "user.email", "poser@localhost")
    lies = {"rattail_schema_ext_source_repo": "", "rattail_schema_ext_source_version": None}
    add_model(server, GADGET)
    first = revise(server, "initial Poser tables")
    [written] = [each for each in scripts(server).values() if "initial Poser tables" in each]
    assert set(re.findall(r"op\.[a-z]{2}\w+\('(\w+)'", written)) == {"poser_gadget"}
    # the generator's own first revision began the branch
    assert re.search(r"^down_revision = '\w+'$", written, re.M) and "branch_labels = None" in written
    revision = first["revision"]
    assert isinstance(revision, dict)
    applied = server.run_role(lies)
    assert applied.rc == 0, applied.output
    assert [each["revision"] for each in applied.result["applied"]] == [revision["revision"]]
    assert server.database.tables("poser%") == ["poser_gadget"]

    # to the repository, and deployed from there
    server.git("add", "--all")
    server.git("commit", "--quiet", "--message", "Add gadgets")
    server.git("push", "--quiet", "origin", "HEAD:refs/heads/gadgets")
    repository.git("merge", "--quiet", "gadgets")
    deployed = server.run_role()
    assert (deployed.rc, deployed.result["state"], deployed.result["applied"]) == (0, "current", []), deployed.output
    settled(server)

    edit(server, "db/model/more.py", NAME, f"{NAME}    colour = sa.Column(sa.String(length=20))\n")
    second = revise(server, "add gadget colour")
    assert isinstance(second["revision"], dict)
    assert second["revision"]["down_revision"] == [revision["revision"]]
    applied = server.run_role(lies)
    assert [each["revision"] for each in applied.result["applied"]] == [second["revision"]["revision"]]
    before = scripts(server)
    third = revise(server, "anything else")
    assert (third["revision"], third["changed"], scripts(server)) == ({}, False, before)
    assert (
        server.current()
        == server.database.heads()
        == {line.split()[0] for line in server.alembic("heads").stdout.splitlines()}
    )


def test_an_app_with_an_env_py_of_its_own(deployed: Server) -> None:
    own = deployed.versions.parent
    for name in ("env.py", "script.py.mako"):
        shutil.copy(CORE / name, own / name)
    section = deployed.alembic_section().replace("script_location = rattail", "script_location = poser")
    deployed.write_config(alembic=section)
    add_model(deployed, GADGET)
    answer = write(deployed)
    assert (answer["failure"], answer["revision"]["down_revision"]) == ("", ["b084beb32f02"])
    # its own template is its own affair
    assert "import rattail.db.types" in script(answer)


@pytest.mark.parametrize("where", ["at core's head", "further down"])
def test_an_app_whose_branch_grew_from_core(make_server: Callable[..., Server], where: str) -> None:
    server = make_server()
    grown_from = "c2ef84c99c93"
    if where == "further down":
        grown_from = history()[5]
    for path in server.repository.versions.glob("*.py"):
        path.unlink()
    server.repository.commit({"poser/db/model/__init__.py": "from rattail.db.model import *\n"}, "Begin anew")
    grown = server.repository.add_revision("grow", down_revision=grown_from, upgrade_sql="create table poser_old ()")
    server.deploy()
    server.alembic("upgrade", "heads")
    add_model(server, GADGET + "\n\nold = sa.Table('poser_old', model.Base.metadata)\n")
    answer = write(server, "add gadgets")
    assert answer["failure"] == ""
    assert answer["revision"]["down_revision"] == [grown]
    assert Path(answer["revision"]["path"]).parent == server.versions
    assert set(re.findall(r"op\.[a-z]{2}\w+\('(\w+)'", script(answer))) == {"poser_gadget"}
    server.alembic("upgrade", "heads")
    assert server.database.tables("poser_gadget") == ["poser_gadget"]


def history() -> list[str]:
    """Core's revisions, newest first."""
    names = {}
    for path in (CORE / "versions").glob("*.py"):
        text = path.read_text()
        down = re.search(r"^down_revision = u?'(\w+)'", text, re.M)
        names[re.search(r"^revision = u?'(\w+)'", text, re.M)[1]] = down[1] if down else ""  # type: ignore[index]
    found = ["c2ef84c99c93"]
    while names[found[-1]]:
        found.append(names[found[-1]])
    return found


WUTTA = {
    "config.py": """
from wuttjamaican.conf import WuttaConfigExtension


class PoserConfig(WuttaConfigExtension):
    key = 'poser'

    def configure(self, config):
        config.setdefault('wutta.model_spec', 'poser.db.model')
""",
    "db/model/__init__.py": """
from wuttjamaican.db.model import *
from .gadgets import PoserGadget
""",
    "db/model/gadgets.py": """
import sqlalchemy as sa
from wuttjamaican.db import model


class PoserGadget(model.Base):
    __tablename__ = 'poser_gadget'
    uuid = model.uuid_column()
    person_uuid = model.uuid_fk_column('person.uuid', nullable=True)
    size = sa.Column(sa.Enum('small', 'big', name='poser_size'))
    name = sa.Column(sa.String(length=50), nullable=False)
""",
}


def test_an_app_on_wuttjamaican(make_server: Callable[..., Server], tmp_path: Path) -> None:
    source = tmp_path / "wutta"
    shutil.copytree(POSER, source, ignore=shutil.ignore_patterns("__pycache__", "versions", "*.egg-info", "model"))
    (source / "poser" / "db" / "model").mkdir()
    for name, text in WUTTA.items():
        (source / "poser" / name).write_text(text)
    project = source / "pyproject.toml"
    project.write_text(project.read_text().replace("rattail[db]", "WuttJamaican[db]"))
    git(source, "init", "--quiet", "--initial-branch=main")
    git(source, "add", "--all")
    git(source, "commit", "--quiet", "--message", "Start the app")
    server = make_server(core="wutta", content="wutta", repository=Repository(source))
    run = server.run_role()
    assert run.rc == 0, run.output
    answer = write(server, "initial Poser tables")
    assert answer["failure"] == ""
    text = script(answer)
    assert "branch_labels: Union[str, Sequence[str], None] = ('poser',)" in text
    assert set(re.findall(r"op\.create_table\('(\w+)'", text)) == {"poser_gadget"}
    assert "import wuttjamaican.db.util" in text and text.count("poser_size") >= 2
    [needed] = answer["revision"]["depends_on"]
    assert needed["reason"].startswith("poser_gadget has a foreign key to person")
    before = server.database.tables()
    server.alembic("upgrade", "heads")
    assert set(server.database.tables()) - set(before) == {"poser_gadget"}
    # there and back again, by hand
    server.alembic("downgrade", "poser@base")
    assert server.database.tables() == before
    server.alembic("upgrade", "heads")
    assert write(server, "more")["revision"] == {}


def test_the_script_is_fetched_to_the_machine_that_ansible_runs_on(deployed: Server, tmp_path: Path) -> None:
    add_model(deployed, GADGET)
    wishes = {
        "rattail_schema_ext_revision_review": "false",
        "rattail_schema_ext_revision_fetch_to": str(tmp_path / "to"),
    }
    run = deployed.run_role({"rattail_schema_ext_revision_message": "gadgets", **wishes}, playbook="revision")
    assert (run.rc, run.recaps[HOST].failed) == (0, 0), run.output
    path = Path(run.result["revision"]["path"])
    assert (tmp_path / "to" / path.name).read_text() == path.read_text()
    assert run.result["review"]["result"] == "skipped"


def shared(path: Path, root: str, *, bare: bool) -> Repository:
    """Poser as ``acme.poser``, where ``acme`` has no ``__init__.py`` (PEP 420), and ``bare`` no package of it has."""
    repository = Repository.of_poser(path)
    package = path / root / "acme" / "poser"
    package.parent.mkdir(parents=True)
    (path / "poser").rename(package)
    for file in (path / "pyproject.toml", package / "config.py"):
        text = file.read_text().replace("poser.config:", "acme.poser.config:").replace("poser.db.", "acme.poser.db.")
        file.write_text(text.replace('["poser"]', f'["{root}acme"]'))
    for file in (package / "__init__.py", package / "db" / "__init__.py") if bare else ():
        file.unlink()
    repository.commit({}, "Move into acme")
    return Repository(path, f"{root}acme/poser")


@pytest.mark.parametrize(("root", "bare"), [("", False), ("src/", True)])
def test_an_app_in_a_package_that_others_share(
    make_server: Callable[..., Server], tmp_path: Path, root: str, bare: bool
) -> None:
    server = make_server(app="acme.poser", repository=shared(tmp_path / "shared", root, bare=bare))
    run = brought(server)
    assert run.result["branches"][0]["branch"] == "poser"
    assert set(server.database.tables("poser%")) >= {"poser_product", "poser_widget"}
    server.repository.add_revision("add boxes", upgrade_sql="create table acme_poser_box ()")
    run = brought(server)
    assert server.database.tables("acme%") == ["acme_poser_box"]
    assert server.current() == server.database.heads()
