# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From a database URL to the arguments of ``psycopg2.connect``, as SQLAlchemy comes to them.

Sources: ``sqlalchemy/engine/url.py`` and ``dialects/postgresql`` of 1.4, 2.0 and 2.1. Where these
disagree, the URL is refused rather than guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from ..problem import Refused

# sqlalchemy.engine.url._parse_url, the same in 1.4, 2.0 and 2.1. It is not anchored at its end.
_URL = re.compile(
    r"""
    (?P<name>[\w\+]+)://
    (?:
        (?P<username>[^:/]*)
        (?::(?P<password>[^@]*))?
    @)?
    (?:
        (?:
            \[(?P<ipv6host>[^/\?]+)\] |
            (?P<ipv4host>[^/:\?]+)
        )?
        (?::(?P<port>[^/\?]*))?
    )?
    (?:/(?P<database>[^\?]*))?
    (?:\?(?P<query>.*))?
    """,
    re.X,
)

# These speak libpq's own language, so that the query means to them what it means to psycopg2.
_LIBPQ_DRIVERS = ("postgresql", "postgresql+psycopg2", "postgresql+psycopg")
# Arguments of psycopg2.connect that are not libpq's, and so would not be strings.
_NOT_LIBPQ = ("dsn", "connection_factory", "cursor_factory", "async", "async_")


@dataclass(frozen=True)
class Target:
    """The database that a URL leads to. What the URL does not say is empty, and libpq's defaults apply.

    ``host`` may be a directory (a Unix socket) or a comma-separated list; ``options`` holds every
    further argument by libpq's name, ``port`` among them where it is a list.
    """

    host: str = ""
    port: int | None = None
    dbname: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    options: dict[str, str] = field(default_factory=dict, repr=False)

    def connect_kwargs(self) -> dict[str, str]:
        """The arguments of ``psycopg2.connect``, password included: as SQLAlchemy gives them, as strings."""
        named = {
            "host": self.host,
            "port": "" if self.port is None else str(self.port),
            "dbname": self.dbname,
            "user": self.user,
            "password": self.password,
        }
        return {**{name: value for name, value in named.items() if value}, **self.options}

    def __str__(self) -> str:
        where = self.host or "the local socket"
        if self.port is not None:
            where += f":{self.port}"
        return f"{self.dbname or self.user or 'default'!r} on {where}"


def leads_to(target: Target, arguments: Mapping[str, Any]) -> bool:
    """Whether a driver's ``connect`` with these arguments would come to the same database."""
    asked = {name: str(value) for name, value in arguments.items() if value is not None}
    asked.setdefault("dbname", asked.pop("database", ""))
    own = target.connect_kwargs()
    return all(asked.get(name, "") == own.get(name, "") for name in ("host", "port", "dbname"))


def parse_url(url: str) -> Target:
    """The database that SQLAlchemy's psycopg2 dialect would connect to.

    ``postgresql+psycopg`` is taken too: it is libpq all the same. Other drivers are refused, since
    what their query strings mean is their own.

    :raises Refused: for a URL that SQLAlchemy refuses, that its versions read differently, or that is
        of another database.
    """
    match = _URL.match(url)
    if match is None:
        raise _invalid("it does not begin with postgresql://")
    if match["name"] not in _LIBPQ_DRIVERS:
        raise _unsupported(match["name"])
    if "@" in (match["ipv4host"] or ""):
        # The rest of a password, and so not to be shown as the host.
        raise _invalid("its password has an @, which must be written %40")
    query = _query(match["query"] or "")
    arguments = {
        "host": match["ipv4host"] or match["ipv6host"] or "",
        "port": _port(match["port"]),
        "dbname": match["database"] or "",
        "user": unquote(match["username"] or ""),
        "password": unquote(match["password"] or ""),
    }
    _judge_database(query, arguments["dbname"])
    hosts = query.pop("host", [])
    if len(hosts) > 1:
        arguments["host"], arguments["port"] = _many_hosts(hosts, query, arguments["port"])
    elif hosts:
        arguments["host"] = _host(hosts[0], query, arguments["port"])
    for name, values in query.items():
        if len(values) > 1:
            raise _invalid(f"its query has {name} more than once")
        arguments["dbname" if name == "database" else name] = values[0]
    if "port" in query:
        _judge_ports(arguments["port"], hosts)
    return _target(arguments)


def _query(text: str) -> dict[str, list[str]]:
    query: dict[str, list[str]] = {}
    for name, value in parse_qsl(text):
        query.setdefault(name, []).append(value)
    for name in ("plugin", "plugins"):
        # SQLAlchemy's own, and it takes them out.
        query.pop(name, None)
    for name in _NOT_LIBPQ:
        if name in query:
            raise _invalid(f"its query has {name}, which is no parameter of libpq")
    return query


def _port(text: str | None) -> str:
    """The port between host and path; SQLAlchemy leaves out 0."""
    try:
        return str(int(text) or "") if text is not None else ""
    except ValueError:
        raise _invalid("its port is not a number") from None


def _judge_database(query: dict[str, list[str]], database: str) -> None:
    """1.4 gives psycopg2 the path as ``database`` and 2.0 as ``dbname``, and it refuses to have both.

    Only since 2.1 are escapes in the path decoded.
    """
    if unquote(database) != database:
        raise _invalid("its database name has a %-escape, which not every SQLAlchemy decodes")
    named = [name for name in ("dbname", "database") if name in query]
    if len(named) + bool(database) > 1:
        raise _invalid(f"it names the database in more than one place ({', '.join(named)} in its query)")


def _many_hosts(hosts: list[str], query: dict[str, list[str]], port: str) -> tuple[str, str]:
    """``host=a:1&host=b:2``: hosts and ports, each with commas between."""
    pairs = [host.split(":") if ":" in host else [host, ""] for host in hosts]
    if any(len(pair) != 2 for pair in pairs):
        raise _invalid("a host in its query has more than one colon")
    if "port" in query or port:
        raise _invalid("it gives a port beside several hosts")
    for _, each in pairs:
        _judge_port(each)
    names, ports = zip(*pairs)
    return ",".join(names), ",".join(ports)


def _host(host: str, query: dict[str, list[str]], port: str) -> str:
    """``host=a``, or ``host=a,b``."""
    if "port" not in query and re.match(r"[a-zA-Z0-9\-.]*:\d*$", host):
        raise _invalid("its query has one host with a port, which SQLAlchemy 1.4 takes for the host's name")
    if "," in host and port and "port" not in query:
        raise _invalid("it gives a port beside several hosts")
    return host


def _judge_ports(text: str, hosts: list[str]) -> None:
    """2.0 wants as many ports as hosts in the query; 1.4 leaves that to libpq."""
    ports = text.split(",")
    for port in ports:
        _judge_port(port)
    if len(ports) != (len(hosts[0].split(",")) if hosts else 1):
        raise _invalid("its query has not as many ports as hosts")


def _judge_port(port: str) -> None:
    if not re.fullmatch(r"(?:[1-9][0-9]*)?", port):
        raise _invalid("a port in its query is not a number")


def _target(arguments: dict[str, str]) -> Target:
    named = {name: arguments.pop(name) for name in ("host", "dbname", "user", "password")}
    port = arguments.pop("port")
    if port and "," in port:
        arguments["port"] = port
    return Target(**named, port=int(port) if port and "," not in port else None, options=arguments)


def _invalid(what: str) -> Refused:
    return Refused(
        "database_url_invalid",
        f"The database URL in the app's config cannot be used: {what}.",
        "Write it as postgresql://user:password@host:port/database, "
        "with %-escapes for special characters in user and password.",
    )


def _unsupported(driver: str) -> Refused:
    if driver == "postgres":
        remedy = "Write postgresql:// in its place; SQLAlchemy has not taken postgres:// since 1.4."
    elif driver.startswith("postgresql+"):
        remedy = "Write postgresql:// or postgresql+psycopg2:// in its place, and install psycopg2."
    else:
        remedy = "Point it to a PostgreSQL database (postgresql://…)."
    return Refused("database_unsupported", f"The database URL in the app's config is of {driver}://.", remedy)
