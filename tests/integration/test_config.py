"""``[alembic]`` in rattail.conf: put right where Alembic would misread it, with every other byte kept."""

from __future__ import annotations

import configparser
from typing import Any

import pytest
from support.server import Server
from support.states import brought, check, difference, refused, settled, state

CORE_HEAD = "c2ef84c99c93"
APP = "poser.db:alembic/versions"
COREPOS = "rattail_corepos.db:alembic/versions"
CORE = "rattail.db:alembic/versions"
SCRIPT = "script_location = rattail.db:alembic\n"
# as it is to be
SECTION = f"[alembic]\n{SCRIPT}version_locations = {APP} {CORE}\npath_separator = space\n"


def written(server: Server, alembic: str) -> str:
    """Write the config file with this ``[alembic]`` at its end; what comes before is returned."""
    server.write_config()
    before = server.config.read_text()
    server.config.write_text(before + alembic)
    return before


def options(server: Server) -> dict[str, str]:
    """``[alembic]`` as Python's configparser reads it from the file."""
    parser = configparser.RawConfigParser()
    parser.read_string(server.config.read_text())
    return dict(parser["alembic"])


def locations(server: Server) -> list[str]:
    """The locations in the file, which is to separate them by spaces."""
    assert options(server)["path_separator"] == "space"
    return options(server)["version_locations"].split(" ")


def test_a_section_that_alembic_misreads_is_put_right(deployed: Server) -> None:
    begin = f"[alembic]\n{SCRIPT}version_locations = "
    for alembic, reason in (
        (f"{begin}{APP} {CORE}\npath_separator = os\n", "path_separator 'os' splits pkg:path at its colon"),
        (f"{begin}\n  {APP}\n  {CORE}\nversion_path_separator = :\n", "version_path_separator ':' splits pkg:path"),
        (f"{begin}{APP}, {CORE}\n", "path_separator is not set"),
        (f"{begin}{CORE} {APP}\npath_separator = space\n", f"{CORE} is not last"),
    ):
        before = written(deployed, alembic)
        run = brought(deployed)
        assert run.result["todo"] == ["config"]
        assert f"[WARNING]: [alembic] in {deployed.config}: {reason}" in run.output
        assert locations(deployed) == [APP, CORE]
        assert deployed.config.read_text().startswith(before)
    found = deployed.alembic("current")
    assert "warn" not in found.stderr.lower() and str(deployed.repository.head) in found.stdout, found.stderr


def test_a_list_that_cannot_be_taken_apart_is_refused_with_the_lines_to_write(deployed: Server) -> None:
    before = written(deployed, f"[alembic]\n{SCRIPT}version_locations = {APP}:{CORE}\npath_separator = os\n")
    message = refused(deployed, "version_locations in [alembic] cannot be taken apart", "path_separator = os")
    lines = f"version_locations = {APP} {CORE}", "path_separator = space"
    assert all(line in message for line in lines)
    deployed.config.write_text(before + "\n".join(["[alembic]", SCRIPT.strip(), *lines]) + "\n")
    settled(deployed)


def test_status_warns_of_a_section_that_alembic_misreads(deployed: Server) -> None:
    written(deployed, f"[alembic]\n{SCRIPT}version_locations = {APP} {CORE}\npath_separator = os\n")
    before = state(deployed)
    run = deployed.run_role(playbook="status")
    assert run.rc == 0 and run.result["todo"] == ["config"], run.output
    assert f"[WARNING]: [alembic] in {deployed.config}: path_separator 'os' splits pkg:path at its colon." in run.output
    assert difference(before, state(deployed)) == []


def test_separators_that_do_no_harm_stay(deployed: Server) -> None:
    for alembic in (
        f"[alembic]\n{SCRIPT}version_locations = {APP} {CORE}\npath_separator = space\n",
        f"[alembic]\n{SCRIPT}version_locations =\n    {APP}\n    {CORE}\npath_separator = newline\n",
    ):
        written(deployed, alembic)
        settled(deployed)


def test_an_alembic_that_knows_only_the_older_name_gets_that_name(deployed: Server) -> None:
    deployed.pip("install", "--quiet", "--no-deps", "alembic==1.13.3")
    before = written(deployed, "")
    run = brought(deployed)
    assert run.result["alembic_version"] == "1.13.3" and run.result["todo"] == ["config"]
    assert deployed.config.read_text().startswith(before)
    assert options(deployed)["version_path_separator"] == "space" and "path_separator" not in options(deployed)
    done = deployed.alembic("heads")
    assert "warn" not in done.stderr.lower() and str(deployed.repository.head) in done.stdout, done.stderr
    new = deployed.repository.add_revision("add colour", upgrade_sql="alter table poser_widget add colour text")
    run = deployed.run_role()
    assert run.rc == 0 and deployed.current() == {CORE_HEAD, new}, run.output


MANAGED_BY_THE_USER = f"""\
# these are ours
[alembic]
; the manual's, but with the integration forgotten
script_location = rattail.db:alembic
file_template = %%(year)d_%%(rev)s_%%(slug)s
version_locations = {APP} {CORE}   
# keep the next
truncate_slug_length = 30
path_separator = space

[logger_alembic]
level = INFO
"""  # noqa: W291  the user's line ends in spaces


def test_a_missing_integration_is_added_and_its_revisions_are_applied(deployed: Server) -> None:
    written(deployed, MANAGED_BY_THE_USER)
    text = deployed.config.read_text()
    run = brought(deployed, {"rattail_schema_ext_integrations": ["rattail_corepos"]})
    assert run.result["todo"] == ["config", "upgrade"]
    assert [each["branch"] for each in run.result["applied"]] == ["rattail_corepos"] * 18
    assert locations(deployed) == [APP, COREPOS, CORE]
    # but for the one value, every byte of the file is the user's
    kept = [line for line in text.splitlines() if not line.startswith("version_locations")]
    now = deployed.config.read_text().splitlines()
    assert [line for line in now if not line.startswith("version_locations")] == kept
    assert "corepos_customer" in deployed.database.tables() and len(deployed.current()) == 3


def test_locations_that_nobody_named_are_kept_before_core_s(deployed: Server) -> None:
    more = deployed.root / "more"
    more.mkdir()
    (more / "cafe_more.py").write_text(
        "revision = 'cafe'\ndown_revision = None\nbranch_labels = ('more',)\ndepends_on = None\n"
        "from alembic import op\n\ndef upgrade():\n    op.execute('create table poser_note (note text)')\n"
    )
    middle = f"{APP} {more} {CORE}"
    for found, left, todo in (
        (str(more), middle, ["config", "upgrade"]),
        (middle, middle, []),
        (f"{APP} {CORE} {more}", middle, ["config"]),
        # another app's, it may be: where nothing is wrong, nothing is moved
        (f"{more} {APP} {CORE}", f"{more} {APP} {CORE}", []),
    ):
        before = written(deployed, f"[alembic]\n{SCRIPT}version_locations = {found}\npath_separator = space\n")
        run = brought(deployed) if todo else settled(deployed)
        assert run.result["todo"] == todo
        assert f"keeps the version location {more}, which belongs neither to the app" in run.output
        assert locations(deployed) == left.split(" ")
        assert deployed.config.read_text().startswith(before)
    assert deployed.current() == {CORE_HEAD, deployed.repository.head, "cafe"}


def test_a_location_that_leads_nowhere_is_never_skipped_in_silence(deployed: Server) -> None:
    for found, words in (
        ("/nowhere/versions", "/nowhere/versions"),
        ("rattail_corepos.db:nowhere", "rattail_corepos/db/nowhere"),
    ):
        written(deployed, f"[alembic]\n{SCRIPT}version_locations = {APP} {found} {CORE}\npath_separator = space\n")
        refused(deployed, found, words, str(deployed.config))


def test_the_section_is_added_where_there_is_none(deployed: Server) -> None:
    before = written(deployed, "")
    deployed.config.chmod(0o640)
    run = brought(deployed, {"rattail_schema_ext_config_backup": True})
    assert run.result["todo"] == ["config"]
    assert deployed.config.read_text() == f"{before}\n{SECTION}"
    assert deployed.config.stat().st_mode & 0o777 == 0o640
    assert deployed.current() == {CORE_HEAD, deployed.repository.head}
    (copy,) = deployed.config.parent.glob("rattail.conf.*~")
    assert copy.read_text() == before


def test_the_section_is_added_to_an_empty_file(deployed: Server) -> None:
    deployed.config.write_text("")
    more = deployed.root / "more.conf"
    more.write_text(f"[rattail.db]\ndefault.url = {deployed.database.url}\n")
    run = brought(deployed, env={"RATTAIL_CONFIG_PLUS_FILES": str(more)})
    assert run.result["todo"] == ["config"]
    assert deployed.config.read_text() == SECTION
    assert str(deployed.repository.head) in deployed.alembic("heads").stdout


def test_without_a_config_file_nothing_is_done(server: Server) -> None:
    server.config.unlink()
    promised = check(server)
    assert promised.result["state"] == "unknown"
    assert f"There is no config file {server.config}" in promised.result["state_reason"]
    before = state(server)
    run = server.run_role()
    assert (run.rc, difference(before, state(server))) == (2, []), run.output
    for words in (f"There is no config file {server.config}", "[rattail.db]", "rattail_schema_ext_config_file"):
        assert words in run.message


def test_line_ends_stay_as_they_are(deployed: Server) -> None:
    before = written(deployed, f"[alembic]\n{SCRIPT}version_locations = {CORE}\n").replace("\n", "\r\n").encode()
    deployed.config.write_bytes(deployed.config.read_bytes().replace(b"\n", b"\r\n"))
    brought(deployed)
    now = deployed.config.read_bytes()
    assert now.startswith(before) and now.count(b"\n") == now.count(b"\r\n")
    assert locations(deployed) == [APP, CORE]
    assert deployed.current() == {CORE_HEAD, deployed.repository.head}


def line_of(server: Server, text: str) -> str:
    lines = server.config.read_text(errors="replace").splitlines()
    return f"line {max(number for number, line in enumerate(lines, start=1) if text in line)}"


@pytest.mark.parametrize(
    ("content", "words", "where"),
    [
        ("\ufeff{before}" + SECTION, "byte order mark", "####"),
        ("{before}" + SECTION + SECTION, "[alembic] is there a second time", "[alembic]"),
        ("{before}" + SECTION + "path_separator = space\n", "path_separator is there a second time", "path_separator"),
        ("{before}# caf\udce9\n" + SECTION, "byte 0xe9 is not UTF-8", "# caf"),
        ("{before}root = store\n " + SECTION, "the line is indented", "[alembic]"),
        ("{before}" + SECTION.replace("[alembic]", "[Alembic]"), "'[Alembic]'", "[Alembic]"),
    ],
    ids=["BOM", "section twice", "option twice", "latin-1", "indented", "capital"],
)
def test_a_file_that_alembic_cannot_read_is_refused_by_line(
    deployed: Server, content: str, words: str, where: str
) -> None:
    before = written(deployed, "")
    text = content.replace("{before}", before)
    deployed.config.write_bytes(text.encode("utf-8", errors="surrogateescape"))
    found = deployed.alembic("heads", check=False)
    assert found.returncode != 0, "Alembic reads this after all"
    line = "line 1:" if words == "byte order mark" else line_of(deployed, where)
    refused(deployed, str(deployed.config), line, words)


def play(locale: str) -> list[dict[str, Any]]:
    environment = {"LC_ALL": locale}
    return [{"hosts": "rattail", "gather_facts": False, "environment": environment, "roles": ["rattail_schema_ext"]}]


@pytest.mark.parametrize("more", ["# für den Laden\n", "[poser]\ntitle = Käse\n"], ids=["comment", "value"])
def test_umlauts_in_a_locale_that_has_none_are_refused_before_anything_is_done(deployed: Server, more: str) -> None:
    new = deployed.repository.add_revision("crates", upgrade_sql="create table poser_crate ()")
    deployed.config.write_text(deployed.config.read_text() + more)
    message = refused(deployed, "is UTF-8, and the locale", "LC_ALL: C.UTF-8", playbook=play("C"))
    assert str(deployed.config) in message
    # the remedy helps
    run = deployed.run_role(playbook=play("C.UTF-8"))
    assert (run.rc, deployed.database.heads()) == (0, {CORE_HEAD, new}), run.output


def test_a_file_in_ascii_is_read_in_any_locale(deployed: Server) -> None:
    deployed.repository.add_revision("crates", upgrade_sql="create table poser_crate ()")
    run = deployed.run_role(playbook=play("C"))
    assert (run.rc, run.result["state"]) == (0, "current"), run.output


def test_what_leaks_in_from_default_is_warned_about(deployed: Server) -> None:
    deployed.write_config(alembic=SECTION)
    deployed.config.write_text("[DEFAULT]\nsourceless = false\n\n" + deployed.config.read_text())
    run = settled(deployed)
    assert f"{deployed.config}: Alembic takes sourceless from [DEFAULT]; set it in [alembic] instead." in run.output


def test_a_file_that_somebody_else_manages_is_checked_only(deployed: Server) -> None:
    written(deployed, f"[alembic]\n{SCRIPT}version_locations = {CORE}\n")
    unmanaged = {"rattail_schema_ext_config_enabled": False}
    message = refused(deployed, f"{APP} is missing", "rattail_schema_ext_config_enabled is false", vars=unmanaged)
    advised = message.partition("Give it these options: ")[2].rstrip(".").split("; ")
    deployed.write_config(alembic="[alembic]\n" + "\n".join(advised) + "\n")
    settled(deployed, unmanaged)
    assert deployed.current() == {CORE_HEAD, deployed.repository.head}
