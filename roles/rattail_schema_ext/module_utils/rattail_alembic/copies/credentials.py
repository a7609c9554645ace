# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Connects PostgreSQL's own programs to the database that the driver connected to, without showing a password.

A program reads a service file and a password file (libpq, "The Connection Service File", "The Password File"), which
are in memory, and which only it can open. Its arguments and its environment name these files and nothing else.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

from ..postgres import driver
from ..postgres.connection import connect, run
from ..postgres.url import Target

# The service that programs are told to use: --dbname=service=…
SERVICE = "rattail_schema_ext"

# The parameters that are passed on. libpq's own defaults of those that are newer than its release 12: a program may
# have an older libpq than the driver, and ends at a name that it does not know, so that a default is left out.
_PASSED = frozenset((
    "application_name", "channel_binding", "client_encoding", "connect_timeout", "dbname", "gssdelegation",
    "gssencmode", "gsslib", "host", "hostaddr", "keepalives", "keepalives_count", "keepalives_idle",
    "keepalives_interval", "krbsrvname", "load_balance_hosts", "max_protocol_version", "min_protocol_version",
    "oauth_client_id", "oauth_client_secret", "oauth_issuer", "oauth_scope", "options", "port", "require_auth",
    "requirepeer", "scram_client_key", "scram_server_key", "ssl_max_protocol_version", "ssl_min_protocol_version",
    "sslcert", "sslcertmode", "sslcompression", "sslcrl", "sslcrldir", "sslkey", "sslmode", "sslnegotiation",
    "sslpassword", "sslrootcert", "sslsni", "target_session_attrs", "tcp_user_timeout", "user",
))  # fmt: skip
_DEFAULTS = {
    "channel_binding": "prefer",
    "ssl_min_protocol_version": "TLSv1.2",
    "sslsni": "1",
    "sslcertmode": "allow",
    "gssdelegation": "0",
    "load_balance_hosts": "disable",
    "sslnegotiation": "postgres",
}


@dataclass(frozen=True)
class Login:
    """The libpq parameters of one connection, by name, without its password."""

    parameters: dict[str, str] = field(repr=False)
    password: str = field(default="", repr=False)

    @classmethod
    def of(cls, connection: Any, **changed: str) -> Login:
        """How ``connection`` was made, to the host that answered; ``changed`` is to be different."""
        parameters = {
            name: value
            for name, value in driver.parameters(connection).items()
            if value and name in _PASSED and _DEFAULTS.get(name) != value
        }
        parameters["host"], parameters["port"] = connection.info.host, str(connection.info.port)
        if "," in parameters.get("hostaddr", ""):
            del parameters["hostaddr"]
        return cls({**parameters, **changed}, connection.info.password or "")

    @contextmanager
    def files(self) -> Iterator[dict[str, int]]:
        """The files that a program reads: the descriptor of each, by the name of the variable that names it."""
        service = "".join(f"{name}={value}\n" for name, value in sorted(self.parameters.items()))
        password = self.password.replace("\\", "\\\\").replace(":", "\\:")
        with (
            _unnamed(f"[{SERVICE}]\n{service}") as services,
            _unnamed(f"*:*:*:*:{password}\n" if password else "") as passwords,
        ):
            yield {"PGSERVICEFILE": services, "PGPASSFILE": passwords}


@contextmanager
def _unnamed(text: str) -> Iterator[int]:
    """A file without a name, which only our own account can read."""
    in_memory = hasattr(os, "memfd_create")
    with os.fdopen(os.memfd_create("rattail_schema_ext"), "wb") if in_memory else tempfile.TemporaryFile() as file:
        # libpq reads a password file only if nobody else may
        os.fchmod(file.fileno(), 0o600)
        os.write(file.fileno(), text.encode())
        yield file.fileno()


def connected(target: Target) -> closing[Any]:
    """A connection in autocommit mode, to be closed by ``with``; raises Refused where it fails."""
    return closing(connect(target))


def query(connection: Any, sql: str, parameters: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
    """Run one statement; its rows, if it returns any."""
    with connection.cursor() as cursor:
        return run(cursor, sql, parameters)
