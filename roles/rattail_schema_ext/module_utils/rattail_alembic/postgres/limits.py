# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The migrating connection's settings: how long it may wait, and how soon the server notices that the client is gone.

They are SET, since ``?options=`` in the app's URL overrides ``PGOPTIONS`` silently, and PgBouncer refuses it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# lock_not_available and deadlock_detected: the transaction may be tried again (PostgreSQL's manual, appendix A).
RETRYABLE = frozenset({"55P03", "40P01"})


@dataclass(frozen=True)
class Limits:
    """How long a statement may wait for a lock, and how long it may take; 0 is without end."""

    lock_timeout_seconds: float = 5.0
    statement_timeout_seconds: float = 0.0

    def settings(self, server_version: int) -> dict[str, str]:
        """What is SET; ``server_version`` is as libpq has it, e.g. 150004."""
        wanted = {
            "lock_timeout": f"{self.lock_timeout_seconds * 1000:.0f}ms",
            "statement_timeout": f"{self.statement_timeout_seconds * 1000:.0f}ms",
            "idle_in_transaction_session_timeout": "0",
            "tcp_keepalives_idle": "30",
            "tcp_keepalives_interval": "10",
            "tcp_keepalives_count": "3",
        }
        if server_version >= 140000:
            # during a statement, for whether the client is still there
            wanted["client_connection_check_interval"] = "1000ms"
        return wanted


def put(cursor: Any, settings: Mapping[str, str], *also: str) -> list[Any]:
    """SET the settings for the session, or until a ROLLBACK, and return what the expressions ``also`` give."""
    calls = ["pg_catalog.set_config(%s, %s, false)"] * len(settings)
    cursor.execute(f"select {', '.join([*also, *calls])}", [word for pair in settings.items() for word in pair])
    return list(cursor.fetchone()[: len(also)])
