# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The migrating connection's settings: how long it may wait, and how soon the server notices that the client is gone.

They are SET on the connection itself and read back: ``?options=`` in the app's URL overrides ``PGOPTIONS`` silently,
and PgBouncer refuses it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..problem import Refused

# lock_not_available and deadlock_detected: the transaction may be tried again (PostgreSQL's manual, appendix A).
RETRYABLE = frozenset({"55P03", "40P01"})


@dataclass(frozen=True)
class Limits:
    """How long a statement may wait for a lock, and how long it may take; 0 is without end."""

    lock_timeout_seconds: float = 5.0
    statement_timeout_seconds: float = 0.0

    def settings(self, server_version: int) -> dict[str, str]:
        """What is SET.

        :param server_version: as libpq has it, e.g. 150004. From 14 on the server checks during a statement
            whether its client is still there.
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
    """SET the settings for the session, and return each as the server writes it.

    A ROLLBACK of the transaction takes them back.
    """
    calls = ", ".join("set_config(%s, %s, false)" for _ in settings)
    cursor.execute(f"select {calls}", [word for pair in settings.items() for word in pair])
    return dict(zip(settings, cursor.fetchone()))


def ensure(cursor: Any, settings: Mapping[str, str]) -> dict[str, str]:
    """SET the settings, and read them back.

    :return: each as the server writes it.
    :raises Refused: where the server does not keep to one.
    """
    wanted = put(cursor, settings)
    calls = ", ".join("current_setting(%s)" for _ in wanted)
    cursor.execute(f"select {calls}", list(wanted))
    found = dict(zip(wanted, cursor.fetchone()))
    for name, value in found.items():
        # On a Unix socket there are no keepalives: the server answers 0.
        if value != wanted[name] and not (value == "0" and name.startswith("tcp_")):
            raise Refused(
                "setting_refused",
                f"The server does not keep to {name} = {settings[name]}: it says {value}.",
                "Remove what sets it from the app's env.py, from ALTER ROLE or from the pooler.",
            )
    return found
