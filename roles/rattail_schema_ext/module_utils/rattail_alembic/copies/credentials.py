# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""For PostgreSQL's own programs: the way to a database that psycopg2 took, without a secret that others can see.

A program is told everything by a service file and a password file (libpq, "The Connection Service
File", "The Password File") that exist in memory only and that nobody but the program can open. Its
arguments and its environment name them and nothing else.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from ..postgres.connection import connect
from ..postgres.url import Target

# The service that programs are told to use: --dbname=service=…
SERVICE = "rattail_schema_ext"

# What every libpq from 12 on knows.
# fmt: off
_PLAIN = frozenset((
    "application_name", "client_encoding", "connect_timeout", "dbname", "gssencmode", "gsslib", "host", "hostaddr",
    "keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval", "krbsrvname", "options", "port",
    "requirepeer", "sslcert", "sslcompression", "sslcrl", "sslkey", "sslmode", "sslrootcert", "target_session_attrs",
    "tcp_user_timeout", "user",
))
# fmt: on
# What later ones know, with its default: a program may have an older libpq than psycopg2, and ends at
# a name it does not know, so that these are passed on only where they say something.
_NEWER = {
    "channel_binding": "prefer",
    "sslpassword": "",
    "ssl_min_protocol_version": "TLSv1.2",
    "ssl_max_protocol_version": "",
    "sslcrldir": "",
    "sslsni": "1",
    "require_auth": "",
    "sslcertmode": "allow",
    "gssdelegation": "0",
    "load_balance_hosts": "disable",
    "sslnegotiation": "postgres",
    "min_protocol_version": "",
    "max_protocol_version": "",
    "scram_client_key": "",
    "scram_server_key": "",
    "oauth_issuer": "",
    "oauth_client_id": "",
    "oauth_client_secret": "",
    "oauth_scope": "",
}
# A dead network is noticed within two minutes; whoever set any of these is left alone.
_KEEPALIVES = {"keepalives_idle": "60", "keepalives_interval": "10", "keepalives_count": "6"}


@dataclass(frozen=True)
class Login:
    """libpq's parameters, by name, as they were in effect on one connection; the password is apart."""

    parameters: dict[str, str] = field(repr=False)
    password: str = field(default="", repr=False)

    @classmethod
    def of(cls, connection: Any) -> Login:
        """The way ``connection`` (psycopg2's) took: what it was told, what PG* variables, a service file and a
        password file added, and of several hosts the one that answered.
        """
        found = connection.info.dsn_parameters
        parameters = {
            name: value
            for name, value in found.items()
            if value and (name in _PLAIN or _NEWER.get(name, value) != value)
        }
        parameters["host"], parameters["port"] = connection.info.host, str(connection.info.port)
        if "," in parameters.get("hostaddr", ""):
            del parameters["hostaddr"]
        if not any(name in parameters for name in _KEEPALIVES):
            parameters.update(_KEEPALIVES)
        return cls(parameters, connection.info.password or "")

    def to(self, **parameters: str) -> Login:
        """The same way with some parameters changed, ``dbname`` say; those given as empty are left out."""
        changed = {**self.parameters, **parameters}
        return replace(self, parameters={name: value for name, value in changed.items() if value})

    @contextmanager
    def handed_over(self, uid: int | None = None) -> Iterator[tuple[dict[str, str], list[int]]]:
        """The environment of a program and the file descriptors that it must inherit.

        No PG* variable of ours reaches it: what they say is in the parameters.

        :param uid: of the account that the program will run as, where it is not ours.
        """
        service = "".join(f"{name}={value}\n" for name, value in sorted(self.parameters.items()))
        password = self.password.replace("\\", "\\\\").replace(":", "\\:")
        with ExitStack() as stack:
            files = {
                "PGSERVICEFILE": stack.enter_context(_unnamed(f"[{SERVICE}]\n{service}", uid)),
                "PGPASSFILE": stack.enter_context(_unnamed(f"*:*:*:*:{password}\n" if password else "", uid)),
            }
            yield (
                {
                    **{name: value for name, value in os.environ.items() if not name.startswith("PG")},
                    # what is told of errors is read by us, too
                    "LC_ALL": "C",
                    **{name: f"/proc/self/fd/{number}" for name, number in files.items()},
                },
                list(files.values()),
            )


@contextmanager
def _unnamed(text: str, uid: int | None) -> Iterator[int]:
    """A file of mode 0600 without a name."""
    with ExitStack() as stack:
        if hasattr(os, "memfd_create"):
            number = os.memfd_create("rattail_schema_ext")
            stack.callback(os.close, number)
        else:
            number = stack.enter_context(tempfile.TemporaryFile()).fileno()
        # libpq takes a password file only from its owner
        os.fchmod(number, 0o600)
        if uid is not None:
            os.fchown(number, uid, -1)
        os.write(number, text.encode())
        yield number


@contextmanager
def connected(target: Target) -> Iterator[Any]:
    """A psycopg2 connection in autocommit mode, closed afterwards.

    :raises Refused: where the server does not let us in.
    """
    connection = connect(target)
    try:
        yield connection
    finally:
        connection.close()
