"""The fixtures themselves: what every other test takes for granted."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support import debian, preloaded
from support.catalogs import catalogs
from support.dumps import dump
from support.lacking import ALLOW
from support.places import ROOT
from support.postgres import Database
from support.revisions import add_model
from support.runs import ansible
from support.server import Server

CORE_HEAD = "c2ef84c99c93"


def test_a_core_database_is_what_alembic_makes(database: Database) -> None:
    assert database.heads() == {CORE_HEAD}
    assert len(database.tables()) > 150
    assert database.sql("select current_user") == [("rattail",)]


def test_a_deployed_server_is_current_by_its_own_alembic(deployed: Server) -> None:
    assert deployed.current() == {CORE_HEAD, deployed.repository.head}
    program = [str(deployed.env_dir / "bin" / "alembic"), "-c", str(deployed.config), "current"]
    # heads come out of a set
    said = subprocess.run(program, capture_output=True, text=True, check=True).stdout
    assert sorted(said.splitlines()) == sorted(deployed.alembic("current").stdout.splitlines())
    assert deployed.database.tables("poser\\_%") == ["poser_product", "poser_widget", "poser_widget_version"]
    assert deployed.git("rev-parse", "HEAD") == deployed.repository.commit_id


def test_poser_s_model_and_revisions_agree(deployed: Server) -> None:
    found = deployed.alembic("check", check=False)
    assert "address_version" in found.stdout + found.stderr, "core's own differences should have been reported"
    assert "poser" not in found.stdout + found.stderr


def test_the_catalogs_tell_what_no_dump_does(database: Database) -> None:
    database.sql("create index on product (size)")
    dumped, before = dump(database), catalogs(database)
    # what a server does by itself
    database.sql("analyze; select from product limit 1")
    database.sql("vacuum product", user="postgres")
    assert catalogs(database) == before
    assert len(before) > 50
    comment = "comment on table product is 'x'; comment on table product is null"
    for sql in ("drop index product_size_idx; create index on product (size)", comment, "create role t_nobody"):
        database.sql(f"begin; {sql}; rollback", user="postgres")
        assert catalogs(database) == before, sql
    database.sql("drop index product_size_idx; create index on product (size)")
    assert dump(database) == dumped
    names = {line.split()[1] for line in {*before} - {*catalogs(database)}}
    assert {"pg_class", "pg_index", "pg_attribute", "pg_depend"} <= names
    before = catalogs(database)
    database.sql("alter table product alter size set not null; alter table product alter size drop not null")
    assert dump(database) == dumped
    assert {line.split()[1] for line in {*before} - {*catalogs(database)}} >= {"pg_attribute"}


def test_poser_s_revisions_can_be_undone(deployed: Server) -> None:
    deployed.alembic("downgrade", "poser@base")
    assert deployed.database.tables("poser%") == []
    deployed.alembic("upgrade", "heads")
    assert deployed.current() == {CORE_HEAD, deployed.repository.head}
    program = [str(deployed.env_dir / "bin" / "alembic"), "-c", str(deployed.config), "current"]
    # heads come out of a set
    said = subprocess.run(program, capture_output=True, text=True, check=True).stdout
    assert sorted(said.splitlines()) == sorted(deployed.alembic("current").stdout.splitlines())


def test_a_further_revision_is_applied_by_alembic(deployed: Server) -> None:
    new = deployed.repository.add_revision("add colour", upgrade_sql="alter table poser_widget add colour text")
    deployed.git("pull", "--quiet")
    deployed.alembic("upgrade", "heads")
    assert new in deployed.current()


def test_an_app_by_another_name(make_server: Callable[..., Server]) -> None:
    server = make_server(app="acme_co", content="core")
    server.deploy()
    server.alembic("upgrade", "heads")
    assert server.database.tables("acme%") == ["acme_co_product", "acme_co_widget", "acme_co_widget_version"]


def test_modules_run_in_the_server_s_environment(server: Server) -> None:
    result = server.module("ansible.builtin.setup", {"gather_subset": "!all"})
    assert result["ansible_facts"]["ansible_python"]["executable"] == str(server.python)


def test_a_run_is_recorded(server: Server) -> None:
    play = {
        "hosts": "rattail",
        "gather_facts": False,
        "tasks": [
            {"ansible.builtin.command": "true", "register": "told"},
            {"ansible.builtin.command": "true", "when": False},
            {"ansible.builtin.set_fact": {"rattail_schema_ext_result": {"state": "current"}}},
            {"ansible.builtin.fail": {"msg": "No more."}},
        ],
    }
    run = server.run_role(playbook=[play])
    assert (run.rc, run.recap.changed, run.recap.skipped, run.recap.failed) == (2, 1, 1, 1), run.output
    assert run.result == {"state": "current"}
    assert run.message == "No more."
    assert [task.action for task in run.executions] == ["ansible.builtin.command"]


def test_sideshow_comes_up_on_wutta(make_server: Callable[..., Server]) -> None:
    server = make_server(app="sideshow", core="wutta", repository=None, content="empty")
    server.write_config(alembic=server.alembic_section())
    server.alembic("upgrade", "heads")
    assert "sideshow_order" in server.database.tables()


METADATA = """
import json, sys
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

config = Config(sys.argv[1])
script = ScriptDirectory.from_config(config)
found = [sys.executable, sys.prefix, sys.argv, sys.path]

def look(rows, context):
    for name, table in sorted(context.opts["target_metadata"].tables.items()):
        each = [CreateTable(table), *(CreateIndex(index) for index in sorted(table.indexes, key=lambda i: i.name))]
        found.extend(str(one.compile(dialect=postgresql.dialect())) for one in each)
    return []

with EnvironmentContext(config, script, fn=look, dont_mutate=True):
    script.run_env()
print(json.dumps(found))
"""


MORE = """
class PoserMore(model.Base):
    __tablename__ = 'poser_more'
    __versioned__ = {}
    uuid = model.uuid_column()
    product_uuid = sa.Column(sa.ForeignKey('product.uuid'))
"""


def test_a_preloaded_process_comes_to_the_models_that_one_of_the_environment_comes_to(deployed: Server) -> None:
    add_model(deployed, MORE)
    config = str(deployed.config)
    run = [str(deployed.python), "-c", METADATA, config]
    wanted = json.loads(subprocess.run(run, capture_output=True, text=True, check=True).stdout)
    found = json.loads(preloaded.run(deployed.env_dir, METADATA, [config], scratch=deployed.root).stdout)
    assert len([each for each in wanted if "CREATE TABLE poser" in str(each)]) == 5
    assert found == wanted


@pytest.mark.parametrize("program", ["ansible-playbook", "ansible"])
def test_a_preloaded_ansible_does_what_a_program_of_its_own_does(program: str, tmp_path: Path) -> None:
    asked = "{{ [ansible_config_file, lookup('config', 'ANSIBLE_HOME'), lookup('env', 'RECORDER_FILE')] }}"
    tasks = [{"ping": {"data": asked}}, {"fail": {"msg": "no"}}]
    play = tmp_path / "play.json"
    play.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    call = [str(play)] if program == "ansible-playbook" else ["all", "-m", "ping", "-a", json.dumps({"data": asked})]
    options = ["-vi", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}"]
    for name in ("first", "second"):
        scratch = tmp_path / name
        found, wanted = (
            ansible(program, [*options, *call], cwd=ROOT, scratch=scratch, env=env)
            for env in (None, {"OF_ITS_OWN": "1"})
        )
        assert found == wanted and found.tasks[0].status == "ok"
        assert f"{scratch}/ansible.cfg" in found.output and f"{scratch}/ansible" in found.output
        assert (scratch / "ansible").is_dir()


@pytest.mark.parametrize("apt", ["missing", "without sources"])
def test_what_debian_does_not_give_is_a_failure_unless_it_is_allowed(
    apt: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(debian, "DIRECTORY", tmp_path)
    monkeypatch.setattr(debian, "_OWN", ["-o", f"Dir::State::Lists={tmp_path}/lists", "-o", f"Dir::Cache={tmp_path}"])
    if apt == "missing" or not shutil.which("apt-get"):
        monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "apt.conf").write_text('Dir::Etc::SourceList "/dev/null";\nDir::Etc::SourceParts "/dev/null";\n')
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    monkeypatch.delenv(ALLOW, raising=False)
    with pytest.raises(pytest.fail.Exception) as failure:
        debian.programs("pgbouncer", "pgbadger")
    assert "This test needs Debian's package pgbouncer and pgbadger, and " in str(failure.value)
    assert f"make test {ALLOW}=1" in str(failure.value)
    assert debian.available(r"postgresql-client-0\d+") == []

    monkeypatch.setenv(ALLOW, "1")
    with pytest.raises(pytest.skip.Exception, match="pgbouncer"):
        debian.programs("pgbouncer", "pgbadger")


def test_what_is_allowed_on_make_s_command_line_reaches_the_tests() -> None:
    rule = f"--eval=told: ; @echo told ${ALLOW}".replace("$", "$$")
    command = ["make", "--no-print-directory", rule, "told", f"{ALLOW}=1"]
    # these tests are themselves run by make, whose options this one is not to have
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.stdout == "told 1\n", done.stdout + done.stderr
    assert f"{ALLOW}=1" in (ROOT / "README.md").read_text()
