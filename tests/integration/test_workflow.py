"""Run as AWX runs it: by ansible-runner, every variable as a survey gives it, the result read from the events."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ansible_runner  # type: ignore[import-untyped]  # it has no types
from support.places import BIN, ROOT
from support.server import HOST, Server

# What somebody has typed into the fields of a survey, or left empty.
SURVEY = {
    "rattail_schema_ext_source_enabled": "true",
    "rattail_schema_ext_install_enabled": "yes",
    "rattail_schema_ext_lock_retries": "3",
    "rattail_schema_ext_lock_wait_seconds": "60.5",
    "rattail_schema_ext_backup_keep": "2",
    "rattail_schema_ext_policy": "enforce",
    "rattail_schema_ext_integrations": "",
    "rattail_schema_ext_prefixes": '["poser"]',
    "rattail_schema_ext_integration_prefixes": "",
    "rattail_schema_ext_expected_database": "",
    "rattail_schema_ext_set_stats": "true",
}


def deploy(server: Server, **survey: str) -> tuple[str, list[dict[str, Any]]]:
    """How a job ends, and its events."""
    data = server.root / "runner"
    data.mkdir(exist_ok=True)
    runner = ansible_runner.run(
        private_data_dir=str(data),
        project_dir=str(ROOT),
        playbook="site.yml",
        inventory=json.loads(Path(server.inventory()).read_text()),
        extravars={**SURVEY, **survey},
        envvars={"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "PATH": f"{BIN}:/usr/bin:/bin"},
        quiet=True,
    )
    return runner.status, [each["event_data"] for each in runner.events if "event_data" in each]


def told(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The results that the events of tasks hold."""
    facts = [(each.get("res") or {}).get("ansible_facts") or {} for each in events]
    return [each["rattail_schema_ext_result"] for each in facts if "rattail_schema_ext_result" in each]


def test_a_job_deploys_what_a_survey_asks_for_and_hands_the_result_on(deployed: Server) -> None:
    new = deployed.repository.add_revision("add crates", upgrade_sql="create table poser_crate ()")
    status, events = deploy(deployed)
    assert status == "successful", events[-1]
    [result] = told(events)
    assert ([each["revision"] for each in result["applied"]], result["state"]) == ([new], "current")
    [artifacts] = [each["artifact_data"] for each in events if each.get("artifact_data")]
    assert artifacts == {"rattail_schema_ext_results": {HOST: {"poser": result}}}


def test_a_job_that_fails_hands_on_why(deployed: Server) -> None:
    deployed.repository.add_revision("trespass", upgrade_sql="alter table product add color text")
    status, events = deploy(deployed)
    assert status == "failed"
    [result] = told(events)
    [artifacts] = [each["artifact_data"] for each in events if each.get("artifact_data")]
    assert artifacts["rattail_schema_ext_results"][HOST]["poser"] == result
    assert "product.color" in result["violations"][0]["object"] and result["state"] == "behind"


def test_a_field_that_cannot_be_empty_is_named(deployed: Server) -> None:
    status, events = deploy(deployed, rattail_schema_ext_lock_retries="")
    messages = [(each.get("res") or {}).get("msg") for each in events]
    wrong = "rattail_schema_ext_lock_retries is '', which is not a whole number from 0 on. Correct it, or leave it out."
    assert status == "failed" and wrong in messages, messages
