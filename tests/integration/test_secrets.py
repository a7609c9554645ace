"""No password and no token in arguments, results, diffs, logs, history, process lists or names of files."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from ansible.module_utils.rattail_alembic.postgres.lock import key_of
from support.postgres import Postgres
from support.runs import Run
from support.server import Server
from support.upgrades import upgrade

PASSWORD = "Xk7wordOfThePass"
TOKEN = "ghp_Qz9tokenOfTheHost"
POSER_FIRST = "a010a6c92761"
POSER_HEAD = "b084beb32f02"
URL_OF_APP = "op.get_bind().engine.url.render_as_string(hide_password=False)"


@pytest.fixture
def server(make_server: Callable[..., Server]) -> Server:
    """A deployed server with a password in its database URL; backups and the history are on."""
    server = make_server("secretive", deployed=True)
    url = server.database.url.replace(f"//{server.database.user}@", f"//{server.database.user}:{PASSWORD}@")
    assert PASSWORD in url
    server.write_config(url=url, alembic=server.alembic_section())
    server.vars["rattail_schema_ext_backup"] = "full"
    return server


@contextmanager
def every_process(found: set[str]) -> Iterator[None]:
    """Collect, all the while, what anyone could see of processes: their arguments; and of ours the environment."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            for process in Path("/proc").glob("[0-9]*"):
                for name in ("cmdline", "environ"):
                    try:
                        found.add((process / name).read_bytes().replace(b"\0", b" ").decode(errors="replace"))
                    except OSError:
                        continue

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def everything_left(server: Server, runs: list[Run]) -> str:
    """What the runs showed, and what they left on the host apart from the config file that holds the secret."""
    shown = [run.output + json.dumps([task.result for task in run.tasks]) for run in runs]
    left = []
    for directory, _, files in os.walk(server.env_dir):
        for name in files:
            path = Path(directory, name)
            left.append(str(path))
            if path != server.config and path.suffix != ".dump" and "site-packages" not in path.parts:
                left.append(path.read_bytes().decode(errors="replace"))
    return "\n".join(shown + left)


def add(server: Server, name: str, **how: Any) -> str:
    return server.repository.add_revision(name, **how)


def drop(server: Server) -> None:
    """Take the last commit of the repository back."""
    server.repository.git("reset", "--quiet", "--hard", "HEAD~1")


@contextmanager
def held_lock(server: Server) -> Iterator[None]:
    """The lock is another run's."""
    with server.database.connect() as other:
        cursor = other.cursor()
        cursor.execute("select pg_advisory_lock(%s)", (key_of(cursor, "alembic_version"),))
        yield


def test_the_password_is_nowhere_whatever_happens(server: Server) -> None:
    verbose: Mapping[str, Any] = {"args": ["-vvv"], "diff": True}
    binaries = {"rattail_schema_ext_rehearsal": "transaction"}
    runs: dict[str, Run] = {}
    processes: set[str] = set()
    with every_process(processes):
        add(server, "crates", upgrade_sql="create table poser_crate (); select pg_sleep(0.3)")
        runs["check"] = server.run_role(check=True, **verbose)
        runs["applied, rehearsed, backed up"] = server.run_role(binaries, **verbose)
        runs["nothing to do"] = server.run_role(**verbose)
        runs["status"] = server.run_role(playbook="status", **verbose)
        revert = {"rattail_schema_ext_revert_to": POSER_FIRST, "rattail_schema_ext_revert_confirm": "no"}
        runs["revert refused"] = server.run_role(revert, playbook="revert", **verbose)
        baseline = {"rattail_schema_ext_baseline_revision": [POSER_FIRST]}
        runs["baseline refused"] = server.run_role(baseline, playbook="baseline", **verbose)
        add(server, "violation", upgrade_sql="alter table product add column poser_price numeric")
        runs["violation"] = server.run_role(**verbose)
        drop(server)
        add(server, "error", upgrade=f"raise ValueError({URL_OF_APP})")
        runs["error"] = server.run_role(**verbose)
        drop(server)
        add(server, "prints", upgrade=f"print({URL_OF_APP}, flush=True); import os; os._exit(0)")
        runs["left"] = server.run_role(**verbose)
        runs["no pg_dump"] = server.run_role({"rattail_schema_ext_postgresql_bin_dir": "/nowhere"}, **verbose)
        runs["another database"] = server.run_role({"rattail_schema_ext_expected_database": "other"}, **verbose)
        server.config.write_text(server.config.read_text().replace(server.database.host, "/nowhere"))
        runs["down"] = server.run_role(**verbose)
    failed = {name for name, run in runs.items() if run.rc}
    assert failed == {
        "revert refused", "baseline refused", "violation", "error", "left", "no pg_dump", "another database", "down"
    }, {name: run.message for name, run in runs.items()}  # fmt: skip
    assert len(runs["applied, rehearsed, backed up"].result["rehearsal"]["revisions"]) == 1
    assert any("pg_dump" in each for each in processes), "pg_dump was not seen, so nothing was shown"
    assert PASSWORD not in "\n".join(processes)
    everything = everything_left(server, list(runs.values()))
    assert PASSWORD not in everything
    # the remedies can be read all the same
    assert "***@" in runs["error"].message and "output has been hidden" not in everything
    for name in failed:
        assert len(runs[name].message) > 40, name


def test_the_password_is_nowhere_in_what_is_seldom_done(
    server: Server, cloning: Server, postgres: Postgres, tmp_path: Path
) -> None:
    """A rehearsal on a copy, a revert and a baseline that succeed, a lock that is taken, a backup that fails."""
    verbose: Mapping[str, Any] = {"args": ["-vvv"], "diff": True}
    runs: dict[str, Run] = {}
    processes: set[str] = set()
    owner = cloning.database.user
    url = cloning.database.url.replace(f"//{owner}@", f"//{owner}:{PASSWORD}@")
    cloning.write_config(url=url, alembic=cloning.alembic_section())
    spoken = f"""op.execute("select '" + {URL_OF_APP} + "'{{}}")"""
    broken = tmp_path / "broken"
    broken.mkdir()
    for program in postgres.server.binaries.iterdir():
        (broken / program.name).symlink_to(program)
    (broken / "pg_dump").unlink()
    fails = f'case "$*" in *--version*) exec {postgres.server.binaries / "pg_dump"} --version;; esac'
    (broken / "pg_dump").write_text(f'#!/bin/sh\n{fails}\necho "pg_dump: error: {url} is gone" >&2\nexit 1\n')
    (broken / "pg_dump").chmod(0o755)
    with every_process(processes):
        add(cloning, "speaks", upgrade=spoken.format(""))
        clone = {"rattail_schema_ext_rehearsal": "clone", "rattail_schema_ext_backup": "full"}
        runs["rehearsed on a copy"] = cloning.run_role(clone, **verbose)
        revert = {
            "rattail_schema_ext_revert_to": POSER_FIRST,
            "rattail_schema_ext_revert_confirm": f"poser@{POSER_FIRST}",
        }
        runs["reverted"] = server.run_role(revert, playbook="revert", **verbose)
        server.sql("create table poser_widget (); create table poser_widget_version ()")
        baseline = {"rattail_schema_ext_baseline_revision": [POSER_HEAD]}
        runs["stamped"] = server.run_role(baseline, playbook="baseline", **verbose)
        add(server, "crates", upgrade=spoken.format("; select 1 / 0"))
        runs["statement fails"] = server.run_role({"rattail_schema_ext_backup": "none"}, **verbose)
        runs["backup fails"] = server.run_role({"rattail_schema_ext_postgresql_bin_dir": str(broken)}, **verbose)
        with held_lock(server):
            runs["locked"] = server.run_role({"rattail_schema_ext_lock_wait_seconds": 0}, **verbose)
    failed = {name for name, run in runs.items() if run.rc}
    assert failed == {"statement fails", "backup fails", "locked"}, {n: run.message for n, run in runs.items()}
    assert "***@" in runs["rehearsed on a copy"].result["rehearsal"]["revisions"][0]["sql"][0]
    assert f"in the statement: select 'postgresql://{server.database.user}:***@" in runs["statement fails"].message
    assert "is gone" in runs["backup fails"].message and "***@" in runs["backup fails"].message
    assert PASSWORD not in "\n".join(processes)
    assert PASSWORD not in everything_left(server, list(runs.values())) + everything_left(cloning, [])


ODD = "Xk7/word 'Of\"The%Pass"
PASSWORD_OF_APP = "op.get_bind().engine.url.password"
DSN_OF_APP = f"psycopg2.extensions.make_dsn(password={PASSWORD_OF_APP})"
ALTER_ROLE = f"""op.execute("alter role current_user password '" + {PASSWORD_OF_APP}.replace("'", "''") + "'{{}}")"""


def spellings(secret: str) -> list[str]:
    """How it may be found in what was shown or left, JSON's own quoting aside."""
    found = [secret, quote(secret), quote(secret, safe=""), quote(secret, safe="").lower(), repr(secret)[1:-1]]
    return [text for each in found for text in (each, each.replace("'", "''"), json.dumps(each)[1:-1])]


def test_the_password_is_nowhere_where_it_is_no_url(make_server: Callable[..., Server]) -> None:
    """Connect arguments in an exception, what the app prints, SQL, connection strings; messages stay readable."""
    server = make_server("secretive", deployed=True)
    user = server.database.user
    url = server.database.url.replace(f"//{user}@", f"//{user}:{quote(ODD, safe='')}@")
    server.write_config(url=url.replace("%", "%%"), alembic=server.alembic_section())
    verbose: Mapping[str, Any] = {"args": ["-vvv"], "diff": True}
    failing = {
        "arguments": f"raise ValueError(dict(host='db1', password={PASSWORD_OF_APP}))",
        "positional": f"raise ValueError(('db1', 5432, {PASSWORD_OF_APP}))",
        "a connection string": f"import psycopg2.extensions; raise ValueError({DSN_OF_APP})",
        "a first line of two": f"raise ValueError({PASSWORD_OF_APP} + ' is wrong\\n' + {PASSWORD_OF_APP})",
        "SQL": ALTER_ROLE.format("; select 1 / 0"),
        "printed": f"print('password:', {PASSWORD_OF_APP}, flush=True); import os; os._exit(0)",
        "printed alone": f"print('it is', {PASSWORD_OF_APP}, flush=True); import os; os._exit(0)",
        "warned of": f"import warnings; warnings.warn({PASSWORD_OF_APP}); raise ValueError('so')",
    }
    runs: dict[str, Run] = {}
    answers: dict[str, dict[str, Any]] = {}
    for number, (name, body) in enumerate(failing.items()):
        add(server, f"fails {number}", upgrade=body)
        # how it is shown by a run does not depend on how it came into the module's answer
        if name in ("arguments", "SQL", "printed alone"):
            runs[name] = server.run_role({"rattail_schema_ext_backup": "none"}, **verbose)
        else:
            server.git("pull", "--quiet")
            answers[name] = upgrade(server)
            server.git("reset", "--quiet", "--hard", "HEAD~1")
        drop(server)
    failures = {**{name: run.message for name, run in runs.items()}, **{n: a["failure"] for n, a in answers.items()}}
    assert all(failures[name] for name in failing)
    add(server, "applied", upgrade=ALTER_ROLE.format(""))
    runs["applied"] = server.run_role({"rattail_schema_ext_rehearsal": "transaction"}, **verbose)
    assert runs["applied"].rc == 0, runs["applied"].message
    everything = everything_left(server, list(runs.values())) + json.dumps(answers)
    for spelling in spellings(ODD):
        assert spelling not in everything, spelling
    assert "ValueError: {'host': 'db1', 'password': ***" in runs["arguments"].message
    assert "in the statement: alter role current_user password ***" in runs["SQL"].message
    assert runs["printed alone"].result["app_output"][-1] == "it is ***"
    [rehearsed] = runs["applied"].result["rehearsal"]["revisions"]
    assert any("alter role current_user password ***" in each for each in rehearsed["sql"])


@pytest.mark.parametrize(
    ("name", "url", "said"),
    [
        ("database_option", f"postgresql://rattail:{PASSWORD}@db1/poser", "database_option is a database URL"),
        ("source_repo", f"https://oauth2:{TOKEN}@git.example.com/poser.git", "has credentials in it"),
    ],
    ids=["a URL in place of its name in the config", "a token in the repository's URL"],
)
def test_a_secret_among_the_variables_is_refused_and_not_shown(server: Server, name: str, url: str, said: str) -> None:
    vars = {f"rattail_schema_ext_{name}": url}
    runs = [server.run_role(vars, check=check, args=["-vvv"]) for check in (True, False)]
    assert [run.rc for run in runs] == [2, 2]
    assert said in runs[0].message
    shown = "".join(run.output + json.dumps([task.result for task in run.tasks]) for run in runs)
    assert PASSWORD not in shown and TOKEN not in shown


@pytest.mark.parametrize("works", [True, False], ids=["pip works", "pip fails"])
def test_without_secure_logging_pip_s_arguments_are_shown_and_the_password_is_not(server: Server, works: bool) -> None:
    text = (server.repository.path / "pyproject.toml").read_text()
    if not works:
        text = text.replace("dependencies = [", 'dependencies = [\n    "shelf-labels>=2.0",')
        server.vars["rattail_schema_ext_pip_extra_args"] += " --retries 0 --index-url http://127.0.0.1:1/"
    server.repository.commit({"pyproject.toml": f"{text}\n# newer\n"})
    add(server, "crates", upgrade_sql="create table poser_crate ()")
    processes: set[str] = set()
    with every_process(processes):
        run = server.run_role({"rattail_schema_ext_secure_logging": False}, args=["-vvv"], diff=True)
    assert run.rc == (0 if works else 2), run.output
    # a second time where the first has failed, and the checkout is put back
    install = next(
        task for task in run.tasks if task.name.endswith("Ensure the source is installed into the environment")
    )
    assert {"pip", "--no-build-isolation"} <= {*install.result["cmd"]}, run.output
    assert "--no-build-isolation" in run.output, run.output
    assert "output has been hidden" not in run.output
    assert PASSWORD not in "\n".join(processes) + everything_left(server, [run])
