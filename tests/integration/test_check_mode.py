"""Check mode is the task's, whoever set it: the command line, the play, or the one who includes the role."""

from __future__ import annotations

from typing import Any

from support.server import HOST, Server
from support.states import difference, state

CRATE = "create table poser_crate (id integer primary key)"


def play(**options: Any) -> list[dict[str, Any]]:
    return [{"hosts": "rattail", "gather_facts": False, "roles": ["rattail_schema_ext"], **options}]


def test_a_play_in_check_mode_announces_and_changes_nothing(deployed: Server) -> None:
    new = deployed.repository.add_revision("add crates", upgrade_sql=CRATE)
    before = state(deployed)
    run = deployed.run_role(playbook=play(check_mode=True))
    assert run.rc == 0, run.output
    assert difference(before, state(deployed)) == []
    assert (run.result["check_mode"], run.result["changed"]) == (True, True)
    assert [each["revision"] for each in run.result["pending"]] == [new]
    assert (run.result["applied"], run.result["state"]) == ([], "behind")
    assert "would change something" in run.output


def test_a_play_that_is_never_in_check_mode_changes_what_differs(deployed: Server) -> None:
    new = deployed.repository.add_revision("add crates", upgrade_sql=CRATE)
    run = deployed.run_role(playbook=play(check_mode=False), check=True)
    assert (run.rc, run.recaps[HOST].failed) == (0, 0), run.output
    assert (run.result["check_mode"], run.result["state"]) == (False, "current")
    assert [each["revision"] for each in run.result["applied"]] == [new]
    assert new in deployed.current()
    assert "the schema deployment changed something" in run.output
