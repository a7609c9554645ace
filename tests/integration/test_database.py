"""Which database the app's config leads to, what is said when it lets nobody in, and what is never shown."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.rattail_alembic.copies.programs import Program
from ansible.module_utils.rattail_alembic.postgres.connection import connect
from ansible.module_utils.rattail_alembic.postgres.url import Target
from ansible.module_utils.rattail_alembic.problem import Refused
from support import old_postgres
from support.postgres import GUARDED, OWNER, PASSWORD, Postgres
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


UNREACHABLE = {
    "port closed": (
        "postgresql://rattail:opensesame@127.0.0.1:{port}/{name}",
        ["'{name}' on 127.0.0.1:{port}", "Start the server"],
    ),
    "wrong password": (
        "postgresql://guarded:opensesames@/{name}?host={host}",
        ['authentication failed for user "guarded"', "Correct the user or the password"],
    ),
    "no password": ("postgresql://guarded@/{name}?host={host}", ["no password supplied", "Correct the user"]),
    "no socket": ("postgresql://rattail@/{name}?host=/nowhere/at/all", ["/nowhere/at/all", "Start the server"]),
    "unknown host": (
        "postgresql://rattail:opensesame@nowhere.invalid/{name}",
        ["nowhere.invalid", "correct the database URL"],
    ),
    "unknown database": (
        "postgresql://rattail@/{name}_new?host={host}",
        ['database "{name}_new" does not exist', "Create it"],
    ),
    "unknown role": (
        "postgresql://stranger@/{name}?host={host}",
        ['role "stranger" does not exist', "have the server let that user in (CREATE ROLE"],
    ),
    "a role that may not log in": (
        "postgresql://pg_monitor@/{name}?host={host}",
        ["is not permitted to log in", "have the server let that user in"],
    ),
    "no rule in pg_hba.conf": (
        "postgresql://outcast:opensesame@/{name}?host={host}",
        ["pg_hba.conf rejects connection", "pg_hba.conf)."],
    ),
    "no right": (
        "postgresql://rattail@/{name}_closed?host={host}",
        ["permission denied for database", "GRANT CONNECT"],
    ),
    "too many clients": (
        "postgresql://rattail@/{name}_full?host={host}",
        ["too many connections", "End connections that nobody needs"],
    ),
}


def lead(server: Server, case: str, closed_port: int) -> list[str]:
    """Give the config file the URL of a case; the words that are to be said."""
    url, words = UNREACHABLE[case]
    known = {"name": server.database.name, "host": server.database.host, "port": closed_port}
    server.write_config(url=url.format(**known), alembic=server.alembic_section())
    return [word.format(**known) for word in words]


@pytest.mark.parametrize("case", ["port closed", "wrong password"])
def test_a_database_that_does_not_let_us_in_is_refused(deployed: Server, closed_port: int, case: str) -> None:
    words = lead(deployed, case, closed_port)
    deployed.repository.add_revision("add crates", upgrade_sql=CRATE)
    message = refused(deployed, "No connection to the database", *words)
    assert "opensesame" not in message


@pytest.fixture
def closed(deployed: Server, postgres: Postgres) -> Iterator[None]:
    """Databases and a rule that let nobody in."""
    name, admin = deployed.database.name, postgres.admin
    made = [postgres.create(name=f"{name}_{why}") for why in ("closed", "full")]
    admin.sql(f'revoke connect on database "{name}_closed" from public, {OWNER}')
    admin.sql(f'alter database "{name}_full" connection limit 0')
    hba = Path(admin.sql("show hba_file")[0][0])
    text = hba.read_text()
    hba.write_text(f"local all outcast reject\n{text}")
    admin.sql("select pg_reload_conf()")
    yield
    hba.write_text(text)
    admin.sql("select pg_reload_conf()")
    for each in made:
        postgres.drop(each)


@pytest.mark.usefixtures("closed")
def test_why_a_database_does_not_let_us_in_is_told_apart(deployed: Server, closed_port: int) -> None:
    variables = ("app", "user", "env_dir", "source_repo", "source_version")
    arguments = {name: deployed.vars[f"rattail_schema_ext_{name}"] for name in variables}
    arguments |= {"config_file": str(deployed.config), "source_dir": str(deployed.source_dir)}
    for case in UNREACHABLE:
        words = lead(deployed, case, closed_port)
        result = deployed.module("rattail_alembic_info", arguments)
        [problem] = result["problems"]
        assert (result["state"], problem["code"]) == ("unknown", "database_unreachable"), result
        assert problem["cause"].startswith("No connection to the database ") and problem["cause"].count("\n") == 0
        for word in words:
            assert word in f"{problem['cause']} {problem['remedy']}", problem
        assert "opensesame" not in str(result)


# in German: who wants in, and where → the words
ABROAD = {
    "wrong password": (("paula", "paulas", "opensesame"), ["fehlgeschlagen", "Correct the user or the password"]),
    "no password": (("paula", "paulas", ""), ["no password supplied", "Correct the user or the password"]),
    "unknown role": (("stranger", "olgas", ""), ["existiert nicht", "have the server let that user in"]),
    "unknown database": (("olga", "nowhere", ""), ["existiert nicht", "Create it"]),
    "too many clients": (("olga", "full", ""), ["zu viele Verbindungen", "End connections that nobody needs"]),
}


def test_a_server_is_understood_whatever_language_it_speaks(old_server: tuple[Program, Target]) -> None:
    _, olgas = old_server
    with closing(connect(olgas)) as connection, connection.cursor() as cursor:
        cursor.execute('create database "full" connection limit 0')
    with old_postgres.in_german(olgas):
        for (user, name, password), words in ABROAD.values():
            with pytest.raises(Refused) as caught:
                connect(replace(olgas, user=user, dbname=name, password=password))
            for word in words:
                assert word in str(caught.value)


def test_without_a_database_url_there_is_no_guess(deployed: Server) -> None:
    deployed.config.write_text(deployed.config.read_text().replace("default.url", "other.url"))
    refused(deployed, "default.url", "[rattail.db]", str(deployed.config))


@pytest.mark.parametrize(
    "more", ["", "[rattail.db]\ndefault.hide_parameters = yes\n"], ids=["read", "asked of the app"]
)
def test_the_url_comes_from_wherever_the_app_has_it(deployed: Server, tmp_path: Path, more: str) -> None:
    """Here from a file that a required file includes; with an option that we do not know, the app has to tell."""
    host, site = tmp_path / "host.conf", tmp_path / "site.conf"
    site.write_text(f"[rattail.db]\ndefault.url = {deployed.database.url}\n")
    host.write_text(f"[rattail.config]\ninclude = /nowhere/rattail.conf, {site}\n")
    deployed.config.write_text(f"[rattail.config]\nrequire = {host}\n{more}{deployed.alembic_section()}")
    new = deployed.repository.add_revision("add crates", upgrade_sql=CRATE)
    run = brought(deployed)
    assert run.result["fast_path"] == (not more)
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
