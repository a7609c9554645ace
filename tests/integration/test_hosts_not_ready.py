"""What the role says to its variables, to its inventory, and on hosts that are not ready for it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.places import ROOT
from support.runs import ansible
from support.server import HOST, Server
from support.states import check, difference, refused, state

POSER_HEAD = "b084beb32f02"
CRATE = "create table poser_crate (id integer primary key)"
STRANGER = "nosuchuser"
# with su, because it needs nothing from root; sudo need not be there
BECOME = {"ansible_become": True, "ansible_become_method": "ansible.builtin.su"}
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user without a password")


@pytest.mark.parametrize(
    ("vars", "cause", "remedy"),
    [
        ({"rattail_schema_ext_user": STRANGER}, f"no user '{STRANGER}'", "rattail_schema_ext_user: "),
        pytest.param(
            {"rattail_schema_ext_user": STRANGER, **BECOME},
            f"no user '{STRANGER}'", "rattail_schema_ext_user: ", marks=as_root,
        ),
        ({"rattail_schema_ext_env_dir": "{root}/nothing"}, "no Python environment at {root}/nothing", "-m venv"),
        (
            {"rattail_schema_ext_user": STRANGER, "rattail_schema_ext_env_dir": "{root}/nothing"},
            f"no user '{STRANGER}'", "rattail_schema_ext_user: ",
        ),
        ({"rattail_schema_ext_config_file": "app/none.conf"}, "no config file {env_dir}/app/none.conf", "default.url"),
    ],
    ids=["user", "user to become", "environment", "everything", "config file"],
)  # fmt: skip
def test_what_does_not_exist_yet_is_unknown_in_check_mode_and_refused_for_real(
    server: Server, vars: Mapping[str, Any], cause: str, remedy: str
) -> None:
    places = {"root": server.root, "env_dir": server.env_dir}
    vars = {name: value.format(**places) if isinstance(value, str) else value for name, value in vars.items()}
    cause = cause.format(**places)
    run = check(server, vars, diff=True)
    assert (run.recaps[HOST].failed, run.recaps[HOST].changed) == (0, 0), run.output
    assert run.result["state"] == "unknown" and cause in run.result["state_reason"], run.result
    assert (run.result["pending"], run.result["todo"]) == ([], [])
    assert cause in " ".join(run.output.split()), run.output

    before = state(server)
    run = server.run_role(vars)
    assert (run.rc, run.recaps[HOST].failed) == (2, 1), run.output
    assert cause in run.message and remedy in run.message and "Traceback" not in run.output, run.output
    assert difference(before, state(server)) == []


def test_a_play_that_becomes_nobody_is_told_the_line_to_add(deployed: Server) -> None:
    other, me = ("nobody", "root") if os.geteuid() == 0 else ("root", deployed.vars["rattail_schema_ext_user"])
    deployed.vars["rattail_schema_ext_user"] = other
    refused(deployed, f"as '{me}'", f"as '{other}'", "Add `become: true` to the play", f"rattail_schema_ext_user: {me}")


@as_root
def test_an_environment_that_its_owner_cannot_enter_is_told_apart(deployed: Server) -> None:
    """The directory of the tests is closed to everybody but us."""
    vars = {"rattail_schema_ext_user": "nobody", **BECOME, "ansible_become_flags": "-s /bin/sh"}
    refused(deployed, f"{deployed.python} cannot be run as 'nobody'", "a directory above it", vars=vars)


@pytest.mark.parametrize("python", ["/usr/bin/python3", "/nowhere/python", "auto"])
def test_a_python_that_overrules_the_environment_s_is_named(deployed: Server, python: str) -> None:
    """What is given with -e is above the variables of a task."""
    for checking in (True, False):
        run = deployed.run_role(check=checking, args=["-e", f"ansible_python_interpreter={python}"])
        assert (run.rc, run.executions) == (2, []), run.output
        assert f"and {python} is not the app's Python" in run.message and "Set it in the inventory" in run.message
    # there the role's own comes first
    assert deployed.run_role({"ansible_python_interpreter": "python3"}, check=True).rc == 0


def test_an_environment_whose_python_runs_no_module_says_why(deployed: Server) -> None:
    deployed.python.unlink()
    deployed.python.write_text(
        "#!/bin/sh\n[ \"$1\" = -c ] || { echo 'no room is left'; echo 'and no hope' >&2; exit 7; }\n"
    )
    deployed.python.chmod(0o755)
    run = deployed.run_role()
    assert f"{deployed.python} works, but the look at the host as" in run.message, run.output
    assert "It said: " in run.message and " and no hope. Run again with -vvv" in run.message, run.message


@pytest.mark.parametrize(
    ("vars", "words"),
    [
        (
            {"rattail_schema_ext_sorce_repo": "x"},
            ["no variable rattail_schema_ext_sorce_repo", "Did you mean rattail_schema_ext_source_repo?"],
        ),
        ({"rattail_schema_ext_config_enabeld": False}, ["Did you mean rattail_schema_ext_config_enabled?"]),
        ({"rattail_schema_ext_source_enabled": "perhaps"}, ["rattail_schema_ext_source_enabled", "true or false"]),
        ({"rattail_schema_ext_integrations": {"a": 1}}, ["rattail_schema_ext_integrations", "not a list"]),
        ({"rattail_schema_ext_core": "ruby"}, ["rattail_schema_ext_core", "rattail, wutta", "ruby"]),
        (
            {"rattail_schema_ext_app": None, "rattail_schema_ext_ap": "poser"},
            ["Did you mean rattail_schema_ext_app?", "rattail_schema_ext_app is not set."],
        ),
        ({"rattail_schema_ext_source_repo": "https://me:opensesame@git.example.com/x"}, ["credentials", "ssh"]),
    ],
    ids=["misspelt", "misspelt default", "no bool", "no list", "no choice", "no app", "credentials"],
)
def test_variables_that_are_wrong_are_refused_before_the_host_is_asked(
    server: Server, vars: Mapping[str, Any], words: list[str]
) -> None:
    run = server.run_role(vars)
    assert (run.rc, run.recaps[HOST].failed, run.executions) == (2, 1, []), run.output
    for word in words:
        assert word in run.message, run.message
    assert "opensesame" not in run.output and "Traceback" not in run.output


def test_status_refuses_wrong_variables_as_well(server: Server) -> None:
    run = server.run_role({"rattail_schema_ext_sorce_repo": "x"}, playbook="status", check=True)
    assert (run.rc, run.executions) == (2, []), run.output
    assert "Did you mean rattail_schema_ext_source_repo?" in run.message


@pytest.mark.parametrize("alembic", ["", "[alembic]\nsqlalchemy.url = postgresql://rattail:opensesame@/x\n"])
def test_a_diff_shows_the_section_alone(deployed: Server, alembic: str) -> None:
    url = deployed.database.url.replace("//rattail@", "//rattail:opensesame@")
    deployed.write_config(url=url, alembic=alembic)
    before = deployed.config.read_text()
    assert before.count("opensesame") == 1 + bool(alembic)
    for run in (check(deployed, diff=True), deployed.run_role(diff=True)):
        assert run.rc == 0, run.output
        assert "+version_locations = poser.db:alembic/versions rattail.db:alembic/versions" in run.output
        shown = run.output + json.dumps([task.result for task in run.tasks])
        for word in ("opensesame", "default.url", "[rattail.db]", "smtp.server"):
            assert word not in shown, run.output
    assert deployed.config.read_text().startswith(before)
    assert deployed.current() >= {POSER_HEAD}


@pytest.mark.parametrize(
    ("playbook", "inventory"),
    [("site.yml", {"rattail": {"hosts": {}}}), ("playbooks/status.yml", {"web": {"hosts": {HOST: {}}}})],
)
def test_an_inventory_without_a_rattail_server_is_an_error(
    tmp_path: Path, playbook: str, inventory: Mapping[str, Any]
) -> None:
    hosts = tmp_path / "hosts.json"
    hosts.write_text(json.dumps(inventory))
    run = ansible("ansible-playbook", ["-i", str(hosts), str(ROOT / playbook)], cwd=ROOT, scratch=tmp_path / "scratch")
    assert run.rc == 2, run.output
    assert run.message == (
        "The inventory has no host in the group rattail. Add one, or name another inventory with -i."
    )


def status(server: Server) -> list[str]:
    """What ``playbooks/status.yml`` shows a person; it touches nothing."""
    before = state(server)
    run = server.run_role(playbook="status")
    assert (run.rc, run.recaps[HOST].changed) == (0, 0), run.output
    assert [task.action for task in run.executions] == ["rattail_alembic_info"]
    assert difference(before, state(server)) == []
    lines: list[str] = run.tasks[-1].result["msg"]
    shown = " ".join(run.output.replace("''", "'").split())
    for line in lines:
        assert line.strip() in shown
    return lines


def test_status_says_in_a_few_lines_where_code_and_database_are(deployed: Server) -> None:
    name = deployed.database.name
    branches = [f"  poser: {POSER_HEAD} (up to date)", "  rattail: c2ef84c99c93 (up to date)"]
    assert status(deployed) == [f"poser on {name}: current", *branches]

    new = deployed.repository.add_revision("add crates", upgrade_sql=CRATE)
    branches[0] = f"  poser: {POSER_HEAD} (1 pending)"
    todo = [f"  pending: poser {new} add crates", "  to do: source, upgrade"]
    assert status(deployed) == [f"poser on {name}: behind", *branches, *todo]

    shutil.move(deployed.config, deployed.config.with_suffix(".old"))
    lines = status(deployed)
    assert lines[0] == f"poser on {deployed.config}: unknown"
    assert lines[-1].startswith(f"  problem: There is no config file {deployed.config}")


def test_status_of_an_empty_database_is_short(make_server: Callable[..., Server]) -> None:
    lines = status(make_server(content="empty"))
    assert lines[0].endswith(": empty") and len(lines) < 20
    assert "  rattail: nothing applied (273 pending)" in lines
    assert "  and 265 more pending" in lines


def test_the_role_finds_its_way_about_in_other_playbooks(deployed: Server) -> None:
    """Imported with a tag or included, and with ``status`` of it alone."""
    include = {"ansible.builtin.include_role": {"name": "rattail_schema_ext", "tasks_from": "status"}}
    told = {"name": "Told", "ansible.builtin.debug": {"msg": "{{ rattail_schema_ext_results.poser.state }}"}}
    play = {"hosts": "rattail", "gather_facts": False, "tasks": [include, told]}
    run = check(deployed, playbook=[play])
    assert [task.result["msg"] for task in run.tasks if task.name == "Told"] == ["current"]

    new = deployed.repository.add_revision("add crates", upgrade_sql=CRATE)
    other = {"ansible.builtin.fail": {"msg": "This has another tag."}}
    tagged = {"ansible.builtin.import_role": {"name": "rattail_schema_ext"}, "tags": ["schema"]}
    play["tasks"] = [other, tagged, {**told, "tags": ["schema"]}]
    run = deployed.run_role(playbook=[play], tags="schema")
    assert run.rc == 0, run.output
    assert [task.result["msg"] for task in run.tasks if task.name == "Told"] == ["current"]
    assert [each["revision"] for each in run.result["applied"]] == [new]
    assert new in deployed.current()
    again = deployed.run_role(playbook=[play], tags="schema")
    assert (again.rc, again.recap.changed, len(again.executions)) == (0, 0, 1), again.output
    brought_by_roles = {
        "hosts": "rattail",
        "gather_facts": False,
        "roles": [{"role": "rattail_schema_ext", "tags": "x"}],
    }
    deployed.repository.add_revision("add boxes", upgrade_sql="create table poser_box ()")
    assert deployed.run_role(playbook=[brought_by_roles], tags="x").rc == 0
    assert deployed.database.tables("poser\\_box") == ["poser_box"]
