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
    assert lines[at + 5 : at + 7] == [f"+poser {second} add colour", "+    alter table poser_crate add colour text"]
    assert "opensesame" not in done.output and "xyzzy" not in done.output
    assert "executed" not in done.result
    settled(deployed)


def test_without_it_nothing_is_recorded(deployed: Server) -> None:
    deployed.repository.add_revision("add crates", upgrade=SQL)
    deployed.git("pull", "--quiet")
    answer = upgrade(deployed)
    assert (answer["failure"], answer["state"], "executed" in answer) == ("", "current", False)
