"""What is said of revisions and version rows before anything moves."""

from __future__ import annotations

from support.server import Server


def test_a_syntax_error_below_a_revisions_header_is_found_before_the_checkout_moves(deployed: Server) -> None:
    assert deployed.repository
    deployed.repository.add_revision("broken", upgrade="op.execute((")
    before, rows = deployed.git("rev-parse", "HEAD"), deployed.current()
    for check in (True, False):
        run = deployed.run_role(check=check)
        assert run.rc != 0 and run.recap.changed == 0
        assert "cannot be run: '(' was never closed" in run.message
        assert "Mend it, commit and push it" in run.message
    assert (deployed.git("rev-parse", "HEAD"), deployed.current()) == (before, rows)


def test_a_row_that_another_one_implies_is_pointed_out(deployed: Server) -> None:
    """Alembic itself fails to upgrade from such rows, as somebody's stamp may have left them."""
    deployed.sql("insert into alembic_version values ('a010a6c92761')")
    run = deployed.run_role()
    assert run.rc == 0 and run.recap.changed == 0
    assert any("has the row a010a6c92761, which another row implies" in each for each in run.result["warnings"])
    assert "overlaps" in deployed.alembic("upgrade", "heads", check=False).stdout

    assert deployed.repository
    deployed.repository.add_revision("next", upgrade="pass")
    before = deployed.git("rev-parse", "HEAD")
    refused = deployed.run_role()
    assert refused.rc != 0 and "a010a6c92761" in refused.message
    assert deployed.git("rev-parse", "HEAD") == before


def test_a_revision_that_is_not_read_as_a_whole_is_named_once(deployed: Server) -> None:
    assert deployed.repository
    loop = 'for name in ("poser_crate", "poser_box"):\n    op.create_table(name, sa.Column("id", sa.Integer()))'
    new = deployed.repository.add_revision("crates", upgrade=loop)
    plain = deployed.repository.add_revision("note", upgrade_sql="create table poser_note (note text)")
    for check in (True, False):
        run = deployed.run_role(check=check)
        assert run.rc == 0, run.output
        # one for all of them, which each of the two looks gives
        [warning] = {each for each in run.result["warnings"] if "could not be read as a whole" in each}
        assert warning.startswith(f"Revision {new} (") and "what it does there is seen when it runs" in warning
        assert plain not in warning and "line " in warning
    assert {"poser_crate", "poser_box", "poser_note"} <= set(deployed.database.tables())
