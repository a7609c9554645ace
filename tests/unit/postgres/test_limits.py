"""The migrating connection's settings."""

from __future__ import annotations

from ansible.module_utils.rattail_alembic.postgres.connection import Limits


def test_only_from_14_on_a_server_looks_whether_its_client_is_still_there() -> None:
    assert "client_connection_check_interval" not in Limits().settings(130000)
    assert Limits().settings(140000)["client_connection_check_interval"] == "1000ms"
