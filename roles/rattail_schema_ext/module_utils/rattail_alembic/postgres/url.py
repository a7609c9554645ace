# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From a database URL to the arguments of the driver's ``connect``, as SQLAlchemy 1.4, 2.0 and 2.1 compute them.

Sources: ``sqlalchemy/engine/url.py`` and ``dialects/postgresql``. A URL that these read differently is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote

from ..problem import Refused, learn
from .driver import NAMES

# sqlalchemy.engine.url._parse_url. It is not anchored at its end.
_URL = re.compile(
    r"""
    (?P<name>[\w\+]+)://
    (?: (?P<username>[^:/]*) (?: :(?P<password>[^@]*) )? @ )?
    (?: (?: \[(?P<ipv6host>[^/\?]+)\] | (?P<ipv4host>[^/:\?]+) )? (?: :(?P<port>[^/\?]*) )? )?
    (?: /(?P<database>[^\?]*) )?
    (?: \?(?P<query>.*) )?
    """,
    re.X,
)

# They pass the query on to libpq. Which one no name means, SQLAlchemy's release decides.
_DRIVERS = {"postgresql": "", **{f"postgresql+{name}": name for name in NAMES}}
_SECRET = ("password", "sslpassword", "oauth_client_secret")
# Arguments of a driver's connect that are not libpq's, and so would not be strings.
_NOT_LIBPQ = (
    "dsn", "conninfo", "connection_factory", "cursor_factory", "async", "async_", "autocommit", "prepare_threshold",
    "row_factory", "context",
)  # fmt: skip


@dataclass(frozen=True)
class Target:
    """The database that a URL leads to. What the URL does not say is empty, and libpq's defaults apply.

    ``host`` may be a directory (a Unix socket) or a comma-separated list; ``options`` holds every further argument by
    libpq's name, ``port`` among them where it is a list. ``driver`` is the one that the URL names.
    """

    host: str = ""
    port: int | None = None
    dbname: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    options: dict[str, str] = field(default_factory=dict, repr=False)
    driver: str = ""

    def connect_kwargs(self) -> dict[str, str]:
        """The arguments of the driver's ``connect``, password included: as SQLAlchemy gives them, as strings."""
        named = {name: str(value) for name, value in vars(self).items() if value and name not in ("options", "driver")}
        return {**named, **self.options}

    def __str__(self) -> str:
        where = self.host or "the local socket"
        if self.port is not None:
            where += f":{self.port}"
        return f"{self.dbname or self.user or 'default'!r} on {where}"


def leads_to(target: Target, arguments: Mapping[str, Any]) -> bool:
    """Whether a driver's ``connect`` with these arguments would connect to the same database."""
    asked = {name: str(value) for name, value in arguments.items() if value is not None}
    asked.setdefault("dbname", asked.pop("database", ""))
    own = target.connect_kwargs()
    return all(asked.get(name, "") == own.get(name, "") for name in ("host", "port", "dbname"))


def learn_passwords(url: str) -> None:
    """Have the passwords in a URL masked from now on; one that has an @ may end at the first or at the last."""
    match = _URL.match(url)
    if match is None:
        return
    names = [unquote(match[each] or "") for each in ("username", "ipv4host", "database")]
    whole = re.match(r"[^:]+://[^:/]*:(.*)@", url)
    for password in (match["password"], whole and whole[1]):
        learn(unquote(password or ""), *names)
    for name, value in parse_qsl(match["query"] or ""):
        learn(value) if name in _SECRET else learn("", value)


def parse_url(url: str) -> Target:
    """The database that SQLAlchemy would connect to.

    :raises Refused: for a URL that SQLAlchemy refuses, that its versions read differently, or of another driver than
        the two that use libpq, since others give query strings another meaning.
    """
    learn_passwords(url)
    match = _URL.match(url)
    if match is None:
        raise _invalid("it does not begin with postgresql://")
    if match["name"] not in _DRIVERS:
        raise Refused(
            "database_unsupported",
            f"The database URL in the app's config is of {match['name']}://.",
            "Write postgresql:// instead, with a PostgreSQL database, and install the driver that SQLAlchemy takes for "
            "it (psycopg2, or psycopg since SQLAlchemy 2.1).",
        )
    if match["password"] is not None and "@" in f"{match['ipv4host']}{match['database']}":
        # It is the rest of a password, which must not be shown as the host.
        raise _invalid("its password has an @, which must be written %40")
    database = match["database"] or ""
    query = _query(match["query"] or "", database)
    try:
        # SQLAlchemy leaves out 0.
        number = int(match["port"]) if match["port"] is not None else 0
    except ValueError:
        raise _invalid("its port is not a number") from None
    host, port = _host_and_port(match["ipv4host"] or match["ipv6host"] or "", str(number or ""), query)
    arguments = {name: values[0] for name, values in query.items()}
    return Target(
        host,
        int(port) if port and "," not in port else None,
        arguments.pop("dbname", "") or arguments.pop("database", "") or database,
        arguments.pop("user", unquote(match["username"] or "")),
        arguments.pop("password", unquote(match["password"] or "")),
        {**arguments, "port": port} if "," in port else arguments,
        _DRIVERS[match["name"]],
    )


def _query(text: str, database: str) -> dict[str, list[str]]:
    """The values of each name in the query; only ``host`` can have several.

    :param database: what the URL's path names. 1.4 gives it to the driver as ``database`` and 2.0 as ``dbname``, and
        psycopg2 refuses to have both; only since 2.1 are escapes in it decoded.
    """
    # SQLAlchemy reads plugins itself and does not pass them on.
    query = {name: values for name, values in parse_qs(text).items() if name not in ("plugin", "plugins")}
    for name, values in query.items():
        if name in _NOT_LIBPQ:
            raise _invalid(f"its query has {name}, which is no parameter of libpq")
        if len(values) > 1 and name != "host":
            raise _invalid(f"its query has {name} more than once")
    if unquote(database) != database:
        raise _invalid("its database name has a %-escape, which not every SQLAlchemy decodes")
    named = [name for name in ("dbname", "database") if name in query]
    if len(named) + bool(database) > 1:
        raise _invalid(f"it names the database in more than one place ({', '.join(named)} in its query)")
    return query


def _host_and_port(host: str, port: str, query: dict[str, list[str]]) -> tuple[str, str]:
    """Hosts and ports as libpq takes them, several with commas between; both are taken out of ``query``."""
    hosts = query.pop("host", [])
    ports = query.pop("port", [])
    if (len(hosts) > 1 and (port or ports)) or ("," in "".join(hosts) and port and not ports):
        raise _invalid("it gives a port beside several hosts")
    if len(hosts) > 1:
        # host=a:1&host=b:2
        names, _, numbers = zip(*(each.partition(":") for each in hosts))
        hosts, ports = [",".join(names)], [",".join(numbers)]
    elif hosts and not ports and re.match(r"[a-zA-Z0-9\-.]*:\d*$", hosts[0]):
        raise _invalid("its query has one host with a port, which SQLAlchemy 1.4 takes for the host's name")
    if ports:
        port = ports[0]
        if not re.fullmatch(r"(?:[1-9][0-9]*)?(?:,(?:[1-9][0-9]*)?)*", port):
            raise _invalid("a port in its query is not a number")
        # 2.0 wants this; 1.4 leaves it to libpq.
        if port.count(",") != (hosts[0].count(",") if hosts else 0):
            raise _invalid("its query has not as many ports as hosts")
    return hosts[0] if hosts else host, port


def _invalid(what: str) -> Refused:
    return Refused(
        "database_url_invalid",
        f"The database URL in the app's config cannot be used: {what}.",
        "Write it as postgresql://user:password@host:port/database, "
        "with %-escapes for special characters in user and password.",
    )
