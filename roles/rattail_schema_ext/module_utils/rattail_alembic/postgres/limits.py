# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The migrating connection's settings: how long it may wait, and how soon the server notices that we are gone.

They are SET on the connection itself and read back. What ``PGOPTIONS`` asks for is silently overruled by
``?options=`` in the app's URL, and PgBouncer does not take it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..problem import Refused

# A lock that was not to be had in time, and a deadlock: the transaction may be tried again (errcodes of PostgreSQL).
RETRYABLE = frozenset({"55P03", "40P01"})


@dataclass(frozen=True)
class Limits:
    """How long a statement may wait for a lock, and how long it may take; 0 is without end."""

    lock_timeout_seconds: float = 5.0
    statement_timeout_seconds: float = 0.0

    def settings(self, server_version: int) -> dict[str, str]:
        """What is SET.

        :param server_version: as libpq has it, e.g. 150004. From 14 on the server looks, in the middle of a
            statement, whether its client is still there.
        """
        wanted = {
            "lock_timeout": f"{self.lock_timeout_seconds * 1000:.0f}ms",
            "statement_timeout": f"{self.statement_timeout_seconds * 1000:.0f}ms",
            "idle_in_transaction_session_timeout": "0",
            "tcp_keepalives_idle": "30",
            "tcp_keepalives_interval": "10",
            "tcp_keepalives_count": "3",
        }
        if server_version >= 140000:
            wanted["client_connection_check_interval"] = "1000ms"
        return wanted


def put(cursor: Any, settings: Mapping[str, str]) -> dict[str, str]:
    """SET the settings for the session, and return each in the server's own words.

    Inside a transaction that is rolled back they are gone with it.
    """
    calls = ", ".join("set_config(%s, %s, false)" for _ in settings)
    cursor.execute(f"select {calls}", [word for pair in settings.items() for word in pair])
    return dict(zip(settings, cursor.fetchone()))


def read(cursor: Any, names: Mapping[str, str]) -> dict[str, str]:
    """The settings as they are now, in the server's own words."""
    calls = ", ".join("current_setting(%s)" for _ in names)
    cursor.execute(f"select {calls}", list(names))
    return dict(zip(names, cursor.fetchone()))


def ensure(cursor: Any, settings: Mapping[str, str]) -> dict[str, str]:
    """SET what is not in force, and look again.

    :raises Refused: where the server does not keep to it.
    """
    wanted = put(cursor, settings)
    found = read(cursor, wanted)
    # A server knows no keepalives of a Unix socket and answers 0.
    silent = {name for name in wanted if name.startswith("tcp_") and found[name] == "0"}
    kept = {name for name in wanted if found[name] == wanted[name]} | silent
    for name in wanted.keys() - kept:
        raise Refused(
            "setting_refused",
            f"The server does not keep to {name} = {settings[name]}: it says {found[name]}.",
            "Take what sets it out of the app's env.py, of ALTER ROLE or of the pooler.",
        )
    return found
