"""The story of a deployment: everything, nothing, one more revision, one that fails, and the ways to call the role."""

from __future__ import annotations

import getpass
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import environments
from support.places import ROLE
from support.postgres import Database
from support.repository import Repository
from support.runs import Run
from support.server import HOST, Server
from support.states import brought, check, left_by_a_run, settled, state

CORE_HEAD = "c2ef84c99c93"
POSER_HEAD = "b084beb32f02"
CRATE = "create table poser_crate (id integer primary key)"
PLAY = {"hosts": "rattail", "gather_facts": False}


def names(revisions: list[dict[str, Any]]) -> list[str]:
    return [each["revision"] for each in revisions]


def standing(server: Server) -> dict[str, Any]:
    """What a failed run must have left, or put back, as it was."""
    now = state(server)
    return {
        "database": (now["rows"], now["columns"]),
        "config": server.config.read_bytes(),
        "commit": server.git("rev-parse", "HEAD"),
        "branch": server.git("branch", "--show-current"),
        "changes": server.git("status", "--porcelain"),
        "files": {path: about for path, about in now.items() if "/src/" in path and "/.git" not in path},
    }


def test_everything_from_an_empty_database_and_then_nothing(make_server: Callable[..., Server]) -> None:
    server = make_server(content="empty")
    run = brought(server)
    assert run.result["todo"] == ["source", "install", "config", "upgrade"]
    assert (run.result["state"], run.result["fast_path"]) == ("current", True)
    applied = run.result["applied"]
    assert [each["branch"] for each in applied] == ["rattail"] * 273 + ["poser"] * 2
    assert all(each["seconds"] >= 0 for each in applied)

    assert server.current() == server.database.heads() == {CORE_HEAD, POSER_HEAD}
    by_hand = {line.split()[0] for line in server.alembic("heads").stdout.splitlines()}
    assert by_hand == {CORE_HEAD, POSER_HEAD}
    assert server.database.tables("poser\\_%") == ["poser_product", "poser_widget", "poser_widget_version"]
    assert (server.git("rev-parse", "HEAD"), server.git("branch", "--show-current")) == (
        server.repository.commit_id,
        "main",
    )
    assert server.versions.is_dir()

    nothing = check(server, diff=True)
    assert (nothing.recaps[HOST].changed, nothing.result["pending"]) == (0, [])
    assert server.alembic("upgrade", "heads").returncode == 0
    settled(server)


def test_a_revision_that_is_committed_is_announced_and_then_applied_alone(deployed: Server) -> None:
    before = deployed.git("rev-parse", "HEAD")
    new = deployed.repository.add_revision("add crates", upgrade_sql=CRATE)
    promised = check(deployed, diff=True)
    assert f"+poser {new} add crates" in promised.output
    assert (
        promised.result["source"] | {"before": before, "after": before, "wanted": deployed.repository.commit_id}
        == (promised.result["source"])
    )
    assert deployed.database.tables("poser\\_crate") == []

    run = brought(deployed)
    assert names(run.result["pending"]) == names(promised.result["pending"]) == [new]
    [applied] = run.result["applied"]
    assert applied["seconds"] > 0 and applied["message"] == "add crates"
    assert applied["path"] == str(next(deployed.versions.glob(f"{new}_*.py")))
    assert run.result["source"]["after"] == deployed.git("rev-parse", "HEAD") == deployed.repository.commit_id
    assert deployed.current() == deployed.database.heads() == {CORE_HEAD, new}
    assert deployed.database.tables("poser\\_crate") == ["poser_crate"]


def test_revisions_of_which_one_fails_leave_everything_as_it_was(deployed: Server) -> None:
    repository = deployed.repository
    crates = repository.add_revision("add crates", upgrade_sql=CRATE)
    assert names(brought(deployed).result["applied"]) == [crates]

    before = standing(deployed)
    wrong = "alter table poser_crate add column made date default 'yesterweek'"
    pending = [
        repository.add_revision("add boxes", upgrade_sql="create table poser_box (id integer primary key)"),
        repository.add_revision("date crates", upgrade_sql=wrong),
        repository.add_revision("add pallets", upgrade_sql="create table poser_pallet (id integer primary key)"),
    ]
    assert names(check(deployed).result["pending"]) == pending
    run = deployed.run_role()
    assert (run.rc, run.recaps[HOST].failed) == (2, 1), run.output
    file = f"{deployed.versions}/{pending[1]}_date_crates.py"
    for words in (f"Revision {pending[1]} ({file}) failed", 'date: "yesterweek"', wrong, "Nothing was applied"):
        assert words in run.message, run.message
    assert "Traceback" not in run.output
    failed = run.result["failed_revision"]
    assert (failed["revision"], failed["path"], failed["statement"]) == (pending[1], file, wrong)
    assert (run.result["state"], run.result["applied"], names(run.result["pending"])) == ("behind", [], pending)
    assert run.result["source"]["after"] == before["commit"] in run.message
    assert standing(deployed) == before
    assert deployed.current() == {CORE_HEAD, crates}

    name = str(Path(file).relative_to(deployed.source_dir))
    repository.commit({name: (repository.path / name).read_text().replace("yesterweek", "yesterday")})
    assert names(brought(deployed).result["applied"]) == pending
    assert deployed.current() == {CORE_HEAD, pending[2]}
    assert {"poser_box", "poser_pallet"} < set(deployed.database.tables())


def test_a_first_deployment_that_fails_converges_after_the_mend(server: Server) -> None:
    repository = server.repository
    repository.add_revision("add crates", upgrade_sql="create tabel poser_crate ()")
    database = state(server)["rows"], state(server)["columns"]
    run = server.run_role()
    assert run.rc == 2 and 'syntax error at or near "tabel"' in run.message, run.output
    assert (state(server)["rows"], state(server)["columns"]) == database
    [file] = repository.versions.glob("*_add_crates.py")
    mended = file.read_text().replace("tabel", "table")
    repository.commit({str(file.relative_to(repository.path)): mended})
    brought(server)
    assert server.current() == {CORE_HEAD, repository.head}


def test_the_user_s_tasks_run_around_an_upgrade_and_handlers_after_a_change(deployed: Server, tmp_path: Path) -> None:
    log = tmp_path / "log"
    for when in ("before", "after"):
        path = tmp_path / f"{when}.yml"
        path.write_text(
            f"- ansible.builtin.shell: echo {when} $(git -C {deployed.source_dir} rev-parse HEAD) >> {log}\n"
            "  changed_when: false\n"
        )
        deployed.vars[f"rattail_schema_ext_{when}_tasks"] = str(path)
    handler = {
        "ansible.builtin.shell": f"echo handler >> {log}",
        "listen": "rattail_schema_ext changed",
        "changed_when": False,
    }
    play = {**PLAY, "roles": ["rattail_schema_ext"], "handlers": [handler]}

    def told(**options: Any) -> tuple[Run, list[str]]:
        log.write_text("")
        run = deployed.run_role(playbook=[play], **options)
        return run, log.read_text().splitlines()

    old = deployed.git("rev-parse", "HEAD")
    assert told()[1] == []
    deployed.repository.add_revision("add crates", upgrade_sql=CRATE)
    run, lines = told(check=True)
    assert (run.rc, lines) == (0, []), run.output
    run, lines = told()
    new = deployed.repository.commit_id
    assert (run.rc, lines) == (0, [f"before {old}", f"after {new}", "handler"]), run.output
    assert told()[1] == []
    deployed.repository.commit({"README.md": "Nothing for the database.\n"})
    new = deployed.repository.commit_id
    run, lines = told()
    assert (run.rc, lines) == (0, ["handler"]), run.output
    deployed.repository.add_revision("fail", upgrade="raise ValueError('no')")
    run, lines = told()
    assert (run.rc, lines) == (2, [f"before {new}", f"after {new}"]), run.output

    (tmp_path / "before.yml").write_text("- ansible.builtin.fail: {msg: A register is in use.}\n")
    before = standing(deployed)
    run, lines = told()
    assert (run.rc, lines) == (2, [f"after {new}"]) and "A register is in use." in run.message, run.output
    assert standing(deployed) == before


def test_two_apps_on_one_host_keep_their_results_apart(make_server: Callable[..., Server]) -> None:
    poser = make_server("one", deployed=True)
    acme = make_server("two", content="core", app="acme_co")
    acme.deploy()
    roles = [{"role": "rattail_schema_ext", "vars": dict(each.vars)} for each in (poser, acme)]
    poser.vars = dict.fromkeys(poser.vars)  # only the play has them
    play = {**PLAY, "roles": roles}
    before = state(poser), state(acme)
    promised = poser.run_role(playbook=[play], check=True)
    assert promised.rc == 0 and (state(poser), state(acme)) == before
    run = poser.run_role(playbook=[play])
    assert run.rc == 0, run.output
    for each in (promised, run):
        assert set(each.results) == {"poser", "acme_co"} and each.result == each.results["acme_co"]
        assert [len(each.results[app]["pending"]) for app in ("poser", "acme_co")] == [0, 2]
    applied = names(run.results["acme_co"]["applied"])
    assert applied == names(promised.results["acme_co"]["pending"])
    assert acme.current() == {CORE_HEAD, applied[1]} and poser.current() == {CORE_HEAD, POSER_HEAD}
    assert acme.database.tables("acme%") == ["acme_co_product", "acme_co_widget", "acme_co_widget_version"]

    new = poser.repository.add_revision("add crates", upgrade_sql=CRATE)
    run = poser.run_role(playbook=[play])
    assert run.rc == 0, run.output
    assert {app: names(result["applied"]) for app, result in run.results.items()} == {"poser": [new], "acme_co": []}
    again = poser.run_role(playbook=[play])
    assert (again.rc, again.recap.changed, len(again.executions)) == (0, 0, 2), again.output


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A directory that every user of this machine may enter."""
    path = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="rattail_schema_ext_"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def give_away(server: Server, user: str) -> None:
    """Make ``user`` the owner of everything, in an environment whose Python that user can run."""
    owner = pwd.getpwnam(user)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    pythons = [
        os.path.realpath(sys.executable),
        *(f"{place}/python{version}" for place in ("/usr/local/bin", "/usr/bin")),
    ]
    for python in pythons:
        for link in server.python.parent.glob("python*"):
            link.unlink()
            link.symlink_to(python)
        call = [str(server.python), "-c", "import rattail"]
        try:
            done = subprocess.run(
                call, user=owner.pw_uid, group=owner.pw_gid, cwd="/", capture_output=True, check=False
            )
        except OSError:
            continue
        if done.returncode == 0:
            break
    else:
        pytest.skip(f"{user} can run no Python {version} here, or not read the tests' packages")
    subprocess.run(["chown", "-R", f"{owner.pw_uid}:{owner.pw_gid}", server.root], check=True)


@pytest.mark.parametrize("user", [getpass.getuser(), "nobody"])
def test_another_playbook_with_the_role_by_its_path(
    make_database: Callable[..., Database], elsewhere: Path, user: str
) -> None:
    """And with another place for environment and checkout, another user, another app with another prefix."""
    if user != getpass.getuser() and os.geteuid() != 0:
        pytest.skip("only root becomes another user without a password")
    vendored = shutil.copytree(ROLE, elsewhere / "site" / "vendor" / "schema")
    root = elsewhere / "opt"
    root.mkdir()
    origin = Repository.of_poser(root / "acme.git", "acme_co")
    server = Server.make(root, make_database("core"), repository=origin, app="acme_co")
    checkout = root / "src" / "checkout"
    server.vars |= {"rattail_schema_ext_user": user, "rattail_schema_ext_source_dir": str(checkout)}
    config = root / "etc" / "acme.conf"
    config.parent.mkdir()
    server.config.rename(config)
    config.chmod(0o600)
    server.vars["rattail_schema_ext_config_file"] = str(config)
    play = {**PLAY, "roles": [{"role": str(vendored)}]}
    if user != getpass.getuser():
        give_away(server, user)
        play |= {"become": True, "become_method": "ansible.builtin.su", "become_flags": "-s /bin/sh"}
    owner = pwd.getpwnam(user).pw_uid
    nowhere = {"ANSIBLE_ROLES_PATH": str(elsewhere / "none")}

    promised = check(server, playbook=[play], env=nowhere)
    run = server.run_role(playbook=[play], env=nowhere)
    assert (run.rc, run.recap.failed) == (0, 0), run.output
    assert names(run.result["applied"]) == names(promised.result["pending"]) == [*names(run.result["applied"])]
    assert len(run.result["applied"]) == 2
    assert server.database.tables("acme%") == ["acme_co_product", "acme_co_widget", "acme_co_widget_version"]
    assert server.database.heads() == {CORE_HEAD, origin.head}
    assert Repository(checkout, "acme_co").versions.is_dir()
    packages = environments.site_packages(server.env_dir)
    strangers = [
        path
        for top in (checkout, packages, config.parent)
        for path in (top, *top.rglob("*"))
        if path.lstat().st_uid != owner
    ]
    assert strangers == []
    assert config.stat().st_mode & 0o777 == 0o600
    again = server.run_role(playbook=[play], env=nowhere)
    assert (again.rc, again.recap.changed, len(again.executions)) == (0, 0, 1), again.output


def test_a_released_package_needs_no_source(make_server: Callable[..., Server], tmp_path: Path) -> None:
    origin = Repository.of_poser(tmp_path / "poser")
    server = make_server(repository=None)

    def release(version: str) -> None:
        origin.commit({"poser/_version.py": f"__version__ = {version!r}\n"})
        about = origin.path / "pyproject.toml"
        about.write_text(about.read_text().replace('version = "0.1.0"', f'version = "{version}"'))
        build = ["--no-deps", "--no-build-isolation", "--quiet"]
        server.pip("wheel", *build, "--wheel-dir", str(tmp_path / version), str(origin.path))
        [wheel] = (tmp_path / version).glob("*.whl")
        server.pip("install", "--no-deps", "--quiet", str(wheel))

    release("0.1.0")
    run = brought(server)
    assert (run.result["todo"], len(run.result["applied"])) == (["config", "upgrade"], 2)
    assert server.current() == {CORE_HEAD, POSER_HEAD}
    assert not server.source_dir.exists()
    new = origin.add_revision("add crates", upgrade_sql=CRATE)
    release("0.2.0")
    run = server.run_role()
    assert (run.rc, run.result["todo"], names(run.result["applied"])) == (0, ["upgrade"], [new]), run.output
    assert server.current() == {CORE_HEAD, new}


def test_the_source_is_used_as_it_lies(deployed: Server) -> None:
    """With work in it that is not committed, and without git."""
    deployed.vars["rattail_schema_ext_source_repo"] = ""
    lying = Repository(deployed.source_dir)
    crates = lying.add_revision("add crates", upgrade_sql=CRATE, commit=False)
    (deployed.source_dir / "README.md").write_text("Being worked on.\n")
    before = state(deployed)
    run = brought(deployed)
    assert (run.result["todo"], names(run.result["applied"])) == (["upgrade"], [crates])
    assert deployed.current() == {CORE_HEAD, crates}
    assert set(left_by_a_run(before, state(deployed))) == {"rows", "columns"}

    shutil.rmtree(deployed.source_dir / ".git")
    boxes = lying.add_revision("add boxes", upgrade_sql="create table poser_box ()", commit=False)
    run = deployed.run_role()
    assert (run.rc, names(run.result["applied"])) == (0, [boxes]), run.output
    assert deployed.current() == {CORE_HEAD, boxes}


def test_prefixes_are_what_the_user_says(deployed: Server) -> None:
    crate = deployed.repository.add_revision("crates", upgrade_sql="create table acme_crate (id integer)")
    run = deployed.run_role()
    assert run.rc == 2 and "acme_crate" in run.message and "rattail_schema_ext_prefixes" in run.message, run.output
    assert deployed.database.tables("acme%") == []
    again = brought(deployed, {"rattail_schema_ext_prefixes": ["poser", "acme_"]})
    assert names(again.result["applied"]) == [crate]
