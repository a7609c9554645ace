"""Every remedy that has a command or a setting is followed to the letter, and the run goes on.

Each walk breaks a server, is refused with the code that it is named after, and does what the sentence says, with the
words that the sentence has. Where a remedy is followed in another test, or can only be read, ``ELSEWHERE`` and
``ONLY_WORDS`` say so; together they have all codes of docs/refusals.md.
"""

# ruff: noqa: ARG001  each walk is handed its server
from __future__ import annotations

import getpass
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from support.places import ROOT
from support.repository import Repository
from support.revisions import add_model
from support.sampling import sample
from support.server import Server

CORE_HEAD, POSER_FIRST, POSER_HEAD = "c2ef84c99c93", "a010a6c92761", "b084beb32f02"
CRATE = "create table poser_crate (id integer primary key)"
PREFIX = "rattail_schema_ext_"

Variables = dict[str, Any]
# Gives the variables, is sent the remedy, and returns the variables that the sentence asks for.
Walk = Generator[Variables, str, Variables | None]
WALKS: dict[str, tuple[str, str, Callable[[Server], Walk]]] = {}


def walk(
    playbook: str = "site", server: str = "deployed"
) -> Callable[[Callable[[Server], Walk]], Callable[[Server], Walk]]:
    """Register a walk, from a server that a fixture gives; its function's name is the code."""

    def register(function: Callable[[Server], Walk]) -> Callable[[Server], Walk]:
        WALKS[function.__name__] = (playbook, server, function)
        return function

    return register


def follow(command: str) -> None:
    """Run a command as somebody types it."""
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


def in_brackets(remedy: str) -> str:
    """What a remedy has in brackets."""
    found = re.search(r"\((.+?)\)(?:[,.:]|$)", remedy)
    assert found, remedy
    return found[1]


def setting(remedy: str, name: str) -> Variables:
    """The variable ``name`` as a remedy sets it."""
    found = re.search(rf"{PREFIX}{name}: (\S+?)[.,;)]?(?:\s|$)", remedy)
    assert found, remedy
    return {f"{PREFIX}{name}": {"true": True, "false": False}.get(found[1], found[1])}


@walk()
def app_elsewhere(server: Server) -> Walk:
    server.pip("uninstall", "--quiet", "--yes", "poser")
    remedy = yield {f"{PREFIX}install_enabled": False}
    follow(remedy.partition(": ")[2].removesuffix(".") + " --no-build-isolation --quiet")
    return None


@walk()
def become_missing(server: Server) -> Walk:
    server.vars[f"{PREFIX}user"] = "nobody" if getpass.getuser() == "root" else "root"
    return setting((yield {}), "user")


@walk()
def environment_missing(server: Server) -> Walk:
    env_dir = server.vars[f"{PREFIX}env_dir"]
    remedy = yield {f"{PREFIX}env_dir": f"{server.root}/nothing"}
    assert f"correct {PREFIX}env_dir" in remedy
    return {f"{PREFIX}env_dir": env_dir}


@walk()
def user_unknown(server: Server) -> Walk:
    remedy = yield {f"{PREFIX}user": "nosuchuser"}
    assert setting(remedy, "user") == {f"{PREFIX}user": "NAME"}
    return {f"{PREFIX}user": getpass.getuser()}


@walk()
def path_relative(server: Server) -> Walk:
    config = server.config.relative_to(server.root)
    remedy = yield {f"{PREFIX}source_dir": "src/poser"}
    assert remedy.startswith("Begin it with a slash") and config
    return {f"{PREFIX}source_dir": str(server.source_dir)}


@walk()
def source_in_the_way(server: Server) -> Walk:
    (server.source_dir / "NEWS").write_text("mine\n")
    server.repository.commit({"NEWS": "theirs\n"})
    remedy = yield {}
    assert remedy.startswith("Move it away")
    (server.source_dir / "NEWS").rename(server.root / "NEWS")
    return None


@walk()
def source_locked(server: Server) -> Walk:
    (server.source_dir / ".git" / "index.lock").write_text("")
    server.repository.add_revision("add crates", upgrade_sql=CRATE)
    follow(in_brackets((yield {})))
    return None


@walk()
def source_modified(server: Server) -> Walk:
    (server.source_dir / "README.md").write_text("mine\n")
    follow(in_brackets((yield {})))
    return None


@walk()
def source_missing(server: Server) -> Walk:
    shutil.rmtree(server.source_dir)
    remedy = yield {f"{PREFIX}source_repo": ""}
    assert f"Set {PREFIX}source_repo" in remedy
    return {f"{PREFIX}source_repo": str(server.repository.path)}


@walk()
def source_ref_in_the_way(server: Server) -> Walk:
    server.git("update-ref", "refs/remotes/origin/feature", "HEAD")
    server.repository.git("branch", "feature/crates")
    remedy = yield {f"{PREFIX}source_version": "feature/crates"}
    follow(in_brackets(remedy))
    return None


@walk()
def source_remote_missing(server: Server) -> Walk:
    server.git("remote", "remove", "origin")
    server.repository.add_revision("add crates", upgrade_sql=CRATE)
    remedy = yield {}
    follow(in_brackets(remedy).partition(",")[0].replace("URL", str(server.repository.path)))
    return None


@walk()
def source_shallow(server: Server) -> Walk:
    first = server.git("rev-parse", "HEAD")
    server.repository.add_revision("add crates", upgrade_sql=CRATE)
    shutil.rmtree(server.source_dir)
    subprocess.run(
        [
            "git",
            "clone",
            "--quiet",
            "--depth=1",
            f"file://{server.repository.path}",
            str(server.source_dir),
        ],
        check=True,
    )
    follow(in_brackets((yield {f"{PREFIX}source_version": first.strip()})))
    return None


@walk()
def source_unpushed(server: Server) -> Walk:
    Repository(server.source_dir).commit({"NEWS": "mine\n"})
    server.repository.commit({"NEWS": "theirs\n"})
    remedy = yield {}
    assert "reset the checkout" in remedy
    server.git("reset", "--quiet", "--hard", "origin/main")
    return None


@walk()
def source_version_unknown(server: Server) -> Walk:
    remedy = yield {f"{PREFIX}source_version": "v9"}
    assert f"correct {PREFIX}source_version" in remedy
    return {f"{PREFIX}source_version": "main"}


@walk()
def source_foreign(server: Server) -> Walk:
    other = server.root / "other"
    other.mkdir()
    (other / "file").write_text("mine\n")
    remedy = yield {f"{PREFIX}source_dir": str(other)}
    assert "Move it away" in remedy
    other.rename(server.root / "away")
    return None


@walk()
def source_broken(server: Server) -> Walk:
    (server.source_dir / ".git" / "HEAD").write_text("nonsense\n")
    remedy = yield {}
    assert "move it away and run again: it will be cloned again" in remedy
    server.source_dir.rename(server.root / "away")
    return None


@walk()
def source_unreachable(server: Server) -> Walk:
    remedy = yield {f"{PREFIX}source_repo": str(server.root / "nowhere.git")}
    assert f"Check {PREFIX}source_repo" in remedy
    return {f"{PREFIX}source_repo": str(server.repository.path)}


@walk()
def config_bom(server: Server) -> Walk:
    server.config.write_bytes(b"\xef\xbb\xbf" + server.config.read_bytes())
    remedy = yield {}
    assert remedy == "Save it as UTF-8 without a byte order mark."
    server.config.write_text(server.config.read_text(encoding="utf-8-sig"))
    return None


@walk()
def config_duplicate(server: Server) -> Walk:
    text = server.config.read_text()
    server.config.write_text(text + "\n[alembic]\nscript_location = rattail.db:alembic\n")
    remedy = yield {}
    assert remedy.startswith("Remove one of the two")
    server.config.write_text(text)
    return None


@walk()
def config_header(server: Server) -> Walk:
    text = server.config.read_text()
    server.config.write_text(text.replace("[alembic]", "[ alembic ]"))
    remedy = yield {}
    assert remedy == "Write it as [alembic], at the start of the line."
    server.config.write_text(text)
    return None


@walk()
def config_missing(server: Server) -> Walk:
    remedy = yield {f"{PREFIX}config_file": str(server.config.parent / "none.conf")}
    assert f"correct {PREFIX}config_file" in remedy
    return {f"{PREFIX}config_file": str(server.config)}


@walk()
def config_unmanaged(server: Server) -> Walk:
    server.write_config()
    remedy = yield {f"{PREFIX}config_enabled": False}
    lines = remedy.removeprefix("Give it these options: ").removesuffix(".").split("; ")
    server.write_config(alembic="\n".join(["\n[alembic]", *lines, ""]))
    return None


@walk()
def locations_unclear(server: Server) -> Walk:
    section = server.alembic_section()
    spoilt = section.replace("versions rattail", "versions:rattail").replace("= space", "= os")
    server.write_config(alembic=spoilt)
    remedy = yield {}
    [(locations, separator)] = re.findall(r"(version_locations = [^(]+?) \(.*\) and (path_separator = space)", remedy)
    script = section.partition("version_locations")[0]
    server.write_config(alembic=f"{script}{locations}\n{separator}\n")
    return None


@walk()
def script_location_lines(server: Server) -> Walk:
    text = server.config.read_text()
    server.config.write_text(text.replace("script_location = rattail.db:alembic", "script_location =\n  a\n  b"))
    remedy = yield {}
    assert remedy == "Keep the one with Alembic's env.py."
    server.config.write_text(text)
    return None


@walk()
def database_unexpected(server: Server) -> Walk:
    remedy = yield {f"{PREFIX}expected_database": "poser"}
    assert f"{PREFIX}expected_database" in remedy
    return {f"{PREFIX}expected_database": server.database.name}


@walk()
def database_unconfigured(server: Server) -> Walk:
    text = server.config.read_text()
    [line] = re.findall(r"^default\.url = .*$", text, re.MULTILINE)
    server.config.write_text(text.replace(line, ""))
    remedy = yield {}
    found = re.fullmatch(r"Add (\S+)(?: = \S+)? in section \[(\S+)\] of (\S+)\.", remedy)
    assert found and found[1] in line, remedy
    server.config.write_text(text)
    return None


@walk()
def database_option_missing(server: Server) -> Walk:
    server.repository.add_revision("add crates", upgrade_sql=CRATE)
    remedy = yield {f"{PREFIX}database_option": "rattail.db:migration.url"}
    assert remedy.startswith("Add migration.url = postgresql://")
    text = server.config.read_text()
    added = f"[rattail.db]\nmigration.url = {server.database.url}\n"
    server.config.write_text(text.replace("[rattail.db]\n", added, 1))
    return None


@walk()
def database_option_invalid(server: Server) -> Walk:
    server.repository.add_revision("add crates", upgrade_sql=CRATE)
    remedy = yield {f"{PREFIX}database_option": "migration"}
    [name] = re.findall(r"e\.g\. (\S+);", remedy)
    text = server.config.read_text()
    added = f"[rattail.db]\nmigration.url = {server.database.url}\n"
    server.config.write_text(text.replace("[rattail.db]\n", added, 1))
    return {f"{PREFIX}database_option": name}


@walk()
def unstamped(server: Server) -> Walk:
    server.sql("delete from alembic_version")
    remedy = yield {}
    assert "playbooks/baseline.yml" in remedy
    done = server.run_role({f"{PREFIX}baseline_revision": ["heads"]}, playbook="baseline")
    assert done.rc == 0, done.output
    return None


@walk()
def branch_unstamped(server: Server) -> Walk:
    server.sql(f"delete from alembic_version where version_num = '{POSER_HEAD}'")
    remedy = yield {}
    [names] = re.findall(rf"{PREFIX}baseline_revision: (\[.*?\])", remedy)
    done = server.run_role({f"{PREFIX}baseline_revision": names}, playbook="baseline")
    assert done.rc == 0, done.output
    return None


@walk()
def revision_uncommitted(server: Server) -> Walk:
    Repository(server.source_dir).add_revision("add crates", upgrade_sql=CRATE, commit=False)
    return setting((yield {}), "allow_uncommitted_revisions")


@walk()
def revision_too_long(server: Server) -> Walk:
    server.repository.add_revision("add crates", upgrade_sql=CRATE, revision="f" * 40)
    remedy = yield {}
    server.database.sql(remedy.rpartition(": ")[2].removesuffix("."))
    return None


@walk(server="cloning")
def rehearsal_impossible(server: Server) -> Walk:
    block = f"with op.get_context().autocommit_block():\n    op.execute({CRATE!r})"
    server.repository.add_revision("add crates", upgrade=block)
    return setting((yield {f"{PREFIX}rehearsal": "transaction"}), "rehearsal")


@walk()
def checksums_unreadable(server: Server) -> Walk:
    server.database.forbid_schemas()
    server.repository.add_revision("add crates", upgrade_sql=CRATE)
    assert server.run_role().rc == 0
    [file] = (server.config.parent / "schema-history").glob("*.checksums.json")
    file.write_text("nonsense")
    server.repository.add_revision("add boxes", upgrade_sql="create table poser_box ()")
    remedy = yield {}
    assert "move it away: the next upgrade makes a new one" in remedy
    file.rename(server.root / "checksums")
    return None


@walk("revert")
def revert_unconfirmed(server: Server) -> Walk:
    return setting(
        (yield {f"{PREFIX}revert_to": POSER_FIRST, f"{PREFIX}backup": "full"}),
        "revert_confirm",
    )


@walk("revert")
def revert_without_backup(server: Server) -> Walk:
    confirm = {
        f"{PREFIX}revert_to": POSER_FIRST,
        f"{PREFIX}revert_confirm": f"poser@{POSER_FIRST}",
    }
    remedy = yield confirm
    assert remedy == "Set it to full for this run."
    return {f"{PREFIX}backup": "full"}


@walk("revert")
def revert_without_policy(server: Server) -> Walk:
    confirm = {
        f"{PREFIX}revert_to": POSER_FIRST,
        f"{PREFIX}revert_confirm": f"poser@{POSER_FIRST}",
    }
    remedy = yield {**confirm, f"{PREFIX}backup": "full", f"{PREFIX}policy": "off"}
    assert remedy == "Set it to enforce for this run."
    return {f"{PREFIX}policy": "enforce"}


@walk("revert")
def revert_unknown(server: Server) -> Walk:
    confirm = {
        f"{PREFIX}revert_confirm": f"poser@{POSER_FIRST}",
        f"{PREFIX}backup": "full",
    }
    remedy = yield {**confirm, f"{PREFIX}revert_to": "feedfacecafe"}
    assert POSER_FIRST in remedy
    return {f"{PREFIX}revert_to": POSER_FIRST}


@walk("revision")
def heads_several(server: Server) -> Walk:
    for name in ("crates", "boxes"):
        server.repository.add_revision(
            f"add {name}",
            upgrade_sql=f"create table poser_{name} ()",
            down_revision=POSER_HEAD,
        )
    assert server.run_role().rc == 0
    return setting((yield {f"{PREFIX}revision_message": "add shelves"}), "revision_merge")


@walk("revision")
def database_behind(server: Server) -> Walk:
    server.repository.add_revision("add crates", upgrade_sql=CRATE)
    server.git("pull", "--quiet")
    remedy = yield {f"{PREFIX}revision_message": "add shelves"}
    assert "site.yml" in remedy
    assert server.run_role().rc == 0
    return None


@walk("revision")
def source_needed(server: Server) -> Walk:
    remedy = yield {
        f"{PREFIX}revision_message": "add shelves",
        f"{PREFIX}source_enabled": False,
    }
    return setting(remedy, "source_enabled")


@walk()
def app_name(server: Server) -> Walk:
    remedy = yield {f"{PREFIX}app": "poser-app"}
    [name] = re.findall(r"e\.g\. (\w+)\.", remedy)
    return {f"{PREFIX}app": name}


@walk()
def app_missing(server: Server) -> Walk:
    server.pip("uninstall", "--quiet", "--yes", "poser")
    repository = server.vars.pop(f"{PREFIX}source_repo")
    shutil.rmtree(server.source_dir)
    server.write_config()
    remedy = yield {f"{PREFIX}source_enabled": False}
    assert f"give {PREFIX}source_repo" in remedy
    return {**setting(remedy, "source_enabled"), f"{PREFIX}source_repo": repository}


@walk()
def location_missing(server: Server) -> Walk:
    remedy = yield {f"{PREFIX}integrations": ["rattail_nowhere"]}
    assert f"or take it out of {PREFIX}integrations" in remedy
    return {f"{PREFIX}integrations": []}


@walk()
def history_unwritable(server: Server) -> Walk:
    server.database.forbid_schemas()
    server.repository.add_revision("add crates", upgrade_sql=CRATE)
    (server.root / "file").write_text("")
    remedy = yield {f"{PREFIX}history_dir": f"{server.root}/file/history"}
    assert f"set {PREFIX}history_dir to a directory that is" in remedy
    return {f"{PREFIX}history_dir": f"{server.root}/history"}


@walk()
def backup_directory(server: Server) -> Walk:
    server.repository.add_revision("add crates", upgrade_sql=CRATE)
    (server.root / "file").write_text("")
    remedy = yield {
        f"{PREFIX}backup": "schema",
        f"{PREFIX}backup_dir": f"{server.root}/file/backups",
    }
    return setting(remedy, "backup")


@walk()
def program_missing(server: Server) -> Walk:
    server.repository.add_revision("add crates", upgrade_sql=CRATE)
    remedy = yield {
        f"{PREFIX}backup": "schema",
        f"{PREFIX}postgresql_bin_dir": str(server.root),
    }
    return setting(remedy, "backup")


@walk()
def rows_overlap(server: Server) -> Walk:
    server.repository.add_revision("add crates", upgrade_sql=CRATE)
    server.sql("insert into alembic_version values (%s)", POSER_FIRST)
    remedy = yield {}
    assert remedy == "Find out who wrote that row, and delete it from the version table."
    server.sql("delete from alembic_version where version_num = %s", POSER_FIRST)
    return None


@walk()
def database_url_invalid(server: Server) -> Walk:
    text = server.config.read_text()
    server.config.write_text(text.replace(server.database.url, "postgresql://user:p@ss:word@[host/database"))
    remedy = yield {}
    assert "Write it as postgresql://" in remedy
    server.config.write_text(text)
    return None


@walk()
def database_unsupported(server: Server) -> Walk:
    text = server.config.read_text()
    other = server.database.url.replace("postgresql://", "postgresql+asyncpg://")
    server.config.write_text(text.replace(server.database.url, other))
    remedy = yield {}
    [written] = re.findall(r"Write (\S+://) instead", remedy)
    server.config.write_text(text.replace(server.database.url, other.replace("postgresql+asyncpg://", written)))
    return None


@walk("revision")
def host_unready(server: Server) -> Walk:
    server.write_config()
    remedy = yield {f"{PREFIX}revision_message": "add shelves"}
    assert remedy == "Run site.yml first, then write the revision."
    assert server.run_role().rc == 0
    return None


@walk("revision")
def message_odd(server: Server) -> Walk:
    remedy = yield {f"{PREFIX}revision_message": "the store's"}
    [message] = re.findall(rf"{PREFIX}revision_message: (.*)\)", remedy)
    return {f"{PREFIX}revision_message": message}


@walk("revision")
def model_without_prefix(server: Server) -> Walk:
    add_model(server, _KIOSK.format(table="kiosk_shelf", enum="kiosk_kind"))
    remedy = yield {f"{PREFIX}revision_message": "add shelves"}
    assert f"or add its prefix to {PREFIX}prefixes" in remedy
    return {f"{PREFIX}prefixes": ["poser", "kiosk"]}


@walk("revision")
def enum_without_prefix(server: Server) -> Walk:
    add_model(server, _KIOSK.format(table="poser_shelf", enum="kind"))
    remedy = yield {f"{PREFIX}revision_message": "add shelves"}
    [name] = re.findall(r"name='(\w+)'", remedy)
    add_model(server, _KIOSK.format(table="poser_shelf", enum=name))
    return None


@walk("baseline")
def baseline_unknown(server: Server) -> Walk:
    server.sql("delete from alembic_version")
    remedy = yield {f"{PREFIX}baseline_revision": ["feedfacecafe"]}
    [heads] = re.findall(r"its heads are (.*)\.", remedy)
    return {f"{PREFIX}baseline_revision": heads.split(", ")}


@walk("baseline")
def baseline_table_missing(server: Server) -> Walk:
    server.sql("delete from alembic_version; drop table poser_widget, poser_widget_version")
    remedy = yield {f"{PREFIX}baseline_revision": ["heads"]}
    assert remedy.startswith("Name earlier revisions, those that were really applied.")
    return {f"{PREFIX}baseline_revision": [CORE_HEAD, POSER_FIRST]}


@walk()
def database_unreachable(server: Server) -> Walk:
    text = server.config.read_text()
    server.config.write_text(text.replace(f"/{server.database.name}", "/nothing"))
    remedy = yield {}
    assert remedy == "Create it, or correct the database URL in the config file."
    server.config.write_text(text)
    return None


@walk()
def source_owner(server: Server) -> Walk:
    if os.geteuid() != 0:
        pytest.skip("only root gives a directory away")
    subprocess.run(["chown", "-R", "nobody", str(server.source_dir)], check=True)
    follow((yield {}).partition(": ")[2].removesuffix("."))
    return None


_KIOSK = """
class PoserShelf(model.Base):
    __tablename__ = {table!r}
    uuid = model.uuid_column()
    kind = sa.Column(sa.Enum('a', 'b', name={enum!r}))
"""
# Followed in a test of its own, since it needs another server.
ELSEWHERE = {
    "backup_rights_missing": "test_backup.py::test_what_the_refusal_says_to_grant_is_enough",
    "config_encoding": "test_config.py::test_umlauts_in_a_locale_that_has_none_are_refused_before_anything_is_done",
    "config_forbidden": "../unit/config/test_config_module.py::test_what_lets_the_user_read_the_file_does",
    "database_pooled": "test_refused_databases.py::test_with_a_url_for_migrations_these_do_not_pass_through_the_pooler",
    "database_read_only": "test_database_checks.py::test_the_remedy_for_a_standby_finds_the_primary",
    "diverged": "test_ahead.py::test_a_force_push_that_replaces_what_is_applied_is_refused_and_the_remedy_helps",
    "history_foreign": "test_history.py::test_what_another_role_can_write_is_not_believed",
    "driver_missing": "test_psycopg.py::test_what_is_missing_is_said_and_what_is_there_is_offered",
    "pip_missing": "test_install.py::test_an_environment_without_pip_is_refused_where_the_app_is_to_be_installed",
    "release_too_old": "test_install.py::test_a_pip_that_is_too_old_for_how_the_app_is_built_is_refused",
    "rights_missing": "test_refused_databases.py::test_rights_that_are_missing",
    "schema_missing": "test_database_checks.py::test_a_schema_that_the_role_may_not_use",
    "version_table_elsewhere": "test_database_checks.py::test_a_wrong_search_path",
}
_SOMEBODY_WRITES = """
app_failed config_interpolation config_quote config_require_missing config_syntax database_other database_unreadable
env_driver env_pooled hook_failed label_duplicate location_interpolation model_unused rehearsal_elsewhere
rehearsal_failed review_failed revision_at_import revision_cycle revision_duplicate revision_missing revision_syntax
revision_unreadable section_invalid section_location source_package_missing"""
_SOMEBODY_CHOOSES = """
baseline_applied baseline_behind baseline_no_evidence baseline_table_of_later database_ahead database_option_elsewhere
location_space revert_foreign revert_needed revert_no_base revert_not_applied revert_rows source_odd_name"""
_ANOTHER_RUN = "backup_failed database_failed dump_failed lock_lost locked plan_other scratch_failed"
_ANOTHER_HOST = """
backup_no_space environment_broken git_missing look_failed package_missing program_failed
program_too_old revisions_missing scratch_impossible scratch_no_space"""
_NOT_ROOT = "config_not_writable config_owner revision_unwritable source_forbidden"
# By their names, each with why there is nothing to follow here.
ONLY_WORDS = {
    **dict.fromkeys(
        _SOMEBODY_WRITES.split(),
        "a text is to be mended, and the sentence names the place",
    ),
    **dict.fromkeys(
        _SOMEBODY_CHOOSES.split(),
        "the sentence names what there is to choose from, if anything",
    ),
    **dict.fromkeys(_ANOTHER_RUN.split(), "to run again is all there is to do"),
    **dict.fromkeys(_ANOTHER_HOST.split(), "the host is to get a program, a package, or room"),
    **dict.fromkeys(
        _NOT_ROOT.split(),
        "root, as whom the tests may run, reads and writes everything",
    ),
}


@pytest.mark.parametrize("code", sample(WALKS, one_in=2))
def test_it_helps_when_it_is_followed_to_the_letter(request: pytest.FixtureRequest, code: str) -> None:
    playbook, fixture, function = WALKS[code]
    server: Server = request.getfixturevalue(fixture)
    path = function(server)
    given = next(path)
    refused = server.run_role(given, playbook=playbook)
    assert refused.rc == 2, refused.output
    assert "problems" in refused.result, refused.message
    problems = refused.result["problems"]
    assert code in [each["code"] for each in problems], problems
    [problem] = [each for each in problems if each["code"] == code]
    with pytest.raises(StopIteration) as end:
        path.send(problem["remedy"])
    done = server.run_role({**given, **(end.value.value or {})}, playbook=playbook)
    assert done.rc == 0, done.output


def test_no_remedy_is_forgotten() -> None:
    told = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "refusals.md").read_text(), re.MULTILINE))
    known = [*WALKS, *ELSEWHERE, *ONLY_WORDS]
    assert sorted(known) == sorted(told)
    for code, test in ELSEWHERE.items():
        file, _, name = test.partition("::")
        assert f"def {name}(" in (Path(__file__).parent / file).read_text(), (
            code,
            test,
        )
