"""What ``--diff`` shows of an upgrade."""

from __future__ import annotations

from support.server import HOST, Server
from support.states import difference, settled, state
from support.upgrades import upgrade

SQL = """
op.create_table("poser_crate", sa.Column("id", sa.Integer))
op.get_bind().execute(sa.text("select :secret").bindparams(secret="xyzzy"))
op.execute("select 'postgresql://rattail:opensesame@db1/poser'")
op.execute("select '%s'" % ("z" * 5000))
op.execute("select '100 %', format('%I', 'poser_crate')")
"""


def test_a_real_run_shows_the_sql_under_each_revision(deployed: Server) -> None:
    first = deployed.repository.add_revision("add crates", upgrade=SQL)
    second = deployed.repository.add_revision("add colour", upgrade_sql="alter table poser_crate add colour text")
    # else the checkout's own diff has the file's text
    deployed.git("pull", "--quiet")
    before = state(deployed)
    promised = deployed.run_role(check=True, diff=True)
    assert (promised.rc, promised.recaps[HOST].changed > 0) == (0, True), promised.output
    assert f"+poser {first} add crates" in promised.output and "CREATE TABLE" not in promised.output
    assert difference(before, state(deployed)) == []
    done = deployed.run_role(diff=True)
    assert done.rc == 0, done.output
    lines = [line for line in done.output.splitlines() if line.startswith("+")]
    at = lines.index(f"+poser {first} add crates")
    assert lines[at + 1] == "+    CREATE TABLE poser_crate ( id INTEGER )"
    assert lines[at + 2].startswith("+    select %(secret)s")
    assert lines[at + 3].startswith("+    select 'postgresql://rattail:")
    assert lines[at + 4].startswith("+    select 'zzz") and lines[at + 4].endswith(" …")
    assert lines[at + 5] == "+    select '100 %', format('%I', 'poser_crate')"
    assert lines[at + 6 : at + 8] == [f"+poser {second} add colour", "+    alter table poser_crate add colour text"]
    assert "opensesame" not in done.output and "xyzzy" not in done.output
    assert "executed" not in done.result
    settled(deployed)


def test_without_it_nothing_is_recorded(deployed: Server) -> None:
    deployed.repository.add_revision("add crates", upgrade=SQL)
    deployed.git("pull", "--quiet")
    answer = upgrade(deployed)
    assert (answer["failure"], answer["state"], "executed" in answer) == ("", "current", False)


ESCAPES = "\x1b[2J\x1b[1;1H\x9b31m\x07\u202e"


def test_no_diff_has_what_a_terminal_obeys(deployed: Server) -> None:
    """Not the checkout's, nor that of the config file, of the pending revisions, or of their SQL."""
    name = f"add crates {ESCAPES}"
    deployed.repository.add_revision(
        name, upgrade=f"# {ESCAPES}\n{SQL}", upgrade_sql=f"select '{ESCAPES}'", revision="0123456789ab"
    )
    deployed.repository.commit({"README.md": f"{ESCAPES}\n"})
    deployed.write_config(alembic=deployed.alembic_section().replace("path_separator = space", f"# {ESCAPES}"))
    for check in (True, False):
        run = deployed.run_role(check=check, diff=True, args=["-v"])
        assert run.rc == 0 and "add crates" in run.output, run.output
        assert not set("\x1b\x9b\x07\u202e") & set(run.output), run.output
    for shown in ("+    select '", "+path_separator = space", "+++ b/README.md"):
        assert shown in run.output, run.output
