"""What revisions may do, what they may do wrong, and what is said of it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import environments
from support.repository import Repository
from support.server import HOST, Server
from support.states import brought, check, left_by_a_run, refused, settled, state
from support.upgrades import upgrade

CORE_HEAD = "c2ef84c99c93"
POSER_HEAD = "b084beb32f02"
CRATE = "create table poser_crate (id integer primary key)"


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Poser's repository, for a server that is made when it is complete."""
    return Repository.of_poser(tmp_path / "poser.git")


def upgrade_by_the_module(server: Server) -> dict[str, Any]:
    """The result of the upgrade alone, with the variables that the role would give it."""
    known = {"app", "user", "env_dir", "source_repo", "source_version", "backup"}
    names = {name: f"rattail_schema_ext_{name}" for name in known}
    arguments = {name: server.vars[variable] for name, variable in names.items()}
    paths = {"config_file": str(server.config), "source_dir": str(server.source_dir)}
    return server.module("rattail_alembic", {"command": "upgrade", **arguments, **paths})


def names(revisions: list[dict[str, Any]]) -> list[str]:
    return [each["revision"] for each in revisions]


# What apps do to the process that they are run in, and yet their revisions are applied: in the app's
# package, and at the end of a revision.
HARMLESS = {
    "talks": (
        "import logging; logging.warning('beware'); logging.getLogger('alembic').error('beware')\n"
        """print('{"changed": false, "failed": true, "msg": "no"}\\n{"event": "end"}')\nprint('crate ' * 1_000_000)""",
    )
    * 2,
    "closes stdout": ("import sys; sys.stdout.close(); sys.stderr.close()", ""),
    "replaces stdout": ("import sys; sys.stdout = sys.stderr = None", "import sys; sys.stdout = object()"),
    "closes descriptors": ("import os; os.close(0); os.close(1); os.close(2)", ""),
    "settles in": (
        "import logging.config; logging.config.dictConfig({'version': 1, 'disable_existing_loggers': True, 'handlers':"
        " {'out': {'class': 'logging.StreamHandler', 'stream': 'ext://sys.stdout'}}, 'root': {'handlers': ['out']}})\n"
        "import threading, time; threading.Thread(target=time.sleep, args=[60]).start()",
        "import logging, os; logging.error('beware'); os.chdir('/')",
    ),
    "exits at its end": ("import atexit, os; atexit.register(os._exit, 3)", ""),
}


@pytest.mark.parametrize("deed", HARMLESS)
def test_what_an_app_does_to_its_process_does_not_hide_what_was_applied(
    make_server: Callable[..., Server], repository: Repository, deed: str
) -> None:
    in_package, in_revision = HARMLESS[deed]
    repository.commit({"poser/__init__.py": f"{in_package}\n"})
    new = repository.add_revision("add crates", upgrade=f"op.execute('{CRATE}')\n{in_revision}")
    server = make_server(content="poser", repository=repository)
    server.deploy()
    result = upgrade(server)
    assert result["failure"] == "", result
    assert (result["changed"], result["state"], names(result["applied"])) == (True, "current", [new]), result
    assert result["applied"][0]["seconds"] >= 0
    assert server.database.heads() == {CORE_HEAD, new}
    assert server.database.tables("poser\\_crate") == ["poser_crate"]


LEAVE_A_PROCESS = """\
import os, time
if not os.fork():
    os.symlink(str(os.getpid()), {file!r})
    time.sleep(60)
    os._exit(0)
"""
GO_TO_THE_BACKGROUND = """\
import os, time
if os.fork():
    while not os.path.lexists({file!r}):
        time.sleep(0.01)
    os._exit(0)
os.setsid()
os.symlink(str(os.getpid()), {file!r})
"""


@pytest.fixture
def left_behind(tmp_path: Path) -> Iterator[Path]:
    """A link that takes the id of a process, which is ended with the test."""
    link = tmp_path / "pid"
    yield link
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        os.kill(int(os.readlink(link)), signal.SIGKILL)


@pytest.mark.parametrize(
    ("in_package", "in_revision", "succeeds"),
    [
        (LEAVE_A_PROCESS, "", True),
        (LEAVE_A_PROCESS, "import os; os._exit(0)", False),
        (GO_TO_THE_BACKGROUND, "", False),
    ],
    ids=["and ends well", "and ends badly", "and has it migrate"],
)
def test_a_process_that_the_app_leaves_behind_is_not_waited_for(
    make_server: Callable[..., Server],
    repository: Repository,
    left_behind: Path,
    in_package: str,
    in_revision: str,
    succeeds: bool,
) -> None:
    """It goes on after a success; where the app came to no end it does not, lest it migrate behind our back."""
    repository.commit({"poser/__init__.py": in_package.format(file=str(left_behind))})
    new = repository.add_revision("add crates", upgrade=f"op.execute('{CRATE}')\n{in_revision}")
    server = make_server(content="poser", repository=repository)
    server.deploy()
    started = time.monotonic()
    result = upgrade_by_the_module(server)
    assert time.monotonic() - started < 45
    applied = [new] if succeeds else []
    assert (names(result["applied"]), result["msg"] == "") == (applied, succeeds), result
    assert Path("/proc", os.readlink(left_behind)).exists() == succeeds
    assert server.database.heads() == {CORE_HEAD, *(applied or [POSER_HEAD])}


# The same where nothing can come of it: what is in the package, what is in the revision after its statement,
# and what is said.
FATAL = {
    "leaves at import": ("import sys; sys.exit(0)", "", ["SystemExit"]),
    "is interrupted at import": ("raise KeyboardInterrupt", "", ["KeyboardInterrupt"]),
    "leaves in a revision": ("", "import sys; sys.exit(0)", ["Revision {new}", "SystemExit"]),
    "is interrupted in a revision": ("", "raise KeyboardInterrupt", ["Revision {new}", "KeyboardInterrupt"]),
    "ends in a revision": ("", "import os; os._exit(0)", ["Revision {new}", "left with exit code 0"]),
    "is killed in a revision": ("", "import os; os.kill(os.getpid(), 9)", ["Revision {new}", "killed by SIGKILL"]),
    "closes everything": ("import os; os.closerange(0, 256)", "", ["left with exit code"]),
}


@pytest.mark.parametrize("deed", FATAL)
def test_what_an_app_does_to_its_process_does_not_look_like_success(
    make_server: Callable[..., Server], repository: Repository, deed: str
) -> None:
    in_package, in_revision, words = FATAL[deed]
    repository.commit({"poser/__init__.py": f"{in_package}\n"})
    new = repository.add_revision("add crates", upgrade=f"op.execute('{CRATE}')\n{in_revision}")
    server = make_server(content="poser", repository=repository)
    server.deploy()
    before = state(server)
    result = upgrade(server)
    assert not result["changed"], result
    assert (names(result["pending"]), result["applied"], result["state"]) == ([new], [], "behind"), result
    for word in words:
        assert word.format(new=new) in result["failure"], result["failure"]
    assert left_by_a_run(before, state(server)) == []


def test_a_run_of_the_role_with_such_apps(deployed: Server) -> None:
    """The worst of both tables, with everything around it."""
    noisy = HARMLESS["talks"][0], HARMLESS["exits at its end"][0], HARMLESS["closes stdout"][0], "os.chdir('/')"
    deployed.repository.commit({"poser/__init__.py": "\n".join(noisy)})
    new = deployed.repository.add_revision("add crates", upgrade_sql=CRATE)
    run = brought(deployed)
    assert names(run.result["applied"]) == [new]
    assert deployed.database.heads() == {CORE_HEAD, new}

    good = deployed.git("rev-parse", "HEAD")
    ends = "op.execute('create table poser_box ()'); import os; os._exit(0)"
    fatal = deployed.repository.add_revision("add boxes", upgrade=ends)
    assert names(check(deployed).result["pending"]) == [fatal]
    run = deployed.run_role()
    assert (run.rc, run.result["applied"], run.result["state"]) == (2, [], "behind"), run.output
    assert f"Revision {fatal}" in run.message and "left with exit code 0" in run.message
    assert deployed.database.heads() == {CORE_HEAD, new}
    assert deployed.database.tables("poser\\_box") == []
    assert (deployed.git("rev-parse", "HEAD"), deployed.git("branch", "--show-current")) == (good, "main")


def test_an_error_that_is_not_of_the_database_names_the_revision_and_rolls_back(
    make_server: Callable[..., Server], repository: Repository
) -> None:
    repository.add_revision("add crates", upgrade_sql=CRATE)
    failing = repository.add_revision("count crates", upgrade="raise ValueError('no crates\\nat all')")
    server = make_server(content="poser", repository=repository)
    server.deploy()
    before = state(server)
    result = upgrade(server)
    file = next(server.versions.glob(f"{failing}*"))
    assert f"Revision {failing} ({file}) failed: ValueError: no crates." in result["failure"]
    assert result["applied"] == [] and result["failed_revision"]["revision"] == failing
    assert left_by_a_run(before, state(server)) == []


ALLOWED = """
create table poser_recipe (
    uuid varchar(32) primary key,
    number serial,
    product_uuid varchar(32) not null constraint of_a_product references product (uuid),
    employee_uuid varchar(32) references employee (uuid) on delete cascade,
    constraint at_least_one check (number > 0)
);
create table poser_recipe_version (uuid varchar(32), transaction_id bigint, primary key (uuid, transaction_id));
create table batch_poser_recipe (uuid varchar(32) primary key, id integer unique);
create table batch_poser_recipe_row (
    uuid varchar(32) primary key,
    batch_uuid varchar(32) references batch_poser_recipe (uuid)
);
create index recipes_by_product on poser_recipe (product_uuid);
create unique index ix_employee_recipes on poser_recipe (employee_uuid, number);
alter table poser_widget add constraint sound_code check (code <> '');
"""


def test_what_an_extension_may_do_is_applied(deployed: Server) -> None:
    new = deployed.repository.add_revision("add recipes", upgrade_sql=ALLOWED)
    brought(deployed)
    assert deployed.current() == {CORE_HEAD, new}
    assert deployed.database.tables("%recipe%") == [
        "batch_poser_recipe", "batch_poser_recipe_row", "poser_recipe", "poser_recipe_version",
    ]  # fmt: skip
    references = "select confrelid::regclass::text from pg_constraint where conrelid = 'poser_recipe'::regclass"
    assert deployed.sql(f"{references} and contype = 'f' order by 1") == [("employee",), ("product",)]


def test_core_comes_first_whatever_the_order_in_the_config_file(make_server: Callable[..., Server]) -> None:
    """Poser's tables refer to core's without saying so in ``depends_on``: only the order can tell."""
    server = make_server(content="empty")
    server.deploy()
    first, last = "rattail.db:alembic/versions", "poser.db:alembic/versions"
    server.write_config(alembic=server.alembic_section().replace(f"{last} {first}", f"{first} {last}"))
    assert server.alembic("upgrade", "heads", check=False).returncode != 0, "the order should have mattered"
    promised = check(server)
    run = server.run_role()
    assert run.rc == 0 and names(run.result["applied"]) == names(promised.result["pending"]), run.output
    applied = [(each["branch"], each["revision"]) for each in run.result["applied"]]
    assert [branch for branch, _ in applied] == ["rattail"] * 273 + ["poser"] * 2
    assert applied[-1] == ("poser", POSER_HEAD)
    assert server.current() == {CORE_HEAD, POSER_HEAD}
    assert server.sql(
        "select conrelid::regclass::text from pg_constraint where conname = 'poser_product_fk_product'"
    ) == [("poser_product",)]


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ({"depends_on": CORE_HEAD}, {"new"}),
        ({"depends_on": POSER_HEAD, "down_revision": None, "branch_labels": ("crates",)}, {"new", CORE_HEAD}),
    ],
    ids=["on core", "on the app's other branch"],
)
def test_a_branch_that_another_depends_on_is_up_to_date_without_a_row_of_its_own(
    deployed: Server, options: dict[str, Any], rows: set[str]
) -> None:
    new = deployed.repository.add_revision("add crates", upgrade_sql=CRATE, **options)
    brought(deployed)
    assert deployed.database.heads() == {new if row == "new" else row for row in rows}
    assert deployed.alembic("upgrade", "heads").returncode == 0
    settled(deployed)


def test_two_heads_of_the_app_are_both_applied_with_a_warning(deployed: Server) -> None:
    repository = deployed.repository
    crates = repository.add_revision("add crates", upgrade_sql=CRATE, down_revision=POSER_HEAD)
    boxes = repository.add_revision("add boxes", upgrade_sql="create table poser_box ()", down_revision=POSER_HEAD)
    run = brought(deployed)
    assert deployed.database.heads() == {CORE_HEAD, crates, boxes}
    assert deployed.current() == {CORE_HEAD, crates, boxes}
    warning = next(each for each in run.result["warnings"] if "2 heads" in each)
    for revision in (crates, boxes):
        assert str(next(deployed.versions.glob(f"{revision}*"))) in warning
    assert "alembic merge" in run.output


def test_a_populated_database_without_version_rows_is_not_built_again(deployed: Server) -> None:
    for loss in ("delete from alembic_version", "drop table alembic_version"):
        deployed.sql(loss)
        status = deployed.run_role(playbook="status")
        assert (status.rc, status.result["state"], status.result["todo"]) == (0, "unstamped", []), status.output
    refused(deployed, deployed.database.name, "version rows", "playbooks/baseline.yml")


def test_a_database_ahead_of_the_code_is_left_as_it_is(deployed: Server) -> None:
    """Newer code was deployed here, and then taken back."""
    old = deployed.repository.commit_id
    new = deployed.repository.add_revision("add crates", upgrade_sql=CRATE)
    assert deployed.run_role().rc == 0
    deployed.vars["rattail_schema_ext_source_version"] = old
    check(deployed)
    database = [state(deployed)[part] for part in ("rows", "columns")]
    for todo in (["source"], []):
        run = deployed.run_role()
        assert (run.rc, run.result["todo"], run.recaps[HOST].changed) == (0, todo, len(todo)), run.output
        assert (run.result["state"], run.result["pending"], run.result["applied"]) == ("ahead", [], [])
        assert any(new in warning for warning in run.result["warnings"]), run.result["warnings"]
        assert f"has revision {new}, which the code does not know" in " ".join(run.output.split())
        assert deployed.git("rev-parse", "HEAD") == old
    assert [state(deployed)[part] for part in ("rows", "columns")] == database


def test_a_database_with_a_stranger_and_something_pending_is_refused(deployed: Server) -> None:
    deployed.sql("insert into alembic_version values ('feedfacecafe')")
    deployed.repository.add_revision("add crates", upgrade_sql=CRATE)
    refused(deployed, "feedfacecafe", deployed.database.name, "rattail_schema_ext_source_version")


def test_a_revision_that_is_no_plain_text_is_read_by_alembic(deployed: Server) -> None:
    """Both before it is checked out and afterwards."""
    repository = deployed.repository
    new = repository.add_revision("add crates", upgrade_sql=CRATE, commit=False)
    file = next(repository.versions.glob(f"{new}*"))
    computed = file.read_text().replace(f"revision = {new!r}", f"revision = {new[:6]!r} + {new[6:]!r}", 1)
    repository.commit({str(file.relative_to(repository.path)): computed})
    run = brought(deployed)
    assert not run.result["fast_path"]
    for revisions in (run.result["pending"], run.result["applied"]):
        [found] = revisions
        assert (found["revision"], found["path"]) == (new, str(deployed.versions / file.name))
    assert deployed.current() == {CORE_HEAD, new}
    assert not settled(deployed).result["fast_path"]


def test_an_app_s_own_env_py_says_where_the_version_table_is(
    make_server: Callable[..., Server], repository: Repository
) -> None:
    packaged = environments.site_packages(environments.base("rattail")) / "rattail" / "db" / "alembic"
    table = "version_table='poser_version_rows', version_table_schema='poser_versions'"
    env = (packaged / "env.py").read_text().replace("target_metadata=target_metadata)", f"{table})")
    repository.commit({
        "poser/__init__.py": "print('{\"event\": \"rows\", \"rows\": []}')\n",
        "poser/db/alembic/env.py": env,
        "poser/db/alembic/script.py.mako": (packaged / "script.py.mako").read_text(),
    })  # fmt: skip
    server = make_server(content="core", repository=repository)
    server.sql("alter table alembic_version rename to poser_version_rows")
    server.sql("create schema poser_versions")
    server.sql("alter table poser_version_rows set schema poser_versions")
    server.deploy()
    section = server.alembic_section()
    server.write_config(alembic=section.replace("= rattail.db:alembic\n", "= poser.db:alembic\n"))
    run = brought(server)
    assert not run.result["fast_path"]
    assert len(run.result["applied"]) == 2
    rows = server.sql("select version_num from poser_versions.poser_version_rows")
    assert set(rows) == {(CORE_HEAD,), (POSER_HEAD,)}
    assert server.database.tables("alembic%") == []
    assert server.current() >= {CORE_HEAD, POSER_HEAD}  # what the app prints is there as well


def test_an_env_py_that_ends_the_process_is_no_answer(
    make_server: Callable[..., Server], repository: Repository
) -> None:
    env = "import sys\nsys.exit(0)\n"
    repository.commit({"poser/db/alembic/env.py": env, "poser/db/alembic/script.py.mako": ""})
    server = make_server(content="poser", repository=repository)
    server.deploy()
    server.vars["rattail_schema_ext_script_location"] = "poser.db:alembic"
    refused(server, "env.py", "SystemExit", "bin/alembic")
