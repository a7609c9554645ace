"""What a run of the role shows a person who did not ask for more with ``-v``."""

from __future__ import annotations

import re
import threading
import time

from support.server import HOST, Server
from support.states import check, settled

POSER_HEAD = "b084beb32f02"
CORE_HEAD = "c2ef84c99c93"
BLOCKED = "select 1 from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"


def shown(output: str) -> str:
    """The output on one line, each quote and break as it was before YAML."""
    return " ".join(output.replace("''", "'").split())


def hold_until_somebody_waits(server: Server, holding: threading.Event) -> None:
    """Read ``poser_widget`` in a transaction that ends when a lock timeout has gone by since somebody waits for it."""
    with server.database.connect() as reader:
        reader.autocommit = False
        reader.cursor().execute("select count(*) from poser_widget")
        holding.set()
        until = time.monotonic() + 60
        while not server.sql(BLOCKED) and time.monotonic() < until:
            time.sleep(0.1)
        time.sleep(1.2)
        reader.rollback()


def test_a_run_that_applies_revisions_names_them(deployed: Server) -> None:
    deployed.vars |= {"rattail_schema_ext_backup": "full", "rattail_schema_ext_lock_timeout_seconds": 1}
    writes = "insert into setting (name, value) values ('poser.crates', '1')"
    first = deployed.repository.add_revision("add crates", upgrade_sql=f"create table poser_crate (); {writes}")
    second = deployed.repository.add_revision("count widgets", upgrade_sql="alter table poser_widget add count integer")

    promised = check(deployed)
    assert promised.result["summary"] in [task.result.get("msg") for task in promised.tasks]
    for word in (
        f"pending: poser {first} add crates",
        f"pending: poser {second} count widgets",
        "to do: source, upgrade",
        "would change something",
    ):
        assert word in shown(promised.output), promised.output
    for word in ("changed something", " applied: ", " backup: "):
        assert word not in promised.output, promised.output

    holding = threading.Event()
    reader = threading.Thread(target=hold_until_somebody_waits, args=[deployed, holding])
    reader.start()
    assert holding.wait(30)
    run = deployed.run_role()
    reader.join()
    assert run.rc == 0, run.output
    told = "\n".join(run.result["summary"])
    assert run.result["summary"] in [task.result.get("msg") for task in run.tasks]
    for line in (
        f"poser on {deployed.database.name}: current",
        rf"  poser: {second} \(up to date\)",
        rf"  applied: poser {first} add crates \(\d+\.\d\d s\)",
        rf"  applied: poser {second} count widgets \(\d+\.\d\d s\)",
        r"  begun again after a lock timeout: [1-9]\d* times",
        f"  backup: {re.escape(run.result['backup']['file'])}",
        r"  warning: .*public\.setting.*",
    ):
        assert re.search(f"^{line}$", told, re.M), told
    for line in run.result["summary"]:
        assert " ".join(line.split()) in shown(run.output), run.output
    assert "changed something" in run.output and "would" not in run.output, run.output

    again = settled(deployed)
    assert "applied: " not in again.output and "poser: " not in again.output, again.output
    assert again.recaps[HOST].ok < run.recaps[HOST].ok


def test_hundreds_of_revisions_are_one_line(server: Server) -> None:
    """Of a whole core, too, what the app brought is what a person looks for."""
    server.sql("drop schema public cascade; create schema public")
    run = server.run_role()
    assert run.rc == 0, run.output
    applied = [line for line in run.result["summary"] if line.startswith("  applied: ")]
    assert re.fullmatch(rf"  applied: rattail, 273 revisions to {CORE_HEAD} \(\d+\.\d\d s\)", applied[0]), applied
    assert [line.split()[2] for line in applied[1:]] == ["a010a6c92761", POSER_HEAD]


def test_an_edited_revision_is_warned_about_by_every_run(deployed: Server) -> None:
    new = deployed.repository.add_revision("add crates", upgrade_sql="create table poser_crate ()")
    assert deployed.run_role().rc == 0
    [file] = deployed.repository.versions.glob(f"{new}*")
    text = file.read_text().replace("poser_crate", "poser_box")
    deployed.repository.commit({str(file.relative_to(deployed.repository.path)): text})
    assert deployed.run_role().rc == 0
    warning = f"The file of revision {new} ({deployed.versions / file.name}) was changed after it had been applied"
    for run in (settled(deployed), check(deployed), deployed.run_role(playbook="status")):
        assert warning in shown(run.output), run.output


def test_a_change_without_revisions_is_shown_as_well(deployed: Server) -> None:
    deployed.repository.commit({"NEWS": "none\n"})
    run = deployed.run_role()
    assert run.rc == 0, run.output
    assert f"poser on {deployed.database.name}: current" in shown(run.output)
    assert "applied: " not in run.output
