"""The migrating connection's settings, as the server says that it keeps to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from ansible.module_utils.rattail_alembic.postgres.limits import Limits, ensure
from ansible.module_utils.rattail_alembic.problem import Refused


class Server:
    """A cursor of a server that does as it is told, and afterwards says ``otherwise``."""

    def __init__(self, otherwise: Mapping[str, str]) -> None:
        self._otherwise = otherwise
        self._values: dict[str, str] = {}
        self._row: tuple[str, ...] = ()

    def execute(self, query: str, words: Sequence[str]) -> None:
        if "set_config" in query:
            given = dict(zip(words[::2], words[1::2]))
            self._values.update(given)
            self._row = tuple(given.values())
        else:
            self._row = tuple({**self._values, **self._otherwise}[name] for name in words)

    def fetchone(self) -> tuple[str, ...]:
        return self._row


SETTINGS = Limits().settings(150004)


def test_only_from_14_on_a_server_looks_whether_its_client_is_still_there() -> None:
    assert "client_connection_check_interval" not in Limits().settings(130000)
    assert Limits().settings(140000)["client_connection_check_interval"] == "1000ms"


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_that_the_server_does_not_keep_to_is_refused(name: str) -> None:
    with pytest.raises(Refused, match=f"does not keep to {name} = {SETTINGS[name]}: it says 7200"):
        ensure(Server({name: "7200"}), SETTINGS)


def test_a_unix_socket_knows_no_keepalives() -> None:
    silent = {name: "0" for name in SETTINGS if name.startswith("tcp_")}
    ensure(Server(silent), SETTINGS)
