"""Which database the app's config leads to, what is said when it lets nobody in, and what is never shown."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.postgres import GUARDED, PASSWORD
from support.runs import Run
from support.server import HOST, Server
from support.states import brought, check, difference, refused, state

CORE_HEAD = "c2ef84c99c93"
POSER_HEAD = "b084beb32f02"
CRATE = "create table poser_crate (product_uuid varchar(32) references product (uuid))"


@pytest.fixture
def closed_port() -> int:
    """A TCP port of this machine's at which nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
        return port


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (
            "postgresql://rattail:opensesame@127.0.0.1:{port}/{name}",
            ["'{name}' on 127.0.0.1:{port}", "Start the server"],
        ),
        ("postgresql://rattail@/{name}?host=/nowhere/at/all", ["/nowhere/at/all", "No such file", "Start the server"]),
        ("postgresql://rattail:opensesame@nowhere.invalid/{name}", ["nowhere.invalid", "correct the database URL"]),
        ("postgresql://guarded:opensesames@/{name}?host={host}", ['"guarded"', "Correct the user or the password"]),
        ("postgresql://guarded@/{name}?host={host}", ["no password supplied", "Correct the user or the password"]),
        ("postgresql://rattail@/{name}_new?host={host}", ['database "{name}_new" does not exist', "Create it"]),
        ("postgresql://stranger@/{name}?host={host}", ['role "stranger" does not exist', "Create it"]),
    ],
    ids=[
        "port closed",
        "no socket",
        "unknown host",
        "wrong password",
        "no password",
        "unknown database",
        "unknown role",
    ],
)
def test_a_database_that_does_not_let_us_in(deployed: Server, closed_port: int, url: str, words: list[str]) -> None:
    known = {"name": deployed.database.name, "host": deployed.database.host, "port": closed_port}
    deployed.write_config(url=url.format(**known), alembic=deployed.alembic_section())
    deployed.repository.add_revision("add crates", upgrade_sql=CRATE)
    message = refused(deployed, *(word.format(**known) for word in words))
    assert "opensesame" not in message


def test_without_a_database_url_there_is_no_guess(deployed: Server) -> None:
    deployed.config.write_text(deployed.config.read_text().replace("default.url", "other.url"))
    refused(deployed, "default.url", "[rattail.db]", str(deployed.config))


INCLUDES = {
    "required": ("[rattail.config]\nrequire = {other}\n", True),
    "included": ("[rattail.config]\ninclude = /nowhere/rattail.conf, {other}\n", True),
    "told by the app alone": (
        "[rattail.config]\nrequire = {other}\n[rattail.db]\ndefault.hide_parameters = yes\n",
        False,
    ),
}


@pytest.mark.parametrize("way", INCLUDES)
def test_the_url_comes_from_wherever_the_app_has_it(deployed: Server, tmp_path: Path, way: str) -> None:
    text, fast_path = INCLUDES[way]
    other = tmp_path / "site.conf"
    other.write_text(f"[rattail.db]\ndefault.url = {deployed.database.url}\n")
    deployed.config.write_text(text.format(other=other) + deployed.alembic_section())
    new = deployed.repository.add_revision("add crates", upgrade_sql=CRATE)
    run = brought(deployed)
    assert run.result["fast_path"] == fast_path
    assert run.result["database"]["name"] == deployed.database.name
    assert deployed.database.heads() == deployed.current() == {CORE_HEAD, new}


def test_the_url_comes_from_the_play_s_environment(deployed: Server, tmp_path: Path) -> None:
    other = tmp_path / "site.conf"
    other.write_text(f"[rattail.db]\ndefault.url = {deployed.database.url}\n")
    deployed.config.write_text(deployed.alembic_section())
    new = deployed.repository.add_revision("add crates", upgrade_sql=CRATE)
    refused(deployed, "configure no database")
    play = {
        "hosts": "rattail",
        "gather_facts": False,
        "environment": {"RATTAIL_CONFIG_PLUS_FILES": str(other)},
        "roles": ["rattail_schema_ext"],
    }
    assert [each["revision"] for each in check(deployed, playbook=[play]).result["pending"]] == [new]
    run = deployed.run_role(playbook=[play])
    assert (run.rc, [each["revision"] for each in run.result["applied"]]) == (0, [new]), run.output
    assert deployed.database.heads() == {CORE_HEAD, new}
    again = deployed.run_role(playbook=[play])
    assert (again.rc, again.recap.changed, again.result["state"]) == (0, 0, "current"), again.output


@pytest.fixture
def guarded(make_server: Callable[..., Server]) -> Server:
    """A deployed server whose database asks for a password, which its config file has."""
    server = make_server(deployed=True)
    for right in ("all on all tables in schema public", "create, usage on schema public"):
        server.sql(f"grant {right} to {GUARDED}")
    url = server.database.url.replace(f"//{server.database.user}@", f"//{GUARDED}:{PASSWORD}@")
    assert PASSWORD in url
    server.write_config(url=url, alembic=server.alembic_section())
    return server


def everything_shown(run: Run) -> str:
    """What a person, or a callback plugin, could see of a run."""
    return run.output + json.dumps([task.result for task in run.tasks])


def test_the_password_is_shown_nowhere(guarded: Server) -> None:
    verbose: Mapping[str, Any] = {"args": ["-vvv"], "diff": True}
    new = guarded.repository.add_revision("add crates", upgrade_sql=CRATE)
    runs = [check(guarded, **verbose), guarded.run_role(**verbose), guarded.run_role(**verbose)]
    assert [run.rc for run in runs] == [0, 0, 0], runs[1].output
    assert guarded.database.heads() == {CORE_HEAD, new}
    assert runs[1].result["database"]["user"] == GUARDED
    assert runs[2].recaps[HOST].changed == 0

    url = "op.get_bind().engine.url.render_as_string(hide_password=False)"
    tells = f"print({url}, flush=True); import os; os._exit(0)"
    for body, word in ((f"raise ValueError({url})", "ValueError"), (tells, "left with exit code 0")):
        guarded.repository.add_revision(f"fail with {word}", upgrade=body)
        runs.append(guarded.run_role(**verbose))
        assert runs[-1].rc == 2 and word in runs[-1].message, runs[-1].output
        guarded.repository.git("reset", "--quiet", "--hard", "HEAD~1")

    before = state(guarded)
    guarded.config.write_text(guarded.config.read_text().replace(PASSWORD, f"{PASSWORD}s"))
    runs.append(guarded.run_role(**verbose))
    assert runs[-1].rc == 2 and "password authentication failed" in runs[-1].message
    assert set(difference(before, state(guarded))) == {str(guarded.config.relative_to(guarded.root))}

    for run in runs:
        assert PASSWORD not in everything_shown(run)
    assert "postgresql://guarded:***@" in everything_shown(runs[3]) and "***@" in everything_shown(runs[4])
