"""The fixtures themselves: what every other test takes for granted."""

from __future__ import annotations

from collections.abc import Callable

from support.postgres import Database
from support.server import Server

CORE_HEAD = "c2ef84c99c93"


def test_a_core_database_is_what_alembic_makes(database: Database) -> None:
    assert database.heads() == {CORE_HEAD}
    assert len(database.tables()) > 150
    assert database.sql("select current_user") == [("rattail",)]


def test_a_deployed_server_is_current_by_its_own_alembic(deployed: Server) -> None:
    assert deployed.current() == {CORE_HEAD, deployed.repository.head}
    assert deployed.database.tables("poser\\_%") == ["poser_product", "poser_widget", "poser_widget_version"]
    assert deployed.git("rev-parse", "HEAD") == deployed.repository.commit_id


def test_poser_s_model_and_revisions_agree(deployed: Server) -> None:
    found = deployed.alembic("check", check=False)
    assert "address_version" in found.stdout + found.stderr, "core's own differences should have been reported"
    assert "poser" not in found.stdout + found.stderr


def test_poser_s_revisions_can_be_undone(deployed: Server) -> None:
    deployed.alembic("downgrade", "poser@base")
    assert deployed.database.tables("poser%") == []
    deployed.alembic("upgrade", "heads")
    assert deployed.current() == {CORE_HEAD, deployed.repository.head}


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
