"""An app on WuttJamaican, released to a package index: Sideshow."""

from __future__ import annotations

from collections.abc import Callable

from support.server import HOST, Server
from support.states import check, settled


def test_sideshow_comes_up_on_an_empty_database(make_server: Callable[..., Server]) -> None:
    server = make_server(app="sideshow", core="wutta", repository=None, content="empty")
    assert server.vars["rattail_schema_ext_core"] == "wutta"
    promised = check(server, diff=True)
    assert promised.result["state"] == "empty"

    run = server.run_role()
    assert run.rc == 0 and run.recaps[HOST].changed > 0, run.output
    announced = [each["revision"] for each in promised.result["pending"]]
    assert [each["revision"] for each in run.result["applied"]] == announced
    assert run.result["todo"] == promised.result["todo"] == ["config", "upgrade"]

    section = server.config.read_text().partition("[alembic]")[2]
    assert "version_locations = sideshow.db:alembic/versions wuttjamaican.db:alembic/versions\n" in section
    assert {"setting", "person", "role"} <= set(server.database.tables())
    orders = server.sql("select confrelid::regclass::text from pg_constraint where contype = 'f' and conrelid ="
                        " 'sideshow_order'::regclass order by 1")  # fmt: skip
    assert ("sideshow_customer_local",) in orders
    by_hand = {line.split()[0] for line in server.alembic("heads").stdout.splitlines()}
    assert server.current() == server.database.heads() == by_hand
    assert {each["branch"] for each in run.result["branches"]} == {"sideshow", "wutta"}

    settled(server)
    assert server.alembic("upgrade", "heads").returncode == 0
    settled(server)
